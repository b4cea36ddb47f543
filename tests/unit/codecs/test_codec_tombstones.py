"""Records without value among others, both ways: rows that have a key in `@gone`."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from streamflow.codecs import CodecSpec, decoder, encoder
from streamflow.codecs.recordbatch import build, open_batch, records
from streamflow.model.batch import GONE, KEY, TS
from streamflow.model.types import ANY, BYTES, LONG, PAYLOAD, STRING, record_of
from tests.property.columns import both_ways

__all__ = ["both_ways"]

RECORD = record_of({"k": STRING, "n": LONG})
ITEMS = {"k": ["a", "b", None, "d"], "n": [1, 2, None, 4]}
TEXTS = {PAYLOAD: [b"1", b"2", None, b"4"]}
WAYS: dict[str, tuple[CodecSpec, dict[str, Any]]] = {
    "avro": (CodecSpec(format="avro", schema=RECORD, name="R"), ITEMS),
    "json": (CodecSpec(format="json", schema=RECORD, name="R"), ITEMS),
    "any": (CodecSpec(format="json", schema=ANY), TEXTS),
    "bytes": (CodecSpec(format="bytes", schema=BYTES), TEXTS),
}


def written(spec: CodecSpec, columns: dict[str, Any], gone: list[bytes | None]) -> list[Any]:
    keys = [b"a", b"b", b"c", b"d"][: len(gone)]
    frame = pl.DataFrame(columns).head(len(gone)).with_columns(
        pl.Series(KEY, keys, dtype=pl.Binary), pl.Series(TS, range(len(gone))), pl.Series(GONE, gone, dtype=pl.Binary)
    )  # fmt: skip
    done = encoder(spec).encode(frame)
    assert not done.bad
    return [open_batch(build(b, base_offset=0, compression="none")) for b in done.batches]


@pytest.mark.parametrize("way", list(WAYS))
def test_records_without_value_come_back(way: str) -> None:
    spec, columns = WAYS[way]
    (batch,) = written(spec, columns, [None, None, b"c", None])
    assert [r.value is None for r in records(batch)] == [False, False, True, False]
    found = decoder(spec, reserved=(KEY, TS, GONE)).decode([batch], first_offset=0)
    assert not found.bad
    assert found.frame[GONE].to_list() == [None, None, b"c", None]
    assert found.frame[TS].to_list() == [0, 1, 2, 3]
    assert found.frame[next(iter(columns))].to_list() == next(iter(columns.values()))


@pytest.mark.parametrize("way", list(WAYS))
def test_none_and_nothing_else(way: str) -> None:
    spec, columns = WAYS[way]
    (batch,) = written(spec, columns, [None, None])
    assert [r.value is None for r in records(batch)] == [False, False]
    nothing = {name: [None, None] for name in columns}
    schema = pl.DataFrame(columns).schema
    frame = pl.DataFrame(nothing, schema=schema).with_columns(
        pl.Series(KEY, [b"a", b"b"]), pl.Series(TS, [0, 1]), pl.Series(GONE, [b"a", b"b"])
    )
    (batch,) = [open_batch(build(b, base_offset=0, compression="none")) for b in encoder(spec).encode(frame).batches]
    assert [r.value for r in records(batch)] == [None, None]
    # Where nobody asks for them, they are what they always were.
    found = decoder(spec).decode([batch], first_offset=0)
    assert (len(found.bad), found.frame.height) == ((0, 2) if way == "any" else (2, 0))
