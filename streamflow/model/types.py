"""The type system: what a column holds, how Avro says it, how polars stores it.

| kind       | Avro                                   | polars dtype                     |
|------------|----------------------------------------|----------------------------------|
| null       | null                                   | Null                             |
| bool       | boolean                                | Boolean                          |
| int        | int                                    | Int32                            |
| long       | long                                   | Int64                            |
| float      | float                                  | Float32                          |
| double     | double                                 | Float64                          |
| string     | string                                 | String                           |
| bytes      | bytes                                  | Binary                           |
| fixed      | fixed(size)                            | Binary                           |
| enum       | enum(symbols)                          | String                           |
| uuid       | string + uuid                          | String (36 characters)           |
| date       | int + date                             | Date                             |
| time       | int + time-millis, long + time-micros  | Time                             |
| timestamp  | long + timestamp-millis / -micros      | Datetime(unit, "UTC")            |
| local      | long + local-timestamp-millis/-micros  | Datetime(unit)                   |
| decimal    | bytes or fixed(size) + decimal         | Decimal(precision, scale)        |
| array      | array                                  | List(element)                    |
| map        | map                                    | List(Struct{key, value})         |
| record     | record                                 | Struct                           |
| union      | several non-null branches              | Struct, one nullable field a branch |
| any        | (JSON payloads)                        | Binary: one JSON text a value    |

`T | null` is `T` with `nullable=True`. Expressions compute on long and double: int and float widen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

Kind = Literal[
    "null", "bool", "int", "long", "float", "double", "string", "bytes", "fixed", "enum", "uuid",
    "date", "time", "timestamp", "local", "decimal", "array", "map", "record", "union", "any",
]  # fmt: skip
TimeUnit = Literal["ms", "us"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a record: its name, type, and what Avro keeps beside them."""

    name: str
    type: Type
    default: object = None  # JSON form of the Avro default; meaningful only when has_default
    has_default: bool = False
    doc: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A type. Only the attributes that its kind needs are set; compare with `==`, print with `str`."""

    kind: Kind
    nullable: bool = False
    name: str = ""  # full name of a record, enum or fixed; "" lets the codec invent one
    fields: tuple[Field, ...] = ()  # record
    element: Type | None = None  # array: item type; map: value type
    branches: tuple[Type, ...] = ()  # union: at least two, none null; null is `nullable`
    symbols: tuple[str, ...] = ()  # enum
    size_bytes: int = 0  # fixed, and decimal when carried by fixed
    precision: int = 0  # decimal
    scale: int = 0  # decimal
    unit: TimeUnit = "ms"  # time, timestamp, local
    doc: str = ""
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        return _spell(self)

    def field(self, name: str) -> Field | None:
        """The field of that name, or None."""
        return next((f for f in self.fields if f.name == name), None)

    @property
    def is_numeric(self) -> bool:
        return self.kind in ("int", "long", "float", "double", "decimal")

    @property
    def is_text(self) -> bool:
        return self.kind in ("string", "enum", "uuid")

    def optional(self) -> Type:
        """The same type, null allowed."""
        return self if self.nullable else replace(self, nullable=True)

    def required(self) -> Type:
        """The same type, null not allowed."""
        return replace(self, nullable=False) if self.nullable else self


# A schema is the type of whole items: a record, or `any` for untyped payloads, or `bytes`.
Schema = Type


def _scalar(kind: Kind) -> Type:
    return Type(kind=kind)


NULL = Type(kind="null", nullable=True)
BOOL = _scalar("bool")
INT = _scalar("int")
LONG = _scalar("long")
FLOAT = _scalar("float")
DOUBLE = _scalar("double")
STRING = _scalar("string")
BYTES = _scalar("bytes")
UUID = _scalar("uuid")
DATE = _scalar("date")
TIME_MS = Type(kind="time", unit="ms")
TIME_US = Type(kind="time", unit="us")
TIMESTAMP_MS = Type(kind="timestamp", unit="ms")
TIMESTAMP_US = Type(kind="timestamp", unit="us")
LOCAL_MS = Type(kind="local", unit="ms")
LOCAL_US = Type(kind="local", unit="us")
ANY = Type(kind="any", nullable=True)


def array_of(element: Type) -> Type:
    return Type(kind="array", element=element)


def map_of(value: Type) -> Type:
    return Type(kind="map", element=value)


def record_of(fields: Mapping[str, Type], *, name: str = "") -> Type:
    return Type(kind="record", name=name, fields=tuple(Field(name=n, type=t) for n, t in fields.items()))


def branch_names(union: Type) -> tuple[str, ...]:
    """Field names of a union's struct: the branch's full name or kind, unique because Avro allows each once."""
    return tuple(b.name or ("long" if b.kind in ("timestamp", "local") else b.kind) for b in union.branches)


def polars_dtype(t: Type) -> pl.DataType:
    """The dtype of a column that holds `t` (see the table above)."""
    simple: dict[str, pl.DataType] = {
        "null": pl.Null(), "bool": pl.Boolean(), "int": pl.Int32(), "long": pl.Int64(), "float": pl.Float32(),
        "double": pl.Float64(), "string": pl.String(), "bytes": pl.Binary(), "fixed": pl.Binary(),
        "enum": pl.String(), "uuid": pl.String(), "date": pl.Date(), "time": pl.Time(), "any": pl.Binary(),
    }  # fmt: skip
    if t.kind in simple:
        return simple[t.kind]
    if t.kind == "timestamp":
        return pl.Datetime(t.unit, "UTC")
    if t.kind == "local":
        return pl.Datetime(t.unit)
    if t.kind == "decimal":
        return pl.Decimal(t.precision, t.scale)
    if t.kind == "array":
        assert t.element is not None
        return pl.List(polars_dtype(t.element))
    if t.kind == "map":
        assert t.element is not None
        return pl.List(pl.Struct({"key": pl.String(), "value": polars_dtype(t.element)}))
    if t.kind == "union":
        return pl.Struct({n: polars_dtype(b) for n, b in zip(branch_names(t), t.branches, strict=True)})
    return pl.Struct({f.name: polars_dtype(f.type) for f in t.fields})


def frame_schema(schema: Schema) -> dict[str, pl.DataType]:
    """Payload columns of a frame of items: a record's fields, or the one reserved column of an untyped payload."""
    if schema.kind == "record":
        return {f.name: polars_dtype(f.type) for f in schema.fields}
    return {PAYLOAD: pl.Binary()}


