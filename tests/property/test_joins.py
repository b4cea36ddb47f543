"""Joins against a plain model of their rules, row by row, for streams in any order and cut anywhere.

The model holds rows in a list, looks at all of them for each that comes, and does what the node's documentation says.
It has no batches, no index and no store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.plan import Topology
from tests.simulation.running import compiled

DISORDER, GRACE, BEFORE, AFTER, SIZE, WITHIN, RETENTION = 3, 4, 6, 9, 12, 8, 15
NEVER = 10**12
TIMES = {
    "interval": f"before: {BEFORE}ms, after: {AFTER}ms, grace: {GRACE}ms",
    "ahead": f"before_ms: -2, after: {AFTER}ms",
    "window": f"time: window, size: {SIZE}ms, grace: {GRACE}ms",
    "asof": f"time: asof, within: {WITHIN}ms, grace: {GRACE}ms",
    "unbounded": "time: unbounded",
    "retained": f"time: unbounded, retention: {RETENTION}ms",
}
CASES = [
    *((kind, "interval", on) for kind in ("inner", "left", "right", "outer", "semi", "anti") for on in (False, True)),
    *(("outer", time, False) for time in ("ahead", "window")),
    *((kind, "asof", False) for kind in ("inner", "left")),
    *((kind, time, False) for kind in ("inner", "semi") for time in ("unbounded", "retained")),
]
KEPT = {"left": ["left"], "right": ["right"], "outer": ["left", "right"], "anti": ["left"]}
Given = tuple[str, str | None, int]  # side, key, event time
Made = tuple[int | None, int | None]  # numbers of the left row and the right row


@dataclass
class Row:
    number: int
    side: str
    key: str | None
    ts: int
    met: bool = False


@dataclass
class Model:
    """`out` and `late`: what comes out, in order."""

    kind: str
    time: str
    on: bool
    now: int = -(10**9)
    held: list[Row] = field(default_factory=list)
    out: list[Made] = field(default_factory=list)
    late: list[int] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.now = max(self.now, row.ts - DISORDER)
        self._time_passes()
        if row.key is None:
            if row.side in KEPT.get(self.kind, []):
                self.out.append(alone(row))
            return
        found = [h for h in self.held if self._meet(row, h)] if self.time != "asof" else []
        for other in sorted(found, key=lambda h: (h.ts, h.number)):
            self._pair(row, other)
            row.met = other.met = True
        if self.closes(row) <= self.now:
            if not row.met:
                self.late.append(row.number)
            return
        self.held.append(row)

    def _time_passes(self) -> None:
        closed = [h for h in self.held if self.closes(h) <= self.now]
        for row in sorted(closed, key=lambda h: (self.closes(h), h.number)):
            if self.time == "asof":
                self._as_of(row)
            elif not row.met and row.side in KEPT.get(self.kind, []):
                self.out.append(alone(row))
        kept = WITHIN if self.time == "asof" else 0
        self.held = [h for h in self.held if self.closes(h) + (kept if h.side == "right" else 0) > self.now]

    def _as_of(self, row: Row) -> None:
        if row.side == "right" or row.met:
            return
        row.met = True
        before = [h for h in self.held if h.side == "right" and h.key == row.key]
        before = [h for h in before if row.ts - WITHIN <= h.ts <= row.ts]
        if before:
            self.out.append((row.number, max(before, key=lambda h: (h.ts, h.number)).number))
        elif self.kind == "left":
            self.out.append(alone(row))

    def _pair(self, row: Row, other: Row) -> None:
        left, right = (row, other) if row.side == "left" else (other, row)
        if self.kind == "semi":
            if not left.met:
                self.out.append((left.number, None))
        elif self.kind != "anti":
            self.out.append((left.number, right.number))

    def _meet(self, one: Row, two: Row) -> bool:
        left, right = (one, two) if one.side == "left" else (two, one)
        if one.side == two.side or one.key != two.key or (self.on and (left.number + right.number) % 3 == 0):
            return False
        apart = right.ts - left.ts
        return {
            "interval": -BEFORE <= apart <= AFTER,
            "ahead": 2 <= apart <= AFTER,
            "window": left.ts // SIZE == right.ts // SIZE,
        }.get(self.time, True)

    def closes(self, row: Row) -> int:
        if self.time == "interval":
            return row.ts + (AFTER if row.side == "left" else BEFORE) + GRACE + 1
        if self.time == "ahead":
            return row.ts + (AFTER if row.side == "left" else 0) + 1
        if self.time == "window":
            return row.ts - row.ts % SIZE + SIZE + GRACE
        if self.time == "asof":
            return row.ts + GRACE + 1
        return row.ts + RETENTION + 1 if self.time == "retained" else NEVER


def alone(row: Row) -> Made:
    return (row.number, None) if row.side == "left" else (None, row.number)


@cache
def topology(kind: str, time: str, on: bool) -> Topology:
    condition = ', on: "(left.n + right.n) % 3 != 0"' if on else ""
    return compiled(
        f"""
