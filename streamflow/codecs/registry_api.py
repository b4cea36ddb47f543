"""What a schema registry does: names for schemas, and numbers that stand in front of values.

A subject is what a schema belongs to (`<topic>-value`), with versions 1, 2, …; an id names a schema in the whole
registry and stands in front of every value with Confluent framing. Registering is idempotent: the same schema has the
same id.
"""

from __future__ import annotations

from typing import Protocol

from streamflow.sdk.errors import CodecError, SchemaError


class RegistryUnavailable(CodecError):
    """The registry gave no answer, or refused us. Nothing is known about the schema: try again, dead-letter nothing."""

    code = "SF402"


class UnknownSchema(CodecError):
    """The registry answered, and has no such schema."""

    code = "SF403"


class IncompatibleSchema(SchemaError):
    """The registry does not accept the schema for its subject."""

    code = "SF404"


class SchemaRegistry(Protocol):
    """Where schemas live. Thread-safe; ids and what they mean never change, so both are cached."""

    def register(self, subject: str, schema: str) -> int:
        """The id of `schema` (Avro JSON), registered under `subject` if it is not yet.

        Raises IncompatibleSchema, RegistryUnavailable.
        """
        ...

    def by_id(self, schema_id: int) -> str:
        """Avro JSON of an id. Raises UnknownSchema, RegistryUnavailable."""
        ...

    def by_fingerprint(self, fingerprint: bytes) -> str:
        """Avro JSON of a CRC-64-AVRO fingerprint (8 bytes little-endian). Raises UnknownSchema, RegistryUnavailable."""
        ...

    def latest(self, subject: str) -> tuple[int, int, str]:
        """(id, version, Avro JSON) of the newest version. Raises UnknownSchema, RegistryUnavailable."""
        ...

    def is_compatible(self, subject: str, schema: str) -> bool:
        """Whether `schema` could be registered as the next version. Raises RegistryUnavailable."""
        ...
