"""What passes hand to each other: the workflow as a graph of built nodes, before anything is said about topics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from streamflow.model.policies import ErrorPolicy, Extent
from streamflow.model.types import Schema, Type
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import (
    Node,
    Port,
    ReadsSource,
    ReadsTopic,
    Repartitions,
    Store,
    TopicRead,
    TopicWrite,
    WritesTopic,
)
from streamflow.sdk.params import RawParams
from streamflow.sdk.places import Place
from streamflow.topology.failures import ENDED_PORT, ONWARD_PORT, guard_stores

_PATH = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
ERROR_PORT = "error"
FAILED_PORTS = (ERROR_PORT, ONWARD_PORT, ENDED_PORT)  # by which items leave as they came in
BODY_PORT, DONE_PORT = "body", "done"  # of a loop
RECORDS_PORT = "records"  # what a publish or repartition node hands to its sink


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """A node that was built: its parameters are of the right types, nothing else is known."""

    id: str
    kind: str
    node: Node
    raw: RawParams  # as written: where each parameter stands
    errors: ErrorPolicy = field(default_factory=ErrorPolicy)
    says_retry: bool = False  # itself, not only the policies of the workflow
    retry_when: Expression | None = None  # the condition of its retries, with its place
    policy_place: Place = field(default_factory=Place)  # of what it says of errors
    lasting: bool = False  # its rows go on when their execution is ended from outside
    undone: bool = False  # a step: what it did is undone by a compensation
    inside: str = ""  # what ids have before those that were written: `priced.` in sub-flow `priced`

    @property
    def place(self) -> Place:
        return self.raw.place

    @property
    def is_written(self) -> bool:
        """Whether a user wrote it; ids of nodes that the compiler puts in hold a dot, or one more
        than the sub-flow that they are in.
        """
        return "." not in self.id.removeprefix(self.inside)

    @property
    def is_trigger(self) -> bool:
        return self.node.spec.category == "trigger"

    @property
    def reads_topic(self) -> bool:
        return isinstance(self.node, ReadsTopic)

    @property
    def reads_source(self) -> bool:
        return isinstance(self.node, ReadsSource)

    @property
    def writes_topic(self) -> bool:
        return isinstance(self.node, WritesTopic)

    @property
    def repartitions(self) -> bool:
        return isinstance(self.node, Repartitions)

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        """Stores of its operator, or, where that has none, of what stands around it to try items again."""
        own = self.node.stores(extent)
        return own if any(store.of_rows for store in own) else (*own, *guard_stores(self.errors))

    @property
    def written_id(self) -> str:
        """The id that the user gave: that of the node which this one was put in for, if it was."""
        return self.inside + self.id.removeprefix(self.inside).partition(".")[0]

    def place_of(self, param: str) -> Place:
        """Where a parameter stands; `param` is a path such as `fields.total` or `by[0].value`. A duration may stand
        there by its short name: `quiet` for `quiet_ms`.
        """
        if param not in self.raw.values and param.removesuffix("_ms") in self.raw.values:
            param = param.removesuffix("_ms")
        parts = (index or name for name, index in _PATH.findall(param))
        return self.raw.at(*(int(p) if p.isdigit() else p for p in parts)) if param else self.place


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Rows flow from an output port to an input port."""

    source: str
    port: str
    target: str
    target_port: str
    place: Place = field(default_factory=Place, compare=False)

    @property
    def start(self) -> str:
        return f"{self.source}.{self.port}"


