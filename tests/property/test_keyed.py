"""Nodes that remember something of each key, against plain models of their rules, in any order, cut anywhere.

A model goes row by row, keeps everything for ever and has no batches. It does what the node's documentation says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

DISORDER_MS, GRACE_MS = 3, 4
Row = tuple[int, str | None, int]  # event time, key, a number that says which row it is
Ports = dict[str, list[int]]


class Stream:
    """Rows as they come, with the watermark at each; late ones apart."""

    def __init__(self, rows: Sequence[Row], grace_ms: int) -> None:
        self.now = -(10**9)
        self.taken: list[tuple[int, Row]] = []
        self.late: list[int] = []
        for row in rows:
            self.now = max(self.now, row[0] - DISORDER_MS)
            if row[1] is None:
                continue
            if row[0] < self.now - grace_ms:
                self.late.append(row[2])
            else:
                self.taken.append((self.now, row))


def dedupe(rows: Sequence[Row], within_ms: int) -> Ports:
    stream, ports = Stream(rows, GRACE_MS), Ports(out=[], duplicates=[])
    passed: list[Row] = []
    for _, row in stream.taken:
        repeats = any(p[1] == row[1] and abs(p[0] - row[0]) < within_ms for p in passed)
        ports["duplicates" if repeats else "out"].append(row[2])
        passed += [] if repeats else [row]
    return {**ports, "late": stream.late}


def throttle(rows: Sequence[Row], per_ms: int, count: int) -> Ports:
    stream, ports = Stream(rows, GRACE_MS), Ports(out=[], over=[])
    passed: list[tuple[str | None, int]] = []
    for _, (ts, key, n) in stream.taken:
        over = passed.count((key, ts // per_ms)) >= count
        ports["over" if over else "out"].append(n)
        passed += [] if over else [(key, ts // per_ms)]
    return {**ports, "late": stream.late}


def debounce(rows: Sequence[Row], quiet_ms: int, at_most_ms: int) -> Ports:
    stream = Stream(rows, GRACE_MS)
    out: list[tuple[int, str, int]] = []  # when it comes out, key, row
    for key in ("a", "b", "c"):
        own = sorted((r for _, r in stream.taken if r[1] == key), key=lambda r: r[0])
        bursts: list[list[Row]] = []
        for row in own:
            burst = bursts[-1] if bursts else None
            if burst and row[0] - burst[-1][0] < quiet_ms and row[0] - burst[0][0] < at_most_ms:
                burst.append(row)
            else:
                bursts.append([row])
        out += [(min(b[-1][0] + quiet_ms, b[0][0] + at_most_ms) + GRACE_MS, key, b[-1][2]) for b in bursts]
    return {"out": [n for due, _, n in sorted(out) if due <= stream.now], "late": stream.late}


def pattern(rows: Sequence[Row], within_ms: int, *, strict: bool) -> Ports:
    """Three steps: what a number leaves when divided by 5. 3 is nothing, and 4 is the first and the second."""
    satisfies = [(0, 4), (1, 4), (2,)]
    stream = Stream(rows, GRACE_MS)
    whole: list[tuple[int, str, int, list[int]]] = []
    part: list[tuple[int, str, int, list[int]]] = []
    for key in ("a", "b", "c"):
        own = sorted((r for _, r in stream.taken if r[1] == key), key=lambda r: r[0])
        for at, first in enumerate(own):
            if first[2] % 5 not in satisfies[0]:
                continue
            taken, broken, ran_out = [first], False, first[0] + within_ms
            for row in own[at + 1 :]:
                if len(taken) == 3 or row[0] >= ran_out or broken:
                    break
                if row[2] % 5 in satisfies[len(taken)]:
                    taken.append(row)
                else:
                    broken = strict
            numbers = [r[2] for r in taken]
            if len(taken) == 3:
                whole.append((taken[-1][0] + 1, key, at, numbers))
            elif not broken:
                part.append((ran_out, key, at, numbers))
    ports: Ports = {"late": stream.late}
    for port, found in (("out", whole), ("timeout", part)):
        over = [numbers for due, _, _, numbers in sorted(found) if due + GRACE_MS <= stream.now]
        ports[port] = [n for numbers in over for n in (*numbers, -1)]
    return ports


def reduce(rows: Sequence[Row], forget_ms: int) -> Ports:
    """Values that show the order of their rows."""
    kept: dict[str | None, tuple[int, int]] = {}
    out: list[int] = []
    now = -(10**9)
    for ts, key, n in rows:
        now = max(now, ts - DISORDER_MS)
        if key is not None:
            value, latest = kept.get(key, (0, ts))
            value = 0 if now >= latest + forget_ms else value
            kept[key] = (3 * value + n + ts) % 1_000, max(latest, ts)
            out.append(kept[key][0])
    return {"out": out}


REDUCE = "type: reduce, value_field: n, initial: 0, expression: (3 * accumulator + long(n) + long(t)) % 1000"
STEPS = "steps: {first: 'long(n) % 5 in [0, 4]', second: 'long(n) % 5 in [1, 4]', third: long(n) % 5 == 2}"
WIRES = {"type: dedupe": "w.duplicates -> rest", "type: throttle": "w.over -> rest"}
NEVER_MS = 10**9
CASES: dict[str, tuple[str, Callable[[Sequence[Row]], Ports]]] = {
    "dedupe": ("type: dedupe, within: 7ms", lambda rows: dedupe(rows, 7)),
    "dedupe, near": ("type: dedupe, within: 1ms", lambda rows: dedupe(rows, 1)),
    "throttle": ("type: throttle, per: 10ms, count: 2", lambda rows: throttle(rows, 10, 2)),
    "debounce": ("type: debounce, quiet: 6ms", lambda rows: debounce(rows, 6, NEVER_MS)),
    "reduce": (REDUCE, lambda rows: reduce(rows, NEVER_MS)),
    "reduce, forget": (f"{REDUCE}, forget: 9ms", lambda rows: reduce(rows, 9)),
    "pattern": (f"type: pattern, within: 25ms, {STEPS}", lambda rows: pattern(rows, 25, strict=False)),
    "pattern, strict": (
        f"type: pattern, within: 25ms, contiguity: strict, {STEPS}",
        lambda rows: pattern(rows, 25, strict=True),
    ),
    "debounce, cut": ("type: debounce, quiet: 6ms, at_most: 9ms", lambda rows: debounce(rows, 6, 9)),
}


@cache
def topology(node: str) -> Topology:
    return compiled(
        f"""
