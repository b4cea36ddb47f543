"""Last pass: puts what the others found into the frozen plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from streamflow.compiler import names
from streamflow.compiler.envelope import Envelopes, has_deletions
from streamflow.compiler.fuse import Group, Groups
from streamflow.compiler.graph import RECORDS_PORT, GraphNode, TypedGraph
from streamflow.compiler.name_topics import user_codec
from streamflow.compiler.notify import HEARS
from streamflow.compiler.partition import lying_alike
from streamflow.compiler.races import plans
from streamflow.model.policies import Executions, Handled
from streamflow.model.types import Schema
from streamflow.nodes.gather import GatherSend
from streamflow.nodes.slots import HoldSlots
from streamflow.sdk.node import Node, Store
from streamflow.sdk.params import to_json
from streamflow.topology.plan import (
    FeedPlan,
    InputPlan,
    NodePlan,
    PartitionBy,
    RacePlan,
    SinkPlan,
    StagePlan,
    StorePlan,
    TablePlan,
    TopicPlan,
    Topology,
    Wire,
)
from streamflow.workflow import WorkflowDocument
from streamflow.workflow.model import WorkflowPolicies


def assemble(
    document: WorkflowDocument,
    typed: TypedGraph,
    groups: Groups,
    envelopes: Envelopes,
    *,
    topics: Mapping[str, TopicPlan],
    schemas: Mapping[str, Schema],
    feeds: Mapping[str, tuple[FeedPlan, ...]],
) -> Topology:
    """The topology of a workflow without errors."""
    raced = plans(typed.graph, groups)
    maker = _Assembler(document.name, typed, groups, envelopes, topics, document.policies, feeds, raced)
    return Topology(
        workflow=document.name,
        stages=tuple(maker.stage(g) for g in groups.stages),
        topics=tuple(topics.values()),
        run=document.policies.run,
        recover=document.policies.recover,
        vars=dict(document.vars),
        base_folder=document.base_folder,
        partitions_default=document.policies.partitions,
        registry=document.registry,
        schemas=dict(sorted(schemas.items())),
    )


@dataclass(frozen=True)
class _Assembler:
    workflow: str
    typed: TypedGraph
    groups: Groups
    envelopes: Envelopes
    topics: Mapping[str, TopicPlan]
    policies: WorkflowPolicies
    feeds: Mapping[str, tuple[FeedPlan, ...]]
    races: Mapping[str, tuple[RacePlan, ...]]

    def stage(self, group: Group) -> StagePlan:
        if group.source:
            (trigger,) = group.inputs
            inputs: tuple[InputPlan, ...] = (self._source(trigger),)
            nodes: tuple[NodePlan, ...] = (replace(self._node(trigger), keep=()),)
            sinks: tuple[SinkPlan, ...] = (self._trigger_sink(trigger),)
        else:
            inputs = tuple(self._input(i) for i in group.inputs)
            nodes = tuple(self._node(n) for n in group.nodes)
            # A trigger that gives its items another key breaks with the partitions of its topic, as a gather does.
            rekeyed = any(i.key or isinstance(self._graph_node(i.node).node, GatherSend) for i in inputs)
            sinks = tuple(s for n in group.nodes if (s := self._sink(n, rekeyed=rekeyed)) is not None)
        # What reads a source knows no executions yet: they begin where its items have a place on a topic.
        # And dead letters tell of executions; to tell people of them is none.
        untold = group.source or group.inputs == (HEARS,)
        tracked: Executions = "none" if untold else self.policies.executions
        racing = any(self.races.values())
        return StagePlan(
            id=group.id,
            inputs=inputs,
            nodes=nodes,
            sinks=sinks,
            stores=tuple(
                StorePlan(node=n, name=s.name, changelog=names.changelog_topic(self.workflow, n, s.name))
                for n in group.nodes
                for s in self._stores(n)
            ),
            together=self._together(group, inputs),
            tables=tuple(self._table(t) for t in dict.fromkeys(self._tables(group))),
            needs=self.envelopes.needs[group.id],
            dead_letter=names.dead_letter_topic(self.workflow),
            errors=names.errors_topic(self.workflow) if self._also_told() else "",
            also_told=self._also_told(),
            ledger=names.ledger_topic(self.workflow, group.id),
            journal=names.journal_topic(self.workflow, group.id),
            feeds=tuple(replace(f, topic=self._internal_topic(f.node).name) for f in self.feeds[group.id]),
            executions=names.executions_topic(self.workflow) if tracked != "none" else "",
            races=self.races[group.id],
            control=names.control_topic(self.workflow) if tracked != "none" or (racing and not untold) else "",
            tracked=tracked,
            samples=self.policies.samples if tracked != "none" else 0,
            redact=self.policies.redact if tracked != "none" else (),
            again=names.again_topic(self.workflow) if self.policies.recovers and not group.source else "",
        )

    def _also_told(self) -> tuple[Handled, ...]:
        wanted = self.policies.error_workflow
        return () if wanted is None else wanted.also

    def _together(self, group: Group, inputs: Sequence[InputPlan]) -> tuple[str, ...]:
        """Topics that meet by key where they lie."""
        graph = self.typed.graph
        triggers = {t for n in group.nodes for t in lying_alike(graph, graph.nodes[n])}
        return tuple(sorted(i.topic for i in inputs if i.node in triggers))

    def _graph_node(self, node: str) -> GraphNode:
        return self.typed.graph.nodes[node]

    def _stores(self, node: str) -> tuple[Store, ...]:
        return self._graph_node(node).stores(self.typed.types[node].extent)

    def _source(self, node: str) -> InputPlan:
        """A trigger that is no topic: its stage runs it, so it is a node of that stage as well."""
        trigger, types = self._graph_node(node), self.typed.types[node]
        return InputPlan(
            node=node, source=True, schema=types.outputs["out"], extent=types.extent, errors=trigger.errors
        )

    def _input(self, node: str) -> InputPlan:
        entry, types = self._graph_node(node), self.typed.types[node]
        keep = self.envelopes.keep.get(node, ())
        if types.read is not None:
            read = types.read
            if read.aside:
                return InputPlan(
                    node=node, topic=read.topic, schema=read.schema, codec=self.topics[read.topic].codec, aside=True
                )
            return InputPlan(
                node=node,
                topic=read.topic,
                schema=read.schema,
                codec=user_codec(read, types.avro),
                key=read.key.text if read.key else "",
                time=read.time.text if read.time else "",
                by_clock=read.by_clock,
                disorder_ms=read.disorder_ms,
                idle_after_ms=read.idle_after_ms,
                extent=types.extent,
                timeout_ms=self._timeout_ms(entry),
                start=read.start,
                keep=keep,
                gone=types.outputs["gone"] if read.tombstones or self._wired(node, "gone") else None,
                errors=entry.errors,
            )
        topic = self._internal_topic(node)
        return InputPlan(
            node=node,
            topic=topic.name,
            schema=types.outputs["out"],
            codec=topic.codec,
            envelope=topic.envelope,
            disorder_ms=getattr(entry.node, "disorder_ms", 0) if entry.reads_source else 0,
            extent=types.extent,
            back=node in self.typed.graph.returning,
            timeout_ms=self._timeout_ms(entry) if entry.reads_source else 0,
            internal=True,
            keep=keep,
            gone=types.outputs["gone"] if has_deletions(self.typed.graph, node) else None,
            errors=entry.errors,
        )

    def _timeout_ms(self, trigger: GraphNode) -> int:
        """How long executions may take that items of a trigger begin."""
        return self.policies.timeout_ms if trigger.node.starts_executions() else 0

    def _tables(self, group: Group) -> list[str]:
        """Global tables that nodes of a stage look into."""
        references = self.typed.graph.references
        return [references[n] for n in group.nodes if n in references]

    def _table(self, table: str) -> TablePlan:
        trigger = self.typed.graph.into(table)[0].source
        node = replace(self._node(table), keep=())
        return TablePlan(input=self._input(trigger), node=node, needs=self.envelopes.needs[table])

    def _wired(self, node: str, port: str) -> bool:
        return any(e.port == port for e in self.typed.graph.out_of(node))

    def _node(self, node_id: str) -> NodePlan:
        node, types = self._graph_node(node_id), self.typed.types[node_id]
        wires: dict[str, list[Wire]] = {}
        for edge in (*self.typed.graph.into(node_id), *self.typed.graph.back_to(node_id)):
            wires.setdefault(edge.target_port, []).append(Wire(node=edge.source, port=edge.port))
        ports = [p.name for p in node.node.input_ports() if p.name in wires]
        ordered = [*ports, *(p for p in wires if p not in ports)]
        return NodePlan(
            id=node_id,
            kind=node.kind,
            params=to_json(self._knowing(node)),
            inputs={p: types.inputs[p] for p in (*ordered, *(p for p in types.inputs if p not in ordered))},
            outputs={
                port: schema
                for port, schema in types.outputs.items()
                if port != "gone" or not node.repartitions or has_deletions(self.typed.graph, node_id)
            },
            wires={p: tuple(wires[p]) for p in ordered},
            errors=node.errors,
            # What a repartition keeps is taken where its rows enter the next stage.
            keep=() if node.repartitions else self.envelopes.keep.get(node_id, ()),
            extent=types.extent,
            stores=tuple(s.name for s in self._stores(node_id)),
            loops=types.loops,
            lasting=node.lasting,
            remembered=types.remembered,
            undone=node.undone,
            table=self.typed.graph.references.get(node_id, ""),
        )

    def _knowing(self, node: GraphNode) -> Node:
        """The node, told of stages where it has to know them."""
        if not isinstance(node.node, HoldSlots):
            return node.node
        below = self.typed.graph.descendants(node.id)
        stages = [g for g in self.groups.stages if node.id not in g.nodes and below.intersection(g.nodes)]
        return node.node.knowing([g.id for g in stages])

    def _sink(self, node_id: str, *, rekeyed: bool) -> SinkPlan | None:
        node, types = self._graph_node(node_id), self.typed.types[node_id]
        wire = Wire(node=node_id, port=RECORDS_PORT)
        strategy: PartitionBy | None = getattr(node.node, "partition_by", None)
        if types.write is not None:
            write = types.write
            return SinkPlan(
                kind="publish",
                wire=wire,
                topic=write.topic,
                codec=user_codec(write, types.avro),
                partition_by=strategy
                or ("key" if rekeyed or getattr(node.node, "key", None) is not None else "source"),
            )
        if node.repartitions and self.groups.reader_of(node_id) is not None:
            topic = self._internal_topic(node_id)
            return SinkPlan(
                kind="repartition",
                wire=wire,
                topic=topic.name,
                codec=topic.codec,
                envelope=topic.envelope,
                partition_by="single" if topic.partitions == 1 else strategy or "key",
                watermarks=node_id in self.envelopes.timed,
            )
        return None

    def _trigger_sink(self, node: str) -> SinkPlan:
        topic = self._internal_topic(node)
        return SinkPlan(
            kind="trigger",
            wire=Wire(node=node),
            topic=topic.name,
            codec=topic.codec,
            envelope=topic.envelope,
            partition_by="single",
            watermarks=node in self.envelopes.timed,
        )

    def _internal_topic(self, node: str) -> TopicPlan:
        make = names.repartition_topic if self._graph_node(node).repartitions else names.trigger_topic
        return self.topics[make(self.workflow, node)]
