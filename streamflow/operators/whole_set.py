"""Operators that act on all rows of an execution: one shape for executions inside a step and for those that span many.

An execution of extent `item` is wholly inside one step and needs no state. Bounded ones (run, file, request) are kept
in the store until their trigger says that they have ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from streamflow.model.batch import ROW, Batch
from streamflow.model.types import Schema
from streamflow.operators.errors import fail, join_failed
from streamflow.operators.execution_rows import ExecutionRows, arrived, as_state, by_execution, from_state, waiting
from streamflow.sdk.errors import ItemError
from streamflow.sdk.operator import Context, Result


class Whole(Protocol):
    """What is done with the rows of an execution."""

    def prepare(self, batch: Batch) -> tuple[Batch, Batch | None]:
        """Work on rows as they arrive: (rows to keep, rows that failed). May add columns that start with `@:`."""
        ...

    def finish(self, rows: pl.DataFrame) -> pl.DataFrame:
        """All kept rows of an execution into rows of the output, in order. Raises ItemError when none can be made."""
        ...


@dataclass(frozen=True, slots=True)
class WholeSet:
    """Feeds `Whole` with whole executions. Needs `@execution`; the store is `rows`."""

    whole: Whole
    source: Schema
    schema: Schema
    bounded: bool

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, failed = self.whole.prepare(inputs["in"])
        if self.bounded:
            ExecutionRows(ctx.store("rows")).add_all(batch.frame)
            return Result(failed=failed, absorbed=len(batch))
        made: list[pl.DataFrame] = []
        wrong: list[Batch | None] = [failed]
        absorbed = filtered = 0
        for _, rows in by_execution(batch.frame):
            try:
                done = self.whole.finish(rows)
            except ItemError as error:
                wrong.append(fail(self._plain(rows), error.item_code, error.message))
                continue
            made.append(done)
            if done.height:
                absorbed += max(rows.height - done.height, 0)
            else:
                filtered += rows.height
        frame = arrived(made) if made else None
        return Result(
            outputs={"out": Batch(frame, self.schema)} if frame is not None and frame.height else {},
            failed=join_failed(wrong),
            filtered=filtered,
            absorbed=absorbed,
        )

    def end(self, execution: str, ctx: Context) -> Result:
        if not self.bounded:
            return Result()
        rows = ExecutionRows(ctx.store("rows")).take(execution)
        if rows is None:
            return Result()
        rows = from_state(rows)
        try:
            done = self.whole.finish(rows)
        except ItemError as error:
            return Result(failed=fail(self._plain(rows), error.item_code, error.message))
        return Result(outputs={"out": Batch(done, self.schema)} if done.height else {}, emitted=done.height)

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        return as_state(waiting(stores["rows"]))

    def _plain(self, rows: pl.DataFrame) -> Batch:
        return Batch(rows.drop([c for c in rows.columns if c.startswith("@:")]), self.source)


@dataclass(frozen=True, slots=True)
class CountedSet:
    """Feeds `Whole` with each `count` rows of a task, across executions and steps.

    A set is complete at a row: that row is the parent of all that comes out of it. Incomplete sets wait in the store
    `rows`.
    """

    whole: Whole
    schema: Schema
    count: int

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, failed = self.whole.prepare(inputs["in"])
        kept, rows = ExecutionRows(ctx.store("rows")), batch.frame
        if kept.count("") + rows.height < self.count:
            kept.add("", rows)
            return Result(failed=failed, absorbed=len(batch))
        before = kept.take("")
        if before is not None:
            rows = pl.concat([before.with_columns(pl.lit(0, pl.UInt32).alias(ROW)), rows], how="diagonal")
        whole = rows.height // self.count * self.count
        if whole < rows.height:
            kept.add("", rows.slice(whole))
        made = []
        for start in range(0, whole, self.count):
            chunk = rows.slice(start, self.count)
            made.append(self.whole.finish(chunk).with_columns(pl.lit(chunk[ROW][-1], pl.UInt32).alias(ROW)))
        return Result(
            outputs={"out": Batch(pl.concat(made), self.schema)}, failed=failed, absorbed=len(batch) - len(made)
        )

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        return as_state(waiting(stores["rows"]))
