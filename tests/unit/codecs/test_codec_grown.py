"""Raw Avro values of a schema that got one more field at its end, among those of today."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.codecs import CodecSpec, Decoded, decoder, encoder
from streamflow.codecs.recordbatch import build, from_records, open_batch, records
from streamflow.codecs.records import Record
from streamflow.model.batch import KEY, POSITION, TS
from streamflow.model.types import STRING, record_of

NOW = record_of({"name": STRING, "payload": STRING.optional(), "id": STRING.optional()})
BEFORE = record_of({"name": STRING, "payload": STRING.optional()})


def values(schema: object, rows: list[tuple[str | None, ...]]) -> list[bytes]:
    assert schema in (NOW, BEFORE)
    spec = CodecSpec(format="avro", schema=NOW if schema == NOW else BEFORE, name="R")
    frame = pl.DataFrame(rows, schema=dict.fromkeys((f.name for f in spec.schema.fields), pl.String()), orient="row")
    frame = frame.with_columns(pl.lit(None, dtype=pl.Binary).alias(KEY), pl.lit(0, dtype=pl.Int64).alias(TS))
    batches = encoder(spec).encode(frame).batches
    found = [r.value for b in batches for r in records(open_batch(build(b, base_offset=0, compression="none")))]
    return [value for value in found if value is not None]


def read(found: list[bytes], *, grown: bool = True) -> Decoded:
    batch = from_records([Record(n, n, None, value, []) for n, value in enumerate(found)])
    spec = CodecSpec(format="avro", schema=NOW, name="R")
    return decoder(spec, grown=grown).decode(
        [open_batch(build(batch, base_offset=0, compression="none"))], first_offset=0
    )


TEXT = st.text(max_size=5)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(TEXT, st.none() | TEXT, st.none() | TEXT, st.booleans()), min_size=1, max_size=12))
def test_records_of_both_stand_beside_each_other(rows: list[tuple[str, str | None, str | None, bool]]) -> None:
    found = [values(BEFORE, [(a, b)])[0] if old else values(NOW, [(a, b, c)])[0] for a, b, c, old in rows]
    decoded = read(found)
    assert not decoded.bad
    assert decoded.frame.select("name", "payload", "id").rows() == [(a, b, None if old else c) for a, b, c, old in rows]
    assert decoded.frame[POSITION].to_list() == list(range(len(rows)))


def test_what_is_cut_elsewhere_is_bad_and_so_is_all_where_nothing_grew() -> None:
    (whole,) = values(NOW, [("n", "p", "id")])
    (old,) = values(BEFORE, [("n", "p")])
    cut = [whole[:size] for size in range(len(whole))]
    assert [value for value in cut if not read([value]).bad] == [old]
    assert [b.offset for b in read([whole, old, whole[:-1], old]).bad] == [2]
    assert [b.offset for b in read([whole, old], grown=False).bad] == [1]
