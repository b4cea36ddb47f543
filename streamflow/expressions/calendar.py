"""Dates and times as integers: civil calendar, ISO 8601 text, time zones, formats. Both backends use this.

Years 1 to 9999; what lies outside fails with invalid_argument. Gregorian throughout. Weeks and weekdays as in ISO 8601.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from streamflow.expressions.failure import BAD_CAST, INVALID_ARGUMENT, OVERFLOW, Fail
from streamflow.expressions.limits import LONG_MAX, LONG_MIN
from streamflow.model.types import Type

EPOCH = date(1970, 1, 1).toordinal()
DAYS_MIN, DAYS_MAX = 1 - EPOCH, date(9999, 12, 31).toordinal() - EPOCH
SECONDS_PER_DAY = 86_400
PER_SECOND = {"ms": 1_000, "us": 1_000_000}
_START = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


def civil(days: int) -> date:
    """The date that is `days` after 1970-01-01."""
    if not DAYS_MIN <= days <= DAYS_MAX:
        raise Fail(INVALID_ARGUMENT)
    return date.fromordinal(days + EPOCH)


def days_of(day: date) -> int:
    return day.toordinal() - EPOCH


def wall(value: int, unit: str) -> datetime:
    """A timestamp's wall-clock time in UTC, or a local timestamp's own."""
    micros = value * 1_000 if unit == "ms" else value
    if not DAYS_MIN <= micros // 86_400_000_000 <= DAYS_MAX:
        raise Fail(INVALID_ARGUMENT)
    return _START + timedelta(microseconds=micros)


def from_wall(moment: datetime, unit: str) -> int:
    micros = (moment - _START) // _MICROSECOND
    return micros // 1_000 if unit == "ms" else micros


def fits(value: int) -> int:
    """`value` if it is a 64-bit integer."""
    if not LONG_MIN <= value <= LONG_MAX:
        raise Fail(OVERFLOW)
    return value


@lru_cache(maxsize=512)
def zone(name: str) -> ZoneInfo:
    """A time zone of the IANA database."""
    try:
        if len(name) > 64 or not re.fullmatch(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*", name):
            raise Fail(INVALID_ARGUMENT)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Fail(INVALID_ARGUMENT) from None


def to_local(value: int, unit: str, name: str) -> int:
    """Wall-clock time in a zone at an instant."""
    there = zone(name)
    try:
        shown = wall(value, unit).replace(tzinfo=UTC).astimezone(there)
    except OverflowError:
        raise Fail(INVALID_ARGUMENT) from None
    return from_wall(shown.replace(tzinfo=None), unit)


def from_local(value: int, unit: str, name: str) -> int:
    """The instant at which a zone's clocks show a time: the first of two, or, where skipped, as before the change."""
    there = zone(name)
    try:
        moment = wall(value, unit).replace(tzinfo=there, fold=0).astimezone(UTC)
    except OverflowError:
        raise Fail(INVALID_ARGUMENT) from None
    return from_wall(moment.replace(tzinfo=None), unit)


def date_text(days: int) -> str:
    return civil(days).isoformat()


def time_text(nanos: int) -> str:
    seconds, rest = divmod(nanos, 1_000_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if rest % 1_000_000 == 0:
        return f"{text}.{rest // 1_000_000:03}" if rest else text
    return f"{text}.{rest // 1_000:06}"


def timestamp_text(value: int, unit: str) -> str:
    """`2024-02-29T12:30:00.000`, with six digits in microseconds; no zone."""
    moment = wall(value, unit)
    return moment.isoformat(timespec="milliseconds" if unit == "ms" else "microseconds")


_ISO_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_ISO_TIME = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?", re.ASCII)
_ISO_ZONE = re.compile(r"Z|z|([+-])(\d\d):?(\d\d)?", re.ASCII)


def parse_iso(text: str, t: Type) -> int:
    """A date, time, local time or timestamp from ISO 8601 text; without offset it is UTC. Raises Fail."""
    text = text.strip()
    if t.kind == "time":
        matched = _ISO_TIME.fullmatch(text)
        return (_micros_of_time(matched) if matched else _bad()) * 1_000
    day = _ISO_DATE.match(text)
    days = _date(day) if day else _bad()
    rest = text[day.end() :] if day else ""
    if not rest:
        micros = days * SECONDS_PER_DAY * 1_000_000
        return days if t.kind == "date" else (micros // 1_000 if t.unit == "ms" else micros)
    clock = _ISO_TIME.match(rest, 1)
    if rest[0] not in "Tt " or clock is None:
        _bad()
    assert clock is not None
    micros = days * SECONDS_PER_DAY * 1_000_000 + _micros_of_time(clock)
    micros -= _offset_micros(rest[clock.end() :], allowed=t.kind == "timestamp")
    if t.kind == "date":
        return micros // (SECONDS_PER_DAY * 1_000_000)
    return micros // 1_000 if t.unit == "ms" else micros


def _bad() -> int:
    raise Fail(BAD_CAST)


def _date(matched: re.Match[str]) -> int:
    try:
        return days_of(date(int(matched[1]), int(matched[2]), int(matched[3])))
    except ValueError:
        return _bad()


def _micros_of_time(matched: re.Match[str]) -> int:
    hours, minutes, seconds = int(matched[1]), int(matched[2]), int(matched[3] or 0)
    if hours > 23 or minutes > 59 or seconds > 59:
        _bad()
    return (hours * 3600 + minutes * 60 + seconds) * 1_000_000 + int((matched[4] or "0")[:6].ljust(6, "0"))


def _offset_micros(text: str, *, allowed: bool) -> int:
    if not text:
        return 0
    matched = _ISO_ZONE.fullmatch(text.strip())
    if matched is None or not allowed:
        return _bad()
    if not matched[1]:
        return 0
    minutes = int(matched[2]) * 60 + int(matched[3] or 0)
    return (minutes if matched[1] == "+" else -minutes) * 60_000_000
