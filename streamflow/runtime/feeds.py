"""What a task tells gathers: by how many rows each execution grew that may still come to them, step by step.

A gather keeps rows of an execution until none of it is left anywhere before it. Rows on their way are those on topics
between, and those that nodes between keep: every row that is sent or put into state adds one, every row that is
received or given back takes one away. A step tells the sum of that behind its rows, on the topic and in the partition
that the gather reads, in the same transaction. Who takes what a step has sent reads it behind that, and writes behind
it; so whoever reads such a partition up to any of these records knows of every row that can still come, and the sum is
zero where there is none.

These are not the counts of `execution_counts`, which are allowed to be wrong between executions whose rows met in one
arrival. Here only wires are counted at which each row tells its execution by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
import orjson
import polars as pl

from streamflow.codecs import encode_marker
from streamflow.model.batch import ERROR_NODE, EXECUTION, ROW, Batch
from streamflow.model.positions import TopicPartition
from streamflow.operators.partition import partition_of_executions
from streamflow.runtime.emit import Emitted
from streamflow.runtime.seed import GROWN
from streamflow.sdk.log import NewBatch
from streamflow.sdk.operator import NO_ROW, Result
from streamflow.topology.plan import FeedPlan, NodePlan, StagePlan

MARKER_BYTES_MAX: Final = 200_000  # of the ids in one record, unless one alone takes more
ROWS: Final = "@rows"
_AT, _CAME = "@at", "@came"
_EMPTY: Final = pl.DataFrame(schema={EXECUTION: pl.String, ROWS: pl.Int64, _AT: pl.UInt32})


@dataclass(slots=True)
class Feeds:
    """Notes rows of one task's steps for all gathers that they may come to."""

    plans: tuple[FeedPlan, ...]
    _noted: dict[str, list[pl.DataFrame]] = field(default_factory=dict)  # by the node of the plan

    @classmethod
    def of(cls, stage: StagePlan) -> Feeds | None:
        """For a stage's graph; None where it feeds no gather."""
        return cls(stage.feeds) if stage.feeds else None

    def clear(self) -> None:
        """Forget the step: called before each one, since the last may have been broken off."""
        self._noted.clear()

    def entered(self, rows: Mapping[str, Batch]) -> None:
        """Rows enter the stage, by the node whose output they are."""
        for plan in self.plans:
            for node in plan.received:
                if node in rows:
                    self._note(plan, -1, rows[node].frame)

    def ran(self, node: NodePlan, inputs: Mapping[str, Batch], result: Result) -> None:
        """A node was given rows, or gave rows out of its state (no `inputs`)."""
        for plan in self.plans:
            if plan.sends and node.id == plan.node and "records" in result.outputs:
                self._note(plan, 0, result.outputs["records"].frame)
            if node.id in plan.sent and "records" in result.outputs:
                self._note(plan, 1, result.outputs["records"].frame)
            for hold in plan.holds:
                if hold.node == node.id:
                    self._held(plan, inputs, hold.inputs, 1)
                    self._held(plan, result.outputs, hold.outputs, -1)
                    if result.failed is not None:
                        self._note(plan, -1, result.failed.frame)
            if node.id in plan.parks:
                for by, rows in ((1, result.waiting), (-1, result.woken)):
                    if rows is not None:
                        self._note(plan, by, rows.frame)

    def unwritten(self, rows: Batch) -> None:
        """Rows at sinks that their topics do not take."""
        for plan in self.plans:
            lost = rows.frame.filter(pl.col(ERROR_NODE).is_in([*plan.sent]))
            if lost.height:
                self._note(plan, -1, lost)

    def sums(self) -> dict[str, pl.DataFrame]:
        """By the node of a plan: executions of the step, and by how many their rows grew (ROWS). Then all is forgotten.

        Executions are in the order of arrival, so that they come out of the gather as they came, however a stream is
        cut.
        """
        found: dict[str, pl.DataFrame] = {}
        for plan in self.plans:
            if noted := self._noted.get(plan.node):
                sums = pl.concat([_EMPTY, *noted]).drop_nulls(EXECUTION).group_by(EXECUTION, maintain_order=True)
                told = sums.agg(pl.col(ROWS).sum(), pl.col(_AT).min(), (pl.col(ROWS) == 0).any().alias(_CAME))
                told = told.filter((pl.col(ROWS) != 0) | pl.col(_CAME)).sort(_AT, maintain_order=True)
                found[plan.node] = told.select(EXECUTION, ROWS)
        self.clear()
        return found

    def take(self, partitions: Mapping[str, int], now_ms: int) -> Emitted:
        """Records of the step, for the partitions of the gathers' topics."""
        told, sums = Emitted(), self.sums()
        for plan in self.plans:
            found = sums.get(plan.node, _EMPTY)
            target = partition_of_executions(found[EXECUTION], partitions[plan.topic])
            for number in np.unique(target).tolist():
                at = TopicPartition(plan.topic, number)
                for record in _records(found.filter(pl.Series(target == number)), now_ms):
                    told.writes.setdefault(at, []).append(record)
                    told.count(plan.node, at).markers += 1
        return told

    def _held(self, plan: FeedPlan, rows: Mapping[str, Batch], ports: tuple[str, ...], by: int) -> None:
        for port in ports:
            if port in rows:
                self._note(plan, by, rows[port].frame)

    def _note(self, plan: FeedPlan, by: int, frame: pl.DataFrame) -> None:
        if not frame.height:
            return
        at = pl.col(ROW) if ROW in frame.columns else pl.lit(NO_ROW, dtype=pl.UInt32)
        noted = frame.select(EXECUTION, pl.lit(by, dtype=pl.Int64).alias(ROWS), at.alias(_AT))
        self._noted.setdefault(plan.node, []).append(noted)


def grown_marker(executions: list[str], rows: list[int], now_ms: int) -> NewBatch:
    """By how many rows each of these executions grew."""
    return encode_marker(GROWN, orjson.dumps({"executions": executions, "rows": rows}), now_ms)


def grown(value: bytes) -> tuple[list[str], list[int]]:
    """What such a record says."""
    told = orjson.loads(value)
    return told["executions"], told["rows"]


def _records(found: pl.DataFrame, now_ms: int) -> Iterator[NewBatch]:
    sizes = np.cumsum(found[EXECUTION].str.len_bytes().to_numpy().astype(np.int64))
    cuts = np.flatnonzero(np.diff(sizes // MARKER_BYTES_MAX)) + 1
    for first, end in pairwise([0, *cuts.tolist(), found.height]):
        part = found[first:end]
        yield grown_marker(part[EXECUTION].to_list(), part[ROWS].to_list(), now_ms)
