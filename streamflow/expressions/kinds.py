"""Which types go where: parameter specifications, common types of branches, and widening."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from streamflow.model.types import (
    ANY,
    BOOL,
    BYTES,
    DATE,
    DOUBLE,
    LOCAL_US,
    LONG,
    NULL,
    STRING,
    TIME_US,
    TIMESTAMP_US,
    Type,
    array_of,
    map_of,
    walk,
)  # fmt: skip

TEMPORAL = frozenset(("date", "time", "timestamp", "local"))

# A parameter is specified by the name of a kind, `array<…>`, or one of: value (anything), object (map or record).
_PLAIN: dict[str, Type] = {
    "bool": BOOL, "long": LONG, "double": DOUBLE, "string": STRING, "bytes": BYTES, "date": DATE, "time": TIME_US,
    "timestamp": TIMESTAMP_US, "local": LOCAL_US, "array": array_of(ANY), "map": map_of(ANY), "object": map_of(ANY),
    "record": map_of(ANY), "value": ANY, "any": ANY, "null": NULL,
}  # fmt: skip


@lru_cache(maxsize=256)
def specified(spec: str) -> Type:
    """The type a specification means by itself: that of a result, or of an `any` argument once it is checked."""
    if spec.endswith("?"):
        return specified(spec[:-1]).optional()
    if spec.startswith("array<"):
        return array_of(specified(spec[6:-1]))
    if spec.startswith("map<"):
        return map_of(specified(spec[4:-1]))
    return _PLAIN[spec]


@lru_cache(maxsize=256)
def parameter(spec: str) -> Type:
    """What an `any` argument is checked to be: as `specified`, but lists may hold nulls."""
    found = specified(spec)
    return found if found.element is None else replace(found, element=found.element.optional())


def accept(spec: str, given: Type) -> Type | None:
    """The type that an argument of type `given` is cast to for a parameter, or None when it does not fit.

    `any` fits nothing here but `value`: it is told apart as items run.
    """
    kind, wanted = given.kind, None
    if spec == "value" or kind == "null":
        return given
    if spec == "long" and kind in ("int", "long"):
        wanted = LONG
    elif spec == "double" and given.is_numeric:
        wanted = DOUBLE
    elif spec == "string" and given.is_text:
        wanted = STRING
    elif spec == "bytes" and kind in ("bytes", "fixed"):
        wanted = BYTES
    elif spec == "object" and kind in ("map", "record"):
        wanted = given
    elif spec.startswith("array<") and kind == "array":
        element = given.element or NULL
        inner = specified(spec[6:-1]) if element.kind == "null" else accept(spec[6:-1], element)
        if inner is None:
            return None
        wanted = replace(given, element=replace(inner, nullable=element.nullable))
    elif kind == spec:
        wanted = given
    return None if wanted is None else replace(wanted, nullable=given.nullable)


def common(types: Sequence[Type]) -> Type | None:
    """The type that all of `types` widen to, or None. Null gives way to anything; `any` takes all."""
    nullable = any(t.nullable for t in types)
    rest = [t for t in types if t.kind != "null"]
    if not rest:
        return NULL
    if any(t.kind == "any" for t in rest):
        return ANY
    found = rest[0]
    for t in rest[1:]:
        merged = _merge(found.required(), t.required())
        if merged is None:
            return None
        found = merged
    return replace(found, nullable=nullable)


def _merge(a: Type, b: Type) -> Type | None:
    if a == b:
        return a
    if a.is_numeric and b.is_numeric:
        return LONG if {a.kind, b.kind} == {"int", "long"} else DOUBLE
    if a.is_text and b.is_text:
        return STRING
    if a.kind in ("bytes", "fixed") and b.kind in ("bytes", "fixed"):
        return BYTES
    if a.kind == b.kind and a.kind in ("time", "timestamp", "local"):
        return replace(a, unit="us")
    if a.kind == b.kind and a.kind in ("array", "map"):
        element = common([a.element or NULL, b.element or NULL])
        return None if element is None else replace(a, element=element)
    if a.kind == b.kind == "record" and [f.name for f in a.fields] == [f.name for f in b.fields]:
        types = [common([x.type, y.type]) for x, y in zip(a.fields, b.fields, strict=True)]
        if any(t is None for t in types):
            return None
        return replace(
            a, fields=tuple(replace(f, type=t) for f, t in zip(a.fields, types, strict=True) if t is not None)
        )
    return None


def holds_any(t: Type) -> bool:
    """Whether values of this type are, or contain, JSON of unknown shape, and so belong to the Python backend."""
    return any(inner.kind == "any" for inner in walk(t))


def spelled(types: Sequence[Type]) -> str:
    """Types as a reader of a message wants them: short, without null marks."""
    return ", ".join(short(t) for t in types)


def short(t: Type) -> str:
    text = str(t.required())
    return text if len(text) <= 60 else (t.name or t.kind)


Result = str | Callable[[Sequence[Type]], Type]


def result_type(result: Result, params: Sequence[Type], *, strict: bool, nullable: bool) -> Type:
    """The type of a call: null where an argument may be (for strict functions) or the function says so."""
    found = specified(result) if isinstance(result, str) else result(params)
    if found.kind in ("any", "null"):
        return found
    if nullable or (strict and any(p.nullable for p in params)):
        return found.optional()
    return found
