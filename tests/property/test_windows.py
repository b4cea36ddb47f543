"""Windows against a plain model of their rules, row by row, for streams in any order and cut anywhere.

The model knows groups as lists of values, and does what the node's documentation says. It has no batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
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

DISORDER_MS, GRACE_MS, SIZE_MS, ADVANCE_MS, GAP_MS, EVERY_MS = 3, 4, 12, 5, 6, 7
SHAPES = {
    "tumbling": f"shape: tumbling, size: {SIZE_MS}ms",
    "hopping": f"shape: hopping, size: {SIZE_MS}ms, advance: {ADVANCE_MS}ms",
    "session": f"shape: session, gap: {GAP_MS}ms",
    "sliding": f"shape: sliding, size: {SIZE_MS}ms",
}
Row = tuple[int, str | None, int, float]  # event time, key, a whole number, a double
Window = tuple[str, int, int, tuple[object, ...]]  # key, start, end, values, as below


def values(rows: Sequence[Row]) -> tuple[object, ...]:
    numbers = [n for _, _, n, _ in rows]
    total = 0.0
    for row in rows:
        total += row[3]
    by_time = sorted(rows, key=lambda r: r[0])
    first, last = by_time[0][2], [r for r in by_time if r[0] == by_time[-1][0]][-1][2]
    by_x = sorted(rows, key=lambda r: (-r[3], r[0]))
    top = tuple((r[2], r[3]) for r in by_x[:2])
    lowest = min(rows, key=lambda r: (r[3], r[0]))[2]
    return len(rows), sum(numbers), total / len(rows), first, last, tuple(numbers), by_x[0][2], lowest, top


class Model:
    """`closed`: windows as they close, in order of time and key. `updates`: what each row makes of its windows."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, int, int], list[Row]] = {}
        self.now = -(10**9)
        self.closed: list[Window] = []
        self.updates: list[Window] = []
        self.every: list[Window] = []
        self.ticks: dict[tuple[str, int, int], int] = {}  # windows that changed: when they are given
        self.late: list[int] = []
        self.kept: list[tuple[Row, int]] = []  # sliding: what was taken, and when

    def add(self, row: Row, arrive: Callable[[Model, Row], bool], due: Callable[[int], int]) -> None:
        self.now = max(self.now, row[0] - DISORDER_MS)
        over = sorted((due(end), key, start, end) for key, start, end in self.open if due(end) <= self.now)
        changed = [(at, *w) for w, at in self.ticks.items() if w in self.open and at <= self.now and at < due(w[2])]
        self.every += [(*w, values(self.open[w])) for w in (one[1:] for one in sorted([*over, *changed]))]
        for _, key, start, end in over:
            self.closed.append((key, start, end, values(self.open.pop((key, start, end)))))
        self.ticks = {w: at for w, at in self.ticks.items() if at > self.now}
        count = len(self.updates)
        if row[1] is not None and not arrive(self, row):
            self.late.append(row[2])
        self.ticks |= {w[:3]: (self.now // EVERY_MS + 1) * EVERY_MS for w in self.updates[count:]}


def clocked(starts: Callable[[int], list[int]]) -> Callable[[Model, Row], bool]:
    def arrive(model: Model, row: Row) -> bool:
        ts, key, *_ = row
        assert key is not None
        taken = [s for s in starts(ts) if s >= 0 and s + SIZE_MS + GRACE_MS > model.now]
        for start in taken:
            window = key, start, start + SIZE_MS
            model.open.setdefault(window, []).append(row)
            model.updates.append((*window, values(model.open[window])))
        return bool(taken)

    return arrive


def session(model: Model, row: Row) -> bool:
    ts, key, *_ = row
    assert key is not None
    near = sorted(w for w in model.open if w[0] == key and w[1] - GAP_MS <= ts <= w[2])
    start, last = min([ts, *(w[1] for w in near)]), max([ts, *(w[2] - GAP_MS for w in near)])
    if last + GAP_MS + GRACE_MS < model.now:
        return False
    held = [r for w in near for r in model.open.pop(w)]
    model.ticks = {w: at for w, at in model.ticks.items() if w not in near}
    model.open[key, start, last + GAP_MS] = [*held, row]
    model.updates.append((key, start, last + GAP_MS, values([*held, row])))
    return True


def sliding(model: Model, row: Row) -> bool:
    ts, key, *_ = row
    assert key is not None
    here = [r for r in model.kept if r[0][1] == key]
    starts = {start for (of, start, end) in model.open if of == key and start <= ts <= end}
    starts |= {r[0] + 1 for r, _ in here if r[0] < ts <= r[0] + 1 + SIZE_MS} | {max(ts - SIZE_MS, 0)}
    open_now = sorted(s for s in starts if s + SIZE_MS + GRACE_MS >= model.now)
    if not open_now:
        return False
    model.kept.append((row, model.now))
    for start in [*open_now, ts + 1]:
        window, end = (key, start, start + SIZE_MS), start + SIZE_MS
        is_new = window not in model.open
        held = [r for r, then in [*here, (row, model.now)] if start <= r[0] <= end and end + GRACE_MS >= then]
        if held and (is_new or start <= ts):
            model.open[window] = held
            model.updates.append((*window, values(held)))
    return True


RULES: dict[str, tuple[Callable[[Model, Row], bool], Callable[[int], int]]] = {
    "tumbling": (clocked(lambda ts: [ts - ts % SIZE_MS]), lambda end: end + GRACE_MS),
    "hopping": (
        clocked(lambda ts: [s for s in range(-SIZE_MS, ts + 1) if s % ADVANCE_MS == 0 and ts - SIZE_MS < s <= ts]),
        lambda end: end + GRACE_MS,
    ),
    "session": (session, lambda end: end + GRACE_MS + 1),
    "sliding": (sliding, lambda end: end + GRACE_MS + 1),
}


@cache
def topology(shape: str, emit: str) -> Topology:
    return compiled(
        f"""
workflow: windows
nodes:
  start: {{type: event, topic: in, format: json, key: string(k), partitioned_by: string(k), disorder: {DISORDER_MS}ms}}
  typed: {{type: set, keep: [], fields: {{k: string(k), n: long(n), x: double(x)}}}}
  w:
    type: window
    key: string(k)
    {SHAPES[shape].replace(", ", chr(10) + "    ")}
    grace: {GRACE_MS}ms
    emit: {emit}
    fields:
      count: {{function: count}}
      sum: {{function: sum, of: long(n)}}
      mean: {{function: mean, of: double(x)}}
      first: {{function: first, of: long(n)}}
      last: {{function: last, of: long(n)}}
      all: {{function: collect, of: long(n)}}
      best: {{function: max_by, of: long(n), by: double(x)}}
      worst: {{function: min_by, of: long(n), by: double(x)}}
      top: {{function: top, of: long(n), by: double(x), k: 2}}
connections: [start -> typed -> w]
""",
        Path(),
    )


def run(shape: str, emit: str, rows: Sequence[Row], cuts: Sequence[int]) -> TopologyDriver:
    driver = TopologyDriver(topology(shape, emit), nodes=registry())
    for start, stop in pairwise([0, *cuts, len(rows)]):
        some = rows[start:stop]
        if some:
            items = [{"k": k, "n": n, "x": x} for _, k, n, x in some]
            driver.feed("start", items, keys=[None] * len(some), times_ms=[r[0] for r in some], end=False)
            driver.commit()
    return driver


def windows(driver: TopologyDriver, port: str = "out") -> list[Window]:
    found: list[Window] = []
    for batch in driver.outputs.get(("w", port), []):
        for r in batch.frame.iter_rows(named=True):
            edges = (_ms(r["window_start"]), _ms(r["window_end"]))
            plain = (r["count"], r["sum"], r["mean"], r["first"], r["last"], tuple(r["all"]))
            made = (*plain, r["best"], r["worst"], tuple((one["value"], one["by"]) for one in r["top"]))
            found.append((r["key"], *edges, made))
    return found


def _ms(at: datetime) -> int:
    return round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Row], list[int]]:
    """Rows that come a little or a lot out of order, and where steps end."""
    count, now, rows = draw(st.integers(1, 30)), 0, []
    for n in range(count):
        now += draw(st.sampled_from([0, 0, 1, 2, 5, 9, 20]))
        behind = draw(st.sampled_from([0, 0, 0, 1, 3, 8, 30]))
        key = draw(st.sampled_from(["a", "a", "b", "c", None]))
        rows.append((max(now - behind, 0), key, n, draw(st.sampled_from([0.1, 1e16, -1e16, 3.0]))))
    return rows, sorted(draw(st.lists(st.integers(0, count), max_size=6)))


