"""Avro topics: which schema wrote a value, how it becomes the reader's columns, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import orjson
import polars as pl

from streamflow.codecs import evolution, few_records, framing
from streamflow.codecs.api import BadCode, CodecSpec
from streamflow.codecs.avro_check import BadRow, conform
from streamflow.codecs.avro_fallback import decode_values
from streamflow.codecs.avro_pieces import lowered, pieces_of
from streamflow.codecs.avro_shape import raise_frame
from streamflow.codecs.avronodes import Node, parse
from streamflow.codecs.avrotypes import rabin, schema_to_avro
from streamflow.codecs.decoding import Errors
from streamflow.codecs.envelope_encode import prefix_pieces
from streamflow.codecs.pieces import Piece
from streamflow.codecs.registry import SchemaRegistry, UnknownSchema
from streamflow.model.types import PAYLOAD, Field, Type, frame_schema
from streamflow.sdk.errors import SchemaError

WRITERS_MAX: Final = 1_000  # schemas remembered by one decoder


def spec_avro(spec: CodecSpec) -> Any:
    """The Avro JSON that a spec means: the owner's own, else the schema's."""
    if spec.avro:
        return orjson.loads(spec.avro)
    if spec.schema.kind == "record":
        return schema_to_avro(spec.schema, name=spec.name)
    if spec.schema.kind == "any":
        return {"type": "bytes", "logicalType": "json"}
    return "bytes"


def record_node(spec: CodecSpec) -> Node:
    """The node of a spec's schema; a schema that is no record becomes the one field `@item`."""
    if spec.schema.kind not in ("record", "any", "bytes"):
        raise SchemaError(f"items are records, `any` or bytes, not {spec.schema}.", mend="Wrap the value in a record.")
    node = _as_record(parse(spec_avro(spec), what=spec.name or spec.subject or "schema"))
    wanted = _wrapped(spec.schema) if spec.schema.kind != "record" else spec.schema
    return retyped(node, wanted)


def _as_record(node: Node) -> Node:
    if node.kind == "record" and not node.union_size:
        return node
    return Node("record", _wrapped(node.type), fields=((PAYLOAD, node),))


def _wrapped(t: Type) -> Type:
    return Type(kind="record", fields=(Field(name=PAYLOAD, type=t.required()),))


def retyped(node: Node, t: Type) -> Node:
    """The same node with the model types of `t`: generated names of unnamed types must not show in columns."""
    if t.kind != node.type.kind or len(t.fields) != len(node.type.fields) or len(t.branches) != len(node.branches):
        raise SchemaError(f"the Avro schema says {node.type}, the item schema {t}.")
    fields = tuple((name, retyped(n, f.type)) for (name, n), f in zip(node.fields, t.fields, strict=False))
    branches = tuple(retyped(n, b) for n, b in zip(node.branches, t.branches, strict=True))
    element = retyped(node.element, t.element) if node.element is not None and t.element is not None else None
    return replace(node, type=t, fields=fields, branches=branches, element=element)


class AvroReader:
    """A `ValueReader` (see `decoding`) for Avro values."""

    def __init__(self, spec: CodecSpec, registry: SchemaRegistry | None) -> None:
        if spec.framing == "confluent" and registry is None:
            raise SchemaError(f"{spec.subject or spec.name}: Confluent framing needs a schema registry.")
        self.schema = spec.schema
        self.prefix_size = framing.PREFIX_SIZE[spec.framing]
        self._framing = spec.framing
        self._registry = registry
        self._node = record_node(spec)
        self._own = framing.single_object_prefix(rabin(spec_avro(spec))) if spec.framing == "single_object" else b""
        self._same = Writer(self._node, evolution.Resolution(self._node.type, self._node.type))
        self._writers: dict[bytes, Writer] = {}

    def null_item(self) -> bool:
        return False

    def prefix(self, value: bytes) -> bytes:
        return framing.split(value, self._framing)

    def native(self, prefix: bytes) -> Node | None:
        writer = self._writer(prefix)
        return writer.node if isinstance(writer, Writer) and writer.columnar else None

    def finish(self, raw: pl.DataFrame, prefix: bytes) -> tuple[pl.DataFrame, Errors]:
        writer = self._writer(prefix)
        assert isinstance(writer, Writer)
        return _resolved(raise_frame(writer.node, raw), writer.resolution)

    def values(self, values: Sequence[bytes], prefix: bytes) -> tuple[pl.DataFrame, Errors]:
        writer = self._writer(prefix)
        if isinstance(writer, str):
            nothing = pl.DataFrame(schema=frame_schema(self.schema))
            return nothing, dict.fromkeys(range(len(values)), ("schema_mismatch", writer))
        decoded = decode_values(values, writer.node, start=self.prefix_size)
        errors: dict[int, Any] = {i: ("undecodable", f"{message}.") for i, message in decoded.errors.items()}
        frame, mismatches = _resolved(decoded.frame, writer.resolution)
        if mismatches:
            kept = [i for i in range(len(values)) if i not in errors]
            errors |= {kept[row]: why for row, why in mismatches.items()}
            keep = np.ones(frame.height, np.bool_)
            keep[list(mismatches)] = False
            frame = frame.filter(pl.Series(keep)) if frame.width else frame
        return frame, errors

    def _writer(self, prefix: bytes) -> Writer | str:
        """The writer's schema, or why there is none."""
        if prefix == self._own:
            return self._same
        known = self._writers.get(prefix)
        if known is not None:
            return known
        found = self._look_up(prefix)
        if isinstance(found, Writer):  # a miss is asked again: a registry's replica may lag behind its producers
            if len(self._writers) >= WRITERS_MAX:
                self._writers.clear()
            self._writers[prefix] = found
        return found

    def _look_up(self, prefix: bytes) -> Writer | str:
        try:
            if self._registry is None:
                return f"written by schema {prefix[2:].hex()}, which is not the reader's, and there is no registry."
            if self._framing == "confluent":
                text = self._registry.by_id(framing.schema_id(prefix))
            else:
                text = self._registry.by_fingerprint(prefix[2:])
            node = _as_record(parse(text, what="writer's schema"))
            if same_columns(node.type, self._node.type):  # only where null stands may differ
                node = retyped(node, self._node.type)
            return Writer(node, evolution.Resolution(node.type, self._node.type))
        except (UnknownSchema, SchemaError) as error:
            return error.message


