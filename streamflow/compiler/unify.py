"""Joins schemas of several wires that enter one port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streamflow.model.types import ANY, BYTES, DOUBLE, LONG, STRING, Field, Schema, Type

_WIDTH = {"int": 0, "long": 1, "float": 2, "double": 3}


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why two types do not join: where inside the items, and what was found on either side."""

    path: str
    left: str
    right: str

    def between(self, first: str, other: str) -> str:
        """What differs, and in which of two sources."""
        where = f"field {self.path!r}" if self.path else "an item"
        return f"{where} is {self.left} from {first} and {self.right} from {other}"


class _Mismatch(Exception):
    def __init__(self, conflict: Conflict) -> None:
        super().__init__(str(conflict))
        self.conflict = conflict


def unify(left: Schema, right: Schema, *, lenient: bool) -> Schema | Conflict:
    """One schema that both fit after widening numbers and times, or the first conflict.

    Lenient (ports of merge nodes): a field that one side lacks becomes nullable, typed beside untyped becomes untyped.
    """
    if lenient and left.kind != right.kind and "any" in (left.kind, right.kind):
        return ANY
    try:
        if left.kind == right.kind == "record":
            return _record(left, right, "", lenient)
        return _join(left, right, "")
    except _Mismatch as mismatch:
        return mismatch.conflict


def unify_all(schemas: Sequence[Schema], *, lenient: bool) -> Schema | tuple[int, Conflict]:
    """`unify` over several; on a conflict also the index of the schema that did not fit those before it."""
    joined = schemas[0]
    for index, schema in enumerate(schemas[1:], start=1):
        found = unify(joined, schema, lenient=lenient)
        if isinstance(found, Conflict):
            return index, found
        joined = found
    return joined


def _join(left: Type, right: Type, path: str) -> Type:
    nullable = left.nullable or right.nullable
    if left.kind == "null":
        return right.optional()
    if right.kind == "null":
        return left.optional()
    if replace(left, nullable=nullable) == replace(right, nullable=nullable):
        return replace(left, nullable=nullable)
    joined = _join_kinds(left, right, path)
    return replace(joined, nullable=True) if nullable else joined


def _join_kinds(left: Type, right: Type, path: str) -> Type:
    kinds = {left.kind, right.kind}
    if kinds <= _WIDTH.keys():
        if left.kind == right.kind:
            return left
        return LONG if kinds == {"int", "long"} else DOUBLE
    if left.is_text and right.is_text:
        # Enums of equal symbols stay enums; everything else that is text is text.
        same = left.kind == right.kind and left.symbols == right.symbols
        return left.required() if same else STRING
    if kinds <= {"bytes", "fixed"}:
        return left.required() if left.kind == right.kind and left.size_bytes == right.size_bytes else BYTES
    if left.kind == right.kind:
        match left.kind:
            case "time" | "timestamp" | "local":
                return replace(left, unit="us" if "us" in (left.unit, right.unit) else "ms", nullable=False)
            case "decimal" if (left.precision, left.scale) == (right.precision, right.scale):
                return replace(left, size_bytes=max(left.size_bytes, right.size_bytes), name="", nullable=False)
            case "array" | "map":
                assert left.element is not None
                assert right.element is not None
                return replace(left, element=_join(left.element, right.element, f"{path}[]"), nullable=False)
            case "record":
                return _record(left, right, path, lenient=False)
            case "any":
                return left
            case _:
                pass
    raise _Mismatch(Conflict(path, str(left), str(right)))


def _record(left: Type, right: Type, path: str, lenient: bool) -> Type:
    fields: list[Field] = []
    for mine in left.fields:
        at = f"{path}.{mine.name}" if path else mine.name
        other = right.field(mine.name)
        if other is not None:
            fields.append(replace(mine, type=_join(mine.type, other.type, at)))
        elif lenient:
            fields.append(replace(mine, type=mine.type.optional(), has_default=False, default=None))
        else:
            raise _Mismatch(Conflict(at, str(mine.type), "missing"))
    for other in right.fields:
        if left.field(other.name) is None:
            if not lenient:
                at = f"{path}.{other.name}" if path else other.name
                raise _Mismatch(Conflict(at, "missing", str(other.type)))
            fields.append(replace(other, type=other.type.optional(), has_default=False, default=None))
    same_name = left.name if left.name == right.name else ""
    return replace(left, fields=tuple(fields), name=same_name if not path else left.name, nullable=False)
