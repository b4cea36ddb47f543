"""Functions on text. Positions and lengths count Unicode code points, from 0."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from streamflow.expressions.failure import INVALID_ARGUMENT, TOO_LARGE, Fail
from streamflow.expressions.limits import TEXT_CHARS_MAX
from streamflow.expressions.signatures import Argument, Function, Outcome, function, signature

TITLE = "Text"
INTRO = "Lengths and positions count Unicode code points; positions start at 0. Case follows Unicode 14."

_SPACES = " \t\r\n\f\v"


def _ascii_fast(fast: Callable[[pl.Series], pl.Series], py: Callable[[str], str]) -> Callable[..., Outcome]:
    """A kernel that lets polars do ASCII text and the Python definition the rest: their Unicode versions differ."""

    def kernel(arguments: Sequence[Argument]) -> Outcome:
        values: pl.Series = arguments[0]
        odd = (values.str.len_bytes() != values.str.len_chars()).fill_null(False)
        if not odd.any():
            return fast(values), None
        slow = pl.Series([py(v) if o and v is not None else None for v, o in zip(values, odd)], dtype=pl.String)
        return slow.zip_with(odd, fast(values)), None

    return kernel


def _sized(text: str) -> str:
    if len(text) > TEXT_CHARS_MAX:
        raise Fail(TOO_LARGE)
    return text


def _room(chars: int) -> None:
    if chars > TEXT_CHARS_MAX:
        raise Fail(TOO_LARGE)


def _substring(text: str, start: int, count: int) -> str:
    if count < 0:
        raise Fail(INVALID_ARGUMENT)
    start = max(len(text) + start, 0) if start < 0 else start
    return text[start : start + count]


def _replace(text: str, old: str, new: str) -> str:
    if len(new) > len(old):
        _room(len(text) + text.count(old) * (len(new) - len(old)))
    return text.replace(old, new)


def _split(text: str, separator: str) -> list[str]:
    if not separator:
        raise Fail(INVALID_ARGUMENT)
    return text.split(separator)


def _join(parts: list[str | None], separator: str) -> str:
    present = [p for p in parts if p is not None]
    _room(sum(map(len, present)) + len(separator) * len(present))
    return separator.join(present)


def _pad_left(text: str, width: int, fill: str) -> str:
    _check_pad(width, fill)
    return text.rjust(width, fill)


def _pad_right(text: str, width: int, fill: str) -> str:
    _check_pad(width, fill)
    return text.ljust(width, fill)


def _check_pad(width: int, fill: str) -> None:
    if len(fill) != 1:
        raise Fail(INVALID_ARGUMENT)
    _room(width)


def _repeat(text: str, times: int) -> str:
    if times < 0:
        raise Fail(INVALID_ARGUMENT)
    _room(len(text) * times)
    return text * times


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _title(text: str) -> str:
    return re.sub(r"[^\s]+", lambda m: m[0][0].upper() + m[0][1:].lower(), text)


def _format_number(value: float, decimals: int, thousands: str, point: str) -> str:
    if not 0 <= decimals <= 20 or len(thousands) > 4 or len(point) > 4:
        raise Fail(INVALID_ARGUMENT)
    text = f"{value:,.{decimals}f}"
    return text.replace(",", "\0").replace(".", point).replace("\0", thousands)


def _concat(*parts: str) -> str:
    return _sized("".join(parts))


def _concat_kernel(arguments: Sequence[Argument]) -> Outcome:
    columns: list[Any] = [a if isinstance(a, pl.Series) else pl.lit(a) for a in arguments]
    values = pl.select(pl.concat_str(columns)).to_series()
    long = values.str.len_bytes() > TEXT_CHARS_MAX
    if not long.any():
        return values, None
    from streamflow.expressions.columns import python_kernel
    from streamflow.model.types import STRING

    return python_kernel(_concat, [STRING] * len(arguments), STRING, strict=True)(arguments)  # type: ignore[no-any-return]


def _literal(arguments: Sequence[Argument], method: str) -> pl.Series:
    """starts_with, ends_with or contains of polars; both arguments may be columns."""
    text, part = arguments
    if not isinstance(text, pl.Series):
        text = pl.Series([text]).new_from_index(0, len(part))
    if method == "contains":
        return (
            text.str.contains(part, literal=True) if not isinstance(part, pl.Series) else _contains_columns(text, part)
        )
    return getattr(text.str, method)(part)  # type: ignore[no-any-return]


def _contains_columns(text: pl.Series, part: pl.Series) -> pl.Series:
    frame = pl.DataFrame({"text": text, "part": part})
    return frame.select(pl.col("text").str.contains(pl.col("part"), literal=True)).to_series()


def contains_text(arguments: Sequence[Argument]) -> Outcome:
    return _literal(arguments, "contains"), None


CONCAT_TEXT = signature("", "string", _concat, variadic="string", fails=True, kernel=_concat_kernel)


def _normalize(text: str, form: str) -> str:
    if form not in ("NFC", "NFD", "NFKC", "NFKD"):
        raise Fail(INVALID_ARGUMENT)
    return unicodedata.normalize(form, text)  # type: ignore[arg-type]


FUNCTIONS: tuple[Function, ...] = (
    function(
        "upper",
        "Text in upper case.",
        "string",
        "string",
        str.upper,
        ('upper("Straße")', '"STRASSE"'),
        kernel=_ascii_fast(lambda s: s.str.to_uppercase(), str.upper),
    ),
    function(
        "lower",
        "Text in lower case.",
        "string",
        "string",
        str.lower,
        ('lower("ÄPFEL")', '"äpfel"'),
        kernel=_ascii_fast(lambda s: s.str.to_lowercase(), str.lower),
    ),
    function(
        "title",
        "Every word with a capital first letter and the rest in lower case; words end at white space.",
        "string",
        "string",
        _title,
        ('title("new york-city")', '"New York-city"'),
    ),
    function(
        "capitalize",
        "The first letter in upper case, the rest in lower case.",
        "string",
        "string",
        lambda s: s[:1].upper() + s[1:].lower(),
        ('capitalize("hELLO you")', '"Hello you"'),
    ),
    function(
        "trim",
        "Text without the given characters (default: white space) at both ends.",
        "string",
        "string",
        lambda s, chars: s.strip(chars),
        ('trim("  a b ")', '"a b"'),
        ('trim("--a-", "-")', '"a"'),
        optional=(("string", _SPACES),),
        aliases=("strip",),
    ),
    function(
        "ltrim",
        "Text without the given characters (default: white space) at its start.",
        "string",
        "string",
        lambda s, chars: s.lstrip(chars),
        ('ltrim("  a ")', '"a "'),
        optional=(("string", _SPACES),),
    ),
    function(
        "rtrim",
        "Text without the given characters (default: white space) at its end.",
        "string",
        "string",
        lambda s, chars: s.rstrip(chars),
        ('rtrim(" a  ")', '" a"'),
        optional=(("string", _SPACES),),
    ),
    function(
        "substring",
        "`count` characters from position `start`; a negative start counts from the end.",
        "string long",
        "string",
        _substring,
        ('substring("streamflow", 6)', '"flow"'),
        ('substring("streamflow", 0, 6)', '"stream"'),
        ('substring("abc", -2, 1)', '"b"'),
        optional=(("long", TEXT_CHARS_MAX),),
        fails=True,
    ),
    function(
        "replace",
        "Text with every `old` replaced by `new`.",
        "string string string",
        "string",
        _replace,
        ('replace("a-b-c", "-", "+")', '"a+b+c"'),
        fails=True,
    ),
    function(
        "split",
        "The parts of a text between separators.",
        "string string",
        "array<string>",
        _split,
        ('split("a,b,,c", ",")', '["a", "b", "", "c"]'),
        ('split("abc", "")', "error: invalid_argument"),
        fails=True,
    ),
    function(
        "join",
        "The texts of a list, separated; nulls are left out.",
        "array<string>",
        "string",
        _join,
        ('join(["a", "b"], "-")', '"a-b"'),
        optional=(("string", ""),),
        fails=True,
    ),
    function(
        "starts_with",
        "Whether a text starts with another.",
        "string string",
        "bool",
        lambda s, part: s.startswith(part),
        ('starts_with("DE-10", "DE")', "true"),
        inline="{0}.startswith({1})",
        kernel=lambda args: (_literal(args, "starts_with"), None),
    ),
    function(
        "ends_with",
        "Whether a text ends with another.",
        "string string",
        "bool",
        lambda s, part: s.endswith(part),
        ('ends_with("photo.png", ".png")', "true"),
        inline="{0}.endswith({1})",
        kernel=lambda args: (_literal(args, "ends_with"), None),
    ),
    function(
        "index_of",
        "Position of the first occurrence of a text in another, -1 when there is none.",
        "string string",
        "long",
        lambda s, part: s.find(part),
        ('index_of("streamflow", "flow")', "6"),
        ('index_of("a", "b")', "-1"),
    ),
    function(
        "last_index_of",
        "Position of the last occurrence of a text in another, -1 when there is none.",
        "string string",
        "long",
        lambda s, part: s.rfind(part),
        ('last_index_of("a/b/c", "/")', "3"),
    ),
    function(
        "pad_left",
        "Text filled up at its start to a width.",
        "string long",
        "string",
        _pad_left,
        ('pad_left("7", 3, "0")', '"007"'),
        optional=(("string", " "),),
        fails=True,
    ),
    function(
        "pad_right",
        "Text filled up at its end to a width.",
        "string long",
        "string",
        _pad_right,
        ('pad_right("ab", 4, ".")', '"ab.."'),
        optional=(("string", " "),),
        fails=True,
    ),
    function(
        "repeat",
        f"A text so many times; results above {TEXT_CHARS_MAX:,} characters fail with too_large.",
        "string long",
        "string",
        _repeat,
        ('repeat("ab", 3)', '"ababab"'),
        ('repeat("ab", 5000000)', "error: too_large"),
        fails=True,
    ),
    function(
        "slug",
        "Lower-case ASCII words joined by `-`, for addresses and file names.",
        "string",
        "string",
        _slug,
        ('slug("Été à Paris!")', '"ete-a-paris"'),
    ),
    function(
        "format_number",
        "A number with fixed decimals, a thousands separator and a decimal point.",
        "double",
        "string",
        _format_number,
        ("format_number(1234567.891)", '"1,234,567.89"'),
        ('format_number(1234.5, 1, ".", ",")', '"1.234,5"'),
        optional=(("long", 2), ("string", ","), ("string", ".")),
        fails=True,
    ),
    function(
        "remove_prefix",
        "Text without a prefix, if it has it.",
        "string string",
        "string",
        lambda s, part: s.removeprefix(part),
        ('remove_prefix("sku-17", "sku-")', '"17"'),
    ),
    function(
        "remove_suffix",
        "Text without a suffix, if it has it.",
        "string string",
        "string",
        lambda s, part: s.removesuffix(part),
        ('remove_suffix("a.csv", ".csv")', '"a"'),
    ),
    function(
        "lines",
        "The lines of a text without their ends (LF or CRLF).",
        "string",
        "array<string>",
        lambda s: [line.removesuffix("\r") for line in s.split("\n")],
        ('lines("a\\nb")', '["a", "b"]'),
    ),
    function(
        "words",
        "The parts of a text between white space.",
        "string",
        "array<string>",
        lambda s: s.split(),
        ('words(" to  be ")', '["to", "be"]'),
    ),
    function(
        "count_text",
        "How often a text occurs in another without overlapping.",
        "string string",
        "long",
        lambda s, part: s.count(part),
        ('count_text("banana", "an")', "2"),
    ),
    function(
        "normalize",
        "Text in Unicode normal form NFC, NFD, NFKC or NFKD.",
        "string",
        "string",
        _normalize,
        ('normalize("e\\u0301")', '"é"'),
        optional=(("string", "NFC"),),
        fails=True,
    ),
    function(
        "code_point",
        "The number of the first character of a text; null when it is empty.",
        "string",
        "long",
        lambda s: ord(s[0]) if s else None,
        ('code_point("A")', "65"),
        nullable=True,
    ),
)