@dataclass(frozen=True)
class Graph:
    """Nodes and edges in document order; edges join ports that exist. `broken`: an edge into the node was in error.

    `loops`: edges that lead back to a loop, which are not among `edges`: without them the graph is acyclic.

    `references`: node that looks into a global table -> that table; no rows flow between them.
    """

    nodes: Mapping[str, GraphNode]
    edges: tuple[Edge, ...]
    broken: frozenset[str] = frozenset()
    references: Mapping[str, str] = field(default_factory=dict)
    loops: tuple[Edge, ...] = ()

    @cached_property
    def _into(self) -> Mapping[str, tuple[Edge, ...]]:
        return {n: tuple(e for e in self.edges if e.target == n) for n in self.nodes}

    @cached_property
    def _out_of(self) -> Mapping[str, tuple[Edge, ...]]:
        return {n: tuple(e for e in self.edges if e.source == n) for n in self.nodes}

    def into(self, node: str) -> tuple[Edge, ...]:
        return self._into[node]

    def out_of(self, node: str) -> tuple[Edge, ...]:
        return self._out_of[node]

    def enters(self, edge: Edge) -> bool:
        """Whether rows come to the end of an edge through a topic."""
        start = self.nodes[edge.source]
        return edge.port not in FAILED_PORTS and (start.is_trigger or start.repartitions)

    @cached_property
    def returning(self) -> Mapping[str, str]:
        """By node whose rows come back through a topic: the loop that they come back to."""
        return {e.source: e.target for e in self.loops if self.enters(e)}

    @cached_property
    def across(self) -> frozenset[str]:
        """Loops whose rows come back through topics."""
        return frozenset(self.returning.values())

    def back_to(self, loop: str) -> tuple[Edge, ...]:
        """Edges that lead back to a loop."""
        return tuple(e for e in self.loops if e.target == loop)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Topological order; of nodes that could come next, the first in the document does. A loop is followed by its
        body.
        """
        told = self._told
        waiting = {n: len(self.into(n)) + (n in self.references) + len(told.get(n, ())) for n in self.nodes}
        rank = {n: i for i, n in enumerate(self.nodes)}
        ready = [n for n, count in waiting.items() if count == 0]
        done: list[str] = []
        while ready:
            ready.sort(key=rank.__getitem__, reverse=True)
            done.append(node := ready.pop())
            behind = [e.target for e in self.out_of(node)] + [
                n for n, table in self.references.items() if table == node
            ]
            behind += [loop for loop, sources in told.items() for source in sources if source == node]
            for target in behind:
                waiting[target] -= 1
                if waiting[target] == 0:
                    ready.append(target)
        for loop in [n for n in done if n in self.bodies]:
            body = [n for n in done if n in self.bodies[loop]]
            done = [n for n in done if n not in self.bodies[loop]]
            done[done.index(loop) + 1 : done.index(loop) + 1] = body
        return tuple(done)

    @property
    def _told(self) -> Mapping[str, tuple[str, ...]]:
        """By loop: nodes outside of its body that tell nodes in there something. They come before the loop."""
        found: dict[str, tuple[str, ...]] = {}
        for loop, body in self.bodies.items():
            into = (e for n in body for e in self.into(n) if e.source not in body and e.source != loop)
            aside = [e for e in into if any(p.aside and p.name == e.target_port for p in self._ports(e.target))]
            found[loop] = tuple(dict.fromkeys(e.source for e in aside))
        return found

    def _ports(self, node: str) -> tuple[Port, ...]:
        return self.nodes[node].node.input_ports()

    @cached_property
    def bodies(self) -> Mapping[str, frozenset[str]]:
        """By loop: the nodes on ways that leave it by port `body` and come back to it, other loops' bodies included."""
        return {loop: self._body(loop) for loop in dict.fromkeys(e.target for e in self.loops)}

    def _body(self, loop: str) -> frozenset[str]:
        every = (*self.edges, *self.loops)
        begins = {e.target for e in every if e.source == loop and e.port == BODY_PORT}
        ends = {e.source for e in self.loops if e.target == loop}
        there = _reached(begins, loop, [(e.source, e.target) for e in every])
        return there & _reached(ends, loop, [(e.target, e.source) for e in every])

    def around(self, node: str) -> tuple[str, ...]:
        """The loops in whose bodies a node is, innermost first."""
        found = [loop for loop, body in self.bodies.items() if node in body]
        return tuple(sorted(found, key=lambda loop: len(self.bodies[loop])))

    def descendants(self, node: str) -> frozenset[str]:
        """Nodes that rows of `node` can reach, itself not included."""
        found: set[str] = set()
        front = [node]
        while front:
            for edge in self.out_of(front.pop()):
                if edge.target not in found:
                    found.add(edge.target)
                    front.append(edge.target)
        return frozenset(found)

    def starts(self) -> list[str]:
        """Nodes that no connection leads into."""
        return [n for n in self.nodes if not self.into(n)]

    def reaches(self, begun: Iterable[str], node: str, open_: Callable[[Edge], bool]) -> bool:
        """Whether rows of some nodes can get to another, by connections that are open."""
        front = list(begun)
        seen = set(front)
        while front:
            for edge in filter(open_, self.out_of(front.pop())):
                if edge.target == node:
                    return True
                if edge.target not in seen:
                    seen.add(edge.target)
                    front.append(edge.target)
        return False

    def behind(self, node: str) -> frozenset[str]:
        """`descendants`, also by the ways that lead back to loops through topics."""
        found = set(self.descendants(node))
        waiting = [n for n in (node, *found) if n in self.returning]
        while waiting:
            loop = self.returning[waiting.pop()]
            more = {loop, *self.descendants(loop)} - found
            found |= more
            waiting += [n for n in more if n in self.returning]
        return frozenset(found)

    def ancestors(self, node: str) -> frozenset[str]:
        """Nodes whose rows can reach `node`, itself not included."""
        found: set[str] = set()
        front = [node]
        while front:
            for edge in self.into(front.pop()):
                if edge.source not in found:
                    found.add(edge.source)
                    front.append(edge.source)
        return frozenset(found)


def _reached(begins: set[str], loop: str, steps: list[tuple[str, str]]) -> frozenset[str]:
    """Nodes that steps lead to from some, not through `loop`, nor to it."""
    after: dict[str, list[str]] = {}
    for one, other in steps:
        after.setdefault(one, []).append(other)
    found, front = set(begins) - {loop}, list(set(begins) - {loop})
    while front:
        for other in after.get(front.pop(), ()):
            if other != loop and other not in found:
                found.add(other)
                front.append(other)
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTypes:
    """What inference found out about a node."""

    inputs: Mapping[str, Schema]
    outputs: Mapping[str, Schema]  # with `error` and `records` where something takes them
    extent: Extent
    loops: Mapping[str, Schema] = field(default_factory=dict)  # what `loop` names, of the loops around, innermost first
    remembered: Mapping[str, Type] = field(default_factory=dict)  # by column, of the loops around across topics
    visible: Mapping[str, Schema]  # what `nodes.<id>` may name here
    read: TopicRead | None = None
    write: TopicWrite | None = None
    avro: str = ""  # Avro JSON of the topic's schema as its owner wrote it

    def primary(self) -> Schema | None:
        """What `nodes.<id>` means for this node: port `out`, or the first."""
        if "out" in self.outputs:
            return self.outputs["out"]
        return next((s for p, s in self.outputs.items() if p not in (*FAILED_PORTS, RECORDS_PORT)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedGraph:
    """A graph whose every node is typed."""

    graph: Graph
    types: Mapping[str, NodeTypes]
