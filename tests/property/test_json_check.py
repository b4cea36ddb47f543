"""The native check of JSON texts and orjson agree on every text, JSON or nearly so."""

from __future__ import annotations

import json
from typing import Any

import orjson
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from streamflow.codecs.json_check import PLAIN, bad_column, bad_texts

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5),
    st.sampled_from(["\ud800", "\\", '"', "\x00", "\x7f", "é", "😀"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)
BREAKS = st.sampled_from(
    ['"', "\\", "\\u", "\\ud83d", "\\u00e9", "{", "}", "[", "]", ":", ",", ",,", "0", "-", "+", ".", "e", "e9", "e999",
     "-0", "01", "1.", "null", "nul", "true", "NaN", "Infinity", " ", "\n", "\t", "\v", "\x00", "\x1f", "\u2028",
     "\ufeff", "1" * 20, "1" * 400, "//", "'"]
)  # fmt: skip


def texts(value: Any, compact: bool, ascii_: bool) -> bytes:
    return json.dumps(value, separators=(",", ":") if compact else None, ensure_ascii=ascii_).encode(
        "utf-8", "surrogatepass"
    )


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A text with something put into it, or taken out of it, at any place."""
    text = texts(draw(OBJECTS), draw(st.booleans()), draw(st.booleans())).decode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(BREAKS) + text[at + draw(st.integers(0, 1)) :]
    return text.encode("utf-8", "surrogatepass")


@given(st.lists(st.one_of(broken(), st.builds(texts, VALUES, st.booleans(), st.booleans())), max_size=6))
def test_the_check_of_a_column_finds_what_orjson_refuses(values: list[bytes]) -> None:
    assert bad_column(pl.Series(values, dtype=pl.Binary)) == bad_texts(values)


@given(broken())
def test_a_plain_text_is_json(value: bytes) -> None:
    """The regular expression alone: whatever it lets pass, orjson reads as an object."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return
    if pl.Series([text]).str.contains(PLAIN).all():
        assert type(orjson.loads(value)) is dict


def test_usual_texts_are_plain() -> None:
    """Else the check is right and slow."""
    usual = ['{"a": 1, "b": [1.5e3, "\\u00e9"], "c": {"d": null}}', "{}", ' { "a" : [ ] } ', '{"ä":"\\n\\"/"}']
    assert pl.Series(usual).str.contains(PLAIN).all()
