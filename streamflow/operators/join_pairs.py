"""The rows of a step, and the pairs that they make with rows that are held and with each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from streamflow.model.batch import PATH, ROW, TS, WM, Batch
from streamflow.operators.errors import evaluate, fail, failed_rows
from streamflow.operators.join_index import JOIN_KEY, JOIN_NUMBER, JOIN_TIME, Bools, Int64s, Run
from streamflow.operators.join_times import SIDES, JoinTimes, Side, other
from streamflow.operators.window_rows import TIME_MS_MAX
from streamflow.sdk.expression import Projection

KEY_VALUE: Final = "key"
ON: Final = "on"


@dataclass(frozen=True, slots=True)
class SideKey:
    """The key of a side: its expression (KEY_VALUE), and what turns its values into those that are compared."""

    projection: Projection
    labels: Mapping[str, str]
    compared: Callable[[pl.Series], pl.Series]


@dataclass(slots=True)
class Arrived:
    """Rows of one side in a step. `keyless`: those whose key is null, which no row meets.

    Of each row with a key: `matched` a row that had come before it, `met` by one that came behind it in this step,
    `gave` has children, `failed` did so in the condition.
    """

    batch: Batch
    run: Run
    wm: Int64s
    keyless: Batch
    keyless_run: Run
    matched: Bools = field(init=False)
    met: Bools = field(init=False)
    gave: Bools = field(init=False)
    failed: Bools = field(init=False)

    def __post_init__(self) -> None:
        self.matched, self.met, self.gave, self.failed = (np.zeros(len(self.run), np.bool_) for _ in range(4))

    @property
    def late(self) -> Bools:
        """Rows that had waited long enough before they came."""
        found: Bools = self.run.closes <= self.wm
        return found


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows `later` of this step's `side` with rows `earlier` of a `run` that came before; `new`: in this step too."""

    side: Side
    later: Int64s
    run: Run
    earlier: Int64s
    new: bool

    def where(self, mask: Bools) -> Pairs:
        return self if mask.all() else Pairs(self.side, self.later[mask], self.run, self.earlier[mask], self.new)

    def __len__(self) -> int:
        return len(self.later)


def arrivals(
    inputs: Mapping[str, Batch], keys: Mapping[Side, SideKey], times: JoinTimes, first: int
) -> tuple[dict[Side, Arrived], list[Batch | None]]:
    """(rows by side, rows that failed). Rows are numbered in order of arrival, from `first` on."""
    batches: dict[Side, Batch] = {}
    found: dict[Side, pl.Series] = {}
    failures: list[Batch | None] = []
    for side in SIDES:
        if side in inputs:
            batch, values, failed = evaluate(inputs[side], keys[side].projection, keys[side].labels)
            failures.append(failed)
            fits = batch.frame[TS].is_between(-TIME_MS_MAX, TIME_MS_MAX).fill_null(False)
            if not fits.all():
                message = "the event time is missing, or beyond what a join can hold."
                failures.append(fail(batch.where(~fits), "does_not_fit", message))
                batch, values = batch.where(fits), values.filter(fits)
            batches[side], found[side] = batch, keys[side].compared(values[KEY_VALUE])
    numbers = _numbers(batches, first)
    arrived: dict[Side, Arrived] = {}
    for side, batch in batches.items():
        rows = batch.frame.select(
            *batch.payload_columns(),
            found[side].alias(JOIN_KEY),
            pl.col(TS).alias(JOIN_TIME),
            pl.Series(JOIN_NUMBER, numbers[side]),
        )
        keyed = rows[JOIN_KEY].is_not_null()
        keyless = ~keyed
        some = keyless.any()
        with_key = batch.where(keyed) if some else batch
        arrived[side] = Arrived(
            with_key,
            Run.of(side, rows.filter(keyed) if some else rows, times),
            with_key.frame[WM].to_numpy(),
            batch.where(keyless),
            Run.of(side, rows.filter(keyless), times),
        )
    return arrived, failures


