"""From plain values to typed parameters and back: the one place that knows what a parameter annotation means.

The loader, the Python builder and the runtime all build nodes through `build`, so a topology made from a document and
one read back from JSON hold the same nodes. All findings of a node come at once, each at its place.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

import re2

from streamflow.sdk.expression import Expression
from streamflow.sdk.node import FunctionRef, Json, Node, ParamSpec, SchemaRef, Template, parameters
from streamflow.sdk.places import Diagnostic, Place

UNKNOWN, MISSING, WRONG_TYPE, OUT_OF_BOUNDS, BAD_DURATION, REFUSED = (
    "SF121", "SF122", "SF123", "SF124", "SF125", "SF126",
)  # fmt: skip
_CODES_OF_KEYS = {UNKNOWN: "SF110", MISSING: "SF111", WRONG_TYPE: "SF112", OUT_OF_BOUNDS: "SF112", REFUSED: "SF112"}
KEY = "<key>"  # last part of the path under which `RawParams.places` has the place of a mapping's key

DURATION_PATTERN = r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*$"
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_INT64 = (-(2**63), 2**63 - 1)


class _Broken:
    def __repr__(self) -> str:
        return "<reported>"


BROKEN: Any = _Broken()
Path = tuple[str | int, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawParams:
    """Parameters as written: plain JSON values (or ready `Expression`s, `Template`s, `FunctionRef`s from the builder).

    `places`: path of a value, such as ("fields", "total"), to where its text starts (past the quote of a quoted
    scalar); ("fields", "total", "<key>") to where its key starts. `place` is where the node starts. A value may be
    `BROKEN`: its fault was reported when the document was read.
    """

    values: Mapping[str, object] = field(default_factory=dict)
    places: Mapping[Path, Place] = field(default_factory=dict)
    place: Place = field(default_factory=Place)

    def at(self, *path: str | int) -> Place:
        """Place of the value at `path`, else of the nearest value around it, else of the node."""
        for end in range(len(path), 0, -1):
            if (found := self.places.get(path[:end])) is not None:
                return found
        return self.place

    def key_at(self, *path: str | int) -> Place:
        """Place of the key of the value at `path`, else the value's."""
        return self.places.get((*path, KEY)) or self.at(*path)


