"""Formats of dates and times: `%d %b %Y, %H:%M`. Our own, because the C library's depend on the locale."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache

from streamflow.expressions import calendar
from streamflow.expressions.failure import BAD_CAST, INVALID_ARGUMENT, Fail
from streamflow.model.types import Type

_NAMES_OF_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_NAMES_OF_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTH_NUMBERS = {n[:size].lower(): i + 1 for i, n in enumerate(_NAMES_OF_MONTHS) for size in (3, len(n))}
# Directives of formats: how each is written, and the regular expression that reads it.
_DIRECTIVES: dict[str, tuple[Callable[[datetime], str], str]] = {
    "Y": (lambda d: f"{d.year:04}", r"(?P<Y>\d{4})"),
    "y": (lambda d: f"{d.year % 100:02}", r"(?P<y>\d\d)"),
    "m": (lambda d: f"{d.month:02}", r"(?P<m>\d\d?)"),
    "d": (lambda d: f"{d.day:02}", r"(?P<d>\d\d?)"),
    "H": (lambda d: f"{d.hour:02}", r"(?P<H>\d\d?)"),
    "I": (lambda d: f"{(d.hour - 1) % 12 + 1:02}", r"(?P<I>\d\d?)"),
    "p": (lambda d: "AM" if d.hour < 12 else "PM", r"(?P<p>[AaPp][Mm])"),
    "M": (lambda d: f"{d.minute:02}", r"(?P<M>\d\d?)"),
    "S": (lambda d: f"{d.second:02}", r"(?P<S>\d\d?)"),
    "f": (lambda d: f"{d.microsecond:06}", r"(?P<f>\d{1,9})"),
    "L": (lambda d: f"{d.microsecond // 1000:03}", r"(?P<L>\d{3})"),
    "j": (lambda d: f"{d.timetuple().tm_yday:03}", r"(?P<j>\d{1,3})"),
    "z": (lambda _d: "+0000", r"(?P<z>Z|[+-]\d\d:?\d\d)"),
    "b": (lambda d: _NAMES_OF_MONTHS[d.month - 1][:3], r"(?P<b>[A-Za-z]{3})"),
    "B": (lambda d: _NAMES_OF_MONTHS[d.month - 1], r"(?P<B>[A-Za-z]{3,9})"),
    "a": (lambda d: _NAMES_OF_DAYS[d.weekday()][:3], r"[A-Za-z]{3}"),
    "A": (lambda d: _NAMES_OF_DAYS[d.weekday()], r"[A-Za-z]{6,9}"),
    "%": (lambda _d: "%", "%"),
}
_FORMAT_CHARS_MAX = 200


@lru_cache(maxsize=512)
def writer(pattern: str) -> tuple[str | Callable[[datetime], str], ...]:
    """Parts of a format: texts, and what writes a directive. Raises Fail(invalid_argument)."""
    pieces = _pieces(pattern)
    return tuple(_DIRECTIVES[p[1]][0] if p[0] == "%" and len(p) == 2 else p for p in pieces)


@lru_cache(maxsize=512)
def _reader(pattern: str) -> re.Pattern[str]:
    parts = [_DIRECTIVES[p[1]][1] if p[0] == "%" and len(p) == 2 else re.escape(p) for p in _pieces(pattern)]
    try:
        return re.compile("".join(parts), re.ASCII)
    except re.error:  # a directive twice
        raise Fail(INVALID_ARGUMENT) from None


def _pieces(pattern: str) -> list[str]:
    if len(pattern) > _FORMAT_CHARS_MAX:
        raise Fail(INVALID_ARGUMENT)
    pieces = [p for p in re.split(r"(%.?)", pattern, flags=re.DOTALL) if p]
    if any(p[0] == "%" and p[1:] not in _DIRECTIVES for p in pieces):
        raise Fail(INVALID_ARGUMENT)
    return pieces


def parse_format(text: str, pattern: str, t: Type) -> int:
    """A date, local time or timestamp written in a format. Raises Fail(bad_cast)."""
    matched = _reader(pattern).fullmatch(text.strip())
    if matched is None:
        raise Fail(BAD_CAST)
    found = {k: v for k, v in matched.groupdict().items() if v is not None}
    try:
        moment = _assembled(found)
        if "z" in found and found["z"] != "Z":
            sign, digits = (1 if found["z"][0] == "+" else -1), found["z"][1:].replace(":", "")
            moment -= sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    except (ValueError, OverflowError, KeyError):
        raise Fail(BAD_CAST) from None
    return calendar.days_of(moment) if t.kind == "date" else calendar.from_wall(moment, t.unit)


def _assembled(found: dict[str, str]) -> datetime:
    if "y" in found:
        year = int(found["y"]) + (1900 if int(found["y"]) >= 69 else 2000)
    else:
        year = int(found.get("Y", "1970"))
    name = found.get("b") or found.get("B")
    month = _MONTH_NUMBERS[name.lower()] if name else int(found.get("m", "1"))
    hour = int(found.get("H", "0"))
    if "I" in found:
        if not 1 <= int(found["I"]) <= 12:
            raise ValueError
        hour = int(found["I"]) % 12 + (12 if found.get("p", "am").lower() == "pm" else 0)
    micros = int(found["L"]) * 1_000 if "L" in found else int(found.get("f", "0")[:6].ljust(6, "0"))
    moment = datetime(
        year, month, int(found.get("d", "1")), hour, int(found.get("M", "0")), int(found.get("S", "0")), micros
    )
    return moment + timedelta(days=int(found["j"]) - 1) if "j" in found else moment


def check_format(pattern: str) -> None:
    """Raises Fail when a format has unknown directives or names one twice."""
    writer(pattern)
    _reader(pattern)
