"""Running values whose items are taken back, against a plain model that goes row by row, for streams cut anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.plan import Topology
from tests.simulation.running import compiled

Row = tuple[int, int, str, int, float]  # event time, 1 or -1, key, a whole number, a double
Shown = tuple[str, tuple[object, ...]]
FUNCTIONS = {
    "n": "{function: count}",
    "some": "{function: count, of: long(n)}",
    "sum": "{function: sum, of: long(n)}",
    "mean": "{function: mean, of: long(n)}",
    "total": "{function: sum, of: double(x)}",
    "low": "{function: min, of: long(n)}",
    "first": "{function: first, of: long(n)}",
    "last": "{function: last, of: double(x)}",
    "all": "{function: collect, of: double(x)}",
}


class Group:
    """What is there and what is owed, by function: each looks for items by its own values."""

    def __init__(self) -> None:
        self.count = self.sum = 0
        self.whole: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        self.double: tuple[list[tuple[float, int]], list[tuple[float, int]]] = ([], [])

    def add(self, row: Row) -> None:
        at, sign, _, number, double = row
        self.count += sign
        self.sum += sign * number
        for value, held in ((number, self.whole), (double, self.double)):
            there, owed = held if sign > 0 else held[::-1]
            exact = [i for i, (v, t) in enumerate(owed) if v == value and t == at]
            alike = exact or [i for i, (v, _) in enumerate(owed) if v == value]
            if alike:
                del owed[alike[0]]
            else:
                there.append((value, at))  # type: ignore[arg-type]

    @property
    def empty(self) -> bool:
        return not (self.count or self.sum or any(self.whole) or any(self.double))

    def value(self) -> tuple[object, ...] | None:
        if self.count <= 0:
            return None
        numbers, doubles = self.whole[0], self.double[0]
        total = 0.0
        for v, _ in doubles:
            total += v
        latest = max(t for _, t in doubles)
        first, last = min(numbers, key=lambda one: one[1])[0], [v for v, t in doubles if t == latest][-1]
        exact = self.count, self.count, self.sum, self.sum / self.count
        return (*exact, total, min(v for v, _ in numbers), first, last, tuple(v for v, _ in doubles))


def model(rows: Sequence[Row]) -> tuple[list[Shown], list[Shown]]:
    groups: dict[str, Group] = {}
    gone: list[Shown] = []
    out: list[Shown] = []
    for row in rows:
        group = groups.setdefault(row[2], Group())
        before = group.value()
        group.add(row)
        after = group.value()
        if before != after:
            gone += [(row[2], before)] if before else []
            out += [(row[2], after)] if after else []
    return gone, out


@cache
def topology(emit: str) -> Topology:
    fields = ", ".join(f"{name}: {function}" for name, function in FUNCTIONS.items())
    return compiled(
        f"""
workflow: changes
nodes:
  start: {{type: event, topic: in, format: json}}
  spread: {{type: repartition, key: string(k)}}
  old: {{type: filter, when: long(s) < 0}}
  new: {{type: filter, when: long(s) > 0}}
  w: {{type: window, key: string(k), shape: unbounded, emit: {emit}, fields: {{{fields}}}}}
connections: [start -> spread -> old -> w.gone, spread -> new -> w.in]
""",
        Path(),
    )


def run(emit: str, rows: Sequence[Row], cuts: Sequence[int]) -> TopologyDriver:
    driver = TopologyDriver(topology(emit), nodes=registry())
    for start, stop in pairwise([0, *cuts, len(rows)]):
        some = rows[start:stop]
        if some:
            items = [{"s": s, "k": k, "n": n, "x": x} for _, s, k, n, x in some]
            driver.feed("start", items, keys=[None] * len(some), times_ms=[r[0] for r in some], end=False)
            driver.commit()
    return driver


def shown(driver: TopologyDriver, port: str) -> list[Shown]:
    rows: list[dict[str, Any]] = [r for b in driver.outputs.get(("w", port), []) for r in b.frame.iter_rows(named=True)]
    return [(r["key"], tuple(tuple(r[f]) if f == "all" else r[f] for f in FUNCTIONS)) for r in rows]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Row], list[int]]:
    count = draw(st.integers(1, 25))
    rows = [
        (
            draw(st.integers(0, 3)),
            draw(st.sampled_from([1, 1, -1])),
            draw(st.sampled_from(["a", "b"])),
            draw(st.integers(-1, 1)),
            draw(st.sampled_from([0.1, 1e16, -1e16])),
        )
        for _ in range(count)
    ]
    return rows, sorted(draw(st.lists(st.integers(0, count), max_size=5)))


@settings(max_examples=max(settings.default.max_examples // 5, 10))  # type: ignore[union-attr]
@given(streams())
def test_items_are_taken_back_as_in_the_model(stream: tuple[list[Row], list[int]]) -> None:
    rows, cuts = stream
    driver = run("update", rows, cuts)
    gone, out = model(rows)
    assert shown(driver, "gone") == gone
    assert shown(driver, "out") == out
    # Coalesced: what was given and is not gone is what there is in the end.
    driver = run("coalesced", rows, cuts)
    there = shown(driver, "out")
    for one in shown(driver, "gone"):
        there.remove(one)
    ends = list(out)
    for one in gone:
        ends.remove(one)
    assert sorted(map(str, there)) == sorted(map(str, ends))


def test_a_sum_that_does_not_fit_is_no_value_until_it_fits_again() -> None:
    big = 2**62
    rows: list[Row] = [(0, 1, "a", big, 0.0), (0, 1, "a", big, 0.0), (0, -1, "a", big, 0.0)]
    driver = run("update", rows, [1])
    assert [one[1][2] for one in shown(driver, "out")] == [big, big]
    assert [one[1][2] for one in shown(driver, "gone")] == [big]
    assert [d["code"] for d in driver.dead_letters()] == ["overflow"]
    driver = run("coalesced", rows, [1, 2])
    assert [one[1][2] for one in shown(driver, "out")] == [big, big]
    assert [d["code"] for d in driver.dead_letters()] == ["overflow"]