@dataclass(frozen=True, slots=True)
class Writer:
    """A schema that values were written by, and how they become the reader's columns."""

    node: Node
    resolution: evolution.Resolution

    @property
    def columnar(self) -> bool:
        return all(n.is_columnar for _, n in self.node.fields)


def _resolved(frame: pl.DataFrame, resolution: evolution.Resolution) -> tuple[pl.DataFrame, Errors]:
    frame, bad = resolution.apply(frame)
    if bad is None or not bad.any():
        return frame, {}
    why: tuple[BadCode, str] = (
        "schema_mismatch",
        f"the value cannot be read by the reader's schema: {resolution.why}.",
    )
    return frame, dict.fromkeys(np.flatnonzero(bad.to_numpy()).tolist(), why)


def same_columns(a: Type, b: Type) -> bool:
    """Whether two types differ in nothing that a column shows: names of types, documentation, aliases, defaults."""
    return (
        (a.kind, a.nullable, a.symbols, a.size_bytes, a.precision, a.scale, a.unit)
        == (b.kind, b.nullable, b.symbols, b.size_bytes, b.precision, b.scale, b.unit)
        and len(a.branches) == len(b.branches)
        and (a.kind == "enum" or [f.name for f in a.fields] == [f.name for f in b.fields])
        and (a.kind == "enum" or all(same_columns(x.type, y.type) for x, y in zip(a.fields, b.fields, strict=True)))
        and all(same_columns(x, y) for x, y in zip(a.branches, b.branches, strict=True))
        and (a.element is None or b.element is None or same_columns(a.element, b.element))
    )


class AvroWriter:
    """A `ValueWriter` (see `encoding`) for Avro values."""

    opaque = False

    def __init__(self, spec: CodecSpec, registry: SchemaRegistry | None) -> None:
        if spec.framing == "confluent" and registry is None:
            raise SchemaError(f"{spec.subject or spec.name}: Confluent framing needs a schema registry.")
        self._spec, self._registry = spec, registry
        self._node = record_node(spec)
        self._prefix = framing.single_object_prefix(rabin(spec_avro(spec))) if spec.framing == "single_object" else b""

    def conform(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[BadRow]]:
        return conform(frame, self._node)

    def pieces(self, frame: pl.DataFrame) -> list[Piece]:
        values = [p for name, n in self._node.fields for p in pieces_of(frame[name], n)]
        return [*prefix_pieces(self._framing_prefix(), frame.height), *values]

    def few(self, frame: pl.DataFrame) -> Sequence[bytes | None] | None:
        if not few_records.writable(self._node):
            return None
        columns = [lowered(frame[name], n) for name, n in self._node.fields]
        return few_records.values(columns, self._node, self._framing_prefix())

    def _framing_prefix(self) -> bytes:
        if self._spec.framing == "confluent" and not self._prefix:  # registered when first written, not when planned
            assert self._registry is not None
            text = orjson.dumps(spec_avro(self._spec)).decode()
            self._prefix = framing.confluent_prefix(self._registry.register(self._spec.subject, text))
        return self._prefix
