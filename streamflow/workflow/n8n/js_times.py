"""Times: methods of Luxon's DateTime and of JavaScript's Date."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from streamflow.workflow.n8n.js_tree import Fields, Js, Literal
from streamflow.workflow.n8n.printed import Kind, Printed, call, constant
from streamflow.workflow.n8n.problems import NoEquivalent

if TYPE_CHECKING:
    from streamflow.workflow.n8n.printer import Printer

_UNITS = ("millisecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year")
TIME_PARTS = {
    "year": "year", "month": "month", "day": "day", "hour": "hour", "minute": "minute", "second": "second",
    "millisecond": "millisecond", "weekday": "weekday", "weekNumber": "week", "quarter": "quarter",
    "ordinal": "day_of_year", "ts": "epoch_ms",
}  # fmt: skip
_DIRECTIVES = {
    "yyyy": "%Y", "yy": "%y", "MM": "%m", "MMM": "%b", "MMMM": "%B", "LL": "%m", "LLL": "%b", "LLLL": "%B",
    "dd": "%d", "HH": "%H", "hh": "%I", "mm": "%M", "ss": "%S", "SSS": "%L", "a": "%p", "EEE": "%a", "EEEE": "%A",
    "ccc": "%a", "cccc": "%A", "YYYY": "%Y", "DD": "%d", "ooo": "%j",
}  # fmt: skip
_TOKEN = re.compile(r"'[^']*'|([A-Za-z])\1*|[^A-Za-z']+|'")
_ISO = {"yyyy-MM-dd": "%Y-%m-%d"}


def time_of(value: Printed) -> Printed:
    """A number of milliseconds, or ISO 8601 text, as a time."""
    if value.kind == "number":
        return call("from_epoch_ms", call("long", value), kind="time")
    return call("timestamp", value, kind="time")


def _as_time(value: Printed) -> Printed:
    if value.kind == "time":
        return value
    return time_of(value)


def _unit(name: str) -> str:
    one = name.lower().removesuffix("s")
    if one not in _UNITS:
        raise NoEquivalent(f"the unit of time {name!r}")
    return one


def _moved(sign: str) -> Callable[[Printer, Printed, tuple[Js, ...]], Printed]:
    def move(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
        made = _as_time(value)
        for count, unit in _amounts(printer, args):
            number = Printed(f"-{count}" if sign == "-" and count.text != "0" else count.text)
            if number.text.startswith("--"):
                number = Printed(number.text[2:])
            made = call("date_add", made, number, constant(unit), kind="time")
        return made

    return move


def _amounts(printer: Printer, args: tuple[Js, ...]) -> list[tuple[Printed, str]]:
    """(count, unit) of `{days: 1}`, of `1, 'day'`, or of a number of milliseconds."""
    match args:
        case (Fields(fields=entries),):
            return [(printer.print(value), _unit(name)) for name, value in entries]
        case (number, Literal(value=str(unit))):
            return [(printer.print(number), _unit(unit))]
        case (number,):
            return [(printer.print(number), "millisecond")]
    raise NoEquivalent("plus() or minus() of a duration that is not written out")


def _format(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    match args:
        case (Literal(value=str(text)), *_):
            pass
        case _:
            raise NoEquivalent("a format of a time that is no constant text")
    if text in ("x", "X"):
        return call("string", _epoch(value, seconds=text == "X"), kind="string")
    made = "".join(_directive(token[0]) for token in _TOKEN.finditer(text))
    return call("format_timestamp", _as_time(value), constant(made), kind="string")


def _directive(part: str) -> str:
    if part in _DIRECTIVES:
        return _DIRECTIVES[part]
    if part.startswith("'"):
        return part.strip("'").replace("%", "%%")
    if part[0].isalpha() and part != "T":
        raise NoEquivalent(f"{part!r} in the format of a time")
    return part.replace("%", "%%")


def _epoch(value: Printed, *, seconds: bool) -> Printed:
    made = call("epoch_ms", _as_time(value), kind="number")
    return Printed(f"{made} // 1000", "number", tight=False) if seconds else made


def _start_of(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    match args:
        case (Literal(value=str(unit)), *_):
            return call("truncate", _as_time(value), constant(_unit(unit)), kind="time")
    raise NoEquivalent("startOf() without a unit")


def _diff(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    match args:
        case (other, Literal(value=str(unit))):
            made = _as_time(printer.print(other)), _as_time(value), constant(_unit(unit))
            return call("date_diff", *made, kind="number")
    raise NoEquivalent("a difference of times without a unit")


def _plain(ours: str, kind: Kind) -> Callable[[Printer, Printed, tuple[Js, ...]], Printed]:
    return lambda printer, value, args: call(ours, _as_time(value), kind=kind)


def _date_text(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    return call("string", call("date", _as_time(value)), kind="string")


def _zone(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    match args:
        case () | (Literal(value="utc" | "UTC" | "Etc/UTC"),):
            return _as_time(value)
        case (zone, *_):
            return call("to_timezone", _as_time(value), printer.print(zone), kind="time")
    raise NoEquivalent("a time zone")


TIME_METHODS: Mapping[str, Callable[[Printer, Printed, tuple[Js, ...]], Printed]] = {
    "toISO": _plain("string", "string"),
    "toISOString": _plain("string", "string"),
    "toJSON": _plain("string", "string"),
    "toString": _plain("string", "string"),
    "toISODate": _date_text,
    "toDateTime": lambda printer, value, args: _as_time(value),
    "toDate": lambda printer, value, args: _as_time(value),
    "toUTC": _zone,
    "setZone": _zone,
    "toMillis": lambda printer, value, args: _epoch(value, seconds=False),
    "getTime": lambda printer, value, args: _epoch(value, seconds=False),
    "valueOf": lambda printer, value, args: _epoch(value, seconds=False),
    "toSeconds": lambda printer, value, args: _epoch(value, seconds=True),
    "toUnixInteger": lambda printer, value, args: _epoch(value, seconds=True),
    "toFormat": _format,
    "format": _format,
    "plus": _moved("+"),
    "minus": _moved("-"),
    "startOf": _start_of,
    "beginningOf": _start_of,
    "diffTo": _diff,
    "getFullYear": _plain("year", "number"),
    "getUTCFullYear": _plain("year", "number"),
    "getDate": _plain("day", "number"),
    "getUTCDate": _plain("day", "number"),
    "getHours": _plain("hour", "number"),
    "getUTCHours": _plain("hour", "number"),
    "getMinutes": _plain("minute", "number"),
    "getSeconds": _plain("second", "number"),
}
