"""Layered drawing of directed acyclic graphs, left to right (Sugiyama's method, small and deterministic).

1. layers: longest path from the left; boxes marked `last` stand at the right edge
2. wires over several layers get a bend in each, so that they go around boxes
3. order within layers by the mean place of neighbours, swept to and fro; the order with fewest crossings wins
4. heights: boxes move towards the middle of their neighbours as far as the order allows
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

_SWEEPS = 12
_BEND_HEIGHT = 14.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Something to place. `last`: at the right edge."""

    id: str
    width: float
    height: float
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A wire between boxes; `leaves` and `enters` are heights from the top of its boxes. `back`: it leads left."""

    source: str
    target: str
    leaves: float
    enters: float
    back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Top left corners of the boxes, points of each link (start, bends as pairs of points, end), and the size."""

    at: Mapping[str, tuple[float, float]]
    routes: tuple[tuple[tuple[float, float], ...], ...]
    width: float
    height: float


@dataclass(slots=True)
class _Item:
    """A box or a bend during layout."""

    id: str
    layer: int
    height: float
    before: list[tuple[str, float, float]] = field(default_factory=list)  # (neighbour, its height in it, own height)
    after: list[tuple[str, float, float]] = field(default_factory=list)
    y: float = 0.0


def layout(boxes: Sequence[Box], links: Sequence[Link], *, gap_x: float, gap_y: float) -> Drawing:
    """Place boxes so that every link goes to the right, but for those that lead back.

    What is not connected stands below one another.
    """
    at: dict[str, tuple[float, float]] = {}
    routes: dict[int, tuple[tuple[float, float], ...]] = {}
    width = height = 0.0
    for part in _components(boxes, links):
        inside = [i for i, link in enumerate(links) if link.source in part]
        top = height + gap_y if height else 0.0
        drawn = _connected([b for b in boxes if b.id in part], [links[i] for i in inside], gap_x, gap_y)
        at |= {box: (x, y + top) for box, (x, y) in drawn.at.items()}
        routes |= {i: tuple((x, y + top) for x, y in route) for i, route in zip(inside, drawn.routes, strict=True)}
        width, height = max(width, drawn.width), top + drawn.height
    return Drawing(at=at, routes=tuple(routes[i] for i in range(len(links))), width=width, height=height)


def _components(boxes: Sequence[Box], links: Sequence[Link]) -> list[set[str]]:
    """Boxes that links join, in order of their first box."""
    joined: dict[str, set[str]] = {b.id: {b.id} for b in boxes}
    for link in links:
        left, right = joined[link.source], joined[link.target]
        if left is not right:
            left |= right
            for box in right:
                joined[box] = left
    return list({id(part): part for part in joined.values()}.values())


def _connected(boxes: Sequence[Box], links: Sequence[Link], gap_x: float, gap_y: float) -> Drawing:
    """Boxes that links join; those that lead back go below all others, and have no part in where boxes stand."""
    drawn = _forward(boxes, [link for link in links if not link.back], gap_x, gap_y)
    width = {b.id: b.width for b in boxes}
    routes, height, reach = list(drawn.routes), drawn.height, gap_x / 4
    for index, link in enumerate(links):
        if link.back:
            height += gap_y / 2
            start = drawn.at[link.source][0] + width[link.source], drawn.at[link.source][1] + link.leaves
            end = drawn.at[link.target][0], drawn.at[link.target][1] + link.enters
            below = ((start[0] + reach, height), (end[0] - reach, height))
            routes.insert(index, (start, *below, end))
    return replace(drawn, routes=tuple(routes), height=height)


def _forward(boxes: Sequence[Box], links: Sequence[Link], gap_x: float, gap_y: float) -> Drawing:
    layer_of = _layers(boxes, links)
    items = {b.id: _Item(b.id, layer_of[b.id], b.height) for b in boxes}
    paths = [_bent(index, link, items) for index, link in enumerate(links)]
    layers: list[list[str]] = [[] for _ in range(max(layer_of.values()) + 1)]
    for item in items.values():
        layers[item.layer].append(item.id)
    layers = _ordered(layers, items)
    _heights(layers, items, gap_y)
    widths = [max((b.width for b in boxes if layer_of[b.id] == i), default=0.0) for i in range(len(layers))]
    lefts = [sum(widths[:i]) + gap_x * i for i in range(len(widths))]
    top = min(i.y for i in items.values())
    at = {
        b.id: (
            lefts[layer_of[b.id]] + (widths[layer_of[b.id]] - b.width) * (1.0 if b.last else 0.0),
            items[b.id].y - top,
        )
        for b in boxes
    }
    width_of, columns = {b.id: b.width for b in boxes}, list(zip(lefts, widths, strict=True))
    routes = tuple(
        _route(link, path, items, at=at, width=width_of, columns=columns, top=top)
        for link, path in zip(links, paths, strict=True)
    )
    return Drawing(
        at=at,
        routes=routes,
        width=lefts[-1] + widths[-1],
        height=max(i.y + i.height for i in items.values()) - top,
    )