def _numbers(batches: Mapping[Side, Batch], first: int) -> dict[Side, Int64s]:
    """The place of each row in the order of arrival; of one row on both sides the left one comes first."""
    if len(batches) == 1:
        return {side: np.arange(first, first + len(batch), dtype=np.int64) for side, batch in batches.items()}
    by = [ROW, PATH] if all(PATH in b.frame.columns for b in batches.values()) else [ROW]
    order = pl.concat([b.frame.select(by) for b in batches.values()]).select(pl.arg_sort_by(by, maintain_order=True))
    numbers = np.empty(order.height, np.int64)
    numbers[order.to_series().to_numpy()] = np.arange(first, first + order.height)
    sides, counts = list(batches), [len(b) for b in batches.values()]
    return dict(zip(sides, np.split(numbers, np.cumsum(counts)[:-1]), strict=True))


def pairs_of(arrived: Mapping[Side, Arrived], held: Mapping[Side, Sequence[Run]], times: JoinTimes) -> Iterator[Pairs]:
    """All pairs of which one row came in this step, and the other was open when it came."""
    for side, rows in arrived.items():
        if not len(rows.run):
            continue
        needles = rows.run.needles(times)
        for run in held[other(side)]:
            later, earlier = run.partners(needles)
            yield from _open(Pairs(side, later, run, earlier, new=False), rows)
    if len(arrived) == 2:
        left, right = arrived["left"], arrived["right"]
        one, two = right.run.partners(left.run.needles(times))
        behind = left.run.number[one] > right.run.number[two]
        yield from _open(Pairs("left", one[behind], right.run, two[behind], new=True), left)
        yield from _open(Pairs("right", two[~behind], left.run, one[~behind], new=True), right)


def _open(pairs: Pairs, arrived: Arrived) -> Iterator[Pairs]:
    there = pairs.where(pairs.run.forgotten[pairs.earlier] > arrived.wm[pairs.later])
    if len(there):
        yield there


@dataclass(frozen=True, slots=True)
class Condition:
    """What a pair must fulfil besides: an expression (ON) over the items of both sides, as `left` and `right`."""

    projection: Projection
    labels: Mapping[str, str]

    def fulfilled(self, pairs: Sequence[Pairs], arrived: Mapping[Side, Arrived]) -> tuple[list[Pairs], list[Batch]]:
        """(pairs that do, rows that failed: the later ones of pairs in which the condition fails)."""
        kept, failures = [], []
        for p in pairs:
            rows = arrived[p.side]
            items = {
                p.side: _item(rows.run, rows.batch.schema.kind == "any", p.later).alias(p.side),
                other(p.side): _item(p.run, "@item" in p.run.frame.columns, p.earlier).alias(other(p.side)),
            }
            done = self.projection.run(pl.DataFrame([items["left"], items["right"]]))
            if done.errors:
                wrong = (done.errors[ON] != 0).to_numpy()
                who, at = np.unique(p.later[wrong], return_index=True)
                fresh = ~rows.failed[who]
                rows.failed[who] = True
                codes = {ON: done.errors[ON].filter(pl.Series(wrong))[pl.Series(at[fresh], dtype=pl.UInt32)]}
                failing = rows.batch.with_frame(rows.batch.frame[pl.Series(who[fresh], dtype=pl.UInt32)])
                failures.append(failed_rows(failing, codes, self.labels))
            kept.append(p.where(done.values[ON].fill_null(False).to_numpy()))
        # A row that fails does so as a whole: what it met counts for nothing.
        kept = [p.where(~arrived[p.side].failed[p.later]) for p in kept]
        return [p for p in kept if len(p)], [f for f in failures if len(f)]


def _item(run: Run, untyped: bool, rows: Int64s) -> pl.Series:
    frame = run.frame[pl.Series(rows, dtype=pl.UInt32)]
    if untyped:
        return frame["@item"]
    return frame.select(pl.struct(c for c in frame.columns if not c.startswith("@:"))).to_series()
