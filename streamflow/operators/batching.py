"""Rows into lists of a size. A list is complete at a row: that row is its parent, whatever the steps were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from streamflow.model.batch import KEY, PATH, ROW, TS, WM, Batch
from streamflow.model.types import PAYLOAD, Schema
from streamflow.operators.execution_rows import (
    ExecutionRows,
    arrived,
    as_state,
    by_execution,
    from_state,
    reserved,
    waiting,
)
from streamflow.operators.explode import index_bytes
from streamflow.sdk.operator import Context, Result

_STREAM = ""  # the one set when lists go across executions
_GROUP = "@:batch"


@dataclass(frozen=True, slots=True)
class BatchOperator:
    """`size` None is one list for each execution. Stores: `rows` of incomplete lists, `counts` of lists made."""

    size: int | None
    stream: bool
    bounded: bool
    source: Schema
    schema: Schema

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        sets = [(_STREAM, batch.frame)] if self.stream else by_execution(batch.frame)
        made: list[pl.DataFrame] = []
        for name, rows in sets:
            if (lists := self._add(name, rows, ctx) if self._keeps else self._lists(rows, 0)) is not None:
                made.append(lists)
        if not made:
            return Result(absorbed=len(batch))
        frame = arrived(made)
        return Result(outputs={"out": Batch(frame, self.schema)}, absorbed=len(batch) - frame.height)

    def end(self, execution: str, ctx: Context) -> Result:
        if not self._keeps or self.stream:
            return Result()
        rows = ExecutionRows(ctx.store("rows")).take(execution)
        number = self._number(execution, ctx)
        ctx.store("counts").delete(execution.encode())
        if rows is None:
            return Result()
        made = self._lists(from_state(rows), number)
        return Result(outputs={"out": Batch(made, self.schema)}, emitted=made.height)

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        return as_state(waiting(stores["rows"]))

    @property
    def _keeps(self) -> bool:
        return self.stream or self.bounded

    def _add(self, name: str, rows: pl.DataFrame, ctx: Context) -> pl.DataFrame | None:
        """Rows behind those kept: lists that are complete now; the rest is kept."""
        kept = ExecutionRows(ctx.store("rows"))
        if self.size is None or kept.count(name) + rows.height < self.size:
            kept.add(name, rows)
            return None
        before = kept.take(name)
        if before is not None:
            # What was kept is part of lists whose parents are rows of this step.
            rows = pl.concat([before.with_columns(pl.lit(0, dtype=pl.UInt32).alias(ROW)), rows], how="diagonal")
        whole = rows.height // self.size * self.size
        number = self._number(name, ctx)
        if whole < rows.height:
            kept.add(name, rows.slice(whole))
        ctx.store("counts").put(name.encode(), (number + whole // self.size).to_bytes(8, "big"))
        return self._lists(rows.head(whole), number)

    def _number(self, name: str, ctx: Context) -> int:
        return int.from_bytes(ctx.store("counts").get(name.encode()) or b"\0", "big")

    def _lists(self, rows: pl.DataFrame, number: int) -> pl.DataFrame:
        """One row a list. `number` is the index of the first."""
        size = self.size or max(rows.height, 1)
        groups = pl.int_range(0, rows.height, eager=True) // size
        names = [f.name for f in self.source.fields] if self.source.kind == "record" else [PAYLOAD]
        item = pl.struct(names) if self.source.kind == "record" else pl.col(PAYLOAD)
        kept = {n: (pl.col(n).max() if n in (TS, WM) else pl.col(n).last()) for n in reserved(rows)}
        made = (
            rows.with_columns(groups.alias(_GROUP))
            .group_by(_GROUP, maintain_order=True)
            .agg(item.alias("items"), pl.len().cast(pl.Int64).alias("count"), **kept)
            .with_columns((pl.col(_GROUP) + number).cast(pl.Int64).alias("index"))
            .drop(_GROUP)
        )
        columns = []
        if KEY in made.columns:
            columns.append(pl.repeat(None, made.height, dtype=pl.Binary, eager=True).alias(KEY))
        if PATH in made.columns and not self.stream:
            columns.append(index_bytes(made["index"]).alias(PATH))
        return made.with_columns(columns)
