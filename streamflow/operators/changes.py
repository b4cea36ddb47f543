"""A running value for each group as a changing table: items come and are taken back, and each change of a value gives
the old row by port `gone` and the new one by `out`.

State: one entry for each group, until nothing of it is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streamflow.codecs.rows import RowCodec
from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, OFFSET, PARTITION, PATH, ROW, SOURCE, TOPIC, TS, WM, Batch
from streamflow.operators.errors import join_failed, without
from streamflow.operators.explode import index_bytes
from streamflow.operators.group_keys import telling
from streamflow.operators.stepwise import Refused
from streamflow.operators.takeback import SIGN, Kept, Signed
from streamflow.operators.window_rows import Folds, Made, WindowRows, arriving, numbered
from streamflow.operators.windowing import STORE, Emit, groups_of
from streamflow.sdk.expression import Projection
from streamflow.sdk.operator import Context, Result, StepTimes
from streamflow.sdk.state import StateStore

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_GROUPS, _ARRIVED = b"g", b"q"
_NOBODY: Final = -1
_AT: Final = "@:at"  # which row of its port
_CARRIED: Final = (ROW, PATH, TS, WM, SOURCE, OFFSET, TOPIC, PARTITION)
_SIDES: Final = {"gone": -1, "in": 1}  # in this order where both come at once


@dataclass(frozen=True, slots=True)
class _Changes:
    """Groups that went from one state to another. `previous`, `current`: rows of `states`; `source`: the row that made
    it so; `gone`, `out`: whether the old and the new value are given; `bad`: whether the new one does not fit.
    """

    states: pl.DataFrame
    previous: Int64s
    current: Int64s
    source: Int64s
    gone: Bools
    out: Bools
    bad: Bools
    why: pl.DataFrame | None


@dataclass(slots=True)
class ChangesOperator:
    """Folds items into groups, and takes them back. `projections`: by input port. `labels` names the expressions."""

    emit: Emit
    rows: WindowRows
    projections: Mapping[str, Projection]
    labels: Mapping[str, str]
    holds_ms: int = 0
    _codec: RowCodec = field(init=False)
    _changed: Result | None = field(init=False, default=None)  # coalesced: what this step has come to

    def __post_init__(self) -> None:
        self._codec = self.rows.folds.codec()

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        arrived: dict[str, Batch] = {}
        frames: list[pl.DataFrame] = []
        failures: list[Batch | None] = []
        filtered = 0
        for port, sign in _SIDES.items():
            if port not in inputs:
                continue
            batch, values, failed, keyless = arriving(
                inputs[port], self.projections[port], self.labels, self._folds.keys
            )
            failures += failed
            filtered += keyless
            arrived[port] = batch
            carried = [c for c in _CARRIED if c in batch.frame.columns]
            signs = pl.repeat(sign, len(batch), dtype=pl.Int64, eager=True).alias(SIGN)
            at = pl.int_range(0, len(batch), eager=True).alias(_AT)
            evaluated = self._folds.reading(batch, values).drop(carried, strict=False)
            frames.append(pl.DataFrame([*batch.frame.select(carried), *evaluated, signs, at]))
        rows = pl.concat(frames, how="diagonal")
        rows = rows.sort([ROW, *([PATH] if PATH in rows.columns else []), SIGN], maintain_order=True)
        while rows.height:
            try:
                step = self._step(rows, ctx)
                break
            except Refused as refused:
                fine, refusals = without(Batch(rows, self.rows.source), refused.wrong)
                rows = fine.frame
                failures += [] if refusals is None else _lost(refusals.frame, arrived)
        else:
            return Result(failed=join_failed(failures), filtered=filtered)
        number = numbered(ctx.store(STORE), _ARRIVED, rows.height).to_numpy()
        outputs = self._given(step, rows, number, ctx)
        if self.emit == "coalesced":
            unfit, bad = self._made(step, step.bad, "out", rows, number, ctx), pl.Series(step.bad)
            _, failing = self.rows.from_state(Made(unfit, None if step.why is None else step.why.filter(bad)))
            emitted = sum(len(batch) for batch in outputs.values())
            self._changed = Result(outputs=outputs, failed=failing, emitted=emitted)
            return Result(failed=join_failed(failures), filtered=filtered, absorbed=rows.height)
        if step.why is not None:
            lost = rows.with_columns(step.why.get_columns()).filter(pl.Series(step.bad))
            failures += _lost(lost, arrived)
        silent = ~step.gone & ~step.out & ~step.bad
        return Result(
            outputs=outputs,
            failed=join_failed(failures),
            filtered=filtered,
            absorbed=int(silent.sum()),
            emitted=int((step.gone & step.bad).sum()),  # their rows failed, and the old values go all the same
        )

    def advance(self, times: StepTimes, ctx: Context) -> Result:
        """Groups that changed come out."""
        del times, ctx
        changed, self._changed = self._changed, None
        return changed or Result()

    def read_state(self, stores: Mapping[str, Sequence[tuple[bytes, bytes]]]) -> pl.DataFrame:
        """Groups that have a value."""
        states = self._codec.decode([value for name, value in stores[STORE] if name.startswith(_GROUPS)])
        states = states.filter(pl.col("n") > 0)
        return self.rows.shown(states, *2 * (np.zeros(states.height, np.int64),))

    @property
    def _folds(self) -> Folds:
        return self.rows.folds

    def _step(self, rows: pl.DataFrame, ctx: Context) -> _Changes:
        """Raises Refused before anything is written."""
        folds = self._folds
        group, first = groups_of(telling(folds.keys, rows), list(folds.keys.columns))
        names = [_GROUPS + name for name in folds.keys.names(rows[pl.Series(first, dtype=pl.UInt32)])]
        store = ctx.store(STORE)
        found = store.get_many(names)
        known = np.array([i for i, value in enumerate(found) if value is not None], np.int64)
        old = self._codec.decode([value for value in found if value is not None])
        at = np.arange(rows.height)
        rows = folds.stepped(rows, at, group, old, known, len(names), each=True)
        units = folds.units(rows).with_columns(rows[SIGN].alias("n"))
        states = pl.concat([old.cast(pl.Schema(units.schema)), units])
        whose = np.concatenate([known, group])
        now = folds.running(states, pl.Series(whose, dtype=pl.UInt32))
        empty = self._empty(now)
        now = now.with_columns(_latest(states["ts"], whose, empty))
        last = np.zeros(len(names), np.int64)
        last[whose] = np.arange(len(whose))
        self._keep(store, names, now[pl.Series(last, dtype=pl.UInt32)], ~empty[last])
        if self.emit == "coalesced":
            before = np.full(len(names), _NOBODY)
            before[known] = np.arange(len(known))
            order = np.argsort(last)
            return self._compared(now, before[order], last[order], last[order] - len(known))
        numbered = pl.DataFrame({"g": whose}).with_row_index("i")
        before = (
            numbered.select(pl.col("i").cast(pl.Int64).shift(1).over("g").fill_null(_NOBODY)).to_series().to_numpy()
        )
        current = np.arange(len(known), now.height)
        return self._compared(now, before[len(known) :], current, current - len(known))

    def _compared(self, now: pl.DataFrame, previous: Int64s, current: Int64s, source: Int64s) -> _Changes:
        values, why = self._results(now)
        bad = np.zeros(now.height, np.bool_) if why is None else why[ERROR_CODE].is_not_null().to_numpy()
        some = now["n"].to_numpy() > 0
        was, stays = (some & ~bad)[previous] & (previous != _NOBODY), (some & ~bad)[current]
        old, new = (values[pl.Series(np.maximum(at, 0), dtype=pl.UInt32)] for at in (previous, current))
        differs = was != stays
        for name in values.columns:
            differs |= old[name].ne_missing(new[name]).to_numpy()
        told = None if why is None else why[pl.Series(current, dtype=pl.UInt32)]
        return _Changes(now, previous, current, source, was & differs, stays & differs, (some & bad)[current], told)

    def _results(self, states: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Values, and why rows lack one."""
        values, why = self._folds.outcome(states)
        return pl.DataFrame(values), why

    def _empty(self, states: pl.DataFrame) -> Bools:
        """Of which nothing is left, and nothing is owed."""
        left: Bools = states["n"].to_numpy() == 0
        for i, fold in enumerate(self._folds.folds):
            for part in fold.parts:
                column = states[f"f{i}{part}"]
                if isinstance(fold, Kept):
                    left &= column.list.len().to_numpy() == 0
                elif isinstance(fold, Signed):
                    left &= (column == 0).to_numpy()
        return left

    def _keep(self, store: StateStore, names: Sequence[bytes], now: pl.DataFrame, stays: Bools) -> None:
        kept = self._codec.encode(now.filter(pl.Series(stays)))
        store.put_many([name for name, some in zip(names, stays.tolist(), strict=True) if some], kept)
        store.delete_many([name for name, some in zip(names, stays.tolist(), strict=True) if not some])

    def _given(self, step: _Changes, rows: pl.DataFrame, number: Int64s, ctx: Context) -> dict[str, Batch]:
        ports = {"gone": step.gone, "out": step.out}
        return {port: self._made(step, some, port, rows, number, ctx) for port, some in ports.items() if some.any()}

    def _made(self, step: _Changes, some: Bools, port: str, rows: pl.DataFrame, number: Int64s, ctx: Context) -> Batch:
        """The old values (`gone`) or the new ones, where these change."""
        at = np.flatnonzero(some)
        source = step.source[at]
        states = step.states[pl.Series((step.previous if port == "gone" else step.current)[at], dtype=pl.UInt32)]
        parents, nth, zeros = rows[pl.Series(source, dtype=pl.UInt32)], int(port == "out"), np.zeros(len(at), np.int64)
        return self.rows.made(
            states.with_columns(pl.Series("n", 2 * number[source] + nth)),
            start=zeros,
            end=zeros,
            row=parents[ROW].to_numpy(),
            watermark=parents[WM].to_numpy(),
            ctx=ctx,
            path=index_bytes(pl.repeat(nth, len(at), dtype=pl.Int64, eager=True)),
            parents=parents,
        ).rows


def _lost(rows: pl.DataFrame, arrived: Mapping[str, Batch]) -> list[Batch | None]:
    """What arrived, of `rows` that failed with code and message."""
    made: list[Batch | None] = []
    for port, batch in arrived.items():
        mine = rows.filter(pl.col(SIGN) == _SIDES[port])
        told = mine.select(ERROR_CODE, ERROR_MESSAGE)
        made.append(batch.with_frame(batch.frame[mine[_AT]].with_columns(told.get_columns())))
    return made


def _latest(ts: pl.Series, group: Int64s, empty: Bools) -> pl.Series:
    """The latest event time of each group so far, from when it was last empty."""
    frame = pl.DataFrame({"g": group, "t": ts, "e": empty})
    segment = pl.col("e").cast(pl.Int64).shift(1).fill_null(0).cum_sum().over("g")
    return frame.with_columns(segment.alias("s")).select(pl.col("t").cum_max().over("g", "s").alias("ts")).to_series()
