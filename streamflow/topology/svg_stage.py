"""One stage of the picture: its frame, and inside it the nodes with their wires."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from streamflow.topology.layered import Box, Drawing, Link, layout
from streamflow.topology.plan import InputPlan, NodePlan, StagePlan
from streamflow.topology.svg_parts import escaped, short, text_width, wire

PAD, TITLE = 18.0, 34.0  # of a stage's frame
_GAP_X, _GAP_Y = 64.0, 20.0
_NODE_HEIGHT, _PORT_HEIGHT = 46.0, 22.0
_GLOBAL = "global table"
_PORT_CHAR = 5.4  # mean width of a character of a port's name


@dataclass(slots=True)
class Stage:
    """A stage's inner drawing."""

    plan: StagePlan
    drawing: Drawing = field(init=False)
    boxes: dict[str, Box] = field(init=False)
    wires: list[tuple[Link, str]] = field(init=False)  # with the port that it leaves by
    gap: float = field(init=False)  # between layers: room for the names of ports

    def __post_init__(self) -> None:
        nodes = {n.id: n for n in self.plan.nodes}
        made = [_entry_box(i) for i in self.plan.inputs if i.node not in nodes]
        made += [_table_box(t.node.id) for t in self.plan.tables]
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
        labels = [text_width(short(port), _PORT_CHAR) for _, port in self.wires if port not in ("", "out")]
        self.gap = max(_GAP_X, max(labels, default=0.0) + 44)
        self.drawing = layout(made, [link for link, _ in self.wires], gap_x=self.gap, gap_y=_GAP_Y)

    @property
    def width(self) -> float:
        title = text_width(self._title(), 7.2) + 2 * PAD
        return max(self.drawing.width + 2 * PAD, title)

    @property
    def height(self) -> float:
        return self.drawing.height + PAD + TITLE + 4

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
        return x + PAD, y + TITLE

    def _title(self) -> str:
        stores = f" · {len(self.plan.stores)} stores" if len(self.plan.stores) > 1 else " · 1 store"
        return f"stage {self.plan.id}" + (stores if self.plan.stores else "")

    def _links(self, nodes: dict[str, NodePlan]) -> Iterator[tuple[Link, str]]:
        seen: set[str] = set()
        for node in nodes.values():
            seen.add(node.id)
            if node.table:
                height = self.boxes[node.id].height
                yield Link(source=node.table, target=node.id, leaves=_NODE_HEIGHT / 2, enters=height * 0.8), ""
            ports = list(node.wires)
            for index, (_, wires) in enumerate(node.wires.items()):
                enters = self.boxes[node.id].height * (index + 1) / (len(ports) + 1)
                for fed in wires:
                    out = self._ports(fed.node)
                    at = out.index(fed.port) if fed.port in out else 0
                    leaves = self.boxes[fed.node].height * (at + 1) / (len(out) + 1)
                    back = fed.node in nodes and fed.node not in seen
                    yield Link(source=fed.node, target=node.id, leaves=leaves, enters=enters, back=back), fed.port

    def _ports(self, node: str) -> list[str]:
        """Output ports of a node that something is wired to, in the order of the node's outputs."""
        used = {w.port for n in self.plan.nodes for ws in n.wires.values() for w in ws if w.node == node}
        plan = next((n for n in self.plan.nodes if n.id == node), None)
        declared = [p for p in (plan.outputs if plan else ()) if p in used]
        return [*declared, *sorted(used - set(declared))] or ["out"]

    def _node_box(self, node: NodePlan, *, last: bool) -> Box:
        ports = max(len(self._ports(node.id)), len(node.wires))
        height = max(_NODE_HEIGHT, _PORT_HEIGHT * ports + 14)
        width = max(text_width(short(node.id), 7.6), text_width(node.kind, 6.2)) + 34
        return Box(id=node.id, width=max(104.0, width), height=height, last=last)

    def frame(self, x: float, y: float) -> list[str]:
        return [
            f'<rect class="frame" x="{x:.1f}" y="{y:.1f}" width="{self.width:.1f}" height="{self.height:.1f}" '
            'rx="14"/>',
            f'<text class="frame-title" x="{x + PAD:.1f}" y="{y + 21:.1f}">{escaped(self._title())}</text>',
        ]

    def inside(self, x: float, y: float) -> list[str]:
        parts: list[str] = []
        for sink in dict.fromkeys(s.wire.node for s in self.plan.sinks):
            start = (x + self.exit_right(sink), y + self.exit_height(sink))
            if start[0] < x + self.width - 0.5:
                parts.append(wire([start, (x + self.width, start[1])], "wire bare"))
        for (link, port), route in zip(self.wires, self.drawing.routes, strict=True):
            points = [(px + x + PAD, py + y + TITLE) for px, py in route]
            if port not in ("", "out"):  # straight on under its label first
                points.insert(1, (points[0][0] + text_width(short(port), _PORT_CHAR) + 10, points[0][1]))
            style = "wire error" if port == "error" else "wire bare" if link.target.startswith("\0") else "wire"
            parts.append(wire(points, style))
        parts += self._labels(x, y)
        sinks = {s.wire.node: s.kind for s in self.plan.sinks}
        inputs = {i.node: i for i in self.plan.inputs}
        for box in self.boxes.values():
            if box.id.startswith("\0"):
                continue
            bx, by = self._inner(box.id)
            plan = next((n for n in self.plan.nodes if n.id == box.id), None)
            kind = plan.kind if plan else entry_kind(inputs[box.id]) if box.id in inputs else _GLOBAL
            role = "entry" if box.id in inputs or plan is None else "sink" if box.id in sinks else "step"
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
            px, py = route[0][0] + x + PAD + 6, route[0][1] + y + TITLE - 5
            style = "port error" if port == "error" else "port"
            parts.append(f'<text class="{style}" x="{px:.1f}" y="{py:.1f}">{escaped(short(port))}</text>')
        for node in self.plan.nodes:
            ports = list(node.wires)
            if ports in ([], ["in"]):
                continue
            bx, by = self._inner(node.id)
            for index, port in enumerate(ports):
                py = by + y + self.boxes[node.id].height * (index + 1) / (len(ports) + 1) - 5
                parts.append(f'<text class="port end" x="{bx + x - 12:.1f}" y="{py:.1f}">{escaped(short(port))}</text>')
        return parts


