"""A loop's head: rows that enter begin, rows that come back go round again or leave.

The runtime pushes the rows of port `body` through the body and brings them back by port `back`, until none is left: one
pass of the body is a round of all rows that are still in the loop. All that is remembered travels with the rows, so
how a stream is cut into steps changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from streamflow.model.batch import EXECUTION, PATH, ROW, Batch
from streamflow.model.types import Schema
from streamflow.operators.errors import evaluate, fail, join_failed, without
from streamflow.operators.limiting import count_on
from streamflow.operators.masks import condition
from streamflow.operators.rounds import Rounds, with_results
from streamflow.operators.untyped import parse_arrays
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result

LOOP_LIMIT: Final = "loop_limit"
ROWS_MAX: Final = 1_000_000  # of one input record that go round together: a body may make several of one


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is computed where rows enter: `count` of rounds with `start` and `step`, or the array `each`."""

    values: Projection
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopOperator:
    """`when`: whether another round follows, asked before the first one, too, where `tested_first`. `batch_size`: of
    elements a round; of items of an execution, where there is no `each`. `bounded`: executions span steps.
    """

    mode: str
    rounds: Rounds
    limit: int
    entry: Entry | None = None
    batch_size: int | None = None
    when: tuple[Projection, Mapping[str, str]] | None = None
    break_if: tuple[Projection, Mapping[str, str]] | None = None
    collect: tuple[Projection, Mapping[str, str]] | None = None
    collect_as: str = ""
    done: Schema
    untyped_each: bool = False
    bounded: bool = False

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        body: list[Batch] = []
        done: list[Batch] = []
        failed: list[Batch | None] = []
        for port, batch in inputs.items():
            first, wrong = port == "in", _Failures()
            rows, leaving = (self._begin(batch, ctx, wrong), None) if first else self._end_round(batch, wrong)
            rows, goes = self._again(rows, first, wrong)
            going = self._within_limit(rows.where(goes), first, wrong)
            body.append(going.with_frame(self.rounds.begun(self._about(going.frame), first=first)))
            done += [self._leave(some, first, wrong) for some in (rows.where(~goes), leaving) if some is not None]
            failed += [rows.with_frame(self.rounds.left(rows.frame, first=first)) for rows in wrong]
        outputs = {"body": _merged(body), "done": _merged(done)}
        return Result(outputs={p: b for p, b in outputs.items() if b is not None}, failed=join_failed(failed))

    def _begin(self, batch: Batch, ctx: Context, failed: _Failures) -> Batch:
        """Rows that enter, with what they remember."""
        name = self.rounds.name
        values: pl.DataFrame | None = None
        if self.entry is not None:
            batch, values, wrong = evaluate(batch, self.entry.values, self.entry.labels)
            failed.add(wrong)
            if self.untyped_each:
                lists, no_arrays = parse_arrays(values["each"], self.entry.labels["each"])
                batch, wrong = without(batch, no_arrays)
                failed.add(wrong)
                values = lists.to_frame("each")
        frame = self.rounds.entered(batch.frame)
        if values is not None:
            frame = frame.with_columns(values[c].alias(name(c)) for c in values.columns)
            frame = frame.with_columns(self._count(values).alias(name("count")))
        elif self.mode == "for-each":
            frame = frame.with_columns(self._batch_numbers(frame, ctx).alias(name("index")))
        if self.collect is not None:
            frame = self.rounds.nothing_collected(frame)
        return batch.with_frame(frame)

    def _count(self, values: pl.DataFrame) -> pl.Expr:
        """How many rounds; none for a null."""
        if "each" not in values.columns:
            return pl.col(self.rounds.name("count")).fill_null(0).clip(0)
        size = self.batch_size or 1
        length = pl.col(self.rounds.name("each")).list.len().cast(pl.Int64).fill_null(0)
        return (length + (size - 1)) // size

    def _batch_numbers(self, frame: pl.DataFrame, ctx: Context) -> pl.Series:
        """Which batch of its execution a row is in: as many as `batch_size` are in one."""
        counted = frame.select(pl.col(EXECUTION).alias("@set"), pl.int_range(pl.len()).over(EXECUTION).alias("@n"))
        if self.bounded:
            counted = count_on(counted, ctx.store("counts"))
        return counted["@n"].cast(pl.Int64) // (self.batch_size or 1)

    def end(self, execution: str, ctx: Context) -> Result:
        """An execution ended: its items need no more numbers."""
        if self.bounded:
            ctx.store("counts").delete(execution.encode())
        return Result()

    def _end_round(self, batch: Batch, failed: _Failures) -> tuple[Batch, Batch | None]:
        """Rows that come back: (those that may go on, those that leave at once)."""
        if self.rounds.across:
            batch = batch.with_frame(self._about(batch.frame))  # a topic does not bring that
        if self.collect is not None:
            batch, values, wrong = evaluate(batch, *self.collect)
            failed.add(wrong)
            batch = batch.with_frame(self.rounds.collect(batch.frame, values.to_series(0)))
        leaving: Batch | None = None
        if self.break_if is not None:
            batch, values, wrong = evaluate(batch, *self.break_if)
            failed.add(wrong)
            breaks = condition(values.to_series(0))
            leaving, batch = batch.where(breaks), batch.where(~breaks)
        index = pl.col(self.rounds.name("index"))
        return batch.with_frame(batch.frame.with_columns(index + 1)), leaving

    def _again(self, rows: Batch, first: bool, failed: _Failures) -> tuple[Batch, pl.Series]:
        """(rows that are fine, which of them go round)."""
        name = self.rounds.name
        if self.when is not None and not (first and self.mode == "do-while"):
            rows, values, wrong = evaluate(rows, *self.when)
            failed.add(wrong)
            return rows, condition(values.to_series(0))
        if name("count") in rows.frame.columns:
            return rows, rows.frame.select(pl.col(name("index")) < pl.col(name("count"))).to_series()
        # Before the first round of a do-while; or each item goes round once.
        return rows, pl.repeat(first, len(rows), dtype=pl.Boolean, eager=True)

    def _within_limit(self, rows: Batch, first: bool, failed: _Failures) -> Batch:
        """Rows that may go round; the others fail."""
        if first:
            return rows
        over = rows.frame[self.rounds.name("index")] >= self.limit
        if over.any():
            failed.add(fail(rows.where(over), LOOP_LIMIT, f"limit: more than {self.limit} rounds"))
            rows = rows.where(~over)
        if len(rows) > ROWS_MAX:
            many = rows.frame.select(pl.len().over(ROW) > ROWS_MAX).to_series()
            text = f"limit: more than {ROWS_MAX:,} items made of one record go round together"
            failed.add(fail(rows.where(many), LOOP_LIMIT, text))
            rows = rows.where(~many)
        return rows

    def _about(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows with what their round is about."""
        name, columns = self.rounds.name, set(frame.columns)
        index = pl.col(name("index"))
        if name("start") in columns:
            frame = frame.with_columns((pl.col(name("start")) + index * pl.col(name("step"))).alias(name("value")))
        if name("each") in columns and self.batch_size is None:
            frame = frame.with_columns(pl.col(name("each")).list.get(index, null_on_oob=True).alias(name("item")))
        elif name("each") in columns:
            size = self.batch_size or 1
            some = pl.col(name("each")).list.slice(index * size, size)
            frame = frame.with_columns(some.alias(name("items")))
        return frame

    def _leave(self, rows: Batch, first: bool, failed: _Failures) -> Batch:
        """Rows that leave by `done`, with what was collected."""
        whole, wrong = rows, dict[int, tuple[str, str]]()
        if self.collect is not None:
            whole, wrong = with_results(rows, self.rounds.collected(rows.frame), self.collect_as, self.done)
        fine, broken = without(whole, wrong)
        failed.add(broken)
        return fine.with_frame(self.rounds.left(fine.frame, first=first))


class _Failures(list[Batch]):
    """Failed rows of one port."""

    def add(self, rows: Batch | None) -> None:
        if rows is not None and len(rows):
            self.append(rows)


def _merged(parts: list[Batch]) -> Batch | None:
    given = [p for p in parts if len(p)]
    if len(given) < 2:
        return given[0] if given else None
    frame = pl.concat([p.frame for p in given], how="diagonal")
    order = [c for c in (ROW, PATH) if c in frame.columns]
    return Batch(frame.sort(order, maintain_order=True), given[0].schema)
