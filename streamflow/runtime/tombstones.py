"""Records without value: rows among the items of a trigger until they leave by its port `gone`.

They keep their place in the order of the topic, and the time of their record moves event time on. All that such a
record says is its key, so the item has one field, read from the key's bytes as `operators/keys.py` spells them.
Deletions that go through a repartition come out of its topic in the same way.
"""

from __future__ import annotations

import polars as pl

from streamflow.model.batch import GONE, KEY, TS, Batch
from streamflow.model.types import Schema, Type, polars_dtype

CODE, MESSAGE = "undecodable", "the key of a record without value is no {}"


def read_keys(frame: pl.DataFrame, schema: Schema) -> tuple[pl.DataFrame, pl.Series]:
    """(`@gone` with keys of the type of the one field of `schema`, which rows have a key that is no such value)."""
    raw = frame[GONE]
    values = _values(raw, schema.fields[0].type)
    return frame.with_columns(values.alias(GONE)), values.is_null() & raw.is_not_null()


def _values(raw: pl.Series, kind: Type) -> pl.Series:
    if kind.kind == "bytes":
        return raw
    text = raw.to_frame("k").select(pl.col("k").cast(pl.String, strict=False)).to_series()
    if kind.kind == "string":
        return text
    number = text.cast(pl.Int64, strict=False)
    # `+1` and `01` are numbers, too, but nobody's spelling of a key.
    same = number.cast(pl.String) == text
    return number.zip_with(same.fill_null(False), pl.Series([None], dtype=pl.Int64)).cast(
        polars_dtype(kind), strict=False
    )


def without_value(frame: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """`frame`, in which keys and times were computed of items: rows without an item have those of their records."""
    gone = frame[GONE].is_not_null()
    return frame.with_columns(before[c].zip_with(gone, frame[c]) for c in (KEY, TS))


def entering(node: str, rows: Batch, schema: Schema | None) -> dict[tuple[str, str], Batch]:
    """Rows of a trigger by port. `schema`: of the items of port `gone`, where the trigger has one."""
    if schema is None or GONE not in rows.frame.columns:
        return {(node, "out"): rows}
    gone = rows.frame[GONE].is_not_null()
    found: dict[tuple[str, str], Batch] = {}
    if not gone.all():
        items = rows.where(~gone) if gone.any() else rows
        found[node, "out"] = items.with_frame(items.frame.drop(GONE))
    if gone.any():
        lost = rows.frame.filter(gone).select(rows.reserved_columns())
        found[node, "gone"] = Batch(lost.rename({GONE: schema.fields[0].name}), schema)
    return found