def _entry_box(entry: InputPlan) -> Box:
    width = max(text_width(short(entry.node), 7.6), text_width(entry_kind(entry), 6.2)) + 34
    return Box(id=entry.node, width=max(104.0, width), height=_NODE_HEIGHT)


def _table_box(table: str) -> Box:
    width = max(text_width(short(table), 7.6), text_width(_GLOBAL, 6.2)) + 34
    return Box(id=table, width=max(104.0, width), height=_NODE_HEIGHT)


def entry_kind(entry: InputPlan) -> str:
    """What to call the place where rows enter."""
    return "from its topic" if entry.internal else "trigger"


def _exit(node: str) -> str:
    return f"\0exit.{node}"


def _node(box: Box, x: float, y: float, kind: str, role: str) -> list[str]:
    middle = y + box.height / 2
    return [
        f'<g class="node {role}"><title>{escaped(f"{box.id} ({kind})")}</title>',
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="9"/>',
        f'<path class="stripe" d="M {x + 9:.1f} {y + 9:.1f} V {y + box.height - 9:.1f}"/>',
        f'<text class="id" x="{x + 19:.1f}" y="{middle - 2:.1f}">{escaped(short(box.id))}</text>',
        f'<text class="kind" x="{x + 19:.1f}" y="{middle + 13:.1f}">{escaped(short(kind))}</text></g>',
    ]
