"""The plan as plain data. A worker needs nothing else: no workflow document, no Python objects but node classes.

Topology
├── stages: what runs between topics. A task is a stage and a partition.
│   ├── inputs: topics (or one source) read; each stands for a node id whose output the rows are
│   ├── nodes: in topological order, each with the wires that feed its ports; a loop is followed by its body, whose
│   │   last wires lead back to it
│   └── sinks: topics written, each behind the node whose port it drains
└── topics: every topic read or written, with its settings and why it exists
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streamflow.codecs import CodecSpec
from streamflow.model.policies import ErrorPolicy, Executions, Extent, Handled, RecoverPolicy, RunPolicy
from streamflow.model.types import Schema, Type

TopicKind = Literal[
    "source",
    "sink",
    "trigger",
    "repartition",
    "changelog",
    "dead_letter",
    "errors",
    "ledger",
    "journal",
    "executions",
    "control",
    "again",
    "checkpoints",
]
SinkKind = Literal["publish", "repartition", "trigger"]
PartitionBy = Literal["source", "key", "single", "round_robin", "weighted", "random", "least_loaded", "expression"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeField:
    """A reserved column that an internal topic carries as a field of its records."""

    column: str  # such as @offset or @nodes.a.b
    field: str  # its Avro name, such as __offset
    type: Type


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """A topic: what is on it, its settings where we create it, and why it exists (one sentence)."""

    name: str
    kind: TopicKind
    codec: CodecSpec
    why: str
    partitions: int | None = None  # None: as many as the reading or writing stage has tasks
    config: Mapping[str, str] = field(default_factory=dict)  # Kafka's names
    envelope: tuple[EnvelopeField, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPlan:
    """Rows entering a stage; to the stage's nodes they are the output `out` of node `node`."""

    node: str
    topic: str = ""  # read this topic, or …
    source: bool = False  # … run the source of node `node` (a trigger that is no topic); then the stage has one task
    schema: Schema  # of the items
    codec: CodecSpec | None = None
    envelope: tuple[EnvelopeField, ...] = ()
    key: str = ""  # expression that replaces the record key
    time: str = ""  # expression for event time; "" is the record's timestamp
    by_clock: bool = False  # event time is when a record is read, and goes on without records
    disorder_ms: int = 0  # how far behind the greatest event time before it a record may be and not be late
    idle_after_ms: int | None = None  # without records for so long, time does not wait for it; None: it always does
    extent: Extent = "item"
    timeout_ms: int = 0  # an execution that its items begin has so long by the clock; 0: as long as it takes
    start: Literal["earliest", "latest"] = "earliest"
    back: bool = False  # its rows come back to a loop of the stage: event time does not wait for them
    internal: bool = False  # the topic is ours: markers may occur, lineage comes from the envelope
    aside: bool = False  # tells nodes of executions: its records begin none and have no part in event time
    keep: tuple[str, ...] = ()  # fields of the items kept as @nodes.<node>.<field>, as NodePlan.keep
    gone: Schema | None = None  # records without value leave by port `gone`, as items of this one field; None: no item
    errors: ErrorPolicy = field(default_factory=ErrorPolicy)  # for records that do not decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Rows of `port` of `node` flow in."""

    node: str
    port: str = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """One node inside a stage."""

    id: str
    kind: str  # `pass` stands for a disabled node
    params: Mapping[str, object] = field(default_factory=dict)  # plain JSON, as in a document
    inputs: Mapping[str, Schema] = field(default_factory=dict)
    outputs: Mapping[str, Schema] = field(default_factory=dict)  # with `error` where something is wired to it
    wires: Mapping[str, tuple[Wire, ...]] = field(
        default_factory=dict
    )  # input port -> what feeds it, in document order
    errors: ErrorPolicy = field(default_factory=ErrorPolicy)
    keep: tuple[str, ...] = ()  # fields of `out` kept as @nodes.<id>.<field>
    extent: Extent = "item"
    stores: tuple[str, ...] = ()
    loops: Mapping[str, Schema] = field(default_factory=dict)  # in whose bodies it is, innermost first
    lasting: bool = False  # its rows go on when their execution is ended from outside
    remembered: Mapping[str, Type] = field(default_factory=dict)  # by column, of the loops around across topics
    undone: bool = False  # a step: what it did is undone by a compensation
    table: str = ""  # the global table that it looks into: node id of one of the stage's `tables`


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan:
    """A global table: each task of the stage keeps a copy, which it reads from all partitions of a topic."""

    input: InputPlan
    node: NodePlan  # the table, fed by the input
    needs: tuple[str, ...] = ()  # as of a stage


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkPlan:
    """Rows that leave a stage for a topic."""

    kind: SinkKind
    wire: Wire  # for publish and repartition: the node itself, port `records`
    topic: str
    codec: CodecSpec
    envelope: tuple[EnvelopeField, ...] = ()
    partition_by: PartitionBy = "source"
    # source: keep the input's partition where the key is unchanged and counts agree, else by key; what is behind
    # `single` is done by the node itself
    watermarks: bool = False  # a stage behind the topic needs event time: each commit tells its watermark there


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePlan:
    """A state store and its changelog."""

    node: str
    name: str
    changelog: str  # topic


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldPlan:
    """A node that keeps rows for a while: each that comes in by `inputs` leaves once, by one of `outputs` or failed."""

    node: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPlan:
    """What a stage tells a gather of each execution: by how many the rows grew that may still come to it.

    It is told in a record of `topic` behind the rows of the step, in the partition that the execution's rows go to.
    """

    node: str  # whose rows the gather reads
    topic: str
    sends: bool = False  # that node is in this stage
    received: tuple[str, ...] = ()  # nodes whose rows enter by topics on the way to the gather
    sent: tuple[str, ...] = ()  # nodes whose rows go to such topics
    holds: tuple[HoldPlan, ...] = ()  # nodes on the way that keep rows
    parks: tuple[str, ...] = ()  # nodes on the way whose items may be put aside to be tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class RacePlan:
    """By port of the merge behind gather `node`, the nodes at which rows end when another port was first."""

    node: str
    branches: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """What runs between topics. Named by its head node; group and transactional ids come from the name."""

    id: str
    inputs: tuple[InputPlan, ...]
    nodes: tuple[NodePlan, ...] = ()
    sinks: tuple[SinkPlan, ...] = ()
    stores: tuple[StorePlan, ...] = ()
    together: tuple[str, ...] = ()  # topics of users that meet by key where they lie: of equally many partitions
    tables: tuple[TablePlan, ...] = ()  # that its nodes look into
    needs: tuple[str, ...] = ()  # reserved columns to make at the source, besides @row
    dead_letter: str = ""  # topics
    errors: str = ""  # only where `also_told` names something
    also_told: tuple[Handled, ...] = ()  # policies that handle items of which that topic tells
    ledger: str = ""
    journal: str = ""
    feeds: tuple[FeedPlan, ...] = ()  # gathers that its rows are on the way to
    races: tuple[RacePlan, ...] = ()  # that are decided here
    executions: str = ""  # only where `tracked` is not none
    control: str = ""  # the same, or where branches race: orders to executions, all of which each task has
    tracked: Executions = "none"  # which executions leave a record
    samples: int = 0  # items of each port that such a record holds
    redact: tuple[str, ...] = ()  # fields that they do not show
    again: str = ""  # topic of items that are given again; only where executions can be recovered

    @property
    def timed(self) -> bool:
        """Whether its tasks keep event time: for their own nodes, or for stages behind them."""
        return "@wm" in self.needs or any(sink.watermarks for sink in self.sinks)

    def group(self, workflow: str) -> str:
        return f"{workflow}.{self.id}"

    def is_group(self, workflow: str, name: str) -> bool:
        """Whether a group is that of this stage's tasks, or of their standbys."""
        stem = f"{self.group(workflow)}.standby-"
        return name == self.group(workflow) or (name.startswith(stem) and name.removeprefix(stem).isdecimal())

    def standby_group(self, workflow: str, number: int) -> str:
        """The group that keeps how far standby `number` of each of its tasks has read the changelogs."""
        return f"{self.group(workflow)}.standby-{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A compiled workflow."""

    workflow: str
    stages: tuple[StagePlan, ...]
    topics: tuple[TopicPlan, ...]
    run: RunPolicy = field(default_factory=RunPolicy)
    vars: Mapping[str, object] = field(default_factory=dict)
    base_folder: str = ""
    recover: RecoverPolicy | None = None  # what workers do for executions that failed
    partitions_default: int = 4  # of user topics that have to be created
    registry: str = ""  # folder or URL of the schema registry; "" is `schemas` beside the workflow
    schemas: Mapping[str, Schema] = field(
        default_factory=dict
    )  # what the nodes' SchemaRefs name, resolved when compiled

    def topic(self, name: str) -> TopicPlan:
        return next(t for t in self.topics if t.name == name)

    def stage(self, stage_id: str) -> StagePlan:
        return next(s for s in self.stages if s.id == stage_id)
