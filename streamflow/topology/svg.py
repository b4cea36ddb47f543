"""A plan as a picture: one self-contained SVG, light or dark as the reader's system is.

Two layouts nested: inside each stage its nodes, then stages and topics as boxes. Topics are pills, dashed where they
are the topology's own; stages are frames; failed items leave by dashed red wires.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape

from streamflow.topology.digest import digest
from streamflow.topology.layered import Box, Drawing, Link, layout
from streamflow.topology.plan import InputPlan, NodePlan, StagePlan, TopicPlan, Topology
from streamflow.topology.svg_style import DEFS, STYLE

_GAP_X, _GAP_Y = 64.0, 20.0
_OUTER_GAP_X, _OUTER_GAP_Y = 56.0, 28.0
_PAD, _TITLE = 18.0, 34.0  # of a stage's frame
_MARGIN, _HEADING = 28.0, 62.0
_NODE_HEIGHT, _PORT_HEIGHT, _TOPIC_HEIGHT = 46.0, 22.0, 46.0
_CHARS_MAX = 30
_PORT_CHAR = 5.4  # mean width of a character of a port's name
_FLOW_KINDS = ("source", "sink", "trigger", "repartition")


def to_svg(topology: Topology) -> str:
    """The whole picture as SVG text."""
    stages = {s.id: _Stage(s) for s in topology.stages}
    topics = {f"{side}:{t.name}": t for t in topology.topics for side in _sides(t)}
    boxes = [Box(id=k, width=_topic_width(t), height=_TOPIC_HEIGHT) for k, t in topics.items()]
    boxes += [Box(id=f"stage:{i}", width=s.width, height=s.height) for i, s in stages.items()]
    links = list(_outer_links(topology, stages, topics))
    drawing = layout(boxes, links, gap_x=_OUTER_GAP_X, gap_y=_OUTER_GAP_Y)
    parts: list[str] = []
    for stage_id, stage in stages.items():
        parts += stage.frame(*_shift(drawing.at[f"stage:{stage_id}"]))
    for link, route in zip(links, drawing.routes, strict=True):
        points = [_shift(p) for p in route]
        if link.target.startswith("stage:"):  # on through the frame, to the box that takes the rows
            points.append((points[-1][0] + _PAD, points[-1][1]))
        parts.append(_wire(points, "wire"))
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


@dataclass(slots=True)
class _Stage:
    """A stage's inner drawing."""

    plan: StagePlan
    drawing: Drawing = field(init=False)
    boxes: dict[str, Box] = field(init=False)
    wires: list[tuple[Link, str]] = field(init=False)  # with the port that it leaves by
    gap: float = field(init=False)  # between layers: room for the names of ports

    def __post_init__(self) -> None:
        nodes = {n.id: n for n in self.plan.nodes}
        made = [_entry_box(i) for i in self.plan.inputs if i.node not in nodes]
        leaving = {w.node for n in nodes.values() for ws in n.wires.values() for w in ws}
        sinks = {s.wire.node for s in self.plan.sinks}
        made += [self._node_box(n, last=n.id in sinks and n.id not in leaving) for n in nodes.values()]
        # A sink that something else follows gets its wire led to the frame's edge around the boxes behind it.
        made += [Box(id=_exit(s), width=0.0, height=16.0, last=True) for s in sorted(sinks & leaving)]
        self.boxes = {b.id: b for b in made}
        self.wires = list(self._links(nodes))
        self.wires += [
            (Link(source=s, target=_exit(s), leaves=self.boxes[s].height / 2, enters=8.0), "")
            for s in sorted(sinks & leaving)
        ]
        labels = [_text_width(_short(port), _PORT_CHAR) for _, port in self.wires if port not in ("", "out")]
        self.gap = max(_GAP_X, max(labels, default=0.0) + 44)
        self.drawing = layout(made, [link for link, _ in self.wires], gap_x=self.gap, gap_y=_GAP_Y)

    @property
    def width(self) -> float:
        title = _text_width(self._title(), 7.2) + 2 * _PAD
        return max(self.drawing.width + 2 * _PAD, title)

    @property
    def height(self) -> float:
        return self.drawing.height + _PAD + _TITLE + 4

    def entry_height(self, node: str) -> float:
        """Where rows of an input enter, from the top of the frame."""
        box = self.boxes[node]
        return self._inner(node)[1] + box.height / 2

    def exit_height(self, node: str) -> float:
        """Where rows of a sink leave, from the top of the frame."""
        name = _exit(node) if _exit(node) in self.boxes else node
        return self._inner(name)[1] + self.boxes[name].height / 2

    def exit_right(self, node: str) -> float:
        name = _exit(node) if _exit(node) in self.boxes else node
        return self._inner(name)[0] + self.boxes[name].width

    def _inner(self, name: str) -> tuple[float, float]:
        x, y = self.drawing.at[name]
        return x + _PAD, y + _TITLE

    def _title(self) -> str:
        stores = f" · {len(self.plan.stores)} stores" if len(self.plan.stores) > 1 else " · 1 store"
        return f"stage {self.plan.id}" + (stores if self.plan.stores else "")

    def _links(self, nodes: dict[str, NodePlan]) -> Iterator[tuple[Link, str]]:
        for node in nodes.values():
            ports = list(node.wires)
            for index, (_, wires) in enumerate(node.wires.items()):
                enters = self.boxes[node.id].height * (index + 1) / (len(ports) + 1)
                for wire in wires:
                    out = self._ports(wire.node)
                    at = out.index(wire.port) if wire.port in out else 0
                    leaves = self.boxes[wire.node].height * (at + 1) / (len(out) + 1)
                    yield Link(source=wire.node, target=node.id, leaves=leaves, enters=enters), wire.port

    def _ports(self, node: str) -> list[str]:
        """Output ports of a node that something is wired to, in the order of the node's outputs."""
        used = {w.port for n in self.plan.nodes for ws in n.wires.values() for w in ws if w.node == node}
        plan = next((n for n in self.plan.nodes if n.id == node), None)
        declared = [p for p in (plan.outputs if plan else ()) if p in used]
        return [*declared, *sorted(used - set(declared))] or ["out"]

    def _node_box(self, node: NodePlan, *, last: bool) -> Box:
        ports = max(len(self._ports(node.id)), len(node.wires))
        height = max(_NODE_HEIGHT, _PORT_HEIGHT * ports + 14)
        width = max(_text_width(_short(node.id), 7.6), _text_width(node.kind, 6.2)) + 34
        return Box(id=node.id, width=max(104.0, width), height=height, last=last)

    def frame(self, x: float, y: float) -> list[str]:
        return [
            f'<rect class="frame" x="{x:.1f}" y="{y:.1f}" width="{self.width:.1f}" height="{self.height:.1f}" '
            'rx="14"/>',
            f'<text class="frame-title" x="{x + _PAD:.1f}" y="{y + 21:.1f}">{_text(self._title())}</text>',
        ]

    def inside(self, x: float, y: float) -> list[str]:
        parts: list[str] = []
        for sink in dict.fromkeys(s.wire.node for s in self.plan.sinks):
            start = (x + self.exit_right(sink), y + self.exit_height(sink))
            if start[0] < x + self.width - 0.5:
                parts.append(_wire([start, (x + self.width, start[1])], "wire bare"))
        for (link, port), route in zip(self.wires, self.drawing.routes, strict=True):
            points = [(px + x + _PAD, py + y + _TITLE) for px, py in route]
            if port not in ("", "out"):  # straight on under its label first
                points.insert(1, (points[0][0] + _text_width(_short(port), _PORT_CHAR) + 10, points[0][1]))
            style = "wire error" if port == "error" else "wire bare" if link.target.startswith("\0") else "wire"
            parts.append(_wire(points, style))
        parts += self._labels(x, y)
        sinks = {s.wire.node: s.kind for s in self.plan.sinks}
        inputs = {i.node: i for i in self.plan.inputs}
        for box in self.boxes.values():
            if box.id.startswith("\0"):
                continue
            bx, by = self._inner(box.id)
            plan = next((n for n in self.plan.nodes if n.id == box.id), None)
            kind = plan.kind if plan else entry_kind(inputs[box.id])
            role = "entry" if box.id in inputs else "sink" if box.id in sinks else "step"
            parts += _node(box, bx + x, by + y, kind, role)
        return parts

    def _labels(self, x: float, y: float) -> list[str]:
        """Names of ports where there are several, beside the ends of their wires."""
        parts: list[str] = []
        seen: set[tuple[str, str]] = set()
        for (link, port), route in zip(self.wires, self.drawing.routes, strict=True):
            if port in ("", "out") or (link.source, port) in seen:
                continue
            seen.add((link.source, port))
            px, py = route[0][0] + x + _PAD + 6, route[0][1] + y + _TITLE - 5
            style = "port error" if port == "error" else "port"
            parts.append(f'<text class="{style}" x="{px:.1f}" y="{py:.1f}">{_text(_short(port))}</text>')
        for node in self.plan.nodes:
            ports = list(node.wires)
            if ports in ([], ["in"]):
                continue
            bx, by = self._inner(node.id)
            for index, port in enumerate(ports):
                py = by + y + self.boxes[node.id].height * (index + 1) / (len(ports) + 1) - 5
                parts.append(f'<text class="port end" x="{bx + x - 12:.1f}" y="{py:.1f}">{_text(_short(port))}</text>')
        return parts


