"""Groups nodes into stages: everything that needs no topic between runs together.

    trigger that reads a topic    an input of the stage that its items flow into
    trigger that is no topic      a stage `<trigger>.source` that commits its items to a topic, which the next one reads
    repartition                   the last node of its stage; the next one reads its topic
    back to a loop                a repartition whose topic the loop's own stage reads

A stage is named by its head: the trigger or repartition whose rows enter it, of several the least by name. Ids that
users write hold no dots, so `<trigger>.source` and `<node>.<port>` (a repartition that the compiler put in) collide
with nothing, and no name depends on where something stands in the document.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamflow.compiler.codes import STAGE_CYCLE, TOPIC_READ_TWICE
from streamflow.compiler.graph import Edge, Graph, TypedGraph
from streamflow.sdk.places import Diagnostic


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A stage to be: ids of triggers and repartitions whose rows enter, and of the nodes that run."""

    id: str
    inputs: tuple[str, ...]
    nodes: tuple[str, ...] = ()
    source: bool = False  # runs the source of its one input


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """All stages, in the order rows pass them."""

    stages: tuple[Group, ...]

    def reader_of(self, node: str) -> Group | None:
        """The stage that the rows of a trigger or repartition enter."""
        return next((g for g in self.stages if node in g.inputs and not g.source), None)


def source_stage(trigger: str) -> str:
    return f"{trigger}.source"


def fuse(typed: TypedGraph) -> tuple[Groups, list[Diagnostic]]:
    """Cut the graph at repartitions and gather what is left."""
    graph = typed.graph
    groups: list[Group] = []
    findings: list[Diagnostic] = []
    for component in components(graph, returning=True):
        inputs = tuple(sorted(m.removeprefix(_ENTRY) for m in component if m.startswith(_ENTRY)))
        nodes = tuple(n for n in graph.order if n in component)
        if not inputs or not nodes:
            continue  # a trigger that feeds nothing runs nothing
        heads = [i for i in inputs if i not in graph.returning]
        group = Group(id=(heads or inputs)[0], inputs=_in_order(graph, inputs), nodes=nodes)
        findings.extend(_read_once(typed, group))
        groups.append(group)
    ordered, cyclic = _stage_order(graph, groups)
    findings += [_cycle(graph, group) for group in cyclic]
    read = {i for g in groups for i in g.inputs}
    sources = [
        Group(id=source_stage(n), inputs=(n,), source=True)
        for n in graph.order
        if graph.nodes[n].reads_source and n in read
    ]
    return Groups(stages=(*sources, *ordered)), findings


_ENTRY = "\0"  # marks an entry in a component: the rows of a trigger or repartition, apart from the node itself


def entry(node: str) -> str:
    """Stands in `components` for the rows of a trigger or repartition, as they enter a stage."""
    return _ENTRY + node


def start_of(graph: Graph, edge: Edge) -> str:
    """Where the rows of an edge begin in `components`."""
    return entry(edge.source) if graph.enters(edge) else edge.source


def _in_order(graph: Graph, ids: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(n for n in graph.order if n in ids)


def components(graph: Graph, *, returning: bool = False) -> list[set[str]]:
    """Nodes joined by wires within a stage. Triggers are entries; a repartition is a node here, an entry elsewhere.

    `returning`: with the entries by which rows come back to loops through topics, each in the stage of its loop. A
    stage may read what it has written by these, and by no other.
    """
    parent: dict[str, str] = {}

    def root(member: str) -> str:
        while parent.setdefault(member, member) != member:
            parent[member] = member = parent[parent[member]]
        return member

    for node_id, node in graph.nodes.items():
        if node.is_trigger or node.repartitions:
            root(entry(node_id))
        if not node.is_trigger:
            root(node_id)
    for edge in graph.edges:
        if graph.nodes[edge.target].node.is_global():
            continue  # rows go to those who look into it, beside the stages
        parent[root(start_of(graph, edge))] = root(edge.target)
    for node_id, loop in graph.returning.items() if returning else ():
        parent[root(entry(node_id))] = root(loop)
    found: dict[str, set[str]] = {}
    for member in list(parent):
        found.setdefault(root(member), set()).add(member)
    return list(found.values())


def _stage_order(graph: Graph, groups: list[Group]) -> tuple[list[Group], list[Group]]:
    """Stages so that writers come before readers, and those that no such order exists for."""
    above = {g.id: {home for i in g.inputs if i not in graph.returning and (home := _home(groups, i))} for g in groups}
    ordered: list[Group] = []
    waiting = sorted(groups, key=lambda g: min(graph.order.index(i) for i in g.inputs))
    while waiting:
        ready = next((g for g in waiting if not above[g.id] - {d.id for d in ordered}), None)
        if ready is None:
            return ordered, waiting
        ordered.append(ready)
        waiting.remove(ready)
    return ordered, []


def _home(groups: list[Group], node: str) -> str:
    """The stage that runs a node; "" for a trigger, which runs nowhere."""
    return next((g.id for g in groups if node in g.nodes), "")


def _cycle(graph: Graph, group: Group) -> Diagnostic:
    own = [i for i in group.inputs if i in group.nodes] or [i for i in group.inputs if graph.nodes[i].repartitions]
    node = graph.nodes[own[0]]
    meets = next(
        (
            n
            for n in group.nodes
            if n in graph.descendants(node.id)
            and any(e.source not in graph.descendants(node.id) for e in graph.into(n))
        ),
        group.nodes[-1],
    )
    return Diagnostic(
        place=graph.nodes[meets].place,
        code=STAGE_CYCLE,
        message=f"node {meets!r} gets rows both from before and from behind {node.id!r} ({node.kind}), which moves "
        "them to other partitions: they would not meet.",
        mend=f"Put {node.id!r} before the rows branch, or repartition the other branch too.",
    )


def _read_once(typed: TypedGraph, group: Group) -> list[Diagnostic]:
    findings: list[Diagnostic] = []
    readers: dict[str, str] = {}
    for node_id in group.inputs:
        types = typed.types.get(node_id)
        if types is None or types.read is None:
            continue
        other = readers.setdefault(types.read.topic, node_id)
        if other != node_id:
            findings.append(
                Diagnostic(
                    place=typed.graph.nodes[node_id].place_of("topic"),
                    code=TOPIC_READ_TWICE,
                    message=f"triggers {other!r} and {node_id!r} read topic {types.read.topic!r} into the same stage.",
                    mend=f"Use {other!r} for both: a trigger may have any number of connections.",
                )
            )
    for node_id in group.nodes:
        table = typed.graph.references.get(node_id, "")
        topic = _topic_of(typed, table) if table else ""
        other = readers.setdefault(topic, table) if topic else table
        if other != table:
            findings.append(
                Diagnostic(
                    place=typed.graph.nodes[table].place,
                    code=TOPIC_READ_TWICE,
                    message=f"{other!r} and global table {table!r} both read topic {topic!r} into the same stage.",
                    mend=f"Use one global table for both; or put a `repartition` before {node_id!r}, which then begins "
                    "a stage.",
                )
            )
    return findings


def _topic_of(typed: TypedGraph, table: str) -> str:
    """The topic of a global table; "" where it is not known."""
    reads = (typed.types[e.source].read for e in typed.graph.into(table) if e.source in typed.types)
    return next((read.topic for read in reads if read is not None), "")
