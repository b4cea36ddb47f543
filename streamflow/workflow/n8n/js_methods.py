"""Methods of values: JavaScript's, Luxon's and those that n8n adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from streamflow.workflow.n8n.js_patterns import matching, replacing
from streamflow.workflow.n8n.js_times import TIME_METHODS, TIME_PARTS
from streamflow.workflow.n8n.js_tree import Arrow, Js, Pattern
from streamflow.workflow.n8n.printed import Kind, Printed, call, constant, joined
from streamflow.workflow.n8n.problems import NoEquivalent

if TYPE_CHECKING:
    from streamflow.workflow.n8n.printer import Printer

# JavaScript's name -> (ours, kind of the result, least and most arguments); the arguments are handed on as they are
_SIMPLE: Mapping[str, tuple[str, Kind, int, int]] = {
    "toUpperCase": ("upper", "string", 0, 0), "toLowerCase": ("lower", "string", 0, 0),
    "toLocaleUpperCase": ("upper", "string", 0, 0), "toLocaleLowerCase": ("lower", "string", 0, 0),
    "trim": ("trim", "string", 0, 0), "trimStart": ("ltrim", "string", 0, 0), "trimEnd": ("rtrim", "string", 0, 0),
    "includes": ("contains", "bool", 1, 1), "startsWith": ("starts_with", "bool", 1, 1),
    "endsWith": ("ends_with", "bool", 1, 1), "indexOf": ("index_of", "number", 1, 1),
    "lastIndexOf": ("last_index_of", "number", 1, 1), "slice": ("slice", "any", 1, 2),
    "substr": ("substring", "string", 1, 2), "repeat": ("repeat", "string", 1, 1),
    "padStart": ("pad_left", "string", 1, 2), "padEnd": ("pad_right", "string", 1, 2),
    "toString": ("string", "string", 0, 0), "normalize": ("normalize", "string", 0, 1),
    "reverse": ("reverse", "any", 0, 0), "flat": ("flatten", "list", 0, 0), "at": ("get", "any", 1, 1),
    "first": ("first", "any", 0, 0), "last": ("last", "any", 0, 0), "pop": ("last", "any", 0, 0),
    "shift": ("first", "any", 0, 0), "unique": ("unique", "list", 0, 0), "removeDuplicates": ("unique", "list", 0, 0),
    "sum": ("sum", "number", 0, 0), "average": ("avg", "number", 0, 0), "max": ("max", "number", 0, 0),
    "min": ("min", "number", 0, 0), "compact": ("compact", "list", 0, 0), "chunk": ("chunk", "list", 1, 1),
    "isEmpty": ("is_empty", "bool", 0, 0), "toInt": ("long", "number", 0, 0), "toFloat": ("double", "number", 0, 0),
    "toBoolean": ("bool", "bool", 0, 0), "toJsonString": ("to_json", "string", 0, 0),
    "parseJson": ("parse_json", "any", 0, 0), "base64Encode": ("base64_encode", "string", 0, 0),
    "urlEncode": ("url_encode", "string", 0, 0), "urlDecode": ("url_decode", "string", 0, 0),
    "toTitleCase": ("title", "string", 0, 0), "keys": ("keys", "list", 0, 0), "values": ("values", "list", 0, 0),
    "hasField": ("has", "bool", 1, 1), "removeField": ("omit", "any", 1, 1), "floor": ("floor", "number", 0, 0),
    "ceil": ("ceil", "number", 0, 0), "abs": ("abs", "number", 0, 0), "isEven": ("is_even", "bool", 0, 0),
    "isNumeric": ("is_number", "bool", 0, 0), "length": ("length", "number", 0, 0),
    "hasOwnProperty": ("has", "bool", 1, 1),
}  # fmt: skip
_ON_TEXT = frozenset(
    ("toUpperCase", "toLowerCase", "toLocaleUpperCase", "toLocaleLowerCase", "trim", "trimStart", "trimEnd",
     "startsWith", "endsWith", "substr", "repeat", "padStart", "padEnd", "split")
)  # fmt: skip
_HASHES = frozenset(("md5", "sha1", "sha256", "sha512"))


def method(printer: Printer, value: Printed, name: str, args: tuple[Js, ...]) -> Printed:
    """`value.name(args)`. Raises NoEquivalent."""
    if any(isinstance(a, Arrow) for a in args):
        raise NoEquivalent(f"`.{name}()` with a function")
    if name in ("replace", "replaceAll"):
        return replacing(printer, value, args, every=name == "replaceAll")
    if name == "match":
        return matching(value, args)
    if (name in TIME_METHODS) and (value.kind == "time" or name not in _SIMPLE):
        return TIME_METHODS[name](printer, value, args)
    if name in _SPECIAL:
        return _SPECIAL[name](printer, value, args)
    if name not in _SIMPLE:
        raise NoEquivalent(f"`.{name}()`")
    ours, kind, least, most = _SIMPLE[name]
    if not least <= len(args) <= most:
        if name in ("toString", "toLocaleLowerCase", "toLocaleUpperCase", "flat", "includes", "indexOf"):
            raise NoEquivalent(f"`.{name}()` with {len(args)} arguments")
        args = args[:most]
        if len(args) < least:
            raise NoEquivalent(f"`.{name}()` with {len(args)} arguments")
    if name in _ON_TEXT and value.kind in ("number", "bool", "list", "record"):
        raise NoEquivalent(f"`.{name}()` of a {value.kind}")
    if name == "toString" and value.kind == "string":
        return value
    if name == "slice" and value.kind == "string":
        kind = "string"
    if name == "indexOf" and value.kind == "list":
        ours = "position"
    if name in ("first", "last", "pop", "shift") and value.kind == "string":
        raise NoEquivalent(f"`.{name}()` of a text")
    return call(ours, value, *(printer.print(a) for a in args), kind=kind)


def time_part(value: Printed, name: str) -> Printed:
    """`.year` of a time."""
    if name not in TIME_PARTS:
        raise NoEquivalent(f"`.{name}` of a time")
    return call(TIME_PARTS[name], value, kind="number")


def _split(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    if len(args) != 1:
        raise NoEquivalent("split() without one argument")
    if isinstance(args[0], Pattern):
        from streamflow.workflow.n8n.js_patterns import pattern_text

        return call("regex_split", value, constant(pattern_text(args[0])), kind="list")
    return call("split", value, printer.print(args[0]), kind="list")


def _join(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    return call("join", value, printer.print(args[0]) if args else constant(","), kind="string")


def _substring(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    if not 1 <= len(args) <= 2:
        raise NoEquivalent("substring() without arguments")
    return call("slice", value, *(printer.print(a) for a in args), kind="string")


def _char_at(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    return call("substring", value, printer.print(args[0]) if args else Printed("0"), Printed("1"), kind="string")


def _concat(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    others = [printer.print(a) for a in args]
    if value.kind == "string" or any(o.kind == "string" for o in others):
        return joined((value, *others))
    return call("concat", value, *others, kind="list") if others else value


def _to_fixed(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    digits = printer.print(args[0]) if args else Printed("0")
    return call("format_number", value, digits, constant(""), kind="string")


def _round(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    if args:
        return call("round", value, printer.print(args[0]), kind="number")
    return call("floor", Printed(f"{value} + 0.5"), kind="number")


def _not_empty(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    return Printed(f"not is_empty({value.text})", "bool", tight=False, whole=True)


def _to_number(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    return value if value.kind == "number" else call("double", value, kind="number")


def _decode(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    return call("text", call("base64_decode", value), kind="string")


def _hash(printer: Printer, value: Printed, args: tuple[Js, ...]) -> Printed:
    kind = printer.print(args[0]).text.strip('"').lower().replace("-", "") if args else "md5"
    if kind not in _HASHES:
        raise NoEquivalent(f"the hash {kind!r}")
    return call(kind, value, kind="string")


_SPECIAL: Mapping[str, Callable[[Printer, Printed, tuple[Js, ...]], Printed]] = {
    "split": _split,
    "join": _join,
    "substring": _substring,
    "charAt": _char_at,
    "concat": _concat,
    "toFixed": _to_fixed,
    "round": _round,
    "isNotEmpty": _not_empty,
    "toNumber": _to_number,
    "base64Decode": _decode,
    "hash": _hash,
}


def names_of_methods() -> list[str]:
    """All methods that have an equivalent."""
    return sorted({*_SIMPLE, *_SPECIAL, *TIME_METHODS, "replace", "replaceAll", "match", "test"})
