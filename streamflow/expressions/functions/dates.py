"""Functions on dates, times and time zones. No function reads a clock: a replay must give the same rows."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

import polars as pl

from streamflow.expressions import calendar
from streamflow.expressions.columns import bounds, python_kernel
from streamflow.expressions.failure import INVALID_ARGUMENT, Fail
from streamflow.expressions.signatures import (
    Argument,
    Function,
    Implementation,
    Outcome,
    Signature,
    function,
    signature,
)
from streamflow.expressions.time_formats import parse_format, writer
from streamflow.model.types import DATE, LOCAL_MS, LONG, TIMESTAMP_MS, Type, polars_dtype

TITLE = "Dates and time zones"
INTRO = (
    "A timestamp is an instant, and its parts are those in UTC; `to_timezone` gives a zone's wall-clock time (type "
    "local). "
    "Years 1 to 9999. There is no `now()`: use `meta.timestamp`, so that a replay gives the same result. Units are "
    "millisecond, second, minute, hour, day, week, month, quarter, year."
)

_UNIT_MS = {
    "millisecond": 1,
    "second": 1_000,
    "minute": 60_000,
    "hour": 3_600_000,
    "day": 86_400_000,
    "week": 604_800_000,
}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


def _unit(name: str) -> str:
    unit = name.lower().removesuffix("s")
    if unit not in _UNIT_MS and unit not in _MONTHS:
        raise Fail(INVALID_ARGUMENT)
    return unit


def _moment(t: Type) -> Callable[[int], Any]:
    """Wall-clock time of a value, as Python's class."""
    if t.kind == "date":
        return calendar.civil
    unit = t.unit
    return lambda v: calendar.wall(v, unit)


def _per_day(t: Type) -> int:
    return 1 if t.kind == "date" else calendar.PER_SECOND[t.unit] * calendar.SECONDS_PER_DAY


def _part(
    name: str,
    doc: str,
    of: Callable[[Any], int],
    native: Callable[[pl.Series], pl.Series],
    *examples: tuple[str, str],
    kinds: Sequence[str] = ("date", "timestamp", "local"),
    aliases: tuple[str, ...] = (),
) -> Function:
    """A number taken from the calendar. polars computes it where every value lies in the years 1 to 9999."""

    def make(types: Sequence[Type]) -> Implementation:
        moment, per_day = _moment(types[0]), _per_day(types[0])
        py = lambda v: of(moment(v))  # noqa: E731

        def kernel(arguments: Sequence[Argument]) -> Outcome:
            values: pl.Series = arguments[0]
            found = bounds(values.to_physical())
            if found is None or (
                calendar.DAYS_MIN * per_day <= found[0] and found[1] < (calendar.DAYS_MAX + 1) * per_day
            ):
                return native(values).cast(pl.Int64), None
            return python_kernel(py, types, LONG, strict=True)(arguments)  # type: ignore[no-any-return]

        return Implementation(py=py, kernel=kernel)

    return Function(
        name=name,
        doc=doc,
        examples=examples,
        aliases=aliases,
        signatures=tuple(signature(k, "long", make=make, fails=True) for k in kinds),
    )


def _clock(name: str, doc: str, divisor_ms: int, modulus: int, *examples: tuple[str, str]) -> Function:
    """A number taken from the time of day: plain arithmetic, so it holds for every instant."""

    def make(types: Sequence[Type]) -> Implementation:
        if types[0].kind == "time":
            per_ms = 1_000_000
        else:
            per_ms = 1 if types[0].unit == "ms" else 1_000
        divisor = divisor_ms * per_ms
        return Implementation(
            py=lambda v: v // divisor % modulus, expr=lambda e: e.to_physical().cast(pl.Int64) // divisor % modulus
        )

    return Function(
        name=name,
        doc=doc,
        examples=examples,
        signatures=tuple(signature(k, "long", make=make) for k in ("timestamp", "local", "time")),
    )


def _add_months(moment: date, months: int) -> date:
    if abs(months) > 12 * 10_000:
        raise Fail(INVALID_ARGUMENT)
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise Fail(INVALID_ARGUMENT)
    last = monthrange(year, month + 1)[1]
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last))