@pytest.mark.parametrize("shape", list(SHAPES))
def test_windows_are_those_of_the_model(shape: str) -> None:
    @settings(max_examples=max(settings.default.max_examples // 4, 10))  # type: ignore[union-attr]
    @given(streams())
    def test(stream: tuple[list[Row], list[int]]) -> None:
        rows, cuts = stream
        model = Model()
        for row in rows:
            model.add(row, *RULES[shape])
        closing = run(shape, "close", rows, cuts)
        assert windows(closing) == model.closed
        assert [i["n"] for i in closing.items("w", "late")] == model.late  # type: ignore[index, call-overload]
        assert windows(run(shape, "update", rows, cuts)) == model.updates
        if shape != "session":
            assert windows(run(shape, f"every\n    every: {EVERY_MS}ms", rows, cuts)) == model.every
        # Coalesced: the last that is given of each window is what it has come to, whether it has closed or not.
        last = {w[:3]: w[3] for w in windows(run(shape, "coalesced", rows, cuts))}
        ends = {w[:3]: w[3] for w in model.closed} | {w: values(held) for w, held in model.open.items()}
        assert {window: last[window] for window in ends} == ends

    test()


@pytest.mark.parametrize("cuts", [[], [1, 2, 3, 4], [2]])
def test_a_session_that_grows_takes_back_what_was_given_of_it(cuts: list[int]) -> None:
    rows: list[Row] = [(10, "a", 0, 0.0), (24, "a", 1, 0.0), (17, "a", 2, 0.0), (20, "a", 3, 0.0)]
    driver = run("session", "update", rows, cuts)
    assert [w[1:3] for w in windows(driver)] == [(10, 16), (24, 30), (17, 23), (17, 30)]
    assert [w[1:3] for w in windows(driver, "gone")] == [(17, 23), (24, 30)]
    # Coalesced: what was given before, with other edges.
    driver = run("session", "coalesced", rows, cuts)
    given, gone = {w[:3] for w in windows(driver)}, [w[:3] for w in windows(driver, "gone")]
    assert given - set(gone) == {("a", 10, 16), ("a", 17, 30)}
    assert set(gone) <= given


@pytest.mark.parametrize("step_rows", [1, 2, 3])
@pytest.mark.parametrize("fold", ["function: collect", 'function: join, separator: ""'])
def test_a_row_that_joins_two_sessions_gives_one_order(fold: str, step_rows: int) -> None:
    """The earlier session first, then the later, then the row, also where all of them come in one step."""
    plan = compiled(
        f"""
workflow: joined
nodes:
  start: {{type: manual}}
  w: {{type: window, key: string(k), shape: session, gap: 10ms, grace: 1s, fields: {{all: {{{fold}, of: string(v)}}}}}}
connections: [start -> w]
""",
        Path(),
    )
    driver = TopologyDriver(plan, nodes=registry(), step_rows=step_rows)
    items = [{"k": "a", "v": v} for v in "ABC"] + [{"k": "b", "v": ""}]
    driver.feed("start", items, times_ms=[20, 5, 12, 5000])
    assert "".join(driver.outputs["w", "out"][0].frame["all"][0]) == "BAC"