def _entry_box(entry: InputPlan) -> Box:
    width = max(_text_width(_short(entry.node), 7.6), _text_width(entry_kind(entry), 6.2)) + 34
    return Box(id=entry.node, width=max(104.0, width), height=_NODE_HEIGHT)


def entry_kind(entry: InputPlan) -> str:
    """What to call the place where rows enter."""
    return "from its topic" if entry.internal else "trigger"


def _exit(node: str) -> str:
    return f"\0exit.{node}"


def _outer_links(topology: Topology, stages: dict[str, _Stage], topics: dict[str, TopicPlan]) -> Iterator[Link]:
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
                )
        for sink in stage.sinks:
            yield Link(
                source=f"stage:{stage.id}",
                target=key(sink.topic, False),
                leaves=drawn.exit_height(sink.wire.node),
                enters=middle,
            )


def _node(box: Box, x: float, y: float, kind: str, role: str) -> list[str]:
    middle = y + box.height / 2
    return [
        f'<g class="node {role}"><title>{_text(f"{box.id} ({kind})")}</title>',
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="9"/>',
        f'<path class="stripe" d="M {x + 9:.1f} {y + 9:.1f} V {y + box.height - 9:.1f}"/>',
        f'<text class="id" x="{x + 19:.1f}" y="{middle - 2:.1f}">{_text(_short(box.id))}</text>',
        f'<text class="kind" x="{x + 19:.1f}" y="{middle + 13:.1f}">{_text(_short(kind))}</text></g>',
    ]


