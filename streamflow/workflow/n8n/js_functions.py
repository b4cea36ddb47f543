"""Functions that belong to no value: `Math.round`, `JSON.stringify`, `Number`, `parseInt`, `new Date`, n8n's `$if`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from streamflow.workflow.n8n.js_names import NOW, rooted
from streamflow.workflow.n8n.js_times import time_of
from streamflow.workflow.n8n.js_tree import Js, Name
from streamflow.workflow.n8n.printed import Kind, Printed, call, certain, constant, equal
from streamflow.workflow.n8n.problems import NoEquivalent

if TYPE_CHECKING:
    from streamflow.workflow.n8n.printer import Printer

_MATH = {
    "floor": "floor", "ceil": "ceil", "trunc": "trunc", "abs": "abs", "max": "max", "min": "min", "pow": "pow",
    "sqrt": "sqrt", "log": "log", "log10": "log10", "log2": "log2", "exp": "exp", "sign": "sign", "sin": "sin",
    "cos": "cos", "tan": "tan", "atan2": "atan2",
}  # fmt: skip
_CONSTANTS = {
    ("Math", "PI"): math.pi, ("Math", "E"): math.e, ("Number", "MAX_SAFE_INTEGER"): 2**53 - 1,
    ("Number", "MIN_SAFE_INTEGER"): 1 - 2**53,
}  # fmt: skip
# JavaScript's name -> (ours, kind of the result), for functions of one value
_STATIC: Mapping[tuple[str, str], tuple[str, Kind]] = {
    ("Object", "keys"): ("keys", "list"), ("Object", "values"): ("values", "list"),
    ("Object", "entries"): ("entries", "list"), ("JSON", "stringify"): ("to_json", "string"),
    ("JSON", "parse"): ("parse_json", "any"), ("DateTime", "fromISO"): ("timestamp", "time"),
    ("DateTime", "fromSeconds"): ("from_epoch_s", "time"),
    ("DateTime", "fromJSDate"): ("timestamp", "time"), ("Number", "parseFloat"): ("double", "number"),
    ("Number", "parseInt"): ("long", "number"), ("Date", "parse"): ("timestamp", "time"),
}  # fmt: skip
_GLOBAL: Mapping[str, tuple[str, Kind]] = {
    "String": ("string", "string"), "Number": ("double", "number"), "parseFloat": ("double", "number"),
    "parseInt": ("long", "number"), "encodeURIComponent": ("url_encode", "string"),
    "encodeURI": ("url_encode", "string"), "decodeURIComponent": ("url_decode", "string"),
    "$max": ("max", "number"), "$min": ("min", "number"), "btoa": ("base64_encode", "string"),
}  # fmt: skip


def constant_of(of: Js, name: str) -> Printed | None:
    """`Math.PI` and the like."""
    found = _CONSTANTS.get((of.name, name)) if isinstance(of, Name) else None
    return None if found is None else constant(found)


def static(printer: Printer, of: Js, name: str, args: tuple[Js, ...]) -> Printed | None:
    """`Math.round(x)`: a function of a name that stands for no value; None where `of` is something else."""
    if not isinstance(of, Name) or of.name not in ("Math", "Object", "JSON", "DateTime", "Number", "Date", "Array"):
        return None
    where = f"{of.name}.{name}"
    if where in ("DateTime.now", "Date.now", "DateTime.local", "DateTime.utc") and not args:
        now = rooted(Name(name="$now"), printer.names)
        assert now is not None
        return call("epoch_ms", now, kind="number") if of.name == "Date" else now
    if not args:
        raise NoEquivalent(f"{where}()")
    if of.name == "Math" and name in _MATH:
        return call(_MATH[name], *(printer.print(a) for a in args), kind="number")
    first = printer.print(args[0])
    match where:
        case "Math.round":
            return call("floor", Printed(f"{first} + 0.5"), kind="number")
        case "Array.isArray":
            return Printed(f'typeof({first.text}) == "array"', "bool", tight=False, whole=True)
        case "Number.isInteger":
            return Printed(f'typeof({first.text}) == "long"', "bool", tight=False, whole=True)
        case "Number.isNaN":
            return _not_a_number(first)
        case "DateTime.fromMillis":
            return time_of(call("long", first, kind="number"))
    if (found := _STATIC.get((of.name, name))) is None:
        raise NoEquivalent(f"{where}()")
    made = call(found[0], first, kind=found[1])
    return call("epoch_ms", made, kind="number") if where == "Date.parse" else made


def function(printer: Printer, name: str, args: tuple[Js, ...], *, new: bool) -> Printed:
    """`Number(x)`, `new Date(x)`, `$if(a, b, c)`."""
    if new and name != "Date":
        raise NoEquivalent(f"new {name}()")
    if name in _SPECIAL:
        return _SPECIAL[name](printer, args)
    if name not in _GLOBAL or not args:
        raise NoEquivalent(f"{name}()")
    ours, kind = _GLOBAL[name]
    values = [printer.print(a) for a in args]
    if kind == "number" and not name.startswith("$"):
        return values[0] if values[0].kind == "number" and ours == "double" else call(ours, values[0], kind=kind)
    return call(ours, *values, kind=kind)


def _date(printer: Printer, args: tuple[Js, ...]) -> Printed:
    if not args:
        return rooted(Name(name="$now"), printer.names) or NOW
    if len(args) > 1:
        raise NoEquivalent("new Date() of several numbers")
    value = printer.print(args[0])
    if value.kind == "time":
        return value
    return time_of(value)


def _if(printer: Printer, args: tuple[Js, ...]) -> Printed:
    if len(args) != 3:
        raise NoEquivalent("$if() without three arguments")
    yes, no = printer.print(args[1]), printer.print(args[2])
    kind = yes.kind if yes.kind == no.kind else "any"
    return Printed(f"{yes} if {printer.condition(args[0])} else {no}", kind, tight=False, whole=yes.whole and no.whole)


def _if_empty(printer: Printer, args: tuple[Js, ...]) -> Printed:
    if len(args) != 2:
        raise NoEquivalent("$ifEmpty() without two arguments")
    value, other = printer.print(args[0]), printer.print(args[1])
    return Printed(f"{other} if is_empty({value.text}) else {value}", tight=False)


def _boolean(printer: Printer, args: tuple[Js, ...]) -> Printed:
    return certain(printer.condition(args[0])) if args else constant(False)


def _is_nan(printer: Printer, args: tuple[Js, ...]) -> Printed:
    if not args:
        raise NoEquivalent("isNaN()")
    return _not_a_number(printer.print(args[0]))


def _not_a_number(value: Printed) -> Printed:
    return equal(call("try", call("double", value)), Printed("null", "null"))


_SPECIAL: Mapping[str, Callable[[Printer, tuple[Js, ...]], Printed]] = {
    "Date": _date,
    "$if": _if,
    "$ifEmpty": _if_empty,
    "Boolean": _boolean,
    "isNaN": _is_nan,
}


def names_of_functions() -> list[str]:
    """What can be called by name."""
    math_names = [f"Math.{name}" for name in (*_MATH, "round")]
    others = ["Array.isArray", "Number.isInteger", "Number.isNaN", "DateTime.now", "DateTime.fromMillis", "Date.now"]
    return [
        *sorted({*math_names, *others, *(f"{of}.{name}" for of, name in _STATIC), *_GLOBAL, *_SPECIAL} - {"Date"}),
        "new Date",
    ]
