"""Rows of executions kept until no more of them can come: then all of an execution leave together, in lineage order.

Entries of the store:
    x<execution>           how many rows are on their way, how many are kept, their bytes, when time is over, how it is
    r<execution>\0<n>      a row: the number of its port, and the row
    t<time><execution>     a time-out
    c                      how many executions have rows here
An execution's id holds no NUL byte.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from streamflow.model.batch import EXECUTION, PATH, ROW, WM, Batch
from streamflow.model.types import Schema
from streamflow.operators.alarms import NEVER, Alarms
from streamflow.operators.errors import fail, join_failed
from streamflow.operators.kept_rows import KeptRows
from streamflow.operators.packing import PORT, Packing
from streamflow.operators.waiting import waiting_rows
from streamflow.sdk.operator import Context, Result
from streamflow.sdk.state import StateStore

STORE: Final = "gathered"
STANDING: Final = "@gathered"  # of rows: how their execution stood when they went on
COMPLETE, TIMED_OUT, LATE = 0, 1, 2
WAKE_ROWS_MAX: Final = 50_000  # that a wake gives before it leaves the rest to the next
_ROW_BASE: Final = 1 << 31  # above the rows that enter in a step
_HEAD = struct.Struct(">qqqqB")
_COUNT = struct.Struct(">q")
_HEADS, _ROWS, _TIMES, _TOTAL = b"x", b"r", b"t", b"c"
FULL, UNTOLD = "too_many_gathered", "not_counted"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of what is kept: rows and bytes of an execution, executions of a task. `timeout_ms`: from its first row on."""

    items_max: int
    bytes_max: int
    executions_max: int
    timeout_ms: int | None = None


@dataclass(slots=True)
class Head:
    """What is known of an execution."""

    coming: int = 0
    rows: int = 0
    size_bytes: int = 0
    due_ms: int = NEVER
    over: bool = False

    @classmethod
    def read(cls, value: bytes | None) -> Head:
        if value is None:
            return cls()
        coming, rows, size_bytes, due_ms, over = _HEAD.unpack(value)
        return cls(coming, rows, size_bytes, due_ms, bool(over))

    def written(self) -> bytes:
        return _HEAD.pack(self.coming, self.rows, self.size_bytes, self.due_ms, self.over)


