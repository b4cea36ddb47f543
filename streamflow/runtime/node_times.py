"""Event time inside a stage: each node's own, where nodes before it hold rows back.

A window that waits for late rows gives rows whose event times lie as far behind the task's watermark as it waits. To a
node behind it time must be that much earlier, or it would find every one of them late. So each node lies `behind` the
task's time by what the nodes before it hold, and rows are shown with the watermark that is true where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from streamflow.model.batch import ROW, WM, Batch
from streamflow.runtime.event_time import IDLE, NO_WATERMARK
from streamflow.sdk.operator import Operator, StepTimes, Timed
from streamflow.topology.plan import StagePlan

NO_TIMES = pl.DataFrame(schema={ROW: pl.UInt32(), WM: pl.Int64()})  # of a step without rows


def behind(stage: StagePlan, operators: Mapping[str, Operator]) -> dict[str, int]:
    """How far the event time of each node's input lies behind the task's, ms: the most that any way to it holds."""
    arriving: dict[str, int] = {}
    leaving: dict[str, int] = {}
    for node in stage.nodes:  # in topological order
        before = [leaving.get(w.node, 0) for wires in node.wires.values() for w in wires]
        operator = operators[node.id]
        arriving[node.id] = max(before, default=0)
        leaving[node.id] = arriving[node.id] + (operator.holds_ms if isinstance(operator, Timed) else 0)
    return arriving


def lowered(batch: Batch, by_ms: int) -> Batch:
    """Rows with a watermark that is `by_ms` lower; what is no time stays what it is."""
    if not by_ms or WM not in batch.frame.columns:
        return batch
    return batch.with_frame(batch.frame.with_columns(_lower(by_ms)))


def _lower(by_ms: int) -> pl.Expr:
    # By comparison first, so that the subtraction cannot wrap.
    floor = pl.when(pl.col(WM) < NO_WATERMARK + by_ms).then(pl.lit(NO_WATERMARK)).otherwise(pl.col(WM) - by_ms)
    return pl.when(pl.col(WM) >= IDLE).then(pl.col(WM)).otherwise(floor)


def times_of(rows: Mapping[str, Batch]) -> pl.DataFrame:
    """`@row` and `@wm` of all rows that enter a stage together, in their order."""
    frames = [batch.frame.select(ROW, WM) for batch in rows.values()]
    return frames[0] if len(frames) == 1 else pl.concat(frames).sort(ROW)


def pieces(rows: Mapping[str, Batch], times: pl.DataFrame) -> list[tuple[Mapping[str, Batch], pl.DataFrame]]:
    """Rows between which time never falls, each with its part of `times`, those of all rows.

    Time falls where a bounded source had ended and goes on after all.
    """
    marks = times[WM].to_numpy()
    falls = np.flatnonzero(marks[1:] < marks[:-1]) + 1
    if not len(falls):
        return [(rows, times)]
    parts = [times[first:end] for first, end in pairwise([0, *falls.tolist(), len(times)])]
    return list(zip(cut(rows, times[ROW].to_numpy()[falls].tolist()), parts, strict=True))


def cut(rows: Mapping[str, Batch], at: Sequence[int]) -> list[Mapping[str, Batch]]:
    """Rows that enter together, cut before each of the given values of `@row`, which ascend."""
    found: list[dict[str, Batch]] = [{} for _ in range(len(at) + 1)]
    for node, batch in rows.items():
        own = batch.frame[ROW].to_numpy()
        edges = [0, *np.searchsorted(own, np.asarray(at, own.dtype)).tolist(), len(batch)]
        for piece, (first, end) in zip(found, pairwise(edges), strict=True):
            if end > first:
                piece[node] = batch.with_frame(batch.frame[first:end])
    return list(found)


def step_times(times: pl.DataFrame, end_ms: int, behind_ms: int) -> StepTimes:
    """Time in one step as a node sees it: `times_of` its rows. `end_ms` is the node's own already."""
    seen = times.with_columns(_lower(behind_ms)) if behind_ms else times
    return StepTimes(seen[ROW].to_numpy(), seen[WM].to_numpy(), end_ms)
