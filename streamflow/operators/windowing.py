"""Windows whose edges are given by the clock: tumbling, hopping, and the one that never closes.

State: one entry for each open window of a group, `end of the window ‖ group`, so that windows lie in the order in
which they close. A step reads and writes each of its groups once, however many rows it brings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.codecs.rows import RowCodec
from streamflow.model.batch import ROW, TS, WM, Batch
from streamflow.operators.errors import fail, join_failed
from streamflow.operators.explode import index_bytes
from streamflow.operators.window_rows import TIME_MS_MAX, Folds, Made, WindowRows, arriving, numbered, timed_path
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result, StepTimes

Emit = Literal["update", "coalesced", "close"]
Int64s = npt.NDArray[np.int64]
STORE: Final = "windows"
_SHIFT: Final = 1 << 63
_START: Final = "@:start"
_NUMBER: Final = b"\xff#"  # behind all windows that close
_NEVER: Final = np.int64(2**63 - 1)  # end of a window that never closes


@dataclass(frozen=True, slots=True)
class Aligned:
    """Windows `[start, start + size_ms)` that begin at multiples of `advance_ms`, never before 1970 for times after
    it. `size_ms` None: one window without end.
    """

    size_ms: int | None
    advance_ms: int = 0
    grace_ms: int = 0

    def starts(self, ts: Int64s) -> Int64s:
        """A row for each time, with the starts of all windows that hold it, earliest first."""
        if self.size_ms is None:
            return np.zeros((len(ts), 1), np.int64)
        count = -(-self.size_ms // self.advance_ms)
        last = ts - ts % self.advance_ms
        steps: Int64s = np.arange(count - 1, -1, -1, dtype=np.int64) * self.advance_ms
        return last[:, None] - steps[None, :]

    def ends(self, starts: Int64s) -> Int64s:
        return np.full_like(starts, _NEVER) if self.size_ms is None else starts + self.size_ms

    def open(self, ts: Int64s, wm: Int64s, starts: Int64s) -> npt.NDArray[np.bool_]:
        """Which of `starts` are windows that hold the row and take it still."""
        if self.size_ms is None:
            return np.ones(starts.shape, np.bool_)
        ends = starts + self.size_ms
        holds = (ends > ts[:, None]) & ((starts >= 0) | (ts < 0)[:, None])
        return holds & (ends + self.grace_ms > wm[:, None])


@dataclass(slots=True)
class WindowOperator:
    """Folds rows into windows. `labels` names the expressions of `projection` in messages."""

    rule: Aligned
    emit: Emit
    rows: WindowRows
    projection: Projection
    labels: Mapping[str, str]
    holds_ms: int = field(init=False)
    _codec: RowCodec = field(init=False)
    _changed: Made | None = field(init=False, default=None)  # coalesced: what this step has come to

    def __post_init__(self) -> None:
        self.holds_ms = self.rule.grace_ms
        self._codec = self.rows.folds.codec()

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, values, failures, filtered = arriving(inputs["in"], self.projection, self.labels, self._folds.keys)
        if not len(batch):
            return Result(failed=join_failed(failures), filtered=filtered)
        ts, wm = batch.frame[TS].to_numpy(), batch.frame[WM].to_numpy()
        starts = self.rule.starts(ts)
        is_open = self.rule.open(ts, wm, starts)
        taken = is_open.any(axis=1)
        outputs: dict[str, Batch] = {}
        if not taken.all():
            outputs["late"] = batch.where(pl.Series(~taken))
        if not taken.any():
            return Result(outputs=outputs, failed=join_failed(failures), filtered=filtered)
        of_row, which = np.nonzero(is_open)
        made = self._fold(batch.frame, values, of_row, starts[of_row, which], ctx)
        if made is None:
            taken_rows = int(taken.sum())
            return Result(outputs=outputs, failed=join_failed(failures), filtered=filtered, absorbed=taken_rows)
        outputs["out"] = made.rows
        if made.bad is not None:
            # A row whose result does not fit in one of its windows fails as a whole: it has one fate.
            fails = made.rows.frame.filter(made.bad)[ROW].unique()
            failures.append(fail(batch.where(batch.frame[ROW].is_in(fails.implode())), "overflow", made.message))
            outputs["out"] = made.rows.where(~made.rows.frame[ROW].is_in(fails.implode()))
        return Result(outputs=outputs, failed=join_failed(failures), filtered=filtered)

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """Windows that closed come out, or those that changed; the state of closed ones goes."""
        changed, self._changed = self._changed, None
        result = Result()
        if changed is not None:
            made, failed = self.rows.from_state(changed)
            result = Result(outputs={"out": made}, failed=failed, emitted=len(made))
        if self.rule.size_ms is None:
            return result
        store = ctx.store(STORE)
        entries = list(store.scan(b"", _before(times.end_ms, self.rule.grace_ms)))
        store.delete_many([name for name, _ in entries])
        if self.emit != "close" or not entries:
            return result
        ends = np.array([int.from_bytes(name[:8], "big") - _SHIFT for name, _ in entries], np.int64)
        due = ends + self.rule.grace_ms
        closed, failed = self.rows.from_state(
            self.rows.made(
                self._codec.decode([value for _, value in entries]),
                start=ends - self.rule.size_ms,
                end=ends,
                row=times.crossing(due),
                watermark=due - 1,
                ctx=ctx,
                path=timed_path(due),
                numbers=numbered(store, _NUMBER, len(due)),
            )
        )
        return Result(outputs={"out": closed}, failed=failed, emitted=len(closed))

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        entries = [entry for entry in stores[STORE] if entry[0] != _NUMBER]
        ends = np.array([int.from_bytes(name[:8], "big") - _SHIFT for name, _ in entries], np.int64)
        states = self._codec.decode([value for _, value in entries])
        return self.rows.shown(states, ends - (self.rule.size_ms or 0), ends)

    @property
    def _folds(self) -> Folds:
        return self.rows.folds

    def _fold(
        self, frame: pl.DataFrame, values: pl.DataFrame, of_row: Int64s, start: Int64s, ctx: Context
    ) -> Made | None:
        """Fold (row, window) pairs; what each of them gives, if each gives something."""
        evaluated = values.with_columns(frame[TS])
        one_each = np.array_equal(of_row, np.arange(frame.height))
        pairs = evaluated if one_each else evaluated[pl.Series(of_row, dtype=pl.UInt32)]
        keys = list(self._folds.keys.columns)
        group, first = groups_of(pairs.select(keys).with_columns(pl.Series(_START, start)), [*keys, _START])
        count, end = len(first), self.rule.ends(start[first])
        names = [
            (int(e) + _SHIFT).to_bytes(8, "big") + name
            for e, name in zip(end.tolist(), self._folds.keys.names(pairs[pl.Series(first)]), strict=True)
        ]
        store = ctx.store(STORE)
        found = store.get_many(names)
        known = np.array([i for i, value in enumerate(found) if value is not None], np.int64)
        units = self._folds.units(pairs)
        if len(known):
            old = self._codec.decode([value for value in found if value is not None])
            states = pl.concat([old.cast(pl.Schema(units.schema)), units])
            whose = np.concatenate([known, group])
        else:
            states, whose = units, group
        owner = pl.Series(whose, dtype=pl.UInt32)
        now = self._folds.combined(states, owner, count)
        store.put_many(names, self._codec.encode(now))
        if self.emit == "close":
            return None
        if self.emit == "coalesced":
            last = np.zeros(count, np.int64)
            last[group] = np.arange(len(group))
            order = np.argsort(last, kind="stable")
            at, shown = last[order], now[pl.Series(order, dtype=pl.UInt32)]
        else:
            at = np.arange(len(group))
            shown = self._folds.running(states, owner).slice(len(known))
        source = of_row[at]
        made = self.rows.made(
            shown,
            start=start[at],
            end=self.rule.ends(start[at]),
            row=frame[ROW].to_numpy()[source],
            watermark=frame[WM].to_numpy()[source],
            ctx=ctx,
            path=index_bytes(nth_of(source)),
            parents=frame[pl.Series(source, dtype=pl.UInt32)],
        )
        if self.emit == "update":
            return made
        self._changed = made
        return None


def groups_of(rows: pl.DataFrame, by: list[str]) -> tuple[Int64s, Int64s]:
    """(group number of each row, first row of each group), groups in the order in which they first come."""
    over = rows.with_row_index("@:i").select(pl.col("@:i").first().over(by)).to_series()
    first, group = np.unique(over.to_numpy(), return_inverse=True)
    return group.astype(np.int64), first.astype(np.int64)


def nth_of(source: Int64s) -> pl.Series:
    """How often each row has come before: children of one row, in order."""
    return pl.DataFrame({"s": source}).select(pl.int_range(pl.len()).over("s")).to_series()


def _before(end_ms: int, grace_ms: int) -> bytes:
    """The least name of a window that is not due: those below it end at `end_ms - grace_ms` or earlier."""
    closed = max(min(end_ms - grace_ms, 2 * TIME_MS_MAX), -_SHIFT)
    return (closed + 1 + _SHIFT).to_bytes(8, "big")
