"""Two streams meet by key and event time.

A step finds the pairs of its rows with those that are held and with each other, as if rows came one by one: a pair is
there if the row that came first was still open when the other came. What a step leaves behind is a block of rows for
each side (see `join_state`). What waits for time to pass comes out in `advance`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import polars as pl

from streamflow.model.batch import Batch
from streamflow.operators.errors import join_failed
from streamflow.operators.join_index import Int64s, Needles, Run
from streamflow.operators.join_pairs import Arrived, Condition, Pairs, SideKey, arrivals, pairs_of
from streamflow.operators.join_rows import Child, Found, JoinRows, alone
from streamflow.operators.join_state import JoinState, due
from streamflow.operators.join_times import NEVER, AsOf, JoinTimes, Side, other
from streamflow.sdk.operator import Context, Result, StepTimes

STORE: Final = "rows"
Kind = Literal["inner", "left", "right", "outer", "semi", "anti"]
# Sides whose rows come out alone if they meet nobody.
_KEPT: Final[Mapping[str, frozenset[Side]]] = {
    "left": frozenset({"left"}),
    "right": frozenset({"right"}),
    "outer": frozenset({"left", "right"}),
    "anti": frozenset({"left"}),
}


@dataclass(slots=True)
class JoinOperator:
    """See the node `join` for what the parameters mean."""

    kind: Kind
    times: JoinTimes
    keys: Mapping[Side, SideKey]
    rows: JoinRows
    condition: Condition | None
    holds_ms: int = field(init=False)
    _state: JoinState = field(init=False)
    _columns: Sequence[str] | None = field(init=False, default=None)  # reserved ones that rows come with
    _kept: frozenset[Side] = field(init=False)
    _waiting: frozenset[Side] = field(init=False)  # sides of whose rows it matters whether they met somebody

    def __post_init__(self) -> None:
        self.holds_ms = self.times.holds_ms
        self._state = JoinState(self.times)
        self._kept = _KEPT.get(self.kind, frozenset())
        once = self.kind == "semi" or isinstance(self.times, AsOf)
        self._waiting = self._kept | (frozenset({"left"}) if once else frozenset())

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        store, state = ctx.store(STORE), self._state
        state.open(store)
        self._columns = next(iter(inputs.values())).reserved_columns()
        arrived, failures = arrivals(inputs, self.keys, self.times, state.arrived)
        pairs = [] if isinstance(self.times, AsOf) else list(pairs_of(arrived, state.runs, self.times))
        if self.condition is not None:
            pairs, failed = self.condition.fulfilled(pairs, arrived)
            failures += failed
        children = self._first(pairs, arrived) if self.kind == "semi" else self._all(pairs, arrived)
        for p in pairs:
            arrived[p.side].matched[p.later] = True
            if p.new:
                arrived[other(p.side)].met[p.earlier] = True
            elif p.run.side in self._waiting:
                state.done(store, p.run, np.unique(p.earlier))
        result = self._fates(arrived, [*children, *self._keyless(arrived)], ctx)
        result.failed = join_failed(failures)
        now = max((int(a.wm[-1]) for a in arrived.values() if len(a.wm)), default=-NEVER)
        for side, rows in arrived.items():
            state.keep(store, self._held(side, rows, now))
        state.count(arrived=sum(len(a.run) + len(a.keyless_run) for a in arrived.values()))
        state.close(store)
        return result

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """Rows that waited long enough come out, and what nobody will ask for any more is forgotten."""
        store, state = ctx.store(STORE), self._state
        state.open(store)
        end_ms, parts = min(times.end_ms, NEVER - 1), []
        for side in sorted(self._waiting):
            for run, which in due(state.runs[side], end_ms):
                if isinstance(self.times, AsOf):
                    parts += [(found, run.closes[found.left_rows]) for found in self._as_of(run, which)]
                elif side in self._kept:
                    parts.append((alone(run, which), run.closes[which]))
                state.done(store, run, which)
        out = self.rows.timed(parts, times, state.given, self._columns, ctx)
        if out is not None:
            state.count(given=len(out))
        state.expire(store, end_ms)
        state.close(store)
        return Result() if out is None else Result(outputs={"out": out}, emitted=len(out))

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """Items that are held, with their times and those at which they leave."""
        return self.rows.held(self._state.shown(stores[STORE]), self.times)

    def _all(self, pairs: Sequence[Pairs], arrived: Mapping[Side, Arrived]) -> list[Child]:
        """Every pair is a row."""
        if self.kind == "anti":
            return []
        found = []
        for p in pairs:
            rows = arrived[p.side]
            rows.gave[p.later] = True
            both = (rows.run, p.later, p.run, p.earlier)
            pair = Found(*both) if p.side == "left" else Found(*both[2:], *both[:2])
            found.append(Child(pair, rows.batch.frame, p.later, rows.run, p.run, p.earlier))
        return found

    def _first(self, pairs: Sequence[Pairs], arrived: Mapping[Side, Arrived]) -> list[Child]:
        """Every left row once: with the first row that it meets."""
        pairs = [p.where(~p.run.done[p.earlier]) if p.side == "right" else p for p in pairs]
        if not pairs:
            return []
        lefts = [arrived["left"].run.number[p.later] if p.side == "left" else p.run.number[p.earlier] for p in pairs]
        laters = [arrived[p.side].run.number[p.later] for p in pairs]
        left, later = np.concatenate(lefts), np.concatenate(laters)
        order = np.lexsort((later, left))
        first = np.ones(len(order), np.bool_)
        first[1:] = left[order][1:] != left[order][:-1]
        chosen = np.zeros(len(order), np.bool_)
        chosen[order[first]] = True
        found = []
        for p, mask in zip(pairs, np.split(chosen, np.cumsum([len(p) for p in pairs])[:-1]), strict=True):
            p = p.where(mask)
            rows = arrived[p.side]
            rows.gave[p.later] = True
            run, which = (rows.run, p.later) if p.side == "left" else (p.run, p.earlier)
            found.append(Child(alone(run, which), rows.batch.frame, p.later, rows.run, run, which))
        return found

    def _keyless(self, arrived: Mapping[Side, Arrived]) -> list[Child]:
        """Rows that can meet nobody come out at once, where rows come out that met nobody."""
        found = []
        for side, rows in arrived.items():
            run = rows.keyless_run
            if len(run) and side in self._kept:
                every = np.arange(len(run))
                found.append(Child(alone(run, every), rows.keyless.frame, every, run, run, every))
        return found

    def _fates(self, arrived: Mapping[Side, Arrived], children: Sequence[Child], ctx: Context) -> Result:
        result, late = Result(), []
        for side, rows in arrived.items():
            if side not in self._kept:
                result.filtered += len(rows.keyless_run)
            alone_and_late = rows.late & ~rows.matched & ~rows.failed
            if alone_and_late.any():
                late.append((side, rows.batch.where(pl.Series(alone_and_late))))
            childless = ~rows.gave & ~rows.failed & ~alone_and_late
            gone = childless & rows.matched & (rows.late | (self._once(side)))
            result.filtered += int(gone.sum())
            result.absorbed += int((childless & ~gone).sum())
        out = self.rows.arrived(children, ctx)
        result.outputs = {
            **({} if out is None else {"out": out}),
            **({"late": self.rows.too_late(late)} if late else {}),
        }
        return result

    def _held(self, side: Side, rows: Arrived, now_ms: int) -> Run:
        """What is to be remembered of rows of this step."""
        found = rows.matched | rows.met
        held = ~rows.late
        asked_for = rows.run.forgotten > now_ms
        if side in self._waiting:
            rows.run.done = found | rows.failed
            held &= asked_for | ~rows.run.done
        elif not isinstance(self.times, AsOf):  # there left rows of this step may ask for it when they come out
            held &= asked_for
        if self._once(side):
            held &= ~found
        return rows.run.where(held)

    def _once(self, side: Side) -> bool:
        """Whether rows are of no more use when they have met somebody."""
        return side == "left" and self.kind in ("semi", "anti")

    def _as_of(self, run: Run, which: Int64s) -> list[Found]:
        """Left rows with the latest right ones at their time, by run of those; alone where there is none."""
        rows = run.only(which)
        rights = self._state.runs["right"]
        needles = Needles(rows.key, rows.hashes(), *self.times.partners("left", rows.ts))
        best_ts = np.full(len(which), -NEVER, np.int64)
        best_number, best_run, best_row = (np.full(len(which), -1, np.int64) for _ in range(3))
        for at, right in enumerate(rights):
            row = right.latest(needles)
            ts, number = right.ts[row], right.number[row]
            better = (row >= 0) & ((ts > best_ts) | ((ts == best_ts) & (number > best_number)))
            best_ts[better], best_number[better] = ts[better], number[better]
            best_run[better], best_row[better] = at, row[better]
        found = [Found(run, which[best_run == at], right, best_row[best_run == at]) for at, right in enumerate(rights)]
        return [*found, alone(run, which[best_run < 0])] if "left" in self._kept else found
