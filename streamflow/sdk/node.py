"""Nodes: what a user places in a workflow. A node class is the one source of its form, its JSON Schema and its
reference page.

A node is a frozen dataclass. Its fields are its parameters, declared with `param`; allowed annotations are `str`,
`int`,
`float`, `bool`, `Literal[...]`, `Expression`, `Template`, `FunctionRef`, `SchemaRef`, `Json`, and `tuple[X, ...]`,
`Mapping[str, X]`,
`X | None` of these, and frozen dataclasses whose fields are declared with `param` (nested forms).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NewType, Protocol, runtime_checkable

from streamflow.model.policies import Extent
from streamflow.model.types import Schema, Type
from streamflow.sdk.expression import Expression, Projection, Scope
from streamflow.sdk.operator import Operator
from streamflow.sdk.places import Place
from streamflow.sdk.source import Source

Category = Literal["trigger", "action", "transform", "condition", "split", "merge", "control", "keyed"]
ConnectionType = Literal["main", "error", "conditional", "loop"]

Json = NewType("Json", object)  # any JSON value, taken as it is
SchemaRef = NewType("SchemaRef", str)  # an .avsc file beside the workflow, or a subject of the registry


@dataclass(frozen=True, slots=True)
class Template:
    """Text with `{{ expression }}` inside; lowers to one expression of type string."""

    text: str
    place: Place = field(default_factory=Place, compare=False)


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """A Python function: `package.module:name`, or `python:<id>` for one handed to the `Workflow` builder."""

    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output of a node."""

    name: str
    help: str = ""
    keyed: bool = False  # input: rows must be partitioned by the node's key; the compiler repartitions where needed
    optional: bool = False  # input: it may be left unconnected
    loop: bool = False  # input: takes what connections of type loop bring back
    beside: str = ""  # keyed input: deletions of what comes by that port, in order with it; only their keys arrive
    aside: bool = False  # input: told to the node about its items; what comes there becomes none, and fails nowhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A state store that the node's operator uses; its changelog is `<workflow>.<node>.<name>.changelog`."""

    name: str
    help: str = ""
    of_rows: bool = True  # keeps something of the rows; what does not may be called again for rows that failed


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """What is true of all nodes of a kind."""

    kind: str
    category: Category
    inputs: tuple[Port, ...] = (Port(name="in"),)
    outputs: tuple[Port, ...] = (Port(name="out"),)
    stores: tuple[Store, ...] = ()
    can_fail: bool = True  # has an error output
    whole_set: bool = False  # acts on whole executions; where that depends on parameters see `acts_on_executions`
    whole_set_mend: str = ""  # what to set so that it acts on an endless stream, such as "`scope: stream`"
    one_to_one: bool = False  # every input row gives exactly one output row or fails (checked by the accounting)
    needs: tuple[str, ...] = ()  # reserved columns that its operator reads
    holds: bool = False  # its operator is `sdk.operator.Holds`
    mixed: bool = False  # takes items of any schemas: where they fit no common one, all are untyped
    icon: str = ""
    example: str = ""  # YAML of one node, shown in the reference and checked


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamSpec:
    """A parameter's documentation and bounds."""

    help: str
    ge: float | None = None
    le: float | None = None
    min_length: int | None = None
    pattern: str | None = None
    multiline: bool = False
    secret: bool = False


_REQUIRED = dataclasses.MISSING


def param(
    *,
    help: str,
    default: Any = _REQUIRED,
    ge: float | None = None,
    le: float | None = None,
    min_length: int | None = None,
    pattern: str | None = None,
    multiline: bool = False,
    secret: bool = False,
) -> Any:
    """Declare a parameter of a node. Without `default` it is required. Integers named `*_ms` also take texts like
    `5s` or `2h`.
    """
    spec = ParamSpec(
        help=help, ge=ge, le=le, min_length=min_length, pattern=pattern, multiline=multiline, secret=secret
    )
    if isinstance(default, dict | list):
        raise TypeError("defaults are immutable: use a tuple or a mapping proxy")
    return field(default=default, metadata={"param": spec})


