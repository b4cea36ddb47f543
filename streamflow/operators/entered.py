"""Items as they enter a node, kept so that they can enter it again: in a later version of the workflow as well.

A value is an Avro record with the schema that it was written with beside it: the fields of the item (or the item as
bytes, where it is no record), then what travels with it. The name of such a column is the `doc` of its field. Read, the
item is brought to the schema that the node has now, by Avro's rules for evolution.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import polars as pl

from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.codecs.evolution import Resolution
from streamflow.codecs.rows import RowCodec
from streamflow.model.batch import (
    EXECUTION,
    HEADERS,
    KEY,
    OFFSET,
    PARTITION,
    PASSED,
    PATH,
    SOURCE,
    TOPIC,
    TS,
    Batch,
    kept_column,
)
from streamflow.model.dead_letter import HEADERS as HEADERS_TYPE
from streamflow.model.types import (
    ANY,
    BOOL,
    BYTES,
    INT,
    LONG,
    PAYLOAD,
    STRING,
    Field,
    Schema,
    Type,
    polars_dtype,
    record_of,
)
from streamflow.sdk.errors import CodecError, SchemaError

SCHEMA_CHARS_MAX: Final = 256_000
_TRAVELS: Final[Mapping[str, Type]] = {
    KEY: BYTES, TS: LONG, SOURCE: STRING, OFFSET: LONG, EXECUTION: STRING, PATH: BYTES, TOPIC: STRING,
    PARTITION: INT, HEADERS: HEADERS_TYPE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entered:
    """An item as it entered a node. `schema`: Avro JSON of `value`."""

    value: bytes
    schema: str


@dataclass(frozen=True, slots=True)
class _Layout:
    item: Schema
    columns: Mapping[str, str]  # field -> column
    codec: RowCodec


def kept_types(kept: Mapping[str, Schema]) -> dict[str, Type]:
    """Types of the columns `@nodes.<id>.<field>`, from the schemas of these nodes."""
    found: dict[str, Type] = {}
    for node, schema in kept.items():
        if schema.kind == "record":
            found |= {kept_column(node, f.name): f.type.optional() for f in schema.fields}
            found[kept_column(node, PASSED)] = BOOL.optional()
        else:
            found[kept_column(node, PAYLOAD)] = BYTES.optional()
    return found


def keep(rows: Batch, kept: Mapping[str, Type]) -> list[Entered]:
    """The rows, one value each. `kept`: types of what earlier nodes made (`kept_types`)."""
    types = {**_TRAVELS, **kept}
    columns = [c for c in rows.frame.columns if c in types and not (c in kept and _differs(rows.frame, c, kept[c]))]
    own: tuple[Field, ...] = (Field(name="item", type=BYTES.optional()),)
    if rows.schema.kind == "record":  # what failed may be without what its schema demands
        own = tuple(Field(name=f.name, type=f.type.optional()) for f in rows.schema.fields)
    stem = "__c"
    while any(f.name.startswith(stem) for f in own):
        stem = f"_{stem}"
    named = {f"{stem}{i}": column for i, column in enumerate(columns)}
    extra = tuple(Field(name=n, type=types[c].optional(), doc=c) for n, c in named.items())
    schema = Type(kind="record", fields=(*own, *extra), doc=rows.schema.kind)
    codec = RowCodec(schema, name="Entered")
    if rows.schema.kind == "record":
        frame = rows.frame.select([f.name for f in own], **{n: pl.col(c) for n, c in named.items()})
    else:
        frame = rows.frame.select(pl.col(PAYLOAD).cast(pl.Binary).alias("item"), **named)
    text = json.dumps(codec.avro, separators=(",", ":"))
    return [Entered(value, text) for value in codec.encode(frame)]


def _differs(frame: pl.DataFrame, column: str, of: Type) -> bool:
    return frame.schema[column] != polars_dtype(of)


def enter(entered: Sequence[Entered], schema: Schema, kept: Mapping[str, Type]) -> Batch:
    """The items of values of one schema, as items of the schema that a node takes now, with what travels with them.

    What is kept of a node that makes something else now is left out.

    Raises:
        SchemaError: they cannot become such items.
        CodecError: bytes that are no such value.
    """
    layout = _layout(entered[0].schema)
    frame = layout.codec.decode([one.value for one in entered])
    frame = frame.rename(dict(layout.columns))
    types = {**_TRAVELS, **kept}
    foreign = [c for c in layout.columns.values() if c not in types or frame.schema[c] != polars_dtype(types[c])]
    frame = frame.drop(foreign)
    if layout.item.kind == "record" and schema.kind == "record":
        resolved, bad = Resolution(layout.item, schema).apply(frame)
        if bad is not None and bad.any():
            raise SchemaError(f"its fields do not fit {schema} any more.")
        return Batch(resolved, schema)
    if layout.item.kind != schema.kind:
        raise SchemaError(f"items of {layout.item.kind} cannot be read as {schema}.")
    return Batch(frame.rename({"item": PAYLOAD}), schema)


@lru_cache(maxsize=64)
def _layout(text: str) -> _Layout:
    if len(text) > SCHEMA_CHARS_MAX:
        raise CodecError(f"the schema of a kept item has {len(text)} characters.")
    try:
        whole = schema_from_avro(json.loads(text))
    except ValueError as error:
        raise CodecError(f"the schema of a kept item cannot be read: {error}") from error
    columns = {f.name: f.doc for f in whole.fields if f.doc.startswith("@")}
    own = tuple(f for f in whole.fields if f.name not in columns)
    item = Type(kind="record", fields=own) if whole.doc == "record" else BYTES if whole.doc == "bytes" else ANY
    return _Layout(item, columns, RowCodec(record_of({f.name: f.type for f in whole.fields}), name="Entered"))


def travelling(entered: Entered) -> dict[str, object]:
    """What travels with an item, by column. Raises CodecError."""
    layout = _layout(entered.schema)
    row = layout.codec.decode([entered.value]).row(0, named=True)
    return {column: row[field] for field, column in layout.columns.items()}
