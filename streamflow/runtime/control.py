"""A workflow's control topic in a task: its copy, and which rows end because of an order to their execution.

The copy is read as those of global tables are (`table_reader.py`), so the journal tells before which step an order was
known. Rows that enter a stage end at the first nodes that they come to; rows that nodes hold are given up when the task
is woken next, which it is at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from streamflow.codecs import CodecSpec
from streamflow.model.batch import DEADLINE, EXECUTION, ROW, TS, Batch
from streamflow.model.positions import OffsetRange
from streamflow.nodes.control import Control
from streamflow.nodes.gather import Gather
from streamflow.operators.control import CONTROL, Order, Orders, apart, out_of_time, outrun
from streamflow.operators.errors import join_failed
from streamflow.operators.lost_branches import Lost
from streamflow.runtime.execution_counts import Ids, Ints
from streamflow.topology.plan import InputPlan, NodePlan, StagePlan, TablePlan, Wire

READ: Final = "control.read"  # no user can write such ids
NODE: Final = "control"
HOLDS, GOES_ON = OffsetRange(0, 0), OffsetRange(1, 1)


def copies(stage: StagePlan) -> tuple[TablePlan, ...]:
    """What each task of a stage has the whole of: global tables, and the control topic."""
    return (*stage.tables, _control(stage.control)) if stage.control else stage.tables


def _control(topic: str) -> TablePlan:
    return TablePlan(
        input=InputPlan(
            node=READ,
            topic=topic,
            schema=CONTROL,
            codec=CodecSpec(format="avro", framing="raw", schema=CONTROL, name=CONTROL.name),
        ),
        node=NodePlan(id=NODE, kind=Control.spec.kind, inputs={"in": CONTROL}, wires={"in": (Wire(node=READ),)}),
        needs=(TS,),
    )


@dataclass(frozen=True, slots=True)
class Fresh:
    """Orders of which the nodes that hold rows have not heard: cancels, and branches that lost."""

    cancels: Mapping[str, Order]
    lost: Mapping[str, Lost]

    def concern(self, node: str) -> bool:
        """Whether one of them may be about rows at a node."""
        return bool(self.cancels) or any(node in one.nodes for one in self.lost.values())


@dataclass(frozen=True, slots=True)
class AtNode:
    """`sdk.operator.EndedExecutions` of a node."""

    orders: Fresh
    node: str

    def apart(self, rows: Batch) -> tuple[Batch, Batch | None]:
        rows, over = apart(rows, rows.frame[EXECUTION], self.orders.cancels, self.node)
        rows, behind = outrun(rows, rows.frame[EXECUTION], self.orders.lost, self.node)
        ended = [part for part in (over, behind) if part is not None]
        if not ended:
            return rows, None
        # Rows that an operator keeps are of no step: they have no `@row` to be sorted by.
        return rows, ended[0].with_frame(pl.concat([part.frame for part in ended], how="diagonal"))


class Endings:
    """Which rows end, in one task.

    `careful`: the stage has steps that are undone. Whoever had the task before may have tried such a step and not have
    committed it; a row that ended now would leave it neither done nor undone. So nothing ends (`paused`) until the task
    has come to where the log ended when it began: by then whatever was tried is done. The journal tells of it, by an
    entry of the control topic without records: `HOLDS` or `GOES_ON`.
    """

    def __init__(self, stage: StagePlan, orders: Orders) -> None:
        entries = {i.node for i in stage.inputs}
        fed = {n.id for n in stage.nodes for wires in n.wires.values() for w in wires if w.node in entries}
        lasting = {n.id for n in stage.nodes if n.lasting}
        gathers = {n.id for n in stage.nodes if n.kind == Gather.spec.kind}
        gathered = {n.id for n in stage.nodes for wires in n.wires.values() for w in wires if w.node in gathers}
        self.gathered = frozenset(gathered - lasting)  # nodes that rows come to when all of them are there
        self.first = frozenset(fed - lasting) | self.gathered  # nodes that rows come to first
        self.timed = DEADLINE in stage.needs  # executions have only so much time
        self._now_ms = 0
        self.careful = any(n.undone for n in stage.nodes)
        self.paused = False
        self._orders = orders
        self._ids: Ids = _nobody

    def begin(self, ids: Ids, now_ms: int) -> None:
        """A step begins. `ids`: the executions of its rows, where they do not say."""
        self._now_ms = now_ms
        if self._orders:
            self._orders.age(now_ms)
            self._ids = ids

    def done(self) -> None:
        """The step is over: its rows are let go."""
        self._ids = _nobody

    @property
    def some(self) -> bool:
        """Whether an execution may have to end."""
        return not self.paused and (self.timed or bool(self._orders))

    @property
    def fresh(self) -> bool:
        """Whether there are orders of which the nodes that hold rows have not heard."""
        return bool(self._orders.fresh or self._orders.lost.fresh) and not self.paused

    def take_fresh(self) -> Fresh:
        return Fresh(self._orders.take_fresh(), self._orders.lost.take_fresh())

    @property
    def lost_at(self) -> frozenset[str]:
        """Nodes of branches that some execution has lost."""
        return self._orders.lost.nodes

    def apart(self, node: str, batch: Batch) -> tuple[Batch, Batch | None]:
        """(rows that go on, rows that end, with their errors) of what entered the stage and comes to a node."""
        over: Batch | None = None
        if self._orders.by_execution:
            batch, over = apart(batch, self._whose(batch), self._orders.by_execution, node)
        batch, behind = self.outrun(node, batch)
        batch, late = out_of_time(batch, self._now_ms) if self.timed else (batch, None)
        return batch, join_failed([over, behind, late])

    def outrun(self, node: str, batch: Batch) -> tuple[Batch, Batch | None]:
        """The same of what comes to a node of a branch in any way: only rows of those that lost it end."""
        lost = self._orders.lost
        return outrun(batch, self._whose(batch), lost.by_execution, node) if node in lost.nodes else (batch, None)

    def _whose(self, batch: Batch) -> pl.Series:
        told = EXECUTION in batch.frame.columns
        return batch.frame[EXECUTION] if told else self._ids(batch.frame[ROW].to_numpy().astype(np.int64))

    def ended(self, node: str, execution: str, rows: Batch) -> tuple[Batch, Batch | None]:
        """The same of rows that a node gives at the end of their execution."""
        if self.paused or not self._orders.by_execution:
            return rows, None
        ids = pl.Series([execution], dtype=pl.String).new_from_index(0, len(rows))
        return apart(rows, ids, self._orders.by_execution, node)


def _nobody(rows: Ints) -> pl.Series:
    return pl.Series([None] * len(rows), dtype=pl.String)