Schemas = Mapping[str, Schema]


class SchemaContext(Protocol):
    """What a node may ask while the compiler infers schemas. Findings become diagnostics at the parameter's place."""

    @property
    def workflow(self) -> str: ...

    @property
    def node_id(self) -> str: ...

    @property
    def inputs(self) -> Schemas:
        """Schema of each connected input port."""
        ...

    @property
    def extent(self) -> Extent:
        """Extent of the executions that reach this node."""
        ...

    @property
    def vars(self) -> Mapping[str, object]: ...

    @property
    def base_folder(self) -> str:
        """Folder that relative paths of parameters start from: the workflow file's; "" is the current one."""
        ...

    def typeof(
        self,
        expression: Expression,
        *,
        param: str,
        port: str = "in",
        expect: Type | None = None,
        round: Schema | None = None,
    ) -> Type:
        """Type of an expression over the items of `port`; `any` if it is wrong (then reported). `round`: what `loop`
        means there, for a node that is a loop itself.
        """
        ...

    def scope(self, port: str) -> Scope:
        """The names that expressions over the items of a connected `port` may use."""
        ...

    def template(self, template: Template) -> Expression:
        """The expression a template stands for."""
        ...

    def schema(self, ref: SchemaRef, *, param: str) -> Schema | None:
        """Load a schema; None if there is none (then reported)."""
        ...

    def function(self, ref: FunctionRef, *, param: str) -> Callable[..., Any] | None:
        """Load a function; None if there is none (then reported)."""
        ...

    def report(
        self,
        code: str,
        message: str,
        *,
        param: str = "",
        mend: str = "",
        severity: Literal["error", "warning"] = "error",
    ) -> None: ...


