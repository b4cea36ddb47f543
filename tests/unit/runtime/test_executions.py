"""What a watch notes of a step, counted by execution, without a task around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from streamflow.codecs.envelope import as_read
from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, ERROR_NODE, EXECUTION, PATH, ROW, Batch
from streamflow.model.positions import TopicPartition
from streamflow.model.types import LONG, record_of
from streamflow.runtime.execution_counts import Counts, Ints
from streamflow.runtime.execution_records import ExecutionWriter
from streamflow.runtime.execution_states import Reach, States, decode_records, fold, statuses
from streamflow.runtime.execution_tails import SPEC, Moment
from streamflow.runtime.executions import Watch
from streamflow.sdk.operator import NO_ROW, Context, Operator, Result
from streamflow.topology.plan import InputPlan, NodePlan, SinkPlan, StagePlan, StorePlan, Wire

ITEM = record_of({"n": LONG})
TRIGGER = frozenset(["rows"])


@dataclass
class Plain:
    """An operator that is only a name here."""

    def process(self, inputs: object, ctx: Context) -> Result:
        raise NotImplementedError


@dataclass
class Holding(Plain):
    def due_ms(self, ctx: object) -> int | None:
        return None

    def wake(self, ctx: object) -> Result:
        return Result()


def stage(*nodes: str, tracked: str = "all", stores: bool = False) -> StagePlan:
    return StagePlan(
        id="rows",
        inputs=(InputPlan(node="rows", topic="in", schema=ITEM),),
        nodes=tuple(NodePlan(id=n, kind="set") for n in nodes),
        sinks=(SinkPlan(kind="repartition", wire=Wire(node="out"), topic="w.out.repartition", codec=SPEC),),
        stores=(StorePlan(node=nodes[0], name="s", changelog="c"),) if stores else (),
        executions="w.executions",
        tracked=tracked,  # type: ignore[arg-type]
    )


def watching(plan: StagePlan, **operators: Operator) -> Watch:
    return Watch(plan, {n.id: operators.get(n.id, Plain()) for n in plan.nodes}, TRIGGER)


def batch(rows: list[int], *, ids: list[str] | None = None, paths: list[bytes] | None = None) -> Batch:
    frame = pl.DataFrame({"n": rows, ROW: pl.Series(rows, dtype=pl.UInt32)})
    if ids is not None:
        frame = frame.with_columns(pl.Series(EXECUTION, ids))
    if paths is not None:
        frame = frame.with_columns(pl.Series(PATH, paths, dtype=pl.Binary))
    return Batch(frame, ITEM)


def failed(rows: list[int]) -> Batch:
    frame = batch(rows).frame.with_columns(
        pl.lit("bad").alias(ERROR_CODE), pl.lit("is bad").alias(ERROR_MESSAGE), pl.lit("a").alias(ERROR_NODE)
    )
    return Batch(frame, ITEM)


def named(rows: Ints) -> pl.Series:
    return pl.Series(rows).cast(pl.String)


def told(counts: Counts | None) -> dict[str, dict[tuple[str, str], int]]:
    assert counts is not None
    return {
        execution: {name: int(rows[i]) for name, rows in counts.rows.items() if rows[i] and name[1] != "begun"}
        for i, execution in enumerate(counts.executions)
    }


def test_rows_of_a_stage_without_state_are_counted_by_row() -> None:
    plan = stage("a", "out")
    watch = watching(plan)
    watch.entered({"rows": batch([0, 1, 2])})
    watch.ran(plan.nodes[0], {"in": batch([0, 1, 2])}, Result(outputs={"out": batch([0, 0, 2])}, filtered=1))
    watch.ran(plan.nodes[1], {"in": batch([0, 0, 2])}, Result(outputs={"records": batch([0, 0, 2])}))
    trigger, topic = ("rows", "rows_in"), ("w.out.repartition", "sent")
    assert told(watch.take(named)) == {
        "0": {trigger: 1, ("rows", "rows_out"): 1, ("a", "rows_in"): 1, ("a", "rows_out"): 2, ("out", "rows_in"): 2,
              ("out", "rows_out"): 2, topic: 2},
        "1": {trigger: 1, ("rows", "rows_out"): 1, ("a", "rows_in"): 1, ("a", "filtered"): 1},
        "2": {trigger: 1, ("rows", "rows_out"): 1, ("a", "rows_in"): 1, ("a", "rows_out"): 1, ("out", "rows_in"): 1,
              ("out", "rows_out"): 1, topic: 1},
    }  # fmt: skip
    assert watch.take(named) is None, "a step is told once"


def test_siblings_without_children_are_told_by_their_paths() -> None:
    plan = stage("a", "out")
    watch = watching(plan)
    first, second, more = b"\0\0\0\0", b"\0\0\0\1", b"\0\0\0\2"
    into = batch([0, 0, 1, 1], paths=[first, second, first, second])
    # Both rows of execution 0 have a child; of execution 1 the second has two.
    children = batch([0, 0, 1, 1], paths=[first + first, second + first, second + first, second + more])
    watch.entered({"rows": batch([0, 1])})
    watch.ran(plan.nodes[0], {"in": into}, Result(outputs={"out": children}, filtered=1))
    assert {e: rows.get(("a", "filtered"), 0) for e, rows in told(watch.take(named)).items()} == {"0": 0, "1": 1}


def test_only_executions_of_which_a_row_failed_where_only_errors_are_asked_for() -> None:
    plan = stage("a", "out", tracked="errors")
    watch = watching(plan)
    watch.entered({"rows": batch([0, 1, 2])})
    watch.ran(plan.nodes[0], {"in": batch([0, 1, 2])}, Result(outputs={"out": batch([0, 1, 2])}))
    assert watch.take(named) is None
    watch.entered({"rows": batch([0, 1, 2])})
    result = Result(outputs={"out": batch([0, 2])}, failed=failed([1]))
    watch.ran(plan.nodes[0], {"in": batch([0, 1, 2])}, result)
    watch.failed("a", failed([1]), "to_error_port")
    counts = watch.take(named)
    assert list(told(counts)) == ["1"]
    assert told(counts)["1"][("a", "to_error_port")] == 1
    assert counts is not None
    assert counts.errors.row(0) == (0, "bad", "is bad", "a")


def test_rows_that_their_topic_does_not_take_were_not_sent() -> None:
    plan = stage("a", "out")
    watch = watching(plan)
    watch.entered({"rows": batch([0, 1])})
    watch.ran(plan.nodes[1], {"in": batch([0, 1])}, Result(outputs={"records": batch([0, 1])}))
    watch.unwritten(Batch(failed([1]).frame.with_columns(pl.lit("out").alias(ERROR_NODE)), ITEM))
    found = told(watch.take(named))
    assert found["0"][("w.out.repartition", "sent")] == 1
    assert ("w.out.repartition", "sent") not in found["1"]
    assert found["1"][("out", "dead_lettered")] == 1


def test_a_step_that_was_broken_off_is_forgotten() -> None:
    watch = watching(stage("a", "out"))
    watch.entered({"rows": batch([0])})
    watch.clear()
    assert watch.take(named) is None


@pytest.mark.parametrize("together", [False, True])
def test_an_execution_waits_as_long_as_a_node_holds_rows_of_it(together: bool) -> None:
    """Rows go into a node that gives each back; one comes out, then the other, or both at once."""
    plan = stage("hold", "out", stores=True)
    watch = watching(plan, hold=Holding())  # type: ignore[arg-type]
    writer = ExecutionWriter(
        plan, 0, triggers=TRIGGER, waits=watch.waits, keeps=watch.keeps, bounded=False, partitions=1,
        batch_bytes_max=1 << 20,
    )  # fmt: skip
    states, reach = States.none(), Reach({"rows": frozenset(["rows"])})

    def status() -> str:
        nonlocal states
        counts = watch.take(None)
        assert counts is not None
        ((made,),) = writer.encode(counts, Moment(TopicPartition("in", 0), 0, 5)).values()
        states = fold(states, decode_records([as_read(made)]), reach)
        return str(statuses(states, reach)["status"][0])

    rows = batch([0, 1], ids=["e", "e"])
    watch.entered({"rows": rows})
    watch.ran(plan.nodes[0], {"in": rows}, Result(absorbed=2))
    assert status() == "waiting"
    for ids in [["e", "e"]] if together else [["e"], ["e"]]:
        out = batch([NO_ROW] * len(ids), ids=ids)
        watch.ran(plan.nodes[0], {}, Result(outputs={"out": out}, emitted=len(ids)))
        last = status()
    assert last == "completed"
    assert np.all(states.stages["waiting"].to_numpy() == 0)
