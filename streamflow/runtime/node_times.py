"""Event time inside a stage: each node's own, where nodes before it hold rows back.

A window that waits for late rows gives rows whose event times lie as far behind the task's watermark as it waits. To a
node behind it time must be that much earlier, or it would find every one of them late. So each node lies `behind` the
task's time by what the nodes before it hold, and rows are shown with the watermark that is true where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import polars as pl

from streamflow.model.batch import ROW, WM, Batch
from streamflow.runtime.event_time import IDLE, NO_WATERMARK
from streamflow.sdk.operator import Operator, StepTimes, Timed
from streamflow.topology.plan import StagePlan


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
    # By comparison first, so that the subtraction cannot wrap.
    floor = pl.when(pl.col(WM) < NO_WATERMARK + by_ms).then(pl.lit(NO_WATERMARK)).otherwise(pl.col(WM) - by_ms)
    return batch.with_frame(batch.frame.with_columns(pl.when(pl.col(WM) >= IDLE).then(pl.col(WM)).otherwise(floor)))


def pieces(batch: Batch) -> list[Batch]:
    """Rows between which time never falls. It does where a bounded source had ended and goes on after all."""
    marks = batch.frame[WM].to_numpy()
    falls = np.flatnonzero(marks[1:] < marks[:-1]) + 1
    if not len(falls):
        return [batch]
    cuts = [0, *falls.tolist(), len(batch)]
    return [batch.with_frame(batch.frame[a:b]) for a, b in pairwise(cuts)]


def step_times(batch: Batch | None, end_ms: int, behind_ms: int) -> StepTimes:
    """Time in one step as a node sees it. `end_ms` is the node's own already."""
    if batch is None:
        return StepTimes(np.empty(0, np.uint32), np.empty(0, np.int64), end_ms)
    seen = lowered(batch, behind_ms).frame
    return StepTimes(seen[ROW].to_numpy(), seen[WM].to_numpy(), end_ms)
