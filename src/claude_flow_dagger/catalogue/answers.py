"""JSON out of what a command printed. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_DECODER: Final = json.JSONDecoder()


def json_in(text: str) -> Any | None:
    """The JSON document that ends a text, after any log lines; None when there is none.

    A table or a log line that begins with `[` (such as `[INFO]`) is no JSON and is passed over; only white space may
    follow the document.
    """
    for match in re.finditer(r"^[\[{]", text, re.MULTILINE):
        try:
            data, end = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if not text[end:].strip():
            return data
    return None