def nearest(name: str, names: Iterable[str]) -> str:
    """The known name that `name` most likely stands for, or ""."""
    known = list(names)[:1000]
    folded = {k.lower().replace("-", "_"): k for k in known}
    wanted = name[:100].lower().replace("-", "_")
    letters = sorted(wanted)
    swapped = [k for k in folded if sorted(k) == letters]  # `fi` is `if` before it is `file`
    found = swapped or difflib.get_close_matches(wanted, folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else ""


def suggestion(name: str, names: Iterable[str], *, listed_max: int = 12) -> str:
    """A mend sentence: the nearest name, or the names there are."""
    known = list(names)
    if near := nearest(name, known):
        return f"Did you mean {near!r}?"
    if not known:
        return ""
    rest = f", … ({len(known) - listed_max} more)" if len(known) > listed_max else ""
    return f"Known: {', '.join(known[:listed_max])}{rest}."


def parse_duration_ms(text: str) -> int | None:
    """Milliseconds of `500ms`, `5s`, `1.5m`, `2h`, `1d`; None if `text` is no duration."""
    if len(text) > 40 or (found := re.match(DURATION_PATTERN, text)) is None:
        return None
    ms = float(found[1]) * _UNIT_MS[found[2]]
    return int(ms) if ms == int(ms) and ms <= _INT64[1] else None


def build(kind: type[Node], raw: RawParams) -> tuple[Node | None, list[Diagnostic]]:
    """Make a node of `kind`: every parameter coerced by its annotation. The node is None if any finding is an error."""
    return build_form(kind, raw)


def build_form(form: type[T], raw: RawParams, *, noun: str = "parameter") -> tuple[T | None, list[Diagnostic]]:
    """`build` for any dataclass whose fields are declared with `param`. `noun` is what messages call one of them."""
    builder = _Builder(raw, noun)
    made = builder.form(form, raw.values, ())
    return (None if builder.findings or builder.broken else made), builder.findings


def param_types(form: type[Any]) -> Mapping[str, Any]:
    """Resolved annotations of a form's parameters."""
    return _param_types(cast(Any, form))


@functools.cache
def _param_types(form: Any) -> Mapping[str, Any]:
    hints = typing.get_type_hints(form)
    return {f.name: hints[f.name] for f in parameters(form)}


def spec_of(param: dataclasses.Field[Any]) -> ParamSpec:
    spec = param.metadata["param"]
    assert isinstance(spec, ParamSpec)
    return spec


def is_form(annotation: Any) -> bool:
    """Whether an annotation is a nested form: a dataclass with parameters."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation) and bool(parameters(annotation))  # type: ignore[arg-type]


def sole_required(form: type[Any]) -> str:
    """The one parameter of a form that has no default: a scalar in the form's place stands for it. "" if not one."""
    required = [f.name for f in parameters(form) if f.default is dataclasses.MISSING]
    return required[0] if len(required) == 1 else ""


def optional(annotation: Any) -> tuple[Any, bool]:
    """(`X`, True) for `X | None`, else (annotation, False)."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        if len(inner) != 1:
            raise TypeError(f"a parameter may be `X | None` but no other union: {annotation}")
        return inner[0], True
    return annotation, False


def short_name(name: str, annotation: Any) -> str:
    """The name under which a duration parameter also takes texts with a unit: `delay` for `delay_ms`; else ""."""
    return name[:-3] if name.endswith("_ms") and optional(annotation)[0] in (int, Expression) else ""


def literal_text(value: object) -> str | None:
    """Expression text of a YAML scalar that is no string; None if it is no scalar."""
    if value is None or isinstance(value, bool | int):
        return repr(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return None


def clipped(text: str, length_max: int = 400) -> str:
    """`text`, shortened in the middle: messages quote what users wrote, which may be long."""
    half = length_max // 2
    return text if len(text) <= length_max else f"{text[:half]} … {text[-half:]}"


def spell(value: object) -> str:
    """A value as a message shows it: JSON-like and short."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…" + text[0]


_INVALID: Any = BROKEN  # the result of whatever was reported
_WORDS = {str: "text", int: "an integer", float: "a number", bool: "true or false"}


class _Builder:
    """Coerces one node's values, collecting findings."""

    def __init__(self, raw: RawParams, noun: str) -> None:
        self.raw, self.noun = raw, noun
        self.findings: list[Diagnostic] = []
        self.broken = False

    def report(self, place: Place, code: str, message: str, mend: str = "") -> Any:
        code = code if self.noun == "parameter" else _CODES_OF_KEYS.get(code, code)
        self.findings.append(Diagnostic(place=place, code=code, message=clipped(message), mend=clipped(mend)))
        return _INVALID

    def wrong(self, path: Path, expected: str, value: object, mend: str = "") -> Any:
        return self.report(
            self.raw.at(*path),
            WRONG_TYPE,
            f"{self.noun} {_dotted(path)!r}: expected {expected}, found {spell(value)}.",
            mend,
        )

    def form(self, form: type[T], values: Mapping[str, object], path: Path) -> T | Any:
        """An instance of `form`; every parameter is looked at before any finding counts."""
        before = len(self.findings)
        hints = param_types(form)
        shorts = {s: n for n, a in hints.items() if (s := short_name(n, a)) and s not in hints}
        given: dict[str, str] = {}  # parameter -> the name it was written under
        meant: set[str] = set()  # parameters that a misspelt name most likely stands for: not missing too
        for name in values:
            param = name if name in hints else shorts.get(name)
            if param is None:
                meant.add(nearest(name, hints))
                self.report(
                    self.raw.key_at(*path, name),
                    UNKNOWN,
                    f"unknown {self.noun} {_dotted((*path, name))!r}.",
                    suggestion(name, hints) or "It takes no parameters.",
                )
            elif param in given:
                self.report(
                    self.raw.key_at(*path, name), UNKNOWN, f"{name!r} and {given[param]!r} are the same {self.noun}."
                )
            else:
                given[param] = name
        made: dict[str, Any] = {}
        for param_field in parameters(form):  # type: ignore[arg-type]
            name = param_field.name
            if name in given:
                at = (*path, given[name])
                if given[name] != name and not isinstance(values[given[name]], str | Expression | None):
                    unit = f"Write it with a unit, such as '5s', or as {name!r} in milliseconds."
                    made[name] = self.wrong(at, "a duration", values[given[name]], unit)
                else:
                    made[name] = self.value(hints[name], values[given[name]], at, spec_of(param_field), name)
            elif param_field.default is dataclasses.MISSING and name not in meant:
                where = self.raw.at(*path)
                self.report(
                    where, MISSING, f"missing {self.noun} {_dotted((*path, name))!r}: {spec_of(param_field).help}"
                )
        if len(self.findings) > before or self.broken:
            return _INVALID
        try:
            return form(**made)
        except ValueError as error:  # a node refuses a combination of parameters in __post_init__
            return self.report(self.raw.at(*path), REFUSED, _sentence(str(error)))

    def value(self, annotation: Any, value: object, path: Path, spec: ParamSpec, name: str) -> Any:
        if value is BROKEN:
            self.broken = True
            return _INVALID
        annotation, nullable = optional(annotation)
        if value is None and nullable:
            return None
        origin = typing.get_origin(annotation)
        if annotation is Json:
            return value
        if annotation is Expression and name.endswith("_ms") and isinstance(value, str):
            ms = parse_duration_ms(value)  # `10m` is no expression, and what it means is
            value = value if ms is None else str(ms)
        if annotation is Expression or annotation is Template:
            return self.text(annotation, value, path)
        if annotation is FunctionRef:
            return self.function(value, path)
        if origin is Literal:
            return self.choice(typing.get_args(annotation), value, path)
        if origin is tuple:
            return self.items(typing.get_args(annotation)[0], value, path, spec, name)
        if origin in (Mapping, dict):
            return self.mapping(typing.get_args(annotation)[1], value, path, spec, name)
        if is_form(annotation):
            if isinstance(value, annotation):
                return value
            if (
                (short := sole_required(annotation))
                and value is not None
                and not isinstance(value, Mapping | list | tuple)
            ):
                return self.form(annotation, {short: value}, path)  # `by: amount` is `by: {value: amount}`
            if not isinstance(value, Mapping):
                return self.wrong(path, "a mapping with " + ", ".join(param_types(annotation)), value)
            return self.form(annotation, value, path)
        return self.scalar(str if annotation is SchemaRef else annotation, value, path, spec, name)

    def text(self, annotation: type[Expression] | type[Template], value: object, path: Path) -> Any:
        if isinstance(value, annotation):
            return value
        text = value if isinstance(value, str) else literal_text(value) if annotation is Expression else None
        if text is None:
            what = "an expression" if annotation is Expression else "text"
            mend = "Quote it." if isinstance(value, Mapping | list) or annotation is Template else ""
            return self.wrong(path, what, value, mend)
        if annotation is Expression and not text.strip():
            return self.wrong(path, "an expression", value)
        return annotation(text, self.raw.at(*path))

    def function(self, value: object, path: Path) -> Any:
        if isinstance(value, FunctionRef):
            return value
        if not isinstance(value, str):
            return self.wrong(path, "a function as 'package.module:name'", value)
        if not re.match(r"^(python:[A-Za-z_][\w.-]*|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*)$", value):
            return self.wrong(path, "a function as 'package.module:name'", value)
        return FunctionRef(value)

    def choice(self, choices: tuple[Any, ...], value: object, path: Path) -> Any:
        if any(value == c and type(value) is type(c) for c in choices):
            return value
        spelt = [str(c).lower() if isinstance(c, bool) else str(c) for c in choices]
        if isinstance(value, bool) and str(value).lower() in choices:  # YAML reads an unquoted `true` as a boolean
            return str(value).lower()
        near = nearest(value, spelt) if isinstance(value, str) else ""
        return self.report(
            self.raw.at(*path),
            OUT_OF_BOUNDS,
            f"{self.noun} {_dotted(path)!r}: {spell(value)} is none of {', '.join(spelt)}.",
            f"Did you mean {near!r}?" if near else "",
        )

    def items(self, inner: Any, value: object, path: Path, spec: ParamSpec, name: str) -> Any:
        if isinstance(value, str | Expression | Template):  # `by: country` is `by: [country]`
            value = [value]
            made = [self.value(inner, value[0], path, unsized(spec), name)]
        elif isinstance(value, list | tuple):
            made = [self.value(inner, v, (*path, i), unsized(spec), name) for i, v in enumerate(value)]
        else:
            return self.wrong(path, "a list", value)
        return self.sized(value, path, spec, "entries") and (
            _INVALID if any(m is _INVALID for m in made) else tuple(made)
        )

    def mapping(self, inner: Any, value: object, path: Path, spec: ParamSpec, name: str) -> Any:
        if not isinstance(value, Mapping):
            return self.wrong(path, "a mapping", value)
        made = {}
        for key, v in value.items():
            made[str(key)] = self.value(inner, v, (*path, str(key)), unsized(spec), name)
        return self.sized(value, path, spec, "entries") and made

    def sized(self, value: Any, path: Path, spec: ParamSpec, unit: str) -> bool | Any:
        """True, or the reported mark (also true: a finding makes the whole form fail)."""
        if spec.min_length is not None and len(value) < spec.min_length:
            return self.report(
                self.raw.at(*path),
                OUT_OF_BOUNDS,
                f"{self.noun} {_dotted(path)!r}: needs at least {spec.min_length} {unit}, found {len(value)}.",
            )
        return True

    def scalar(self, annotation: Any, value: object, path: Path, spec: ParamSpec, name: str) -> Any:
        if annotation is int and name.endswith("_ms") and isinstance(value, str):
            ms = parse_duration_ms(value)
            if ms is None:
                return self.report(
                    self.raw.at(*path),
                    BAD_DURATION,
                    f"{self.noun} {_dotted(path)!r}: {spell(value)} is no duration.",
                    "Write a number and a unit: 500ms, 5s, 2m, 2h or 1d.",
                )
            value = ms
        if annotation is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if annotation not in _WORDS:
            raise TypeError(f"{self.noun} {_dotted(path)!r} has an annotation that none may have: {annotation}")
        if not isinstance(value, annotation) or (isinstance(value, bool) and annotation is not bool):
            mend = ""
            if annotation is str and isinstance(value, bool | int | float):
                mend = "Quote it to make it text."
            elif isinstance(value, str) and annotation in (int, float, bool):
                mend = "Remove the quotes." if _reads_as(annotation, value) else ""
            return self.wrong(path, _WORDS[annotation], value, mend)
        return self.bounded(value, path, spec)

    def bounded(self, value: Any, path: Path, spec: ParamSpec) -> Any:
        rule = ""
        if isinstance(value, str):
            if self.sized(value, path, spec, "characters") is not True:
                return _INVALID
            if spec.pattern is not None and not re2.search(spec.pattern, value):
                rule = f"must match {spec.pattern}"
        elif not isinstance(value, bool):
            if isinstance(value, int) and not _INT64[0] <= value <= _INT64[1]:
                rule = "must fit 64 bits"
            elif not math.isfinite(value):
                rule = "must be finite"
            elif spec.ge is not None and value < spec.ge:
                rule = f"must be at least {spec.ge:g}"
            elif spec.le is not None and value > spec.le:
                rule = f"must be at most {spec.le:g}"
        if not rule:
            return value
        return self.report(
            self.raw.at(*path), OUT_OF_BOUNDS, f"{self.noun} {_dotted(path)!r}: {rule}, found {spell(value)}."
        )


def to_json(node: object) -> dict[str, object]:
    """Plain JSON of a node (or form) that `build` takes back; parameters that equal their defaults are left out."""
    made: dict[str, object] = {}
    for param_field in parameters(type(node)):  # type: ignore[arg-type]
        value = getattr(node, param_field.name)
        if param_field.default is dataclasses.MISSING or value != param_field.default:
            made[param_field.name] = plain_value(value)
    return made


def plain_value(value: object) -> object:
    if isinstance(value, Expression | Template):
        return value.text
    if isinstance(value, FunctionRef):
        return value.ref
    if isinstance(value, Mapping):
        return {str(k): plain_value(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain_value(v) for v in value]
    if is_form(type(value)):
        return to_json(value)
    return value


def unsized(spec: ParamSpec) -> ParamSpec:
    """Bounds of a list's entries: `min_length` counts the list itself, the others hold for each entry."""
    return spec if spec.min_length is None else dataclasses.replace(spec, min_length=None)


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _sentence(text: str) -> str:
    text = text.strip() or "these parameters do not go together"
    return text if text.endswith((".", "!", "?")) else text + "."


def _reads_as(annotation: type, text: str) -> bool:
    if annotation is bool:
        return text.lower() in ("true", "false")
    return re.match(r"^[-+]?\d+$" if annotation is int else r"^[-+]?\d+(\.\d+)?([eE][-+]?\d+)?$", text) is not None


def json_schema(form: type[Any]) -> dict[str, object]:
    """JSON Schema (2020-12) of the parameters of a node kind or form, as a document writes them."""
    from streamflow.sdk.param_schema import json_schema as schema_of  # that module reads annotations through this one

    return schema_of(form)
