"""Names every topic, says how it is made and why it exists.

Record timestamps are event times, so no topic that we make may let records go by their age, or refuse them for it,
unless the workflow says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from streamflow.codecs import CodecSpec
from streamflow.compiler import names
from streamflow.compiler.codes import FEEDBACK, TOPIC_COLLISION, TOPIC_ENCODINGS, TOPIC_NAME
from streamflow.compiler.envelope import Envelopes, has_deletions
from streamflow.compiler.fuse import Groups
from streamflow.compiler.graph import RECORDS_PORT, GraphNode, TypedGraph
from streamflow.compiler.races import races
from streamflow.model.again import AGAIN
from streamflow.model.dead_letter import DEAD_LETTER
from streamflow.model.types import BYTES, Field, Schema, Type
from streamflow.nodes.checkpointing import Checkpoint
from streamflow.nodes.gather import GatherSend
from streamflow.operators.control import CONTROL
from streamflow.sdk.node import Repartitions, TopicRead, TopicWrite
from streamflow.sdk.places import Diagnostic
from streamflow.topology.envelopes import EXECUTION
from streamflow.topology.plan import EnvelopeField, TopicPlan
from streamflow.workflow.model import WorkflowPolicies

_LONG_MAX: Final = str(2**63 - 1)
_EVENT_TIME: Final = {
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": _LONG_MAX,
    "message.timestamp.after.max.ms": _LONG_MAX,
}
KEPT: Final[Mapping[str, str]] = MappingProxyType(
    {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"} | _EVENT_TIME
)
COMPACTED: Final[Mapping[str, str]] = MappingProxyType({"cleanup.policy": "compact"} | _EVENT_TIME)
_BYTES: Final = CodecSpec(format="bytes", schema=BYTES)


@dataclass
class _Namer:
    workflow: str
    typed: TypedGraph
    groups: Groups
    envelopes: Envelopes
    partitions_default: int

    def __post_init__(self) -> None:
        self.topics: dict[str, TopicPlan] = {}
        self.makers: dict[str, GraphNode | None] = {}
        self.findings: list[Diagnostic] = []

    def add(self, topic: TopicPlan, maker: GraphNode | None, param: str = "") -> None:
        """Take in a topic; `maker` is the node that asks for it, None the workflow as a whole."""
        if wrong := names.why_illegal(topic.name):
            self._report(maker, param, TOPIC_NAME, f"{topic.name!r} cannot name a topic: {wrong}.")
            return
        other = self.topics.get(topic.name)
        if other is None:
            self.topics[topic.name], self.makers[topic.name] = topic, maker
        elif {other.kind, topic.kind} <= {"source", "sink"} or other.kind == topic.kind == "checkpoints":
            self._shared(other, topic, maker, param)
        else:
            self._report(
                maker or self.makers[topic.name],
                param,
                TOPIC_COLLISION,
                f"topic {topic.name!r} would be both {_spell(other)} and {_spell(topic)}.",
                "Rename the topic, or the node.",
            )

    def _shared(self, other: TopicPlan, topic: TopicPlan, maker: GraphNode | None, param: str) -> None:
        """Several nodes read or write one user topic: they must agree on its records."""
        if {other.kind, topic.kind} == {"source", "sink"}:
            self._report(
                maker,
                param,
                FEEDBACK,
                f"topic {topic.name!r} is both read and written: what is written starts executions again.",
                "Write to another topic unless this is meant, and ends.",
                warning=True,
            )
        mixed = (other.codec.format, other.codec.framing) != (topic.codec.format, topic.codec.framing)
        # Bare Avro names no schema: two on one topic cannot be told apart.
        bare = topic.codec.format == "avro" and topic.codec.framing == "raw" and other.kind == topic.kind == "sink"
        if mixed or (bare and other.codec.schema != topic.codec.schema):
            mine, theirs = self._node_of(maker), self._node_of(self.makers[topic.name])
            what = "encoded in two ways" if mixed else "written with two schemas that no record names"
            self._report(
                maker,
                param,
                TOPIC_ENCODINGS,
                f"topic {topic.name!r} is {what}, by {theirs} and {mine}.",
                "Use one format, framing and schema, or framing: confluent, or another topic.",
            )
            return
        partitions = other.partitions if topic.partitions is None else topic.partitions
        why = other.why if topic.why in other.why else f"{other.why} {topic.why}"
        self.topics[topic.name] = replace(other, partitions=partitions, why=why)

    def _report(
        self, node: GraphNode | None, param: str, code: str, message: str, mend: str = "", *, warning: bool = False
    ) -> None:
        place = node.place_of(param) if node else next(iter(self.typed.graph.nodes.values())).place
        self.findings.append(
            Diagnostic(place=place, code=code, message=message, mend=mend, severity="warning" if warning else "error")
        )

    def _node_of(self, node: GraphNode | None) -> str:
        return repr(node.id) if node else "the workflow"

    def user_topics(self) -> None:
        for node_id, types in self.typed.types.items():
            node = self.typed.graph.nodes[node_id]
            own = names.dead_letter_topic(self.workflow)
            made = types.read is not None and types.read.topic == own and not node.is_written
            if types.read is not None and not types.read.aside and not made:
                read = types.read
                partitions = getattr(node.node, "partitions", None)
                self.add(
                    TopicPlan(
                        name=read.topic,
                        kind="source",
                        codec=user_codec(read, types.avro),
                        why=f"Trigger {node_id!r} reads it.",
                        partitions=partitions if isinstance(partitions, int) else None,
                        config=KEPT,
                    ),
                    node,
                    "topic",
                )
            if types.write is not None:
                write = types.write
                self.add(
                    TopicPlan(
                        name=write.topic,
                        kind="checkpoints" if node.kind == Checkpoint.spec.kind else "sink",
                        codec=user_codec(write, types.avro),
                        why=f"Node {node_id!r} writes it.",
                        partitions=write.partitions,
                        config={**KEPT, **write.config},
                    ),
                    node,
                    "topic",
                )

    def internal_topics(self) -> None:
        graph = self.typed.graph
        for group in self.groups.stages:
            if group.source:
                trigger = graph.nodes[group.inputs[0]]
                self.add(self._trigger(trigger), trigger)
            for node_id in group.nodes:
                node = graph.nodes[node_id]
                if node.repartitions and self.groups.reader_of(node_id) is not None:
                    self.add(self._repartition(node), node)
                for store in node.stores(self.typed.types[node_id].extent):
                    self.add(
                        TopicPlan(
                            name=names.changelog_topic(self.workflow, node_id, store.name),
                            kind="changelog",
                            codec=_BYTES,
                            why=f"Keeps store {store.name!r} of node {node_id!r}: another worker restores it.",
                            config=COMPACTED,
                        ),
                        node,
                    )

    def handled(self, policies: WorkflowPolicies) -> None:
        """Where errors are told that a policy handles, if they are."""
        if policies.error_workflow is None or not policies.error_workflow.also:
            return
        self.add(
            TopicPlan(
                name=names.errors_topic(self.workflow),
                kind="errors",
                codec=CodecSpec(format="avro", framing="raw", schema=DEAD_LETTER),
                why=f"Errors that were handled ({', '.join(policies.error_workflow.also)}), for the error workflow.",
                partitions=1,
                config=KEPT,
            ),
            None,
        )

    def bookkeeping(self) -> None:
        self.add(
            TopicPlan(
                name=names.dead_letter_topic(self.workflow),
                kind="dead_letter",
                codec=CodecSpec(format="avro", framing="raw", schema=DEAD_LETTER),
                why="Items that failed, with their original bytes, until they are redriven.",
                partitions=1,
                config=KEPT,
            ),
            None,
        )
        for group in self.groups.stages:
            head = self.typed.graph.nodes[group.inputs[0]]
            self.add(
                TopicPlan(
                    name=names.ledger_topic(self.workflow, group.id),
                    kind="ledger",
                    codec=_BYTES,
                    why=f"What became of the rows of stage {group.id!r}, by commit, for `audit` (schemas/ledger.avsc).",
                    config=KEPT,
                ),
                head,
            )
            self.add(
                TopicPlan(
                    name=names.journal_topic(self.workflow, group.id),
                    kind="journal",
                    codec=_BYTES,
                    why=f"What stage {group.id!r} read, and in which order, for replays (schemas/journal.avsc).",
                    config=KEPT,
                ),
                head,
            )

    def history(self, policies: WorkflowPolicies) -> None:
        """Where executions leave their records, if they do."""
        if policies.executions == "none":
            if races(self.typed.graph):
                self._control("Which branches have lost, so that they stop (schemas/control.avsc).")
            return
        which = "all executions" if policies.executions == "all" else "executions with a failure"
        kept_ms = str(policies.executions_kept_ms or -1)
        self.add(
            TopicPlan(
                name=names.executions_topic(self.workflow),
                kind="executions",
                codec=CodecSpec(format="avro", framing="raw", schema=EXECUTION),
                why=f"What became of {which}, by stage and step, for `executions` (schemas/execution.avsc).",
                partitions=1 if self._is_read_aside() else policies.partitions,
                config={**KEPT, "retention.ms": kept_ms},
            ),
            None,
        )
        self._control("Orders to executions, such as `executions cancel` gives them (schemas/control.avsc).")

    def _control(self, why: str) -> None:
        self.add(
            TopicPlan(
                name=names.control_topic(self.workflow),
                kind="control",
                codec=CodecSpec(format="avro", framing="raw", schema=CONTROL, name=CONTROL.name),
                why=why,
                partitions=1,  # each task reads all of it, in one order
                config=KEPT,
            ),
            None,
        )

    def again(self, policies: WorkflowPolicies) -> None:
        """Where items are that are given again, if they can be."""
        if policies.recovers:
            self.add(
                TopicPlan(
                    name=names.again_topic(self.workflow),
                    kind="again",
                    codec=CodecSpec(format="avro", framing="raw", schema=AGAIN),
                    why="Items that are given to the workflow again, by `executions retry` and its like.",
                    config=KEPT,
                ),
                None,
            )

    def _is_read_aside(self) -> bool:
        """Whether a task of the workflow itself hears of executions: of all of them."""
        return any(types.read is not None and types.read.aside for types in self.typed.types.values())

    def _trigger(self, trigger: GraphNode) -> TopicPlan:
        return TopicPlan(
            name=names.trigger_topic(self.workflow, trigger.id),
            kind="trigger",
            codec=self._item_codec(trigger.id, "out"),
            why=f"Trigger {trigger.id!r} is no topic: its items are committed here before anything acts on them.",
            partitions=1,  # keeps the order of the source
            config=KEPT,
            envelope=self.envelopes.carried.get(trigger.id, ()),
        )

    def _repartition(self, node: GraphNode) -> TopicPlan:
        assert isinstance(node.node, Repartitions)
        wanted, loop = node.node.spread_over(), self.typed.graph.returning.get(node.id, "")
        home = next(g for g in self.groups.stages if node.id in g.nodes)
        if wanted is None and not loop and all(self.typed.graph.nodes[i].reads_source for i in home.inputs):
            wanted = self.partitions_default  # the stage before has one task: spreading is the point
        key = getattr(node.node, "key", None)
        by = f" by {key.text}" if key is not None else ""
        return TopicPlan(
            name=names.repartition_topic(self.workflow, node.id),
            kind="repartition",
            codec=self._item_codec(node.id, RECORDS_PORT),
            why=f"Rows that have been round come back to loop {loop!r} here: each round is committed by itself."
            if loop
            else _gathered(node) or f"Rows change partition{by} here: what belongs together meets in one task.",
            partitions=wanted,
            config=KEPT,
            envelope=self.envelopes.carried[node.id],
        )

    def _item_codec(self, node: str, port: str) -> CodecSpec:
        schema = self.typed.types[node].outputs[port]
        name = names.item_record(self.workflow, node)
        if has_deletions(self.typed.graph, node):
            schema = replace(schema, fields=tuple(replace(f, type=f.type.optional()) for f in schema.fields))
        return CodecSpec(
            format="avro", framing="raw", schema=item_schema(schema, self.envelopes.carried.get(node, ()), name)
        )


def _gathered(node: GraphNode) -> str:
    """Why rows come together by execution."""
    why = node.node.why if isinstance(node.node, GatherSend) else ""
    return f"{why[:1].upper()}{why[1:]}: all of an execution meet in one task." if why else ""


def user_codec(topic: TopicRead | TopicWrite, avro: str) -> CodecSpec:
    """How records of a user's topic are written. The subject is Confluent's usual one."""
    return CodecSpec(
        format=topic.format,
        framing=topic.framing,
        schema=topic.schema,
        name=topic.schema.name,
        subject=f"{topic.topic}-value" if topic.framing == "confluent" else "",
        avro=avro,
    )


def item_schema(item: Schema, envelope: tuple[EnvelopeField, ...], name: str) -> Schema:
    """The record on an internal topic: payload fields inline, then what the envelope carries."""
    payload = item.fields if item.kind == "record" else ()
    carried = tuple(Field(name=e.field, type=e.type) for e in envelope)
    return Type(kind="record", name=name, fields=(*payload, *carried), doc=item.doc)


def name_topics(
    workflow: str, typed: TypedGraph, groups: Groups, envelopes: Envelopes, *, policies: WorkflowPolicies
) -> tuple[Mapping[str, TopicPlan], list[Diagnostic]]:
    """All topics by name: what users named first, then what the topology makes for itself."""
    namer = _Namer(workflow, typed, groups, envelopes, policies.partitions)
    namer.user_topics()
    namer.internal_topics()
    namer.bookkeeping()
    namer.handled(policies)
    namer.history(policies)
    namer.again(policies)
    return namer.topics, namer.findings


def _spell(topic: TopicPlan) -> str:
    words = {
        "source": "a topic that is read",
        "sink": "a topic that is written",
        "dead_letter": "the dead letter topic",
        "errors": "the topic of handled errors",
        "executions": "the topic of executions",
        "control": "the topic of orders to executions",
        "checkpoints": "the topic of checkpoints",
        "again": "the topic of items that are given again",
        "trigger": "a trigger's own topic",
        "repartition": "a repartition topic",
    }
    return words.get(topic.kind, f"a {topic.kind} topic")