workflow: joins
nodes:
  start: {{type: event, topic: in, format: json, disorder: {DISORDER}ms}}
  typed: {{type: set, keep: [], fields: {{side: string(side), k: string(k), n: long(n)}}}}
  keyed: {{type: repartition, key: k}}
  sides: {{type: switch, value: side, cases: [{{equals: left, port: a}}, {{equals: right, port: b}}]}}
  j: {{type: join, key: k, kind: {kind}, {TIMES[time]}, right_prefix: r_{condition}}}
connections: [start -> typed -> keyed -> sides, sides.a -> j.left, sides.b -> j.right]
""",
        Path(),
    )


def run(plan: Topology, rows: Sequence[Given], cuts: Sequence[int]) -> TopologyDriver:
    driver = TopologyDriver(plan, nodes=registry())
    for start, stop in pairwise([0, *cuts, len(rows)]):
        if start < stop:
            items = [{"side": s, "k": k, "n": n} for n, (s, k, _) in enumerate(rows)][start:stop]
            times = [ts for _, _, ts in rows[start:stop]]
            driver.feed("start", items, keys=[None] * len(items), times_ms=times, end=False)
            driver.commit()
    return driver


def pairs(driver: TopologyDriver) -> list[Made]:
    return [(i.get("n"), i.get("r_n")) for i in driver.items("j", "out")]  # type: ignore[attr-defined]


def late(driver: TopologyDriver) -> list[int]:
    return [(i["left"] or i["right"])["n"] for i in driver.items("j", "late")]  # type: ignore[index, call-overload]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Given], list[int]]:
    """Rows of both sides that come a little or a lot out of order, and where steps end."""
    count, now, rows = draw(st.integers(1, 40)), 0, []
    for _ in range(count):
        now += draw(st.sampled_from([0, 0, 1, 2, 5, 9, 25]))
        behind = draw(st.sampled_from([0, 0, 0, 1, 3, 8, 30]))
        key = draw(st.sampled_from(["a", "a", "a", "b", None]))
        rows.append((draw(st.sampled_from(["left", "right"])), key, max(now - behind, 0)))
    return rows, sorted(draw(st.lists(st.integers(0, count), max_size=6)))


def check(kind: str, time: str, on: bool, rows: Sequence[Given], cuts: Sequence[int]) -> None:
    model = Model(kind, time, on)
    for number, (side, key, ts) in enumerate(rows):
        model.add(Row(number, side, key, ts))
    driver = run(topology(kind, time, on), rows, cuts)
    assert pairs(driver) == model.out
    assert late(driver) == model.late
    # What is forgotten is out of the store as well, but for rows that share a block with others that are not.
    open_rows = [r for r in model.held if not (r.met and r.side == "left" and kind in ("semi", "anti"))]
    held = sum(len(run) - run.gone for runs in state(driver).values() for run in runs)
    assert held >= len(open_rows)
    if len(cuts) >= len(rows) - 1:
        assert held == len(open_rows)


def state(driver: TopologyDriver) -> dict[str, list]:  # type: ignore[type-arg]
    (graph,) = [g for g in driver._graphs.values() if "j" in g._operators]
    found: dict[str, list] = graph._operators["j"]._state.runs  # type: ignore[attr-defined, type-arg]
    return found


@pytest.mark.parametrize(("kind", "time", "on"), CASES)
def test_joins_are_those_of_the_model(kind: str, time: str, on: bool) -> None:
    @settings(max_examples=max(settings.default.max_examples // 8, 8))  # type: ignore[union-attr]
    @given(streams())
    def test(stream: tuple[list[Given], list[int]]) -> None:
        rows, cuts = stream
        check(kind, time, on, rows, cuts)
        if len(rows) < 15:
            check(kind, time, on, rows, range(1, len(rows)))

    test()
