"""Bytes on the log to columns and back: Kafka record batches, Avro, JSON, plain bytes, schema registries.

`decoder(spec)` and `encoder(spec)` are all that the runtime needs; `recordbatch` is all that a log needs.
"""

from __future__ import annotations

from collections.abc import Collection

from streamflow.codecs.api import (
    BadRecord,
    CodecSpec,
    Decoded,
    Decoder,
    Encoded,
    Encoder,
    Marker,
)
from streamflow.codecs.avro_check import BadRow
from streamflow.codecs.avrocodec import AvroReader, AvroWriter
from streamflow.codecs.bytescodec import BytesReader, BytesWriter
from streamflow.codecs.decoding import BatchDecoder, ValueReader
from streamflow.codecs.encoding import BatchEncoder, ValueWriter
from streamflow.codecs.grown import GrownReader
from streamflow.codecs.jsoncodec import json_reader, json_writer
from streamflow.codecs.markers import encode_marker
from streamflow.codecs.registry import RegistryUnavailable, SchemaRegistry
from streamflow.model.batch import KEY, TS

__all__ = [
    "BadRecord",
    "BadRow",
    "CodecSpec",
    "Decoded",
    "Decoder",
    "Encoded",
    "Encoder",
    "Marker",
    "RegistryUnavailable",
    "SchemaRegistry",
    "decoder",
    "encode_marker",
    "encoder",
]


def decoder(
    spec: CodecSpec,
    *,
    registry: SchemaRegistry | None = None,
    reserved: Collection[str] = (KEY, TS),
    columns: Collection[str] | None = None,
    markers: bool = False,
    grown: bool = False,
) -> Decoder:
    """The decoder of a topic. `reserved`: which of `@key`, `@ts`, `@headers` its frames carry beside `@position`; with
    `@gone` among them, records with a key and no value are rows of nulls that have their key there.

    `columns`: the payload columns that anything reads; None means all. Values are checked whole either way.
    `markers`: records of the runtime's own may stand between the items, as on internal topics; on a topic of users a
    record that looks like one is an item. `grown`: raw Avro whose last field, which may be null, was not there once;
    records without it are items too. Raises SchemaError for a spec that is no schema.
    """
    reader: ValueReader
    if spec.format == "avro":
        reader = AvroReader(spec, registry)
    elif spec.format == "json":
        reader = json_reader(spec.schema)
    else:
        reader = BytesReader(spec.schema)
    reader = GrownReader(reader) if grown else reader
    return BatchDecoder(reader, reserved, columns, markers=markers)


def encoder(spec: CodecSpec, *, registry: SchemaRegistry | None = None) -> Encoder:
    """The encoder of a topic. Raises SchemaError for a spec that is no schema."""
    writer: ValueWriter
    if spec.format == "avro":
        writer = AvroWriter(spec, registry)
    elif spec.format == "json":
        writer = json_writer(spec.schema)
    else:
        writer = BytesWriter(spec.schema)
    return BatchEncoder(writer)