def _layers(boxes: Sequence[Box], links: Sequence[Link]) -> dict[str, int]:
    layer = {b.id: 0 for b in boxes}
    for _ in boxes:  # at most as many rounds as boxes: the graph is acyclic
        moved = False
        for link in links:
            if layer[link.target] <= layer[link.source]:
                layer[link.target] = layer[link.source] + 1
                moved = True
        if not moved:
            break
    deepest = max(layer.values())
    for box in boxes:
        if box.last and not any(link.source == box.id for link in links):
            layer[box.id] = deepest
    return layer


def _bent(index: int, link: Link, items: dict[str, _Item]) -> list[str]:
    """Put bends into every layer between the ends of a link and join neighbours; returns the bends."""
    first, end = items[link.source].layer, items[link.target].layer
    bends = [f"\0{index}.{layer}" for layer in range(first + 1, end)]
    for bend, layer in zip(bends, range(first + 1, end), strict=True):
        items[bend] = _Item(bend, layer, _BEND_HEIGHT)
    middle = _BEND_HEIGHT / 2
    chain = [(link.source, link.leaves), *((b, middle) for b in bends), (link.target, link.enters)]
    for (left, left_y), (right, right_y) in itertools.pairwise(chain):
        items[left].after.append((right, right_y, left_y))
        items[right].before.append((left, left_y, right_y))
    return bends


def _ordered(layers: list[list[str]], items: Mapping[str, _Item]) -> list[list[str]]:
    best, fewest = [list(x) for x in layers], _crossings(layers, items)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        sequence = range(1, len(layers)) if forward else range(len(layers) - 2, -1, -1)
        for i in sequence:
            place = {n: k + 0.0 for k, n in enumerate(layers[i - 1 if forward else i + 1])}
            own = {n: k for k, n in enumerate(layers[i])}

            def mean(
                name: str,
                place: Mapping[str, float] = place,
                own: Mapping[str, int] = own,
                forward: bool = forward,
            ) -> float:
                joined = items[name].before if forward else items[name].after
                # The height within a neighbour breaks ties, so that wires of one box keep the order of its ports.
                spots = [place[n] + y * 1e-4 for n, y, _ in joined if n in place]
                return sum(spots) / len(spots) if spots else float(own[name])

            layers[i].sort(key=lambda n, mean=mean, own=own: (mean(n), own[n]))  # type: ignore[misc]
        found = _crossings(layers, items)
        if found < fewest:
            best, fewest = [list(x) for x in layers], found
    return best


def _crossings(layers: Sequence[Sequence[str]], items: Mapping[str, _Item]) -> int:
    total = 0
    for left, right in itertools.pairwise(layers):
        place = {n: k for k, n in enumerate(right)}
        ends = [
            (k, mine, place[n], theirs)
            for k, name in enumerate(left)
            for n, theirs, mine in items[name].after
            if n in place
        ]
        for i, a in enumerate(ends):
            for b in ends[i + 1 :]:
                if (a[:2] < b[:2] and a[2:] > b[2:]) or (a[:2] > b[:2] and a[2:] < b[2:]):
                    total += 1
    return total


def _heights(layers: Sequence[Sequence[str]], items: Mapping[str, _Item], gap: float) -> None:
    for layer in layers:
        y = 0.0
        for name in layer:
            items[name].y = y
            y += items[name].height + gap
    for sweep in range(_SWEEPS * 2):
        forward = sweep % 2 == 0
        for layer in layers if forward else reversed(layers):
            wanted = []
            for name in layer:
                item = items[name]
                joined = item.before if forward else item.after
                spots = sorted(items[n].y + theirs - mine for n, theirs, mine in joined)
                if not spots:
                    wanted.append(item.y)
                    continue
                half = len(spots) // 2
                wanted.append(spots[half] if len(spots) % 2 else (spots[half - 1] + spots[half]) / 2)
            _spread(layer, items, wanted, gap)


def _spread(layer: Sequence[str], items: Mapping[str, _Item], wanted: Sequence[float], gap: float) -> None:
    """Move a layer's boxes to where they want to be, in order and apart: boxes that collide move as one block."""
    blocks: list[tuple[float, float, int]] = []  # (sum of wishes for the block's top, height, boxes)
    for name, wish in zip(layer, wanted, strict=True):
        total, height, count = wish, items[name].height + gap, 1
        while blocks:
            above_total, above_height, above_count = blocks[-1]
            if above_total / above_count + above_height <= total / count:
                break
            blocks.pop()
            total = above_total + total - above_height * count
            height, count = above_height + height, above_count + count
        blocks.append((total, height, count))
    names = iter(layer)
    for total, _, count in blocks:
        y = total / count
        for _ in range(count):
            name = next(names)
            items[name].y = y
            y += items[name].height + gap


def _route(
    link: Link,
    bends: Sequence[str],
    items: Mapping[str, _Item],
    *,
    at: Mapping[str, tuple[float, float]],
    width: Mapping[str, float],
    columns: Sequence[tuple[float, float]],
    top: float,
) -> tuple[tuple[float, float], ...]:
    """Start, the ends of the straight piece through each bend's layer, end."""
    points = [(at[link.source][0] + width[link.source], at[link.source][1] + link.leaves)]
    for bend in bends:
        item = items[bend]
        left, across = columns[item.layer]
        y = item.y - top + item.height / 2
        points += [(left, y), (left + across, y)]
    return (*points, (at[link.target][0], at[link.target][1] + link.enters))
