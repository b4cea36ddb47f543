"""Rows whose state would be too large: exactly these fail, whatever else came with them."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pytest

from streamflow.model.batch import PATH, ROW, Batch
from streamflow.model.types import LONG, record_of
from streamflow.nodes import registry
from streamflow.runtime.careful import carefully
from streamflow.sdk.errors import EntryTooLarge
from streamflow.sdk.operator import Result
from streamflow.state.memory import MemoryStore
from streamflow.testing.driver import TopologyDriver
from tests.simulation.running import compiled

SCHEMA = record_of({"n": LONG})


def rows(*numbers: int, first: int = 0, path: bytes | None = None) -> Batch:
    frame = pl.DataFrame({"n": numbers, ROW: range(first, first + len(numbers))}, schema_overrides={ROW: pl.UInt32})
    if path is not None:
        frame = frame.with_columns(pl.lit(0, pl.UInt32).alias(ROW), pl.lit(path).alias(PATH))
    return Batch(frame, SCHEMA)


class Sums:
    """Keeps the sum of all numbers; 100 and more cannot be kept."""

    def __init__(self) -> None:
        self.store, self.parts = MemoryStore(), 0

    def __call__(self, inputs: Mapping[str, Batch]) -> Result:
        made = []
        for batch in inputs.values():
            for n in batch.frame["n"].to_list():
                total = int(self.store.get(b"sum") or b"0") + n
                self.store.put(b"sum", str(total).encode())
                made.append(total)
        if made[-1] >= 100:
            raise EntryTooLarge("too much.", mend="Take less.")
        count = sum(map(len, inputs.values()))
        return Result(outputs={"out": rows(*made)}, absorbed=0, filtered=0, emitted=len(made) - count)


def test_only_the_rows_that_do_not_fit_fail() -> None:
    sums, between = Sums(), []
    result = carefully(sums, {"in": rows(60, 50, 30, 20, 9, 1)}, [sums.store], lambda: between.append(1))
    assert result.outputs["out"].frame["n"].to_list() == [60, 90, 99]
    assert result.failed is not None
    assert result.failed.frame["n"].to_list() == [50, 20, 1]
    assert set(result.failed.frame["@error_message"]) == {"too much. Take less."}
    assert sums.store.changes() == [(b"sum", b"99")]
    assert len(between) == 5


def test_rows_that_arrived_as_one_fail_as_one() -> None:
    sums = Sums()
    result = carefully(sums, {"left": rows(60), "right": rows(50)}, [sums.store], lambda: None)
    assert result.failed is not None
    assert (len(result.failed), sums.store.changes()) == (2, [])


def test_children_of_one_row_are_told_apart_by_their_paths() -> None:
    sums = Sums()
    inputs = {"left": rows(60, path=b"\0"), "right": rows(50, path=b"\1")}
    result = carefully(sums, inputs, [sums.store], lambda: None)
    assert result.failed is not None
    assert result.failed.frame["n"].to_list() == [50]


@pytest.mark.parametrize("step_rows", [1, 3, 100])
@pytest.mark.parametrize("emit", ["coalesced", "every, every: 5ms", "update"])
def test_what_waits_for_the_end_of_a_step_is_given_of_all_parts(emit: str, step_rows: int) -> None:
    """Coalesced values and those at intervals are those of a stream without the row that fails."""
    plan = compiled(f"""
workflow: w
nodes:
  start: {{type: event, topic: in, format: json}}
  w:
    {{type: window, key: string(k), size: 20ms, emit: {emit},
     fields: {{last: {{function: last, of: long(n)}}, all: {{function: collect, of: string(v)}}}}}}
connections: [start -> w]
""")

    def last(items: list[tuple[int, str, int]]) -> tuple[dict[object, object], TopologyDriver]:
        driver = TopologyDriver(plan, nodes=registry(), step_rows=step_rows)
        fed = [{"k": k, "n": i, "v": "x" * size} for i, (_, k, size) in enumerate(items)]
        driver.feed("start", fed, keys=[None] * len(fed), times_ms=[t for t, _, _ in items], end=False)
        found = driver.items("w", "out")
        return {(i["key"], i["window_start"]): len(i["all"]) for i in found}, driver  # type: ignore[index,call-overload]

    large = [(t, "a", 400_000) for t in (2, 6, 7)]  # a record of the changelog holds two of them
    stream = [(0, "a", 1), (1, "b", 1), *large, (8, "a", 1), (8, "b", 1), (25, "a", 1), (90, "z", 1)]
    whole, driver = last(stream)
    assert whole == last([row for row in stream if row[:2] != (7, "a")])[0]
    assert [d["code"] for d in driver.dead_letters()] == ["too_large"]


NODES = {
    "pattern": "pattern, key: string(k), within: 10ms, steps: {a: long(n) >= 0, b: long(n) > 3}",
    "reduce": "reduce, key: string(k), initial: '\"\"', expression: accumulator + string(v), forget: 50ms",
    "sliding": "window, key: string(k), shape: sliding, size: 5ms, fields: {all: {function: collect, of: string(v)}}",
    "session": "window, key: string(k), shape: session, gap: 5ms, fields: {all: {function: collect, of: string(v)}}",
}


@pytest.mark.parametrize("kind", list(NODES))
def test_an_item_that_no_entry_can_hold_fails_alone(kind: str) -> None:
    plan = compiled(f"""
workflow: w
nodes:
  start: {{type: event, topic: in, format: json}}
  w: {{type: {NODES[kind]}}}
connections: [start -> w]
""")

    def given(sizes: list[tuple[int, int]]) -> tuple[list[object], int]:
        driver = TopologyDriver(plan, nodes=registry())
        for some in ([s for s in sizes if s[0] < 10], [s for s in sizes if s[0] > 10]):
            items = [{"k": "a", "v": "x" * size, "n": n} for n, size in some]
            driver.feed("start", items, keys=[None] * len(items), times_ms=[n for n, _ in some], end=False)
        return driver.items("w", "out"), driver.counts()["w"].dead_lettered

    stream = [(1, 1), (2, 1), (3, 1_100_000), (4, 1), (90, 1), (190, 1)]
    assert given(stream) == (given([row for row in stream if row[1] == 1])[0], 1)
