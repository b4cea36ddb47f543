"""The history of executions in one task: watches each step, and adds its records to what the step writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from streamflow.model.batch import ERROR_CODE, ERROR_MESSAGE, EXECUTION, POSITION
from streamflow.model.positions import TopicPartition
from streamflow.runtime.arrived import Arrived
from streamflow.runtime.emit import batch_bytes_max
from streamflow.runtime.execution_counts import Fate, Ints
from streamflow.runtime.execution_meta import environment_of, headers_of
from streamflow.runtime.execution_records import ExecutionWriter
from streamflow.runtime.execution_tails import Moment
from streamflow.runtime.executions import Watch
from streamflow.runtime.graph import Graph
from streamflow.runtime.seed import Seeder
from streamflow.runtime.stepped import Places, Stepped, ids_of
from streamflow.sdk.log import TopicInfo
from streamflow.topology.plan import InputPlan, StagePlan, Topology


@dataclass
class History:
    """Of a task whose executions leave records. Nothing of a step that is broken off, or that stops, is told."""

    watch: Watch
    writer: ExecutionWriter
    seeders: Mapping[TopicPartition, Seeder]

    @classmethod
    def of(
        cls,
        topology: Topology,
        stage: StagePlan,
        partition: int,
        topics: Mapping[str, TopicInfo],
        graph: Graph,
        seeders: Mapping[TopicPartition, Seeder],
    ) -> History:
        """For a task, and set to watch its graph."""
        kinds = {t.name: t.kind for t in topology.topics}
        triggers = frozenset(i.node for i in stage.inputs if kinds.get(i.topic) != "repartition" and not i.aside)
        graph.watch = watch = Watch(
            stage, {n.id: graph.operator(n.id) for n in stage.nodes}, triggers, headers_of(topology)
        )
        topic = topics[stage.executions]
        writer = ExecutionWriter(
            stage, partition, triggers=triggers, waits=watch.waits, keeps=watch.keeps, bounded=watch.bounded,
            partitions=topic.partitions, batch_bytes_max=batch_bytes_max(topic), environment=environment_of(topology),
        )  # fmt: skip
        return cls(watch, writer, seeders)

    def begin(self) -> None:
        self.watch.clear()

    def end(self, arrived: Sequence[Arrived], places: Places, now_ms: int, done: Stepped) -> None:
        """The step is done: its records go with what it writes."""
        counts = self.watch.take(lambda rows: self._ids(rows, arrived, places))
        if counts is None or done.stop is not None:
            return
        for to, batches in self.writer.encode(counts, Moment(*places.here, now_ms)).items():
            done.writes.setdefault(to, []).extend(batches)

    def unseeded(self, plan: InputPlan, arrived: Arrived, source: str = "") -> None:
        """Records of a trigger that did not become rows are executions as well, where each item is one. `source`: of
        those, where it is not that of the input.
        """
        failed = arrived.failed
        if plan.node not in self.watch.triggers or plan.extent != "item" or not (arrived.bad or failed):
            return
        source = source or self.seeders[arrived.at].source
        told = [(f"{source}:{bad.offset}", bad.code, bad.message) for bad in arrived.bad]
        if failed is not None:
            rows = failed.frame.select(POSITION, ERROR_CODE, ERROR_MESSAGE).iter_rows()
            told += [(f"{source}:{offset}", code, message) for offset, code, message in rows]
        schema = dict.fromkeys((EXECUTION, ERROR_CODE, ERROR_MESSAGE), pl.String)
        fate: Fate = "continued" if plan.errors.on_error == "continue" else "dead_lettered"
        self.watch.lost(plan.node, fate, pl.DataFrame(told, schema=schema, orient="row"))

    def _ids(self, rows: Ints, arrived: Sequence[Arrived], places: Places) -> pl.Series:
        return ids_of(rows, [self.seeders[one.at].source for one in arrived], places)
