"""The records that are streamflow's own: error items, dead letters, the generic DataItem and executions.

One place says what they hold (dead letters: `model/dead_letter.py`, since a trigger reads them); the files in
`schemas/` are this, written out (`tests/unit/topology` compares them).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from streamflow.codecs.avrotypes import schema_to_avro
from streamflow.model.again import AGAIN
from streamflow.model.checkpoint import CHECKPOINT
from streamflow.model.dead_letter import DEAD_LETTER, documented
from streamflow.model.execution_status import NODE_STATUSES
from streamflow.model.types import (
    BOOL,
    BYTES,
    DOUBLE,
    INT,
    LONG,
    STRING,
    Field,
    Schema,
    Type,
    array_of,
    map_of,
    record_of,
)
from streamflow.operators.control import CONTROL
from streamflow.operators.signals import SIGNAL

_JSON: Final = Type(kind="any")
_TIMESTAMP: Final = Type(kind="timestamp", unit="ms")
ITEM_ERROR: Final = record_of({"code": STRING, "message": STRING, "node": STRING}, name="ItemError")

TRIED_ERROR: Final = record_of({"code": STRING, "message": STRING, "node": STRING, "attempt": INT}, name="TriedError")


def error_schema(schema: Schema, *, attempts: bool = False) -> Schema:
    """What leaves by a node's error port: items that failed, with a field `error`. Bytes become `{item, error}`,
    untyped items stay so.

    `attempts`: as conditions of retries see them, with `error.attempt`.
    """
    error = TRIED_ERROR if attempts else ITEM_ERROR
    if schema.kind == "any":
        return schema
    if schema.kind != "record":
        return record_of({"item": schema, "error": error})
    kept = tuple(f for f in schema.fields if f.name != "error")
    return replace(schema, name="", fields=(*kept, Field(name="error", type=error)))


DATA_ITEM: Final[Schema] = documented(
    "streamflow.DataItem",
    "The generic form of an item on an internal topic, for payloads without a schema. Topics of typed items have a "
    "record of their own, with the payload inline and of the rest only what something downstream uses.",
    [
        ("id", STRING, "The item: execution, node and path."),
        ("execution", STRING, "What one trigger item caused: its source and offset."),
        ("node", STRING, "Node that made the item."),
        ("index", INT, "Place of the item among those of its activation, from 0."),
        ("count", INT, "Items of the activation; -1 where it is not known yet."),
        ("payload", _JSON, "The item itself as JSON text."),
        (
            "binaries",
            array_of(
                documented(
                    "streamflow.BinaryReference",
                    "Bytes that are kept outside the log.",
                    [
                        ("id", STRING, "Id in the blob store."),
                        ("mime_type", STRING, "Type of the content."),
                        ("file_name", STRING.optional(), "Name for people."),
                        ("size_bytes", LONG, "Length of the content."),
                    ],
                )
            ),
            "Bytes that belong to the item.",
        ),
        (
            "metadata",
            documented(
                "streamflow.ItemMetadata",
                "Where the item comes from.",
                [
                    ("source", STRING, "Trigger: topic, incarnation and partition."),
                    ("offset", LONG, "Offset of the trigger item."),
                    ("path", BYTES, "Child indices since the trigger, 4 bytes big-endian each."),
                    ("timestamp", _TIMESTAMP, "Event time."),
                    ("version", INT, "Version of this form."),
                    ("schema", STRING.optional(), "Name of the payload's schema."),
                    ("tags", map_of(STRING), "Whatever else was noted."),
                ],
            ),
            "Where the item comes from.",
        ),
        (
            "quality",
            documented(
                "streamflow.ItemQuality",
                "Scores from 0 to 1; null where nothing measured them.",
                [
                    (name, DOUBLE.optional(), "")
                    for name in ("completeness", "accuracy", "consistency", "timeliness", "validity")
                ],
            ).optional(),
            "What quality nodes found.",
        ),
    ],
)

_NODE_STEP: Final[Schema] = documented(
    "streamflow.NodeStep",
    "Rows of an execution at one node in one step.",
    [
        ("node", STRING, "Id of the node."),
        (
            "status",
            Type(kind="enum", name="streamflow.NodeStatus", symbols=NODE_STATUSES),
            "What became of them: failed where one did and nobody took it, waiting where one waits.",
        ),
        ("rows_in", LONG, "Rows that went in."),
        ("rows_out", LONG, "Rows that came out, by all ports but `error`."),
        ("filtered", LONG, "Of rows_in, those without a child."),
        ("absorbed", LONG, "Of rows_in, those taken into state; with those filtered, where a node does both."),
        ("emitted", LONG, "Of rows_out, those that came out of state."),
        ("continued", LONG, "Rows that failed and were dropped, as policy `continue` says."),
        ("to_error_port", LONG, "Rows that failed and left by port `error`."),
        ("dead_lettered", LONG, "Rows that failed and went to the dead letter topic."),
        ("cancelled", LONG, "Rows that ended here, as their execution was cancelled."),
        ("timed_out", LONG, "Rows that ended here, as their execution has had its time."),
        ("released", LONG, "Of the rows absorbed by a node that waits, those that wait no longer."),
    ],
)

EXECUTION: Final[Schema] = documented(
    "streamflow.Execution",
    "What became of the items of one execution in one step of a stage. Written only for workflows that keep records of "
    "executions; all records of one have its id as their key, and added up they tell how it stands.",
    [
        ("execution", STRING, "Id: where the trigger item stands on its topic; of windows and joins, what began it."),
        (
            "user",
            STRING.optional(),
            "Who asked for it, where the workflow says which header tells; with what began it.",
        ),
        ("session", STRING.optional(), "The session, in the same way."),
        ("trace", STRING.optional(), "The trace id, in the same way."),
        ("error_code", STRING.optional(), "Kind of the first failure."),
        ("error_message", STRING.optional(), "The first failure, for people."),
        ("error_node", STRING.optional(), "Node of the first failure."),
        (
            "samples",
            array_of(
                documented(
                    "streamflow.Sample",
                    "An item that a node gave.",
                    [
                        ("node", STRING, "Id of the node."),
                        ("port", STRING, "Port that it left by."),
                        ("item", STRING, "The item as JSON, cut to a bounded length, without redacted fields."),
                    ],
                )
            ),
            "Some items, where the workflow asks for them.",
        ),
        ("environment", STRING.optional(), "The environment that the workflow was compiled for."),
        ("stage", STRING, "Stage whose task did the step."),
        ("partition", INT, "Number of the task."),
        ("topic", STRING, "First input of the step."),
        ("topic_partition", INT, "Partition of that input."),
        ("offset", LONG, "Where the step began on that input."),
        ("at", _TIMESTAMP, "When the step began, by the clock that the task keeps in its journal."),
        ("trigger", STRING, "Trigger whose items began the execution in this step; empty if none did."),
        ("begun", LONG, "Items of that trigger."),
        ("received", LONG, "Rows that came from stages before."),
        ("sent", LONG, "Rows that went to stages behind."),
        ("waiting", LONG, "Rows that began to wait in nodes, less those that came out, failed or ended."),
        ("kept", LONG, "Rows that wait in nodes for the end of the execution."),
        ("failed", LONG, "Rows that failed and that nobody took: they are dead letters."),
        ("resumed", LONG, "Dead letters of it that were given again."),
        ("cancelled", LONG, "Rows that ended as the execution was cancelled."),
        ("timed_out", LONG, "Rows that ended as the execution has had its time."),
        ("woken", BOOL, "Whether rows of it came out of state."),
        ("bounded", BOOL, "Whether its end is announced: a run, a file or a request."),
        ("ended", BOOL, "Whether its end came to this task behind the rows of the step."),
        ("tasks", INT, "Tasks of the stage to which its end comes."),
        (
            "edges",
            array_of(
                documented(
                    "streamflow.EdgeStep",
                    "Rows of an execution between two stages.",
                    [
                        ("topic", STRING, "Topic between them."),
                        ("received", LONG, "Rows read from it."),
                        ("sent", LONG, "Rows written to it."),
                    ],
                )
            ),
            "Topics to and from other stages.",
        ),
        ("nodes", array_of(_NODE_STEP), "Nodes that had rows, in topological order."),
    ],
)

FILES: Final = {
    "dead_letter.avsc": DEAD_LETTER,
    "data_item.avsc": DATA_ITEM,
    "execution.avsc": EXECUTION,
    "signal.avsc": SIGNAL,
    "control.avsc": CONTROL,
    "again.avsc": AGAIN,
    "checkpoint.avsc": CHECKPOINT,
}


def avro_of(schema: Schema) -> dict[str, object]:
    """The Avro JSON of one of the schemas above."""
    return dict(schema_to_avro(schema))


def write_files(folder: Path) -> None:
    """Write the schema files anew."""
    for name, schema in FILES.items():
        (folder / name).write_text(file_text(schema), encoding="utf-8")


def file_text(schema: Schema) -> str:
    return json.dumps(avro_of(schema), indent=2, ensure_ascii=False) + "\n"
