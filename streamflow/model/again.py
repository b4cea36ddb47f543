"""The record of an item that is given to a workflow again: what topic `<workflow>.again` holds."""

from __future__ import annotations

from typing import Final, Literal

from streamflow.model.dead_letter import HEADERS, documented
from streamflow.model.types import BYTES, INT, LONG, STRING, Schema, Type, array_of

Action = Literal["retry", "resume", "compensate", "rollback"]
# Stands for the topic among the nodes of a stage: in the ledger, and in the history. No node has such an id.
AGAIN_NODE: Final = "~again"
UNDONE: Final = "~undone"  # the same, in the history, of items whose steps are undone
_TIMESTAMP: Final = Type(kind="timestamp", unit="ms")

AGAIN: Final[Schema] = documented(
    "streamflow.Again",
    "An item that a workflow is given again, at its trigger or at a node, or whose steps are to be undone. Written by "
    "the commands that recover executions; only streamflow may write to that topic.",
    [
        ("action", STRING, "retry (a new execution, from the trigger), resume, rollback or compensate."),
        ("stage", STRING, "Stage that takes it; the record's partition is that of the task."),
        ("node", STRING, "Trigger, or node that the item enters; of a compensation the node in which it failed."),
        ("execution", STRING, "Execution that it belongs to; of a retry the one that is tried once more."),
        ("letter", LONG, "Dead letter that it is made of, by its number; -1 where it is made of none."),
        ("steps", array_of(STRING), "Nodes at which the compensations of an item begin."),
        ("topic", STRING, "Topic of the record that the item came from; empty where there is none."),
        ("partition", INT, "Partition of that record; -1 where there is none."),
        ("offset", LONG, "Offset of that record; -1 where there is none."),
        ("timestamp", _TIMESTAMP, "Event time."),
        ("key", BYTES.optional(), "Key of that record, byte for byte."),
        ("value", BYTES.optional(), "Value of that record, byte for byte, where it is known."),
        ("headers", HEADERS, "Headers of that record, in order."),
        ("entered", BYTES.optional(), "The item as it enters the node, with what travels with it."),
        ("entered_schema", STRING.optional(), "Avro schema of `entered`."),
        ("error_code", STRING.optional(), "Why it failed, for compensations."),
        ("error_message", STRING.optional(), "Why it failed, for people."),
        ("then", BYTES.optional(), "A record of this kind that follows when the steps are undone."),
        ("then_partition", INT, "Partition of that record; -1 where there is none."),
    ],
)
