"""Records of items as they come by, at most one for each execution in a span of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from streamflow.model.batch import EXECUTION, KEY, PATH, TS, Batch
from streamflow.model.checkpoint import CHECKPOINT
from streamflow.model.types import Type, frame_schema
from streamflow.operators.entered import keep
from streamflow.sdk.operator import Context, Result
from streamflow.sdk.state import StateStore

STORE: Final = "taken"
_FORGOTTEN_MAX: Final = 20_000  # entries that are forgotten at once: what is left goes next
_DTYPES: Final = frame_schema(CHECKPOINT)


@dataclass(frozen=True, slots=True)
class CheckpointOperator:
    """Items go on by `out`, records by `records`. `kept`: types of what earlier nodes made of an item. State: by
    execution, when its last record was made; forgotten when `interval_ms` is over.
    """

    kept: Mapping[str, Type]
    interval_ms: int | None

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        chosen = batch
        if self.interval_ms is not None:
            chosen = batch.where(self._due(batch.frame[EXECUTION], ctx.store(STORE), ctx.now_ms, self.interval_ms))
        if not len(chosen):
            return Result(outputs={"out": batch})
        return Result(outputs={"out": batch, "records": self._records(chosen, ctx)})

    def _records(self, rows: Batch, ctx: Context) -> Batch:
        entered, frame, n = keep(rows, self.kept), rows.frame, len(rows)
        now = pl.lit(ctx.now_ms, dtype=pl.Int64).cast(_DTYPES["at"])
        columns = frame.select(
            pl.col(EXECUTION).alias("execution"), pl.lit(ctx.node).alias("node"), pl.lit(ctx.stage).alias("stage"),
            pl.lit(ctx.partition, dtype=pl.Int32).alias("task"), pl.col(PATH).alias("path"),
            pl.col(TS).cast(_DTYPES["timestamp"]).alias("timestamp"), now.alias("at"),
            pl.Series("entered", [e.value for e in entered], dtype=pl.Binary),
            pl.Series("entered_schema", [e.schema for e in entered], dtype=pl.String),
        )  # fmt: skip
        reserved = frame.select(rows.reserved_columns()).with_columns(pl.col(EXECUTION).cast(pl.Binary).alias(KEY))
        assert columns.height == n
        return Batch(reserved.hstack(columns.get_columns()), CHECKPOINT)

    @staticmethod
    def _due(executions: pl.Series, store: StateStore, now_ms: int, interval_ms: int) -> pl.Series:
        """Which rows are recorded: the first of each execution, unless one of it was within the interval."""
        _forget(store, now_ms - interval_ms)
        first = executions.is_first_distinct() & executions.is_not_null()
        names = [name.encode() for name in executions.filter(first).to_list()]
        known = store.get_many([b"e" + name for name in names])
        fresh = [name for name, at in zip(names, known, strict=True) if at is None]
        stamp = max(0, now_ms).to_bytes(8, "big")
        store.put_many([b"e" + name for name in fresh], [stamp] * len(fresh))
        store.put_many([b"t" + stamp + name for name in fresh], [b""] * len(fresh))
        return first & executions.is_in([name.decode() for name in fresh])


def _forget(store: StateStore, until_ms: int) -> None:
    """Entries made at that time or before."""
    if until_ms < 0:
        return
    gone: list[bytes] = []
    for name, _ in store.scan(b"t", b"t" + (until_ms + 1).to_bytes(8, "big")):
        gone += [name, b"e" + name[9:]]
        if len(gone) >= _FORGOTTEN_MAX:
            break
    store.delete_many(gone)
