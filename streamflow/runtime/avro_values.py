"""Small Avro records of our own (journal, ledger): bounded, versioned, to bytes and back.

They are written once per commit, so one record at a time is right here; the columnar codec is for items.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Any

import fastavro

from streamflow.codecs.varints import read_varint, varint
from streamflow.sdk.errors import CodecError

VALUE_BYTES_MAX = 1 << 20  # a record of these topics, so that the default max.message.bytes takes it
# What fastavro raises for bytes that are not what the schema says.
_READ_ERRORS = (EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error, StopIteration)


class AvroValue:
    """One kind of record: its Avro schema and its version, which precedes each value as an Avro int."""

    def __init__(self, schema: Mapping[str, Any], *, version: int) -> None:
        self.schema, self._version = schema, version
        self._name = str(schema["name"])
        self._parsed = fastavro.parse_schema(dict(schema))

    def encode(self, fields: Mapping[str, Any]) -> bytes:
        """Raises CodecError when the value would exceed VALUE_BYTES_MAX or does not fit the schema."""
        buffer = io.BytesIO()
        buffer.write(varint(self._version))
        try:
            fastavro.schemaless_writer(buffer, self._parsed, fields)
        except _READ_ERRORS as error:
            raise CodecError(f"{self._name}: a field does not fit its schema: {error}.") from error
        if buffer.tell() > VALUE_BYTES_MAX:
            raise CodecError(
                f"{self._name}: {buffer.tell()} bytes, more than {VALUE_BYTES_MAX}.",
                mend="Commit more often: lower commit_interval_ms or pending_bytes_max.",
            )
        return buffer.getvalue()

    def decode(self, value: bytes) -> dict[str, Any]:
        """Raises CodecError for bytes that are no such record, or one of another version."""
        if len(value) > VALUE_BYTES_MAX:
            raise CodecError(f"{self._name}: {len(value)} bytes, more than {VALUE_BYTES_MAX}.")
        try:
            version, start = read_varint(value, 0, len(value))
        except ValueError as error:
            raise CodecError(f"{self._name}: {error}.") from error
        if version != self._version:
            raise CodecError(
                f"{self._name}: written in version {version}, this program reads version {self._version}.",
                mend="Read it with the streamflow that wrote it.",
            )
        buffer = io.BytesIO(value)
        buffer.seek(start)
        try:
            fields = fastavro.schemaless_reader(buffer, self._parsed, None)
        except _READ_ERRORS as error:
            raise CodecError(f"{self._name}: not a valid record: {type(error).__name__} {error}.") from error
        if buffer.tell() != len(value) or not isinstance(fields, dict):
            raise CodecError(f"{self._name}: {len(value) - buffer.tell()} bytes too many.")
        return fields
