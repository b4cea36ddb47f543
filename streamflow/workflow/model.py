"""The workflow document: what a user wrote, as plain frozen data with places.

The YAML loader and the Python builder both make it; `validate` checks it against the node kinds; the compiler reads it.
Ports that were not written are "" until `ports.resolve` fills them in from the nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamflow.model.policies import (
    BreakerPolicy,
    ErrorPolicy,
    ErrorWorkflow,
    Executions,
    OnCancel,
    OnError,
    RecoverPolicy,
    Recovery,
    RetryPolicy,
    RunPolicy,
)
from streamflow.nodes.slots import Slots
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import ConnectionType
from streamflow.sdk.params import RawParams
from streamflow.sdk.places import Place

ERROR_PORT = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What tools show about a node; nothing runs by it."""

    version: str = ""
    category: str = ""
    description: str = ""
    icon: str = ""
    color: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEntry:
    """A node as written. `params` are not yet typed: `validate` builds the node."""

    id: str
    type: str
    params: RawParams = field(default_factory=RawParams)
    name: str = ""  # for people; "" shows the id
    credentials: Mapping[str, str] = field(default_factory=dict)  # purpose -> credential id
    disabled: bool = False  # passes its input through
    notes: str = ""
    position: tuple[float, float] | None = None  # on the canvas
    metadata: Metadata = field(default_factory=Metadata)
    on_error: OnError | None = None  # None: see `WorkflowDocument.error_policy`
    fallback: str = ""  # id of the node that takes failed items; on_error is then error_port
    value: Mapping[str, object] | None = None  # what takes the place of a failed item; on_error is then pass
    breaker: BreakerPolicy | None = None
    retry: RetryPolicy | None = None  # None: the workflow's
    retry_when: Expression | None = None  # its condition, with its place
    compensate: str = ""  # id of the node that undoes what this one did
    compensate_when: Expression | None = None
    place: Place = field(default_factory=Place)  # of its id
    type_place: Place = field(default_factory=Place)
    policy_place: Place = field(default_factory=Place)  # of on_error


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A wire. `index` (the source's n-th output port, from 0) counts only where `source_port` is not written."""

    source: str
    target: str
    source_port: str = ""
    target_port: str = ""
    type: ConnectionType = "main"
    index: int | None = None
    condition: Expression | None = None  # only items for which it is true flow
    label: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)
    place: Place = field(default_factory=Place)  # of the source
    target_place: Place = field(default_factory=Place)

    def __str__(self) -> str:
        source = f"{self.source}.{self.source_port}" if self.source_port else self.source
        return f"{source} -> {self.target}{'.' + self.target_port if self.target_port else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPolicy:
    """Which items are recorded, so that their executions can be rolled back: those that come to some nodes."""

    nodes: tuple[str, ...]
    interval_ms: int | None = None  # at most one of an execution in this time
    keep_ms: int = 0  # how long records are kept; 0: always
    when: Expression | None = None  # only items for which this is true are rolled back to
    rollbacks_max: int = 3  # of an execution, to each node


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowPolicies:
    """Defaults for all nodes, and how tasks run."""

    on_error: OnError = "dead_letter"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    retry_when: Expression | None = None  # its condition, with its place
    run: RunPolicy = field(default_factory=RunPolicy)
    executions: Executions = "none"  # which executions leave a record
    executions_kept_ms: int = 0  # how long such a record is kept; 0: always
    timeout_ms: int = 0  # how long an execution may take; 0: as long as it does
    on_cancel: OnCancel | None = None  # whether steps of executions that are ended are undone; None: where they can be
    samples: int = 0  # items of each port that such a record holds
    redact: tuple[str, ...] = ()  # fields that samples do not show
    recovery: Recovery = "none"
    recover: RecoverPolicy | None = None
    checkpoints: CheckpointPolicy | None = None
    partitions: int = 4  # of user topics that have to be created
    slots: Slots | None = None  # what `concurrency` and `rate` ask for behind the trigger
    error_workflow: ErrorWorkflow | None = None  # hears of what fails
    environment: str = ""  # which one holds, where none is asked for
    context: Mapping[str, str] = field(default_factory=dict)  # user, session, trace -> the header that tells it
    notify: Mapping[str, object] | None = None  # parameters of the node that tells people of dead letters
    places: Mapping[str, Place] = field(default_factory=dict, compare=False)  # by key, where it was written

    @property
    def recovers(self) -> bool:
        """Whether executions can be recovered: what fails is kept as it was, and can be given again."""
        return self.recovery != "none" or self.recover is not None or self.checkpoints is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class TestCase:
    """Input items per trigger node and the items expected per `node` or `node.port`."""

    __test__ = False  # not a pytest class

    name: str
    input: Mapping[str, tuple[object, ...]]
    expect: Mapping[str, tuple[object, ...]]
    place: Place = field(default_factory=Place)
    places: Mapping[tuple[str | int, ...], Place] = field(default_factory=dict)  # ("input"|"expect", key[, index])


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDocument:
    """A whole workflow as written."""

    name: str  # its id: names topics, groups and stores
    nodes: tuple[NodeEntry, ...] = ()
    connections: tuple[Connection, ...] = ()
    description: str = ""
    version: str = ""
    policies: WorkflowPolicies = field(default_factory=WorkflowPolicies)
    vars: Mapping[str, object] = field(default_factory=dict)
    environments: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # name -> vars that differ there
    environment: str = ""  # the one that is asked for; "": see the policies
    registry: str = ""  # folder or URL of the schema registry; "" is `schemas` beside the workflow
    tests: tuple[TestCase, ...] = ()
    base_folder: str = ""  # relative paths of parameters start here
    source: str = ""  # the file, or "" when built in memory
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)  # `python:<id>` -> function
    place: Place = field(default_factory=Place)
    incomplete: bool = False  # nodes or connections were left out because they are faulty (reported by the loader)

    def node(self, node_id: str) -> NodeEntry | None:
        """The first node of that id."""
        return next((n for n in self.nodes if n.id == node_id), None)

    def error_policy(self, entry: NodeEntry) -> ErrorPolicy:
        """What happens to items that fail in a node: what it says, else its error port if wired, else the default."""
        wired = any(c.source == entry.id and c.source_port == ERROR_PORT for c in self.connections)
        on_error = entry.on_error or ("error_port" if wired else self.policies.on_error)
        return ErrorPolicy(
            on_error=on_error,
            fallback=entry.fallback,
            value=entry.value,
            breaker=entry.breaker,
            retry=entry.retry or self.policies.retry,
        )

    def retry_condition(self, entry: NodeEntry) -> Expression | None:
        """Which failed items are tried again, where that depends on them."""
        return entry.retry_when if entry.retry is not None else self.policies.retry_when
