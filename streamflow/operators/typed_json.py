"""JSON texts into typed columns and back, by the same rules as JSON records of a topic."""

from __future__ import annotations

import polars as pl

from streamflow.codecs.json_write import json_texts
from streamflow.codecs.jsoncodec import json_reader
from streamflow.model.batch import Batch
from streamflow.model.types import PAYLOAD, Schema, frame_schema


def typed_items(texts: pl.Series, schema: Schema) -> tuple[pl.DataFrame, dict[int, tuple[str, str]]]:
    """(payload columns of all texts that fit the schema, {number of a text that does not: (code, why)})."""
    if not len(texts):
        return pl.DataFrame(schema=frame_schema(schema)), {}
    frame, errors = json_reader(schema).values([v if v is not None else b"null" for v in texts.to_list()], b"")
    return frame.select(list(frame_schema(schema))), {at: (str(c), why) for at, (c, why) in sorted(errors.items())}


def untyped_items(batch: Batch) -> pl.Series:
    """Items as JSON texts, the column `@item`."""
    if batch.schema.kind != "record":
        return batch.frame[PAYLOAD]
    return json_texts(batch.payload(), batch.schema).cast(pl.Binary).alias(PAYLOAD)
