"""The record of an item that failed: what the dead letter topic holds, and what an error trigger reads."""

from __future__ import annotations

from typing import Final

from streamflow.model.types import BYTES, INT, LONG, STRING, Field, Schema, Type, array_of, record_of

_TIMESTAMP: Final = Type(kind="timestamp", unit="ms")
HEADERS: Final = array_of(record_of({"key": STRING, "value": BYTES.optional()}, name="streamflow.Header"))


def documented(name: str, doc: str, fields: list[tuple[str, Type, str]]) -> Schema:
    """A record schema; fields that may be null default to that."""
    return Type(
        kind="record",
        name=name,
        doc=doc,
        fields=tuple(Field(name=n, type=t, doc=d, has_default=t.nullable, default=None) for n, t, d in fields),
    )


DEAD_LETTER: Final[Schema] = documented(
    "streamflow.DeadLetter",
    "An item that failed and may be redriven, with all that is needed to find out why.",
    [
        ("workflow", STRING, "Id of the workflow."),
        ("stage", STRING, "Stage whose task met the failure."),
        ("node", STRING, "Node in which the item failed."),
        ("code", STRING, "Kind of failure, such as division_by_zero."),
        ("message", STRING, "What happened, for people."),
        ("attempt", INT, "How often the item was tried; 0 where it found no room to wait for its turn."),
        ("execution", STRING.optional(), "Id of the execution that the item belonged to."),
        ("topic", STRING, "Topic that the record was read from; empty for items of a trigger that is no topic."),
        ("partition", INT, "Partition that the record was read from; -1 where there is no record."),
        ("offset", LONG, "Offset of the record; -1 where there is no record."),
        ("timestamp", _TIMESTAMP, "Event time of the item, never the time of the failure: a replay writes the same."),
        ("key", BYTES.optional(), "Key of the record, byte for byte."),
        ("value", BYTES.optional(), "Value of the record, byte for byte."),
        ("headers", HEADERS, "Headers of the record, in order."),
        ("item", STRING.optional(), "The failing item as JSON, where no single record stands for it."),
    ],
)
