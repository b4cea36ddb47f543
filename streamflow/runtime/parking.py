"""Retries that put items aside: an item that fails waits in state, and what follows of its key waits behind it.

Other keys go on, and no offset is held back. When the clock says so the first item of a queue is tried again; if it
does not fail, or is given up, the next follows at once. So the items of a key leave in their order, each at most once.
What comes out late has the reserved columns that it came with, but for the watermark, which is that of now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from streamflow.model.batch import KEY, POSITION, ROW, WM, Batch
from streamflow.model.types import LONG, PAYLOAD, Schema, Type
from streamflow.operators.control import by_deadline
from streamflow.operators.errors import fail, join_failed
from streamflow.operators.kept_rows import KeptRows
from streamflow.operators.waiting import woken
from streamflow.runtime.careful import behind_each_other
from streamflow.runtime.parked import ParkedItems, Queue, waiting_items
from streamflow.runtime.parked_endings import next_out_of_time, of_executions
from streamflow.runtime.retry_rule import RetryRule
from streamflow.runtime.retrying import together
from streamflow.runtime.withheld import Bools, Int64s, Tried, attempt
from streamflow.sdk.operator import NO_ROW, Context, EndedExecutions, Operator, Result
from streamflow.sdk.state import STATE_FROM, STATE_KEY, STATE_TO
from streamflow.topology.failures import PARKED, PARKING_FULL

WAKE_ROWS_MAX: Final = 8_192  # tried again in one step
_PART_ROWS, _PART_GROWTH = 512, 8
_RUN_MAX: Final = 1_024  # rows of one key that are tried together once those before them did not fail


@dataclass(slots=True)
class _Outcome:
    """What became of rows in their order. `keep`: those with a fate; the others wait. `heads`: those that failed and
    wait, with their times from now.
    """

    tried: Tried
    keep: Bools
    failed: Batch | None
    heads: dict[int, int]  # row -> wait, ms


class Parking:
    """Stands around an operator without state. `tells_time`: whether rows carry the watermark. `has_deadlines`: whether
    their executions have only so much time. An item's time is looked at when it is its turn.
    """

    def __init__(
        self,
        inner: Operator,
        rule: RetryRule,
        port: str,
        schema: Schema,
        earlier: Mapping[str, Schema],
        *,
        tells_time: bool,
        has_deadlines: bool,
        remembered: Mapping[str, Type] | None = None,
    ) -> None:
        self._inner, self._rule, self._port, self._schema = inner, rule, port, schema
        self._rows = KeptRows(schema, earlier, {POSITION: LONG.optional()}, remembered=remembered)
        self._tells_time, self._has_deadlines = tells_time, has_deadlines
        self._parked: ParkedItems | None = None

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        (rest,) = inputs.values()
        parked, parts, size, known = self._items(ctx), [], _PART_ROWS, -1
        while True:
            if known != len(parked.queues):
                known = len(parked.queues)
                rest, behind = self._behind(rest, parked, ctx)
                parts.append(behind)
            # In parts that grow: once a key waits, the rest of its rows are not tried in vain.
            parts.append(self._through(_slice(rest, 0, size), parked, ctx))
            if len(rest) <= size:
                return behind_each_other(parts)
            rest, size = _slice(rest, size, len(rest)), _PART_GROWTH * size

    def _behind(self, batch: Batch, parked: ParkedItems, ctx: Context) -> tuple[Batch, Result]:
        """Rows of keys that wait go behind what waits of them. The others, and what became of these."""
        names = batch.frame[KEY]
        waits = self._waiting(names, parked)
        if waits is None:
            return batch, Result()
        behind = batch.where(waits)
        full, waiting = self._park(behind, names.filter(waits).to_list(), {}, parked, ctx)
        parked.write_totals()
        return batch.where(~waits), Result(failed=full, absorbed=len(waiting), waiting=waiting)

    def due_ms(self, ctx: Context) -> int | None:
        return self._items(ctx).due_ms()

    def wake(self, ctx: Context) -> Result:
        """Items whose time has come; what does not fit a step is due at once again."""
        parked, parts, rows = self._items(ctx), [], 0
        over: list[pl.DataFrame] = []
        runs = dict.fromkeys((q.name for q in parked.due(ctx.now_ms, WAKE_ROWS_MAX)), 1)
        while runs and rows < WAKE_ROWS_MAX:
            if self._has_deadlines:
                late = next_out_of_time(parked, runs, self._rows, self._schema, ctx.now_ms)
                if late is not None:
                    over.append(late)
                    rows += len(late)
                    runs = {name: most for name, most in runs.items() if name in parked.queues}
                    continue
            queues = [parked.queues[name] for name in runs]
            items = [parked.first(queue, runs[queue.name]) for queue in queues]
            rows += sum(map(len, items))
            parts.append(self._again(queues, items, runs, parked, ctx))
        for name in runs:  # the step is full
            parked.settle(parked.queues[name], ctx.now_ms, 0)
        ended = None
        if over:
            frame = pl.concat(over, how="diagonal")
            ended = Batch(woken(frame, ctx.watermark_ms), self._schema)
        if not parts:
            return Result(ended=ended)
        parked.write_totals()
        done = together(parts, join_failed([part.failed for part in parts]))
        emitted = sum(map(len, done.outputs.values()))
        gone = join_failed([part.woken for part in parts])
        return Result(outputs=done.outputs, failed=done.failed, emitted=emitted, ended=ended, woken=gone)

    def release(self, executions: EndedExecutions, ctx: Context) -> Result:
        """Items of executions that end."""
        return Result(ended=of_executions(self._items(ctx), self._rows, self._schema, executions, ctx))

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """The items that wait, queue by queue, each with its place in its queue (`waits_behind`)."""
        keys, behind, values = waiting_items(stores[PARKED])
        rows = self._rows.decode(values)
        items = rows.select(c for c in rows.columns if not c.startswith("@") or c == PAYLOAD)
        nothing = pl.Series([None] * len(keys), dtype=pl.Int64)
        named = pl.DataFrame(
            {STATE_KEY: keys, STATE_FROM: nothing, STATE_TO: nothing, "waits_behind": behind},
            schema={STATE_KEY: pl.Binary, STATE_FROM: pl.Int64, STATE_TO: pl.Int64, "waits_behind": pl.Int64},
        )
        return named.hstack(items)

    def _items(self, ctx: Context) -> ParkedItems:
        if self._parked is None:
            self._parked = ParkedItems(ctx.store(PARKED), self._rule.policy.parking)
        self._parked.refresh()
        return self._parked

    @staticmethod
    def _waiting(names: pl.Series, parked: ParkedItems) -> pl.Series | None:
        """Which rows belong to keys that wait; None: no row does."""
        keys = [name[1:] for name in parked.queues if name.startswith(b"k")]
        if not keys:
            return None
        waits = names.is_in(keys).fill_null(False)
        return waits if waits.any() else None

    def _through(self, batch: Batch, parked: ParkedItems, ctx: Context) -> Result:
        """Rows of keys that do not wait."""
        if not len(batch):
            return Result()
        tried = attempt(ctx.node, self._inner, self._port, batch, ctx)
        if tried.failed is None or not len(tried.failed):
            return tried.keeping(np.ones(len(batch), np.bool_), None)
        names = batch.frame[KEY].to_list()
        done = self._outcome(tried, names, np.zeros(len(batch), np.int64), ctx)
        if done.keep.all():
            return tried.keeping(done.keep, done.failed)
        mask = pl.Series(~done.keep)
        waiting = np.flatnonzero(~done.keep)
        heads = {int(np.searchsorted(waiting, row)): wait for row, wait in done.heads.items()}
        full, aside = self._park(batch.where(mask), [names[row] for row in waiting], heads, parked, ctx)
        parked.write_totals()
        going = tried.keeping(done.keep, done.failed)
        put = Result(failed=full, absorbed=len(aside), waiting=aside)
        return together([going, put], join_failed([going.failed, full]))

    def _outcome(self, tried: Tried, names: list[bytes | None], before: Int64s, ctx: Context) -> _Outcome:
        """Which rows have a fate. `before`: how often each was tried earlier."""
        keep = np.ones(tried.count, np.bool_)
        if tried.failed is None or not len(tried.failed):
            return _Outcome(tried, keep, None, {})
        at = tried.failed_at
        failed = self._rule.tried(tried.failed, pl.Series(before[at] + 1))
        again = self._rule.again(failed, ctx)
        if not again.any():
            return _Outcome(tried, keep, failed, {})
        waiting = failed.where(again)
        due_ms = by_deadline(pl.Series(self._rule.waits_ms(waiting, ctx)) + ctx.now_ms, waiting.frame)
        waits = dict(zip(at[again.to_numpy()].tolist(), (due_ms - ctx.now_ms).to_list(), strict=True))
        heads: dict[int, int] = {}
        first: dict[bytes, int] = {}
        for row in sorted(waits):
            name = names[row]
            if name is None or name not in first:
                heads[row] = waits[row]
                keep[row] = False
                if name is not None:
                    first[name] = row
        for row, name in enumerate(names):
            if name is not None and row > first.get(name, tried.count):
                keep[row] = False
        kept = failed.where(pl.Series(keep[at]))
        return _Outcome(tried, keep, kept, heads)

    def _park(
        self, rows: Batch, keys: list[bytes | None], heads: Mapping[int, int], parked: ParkedItems, ctx: Context
    ) -> tuple[Batch | None, Batch]:
        """Put rows behind what waits of their keys. `heads`: rows that have failed, with their waits. What finds no
        room fails: (those that do, those that wait).
        """
        refused: dict[int, str] = {}
        touched: dict[bytes, Queue] = {}
        begun: dict[bytes, tuple[int, int]] = {}  # queues that begin here: when they are due, tries of their first
        for row, (key, item) in enumerate(zip(keys, self._rows.encode(rows.frame), strict=True)):
            name = parked.unkeyed() if key is None else b"k" + key
            queue = touched.get(name) or parked.queues.get(name) or Queue(name)
            if why := parked.full(queue, len(item)):
                refused[row] = why
                continue
            if not len(queue):
                begun[name] = (ctx.now_ms + heads[row], 1) if row in heads else (ctx.now_ms, 0)
            parked.add(queue, item)
            touched[name] = queue
        for name, queue in touched.items():
            parked.settle(queue, *begun.get(name, (queue.due_ms, queue.tries)))
        if not refused:
            return None, rows
        numbers = np.array(list(refused))
        mask = np.zeros(len(rows), np.bool_)
        mask[numbers] = True
        said = [f"it could not be put aside until what fails is well again: {why}." for why in refused.values()]
        full = fail(rows.where(pl.Series(mask)), PARKING_FULL, pl.Series(said))
        tries = pl.Series([1 if row in heads else 0 for row in refused])
        return full.with_frame(self._rule.tried(full, tries).frame), rows.where(pl.Series(~mask))

    def _again(
        self, queues: list[Queue], items: list[list[bytes]], runs: dict[bytes, int], parked: ParkedItems, ctx: Context
    ) -> Result:
        """Try the first items of queues. `runs` (how many are tried together next) loses the queues that wait again or
        are empty.
        """
        frame = self._rows.decode([item for own in items for item in own])
        columns = [pl.lit(NO_ROW, dtype=pl.UInt32).alias(ROW)]
        if self._tells_time:
            columns.append(pl.lit(ctx.watermark_ms, dtype=pl.Int64).alias(WM))
        batch = Batch(frame.with_columns(columns), self._schema)
        counts = np.array(list(map(len, items)))
        starts = np.cumsum(counts) - counts
        before = np.zeros(len(batch), np.int64)
        before[starts] = [queue.tries for queue in queues]
        tried = attempt(ctx.node, self._inner, self._port, batch, ctx)
        names: list[bytes | None] = [queue.name for queue, own in zip(queues, items, strict=True) for _ in own]
        done = self._outcome(tried, names, before, ctx)
        for queue, own, start in zip(queues, items, starts.tolist(), strict=True):
            kept = int(done.keep[start : start + len(own)].sum())
            parked.remove(queue, own[:kept])
            head = start + kept
            if kept < len(own):
                parked.settle(queue, ctx.now_ms + done.heads[head], int(before[head]) + 1)
                del runs[queue.name]
            elif not len(queue):
                parked.settle(queue, queue.due_ms, 0)
                del runs[queue.name]
            else:
                queue.tries = 0
                runs[queue.name] = min(2 * runs[queue.name], _RUN_MAX)
        return replace(tried.keeping(done.keep, done.failed), woken=batch.where(pl.Series(done.keep)))


def _slice(batch: Batch, first: int, rows: int) -> Batch:
    return batch.with_frame(batch.frame.slice(first, rows)) if first or rows < len(batch) else batch
