"""The budget holds, whatever the interleaving."""

from __future__ import annotations

import asyncio
import random
import time
from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from claude_flow_dagger.gateway.budget import Account, Amount, Budget, Gate, Granted, Need, Refused, Ticket
from claude_flow_dagger.result import Refusal

PRICE = Decimal("0.00001")


def need(floor: int, output: int) -> Need:
    return Need(
        floor=Amount(usd=floor * PRICE, tokens=floor),
        full=Amount(usd=(floor + output) * PRICE, tokens=floor + output),
    )


class BudgetMachine(RuleBasedStateMachine):
    """Any order of asking, settling and leaving: the sums stay exact and the overshoot is one response at most."""

    LIMIT = 1000

    def __init__(self) -> None:
        super().__init__()
        self.account = Account(Budget(tokens=self.LIMIT, usd=self.LIMIT * PRICE, requests=60))
        self.flying: list[Granted] = []
        self.queue: list[Ticket] = []
        self.spent = 0
        self.granted = 0
        self.largest = 0

    def pump(self) -> None:
        for decision in self.account.decide(0.0):
            assert self.queue.pop(0) is decision.ticket, "first come, first served"
            if isinstance(decision, Granted):
                self.flying.append(decision)
                self.granted += 1
                self.largest = max(self.largest, decision.ticket.need.full.tokens)
            else:
                assert self.spent >= self.LIMIT or self.granted >= 60

    @rule(floor=st.integers(0, 400), output=st.integers(1, 900))
    def ask(self, floor: int, output: int) -> None:
        self.queue.append(self.account.ask(need(floor, output)))
        self.pump()

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), share=st.floats(0, 1))
    def settle(self, data: st.DataObject, share: float) -> None:
        grant = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        used = int(grant.ticket.need.full.tokens * share)
        self.account.settle(grant.ticket, Amount(usd=used * PRICE, tokens=used))
        self.spent += used
        self.pump()

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def hand_back(self, data: st.DataObject) -> None:
        grant = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        self.account.withdraw(grant.ticket)
        self.granted -= 1
        self.pump()

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        ticket = self.queue.pop(data.draw(st.integers(0, len(self.queue) - 1)))
        self.account.withdraw(ticket)
        self.pump()

    @invariant()
    def sums_are_exact(self) -> None:
        assert self.account.spent == Amount(usd=self.spent * PRICE, tokens=self.spent)
        reserved = sum((grant.reserved.tokens for grant in self.flying), 0)
        assert self.account.reserved.tokens == reserved
        assert self.account.reserved.usd == sum((grant.reserved.usd for grant in self.flying), Decimal(0))
        assert self.account.requests == self.granted <= 60
        assert self.account.in_flight == len(self.flying)
        assert self.account.waiting == len(self.queue)

    @invariant()
    def overshoot_is_one_response(self) -> None:
        assert self.spent <= self.LIMIT + self.largest
        worst = self.spent + sum(grant.ticket.need.full.tokens for grant in self.flying)
        assert worst <= self.LIMIT + 2 * self.largest

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        assert self.flying or not self.queue


BudgetMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBudget = BudgetMachine.TestCase


def decide(account: Account, *needs: Need) -> list[type]:
    for one in needs:
        account.ask(one)
    return [type(decision) for decision in account.decide(0.0)]


def test_a_request_larger_than_the_budget_goes_alone() -> None:
    account = Account(Budget(tokens=100))
    assert decide(account, need(500, 500), need(1, 1)) == [Granted]
    assert account.waiting == 1


def test_one_partial_reservation_at_a_time() -> None:
    account = Account(Budget(tokens=1000))
    assert decide(account, need(10, 900), need(10, 900), need(10, 900)) == [Granted, Granted]
    assert account.reserved.tokens == 1000


