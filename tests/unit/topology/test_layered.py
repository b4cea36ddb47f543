"""The layout of pictures: nothing overlaps, everything points right, nothing depends on chance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamflow.topology.layered import Box, Drawing, Link, layout

GAP_X, GAP_Y = 40.0, 12.0


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Box], list[Link]]:
    count = draw(st.integers(1, 14))
    heights = draw(st.lists(st.integers(10, 90), min_size=count, max_size=count))
    boxes = [Box(id=f"b{i}", width=50.0 + i, height=float(h)) for i, h in enumerate(heights)]
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=2 * count)) if pairs else []
    links = [
        Link(source=f"b{i}", target=f"b{j}", leaves=boxes[i].height / 2, enters=boxes[j].height / 2) for i, j in chosen
    ]
    return boxes, links


def drawn(graph: tuple[list[Box], list[Link]]) -> Drawing:
    return layout(*graph, gap_x=GAP_X, gap_y=GAP_Y)


@given(graphs())
def test_boxes_keep_their_distance(graph: tuple[list[Box], list[Link]]) -> None:
    drawing = drawn(graph)
    boxes = {b.id: b for b in graph[0]}
    for a, (ax, ay) in drawing.at.items():
        assert ax >= 0
        assert ay >= -1e-6
        assert ax + boxes[a].width <= drawing.width + 1e-6
        assert ay + boxes[a].height <= drawing.height + 1e-6
        for b, (bx, by) in drawing.at.items():
            apart_x = ax + boxes[a].width < bx or bx + boxes[b].width < ax
            apart_y = ay + boxes[a].height < by or by + boxes[b].height < ay
            assert a == b or apart_x or apart_y, (a, b)


@given(graphs())
def test_wires_go_right_from_box_to_box(graph: tuple[list[Box], list[Link]]) -> None:
    drawing = drawn(graph)
    for link, route in zip(graph[1], drawing.routes, strict=True):
        xs = [x for x, _ in route]
        assert xs == sorted(xs)
        assert xs[-1] - xs[0] >= GAP_X - 1e-6
        assert route[-1][0] == drawing.at[link.target][0]


@given(graphs())
def test_the_same_graph_is_drawn_the_same(graph: tuple[list[Box], list[Link]]) -> None:
    assert drawn(graph) == drawn(graph)


def test_what_could_cross_is_put_in_order() -> None:
    """a feeds y, b feeds x: drawn as given the wires would cross."""
    boxes = [Box(id=i, width=40, height=20) for i in ("a", "b", "x", "y", "end")]
    links = [Link(source=s, target=t, leaves=10, enters=10) for s, t in ("ay", "bx", ("x", "end"), ("y", "end"))]
    at = layout(boxes, links, gap_x=GAP_X, gap_y=GAP_Y).at
    assert (at["a"][1] < at["b"][1]) == (at["y"][1] < at["x"][1])
