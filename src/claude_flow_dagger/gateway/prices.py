"""What a request costs, by the price table that genai-prices carries offline."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from claude_flow_dagger.gateway.usage import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, TieredPrices

_WINDOW: Final = re.compile(r"\[\d+[km]\]$", re.IGNORECASE)
_DATE: Final = re.compile(r"-\d{8}$")
_MILLION: Final = Decimal(1_000_000)


def model_id(name: str) -> str:
    """The id that the Messages API knows: without Claude Code's suffix for the window, as in `claude-opus-5-5[1m]`."""
    return _WINDOW.sub("", name)


def undated(name: str) -> str:
    """A model's id without window suffix and date: `claude-haiku-4-5` for `claude-haiku-4-5-20251001`."""
    return _DATE.sub("", model_id(name))


def known(model: str) -> bool:
    """Whether the model has a known price. The first call loads the table (0.3 s)."""
    return _prices(model_id(model), fast=False) is not None


def price(model: str, usage: Usage, *, fast: bool = False) -> Decimal | None:
    """The cost in USD.

    Args:
        model: the model's name, with or without a window suffix or a date.
        usage: the tokens; `input_tokens` are those neither read from nor written to the cache, as the API counts them.
        fast: the request asked for `speed: fast`, which some models charge for.

    Returns:
        The cost, exact; None when the model has no known price.
    """
    prices = _prices(model_id(model), fast=fast)
    if prices is None:
        return None
    # The tiers go by everything that the model reads, wherever it comes from.
    prompt = usage.tokens - usage.output_tokens
    plain = _rate(prices, "input_mtok", prompt) or Decimal(0)
    read = _rate(prices, "cache_read_mtok", prompt)
    write = _rate(prices, "cache_write_mtok", prompt)
    write_5m = _rate(prices, "cache_write_5m_mtok", prompt)
    write_1h = _rate(prices, "cache_write_1h_mtok", prompt)
    write = _first(write_5m, write, plain)
    total = (
        usage.input_tokens * plain
        + usage.output_tokens * (_rate(prices, "output_mtok", prompt) or Decimal(0))
        + usage.cache_read_tokens * _first(read, plain)
        + usage.cache_write_tokens * write
        + usage.cache_write_1h_tokens * _first(write_1h, write)
    )
    return total / _MILLION


def warm() -> None:
    """Load the table now, so that no request waits for it."""
    known("claude")


def _first(*rates: Decimal | None) -> Decimal:
    return next((rate for rate in rates if rate is not None), Decimal(0))


def _rate(prices: ModelPrice, key: str, prompt: int) -> Decimal | None:
    """USD per million tokens; a tier's price holds for all tokens once the prompt is longer than its start."""
    value: Decimal | TieredPrices | None = getattr(prices, key, None)
    if value is None or isinstance(value, Decimal):
        return value
    rate: Decimal = value.base
    for tier in value.tiers:
        if prompt > tier.start:
            rate = tier.price
    return rate


@lru_cache(maxsize=256)
def _prices(model: str, *, fast: bool) -> ModelPrice | None:
    import genai_prices

    context = {"speed": "fast"} if fast else None
    try:
        found = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=0, output_tokens=0),
            model_ref=model,
            provider_id="anthropic",
            price_context=context,
        )
    except LookupError:
        return None
    return found.model_price
