"""Regular expressions, through RE2: linear in time whatever the pattern."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import polars as pl
import re2

from streamflow.expressions.columns import python_kernel
from streamflow.expressions.failure import INVALID_ARGUMENT, TOO_LARGE, Fail
from streamflow.expressions.limits import (
    LIST_ITEMS_MAX,
    PATTERN_CHARS_MAX,
    PATTERN_MEMORY_BYTES_MAX,
    TEXT_CHARS_MAX,
)  # fmt: skip
from streamflow.expressions.signatures import Argument, Function, Outcome, function
from streamflow.model.types import BOOL, STRING

TITLE = "Regular expressions"
INTRO = (
    "Patterns are RE2's: time is linear in the text, so there are no back-references and no look-around. A pattern is "
    "found anywhere in the text unless it is anchored with `^` and `$`. Constant patterns are checked when it is."
)

_OPTIONS = re2.Options()
_OPTIONS.max_mem = PATTERN_MEMORY_BYTES_MAX
_OPTIONS.log_errors = False
# Patterns that RE2 and polars' engine read alike: literals, `.`, anchors, groups, simple repetition, ASCII classes.
# No two alternatives match the same text, so the test itself is linear.
_COMMON = re.compile(
    r"(?:[A-Za-z0-9 _,;:@#%&=/<>'\"!~`.*+?|^$-]|\\[.*+?|^$\\/-]|\((?!\?)|\)"
    r"|\[\^?(?:[A-Za-z0-9]-[A-Za-z0-9]|[A-Za-z0-9_ .\t\n\f\r])+\])*"
)
_ASCII_CLASSES = {"\\d": "[0-9]", "\\w": "[0-9A-Za-z_]", "\\s": "[\t\n\f\r ]"}


@lru_cache(maxsize=1_024)
def polars_pattern(pattern: str) -> str:
    """The pattern for polars' engine when that reads it as RE2 does, else ""."""
    plain = re.sub(r"\\.|\[[^\]\\]*\]", lambda m: _ASCII_CLASSES.get(m[0], m[0]), pattern, flags=re.DOTALL)
    return plain if _COMMON.fullmatch(plain) else ""


@lru_cache(maxsize=1_024)
def compiled(pattern: str) -> Any:
    """The pattern compiled. Raises Fail(invalid_argument)."""
    if len(pattern) > PATTERN_CHARS_MAX:
        raise Fail(INVALID_ARGUMENT)
    try:
        return re2.compile(pattern, _OPTIONS)
    except re2.error:
        raise Fail(INVALID_ARGUMENT) from None


def pattern_fault(pattern: str) -> str:
    """Why RE2 does not take the pattern; "" when it does."""
    if len(pattern) > PATTERN_CHARS_MAX:
        return f"the pattern has {len(pattern):,} characters, {PATTERN_CHARS_MAX:,} are allowed"
    try:
        re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        found = error.args[0] if error.args else b""
        return found.decode(errors="replace") if isinstance(found, bytes) else str(found)
    return ""


@lru_cache(maxsize=1_024)
def _searcher(pattern: str) -> Callable[[str], Any]:
    """What gives something true for a text in which the pattern is found; several times faster than `search`."""
    compiled(pattern)
    one = re2.Set.SearchSet(_OPTIONS)
    one.Add(pattern)
    one.Compile()
    return one.Match  # type: ignore[no-any-return]


def _match(text: str, pattern: str) -> bool:
    return bool(_searcher(pattern)(text))


def _match_kernel(arguments: Sequence[Argument]) -> Outcome:
    text, pattern = arguments
    if isinstance(text, pl.Series) and isinstance(pattern, str) and polars_pattern(pattern):
        compiled(pattern)
        try:
            return text.str.contains(polars_pattern(pattern)), None
        except pl.exceptions.ComputeError:
            pass  # polars' engine is stricter about repetition; RE2 decides
    return python_kernel(_match, [STRING, STRING], BOOL, strict=True)(arguments)  # type: ignore[no-any-return]


def _extract(text: str, pattern: str, group: int) -> str | None:
    found = compiled(pattern).search(text)
    if not 0 <= group <= compiled(pattern).groups:
        raise Fail(INVALID_ARGUMENT)
    return None if found is None else found.group(group)


def _replace(text: str, pattern: str, replacement: str) -> str:
    regex = compiled(pattern)
    pieces: list[str] = []
    size, end = 0, 0
    template = _template(replacement, regex.groups)
    for found in regex.finditer(text):
        piece = text[end : found.start()] + "".join(p if isinstance(p, str) else found.group(p) or "" for p in template)
        size += len(piece)
        if size > TEXT_CHARS_MAX:
            raise Fail(TOO_LARGE)
        pieces.append(piece)
        end = found.end()
    return "".join((*pieces, text[end:]))


@lru_cache(maxsize=1_024)
def _template(replacement: str, groups: int) -> tuple[str | int, ...]:
    """Parts of a replacement: texts and group numbers, written `\\1`."""
    parts: list[str | int] = []
    for piece in re.split(r"(\\[0-9\\])", replacement):
        if len(piece) == 2 and piece[0] == "\\" and piece[1].isdigit():
            if int(piece[1]) > groups:
                raise Fail(INVALID_ARGUMENT)
            parts.append(int(piece[1]))
        else:
            parts.append("\\" if piece == "\\\\" else piece)
    return tuple(parts)


def _find_all(text: str, pattern: str) -> list[str]:
    found = [m.group(0) for m in compiled(pattern).finditer(text)]
    if len(found) > LIST_ITEMS_MAX:
        raise Fail(TOO_LARGE)
    return found


def _split(text: str, pattern: str) -> list[str]:
    parts: list[str] = []
    end = 0
    for found in compiled(pattern).finditer(text):
        if found.end() > found.start():
            parts.append(text[end : found.start()])
            end = found.end()
    return [*parts, text[end:]]


FUNCTIONS: tuple[Function, ...] = (
    function(
        "regex_match",
        "Whether a pattern is found in a text.",
        "string string",
        "bool",
        _match,
        ('regex_match("order-17", "^[a-z]+-\\d+$")', "true"),
        ('regex("abc", "x")', "false"),
        aliases=("regex", "matches"),
        kernel=_match_kernel,
        fails=True,
    ),
    function(
        "regex_extract",
        "What a pattern (or one of its groups) first matches; null when it matches nothing.",
        "string string",
        "string",
        _extract,
        ('regex_extract("order-17", "\\d+")', '"17"'),
        ('regex_extract("order-17", "([a-z]+)-(\\d+)", 1)', '"order"'),
        ('regex_extract("a", "b")', "null"),
        optional=(("long", 0),),
        nullable=True,
        fails=True,
    ),
    function(
        "regex_replace",
        "Text with every match replaced; `\\1` in the replacement is the first group.",
        "string string string",
        "string",
        _replace,
        ('regex_replace("a1b22", "\\d+", "#")', '"a#b#"'),
        ('regex_replace("John Smith", "(\\w+) (\\w+)", "\\2 \\1")', '"Smith John"'),
        fails=True,
    ),
    function(
        "regex_find_all",
        "All matches of a pattern that do not overlap.",
        "string string",
        "array<string>",
        _find_all,
        ('regex_find_all("a1b22", "\\d+")', '["1", "22"]'),
        fails=True,
    ),
    function(
        "regex_split",
        "The parts of a text between the matches of a pattern.",
        "string string",
        "array<string>",
        _split,
        ('regex_split("a, b;c", "[,;] *")', '["a", "b", "c"]'),
        fails=True,
    ),
)
