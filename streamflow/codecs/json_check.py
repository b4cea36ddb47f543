"""Whether JSON texts are JSON: most at the speed of a regular expression, the others by a parser; one answer.

The expression matches only what `orjson` takes, so a match is proof. No match proves nothing: such texts go on to
polars' parser, and to orjson itself where that one refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson
import polars as pl

from streamflow.codecs.api import BadCode

Found = dict[int, tuple[BadCode, str]]  # row -> (code, message)

_SPACE: Final = r"[ \t\n\r]*"
# An escaped half of a surrogate pair is no text: all of them are left to the parser.
_UNICODE: Final = r"u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2})"
_TEXT: Final = rf'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|{_UNICODE}))*"'
_NUMBER: Final = r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?"  # all of them finite
_SCALAR: Final = rf"(?:{_TEXT}|{_NUMBER}|true|false|null)"


def _all(items: str) -> str:
    return rf"(?:{items}{_SPACE}(?:,{_SPACE}{items}{_SPACE})*)?"


def _object(values: str) -> str:
    return rf"\{{{_SPACE}{_all(f'{_TEXT}{_SPACE}:{_SPACE}{values}')}\}}"


NESTED: Final = rf"(?:{_SCALAR}|{_object(_SCALAR)}|\[{_SPACE}{_all(_SCALAR)}\])"
PLAIN: Final = rf"^{_SPACE}{_object(NESTED)}{_SPACE}$"  # an object of values that nest once more at most

_NO_FIELD: Final = pl.Struct({"\0": pl.Null})  # nothing has such a key: values are parsed, and none is kept


def parse_error(value: bytes) -> str:
    """Why a value is no JSON; empty if it is."""
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error}."
    return ""


def bad_texts(values: Sequence[bytes]) -> Found:
    """The texts that are no JSON, by their number."""
    return {i: ("undecodable", why) for i, value in enumerate(values) if (why := parse_error(value))}


def bad_column(texts: pl.Series) -> Found:
    """As `bad_texts`, for a column without nulls. Objects are looked at in native code, where threads do not wait for
    each other.
    """
    try:
        plain = texts.cast(pl.String).str.contains(PLAIN)
    except pl.exceptions.PolarsError:
        return bad_texts(texts.to_list())  # some value is no UTF-8
    if plain.all():
        return {}
    rows = (~plain).arg_true()
    found = _bad_among(texts.gather(rows))
    return {rows[i]: why for i, why in found.items()}


def _bad_among(texts: pl.Series) -> Found:
    try:
        texts.cast(pl.String).str.json_decode(_NO_FIELD)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return bad_texts(texts.to_list())  # some value is no JSON, or JSON but no object
    # The one thing that polars lets pass and JSON does not: half a surrogate pair, escaped.
    halves = (texts.bin.contains(b"\\ud") | texts.bin.contains(b"\\uD")).arg_true().to_list()
    return {i: ("undecodable", why) for i in halves if (why := parse_error(texts[i]))}
