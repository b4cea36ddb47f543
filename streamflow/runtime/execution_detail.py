"""One execution whole: its nodes with what they did, its steps, and how it stood behind each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from streamflow.model.execution_status import NodeStatus
from streamflow.runtime.execution_states import Reach, States, fold, statuses
from streamflow.topology.plan import Topology

COUNTERS: Final = (
    "rows_in", "rows_out", "filtered", "absorbed", "emitted", "continued", "to_error_port", "dead_lettered",
    "cancelled", "timed_out", "released",
)  # fmt: skip


STATUSES_MAX: Final = 500


@dataclass(slots=True)
class NodeDetail:
    """A node in an execution. `began_ms`: since the execution began; None where it had no rows. `wires`: what it feeds,
    with the port.
    """

    node: str
    kind: str
    stage: str
    status: NodeStatus
    rows: dict[str, int] = field(default_factory=dict)
    began_ms: int | None = None
    last_ms: int | None = None
    wires: tuple[tuple[str, str], ...] = ()  # (port, node)


@dataclass(frozen=True, slots=True)
class ExecutionDetail:
    """`stand`: a row of `statuses`. `steps`: records without nodes, each with the status behind it; of more than
    STATUSES_MAX only some have one.
    """

    stand: Mapping[str, Any]
    nodes: tuple[NodeDetail, ...]
    steps: tuple[Mapping[str, Any], ...]
    samples: tuple[Mapping[str, str], ...] = ()
    partial: bool = False


def detail(records: pl.DataFrame, topology: Topology) -> ExecutionDetail:
    """From all records of one execution, in order. Raises IllegalTransition."""
    reach, states, after = Reach.of(topology), States.none(), []
    several = -(-records.height // STATUSES_MAX)
    for at in range(0, records.height, several):
        part = records[at : at + several]
        states = fold(states, part, reach)
        after += [None] * (part.height - 1) + [statuses(states, reach)["status"][0]]
    stand = statuses(states, reach).row(0, named=True)
    steps = records.drop("nodes", "samples", "@position", strict=False).with_columns(
        pl.col("at").dt.epoch("ms").alias("at_ms"), pl.Series("status", after, dtype=pl.String)
    )
    rows = list(_nodes(records, topology, stand, partial=reach.partial))
    samples = records["samples"].explode().drop_nulls().to_list()
    return ExecutionDetail(stand, tuple(rows), tuple(steps.drop("at").to_dicts()), tuple(samples), reach.partial)


def _nodes(
    records: pl.DataFrame, topology: Topology, stand: Mapping[str, Any], *, partial: bool
) -> Iterator[NodeDetail]:
    told = records.select("at", "nodes").explode("nodes").unnest("nodes").drop_nulls("node")
    at = pl.col("at").dt.epoch("ms")
    sums = told.group_by("node").agg(
        pl.col(*COUNTERS).sum(), (pl.col("status") == "failed").any().alias("failed"),
        (pl.col("status") == "waiting").any().alias("kept"), at.min().alias("began"), at.max().alias("last"),
    )  # fmt: skip
    found = {row["node"]: row for row in sums.iter_rows(named=True)}
    shape = _Shape.of(topology)
    waits = stand["status"] == "waiting"
    for node in shape.behind(found):
        row, kind, stage = found.get(node), shape.kinds[node], shape.stages[node]
        wires = shape.wires.get(node, ())
        if row is None:
            # Rows on their way may come to it yet; of what went well, `executions: errors` knows nothing.
            if partial and stage not in set(records["stage"]):
                continue
            yield NodeDetail(node, kind, stage, "skipped" if stand["settled"] else "pending", wires=wires)
            continue
        held = row["kept"] and waits and row["absorbed"] > row["released"]
        failed = row["failed"] and stand["status"] == "failed"
        status: NodeStatus = _status(row, failed=failed, held=held)
        yield NodeDetail(
            node, kind, stage, status, {c: row[c] for c in COUNTERS},
            row["began"] - stand["began_ms"], row["last"] - stand["began_ms"], wires,
        )  # fmt: skip


def _status(row: Mapping[str, Any], *, failed: bool, held: bool) -> NodeStatus:
    if failed or held:
        return "failed" if failed else "waiting"
    return "cancelled" if row["cancelled"] else "timed_out" if row["timed_out"] else "completed"


@dataclass(frozen=True, slots=True)
class _Shape:
    """The nodes of a topology, from stage to stage, in the order in which rows pass them."""

    kinds: Mapping[str, str]
    stages: Mapping[str, str]
    wires: Mapping[str, tuple[tuple[str, str], ...]]  # (port, node fed)

    @classmethod
    def of(cls, topology: Topology) -> _Shape:
        kinds: dict[str, str] = {}
        stages: dict[str, str] = {}
        wires: dict[str, list[tuple[str, str]]] = {}
        for stage in topology.stages:
            if any(i.source for i in stage.inputs):
                continue
            for entry in (i for i in stage.inputs if not i.back):  # those stand where their rows leave
                kinds.setdefault(entry.node, "trigger")
                stages.setdefault(entry.node, stage.id)
            for node in stage.nodes:
                kinds[node.id], stages[node.id] = node.kind, stage.id
                for feeding in node.wires.values():
                    for wire in feeding:
                        wires.setdefault(wire.node, []).append((wire.port, node.id))
        return cls(kinds, stages, {n: tuple(dict.fromkeys(w)) for n, w in wires.items()})

    def behind(self, nodes: Mapping[str, object]) -> Sequence[str]:
        """These nodes and all that rows may come to from them."""
        reached = set(nodes)
        waiting = list(nodes)
        while waiting:
            for _, fed in self.wires.get(waiting.pop(), ()):
                if fed not in reached:
                    reached.add(fed)
                    waiting.append(fed)
        return [node for node in self.kinds if node in reached]
