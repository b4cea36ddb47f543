"""What stands on a topic: payload of its schema, key and headers, from items and expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import polars as pl

from streamflow.model.batch import (
    ERROR_CODE,
    ERROR_MESSAGE,
    GONE,
    HEADERS,
    HEADERS_DTYPE,
    KEY,
    PATH,
    ROW,
    Batch,
    without_columns,
)
from streamflow.model.types import PAYLOAD, Schema, frame_schema
from streamflow.operators.errors import evaluate, fail, without
from streamflow.operators.fitting import Fitting, Misfit, fit_items
from streamflow.operators.keys import key_bytes
from streamflow.operators.typed_json import typed_items
from streamflow.sdk.expression import Projection


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """Sets `@key` and `@headers` from a projection whose names are `key` and `headers.<name>`."""

    projection: Projection
    labels: Mapping[str, str]
    headers: tuple[str, ...]
    has_key: bool

    def add(self, batch: Batch) -> tuple[Batch, Batch | None]:
        """(rows with the columns set, rows that failed)."""
        batch, values, failed = evaluate(batch, self.projection, self.labels)
        types, columns = self.projection.types, []
        if self.has_key:
            columns.append(key_bytes(values["key"], types["key"]).alias(KEY))
        if self.headers:
            texts = [key_bytes(values[f"headers.{n}"], types[f"headers.{n}"]) for n in self.headers]
            frame = pl.DataFrame([t.alias(str(at)) for at, t in enumerate(texts)])
            pairs = [
                pl.struct(pl.lit(name).alias("key"), pl.col(str(at)).alias("value"))
                for at, name in enumerate(self.headers)
            ]
            columns.append(frame.select(pl.concat_list(pairs).cast(HEADERS_DTYPE).alias(HEADERS)).to_series())
        return batch.with_frame(batch.frame.with_columns(columns)), failed


@dataclass(frozen=True, slots=True)
class Tombstones:
    """Records without value for items that are gone. `columns` computes their keys; None: they have them."""

    columns: RecordColumns | None
    schema: Schema

    def run(self, batch: Batch) -> tuple[Batch, list[Batch | None]]:
        """(rows without payload, whose `@gone` is their key; rows that failed)."""
        failed = None
        if self.columns is not None:
            batch, failed = self.columns.add(batch)
        there = batch.frame[KEY].is_not_null()
        keyless = None
        if not there.all():
            keyless = fail(batch.where(~there), "null_value", "a record without value needs a key")
            batch = batch.where(there)
        nothing = [pl.lit(None, t).alias(n) for n, t in frame_schema(self.schema).items()]
        frame = batch.frame.select(batch.reserved_columns()).with_columns(pl.col(KEY).alias(GONE), *nothing)
        return Batch(frame, self.schema), [failed, keyless]


def in_turn(batches: list[Batch], *, deletions: bool) -> Batch:
    """Rows of one schema that came by several ports, in order of arrival; of what arrived as one, the first port's.

    `deletions`: some of them, in this step or another, have their key in `@gone`.
    """
    frame = batches[0].frame
    if len(batches) > 1:
        frame = pl.concat([b.frame for b in batches], how="diagonal")
        frame = frame.sort([c for c in (ROW, PATH) if c in frame.columns], maintain_order=True)
    if deletions and GONE not in frame.columns:
        frame = frame.with_columns(pl.lit(None, dtype=pl.Binary).alias(GONE))
    return batches[0] if frame is batches[0].frame else batches[0].with_frame(frame)


@dataclass(frozen=True, slots=True)
class Shaping:
    """Items of one schema into another, rows that do not fit apart."""

    fitting: Fitting
    schema: Schema

    def run(self, batch: Batch) -> tuple[Batch, Batch | None]:
        """(items of the new schema, items that failed, as they came)."""
        way = self.fitting
        if way.nothing:
            return batch.with_frame(batch.frame, self.schema), None
        failed = None
        if way.checks:
            batch, failed = _checked(batch, way)
        frame = batch.frame
        if way.columns:
            frame = frame.with_columns(way.columns)
        if way.dropped:
            frame = without_columns(frame, way.dropped)
        return Batch(frame, self.schema), failed


def _checked(batch: Batch, way: Fitting) -> tuple[Batch, Batch | None]:
    wrong = batch.frame.select(reduce(lambda a, b: a | b, [c.fill_null(False) for c, _, _ in way.checks])).to_series()
    if not wrong.any():
        return batch, None
    code, message = pl.lit(None, pl.String), pl.lit(None, pl.String)
    for check, name, text in reversed(way.checks):
        code = pl.when(check).then(pl.lit(name)).otherwise(code)
        message = pl.when(check).then(pl.lit(f"schema: {text}")).otherwise(message)
    failed = batch.frame.filter(wrong).with_columns(code.alias(ERROR_CODE), message.alias(ERROR_MESSAGE))
    return batch.where(~wrong), batch.with_frame(failed)


@dataclass(frozen=True, slots=True)
class Typing:
    """Untyped JSON items into records, by the rules of JSON topics."""

    schema: Schema

    def run(self, batch: Batch) -> tuple[Batch, Batch | None]:
        """As `Shaping.run`."""
        payload, wrong = typed_items(batch.frame[PAYLOAD], self.schema)
        said = {at: (code, f"schema: {why}") for at, (code, why) in wrong.items()}
        fine, failed = without(batch, said)
        frame = fine.frame.select(fine.reserved_columns()).with_columns(payload.get_columns())
        return Batch(frame, self.schema), failed


def shape_items(source: Schema, target: Schema) -> Shaping | Typing | list[Misfit]:
    """How items of `source` become records of `target`, or what does not fit."""
    if source.kind == "any" and target.kind == "record":
        return Typing(target)
    if source == target or (source.kind == target.kind and source.kind in ("any", "bytes")):
        return Shaping(Fitting((), (), ()), target)
    if source.kind == "record" and target.kind == "record":
        way = fit_items(source, target)
        return way if isinstance(way, list) else Shaping(way, target)
    if source.kind == "record" and target.kind == "bytes" and len(source.fields) == 1:
        only = source.fields[0]
        if only.type.kind in ("string", "bytes"):
            column = pl.col(only.name).cast(pl.Binary).alias(PAYLOAD)
            checks = (
                ((pl.col(only.name).is_null(), "null_value", f"{only.name} is null"),) if only.type.nullable else ()
            )
            return Shaping(Fitting((column,), (only.name,), checks), target)
    return [Misfit("", f"is {source}, and the records are {target}")]
