"""reduce and code as functions of windows, against a plain model: row by row, with rows that fail for what came before.

All functions here depend on the order of rows, and fail for some of them: which ones follows from the state. The model
takes a row into all of its windows and functions, or into none. It has no batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.plan import Topology
from tests.property.test_windows import ADVANCE_MS, DISORDER_MS, EVERY_MS, GAP_MS, GRACE_MS, SHAPES, SIZE_MS, _ms
from tests.simulation.running import compiled

Row = tuple[int, str, int]  # event time, key, number
Values = tuple[int, list[int], list[int]]
INITIAL: Values = (1, [], [])
EXPRESSION = "accumulator * 2 + 100 // ((accumulator + n) % 7)"
COMBINE = "accumulator * 3 + other // ((accumulator + other) % 5)"


class Adjacent:
    """Refuses what is, modulo 4, as the one before."""

    def init(self) -> list[int]:
        return []

    def add(self, state: list[int], n: int) -> list[int]:
        state.append(n % 4)  # before it raises: what a call that fails has changed does not count
        if state[-2:-1] == [n % 4]:
            raise ValueError("as the one before")
        return state

    def merge(self, a: list[int], b: list[int]) -> list[int]:
        if a[-1] == b[0]:
            raise ValueError("as the one before")
        return a + b

    def result(self, state: list[int]) -> list[int]:
        return state


class Framed(Adjacent):
    """The same by frames, modulo 5."""

    def add_frame(self, state: list[int], frame: pl.DataFrame) -> list[int]:
        for n in frame["value"].to_list():
            if state[-1:] == [n % 5]:
                raise ValueError("as the one before")
            state.append(n % 5)
        return state


def added(values: Values, n: int) -> Values:
    """Raises ZeroDivisionError, ValueError."""
    total, last, framed = values
    return (
        total * 2 + 100 // ((total + n) % 7),
        Adjacent().add(list(last), n),
        Framed().add_frame(list(framed), pl.DataFrame({"value": [n]})),
    )


def merged(a: Values, b: Values) -> Values:
    """Raises ZeroDivisionError, ValueError."""
    return a[0] * 3 + b[0] // ((a[0] + b[0]) % 5), Adjacent().merge(a[1], b[1]), Framed().merge(a[2], b[2])


@cache
def topology(shape: str, emit: str) -> Topology:
    combine = f"combine: '{COMBINE}', " if shape in ("session", "sliding") else ""
    return compiled(
        f"""
workflow: windows
nodes:
  start: {{type: event, topic: in, format: json, key: string(k), partitioned_by: string(k), disorder: {DISORDER_MS}ms}}
  typed: {{type: set, keep: [], fields: {{k: string(k), n: long(n)}}}}
  w:
    type: window
    key: k
    {SHAPES[shape].replace(", ", chr(10) + "    ")}
    grace: {GRACE_MS}ms
    emit: {emit}
    fields:
      total: {{function: reduce, initial: 1, {combine}expression: "{EXPRESSION}"}}
      rows: {{function: count}}
      last: {{function: code, aggregator: "tests.property.test_window_models:Adjacent", of: n}}
      framed: {{function: code, aggregator: "tests.property.test_window_models:Framed", of: n}}