# The one payload column of items that are no records: JSON text when the schema is `any`, else the raw bytes.
PAYLOAD = "@item"


def walk(t: Type) -> Iterator[Type]:
    """`t` and every type inside it, outermost first."""
    yield t
    for f in t.fields:
        yield from walk(f.type)
    for inner in (*t.branches, *((t.element,) if t.element else ())):
        yield from walk(inner)


def _spell(t: Type) -> str:
    text: str = t.kind
    if t.kind == "array":
        text = f"array<{t.element}>"
    elif t.kind == "map":
        text = f"map<{t.element}>"
    elif t.kind == "record":
        inside = ", ".join(f"{f.name}: {f.type}" for f in t.fields)
        text = f"{t.name or 'record'}{{{inside}}}"
    elif t.kind == "union":
        text = " | ".join(str(b) for b in t.branches)
    elif t.kind == "enum":
        text = f"enum({', '.join(t.symbols)})"
    elif t.kind == "fixed":
        text = f"fixed({t.size_bytes})"
    elif t.kind == "decimal":
        text = f"decimal({t.precision}, {t.scale})"
    elif t.kind in ("time", "timestamp", "local"):
        text = f"{t.kind}({t.unit})"
    return f"{text}?" if t.nullable and t.kind not in ("any", "null") else text