def _add(types: Sequence[Type]) -> Implementation:
    t = types[0]
    moment = _moment(t)

    def py(value: int, count: int, unit_name: str) -> int:
        unit = _unit(unit_name)
        if unit in _MONTHS:
            shifted = _add_months(moment(value), count * _MONTHS[unit])
            return calendar.days_of(shifted) if t.kind == "date" else calendar.from_wall(shifted, t.unit)  # type: ignore[arg-type]
        if t.kind == "date":
            days, rest = divmod(_UNIT_MS[unit], _UNIT_MS["day"])
            if rest:
                raise Fail(INVALID_ARGUMENT)
            result = value + count * days
            calendar.civil(result)
            return result
        result = calendar.fits(value + count * _UNIT_MS[unit] * (1 if t.unit == "ms" else 1_000))
        calendar.wall(result, t.unit)
        return result

    return Implementation(py=py)


def _difference(types: Sequence[Type]) -> Implementation:
    t = types[0]
    moment = _moment(t)

    def py(start: int, end: int, unit_name: str) -> int:
        unit = _unit(unit_name)
        if unit in _MONTHS:
            return (
                _whole_months(moment(start), moment(end)) // _MONTHS[unit]
                if end >= start
                else -(_whole_months(moment(end), moment(start)) // _MONTHS[unit])
            )
        per_unit = _UNIT_MS[unit] if t.kind == "date" else _UNIT_MS[unit] * (1 if t.unit == "ms" else 1_000)
        apart = (end - start) * (_UNIT_MS["day"] if t.kind == "date" else 1)
        return calendar.fits(apart // per_unit if apart >= 0 else -(-apart // per_unit))

    return Implementation(py=py)


def _whole_months(start: date, end: date) -> int:
    months = (end.year - start.year) * 12 + end.month - start.month
    rest_start = (start.day, start.time() if isinstance(start, datetime) else 0)
    rest_end = (end.day, end.time() if isinstance(end, datetime) else 0)
    return months - (rest_end < rest_start)


def _truncate(types: Sequence[Type]) -> Implementation:
    t = types[0]
    moment = _moment(t)

    def py(value: int, unit_name: str) -> int:
        unit = _unit(unit_name)
        if unit in _MONTHS:
            found = moment(value)
            month = (found.month - 1) // _MONTHS[unit] * _MONTHS[unit] + 1
            first = date(found.year, month, 1)
            return calendar.days_of(first) * _per_day(t)
        if t.kind == "date":
            calendar.civil(value)
            return value - (value + 3) % 7 if unit == "week" else value
        calendar.wall(value, t.unit)
        size = _UNIT_MS[unit] * (1 if t.unit == "ms" else 1_000)
        shift = 3 * _per_day(t) if unit == "week" else 0  # 1970-01-01 was a Thursday; weeks start on Monday
        start = value - (value + shift) % size
        calendar.wall(start, t.unit)
        return start

    return Implementation(py=py)


def _format(types: Sequence[Type]) -> Implementation:
    t = types[0]
    moment = _moment(t)

    def py(value: int, pattern: str) -> str:
        found = moment(value)
        if t.kind == "date":
            found = datetime(found.year, found.month, found.day)
        return "".join(p if isinstance(p, str) else p(found) for p in writer(pattern))

    return Implementation(py=py)


def _instant(how: Callable[[int, str, str], int]) -> Callable[[Sequence[Type]], Implementation]:
    def make(types: Sequence[Type]) -> Implementation:
        unit = types[0].unit
        return Implementation(py=lambda v, name: how(v, unit, name))

    return make


def _other_kind(kind: Any) -> Callable[[Sequence[Type]], Type]:
    return lambda types: Type(kind=kind, unit=types[0].unit)


def _epoch(types: Sequence[Type]) -> Implementation:
    divisor = 1 if types[0].unit == "ms" else 1_000
    return Implementation(py=lambda v: v // divisor, expr=lambda e: e.to_physical() // divisor)


def _from_epoch_s(seconds: float) -> int:
    if not -1e14 < seconds < 1e14:
        raise Fail(INVALID_ARGUMENT)
    return round(seconds * 1_000)


_DATED = ("date", "timestamp", "local")


def _same(types: Sequence[Type]) -> Type:
    return types[0].required()


def _dated(
    make: Callable[[Sequence[Type]], Implementation], rest: str, result: Any = _same, **more: Any
) -> tuple[Signature, ...]:
    return tuple(signature(f"{k} {rest}", result, make=make, fails=True, **more) for k in _DATED)


def _pairs(make: Callable[[Sequence[Type]], Implementation]) -> tuple[Signature, ...]:
    return tuple(
        signature(f"{k} {k}", "long", make=make, fails=True, alike=True, optional=(("string", "day"),)) for k in _DATED
    )


def _make_date(year: int, month: int, day: int) -> int:
    try:
        return calendar.days_of(date(year, month, day))
    except (ValueError, OverflowError):
        raise Fail(INVALID_ARGUMENT) from None


FUNCTIONS: tuple[Function, ...] = (
    _part("year", "The year.", lambda d: d.year, lambda s: s.dt.year(), ('year(date("2024-02-29"))', "2024")),
    _part(
        "quarter",
        "The quarter of the year, 1 to 4.",
        lambda d: (d.month + 2) // 3,
        lambda s: s.dt.quarter(),
        ('quarter(date("2024-05-01"))', "2"),
    ),
    _part(
        "month", "The month, 1 to 12.", lambda d: d.month, lambda s: s.dt.month(), ('month(date("2024-02-29"))', "2")
    ),
    _part(
        "day",
        "The day of the month, 1 to 31.",
        lambda d: d.day,
        lambda s: s.dt.day(),
        ('day(date("2024-02-29"))', "29"),
    ),
    _part(
        "weekday",
        "The day of the week, Monday 1 to Sunday 7.",
        lambda d: d.isoweekday(),
        lambda s: s.dt.weekday(),
        ('weekday(date("2024-02-29"))', "4"),
    ),
    _part(
        "week",
        "The week of the year by ISO 8601, 1 to 53.",
        lambda d: d.isocalendar()[1],
        lambda s: s.dt.week(),
        ('week(date("2024-12-30"))', "1"),
    ),
    _part(
        "day_of_year",
        "The day of the year, 1 to 366.",
        lambda d: d.timetuple().tm_yday,
        lambda s: s.dt.ordinal_day(),
        ('day_of_year(date("2024-03-01"))', "61"),
    ),
    _clock("hour", "The hour, 0 to 23.", 3_600_000, 24, ('hour(timestamp("2024-02-29T12:30:45Z"))', "12")),
    _clock("minute", "The minute, 0 to 59.", 60_000, 60, ('minute(timestamp("2024-02-29T12:30:45Z"))', "30")),
    _clock("second", "The second, 0 to 59.", 1_000, 60, ('second(timestamp("2024-02-29T12:30:45Z"))', "45")),
    _clock(
        "millisecond",
        "The millisecond, 0 to 999.",
        1,
        1_000,
        ('millisecond(timestamp("2024-02-29T12:30:45.5Z"))', "500"),
    ),
    function(
        "parse_date",
        "A date from text in a format (default `%Y-%m-%d`).",
        "string",
        "date",
        lambda s, f: parse_format(s, f, DATE),
        ('string(parse_date("29.02.2024", "%d.%m.%Y"))', '"2024-02-29"'),
        ('parse_date("30.02.2024", "%d.%m.%Y")', "error: bad_cast"),
        optional=(("string", "%Y-%m-%d"),),
        fails=True,
    ),
    function(
        "parse_timestamp",
        "A timestamp (ms) from text: ISO 8601, or a format of `%Y %y %m %b %B %d %j %H %I %p %M %S %f "
        "%L %z %a %A`; UTC unless the text names an offset.",
        "string",
        lambda t: TIMESTAMP_MS,
        lambda s, f: parse_format(s, f, TIMESTAMP_MS) if f else calendar.parse_iso(s, TIMESTAMP_MS),
        ('string(parse_timestamp("2024-02-29 12:30", "%Y-%m-%d %H:%M"))', '"2024-02-29T12:30:00.000Z"'),
        ('epoch_ms(parse_timestamp("1970-01-01T00:00:01Z"))', "1000"),
        optional=(("string", ""),),
        fails=True,
    ),
    function(
        "parse_local",
        "A local time (ms) from text: ISO 8601 without offset, or a format.",
        "string",
        lambda t: LOCAL_MS,
        lambda s, f: parse_format(s, f, LOCAL_MS) if f else calendar.parse_iso(s, LOCAL_MS),
        ('string(parse_local("2024-02-29T12:30"))', '"2024-02-29T12:30:00.000"'),
        optional=(("string", ""),),
        fails=True,
    ),
    Function(
        name="format_timestamp",
        doc="Text of a date or time in a format; see `parse_timestamp` for the directives.",
        signatures=_dated(_format, "string", "string"),
        aliases=("format_date",),
        examples=(('format_timestamp(timestamp("2024-02-29T12:30:45Z"), "%d %b %Y, %H:%M")', '"29 Feb 2024, 12:30"'),),
    ),
    Function(
        name="date_add",
        doc="A date or time moved by so many units; the 31st becomes the last of a shorter month.",
        signatures=_dated(_add, "long string"),
        examples=(
            ('string(date_add(date("2024-01-31"), 1, "month"))', '"2024-02-29"'),
            ('string(date_add(timestamp("2024-01-01T00:00Z"), -90, "minutes"))', '"2023-12-31T22:30:00.000Z"'),
        ),
    ),
    Function(
        name="date_diff",
        doc="Whole units from the first to the second date or time, towards zero.",
        signatures=_pairs(_difference),
        examples=(
            ('date_diff(date("2024-01-31"), date("2024-03-01"), "day")', "30"),
            ('date_diff(date("2024-01-31"), date("2024-03-01"), "month")', "1"),
        ),
    ),
    Function(
        name="truncate",
        doc="The start of the unit that a date or time lies in; weeks start on Monday.",
        signatures=_dated(_truncate, "string"),
        aliases=("date_trunc",),
        examples=(
            ('string(truncate(timestamp("2024-02-29T12:30:45Z"), "hour"))', '"2024-02-29T12:00:00.000Z"'),
            ('string(truncate(date("2024-02-29"), "week"))', '"2024-02-26"'),
        ),
    ),
    function(
        "to_timezone",
        "Wall-clock time of a zone (IANA name) at an instant.",
        "timestamp string",
        _other_kind("local"),
        None,
        ('string(to_timezone(timestamp("2024-07-01T12:00Z"), "Europe/Berlin"))', '"2024-07-01T14:00:00.000"'),
        make=_instant(calendar.to_local),
        fails=True,
    ),
    function(
        "from_timezone",
        "The instant at which a zone's clocks show a time: the first of two; a time that they skip counts "
        "by the offset before the change.",
        "local string",
        _other_kind("timestamp"),
        None,
        ('string(from_timezone(parse_local("2024-07-01T14:00"), "Europe/Berlin"))', '"2024-07-01T12:00:00.000Z"'),
        make=_instant(calendar.from_local),
        fails=True,
    ),
    function(
        "epoch_ms",
        "Milliseconds since 1970 of a timestamp.",
        "timestamp",
        "long",
        None,
        ('epoch_ms(timestamp("1970-01-02"))', "86400000"),
        make=_epoch,
    ),
    function(
        "from_epoch_ms",
        "The timestamp that many milliseconds after 1970.",
        "long",
        lambda t: TIMESTAMP_MS,
        lambda v: v,
        ("string(from_epoch_ms(0))", '"1970-01-01T00:00:00.000Z"'),
        inline="{0}",
        expr=lambda e: e.cast(polars_dtype(TIMESTAMP_MS)),
    ),
    function(
        "from_epoch_s",
        "The timestamp that many seconds after 1970, to the millisecond.",
        "double",
        lambda t: TIMESTAMP_MS,
        _from_epoch_s,
        ("string(from_epoch_s(1.5))", '"1970-01-01T00:00:01.500Z"'),
        fails=True,
    ),
    function(
        "make_date",
        "The date of a year, month and day.",
        "long long long",
        "date",
        _make_date,
        ("string(make_date(2024, 2, 29))", '"2024-02-29"'),
        ("make_date(2023, 2, 29)", "error: invalid_argument"),
        fails=True,
    ),
    function(
        "is_weekend",
        "Whether a date is a Saturday or Sunday.",
        "date",
        "bool",
        lambda v: (v + 3) % 7 >= 5,
        ('is_weekend(date("2024-03-02"))', "true"),
        inline="({0} + 3) % 7 >= 5",
        expr=lambda e: (e.to_physical().cast(pl.Int64) + 3) % 7 >= 5,
    ),
)