def _topic(topic: TopicPlan, x: float, y: float) -> list[str]:
    width, height = _topic_width(topic), _TOPIC_HEIGHT
    style = "topic user" if topic.kind in ("source", "sink") else "topic own"
    return [
        f'<g class="{style}"><title>{_text(topic.name)}: {_text(topic.why)}</title>',
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{height / 2:.1f}"/>',
        f'<path class="lines" d="M {x + 20:.1f} {y + 16:.1f} v 14 m 4 -14 v 14 m 4 -14 v 14"/>',
        f'<text class="id" x="{x + 38:.1f}" y="{y + 20:.1f}">{_text(_short(topic.name))}</text>',
        f'<text class="kind" x="{x + 38:.1f}" y="{y + 35:.1f}">{_text(_topic_note(topic))}</text></g>',
    ]


def _topic_note(topic: TopicPlan) -> str:
    word = "topic" if topic.kind in ("source", "sink") else topic.kind
    count = "" if topic.partitions is None else f", {topic.partitions} partition{'s' * (topic.partitions != 1)}"
    return f"{word}, {topic.codec.format}{count}"


def _topic_width(topic: TopicPlan) -> float:
    return max(_text_width(_short(topic.name), 7.6), _text_width(_topic_note(topic), 6.0)) + 62


def _wire(points: list[tuple[float, float]], style: str) -> str:
    (x, y), *rest = points
    d = f"M {x:.1f} {y:.1f}"
    for nx, ny in rest:
        if abs(ny - y) < 0.05:
            d += f" H {nx:.1f}"
        else:
            bend = (nx - x) / 2
            d += f" C {x + bend:.1f} {y:.1f} {nx - bend:.1f} {ny:.1f} {nx:.1f} {ny:.1f}"
        x, y = nx, ny
    return f'<path class="{style}" d="{d}"/>'


def _shift(point: tuple[float, float]) -> tuple[float, float]:
    return point[0] + _MARGIN, point[1] + _MARGIN + _HEADING


def _text_width(text: str, char_width: float) -> float:
    return len(text) * char_width


def _short(text: str) -> str:
    """A label of bounded length: beginning and end of a long name say more than its middle."""
    if len(text) <= _CHARS_MAX:
        return text
    half = (_CHARS_MAX - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def _text(text: str) -> str:
    """Text for XML: markup escaped, characters that XML refuses replaced."""
    return escape("".join(c if c.isprintable() else "�" for c in text))


def _document(topology: Topology, width: float, height: float, parts: list[str]) -> str:
    stages = len(topology.stages)
    note = f"{stages} stage{'s' * (stages != 1)} · {topology.run.guarantee.replace('_', ' ')} · plan {digest(topology)}"
    failed = next((t.name for t in topology.topics if t.kind == "dead_letter"), "")
    if failed:
        note += f" · failed items: {_short(failed)}"
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{_text(f"Plan of workflow {topology.workflow}")}">\n'
        f"<style>{STYLE}</style>\n"
        f"{DEFS}\n"
        f'<rect class="page" width="{width:.0f}" height="{height:.0f}"/>\n'
        f'<text class="title" x="{_MARGIN}" y="42">{_text(topology.workflow)}</text>\n'
        f'<text class="note" x="{_MARGIN}" y="63">{_text(note)}</text>\n'
        f"{body}\n</svg>\n"
    )
