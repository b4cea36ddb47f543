"""A plan as a picture: one self-contained SVG, light or dark as the reader's system is.

Two layouts nested: inside each stage its nodes, then stages and topics as boxes. Topics are pills, dashed where they
are the topology's own; stages are frames; failed items leave by dashed red wires.
"""

from __future__ import annotations

from collections.abc import Iterator

from streamflow.topology.digest import digest
from streamflow.topology.layered import Box, Link, layout
from streamflow.topology.plan import TopicPlan, Topology
from streamflow.topology.svg_parts import escaped, short, text_width, wire
from streamflow.topology.svg_stage import PAD, Stage
from streamflow.topology.svg_style import DEFS, STYLE

_GAP_X, _GAP_Y = 56.0, 28.0
_MARGIN, _HEADING = 28.0, 62.0
_TOPIC_HEIGHT = 46.0
_TOPIC_CHARS_MAX = 48
_FLOW_KINDS = ("source", "sink", "trigger", "repartition")


def to_svg(topology: Topology) -> str:
    """The whole picture as SVG text."""
    stages = {s.id: Stage(s) for s in topology.stages}
    topics = {f"{side}:{t.name}": t for t in topology.topics for side in _sides(t)}
    boxes = [Box(id=k, width=_topic_width(t), height=_TOPIC_HEIGHT) for k, t in topics.items()]
    boxes += [Box(id=f"stage:{i}", width=s.width, height=s.height) for i, s in stages.items()]
    links = list(_outer_links(topology, stages, topics))
    drawing = layout(boxes, links, gap_x=_GAP_X, gap_y=_GAP_Y)
    parts: list[str] = []
    for stage_id, stage in stages.items():
        parts += stage.frame(*_shift(drawing.at[f"stage:{stage_id}"]))
    for link, route in zip(links, drawing.routes, strict=True):
        points = [_shift(p) for p in route]
        if link.target.startswith("stage:"):  # on through the frame, to the box that takes the rows
            points.append((points[-1][0] + PAD, points[-1][1]))
        parts.append(wire(points, "wire"))
    for stage_id, stage in stages.items():
        parts += stage.inside(*_shift(drawing.at[f"stage:{stage_id}"]))
    for key, topic in topics.items():
        parts += _topic(topic, *_shift(drawing.at[key]))
    width, height = drawing.width + 2 * _MARGIN, drawing.height + 2 * _MARGIN + _HEADING
    return _document(topology, max(width, 420.0), height, parts)


def _sides(topic: TopicPlan) -> tuple[str, ...]:
    """A topic stands once; those of users at the side they belong to, so that feedback does not bend the drawing."""
    if topic.kind not in _FLOW_KINDS:
        return ()
    return {"source": ("in",), "sink": ("out",)}.get(topic.kind, ("own",))


def _outer_links(topology: Topology, stages: dict[str, Stage], topics: dict[str, TopicPlan]) -> Iterator[Link]:
    middle = _TOPIC_HEIGHT / 2

    def key(name: str, reading: bool) -> str:
        sides = ("in", "own", "out") if reading else ("out", "own", "in")
        return next(f"{s}:{name}" for s in sides if f"{s}:{name}" in topics)

    for stage in topology.stages:
        drawn = stages[stage.id]
        for entry in stage.inputs:
            if entry.topic:
                yield Link(
                    source=key(entry.topic, True),
                    target=f"stage:{stage.id}",
                    leaves=middle,
                    enters=drawn.entry_height(entry.node),
                    back=entry.back,
                )
        for table in stage.tables:
            yield Link(
                source=key(table.input.topic, True),
                target=f"stage:{stage.id}",
                leaves=middle,
                enters=drawn.entry_height(table.node.id),
            )
        for sink in stage.sinks:
            yield Link(
                source=f"stage:{stage.id}",
                target=key(sink.topic, False),
                leaves=drawn.exit_height(sink.wire.node),
                enters=middle,
            )


def _topic(topic: TopicPlan, x: float, y: float) -> list[str]:
    width, height = _topic_width(topic), _TOPIC_HEIGHT
    style = "topic user" if topic.kind in ("source", "sink") else "topic own"
    return [
        f'<g class="{style}"><title>{escaped(topic.name)}: {escaped(topic.why)}</title>',
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{height / 2:.1f}"/>',
        f'<path class="lines" d="M {x + 20:.1f} {y + 16:.1f} v 14 m 4 -14 v 14 m 4 -14 v 14"/>',
        f'<text class="id" x="{x + 38:.1f}" y="{y + 20:.1f}">{escaped(short(topic.name, _TOPIC_CHARS_MAX))}</text>',
        f'<text class="kind" x="{x + 38:.1f}" y="{y + 35:.1f}">{escaped(_topic_note(topic))}</text></g>',
    ]


def _topic_note(topic: TopicPlan) -> str:
    word = "topic" if topic.kind in ("source", "sink") else topic.kind
    count = "" if topic.partitions is None else f", {topic.partitions} partition{'s' * (topic.partitions != 1)}"
    return f"{word}, {topic.codec.format}{count}"


def _topic_width(topic: TopicPlan) -> float:
    return max(text_width(short(topic.name, _TOPIC_CHARS_MAX), 7.6), text_width(_topic_note(topic), 6.0)) + 62


def _shift(point: tuple[float, float]) -> tuple[float, float]:
    return point[0] + _MARGIN, point[1] + _MARGIN + _HEADING


def _document(topology: Topology, width: float, height: float, parts: list[str]) -> str:
    stages = len(topology.stages)
    note = f"{stages} stage{'s' * (stages != 1)} · {topology.run.guarantee.replace('_', ' ')} · plan {digest(topology)}"
    failed = next((t.name for t in topology.topics if t.kind == "dead_letter"), "")
    if failed:
        note += f" · failed items: {short(failed)}"
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escaped(f"Plan of workflow {topology.workflow}")}">\n'
        f"<style>{STYLE}</style>\n"
        f"{DEFS}\n"
        f'<rect class="page" width="{width:.0f}" height="{height:.0f}"/>\n'
        f'<text class="title" x="{_MARGIN}" y="42">{escaped(topology.workflow)}</text>\n'
        f'<text class="note" x="{_MARGIN}" y="63">{escaped(note)}</text>\n'
        f"{body}\n</svg>\n"
    )
