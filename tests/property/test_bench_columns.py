"""What `streamflow bench` makes of a schema fits it, and is the same for the same seed."""

from __future__ import annotations

import json

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.bench.columns import Maker
from streamflow.codecs import CodecSpec, encoder
from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.model.types import polars_dtype
from tests.property.avro_cases import Cases


@given(st.integers(0, 2**32), st.integers(0, 40))
@settings(max_examples=150)
def test_made_items_fit_their_schema(seed: int, count: int) -> None:
    avro = Cases(seed).record()
    schema = schema_from_avro(avro)
    made = Maker(seed).rows(schema, count)
    assert dict(made.schema.items()) == {f.name: polars_dtype(f.type) for f in schema.fields}
    if schema.fields:  # a frame without columns has no height
        assert made.height == count
        assert not encoder(CodecSpec(format="avro", schema=schema, avro=json.dumps(avro))).encode(made).bad
    assert made.equals(Maker(seed).rows(schema, count))


def test_another_seed_makes_other_items() -> None:
    avro = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]}
    one, two = (Maker(seed).rows(schema_from_avro(avro), 100) for seed in (1, 2))
    assert not one.equals(two)
    assert one["n"].is_between(pl.lit(0), pl.lit(999_999)).all()
