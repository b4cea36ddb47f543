"""Plans as JSON and back: what `plan --json` prints, what is stored, and what a worker is sent.

The form follows the dataclasses of `plan.py`: one key a field, fields at their default left out. Types are Avro-like:
`"long"`, `"long?"` where null is allowed, or an object whose `type` is the kind; a record stands once, in `types`, and
is named `"#Order"` elsewhere. Reading checks every value, so that a plan from elsewhere is refused with a place instead
of failing in a task.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, Final, Literal

from streamflow.model.types import Field, Kind, Type
from streamflow.sdk.errors import StreamflowError
from streamflow.topology.plan import Topology

FORMAT: Final = "streamflow.topology"
VERSION: Final = 1
VALUES_MAX: Final = 1_000_000
DEPTH_MAX: Final = 100
_KINDS: Final = frozenset(typing.get_args(Kind))


class PlanError(StreamflowError):
    """JSON that is no plan of this version."""

    code = "SF290"


def to_json(topology: Topology) -> dict[str, Any]:
    """Plain JSON of a topology. `from_json` gives back an equal one."""
    writer = _Writer()
    plan = writer.form(topology)
    return {"format": FORMAT, "version": VERSION, "types": writer.types, **plan}


def from_json(data: object) -> Topology:
    """The topology that `to_json` was given. Raises PlanError at the first value that does not fit."""
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise PlanError(f"this is no plan: expected an object with format {FORMAT!r}.")
    if data.get("version") != VERSION:
        raise PlanError(
            f"the plan has version {data.get('version')!r}, this program reads {VERSION}.",
            mend="Compile the workflow again.",
        )
    rest = {k: v for k, v in data.items() if k not in ("format", "version", "types")}
    reader = _Reader()
    for name, spelt in reader.mapping(data.get("types", {}), "types").items():
        reader.define(name, spelt)
    made = reader.value(Topology, rest, "plan", 0)
    assert isinstance(made, Topology)
    return made


class _Writer:
    """Spells forms and types; records go into the table `types`, each before what names it."""

    def __init__(self) -> None:
        self.types: dict[str, object] = {}
        self._named: list[tuple[Type, str]] = []

    def form(self, form: Any) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for attribute in dataclasses.fields(form):
            value = getattr(form, attribute.name)
            if attribute.default is not dataclasses.MISSING and value == attribute.default:
                continue
            if attribute.default_factory is not dataclasses.MISSING and value == attribute.default_factory():
                continue
            made[attribute.name] = self.value(value)
        return made

    def value(self, value: Any) -> Any:
        if isinstance(value, Type):
            return self.type(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self.form(value)
        if isinstance(value, Mapping):
            return {str(k): self.value(v) for k, v in value.items()}
        if isinstance(value, tuple | list):
            return [self.value(v) for v in value]
        return value

    def type(self, t: Type) -> object:
        """A string where kind and nullability say all, or names a record; else an object."""
        if t.kind == "record":
            return f"#{self._record(t.required())}{'?' if t.nullable else ''}"
        made = self._attributes(t)
        spelt = f"{t.kind}?" if t.nullable else t.kind
        return {"type": spelt, **made} if made else spelt

    def _record(self, t: Type) -> str:
        # By comparison: a default may be a list, so types cannot be keys.
        if (known := next((n for other, n in self._named if other == t), None)) is not None:
            return known
        spelt = {"type": t.kind, **self._attributes(t)}
        stem = name = t.name or "Item"
        number = 1
        while name in self.types:
            number += 1
            name = f"{stem}~{number}"
        self._named.append((t, name))
        self.types[name] = spelt
        return name

    def _attributes(self, t: Type) -> dict[str, object]:
        made: dict[str, object] = {}
        for attribute in dataclasses.fields(Type):
            value = getattr(t, attribute.name)
            if attribute.name in ("kind", "nullable") or value == attribute.default:
                continue
            if attribute.name == "fields":
                made["fields"] = [self._field(f) for f in t.fields]
            else:
                made[attribute.name] = self.value(value)
        return made

    def _field(self, f: Field) -> dict[str, object]:
        made: dict[str, object] = {"name": f.name, "type": self.type(f.type)}
        if f.has_default:
            made["default"] = f.default
        if f.doc:
            made["doc"] = f.doc
        if f.aliases:
            made["aliases"] = list(f.aliases)
        return made


@functools.cache
def _hints(form: type) -> Mapping[str, Any]:
    return typing.get_type_hints(form)


class _Reader:
    """Reads values by annotation, counting them."""

    def __init__(self) -> None:
        self.values = 0
        self.types: dict[str, tuple[Type, int]] = {}  # with the number of values inside

    def define(self, name: str, spelt: object) -> None:
        """Take a record into the table; it may name those before it."""
        before = self.values
        self.types[name] = (self.type(spelt, f"types.{name}", 1), self.values - before + 1)

    def value(self, annotation: Any, value: object, at: str, depth: int) -> Any:
        self.values += 1
        if self.values > VALUES_MAX or depth > DEPTH_MAX:
            raise PlanError(f"{at}: a plan has at most {VALUES_MAX:,} values and {DEPTH_MAX} levels.")
        if annotation is Type:
            return self.type(value, at, depth)
        if annotation is object or annotation is Any:
            return self.json(value, at, depth)
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin in (typing.Union, types.UnionType):
            inner = next(a for a in arguments if a is not type(None))
            return None if value is None else self.value(inner, value, at, depth)
        if origin is Literal:
            if value not in arguments:
                raise PlanError(f"{at}: {value!r} is none of {', '.join(map(repr, arguments))}.")
            return value
        if origin is tuple:
            if not isinstance(value, list):
                raise PlanError(f"{at}: expected a list, found {type(value).__name__}.")
            return tuple(self.value(arguments[0], v, f"{at}[{i}]", depth + 1) for i, v in enumerate(value))
        if origin is not None and issubclass(origin, Mapping):
            mapping = self.mapping(value, at)
            return {k: self.value(arguments[1], v, f"{at}.{k}", depth + 1) for k, v in mapping.items()}
        if dataclasses.is_dataclass(annotation):
            return self.form(annotation, value, at, depth)
        # bool is an int to isinstance, but not in a plan.
        if not isinstance(value, annotation) or (isinstance(value, bool) and annotation is not bool):
            raise PlanError(f"{at}: expected {annotation.__name__}, found {type(value).__name__}.")
        return value

    def form(self, form: Any, value: object, at: str, depth: int) -> Any:
        given, hints = self.mapping(value, at), _hints(form)
        made: dict[str, Any] = {}
        for name, inner in given.items():
            if name not in hints:
                raise PlanError(f"{at}: unknown key {name!r}.", mend="It may come from a newer version.")
            made[name] = self.value(hints[name], inner, f"{at}.{name}", depth + 1)
        for attribute in dataclasses.fields(form):
            required = attribute.default is dataclasses.MISSING and attribute.default_factory is dataclasses.MISSING
            if required and attribute.name not in made:
                raise PlanError(f"{at}: {attribute.name!r} is missing.")
        return form(**made)

    def mapping(self, value: object, at: str) -> Mapping[str, object]:
        if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
            raise PlanError(f"{at}: expected an object, found {type(value).__name__}.")
        return value

    def json(self, value: object, at: str, depth: int) -> object:
        """Any JSON value, bounded like the rest."""
        if isinstance(value, Mapping):
            return {k: self.value(object, v, f"{at}.{k}", depth + 1) for k, v in self.mapping(value, at).items()}
        if isinstance(value, list):
            return [self.value(object, v, f"{at}[{i}]", depth + 1) for i, v in enumerate(value)]
        if value is None or isinstance(value, str | int | float | bool):
            return value
        raise PlanError(f"{at}: {type(value).__name__} is no JSON value.")

    def type(self, value: object, at: str, depth: int) -> Type:
        if isinstance(value, str):
            return self._named(value, at) if value.startswith("#") else self._kind(value, at)
        given = dict(self.mapping(value, at))
        spelt = given.pop("type", None)
        if not isinstance(spelt, str):
            raise PlanError(f"{at}: a type has a `type`.")
        base, hints = self._kind(spelt, at), _hints(Type)
        made: dict[str, Any] = {}
        for name, inner in given.items():
            if name not in hints or name in ("kind", "nullable"):
                raise PlanError(f"{at}: unknown key {name!r} of a type.")
            if name == "fields":
                if not isinstance(inner, list):
                    raise PlanError(f"{at}.fields: expected a list.")
                made[name] = tuple(self.field(f, f"{at}.fields[{i}]", depth + 1) for i, f in enumerate(inner))
            else:
                made[name] = self.value(hints[name], inner, f"{at}.{name}", depth + 1)
        return dataclasses.replace(base, **made)

    def field(self, value: object, at: str, depth: int) -> Field:
        given = self.mapping(value, at)
        hints = _hints(Field)
        if unknown := set(given) - {"name", "type", "default", "doc", "aliases"}:
            raise PlanError(f"{at}: unknown key {min(unknown)!r} of a field.")
        if missing := {"name", "type"} - set(given):
            raise PlanError(f"{at}: {min(missing)!r} is missing.")
        made = {n: self.value(hints[n], v, f"{at}.{n}", depth + 1) for n, v in given.items()}
        return Field(**made, has_default="default" in given)

    def _named(self, text: str, at: str) -> Type:
        name = text[1:].removesuffix("?")
        if name not in self.types:
            raise PlanError(f"{at}: no type {name!r} is defined before it is named.")
        found, values = self.types[name]
        self.values += values  # what it stands for: a short text must not mean a huge type
        if self.values > VALUES_MAX:
            raise PlanError(f"{at}: a plan has at most {VALUES_MAX:,} values.")
        return found.optional() if text.endswith("?") else found

    def _kind(self, text: str, at: str) -> Type:
        kind = text.removesuffix("?")
        if kind not in _KINDS:
            raise PlanError(f"{at}: {text!r} is no type.")
        return Type(kind=typing.cast(Kind, kind), nullable=text.endswith("?"))