class BuildContext(Protocol):
    """What a node may ask when a task builds its operator. The topology was checked: nothing here reports."""

    @property
    def node_id(self) -> str: ...

    @property
    def inputs(self) -> Schemas: ...

    @property
    def outputs(self) -> Schemas: ...

    @property
    def extent(self) -> Extent: ...

    @property
    def vars(self) -> Mapping[str, object]: ...

    @property
    def base_folder(self) -> str:
        """Folder that relative paths of parameters start from: the workflow file's."""
        ...

    @property
    def partition(self) -> int: ...

    @property
    def live(self) -> bool:
        """Whether effects outside the log are wanted: not in a replay, a test, or where only state is read."""
        ...

    @property
    def wired(self) -> frozenset[str]:
        """Output ports that something is connected to."""
        ...

    @property
    def target_partitions(self) -> int:
        """How many partitions the topic has that the node's rows go to; 0 where there is none."""
        ...

    @property
    def kept(self) -> Schemas:
        """Schemas of earlier nodes of which rows may carry fields, in columns `@nodes.<id>.<field>`."""
        ...

    @property
    def remembered(self) -> Mapping[str, Type]:
        """What loops across topics remember of rows here, by column `@loop.<id>.<field>`."""
        ...

    def output_path(self, path: str) -> Path:
        """Where a node writes the file that its parameters call `path`: beside the workflow file; in a replay, which
        may not touch what the first run wrote, in a folder of its own.
        """
        ...

    def projection(
        self,
        expressions: Mapping[str, Expression],
        *,
        port: str = "in",
        expect: Mapping[str, Type] | None = None,
        round: Schema | None = None,
    ) -> Projection:
        """The expressions, compiled over the items of `port`. `round`: as of `SchemaContext.typeof`."""
        ...

    def scope(self, port: str) -> Scope:
        """The names that expressions over the items of `port` may use."""
        ...

    def template(self, template: Template) -> Expression: ...

    def schema(self, ref: SchemaRef) -> Schema: ...

    def function(self, ref: FunctionRef) -> Callable[..., Any]: ...

    def timed(self, function: Callable[..., Any], timeout_ms: int | None) -> Callable[..., Any]:
        """The function with so much time for each call; None: as it is. A call that is not over in time raises
        `sdk.errors.CallLate`, and what it returns later is dropped; the journal tells a replay which those are.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRead:
    """What a trigger that reads a topic directly asks for."""

    topic: str
    format: Literal["avro", "json", "bytes"]
    framing: Literal["raw", "confluent", "single_object"]
    schema: Schema
    key: Expression | None = None  # replaces the record key
    partitioned_by: Expression | None = None  # what producers are said to have partitioned it by
    time: Expression | None = None  # event time; default: the record's timestamp
    by_clock: bool = False  # event time is when a record is read, and goes on without records
    disorder_ms: int = 0  # how far behind the greatest event time so far a record may be and not be late
    idle_after_ms: int | None = None  # without records for so long, event time does not wait for a partition
    start: Literal["earliest", "latest"] = "earliest"
    tombstones: bool = False  # records without value leave by port `gone`, whether something is connected there or not
    aside: bool = False  # a topic of the workflow's own that tells of its executions: `schema` is what is read of it


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicWrite:
    """What a node that ends in a topic asks for."""

    topic: str
    format: Literal["avro", "json", "bytes"]
    framing: Literal["raw", "confluent", "single_object"]
    schema: Schema  # of the records written
    partitions: int | None = None  # when it has to be created; None: as many as the stage's input has
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Nodes that do the work of one, where it needs rows in several partitions. The compiler puts them in its place.

    `nodes`: by name, in the order rows pass them; the one called "" takes the id, and gives what the whole gives.
    `inputs`: port of the whole -> (part, its port). `outputs`: the same of its outputs, where another part than the one
    called "" gives them. `wires`: (part, port, part, port). `failing`: the part by whose
    error port failed rows leave. `apart`: parts whose rows are not those of the whole: what fails there is
    dead-lettered, whatever its policy.
    """

    nodes: Mapping[str, Node]
    inputs: Mapping[str, tuple[str, str]]
    wires: tuple[tuple[str, str, str, str], ...]
    failing: str
    apart: frozenset[str] = frozenset()
    outputs: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class Node:
    """Base of all node kinds. Subclasses are `@dataclass(frozen=True, slots=True, kw_only=True)` with a `spec`."""

    __slots__ = ()
    spec: ClassVar[NodeSpec]

    def input_ports(self) -> tuple[Port, ...]:
        """Input ports of this node; kinds whose ports depend on parameters override it."""
        return self.spec.inputs

    def output_ports(self) -> tuple[Port, ...]:
        """Output ports but for `error`, which every node with `spec.can_fail` has besides."""
        return self.spec.outputs

    def port_key(self, port: str) -> Expression | None:
        """What rows of a keyed input port are partitioned by: parameter `<port>_key` where it is given, else `key`."""
        for name in (f"{port}_key", "key"):
            found = getattr(self, name, None)
            if isinstance(found, Expression):
                return found
        return None

    def parts(self) -> Parts | None:
        """The nodes that it stands for; None for a node that does its work itself."""
        return None

    def is_global(self) -> bool:
        """Whether it is a table that each task which looks into it keeps whole: it takes no part in a stage itself."""
        return False

    def looking_into(self, port: str, table: Node) -> Node | None:
        """The node that takes its place where a global table is connected to `port`; None where the port needs the
        changes of a table, which a global one does not give.
        """
        del port, table
        return None

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        """Stores used where executions have this extent; kinds that need them only sometimes override it."""
        del extent
        return self.spec.stores

    def reserved_columns(self, extent: Extent) -> tuple[str, ...]:
        """Reserved columns that its operator reads; kinds that need them only sometimes override it."""
        del extent
        return self.spec.needs

    def acts_on_executions(self) -> bool:
        """Whether what it makes depends on which rows of an execution it sees together.

        The compiler then sees to it that all of them get here, one by one or at once, and refuses the workflow where
        they do not. Kinds that do so only with some parameters override it.
        """
        return self.spec.whole_set

    def gives_several(self) -> bool:
        """Whether one row may become several rows of its execution on one port. The default expects it of every kind
        that may do more than pass rows on; a kind that never does says so.
        """
        kind = self.spec
        return kind.category in ("split", "transform", "action", "control") and not kind.one_to_one

    def hears_signals(self) -> bool:
        """Whether its items wait for signals, which test cases give under its id."""
        return False

    def signs_for(self) -> str:
        """The node for whose signals it makes tokens; "" for a node that makes none."""
        return ""

    def starts_executions(self) -> bool:
        """Whether what comes from a trigger is a workflow's own items, and not what is told to nodes about theirs."""
        return True

    def makes_new_items(self) -> bool:
        """Whether what it makes stands for no single item that went in: `nodes.<id>` then has no meaning behind it."""
        return self.acts_on_executions()

    def scatters_executions(self) -> bool:
        """Whether rows of an execution may leave it at different times, some even after the execution's end. The
        default expects it of every kind that keeps rows but does not act on executions; a kind that passes them at
        once says so.
        """
        return bool(self.stores("run")) and not self.acts_on_executions()

    def begins_executions(self, port: str) -> bool:
        """Whether what leaves by a port belongs to executions that begin there."""
        del port
        return False

    def held_ports(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Of a kind that keeps rows and lets each go again, once, under the execution that it had, or fails it: the
        ports by which those rows come, and by which they leave. None: it keeps none, or keeps them otherwise.
        """
        return None

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        """Schema of each output port, from those of the inputs. Also the place to check parameters against schemas."""
        raise NotImplementedError

    def operator(self, ctx: BuildContext) -> Operator:
        """The columnar kernel of this node for one task."""
        raise NotImplementedError


@runtime_checkable
class ReadsTopic(Protocol):
    """A trigger whose items are the records of a topic (event)."""

    def topic_read(self, ctx: SchemaContext) -> TopicRead | None: ...


@runtime_checkable
class ReadsSource(Protocol):
    """A trigger that is no topic (file, manual, …): its items are first committed to `<workflow>.<node>.trigger`.

    How far out of order event times may come is its parameter `disorder_ms`, if it has one.
    """

    def trigger_extent(self) -> Extent: ...

    def source(self, ctx: BuildContext) -> Source: ...


@runtime_checkable
class WritesTopic(Protocol):
    """A node whose rows go to a topic (publish). Its operator returns them as output `records`: payload and `@key`."""

    def topic_write(self, ctx: SchemaContext) -> TopicWrite | None: ...


@runtime_checkable
class Repartitions(Protocol):
    """A node after which rows are partitioned anew. Its operator sets `@key`; the compiler puts a topic behind it."""

    def spread_over(self) -> int | None:
        """Into how many partitions; None: as many as there are without it."""
        ...


@runtime_checkable
class Repeats(Protocol):
    """A loop: rows that leave by its port `body` come back by its loop port, until they leave by `done`.

    It remembers in columns `@loop.<id>.<field>` what it needs of them; `loop.<field>` of expressions in its body names
    those of `round_schema`.
    """

    def round_schema(self, ctx: SchemaContext) -> Schema:
        """What `loop` is in the body: a record."""
        ...

    def crosses_topics(self) -> bool:
        """Whether rows come back by a topic, as it was written."""
        ...

    def across(self) -> Node:
        """The same loop, whose rows come back by a topic."""
        ...

    def remembered(self, ctx: SchemaContext) -> Schemas:
        """All that it remembers of a row that goes round across topics, by field."""
        ...


def parameters(kind: type[Node]) -> Sequence[dataclasses.Field[Any]]:
    """The parameter fields of a node class (or of a nested form), in order of declaration."""
    return [f for f in dataclasses.fields(kind) if "param" in f.metadata]  # type: ignore[arg-type]
