"""Items as plain JSON values, to and from frames: what test cases and command lines are written in."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import polars as pl

from streamflow.codecs import CodecSpec, decoder, encoder
from streamflow.codecs.recordbatch import build as build_batch
from streamflow.codecs.recordbatch import from_records, open_batch, records
from streamflow.codecs.records import Record
from streamflow.model.batch import GONE
from streamflow.model.types import PAYLOAD, Schema
from streamflow.sdk.errors import ItemError


def frame_from_items(items: Sequence[object], schema: Schema) -> pl.DataFrame:
    """Payload columns of `schema` from JSON values. Raises ItemError naming the first item that does not fit."""
    spec = CodecSpec(format="json", schema=schema, name="Item")
    lines = [
        Record(offset=i, timestamp_ms=0, key=None, value=orjson.dumps(item), headers=[]) for i, item in enumerate(items)
    ]
    if not lines:
        return decoder(spec).decode([], first_offset=0).frame.drop("@position", strict=False)
    batch = open_batch(build_batch(from_records(lines), base_offset=0, compression="none"))
    decoded = decoder(spec, reserved=()).decode([batch], first_offset=0)
    if decoded.bad:
        bad = decoded.bad[0]
        raise ItemError(f"item {bad.offset} does not fit {schema}: {bad.message}", item_code=bad.code)
    return decoded.frame.drop("@position", strict=False)


def items_from_frame(frame: pl.DataFrame, schema: Schema) -> list[object]:
    """JSON values of the payload columns, in row order; None for records without value."""
    if GONE in frame.columns:
        there = frame[GONE].is_null()
        values = iter(items_from_frame(frame.filter(there).drop(GONE), schema))
        return [next(values) if is_there else None for is_there in there.to_list()]
    if schema.kind == "bytes":
        return [v.decode(errors="backslashreplace") if v is not None else None for v in frame[PAYLOAD].to_list()]
    spec = CodecSpec(format="json", schema=schema, name="Item")
    payload = [c for c in frame.columns if not c.startswith("@") or c == PAYLOAD]
    encoded = encoder(spec).encode(frame.select(payload))
    if encoded.bad:
        bad = encoded.bad[0]
        raise ItemError(f"row {bad.row} cannot be shown as JSON: {bad.message}", item_code=bad.code)
    found: list[object] = []
    for batch in encoded.batches:
        opened = open_batch(build_batch(batch, base_offset=0, compression="none"))
        found.extend(orjson.loads(r.value) if r.value is not None else None for r in records(opened))
    return found
