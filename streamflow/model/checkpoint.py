"""The record of an item as it came to a node, to which its execution can be rolled back."""

from __future__ import annotations

from typing import Final

from streamflow.model.dead_letter import documented
from streamflow.model.types import BYTES, INT, STRING, Schema, Type

_TIMESTAMP: Final = Type(kind="timestamp", unit="ms")

CHECKPOINT: Final[Schema] = documented(
    "streamflow.Checkpoint",
    "An item as it came to a node that the workflow's policy `checkpoints` names, whole: its execution can be rolled "
    "back to there. Nothing in it is redacted.",
    [
        ("execution", STRING, "Execution that it belongs to; also the record's key."),
        ("node", STRING, "Where it enters again: what the compiler put before the node."),
        ("stage", STRING, "Stage of that."),
        ("task", INT, "Number of the task, which is the partition that takes it again."),
        ("path", BYTES, "Which item of its execution it is: child indices since the trigger."),
        ("timestamp", _TIMESTAMP, "Event time."),
        ("at", _TIMESTAMP, "When it came there, by the clock that the task keeps in its journal."),
        ("entered", BYTES, "The item, with what travels with it."),
        ("entered_schema", STRING, "Avro schema of `entered`."),
    ],
)