connections: [start -> typed -> w]
""",
        Path(),
    )


def run(shape: str, emit: str, rows: Sequence[Row], cuts: Sequence[int]) -> TopologyDriver:
    driver = TopologyDriver(topology(shape, emit), nodes=registry())
    for start, stop in pairwise([0, *cuts, len(rows)]):
        if some := rows[start:stop]:
            items = [{"k": k, "n": n} for _, k, n in some]
            driver.feed("start", items, keys=[None] * len(some), times_ms=[r[0] for r in some], end=False)
            driver.commit()
    return driver


def windows(driver: TopologyDriver) -> list[tuple[Any, ...]]:
    found = []
    for batch in driver.outputs.get(("w", "out"), []):
        for r in batch.frame.iter_rows(named=True):
            lists = [[int(x) for x in r[name].strip(b"[]").split(b",")] for name in ("last", "framed")]
            found.append((r["k"], _ms(r["window_start"]), _ms(r["window_end"]), r["rows"], (r["total"], *lists)))
    return found


def failed(driver: TopologyDriver) -> list[tuple[object, ...]]:
    return [(d["code"], d["item"]["n"]) for d in driver.dead_letters()]  # type: ignore[index]


class Model:
    """`closed`, `updates`: as windows close, and as rows come. `failed`: numbers of rows that failed."""

    def __init__(self, shape: str) -> None:
        self.shape, self.now = shape, -(10**9)
        self.open: dict[tuple[str, int, int], tuple[int, Values]] = {}
        self.closed: list[tuple[Any, ...]] = []
        self.updates: list[tuple[Any, ...]] = []
        self.failed: list[int] = []

    def add(self, row: Row) -> None:
        self.now = max(self.now, row[0] - DISORDER_MS)
        late = GRACE_MS + (self.shape == "session")
        for end, key, start in sorted((w[2], w[0], w[1]) for w in self.open if w[2] + late <= self.now):
            self.closed.append((key, start, end, *self.open.pop((key, start, end))))
        try:
            (self.in_session if self.shape == "session" else self.in_aligned)(row)
        except (ZeroDivisionError, ValueError):
            self.failed.append(row[2])

    def in_aligned(self, row: Row) -> None:
        ts, key, n = row
        step = ADVANCE_MS if self.shape == "hopping" else SIZE_MS
        starts = [
            s for s in range(0, ts + 1) if s % step == 0 and ts - SIZE_MS < s and s + SIZE_MS + GRACE_MS > self.now
        ]
        grown = {}
        for start in starts:
            count, values = self.open.get((key, start, start + SIZE_MS), (0, INITIAL))
            grown[key, start, start + SIZE_MS] = count + 1, added(values, n)
        self.open |= grown
        self.updates += [(*window, *state) for window, state in grown.items()]

    def in_session(self, row: Row) -> None:
        ts, key, n = row
        alone = added(INITIAL, n)
        near = sorted(w for w in self.open if w[0] == key and w[1] - GAP_MS <= ts <= w[2])
        start, last = min([ts, *(w[1] for w in near)]), max([ts, *(w[2] - GAP_MS for w in near)])
        if last + GAP_MS + GRACE_MS < self.now:
            return
        held = [self.open[w] for w in near]
        state = sum(count for count, _ in held) + 1, reduce(merged, [*(values for _, values in held), alone])
        for window in near:
            del self.open[window]
        self.open[key, start, last + GAP_MS] = state
        self.updates.append((key, start, last + GAP_MS, *state))


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Row], list[int]]:
    """Rows a little or a lot out of order, and where steps end."""
    count, now, rows = draw(st.integers(1, 25)), 0, []
    for _ in range(count):
        now += draw(st.sampled_from([0, 0, 1, 2, 5, 9, 20]))
        behind = draw(st.sampled_from([0, 0, 0, 1, 3, 8]))
        rows.append((max(now - behind, 0), draw(st.sampled_from(["a", "a", "b"])), draw(st.integers(0, 30))))
    return rows, sorted(draw(st.lists(st.integers(0, count), max_size=5)))


@pytest.mark.parametrize("shape", ["tumbling", "hopping", "session"])
def test_windows_are_those_of_the_model(shape: str) -> None:
    @settings(max_examples=max(settings.default.max_examples // 10, 5))  # type: ignore[union-attr]
    @given(streams())
    def test(stream: tuple[list[Row], list[int]]) -> None:
        rows, cuts = stream
        model = Model(shape)
        for row in rows:
            model.add(row)
        closing, updating = run(shape, "close", rows, cuts), run(shape, "update", rows, cuts)
        assert windows(closing) == model.closed
        assert windows(updating) == model.updates
        for driver in (closing, updating):
            assert [n for _, n in failed(driver)] == model.failed
            assert {code for code, _ in failed(driver)} <= {"division_by_zero", "exception"}
        last = {w[:3]: w[3:] for w in windows(run(shape, "coalesced", rows, cuts))}
        ends = {w[:3]: w[3:] for w in model.closed} | dict(model.open.items())
        assert {window: last[window] for window in ends} == ends

    test()


@pytest.mark.parametrize("emit", ["close", "update", f"every\n    every: {EVERY_MS}ms"])
@pytest.mark.parametrize("shape", ["sliding", "hopping"])
def test_steps_do_not_show(shape: str, emit: str) -> None:
    """Sliding windows whose states cannot be put together fail as a whole, and as often whatever the steps."""

    @settings(max_examples=max(settings.default.max_examples // 20, 3))  # type: ignore[union-attr]
    @given(streams())
    def test(stream: tuple[list[Row], list[int]]) -> None:
        rows, cuts = stream
        cut, whole = run(shape, emit, rows, cuts), run(shape, emit, rows, [])
        assert windows(cut) == windows(whole)
        # Windows that fail as they close stand between the rows of the same step in some order of their own.
        assert sorted(map(str, failed(cut))) == sorted(map(str, failed(whole)))

    test()


def test_a_sliding_window_is_put_together_in_order_of_arrival() -> None:
    driver = run("sliding", "close", [(1, "a", 1), (3, "a", 3), (2, "a", 2), (90, "z", 1)], [2])
    alone = [added(INITIAL, n) for n in (1, 3, 2)]
    first = next(w for w in windows(driver) if w[1:3] == (0, SIZE_MS))
    assert first[3:] == (3, reduce(merged, alone))
