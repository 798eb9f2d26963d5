"""The budget of a run: who may go, who waits, who is refused. `Account` is pure; `Gate` lets asyncio wait on it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from claude_flow_dagger.result import Refusal


@dataclass(frozen=True, kw_only=True)
class Amount:
    """What is spent or reserved."""

    usd: Decimal = Decimal(0)
    tokens: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(usd=self.usd + other.usd, tokens=self.tokens + other.tokens)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(usd=self.usd - other.usd, tokens=self.tokens - other.tokens)


NOTHING: Final = Amount()


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What all requests of a run may use together; None is no limit.

    Args:
        usd: cost.
        tokens: of every kind.
        requests: to the model, exact.
        deadline: the moment after which nothing is answered, on the clock of `time.monotonic()`.
    """

    usd: Decimal | None = None
    tokens: int | None = None
    requests: int | None = None
    deadline: float | None = None


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a request may come to.

    Args:
        floor: its input alone.
        full: its input and all the output that it asks for.
    """

    floor: Amount
    full: Amount


@dataclass(frozen=True, eq=False)
class Ticket:
    """One request at the gate. Compared by identity."""

    need: Need


@dataclass(frozen=True)
class Granted:
    """The request may go; `reserved` is held for it until it settles."""

    ticket: Ticket
    reserved: Amount


@dataclass(frozen=True)
class Refused:
    """The request may not go."""

    ticket: Ticket
    refusal: Refusal


Decision = Granted | Refused


class Account:
    """The state of a budget. No clock and no waiting of its own.

    The rule: a request goes when its full need fits into what is left. One that doesn't fit goes with all that is left
    reserved for it, but only one such at a time, and when its input leaves room for output; else it waits for those in
    flight to settle. With none in flight and anything left, one goes whatever it needs. So the sum never overshoots by
    more than one response. The queue is first come, first served: nobody starves.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget: Final = budget
        self.spent = NOTHING
        self.requests = 0
        self._reserved = NOTHING
        self._flying: dict[Ticket, Amount] = {}
        self._partial: Ticket | None = None
        self._queue: deque[Ticket] = deque()

    @property
    def reserved(self) -> Amount:
        """The sum of what is held for requests in flight."""
        return self._reserved

    @property
    def in_flight(self) -> int:
        """Requests granted and not settled yet."""
        return len(self._flying)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    def ask(self, need: Need) -> Ticket:
        """Queue up; `decide` tells when it is this request's turn."""
        ticket = Ticket(need)
        self._queue.append(ticket)
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """Leave the queue, or hand back a grant of which nothing was used: not even the request counts."""
        if ticket in self._flying:
            self._release(ticket)
            self.requests -= 1
        elif ticket in self._queue:
            self._queue.remove(ticket)

    def settle(self, ticket: Ticket, actual: Amount) -> None:
        """Replace a grant's reservation by what was used."""
        self._release(ticket)
        self.spent += actual

    def decide(self, now: float) -> list[Decision]:
        """Everything at the head of the queue that can be decided, in order."""
        decisions: list[Decision] = []
        while self._queue:
            decision = self._decide_one(self._queue[0], now)
            if decision is None:
                break
            self._queue.popleft()
            decisions.append(decision)
        return decisions

    def exhausted(self, now: float) -> Refusal | None:
        """Why no request can go any more, if so; reservations aside."""
        budget = self.budget
        if budget.deadline is not None and now >= budget.deadline:
            return Refusal.DEADLINE
        if budget.requests is not None and self.requests >= budget.requests:
            return Refusal.BUDGET_REQUESTS
        if budget.usd is not None and self.spent.usd >= budget.usd:
            return Refusal.BUDGET_USD
        if budget.tokens is not None and self.spent.tokens >= budget.tokens:
            return Refusal.BUDGET_TOKENS
        return None

    def _decide_one(self, ticket: Ticket, now: float) -> Decision | None:
        refusal = self.exhausted(now)
        if refusal is not None:
            return Refused(ticket, refusal)
        need = ticket.need
        used = self.spent + self._reserved
        left_usd = None if self.budget.usd is None else self.budget.usd - used.usd
        left_tokens = None if self.budget.tokens is None else self.budget.tokens - used.tokens
        if _fits(need.full.usd, left_usd) and _fits(need.full.tokens, left_tokens):
            return self._grant(ticket, need.full)
        room = _leaves_room(need.floor.usd, left_usd) and _leaves_room(need.floor.tokens, left_tokens)
        if self._flying and (self._partial is not None or not room):
            return None
        self._partial = ticket
        return self._grant(
            ticket,
            Amount(
                usd=need.full.usd if left_usd is None else min(need.full.usd, left_usd),
                tokens=need.full.tokens if left_tokens is None else min(need.full.tokens, left_tokens),
            ),
        )

    def _grant(self, ticket: Ticket, reserved: Amount) -> Granted:
        self._flying[ticket] = reserved
        self._reserved += reserved
        self.requests += 1
        return Granted(ticket, reserved)

    def _release(self, ticket: Ticket) -> None:
        self._reserved -= self._flying.pop(ticket)
        if self._partial is ticket:
            self._partial = None


def _fits(amount: Decimal | int, left: Decimal | int | None) -> bool:
    return left is None or amount <= left


def _leaves_room(amount: Decimal | int, left: Decimal | int | None) -> bool:
    return left is None or amount < left


class Gate:
    """An `Account` that asyncio tasks can wait at.

    Args:
        budget: what may be used.
        clock: the time, on the deadline's clock.
    """

    def __init__(self, budget: Budget, clock: Callable[[], float]) -> None:
        self.account: Final = Account(budget)
        self._clock = clock
        self._waiters: dict[Ticket, asyncio.Future[Decision]] = {}
        self._alarm: asyncio.TimerHandle | None = None

    async def enter(self, need: Need) -> Decision:
        """Wait for a decision. Whoever is granted owes a `settle` or a `withdraw`; a cancelled wait owes nothing."""
        ticket = self.account.ask(need)
        future = asyncio.get_running_loop().create_future()
        self._waiters[ticket] = future
        self._pump()
        try:
            decision: Decision = await future
        except asyncio.CancelledError:
            self._waiters.pop(ticket, None)
            self.withdraw(ticket)
            raise
        return decision

    def settle(self, ticket: Ticket, actual: Amount) -> None:
        """Replace a grant's reservation by what was used, and let others go."""
        self.account.settle(ticket, actual)
        self._pump()

    def withdraw(self, ticket: Ticket) -> None:
        """Hand back a grant of which nothing was used, and let others go."""
        self.account.withdraw(ticket)
        self._pump()

    def _pump(self) -> None:
        for decision in self.account.decide(self._clock()):
            future = self._waiters.pop(decision.ticket)
            if not future.done():
                future.set_result(decision)
        deadline = self.account.budget.deadline
        if self._waiters and deadline is not None and self._alarm is None:
            delay = max(0.0, deadline - self._clock())
            self._alarm = asyncio.get_running_loop().call_later(delay, self._ring)
        elif not self._waiters and self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _ring(self) -> None:
        self._alarm = None
        self._pump()