@pytest.mark.parametrize(
    ("budget", "refusal"),
    [
        (Budget(usd=Decimal(0)), Refusal.BUDGET_USD),
        (Budget(tokens=0), Refusal.BUDGET_TOKENS),
        (Budget(requests=0), Refusal.BUDGET_REQUESTS),
        (Budget(deadline=-1.0), Refusal.DEADLINE),
    ],
)
def test_nothing_left(budget: Budget, refusal: Refusal) -> None:
    account = Account(budget)
    ticket = account.ask(need(1, 1))
    assert account.decide(0.0) == [Refused(ticket, refusal)]


def test_unlimited_never_waits() -> None:
    assert decide(Account(Budget()), *[need(10**9, 10**9)] * 300) == [Granted] * 300


def test_waiters_wake_when_another_settles_in_order() -> None:
    async def body() -> list[int]:
        gate = Gate(Budget(tokens=100), time.monotonic)
        first = await gate.enter(need(50, 50))
        order: list[int] = []

        async def wait(number: int) -> None:
            decision = await gate.enter(need(50, 50))
            assert isinstance(decision, Granted)
            order.append(number)
            gate.settle(decision.ticket, Amount(tokens=1))

        tasks = [asyncio.ensure_future(wait(number)) for number in range(5)]
        await asyncio.sleep(0)
        assert gate.account.waiting == 5
        assert order == []
        gate.settle(first.ticket, Amount(tokens=1))
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(body()) == [0, 1, 2, 3, 4]


def test_waiters_wake_at_the_deadline() -> None:
    async def body() -> None:
        gate = Gate(Budget(tokens=100, deadline=time.monotonic() + 0.1), time.monotonic)
        await gate.enter(need(50, 50))
        async with asyncio.timeout(5):
            decision = await gate.enter(need(50, 50))
        assert isinstance(decision, Refused)
        assert decision.refusal is Refusal.DEADLINE

    asyncio.run(body())


def test_a_cancelled_waiter_leaves_no_trace() -> None:
    async def body() -> None:
        gate = Gate(Budget(tokens=100, requests=2), time.monotonic)
        first = await gate.enter(need(50, 50))
        waiter = asyncio.ensure_future(gate.enter(need(50, 50)))
        behind = asyncio.ensure_future(gate.enter(need(1, 1)))
        await asyncio.sleep(0)
        # Granted and cancelled in the same instant: the grant must go back.
        gate.settle(first.ticket, Amount(tokens=1))
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        decision = await behind
        assert isinstance(decision, Refused | Granted)
        if isinstance(decision, Granted):
            gate.settle(decision.ticket, Amount())
        assert gate.account.reserved == Amount()
        assert gate.account.in_flight == gate.account.waiting == 0

    asyncio.run(body())


@pytest.mark.parametrize("seed", range(5))
def test_two_hundred_at_once_without_a_token_of_drift(seed: int) -> None:
    async def body() -> None:
        dice = random.Random(seed)
        gate = Gate(Budget(tokens=60_000, usd=60_000 * PRICE), time.monotonic)
        used: list[int] = []

        async def one() -> None:
            wanted = need(dice.randint(1, 300), dice.randint(1, 3000))
            decision = await gate.enter(wanted)
            if isinstance(decision, Refused):
                return
            tokens = 0
            try:
                for _ in range(dice.randint(0, 4)):
                    await asyncio.sleep(0)
                tokens = dice.randint(0, wanted.full.tokens)
            except asyncio.CancelledError:
                tokens = decision.reserved.tokens
                raise
            finally:
                used.append(tokens)
                gate.settle(decision.ticket, Amount(usd=tokens * PRICE, tokens=tokens))

        tasks = [asyncio.ensure_future(one()) for _ in range(200)]
        for task in dice.sample(tasks, 40):
            for _ in range(dice.randint(0, 3)):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert gate.account.spent == Amount(usd=sum(used) * PRICE, tokens=sum(used))
        assert gate.account.reserved == Amount()
        assert gate.account.requests == len(used)
        assert sum(used) <= 60_000 + 3300

    asyncio.run(body())
