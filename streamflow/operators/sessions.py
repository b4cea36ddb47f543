"""Session windows: rows of a group that follow each other within a gap.

State: one entry for each group, with all of its open sessions and the time for which its timer is set. A timer may ring
too early, since a session that grows does not move it; it is then set again.

Rows of a step are put together at once where that gives what one by one would give (`session_merge.together`); other
groups go one row of each after another: the n-th rows of all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.codecs.rows import RowCodec
from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, ROW, TS, WM, Batch
from streamflow.model.types import LONG
from streamflow.operators.errors import join_failed, without
from streamflow.operators.explode import index_bytes
from streamflow.operators.group_keys import telling
from streamflow.operators.key_lists import split_entry
from streamflow.operators.session_merge import AT, GROUP, LAST, START, UNTOUCHED, Gap, grow, together
from streamflow.operators.stepwise import Refused, unmerged
from streamflow.operators.timers import StoreTimers
from streamflow.operators.window_rows import Folds, Made, WindowRows, arriving, numbered, timed_path
from streamflow.operators.windowing import STORE, Emit, groups_of, nth_of
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result, StepTimes
from streamflow.sdk.state import StateStore

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.uint32]
_GROUPS, _TIMERS, _NUMBER = b"g", b"t", b"n"
_NEVER: Final = 2**63 - 1


@dataclass(slots=True)
class SessionOperator:
    """Folds rows into sessions. `labels` names the expressions of `projection` in messages."""

    rule: Gap
    emit: Emit
    rows: WindowRows
    projection: Projection
    labels: Mapping[str, str]
    holds_ms: int = field(init=False)
    _codec: RowCodec = field(init=False)
    _changed: Made | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.holds_ms = self.rule.waits_ms
        self._codec = self.rows.folds.codec({START: LONG})

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, values, failures, filtered = arriving(inputs["in"], self.projection, self.labels, self._folds.keys)
        batch, values = self._folds.apart(batch, values, failures)
        steps: list[_Step] = []
        batch = self._merging(batch, values, ctx, steps, failures)
        if not len(batch):
            return Result(failed=join_failed(failures), filtered=filtered)
        step = _joined(steps)
        outputs: dict[str, Batch] = {}
        if step.late.any():
            outputs["late"] = batch.where(pl.Series(step.late))
        emitted = 0
        if step.gone is not None and len(step.gone):
            outputs["gone"], emitted = step.gone, len(step.gone)
        if self.emit != "update":
            self._changed = step.made
            taken = len(batch) - int(step.late.sum())
            failed = join_failed(failures)
            return Result(outputs=outputs, failed=failed, filtered=filtered, absorbed=taken, emitted=emitted)
        made = step.made
        if made is not None:
            outputs["out"] = made.fitting(batch, failures)
        return Result(outputs=outputs, failed=join_failed(failures), filtered=filtered, emitted=emitted)

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """Sessions that closed come out, or those that changed; the state of closed ones goes."""
        changed, self._changed = self._changed, None
        result = self.rows.emitted(changed)
        store = ctx.store(STORE)
        ringing = StoreTimers(store, prefix=_TIMERS).due(times.end_ms)
        if not ringing:
            return result
        names = sorted({name for _, name in ringing})
        sessions = self._load(store, names)
        due = sessions[LAST].to_numpy() + self.rule.waits_ms + 1
        over = due <= times.end_ms
        self._keep(store, names, sessions.filter(pl.Series(~over)))
        if self.emit != "close" or not over.any():
            return result
        order = np.flatnonzero(over)
        order = order[np.lexsort((sessions[GROUP].to_numpy()[order], due[order]))]
        closed = sessions[pl.Series(order, dtype=pl.UInt32)]
        return self.rows.emitted(
            self._made(
                closed,
                times.crossing(due[order]),
                due[order] - 1,
                ctx,
                timed_path(due[order]),
                numbers=numbered(store, _NUMBER, len(order)),
            )
        )

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        values, _ = _unpacked([value for name, value in stores[STORE] if name.startswith(_GROUPS)])
        states = self._codec.decode(values)
        start, last = states[START].to_numpy(), states[LAST].to_numpy()
        return self.rows.shown(states, start, last + self.rule.gap_ms)

    @property
    def _folds(self) -> Folds:
        return self.rows.folds

    def _merging(
        self, batch: Batch, values: pl.DataFrame, ctx: Context, steps: list[_Step], failures: list[Batch | None]
    ) -> Batch:
        """Rows of `batch` that could be taken. One with which states cannot be merged fails, and leaves sessions as
        they were: rows are halved until it is alone.
        """
        if not len(batch):
            return batch
        try:
            steps.append(self._step(batch.frame, values, ctx))
            return batch
        except Refused as refused:
            if len(batch) == 1:
                failures.append(without(batch, refused.wrong)[1])
                return batch.where(pl.Series([False]))
        half = len(batch) // 2
        parts = [
            self._merging(batch.with_frame(batch.frame[a:b]), values[a:b], ctx, steps, failures)
            for a, b in ((0, half), (half, len(batch)))
        ]
        return batch.with_frame(pl.concat([part.frame for part in parts]))

    def _step(self, frame: pl.DataFrame, values: pl.DataFrame, ctx: Context) -> _Step:
        """Raises Refused, of whichever row, before anything is written."""
        folds, ts, wm = self._folds, frame[TS].to_numpy(), frame[WM].to_numpy()
        group, first = groups_of(telling(folds.keys, values), list(folds.keys.columns))
        names = folds.keys.names(values[pl.Series(first, dtype=pl.UInt32)])
        store = ctx.store(STORE)
        before = sessions = self._load(store, names).with_columns(pl.lit(UNTOUCHED, dtype=pl.Int64).alias(AT))
        units = folds.units(values.with_columns(frame[TS]))
        at = np.arange(frame.height, dtype=np.int64)
        rows = units.with_columns(pl.Series(START, ts), pl.Series(GROUP, group), pl.Series(AT, at))
        rows = rows.select(sessions.columns)
        sessions = sessions.cast(pl.Schema(rows.schema))
        each = self.emit == "update"
        one_by_one = each or not all(f.exact for f in folds.folds)
        layer = together(self.rule, sessions, rows, wm, each=one_by_one)
        late = np.zeros(frame.height, np.bool_)
        given: list[pl.DataFrame] = []
        gone: list[pl.DataFrame] = []
        for number in range(int(layer.max()) + 1):
            here = np.flatnonzero(layer == number)
            if not len(here):
                continue
            done = grow(folds, self.rule, sessions, rows[pl.Series(here, dtype=pl.UInt32)], wm[here], each=each)
            sessions = done.sessions
            for i in folds.stepwise:
                why = unmerged({"e": sessions[f"f{i}e"]})
                if why is not None:
                    raise Refused({0: why.drop_nulls().row(0)})
            late[here[done.missed]] = True
            if done.given is not None and done.gone is not None:
                given.append(done.given)
                gone.append(done.gone)
        self._keep(store, names, sessions.drop(AT))
        if self.emit == "close":
            return _Step(late)
        if self.emit == "coalesced":
            given = [sessions.filter(pl.col(AT) != UNTOUCHED)]
            gone = [self._replaced(before, given[0])]
        all_given, all_gone = (pl.concat(part).sort(AT, maintain_order=True) for part in (given, gone))
        return _Step(late, self._shown(all_given, frame, ctx), self._shown(all_gone, frame, ctx).rows)

    def _replaced(self, before: pl.DataFrame, changed: pl.DataFrame) -> pl.DataFrame:
        """Sessions that are part of others now, with other edges."""
        lost = before.drop(AT).join(changed, on=[GROUP, START, LAST], how="anti", maintain_order="left")
        into = changed.select(GROUP, pl.col(START).alias("@:s"), pl.col(LAST).alias("@:e"), AT)
        found = lost.join(into, on=GROUP, how="inner", maintain_order="left")
        return found.filter(pl.col(START) >= pl.col("@:s"), pl.col(LAST) <= pl.col("@:e")).select(before.columns)

    def _made(self, states: pl.DataFrame, row: Rows, wm: Int64s, ctx: Context, path: pl.Series, **more: Any) -> Made:
        start, end = states[START].to_numpy(), states[LAST].to_numpy() + self.rule.gap_ms
        return self.rows.made(states, start=start, end=end, row=row, watermark=wm, ctx=ctx, path=path, **more)

    def _shown(self, states: pl.DataFrame, frame: pl.DataFrame, ctx: Context) -> Made:
        """What rows made, or replaced."""
        at = states[AT].to_numpy()
        parents = frame[pl.Series(at, dtype=pl.UInt32)]
        row, wm = parents[ROW].to_numpy(), parents[WM].to_numpy()
        return self._made(states, row, wm, ctx, index_bytes(nth_of(at)), parents=parents)

    def _load(self, store: StateStore, names: list[bytes]) -> pl.DataFrame:
        """The sessions of groups, by group number and start."""
        values, group = _unpacked(store.get_many([_GROUPS + name for name in names]))
        return self._codec.decode(values).with_columns(pl.Series(GROUP, group, dtype=pl.Int64))

    def _keep(self, store: StateStore, names: list[bytes], sessions: pl.DataFrame) -> None:
        """Write the sessions of groups, and set their timers where none rings early enough."""
        sessions = sessions.sort([GROUP, START])
        encoded = self._codec.encode(sessions.drop(GROUP))
        of_group: dict[int, list[bytes]] = {}
        due: dict[int, int] = {}
        for group, last, value in zip(sessions[GROUP].to_list(), sessions[LAST].to_list(), encoded, strict=True):
            of_group.setdefault(group, []).append(len(value).to_bytes(4, "big") + value)
            due[group] = min(due.get(group, _NEVER), last + self.rule.waits_ms + 1)
        timers = StoreTimers(store, prefix=_TIMERS)
        before = store.get_many([_GROUPS + name for name in names])
        for i, name in enumerate(names):
            if i not in of_group:
                store.delete(_GROUPS + name)
                continue
            old = before[i]
            set_for = _NEVER if old is None else int.from_bytes(old[:8], "big", signed=True)
            if due[i] < set_for or self._rang(store, set_for, name):
                timers.set(due[i], name)
                set_for = due[i]
            store.put(_GROUPS + name, set_for.to_bytes(8, "big", signed=True) + b"".join(of_group[i]))

    def _rang(self, store: StateStore, at_ms: int, name: bytes) -> bool:
        """Whether the timer that a group was told of is there no more."""
        return store.get(_TIMERS + (at_ms + (1 << 63)).to_bytes(8, "big") + name) is None


def _unpacked(entries: Sequence[bytes | None]) -> tuple[list[bytes], list[int]]:
    """(sessions of all entries, the entry of each)."""
    values: list[bytes] = []
    group: list[int] = []
    for i, value in enumerate(entries):
        own = [] if value is None else split_entry(value)
        values += own
        group += [i] * len(own)
    return values, group


def _joined(steps: Sequence[_Step]) -> _Step:
    """Steps one behind another as one."""
    if len(steps) == 1:
        return steps[0]
    made, gone = ([one for one in part if one is not None] for part in zip(*((s.made, s.gone) for s in steps)))
    whole = _Step(np.concatenate([step.late for step in steps]))
    if made:
        why = None
        if any(one.why is not None for one in made):
            nothing = pl.DataFrame(schema={ERROR_CODE: pl.String, ERROR_MESSAGE: pl.String})
            why = pl.concat(
                [nothing.clear(len(one.rows)) if one.why is None else one.why for one in made], how="vertical"
            )
        whole.made = Made(made[0].rows.with_frame(pl.concat([one.rows.frame for one in made])), why)
    if gone:
        whole.gone = gone[0].with_frame(pl.concat([one.frame for one in gone]))
    return whole


@dataclass(slots=True)
class _Step:
    late: Bools
    made: Made | None = None
    gone: Batch | None = None
