"""What headers tell of the context of an execution: who asked for it, in which session, as part of which trace."""

from __future__ import annotations

import re
from typing import Any, Final

TRACEPARENT: Final = "traceparent"
CHARS_MAX: Final = 200  # what is longer tells nothing: anybody may send headers
# https://www.w3.org/TR/trace-context/: version, trace id, parent id, flags; later versions may have more behind.
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def header_of(headers: list[dict[str, Any]], name: str) -> str | None:
    """The last header of that name (whatever its case) as text; null where there is none, or it is no short text."""
    wanted = name.lower()
    for header in reversed(headers):
        key, value = header["key"], header["value"]
        if value is None or str(key).lower() != wanted:
            continue
        if len(value) > CHARS_MAX * 4:
            return None
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return None
        return text if len(text) <= CHARS_MAX else None
    return None


def trace_of(headers: list[dict[str, Any]], name: str) -> str | None:
    """The trace id of a header that is a W3C traceparent; null where it is none."""
    found = _TRACEPARENT.fullmatch(header_of(headers, name) or "")
    return found[1] if found else None
