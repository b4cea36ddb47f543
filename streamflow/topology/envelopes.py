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
from streamflow.model.dead_letter import DEAD_LETTER, documented
from streamflow.model.types import (
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

_JSON: Final = Type(kind="any")
_TIMESTAMP: Final = Type(kind="timestamp", unit="ms")
ITEM_ERROR: Final = record_of({"code": STRING, "message": STRING, "node": STRING}, name="ItemError")

TRIED_ERROR: Final = record_of({"code": STRING, "message": STRING, "node": STRING, "attempt": INT}, name="TriedError")


def error_schema(schema: Schema, *, attempts: bool = False) -> Schema:
    """What leaves by a node's error port: items that failed, with a field `error`. Items that are no records stay.

    `attempts`: as conditions of retries see them, with `error.attempt`.
    """
    if schema.kind != "record":
        return record_of({"item": schema, "error": TRIED_ERROR}) if attempts and schema.kind != "any" else schema
    kept = tuple(f for f in schema.fields if f.name != "error")
    return replace(schema, name="", fields=(*kept, Field(name="error", type=TRIED_ERROR if attempts else ITEM_ERROR)))


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

EXECUTION: Final[Schema] = documented(
    "streamflow.Execution",
    "What became of one execution. Written only for workflows that keep records of executions.",
    [
        ("id", STRING, "Position of the trigger item: source and offset."),
        ("workflow", STRING, "Id of the workflow."),
        ("trigger", STRING, "Node that started it."),
        (
            "status",
            Type(
                kind="enum",
                name="streamflow.ExecutionStatus",
                symbols=("running", "waiting", "succeeded", "failed", "cancelled"),
            ),
            "Where it stands.",
        ),
        ("started_at", _TIMESTAMP, "Event time of the trigger item."),
        ("ended_at", _TIMESTAMP.optional(), "Event time of the last item it caused; null while it goes on."),
        ("items", LONG, "Items that its nodes produced."),
        ("parents", array_of(STRING), "Executions whose items a window or join put together to start this one."),
        (
            "error",
            record_of({"code": STRING, "message": STRING, "node": STRING}, name="streamflow.ExecutionError").optional(),
            "The first failure.",
        ),
    ],
)

FILES: Final = {"dead_letter.avsc": DEAD_LETTER, "data_item.avsc": DATA_ITEM, "execution.avsc": EXECUTION}


def avro_of(schema: Schema) -> dict[str, object]:
    """The Avro JSON of one of the schemas above."""
    return dict(schema_to_avro(schema))


def write_files(folder: Path) -> None:
    """Write the schema files anew."""
    for name, schema in FILES.items():
        (folder / name).write_text(file_text(schema), encoding="utf-8")


def file_text(schema: Schema) -> str:
    return json.dumps(avro_of(schema), indent=2, ensure_ascii=False) + "\n"
