"""A plan as a Mermaid flowchart, for Markdown that renders it."""

from __future__ import annotations

from collections.abc import Iterator

from streamflow.topology.plan import StagePlan, TopicPlan, Topology

_DRAWN = ("source", "sink", "trigger", "repartition")


def to_mermaid(topology: Topology) -> str:
    """Stages as subgraphs, nodes as boxes, topics as cylinders."""
    names = _Names()
    lines = ["flowchart LR"]
    lines += [f"  {names.of('topic', t.name)}[({_label(t.name)})]" for t in topology.topics if t.kind in _DRAWN]
    for stage in topology.stages:
        lines += _stage(stage, names)
    for stage in topology.stages:
        lines += _wires(stage, names)
    lines += _classes(topology.topics, names)
    return "\n".join(lines) + "\n"


class _Names:
    """Ids that Mermaid takes, one for each thing drawn: ids of nodes may hold what it would read as syntax."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}

    def of(self, kind: str, name: str) -> str:
        return self._known.setdefault((kind, name), f"{kind[0]}{len(self._known) + 1}")


def _stage(stage: StagePlan, names: _Names) -> Iterator[str]:
    yield f"  subgraph {names.of('stage', stage.id)}[{_label(f'stage {stage.id}')}]"
    nodes = {n.id for n in stage.nodes}
    for entry in stage.inputs:
        if entry.node not in nodes:
            kind = "from its topic" if entry.internal else "trigger"
            yield f"    {names.of('node', f'{stage.id}/{entry.node}')}([{_label(entry.node, kind)}])"
    for table in stage.tables:
        yield f"    {names.of('node', f'{stage.id}/{table.node.id}')}[({_label(table.node.id, 'global table')})]"
    for node in stage.nodes:
        yield f"    {names.of('node', f'{stage.id}/{node.id}')}[{_label(node.id, node.kind)}]"
    yield "  end"


def _wires(stage: StagePlan, names: _Names) -> Iterator[str]:
    def node(name: str) -> str:
        return names.of("node", f"{stage.id}/{name}")

    for entry in stage.inputs:
        if entry.topic:
            yield f"  {names.of('topic', entry.topic)} --> {node(entry.node)}"
    for table in stage.tables:
        yield f"  {names.of('topic', table.input.topic)} --> {node(table.node.id)}"
    for plan in stage.nodes:
        if plan.table:
            yield f"  {node(plan.table)} -.-> {node(plan.id)}"
        for port, wires in plan.wires.items():
            for wire in wires:
                label = " / ".join(p for p, usual in ((wire.port, "out"), (port, "in")) if p != usual)
                arrow = "-.->" if wire.port == "error" else "-->"
                yield f"  {node(wire.node)} {arrow}{f'|{_label(label)}|' if label else ''} {node(plan.id)}"
    for sink in stage.sinks:
        yield f"  {node(sink.wire.node)} --> {names.of('topic', sink.topic)}"


def _classes(topics: tuple[TopicPlan, ...], names: _Names) -> Iterator[str]:
    own = [names.of("topic", t.name) for t in topics if t.kind in ("trigger", "repartition")]
    if own:
        yield "  classDef own stroke-dasharray: 5 3"
        yield f"  class {','.join(own)} own"


def _label(*lines: str) -> str:
    """A quoted label; whatever Mermaid or the browser would take for markup becomes an entity."""
    spelt = ("".join(c if c.isalnum() or c in " ._-/" else f"#{ord(c)};" for c in line) for line in lines)
    return f'"{"<br/>".join(spelt)}"'