@dataclass(slots=True)
class GatherOperator:
    """`packing`: of the ports that rows come by and leave by. `sides`: where each of these leads. `schema`: of rows as
    they come, packed.

    Where there is a time-out, rows leave with STANDING: what is late for it passes at once.
    """

    packing: Packing
    sides: Sequence[str]
    schema: Schema
    earlier: Mapping[str, Schema]
    bounds: Bounds
    _rows: KeptRows = field(init=False)
    _alarms: Alarms = field(init=False)

    def __post_init__(self) -> None:
        self._rows, self._alarms = KeptRows(self.schema, self.earlier), Alarms(_TIMES)

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, store = inputs["in"], ctx.store(STORE)
        names = [(execution or "").encode() for execution in batch.frame[EXECUTION].to_list()]
        ports = self.packing.numbers(batch).to_list()
        heads, left = _heads(store, names), _opened(store)
        before, refused = left, dict[int, str]()
        keys, values, late = list[bytes](), list[bytes](), list[int]()
        for at, (name, port, value) in enumerate(zip(names, ports, self._rows.encode(batch.frame), strict=True)):
            head = heads[name]
            if head.over:
                late.append(at)
                continue
            if why := self._refuses(head, len(value), left) if name else "it belongs to no execution.":
                refused[at] = why
                continue
            if not head.rows:
                left += 1
                self._begin(store, name, head, ctx.now_ms)
            keys.append(_row(name, head.rows))
            values.append(bytes((port,)) + value)
            head.rows += 1
            head.size_bytes += len(value)
        store.put_many(keys, values)
        _write(store, heads)
        if left != before:
            store.put(_TOTAL, _COUNT.pack(left))
        failed: list[Batch | None] = []
        for why in dict.fromkeys(refused.values()):
            rows = [at for at, one in refused.items() if one == why]
            failed.append(fail(batch.with_frame(batch.frame[rows]), FULL, why))
        passing = batch.frame[late].with_columns(pl.lit(LATE, dtype=pl.Int8).alias(STANDING))
        outputs = self.packing.unpack(Batch(passing, self.schema)) if late else {}
        return Result(outputs=outputs, failed=join_failed(failed), absorbed=len(keys))

    def settle(self, executions: Sequence[str], rows: Sequence[int], ctx: Context) -> Result:
        store, names = ctx.store(STORE), [execution.encode() for execution in executions]
        heads, whole, odd = _heads(store, names), list[bytes](), list[bytes]()
        for name, by in zip(names, rows, strict=True):
            head = heads[name]
            head.coming += by
            if head.coming == 0:
                whole.append(name)
            elif head.coming < 0 and head.rows:
                odd.append(name)
        settled, lost = self._take(store, heads, whole), self._take(store, heads, odd)
        store.delete_many([_HEADS + name for name in whole])
        _write(store, {name: head for name, head in heads.items() if head.coming})
        found = self._made(settled, ctx, COMPLETE)
        failed = self._made(lost, ctx, COMPLETE)
        return Result(
            outputs=self.packing.unpack(found),
            emitted=len(found),
            failed=fail(failed, UNTOLD, _UNTOLD) if len(failed) else None,
        )

    def due_ms(self, ctx: Context) -> int | None:
        return self._alarms.next_ms(ctx.store(STORE)) if self.bounds.timeout_ms is not None else None

    def wake(self, ctx: Context) -> Result:
        """Executions whose time is over leave with the rows that are there."""
        store, names, rows = ctx.store(STORE), list[bytes](), 0
        rung = self._alarms.take(store, ctx.now_ms)
        heads = _heads(store, [name for _, name, _ in rung])
        for at_ms, name, _ in rung:
            if rows >= WAKE_ROWS_MAX:
                self._ring(store, name, at_ms)
                continue
            rows += heads[name].rows
            heads[name].over, heads[name].due_ms = True, NEVER
            names.append(name)
        found = self._made(self._take(store, heads, names), ctx, TIMED_OUT)
        _write(store, {name: heads[name] for name in names})
        return Result(outputs=self.packing.unpack(found), emitted=len(found))

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """Each item that is kept, with its port, and with the time at which its execution does not wait any longer."""
        entries = stores[STORE]
        due = {key[1:]: Head.read(value).due_ms for key, value in entries if key.startswith(_HEADS)}
        kept = [(key[1:-9], value) for key, value in entries if key.startswith(_ROWS)]
        times = [None if (ms := due.get(name, NEVER)) >= NEVER else ms for name, _ in kept]
        shown = waiting_rows(self._rows.decode([value[1:] for _, value in kept]), times, [None] * len(kept))
        if len(self.sides) > 1:
            shown = shown.drop(PORT)
        return shown.with_columns(pl.Series("@port", [self.sides[value[0]] for _, value in kept], dtype=pl.String))

    def _refuses(self, head: Head, size_bytes: int, opened: int) -> str:
        """Why a row is not kept; "" for one that is."""
        bounds = self.bounds
        if not head.rows and opened >= bounds.executions_max:
            return f"{bounds.executions_max} executions wait here for the rest of their rows (executions_max)."
        if head.rows >= bounds.items_max:
            return f"{bounds.items_max} rows of its execution wait here (items_max)."
        if head.size_bytes + size_bytes > bounds.bytes_max:
            return f"rows of its execution of {bounds.bytes_max} bytes wait here (bytes_max)."
        return ""

    def _begin(self, store: StateStore, name: bytes, head: Head, now_ms: int) -> None:
        if self.bounds.timeout_ms is not None and head.due_ms >= NEVER:
            head.due_ms = now_ms + self.bounds.timeout_ms
            self._ring(store, name, head.due_ms)

    def _ring(self, store: StateStore, name: bytes, at_ms: int) -> None:
        store.put(self._alarms.name(at_ms, name), b"")
        self._alarms.put(store, at_ms)

    def _take(self, store: StateStore, heads: Mapping[bytes, Head], names: Sequence[bytes]) -> list[tuple[int, bytes]]:
        """(number of the execution, row) of all that is kept of some, which is then forgotten."""
        keys, number = list[bytes](), list[int]()
        opened = _opened(store)
        before = opened
        for at, name in enumerate(names):
            head = heads[name]
            keys += [_row(name, n) for n in range(head.rows)]
            number += [at] * head.rows
            opened -= head.rows > 0
            if head.due_ms < NEVER:
                store.delete(self._alarms.name(head.due_ms, name))
            head.rows, head.size_bytes, head.due_ms = 0, 0, NEVER
        values = store.get_many(keys)
        assert all(value is not None for value in values), "a head counts the rows that are kept"
        store.delete_many(keys)
        if opened != before:
            store.put(_TOTAL, _COUNT.pack(opened))
        return [(at, value) for at, value in zip(number, values, strict=True) if value is not None]

    def _made(self, taken: Sequence[tuple[int, bytes]], ctx: Context, standing: int) -> Batch:
        """Rows in the order of their executions, and in each by path and port: as they would have been together."""
        frame = self._rows.decode([value[1:] for _, value in taken])
        columns = [
            pl.Series("@at", [at for at, _ in taken], dtype=pl.Int64),
            pl.Series("@from", [value[0] for _, value in taken], dtype=pl.Int64),
        ]
        frame = frame.with_columns(columns)
        order = ["@at", *([PATH] if PATH in frame.columns else []), "@from"]
        frame = frame.sort(order, maintain_order=True).drop("@at", "@from")
        rows = np.arange(_ROW_BASE, _ROW_BASE + frame.height, dtype=np.uint32)
        frame = frame.with_columns(pl.Series(ROW, rows), pl.lit(ctx.watermark_ms, dtype=pl.Int64).alias(WM))
        if self.bounds.timeout_ms is not None:
            frame = frame.with_columns(pl.lit(standing, dtype=pl.Int8).alias(STANDING))
        return Batch(frame, self.schema)


_UNTOLD: Final = (
    "rows of its execution were under way when the workflow began to gather here, and nobody has counted them: let a "
    "workflow run to its end before such a node is put in."
)


def _heads(store: StateStore, names: Sequence[bytes]) -> dict[bytes, Head]:
    distinct = list(dict.fromkeys(names))
    values = store.get_many([_HEADS + name for name in distinct])
    return {name: Head.read(value) for name, value in zip(distinct, values, strict=True)}


def _write(store: StateStore, heads: Mapping[bytes, Head]) -> None:
    store.put_many([_HEADS + name for name in heads], [head.written() for head in heads.values()])


def _opened(store: StateStore) -> int:
    found = store.get(_TOTAL)
    return _COUNT.unpack(found)[0] if found is not None else 0


def _row(name: bytes, number: int) -> bytes:
    return _ROWS + name + b"\0" + number.to_bytes(8, "big")
