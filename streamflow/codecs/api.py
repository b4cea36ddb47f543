"""What the runtime sees of a codec: batches in, a frame out, and the other way round. Names only; see `decoder` and
`encoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import polars as pl

from streamflow.codecs.avro_check import BadRow
from streamflow.codecs.framing import Framing
from streamflow.codecs.records import Headers
from streamflow.model.types import Schema
from streamflow.sdk.log import NewBatch, RecordBatch

Format = Literal["avro", "json", "bytes"]
BadCode = Literal["undecodable", "tombstone", "schema_mismatch", "too_large"]
RECORDS_MAX, SIZE_BYTES_MAX = 30_000, 900_000


@dataclass(frozen=True, kw_only=True)
class CodecSpec:
    """How the values of a topic are written.

    `schema` is the type of items: the reader's when decoding, the writer's when encoding. `name` is the full name of
    the Avro record. `avro` is the Avro schema as the topic's owner wrote it, when there is one: a `Type` does not say
    whether null stands first or last in its union, and bytes depend on it. It must describe the same type as
    `schema`.
    """

    format: Format
    schema: Schema
    framing: Framing = "raw"
    name: str = ""
    subject: str = ""
    avro: str = ""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that is no item: what it was, a stable code, and why. Where a batch is damaged, `value` is what was
    found.
    """

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    code: BadCode
    message: str


@dataclass(frozen=True, slots=True)
class Marker:
    """A record of the runtime's own between the items of an internal topic."""

    offset: int
    timestamp_ms: int
    type: str
    value: bytes


@dataclass(slots=True)
class Decoded:
    """Items of some record batches. `frame` has the payload columns, `@position`, and the reserved columns asked
    for.
    """

    frame: pl.DataFrame
    bad: list[BadRecord] = field(default_factory=list)
    end_offset: int = 0
    markers: list[Marker] = field(default_factory=list)


@dataclass(slots=True)
class Encoded:
    """Record batches of a frame, in its order, and the rows that are in none of them."""

    batches: list[NewBatch] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)


class Decoder(Protocol):
    """Bytes to items. Thread-safe."""

    def decode(self, batches: Sequence[RecordBatch], *, first_offset: int) -> Decoded:
        """Items with offset >= `first_offset`, in offset order. Never raises for what the bytes hold.

        Raises RegistryUnavailable when a schema must be looked up and cannot be.
        """
        ...


class Encoder(Protocol):
    """Items to bytes. Thread-safe."""

    def encode(
        self,
        frame: pl.DataFrame,
        *,
        records_max: int = RECORDS_MAX,
        size_bytes_max: int = SIZE_BYTES_MAX,
        alone_bytes_max: int | None = None,
    ) -> Encoded:
        """The frame's payload columns as values; `@key`, `@ts` and `@headers` go where Kafka has them. Where `@gone`
        is not null, the record has no value.

        Batches take at most `size_bytes_max`; a record that is larger stands alone, up to `alone_bytes_max`. Beyond
        that, or without it, the row is bad.

        Raises RegistryUnavailable when the schema must be registered and cannot be.
        """
        ...
