"""Costs agree with the price table's own arithmetic and with Claude Code's own."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import genai_prices
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_flow_dagger.gateway.prices import known, model_id, price, undated, warm
from claude_flow_dagger.gateway.usage import Usage

MODELS = ["claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5", "claude-sonnet-4-5", "claude-3-5-haiku-20241022"]
COUNT = st.integers(0, 400_000)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MODELS), COUNT, COUNT, COUNT, COUNT, COUNT, st.booleans())
def test_agrees_with_the_table(model: str, plain: int, out: int, read: int, five: int, hour: int, fast: bool) -> None:
    theirs = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=plain + read + five + hour,
            output_tokens=out,
            cache_read_tokens=read,
            cache_write_tokens=five + hour,
            cache_write_1h_tokens=hour,
        ),
        model_ref=model,
        provider_id="anthropic",
        price_context={"speed": "fast"} if fast else None,
    )
    usage = Usage(
        input_tokens=plain,
        output_tokens=out,
        cache_read_tokens=read,
        cache_write_tokens=five,
        cache_write_1h_tokens=hour,
    )
    assert price(model, usage, fast=fast) == theirs.total_price


def test_figures_of_the_price_list() -> None:
    million = 1_000_000
    assert price("claude-sonnet-5-5", Usage(input_tokens=million)) == 2
    assert price("claude-sonnet-5-5", Usage(output_tokens=million)) == 10
    assert price("claude-sonnet-5-5", Usage(cache_write_tokens=million)) == Decimal("2.5")
    assert price("claude-sonnet-5-5", Usage(cache_write_1h_tokens=million)) == 4
    assert price("claude-opus-5-5", Usage(input_tokens=million), fast=True) == 8
    # What Claude Code 2.1.330 itself said of a scripted run with these tokens: `total_cost_usd` 0.100316.
    assert price("claude-sonnet-5-5", Usage(input_tokens=49458, output_tokens=140)) == Decimal("0.100316")


def test_names() -> None:
    warm()
    assert known("claude-opus-5-5[1m]")
    assert known("claude-haiku-4-5-20251001")
    assert price("claude-opus-5-5[1m]", Usage(input_tokens=10)) == price("claude-opus-5-5", Usage(input_tokens=10))
    assert model_id("claude-opus-5-5[1M]") == "claude-opus-5-5"
    assert undated("claude-haiku-4-5-20251001[1m]") == "claude-haiku-4-5"


@pytest.mark.parametrize("model", ["gpt-4o", "claude-future-9", "", "glm-5"])
def test_unknown_models_have_no_price(model: str) -> None:
    assert not known(model)
    assert price(model, Usage(input_tokens=1)) is None


def test_the_table_is_loaded_late() -> None:
    code = (
        "import sys, claude_flow_dagger.gateway.server, claude_flow_dagger.gateway.script.upstream;"
        "import claude_flow_dagger.gateway.anthropic;"
        "print([m for m in ('genai_prices', 'httpx2', 'uvicorn', 'starlette') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
