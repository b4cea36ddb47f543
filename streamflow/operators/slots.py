"""Rows that wait for a slot: behind this operator so many executions at once are under way.

Rows come one by one, and so do records that tell of executions further on. What a released row has become is added up
from these: it is gone when as many rows of its execution were received as sent and none waits (see
`runtime.execution_states`). Records stand behind those of what caused them, so no sum is zero too early.

Which row is next is known without a look into the store (`slot_store`), and made anew where that was changed from
outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from streamflow.model.batch import EXECUTION, ROW, WM, Batch
from streamflow.model.types import LONG, STRING, Schema, record_of
from streamflow.operators.errors import evaluate, fail, join_failed
from streamflow.operators.kept_rows import KeptRows
from streamflow.operators.keys import key_bytes
from streamflow.operators.slot_queue import Queued, SlotQueue, SlotRules
from streamflow.operators.slot_store import (
    HELD,
    Held,
    count,
    counted,
    entry,
    framed,
    held_in,
    name_of,
    queued_in,
    shown,
)
from streamflow.operators.waiting import woken
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result
from streamflow.sdk.state import StateStore

STORE: Final = "slots"
PRIORITY, SHARE = "priority", "per"  # expressions of the projection
PRIORITY_MAX: Final = 1_000_000
# What records of executions say that counts here.
ENDS: Final = record_of(
    {
        "execution": STRING, "stage": STRING, "received": LONG, "sent": LONG, "waiting": LONG, "failed": LONG,
    }
)  # fmt: skip
_UNKNOWN: Final = -1


@dataclass(slots=True)
class _Step:
    """What one call does. `released`: rows of the batch that came by their number in it, others as their values."""

    released: list[int | bytes] = field(default_factory=list)
    at: list[tuple[int, int | None]] = field(default_factory=list)  # `@row` and `@wm` of what caused each release
    new: dict[int, int] = field(default_factory=dict)  # rows of the batch by their number in the queue
    gone: list[bytes] = field(default_factory=list)  # entries of rows that wait no more
    refused: list[int] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)  # executions that have a slot, or had


@dataclass(slots=True)
class _Came:
    """Rows that came in, with what they are queued by."""

    batch: Batch
    executions: list[str]
    keys: list[bytes]
    ranks: list[int]


@dataclass(slots=True)
class SlotsOperator:
    """`projection` gives PRIORITY and SHARE, as far as they are asked for. `behind`: stages whose records tell what
    became of released rows. `refuses`: rows beyond `queue_max` fail; otherwise no more are taken in. `of_items`: each
    row has a slot of its own, out of the share of its execution, and rows that it becomes have one each.
    """

    projection: Projection | None
    labels: Mapping[str, str]
    schema: Schema
    earlier: Mapping[str, Schema]
    rules: SlotRules
    behind: frozenset[str] = frozenset()
    refuses: bool = False
    of_items: bool = False
    _rows: KeptRows = field(init=False)
    _queue: SlotQueue = field(init=False)
    _held: dict[str, Held] = field(init=False)
    _number: int = field(init=False, default=0)
    _generation: int = field(init=False, default=_UNKNOWN)
    _full: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._rows = KeptRows(self.schema, self.earlier)
        self._queue, self._held = SlotQueue(self.rules), {}

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        store, step, failures = self._load(ctx), _Step(), list[Batch | None]()
        came = self._came(inputs["in"], ctx, failures) if "in" in inputs else None
        told = self._told(inputs["ended"], ctx) if "ended" in inputs else None
        for row, wm, item in _in_order(came, told):
            if isinstance(item, int):
                assert came is not None
                self._enter(came, item, ctx.now_ms, step)
            else:
                self._tell(*item, step)
            self._release(store, came, ctx.now_ms, step, (row, wm))
        if came is not None and step.refused:
            message = f"{self.rules.queue_max} executions wait for a slot already: queue_max."
            failures.append(fail(_picked(came.batch, step.refused), "queue_full", message))
        self._keep(store, came, step)
        taken = 0 if came is None else len(came.keys) - len(step.refused)
        heard = len(inputs["ended"]) if "ended" in inputs else 0
        return Result(
            outputs=self._outputs(step, came), failed=join_failed(failures), filtered=heard, absorbed=taken,
            emitted=len(step.released),
        )  # fmt: skip

    def due_ms(self, ctx: Context) -> int | None:
        self._load(ctx)
        return self._queue.due_ms()

    def wake(self, ctx: Context) -> Result:
        """Rows that the rate lets go on."""
        store, step = self._load(ctx), _Step()
        self._release(store, None, ctx.now_ms, step, (0, None))
        self._keep(store, None, step)
        if not step.released:
            return Result()
        rows = woken(self._decoded(step.released), ctx.watermark_ms)
        return Result(outputs={"out": Batch(rows, self.schema)}, emitted=rows.height)

    def room(self, ctx: Context) -> Mapping[str, int]:
        """How many rows may come in: none from when the queue is full until half of it has gone on."""
        if self.refuses:
            return {}
        self._load(ctx)
        left = self.rules.queue_max - len(self._queue)
        self._full = left <= 0 or (self._full and len(self._queue) > self.rules.queue_max // 2)
        return {"in": 0 if self._full else left}

    def goes_on_by_itself(self, ctx: Context) -> bool:
        return self.due_ms(ctx) is not None

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """Who has a slot, since when and with how many rows; and who waits, in which place."""
        return shown(stores[STORE], self._rows)

    def _came(self, batch: Batch, ctx: Context, failures: list[Batch | None]) -> _Came:
        """Rows with their keys and ranks; those that have none fail."""
        n = len(batch)
        if self.projection is None:
            own = [b""] * n if not self.of_items else batch.frame[EXECUTION].cast(pl.Binary).to_list()
            return _Came(batch, batch.frame[EXECUTION].to_list(), own, [self.rules.rank(0, ctx.now_ms)] * n)
        batch, values, failed = evaluate(batch, self.projection, self.labels)
        failures.append(failed)
        wrong = pl.repeat(False, len(batch), eager=True)
        keys = pl.repeat(b"", len(batch), dtype=pl.Binary, eager=True)
        if self.of_items:
            keys = batch.frame[EXECUTION].cast(pl.Binary)
        priority = pl.repeat(0, len(batch), dtype=pl.Int64, eager=True)
        if SHARE in values.columns:
            keys = key_bytes(values[SHARE], self.projection.types[SHARE])
            wrong = keys.is_null()
            failures.append(_failed(batch, wrong, "null_value", f"{self.labels[SHARE]}: the key of a share is null."))
        if PRIORITY in values.columns:
            priority = values[PRIORITY].cast(pl.Int64, strict=False)
            odd = ~priority.is_between(-PRIORITY_MAX, PRIORITY_MAX).fill_null(False) & ~wrong
            message = f"{self.labels[PRIORITY]}: a priority is a number from {-PRIORITY_MAX} to {PRIORITY_MAX}."
            failures.append(_failed(batch, odd, "does_not_fit", message))
            wrong = wrong | odd
        if wrong.any():
            batch, keys, priority = batch.where(~wrong), keys.filter(~wrong), priority.filter(~wrong)
        ranks = [self.rules.rank(one, ctx.now_ms) for one in priority.to_list()]
        return _Came(batch, batch.frame[EXECUTION].to_list(), keys.to_list(), ranks)

    def _told(self, batch: Batch, ctx: Context) -> _Told:
        """What is told of executions by stages that count."""
        here = pl.col("stage") == ctx.stage
        counts = pl.col("stage").is_in(list(self.behind)) | (here & (pl.col("failed") > 0))
        frame = batch.frame.filter(counts)
        # What failed here is gone, whatever its record says of rows that it has not sent.
        change = pl.when(here).then(None).otherwise(pl.col("sent") - pl.col("received") + pl.col("waiting"))
        marks = frame[WM].to_list() if WM in frame.columns else None
        changes = frame.select(change).to_series().to_list()
        return _Told(frame[ROW].to_list(), marks, frame["execution"].to_list(), changes)

    def _enter(self, came: _Came, i: int, now_ms: int, step: _Step) -> None:
        """A row waits, perhaps for no time at all."""
        queue, key = self._queue, came.keys[i]
        if self.refuses and len(queue) >= self.rules.queue_max and not queue.goes_on(key, now_ms):
            step.refused.append(i)
            return
        step.new[self._number] = i
        queue.add(Queued(came.ranks[i], self._number, key))
        self._number += 1

    def _tell(self, execution: str, change: int | None, step: _Step) -> None:
        """Rows of an execution have come and gone; None: it is no more."""
        held = self._held.get(execution)
        if held is None:
            return
        if self.of_items:
            change = change or 0  # which of its rows failed here is not told; each was as large on the topic before
            for _ in range(change):
                self._queue.hold(held.key)
            for _ in range(min(-change, held.left)):
                self._queue.free(held.key)
        held.left = 0 if change is None else held.left + change
        step.changed.add(execution)
        if held.left <= 0:
            del self._held[execution]
            if not self.of_items:
                self._queue.free(held.key)

    def _release(
        self, store: StateStore, came: _Came | None, now_ms: int, step: _Step, at: tuple[int, int | None]
    ) -> None:
        """Whoever may go on does."""
        while (one := self._queue.take(now_ms)) is not None:
            i = step.new.pop(one.number, None)
            if i is not None:
                assert came is not None
                execution = came.executions[i]
                step.released.append(i)
            else:
                step.gone.append(name_of(one))
                found = store.get(step.gone[-1])
                assert found is not None, "what is in the queue is in the store"
                _, execution, data = entry(found)
                step.released.append(data)
            step.at.append(at)
            if self.rules.slots_max is not None:
                held = self._held.setdefault(execution, Held(0, now_ms, one.key))
                held.left += 1
                step.changed.add(execution)

    def _outputs(self, step: _Step, came: _Came | None) -> Mapping[str, Batch]:
        if not step.released:
            return {}
        old = [i for i, one in enumerate(step.released) if isinstance(one, bytes)]
        new = [i for i, one in enumerate(step.released) if isinstance(one, int)]
        frames = [self._decoded([step.released[i] for i in old])] if old else []
        if new and came is not None:
            frames.append(came.batch.frame[[step.released[i] for i in new]])  # type: ignore[index]
        rows = frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal")
        rows = rows[pl.Series([*old, *new], dtype=pl.UInt32).arg_sort()]
        rows = rows.with_columns(pl.Series(ROW, [row for row, _ in step.at], dtype=pl.UInt32))
        if any(wm is not None for _, wm in step.at):
            rows = rows.with_columns(pl.Series(WM, [wm for _, wm in step.at], dtype=pl.Int64))
        return {"out": Batch(rows, self.schema)}

    def _decoded(self, values: Sequence[int | bytes]) -> pl.DataFrame:
        return self._rows.decode([one for one in values if isinstance(one, bytes)])

    def _keep(self, store: StateStore, came: _Came | None, step: _Step) -> None:
        """Write what has changed; rows that wait from now on are encoded together."""
        store.delete_many(step.gone)
        if step.new and came is not None:
            rows = list(step.new.values())
            data = self._rows.encode(came.batch.frame[rows])
            names = [name_of(Queued(came.ranks[i], number)) for number, i in step.new.items()]
            values = zip(rows, data, strict=True)
            store.put_many(names, [framed(came.keys[i], came.executions[i]) + one for i, one in values])
        told, kept, ended = list[bytes](), list[bytes](), list[bytes]()
        for execution in sorted(step.changed):
            name = HELD + execution.encode()
            if (held := self._held.get(execution)) is None:
                ended.append(name)
            else:
                told.append(name)
                kept.append(held.encode())
        store.put_many(told, kept)
        store.delete_many(ended)
        if step.at or came is not None:
            count(store, self._number, self._queue.next_ns)

    def _load(self, ctx: Context) -> StateStore:
        """The store; what is remembered of it is made anew where it was changed from outside."""
        store = ctx.store(STORE)
        if store.generation != self._generation:
            self._generation, self._full = store.generation, False
            self._queue, self._held = SlotQueue(self.rules), {}
            self._number, self._queue.next_ns = counted(store)
            for execution, one in held_in(store):
                self._held[execution] = one
                for _ in range(one.left if self.of_items else 1):
                    self._queue.hold(one.key)
            for one_queued in queued_in(store):
                self._queue.add(one_queued)
        return store


@dataclass(slots=True)
class _Told:
    """Records of executions that have a slot: how many rows each adds; None: the execution is no more."""

    rows: list[int]
    marks: list[int] | None
    executions: list[str]
    changes: list[int | None]


def _in_order(came: _Came | None, told: _Told | None) -> Iterator[tuple[int, int | None, int | tuple[str, int | None]]]:
    """(`@row`, `@wm`, row that came or what is told), in order of arrival."""
    found: list[tuple[int, int | None, int | tuple[str, int | None]]] = []
    if came is not None:
        frame = came.batch.frame
        marks = frame[WM].to_list() if WM in frame.columns else [None] * frame.height
        found += zip(frame[ROW].to_list(), marks, range(frame.height), strict=True)
    if told is not None:
        marks = told.marks or [None] * len(told.rows)
        found += zip(told.rows, marks, zip(told.executions, told.changes, strict=True), strict=True)
    if came is not None and told is not None:
        found.sort(key=lambda one: one[0])
    return iter(found)


def _failed(batch: Batch, wrong: pl.Series, code: str, message: str) -> Batch | None:
    return fail(batch.where(wrong), code, message) if wrong.any() else None


def _picked(batch: Batch, rows: Sequence[int]) -> Batch:
    return batch.with_frame(batch.frame[list(rows)])
