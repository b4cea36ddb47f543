"""Retries that let an item wait alone: it is put aside until its next try, and what follows of its key overtakes it.

Nothing is held up and no offset is held back, however long an item waits. What comes out late has the reserved columns
that it came with, but for the watermark, which is that of now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from streamflow.model.batch import ERROR_ATTEMPT, ERROR_CODE, ERROR_MESSAGE, KEY, POSITION, ROW, WM, Batch
from streamflow.model.types import INT, LONG, Schema, Type
from streamflow.operators.control import by_deadline, out_of_time
from streamflow.operators.errors import fail, join_failed
from streamflow.operators.kept_rows import KeptRows
from streamflow.operators.waiting import ended_together, over_among, portions, waiting_rows
from streamflow.runtime.delayed import DelayedItems, waiting_items
from streamflow.runtime.retry_rule import RetryRule
from streamflow.runtime.withheld import Bools, attempt
from streamflow.sdk.operator import Context, EndedExecutions, Operator, Result
from streamflow.topology.failures import DELAY_FULL, DELAYED


class Delaying:
    """Stands around an operator without state. `tells_time`: whether rows carry the watermark."""

    def __init__(
        self,
        inner: Operator,
        rule: RetryRule,
        port: str,
        schema: Schema,
        earlier: Mapping[str, Schema],
        *,
        tells_time: bool,
        remembered: Mapping[str, Type] | None = None,
    ) -> None:
        self._inner, self._rule, self._port, self._schema = inner, rule, port, schema
        self._rows = KeptRows(schema, earlier, {POSITION: LONG.optional(), ERROR_ATTEMPT: INT}, remembered=remembered)
        self._tells_time = tells_time
        self._delayed: DelayedItems | None = None

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        result = self._inner.process(inputs, ctx)
        if result.failed is None or not len(result.failed):
            return result
        delayed = self._items(ctx)
        failed = self._rule.tried(result.failed, 1)
        given_up, waits = self._put_aside(failed, self._rule.again(failed, ctx), delayed, ctx)
        if waits.any():
            delayed.write_totals()
        waiting = result.failed.where(pl.Series(waits))
        return replace(result, failed=given_up, absorbed=result.absorbed + len(waiting), waiting=waiting)

    def due_ms(self, ctx: Context) -> int | None:
        return self._items(ctx).due_ms()

    def wake(self, ctx: Context) -> Result:
        """Items whose time has come are tried; what does not fit a step is due at once again."""
        delayed = self._items(ctx)
        items = delayed.take(ctx.now_ms)
        if not items:
            return Result()
        going, late = out_of_time(Batch(self._rows.decode(items), self._schema), ctx.now_ms)
        over = [] if late is None else [late.with_frame(late.frame.drop(ERROR_ATTEMPT))]
        ended, frame = ended_together(over, ctx.watermark_ms), going.frame
        if not len(going):
            delayed.write_totals()
            return Result(ended=ended)
        tries = frame[ERROR_ATTEMPT].to_numpy()
        columns: list[pl.Expr | pl.Series] = [pl.int_range(frame.height, dtype=pl.UInt32, eager=True).alias(ROW)]
        if self._tells_time:
            columns.append(pl.lit(ctx.watermark_ms, dtype=pl.Int64).alias(WM))
        batch = Batch(frame.drop(ERROR_ATTEMPT).with_columns(columns), self._schema)
        tried = attempt(ctx.node, self._inner, self._port, batch, ctx)
        given_up = tried.failed
        keep, gone = np.ones(len(batch), np.bool_), np.ones(len(batch), np.bool_)  # made something of; wait no longer
        if tried.failed is not None and len(tried.failed):
            at = tried.failed_at
            failed = self._rule.tried(tried.failed, pl.Series(tries[at] + 1))
            given_up, waits = self._put_aside(failed, self._rule.again(failed, ctx), delayed, ctx)
            keep[at], gone[at] = False, ~waits
        delayed.write_totals()
        done = tried.keeping(keep, given_up)
        emitted = sum(map(len, done.outputs.values()))
        left = batch.where(pl.Series(gone))
        return Result(outputs=done.outputs, failed=done.failed, emitted=emitted, woken=left, ended=ended)

    def release(self, executions: EndedExecutions, ctx: Context) -> Result:
        """Items of executions that end. All that waits is looked through."""
        delayed, ended, gone, first = self._items(ctx), list[Batch](), set[int](), 0
        for entries in portions(delayed.entries()):
            items = [item for _, own in entries for item in own]
            over = over_among(self._rows, items, self._schema, executions)
            if over is not None:
                ended.append(over.rows.with_frame(over.rows.frame.drop(ERROR_ATTEMPT)))
                gone.update(first + number for number in over.numbers)
            first += len(items)
        if gone:
            delayed.drop(gone)
            delayed.write_totals()
        return Result(ended=ended_together(ended, ctx.watermark_ms))

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """Each item that waits, with the time of its next try (`@due`) and how often it was tried (`tries`)."""
        due, items = waiting_items(stores[DELAYED])
        rows = self._rows.decode(items)
        keys = rows[KEY].to_list() if KEY in rows.columns else [None] * len(due)
        shown = waiting_rows(rows, due, keys)
        return shown.with_columns(rows[ERROR_ATTEMPT].alias("tries"))

    def _items(self, ctx: Context) -> DelayedItems:
        if self._delayed is None:
            self._delayed = DelayedItems(ctx.store(DELAYED), self._rule.policy.parking)
        self._delayed.refresh()
        return self._delayed

    def _put_aside(
        self, failed: Batch, again: pl.Series, delayed: DelayedItems, ctx: Context
    ) -> tuple[Batch | None, Bools]:
        """Of rows as `RetryRule.tried` gives them: those that have failed for good, and which of all wait."""
        waits = again.to_numpy().astype(np.bool_)
        if not waits.any():
            return failed, waits
        waiting = failed.where(again)
        due = by_deadline(pl.Series(ctx.now_ms + self._rule.waits_ms(waiting, ctx)), waiting.frame).to_list()
        refused = delayed.put(due, self._rows.encode(waiting.frame))
        full: Batch | None = None
        if refused:
            mask = np.zeros(len(waiting), np.bool_)
            mask[list(refused)] = True
            waits[np.flatnonzero(waits)[mask]] = False
            rows = waiting.where(pl.Series(mask))
            failure = zip(rows.frame[ERROR_CODE].to_list(), rows.frame[ERROR_MESSAGE].to_list(), strict=True)
            said = [
                f"it could not wait for its next try: {why}. It failed with {code}: {message}"
                for why, (code, message) in zip(refused.values(), failure, strict=True)
            ]
            full = fail(rows, DELAY_FULL, pl.Series(said))
        return join_failed([failed.where(~again), full]), waits