workflow: keyed
nodes:
  start: {{type: event, topic: in, format: json, disorder: {DISORDER_MS}ms}}
  w: {{{graced(node)}, key: string(k)}}
  rest: {{type: no-op}}
connections: [start -> w, {WIRES.get(node.split(",", maxsplit=1)[0], "w -> rest")}]
""",
        Path(),
    )


def graced(node: str) -> str:
    return node if "reduce" in node else f"{node}, grace: {GRACE_MS}ms"


def run(node: str, rows: Sequence[Row], cuts: Sequence[int]) -> TopologyDriver:
    driver = TopologyDriver(topology(node), nodes=registry())
    for start, stop in pairwise([0, *cuts, len(rows)]):
        some = rows[start:stop]
        if some:
            items = [{"k": key, "n": n, "t": t} for t, key, n in some]
            driver.feed("start", items, times_ms=[r[0] for r in some], end=False)
            driver.commit()
    return driver


def numbers(driver: TopologyDriver, port: str) -> list[int]:
    """The numbers of rows; of a match those of its rows, and -1."""
    found: list[int] = []
    for item in driver.items("w", port):
        assert isinstance(item, dict)
        steps = [item[step]["n"] for step in ("first", "second", "third") if item.get(step) is not None]
        found += [item["n"]] if "n" in item else [*steps, -1]
    return found


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Row], list[int]]:
    """Rows that come a little or a lot out of order, and where steps end."""
    count, now, rows = draw(st.integers(1, 40)), 0, []
    for n in range(count):
        now += draw(st.sampled_from([0, 0, 1, 2, 5, 9, 20]))
        behind = draw(st.sampled_from([0, 0, 0, 1, 3, 8, 30]))
        rows.append((now - behind, draw(st.sampled_from(["a", "a", "b", "c", None])), n))
    return rows, sorted(draw(st.lists(st.integers(0, count), max_size=6)))


@pytest.mark.parametrize("case", list(CASES))
def test_a_node_does_what_its_model_does(case: str) -> None:
    node, model = CASES[case]

    @settings(max_examples=max(settings.default.max_examples // 4, 10))  # type: ignore[union-attr]
    @given(streams())
    def test(stream: tuple[list[Row], list[int]]) -> None:
        rows, cuts = stream
        driver = run(node, rows, cuts)
        expected = model(rows)
        assert {port: numbers(driver, port) for port in expected} == expected

    test()


@pytest.mark.parametrize("case", [c for c in CASES if c != "reduce"])
def test_state_does_not_grow_for_ever(case: str) -> None:
    node, _ = CASES[case]
    rows: list[Row] = [(at, f"k{at}", at) for at in range(0, 1_000, 2)]
    driver = run(node, rows, range(0, 500, 25))
    (store,) = driver.stores.values()
    assert len(list(store.scan())) < 60
    # At the end of time nothing is left.
    done = TopologyDriver(
        compiled(f"""
workflow: keyed
nodes:
  start: {{type: manual, items: []}}
  w: {{{graced(node)}, key: string(k)}}
connections: [start -> w]
"""),
        nodes=registry(),
    )
    done.feed("start", [{"k": "a", "n": 1, "t": 5}, {"k": "b", "n": 2, "t": 6}], times_ms=[5, 6])
    (store,) = done.stores.values()
    assert list(store.scan()) == []
