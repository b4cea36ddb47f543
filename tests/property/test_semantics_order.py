"""Order and lineage (DESIGN 12, point 2): branches that meet give items back in their order, children come in the
order of their parents' lists, combines keep executions apart, and `@source`, `@offset`, `@path` name every row.

Method: random items through workflows whose result plain Python can tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.batch import OFFSET, PATH, SOURCE
from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.plan import Topology
from tests.property.semantics_items import TRIGGERS, items, write_inputs
from tests.property.test_semantics_batches import CASES, workflow
from tests.simulation.running import compiled, run, send, values, with_log

Item = dict[str, Any]
streams = st.lists(items, min_size=3, max_size=12)
few = settings(max_examples=max(settings.default.max_examples // 4, 10))  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("order")
    write_inputs(made)
    return made


def made(folder: Path, start: tuple[str, str], nodes: Sequence[str], wires: Sequence[str]) -> Topology:
    lines = ["workflow: order", "nodes:", f"  start: {TRIGGERS[start]}", *(f"  {n}" for n in nodes)]
    return compiled("\n".join([*lines, "connections:", *(f"  - {w}" for w in wires)]), folder)


def fed(topology: Topology, *executions: Sequence[Item]) -> TopologyDriver:
    driver = TopologyDriver(topology, nodes=registry())
    for execution in executions:
        driver.feed("start", execution)
    return driver


# Branches of different length, in an order that is not that of the ports; rows that fail come back by the error port.
BRANCHES = [
    "many: {type: split, field: tags, keep: true}",
    "odd: {type: if, when: long(n) % 2 == 1}",
    "ways: {type: switch, cases: [{when: long(n) == 0, port: none}, {when: long(n) == 2, port: two}]}",
    "a: {type: no-op}",
    "b: {type: set, fields: {n: long(n) + 0}}",
    "inner: {type: merge}",
    "all: {type: merge}",
]
BRANCH_WIRES = [
    "start -> many -> odd",
    "odd.false -> ways",
    "ways.default -> a -> inner",
    "ways.two -> inner",
    "ways.none -> inner",
    "inner -> b -> all",
    "odd.true -> all",
]


@pytest.mark.parametrize("start", sorted(TRIGGERS))
def test_branches_that_meet_give_items_back_in_their_order(start: tuple[str, str], folder: Path) -> None:
    topology = made(folder, start, BRANCHES, BRANCH_WIRES)

    @few
    @given(streams)
    def test(given: list[Item]) -> None:
        driver = fed(topology, given)
        assert driver.items("all") == [{**item, "tags": tag} for item in given for tag in item["tags"]]

    test()


def test_rows_that_failed_come_back_in_their_place(folder: Path) -> None:
    """A merge of a node's output and its error port has every item once, in order of arrival."""
    nodes = [
        "many: {type: split, field: tags, keep: true}",
        "share: {type: set, fields: {share: 6 // long(n)}, on_error: error_port}",
        "all: {type: merge}",
    ]
    topology = made(folder, ("item", "any"), nodes, ["start -> many -> share", "share.error -> all", "share -> all"])

    @few
    @given(streams)
    def test(given: list[Item]) -> None:
        expected = [(item["n"], tag, item["n"] == 0) for item in given for tag in item["tags"]]
        found: Any = fed(topology, given).items("all")
        assert [(v["n"], v["tags"], "error" in v) for v in found] == expected

    test()


@pytest.mark.parametrize("schema", ["typed", "any"])
def test_one_item_on_two_wires_comes_twice_in_order_of_the_wires(schema: str, folder: Path) -> None:
    nodes = ["first: {type: set, fields: {n: long(n) + 100}}", "all: {type: merge}"]
    topology = made(folder, ("item", schema), nodes, ["start -> all", "start -> first -> all"])

    @few
    @given(streams)
    def test(given: list[Item]) -> None:
        found: Any = fed(topology, given).items("all")
        assert [v["n"] for v in found] == [n for item in given for n in (item["n"], item["n"] + 100)]

    test()


@pytest.mark.parametrize("schema", ["typed", "any"])
def test_children_come_in_the_order_of_their_paths(schema: str, folder: Path) -> None:
    """Two splits after each other, one branch of them through a detour: a depth-first walk of the items."""
    nodes = [
        "tags: {type: split, field: tags, keep: true, index: i}",
        "odd: {type: if, when: long(tags) % 2 == 1}",
        "detour: {type: no-op}",
        "lines: {type: merge}",
        "apart: {type: split, field: lines, keep: true, index: j}",
    ]
    wires = ["start -> tags -> odd", "odd.false -> lines", "odd.true -> detour -> lines", "lines -> apart"]
    topology = made(folder, ("item", schema), nodes, wires)

    @few
    @given(streams)
    def test(given: list[Item]) -> None:
        driver = fed(topology, given)
        found: Any = driver.items("apart")
        expected = [
            (i, j, line) for item in given for i in range(len(item["tags"])) for j, line in enumerate(item["lines"])
        ]
        assert [(v["i"], v["j"], v["lines"]) for v in found] == expected
        for batch in driver.outputs.get(("apart", "out"), []):
            lineage = batch.frame.select(OFFSET, PATH).rows()
            assert lineage == sorted(lineage)

    test()


@pytest.mark.parametrize("schema", ["typed", "any"])
@pytest.mark.parametrize("extent", ["item", "run"])
def test_combines_keep_executions_apart(extent: str, schema: str, folder: Path) -> None:
    """The first odd one with the first even one of the same execution, never of another."""
    nodes = [
        "many: {type: split, field: tags, keep: true, index: at}",
        "odd: {type: if, when: long(tags) % 2 == 1}",
        "pairs: {type: merge, mode: combine_by_position, join: outer}",
    ]
    topology = made(
        folder, (extent, schema), nodes, ["start -> many -> odd", "odd.true -> pairs.left", "odd.false -> pairs.right"]
    )

    @few
    @given(st.lists(streams, min_size=1, max_size=2))
    def test(given: list[list[Item]]) -> None:
        executions = given if extent == "run" else [[item] for part in given for item in part]
        expected = []
        for execution in executions:
            tags = [tag for item in execution for tag in item["tags"]]
            expected += zip_longest([t for t in tags if t % 2], [t for t in tags if not t % 2])
        found: Any = fed(topology, *given).items("pairs")
        assert [_sides(v, schema) for v in found] == expected

    test()


def _sides(value: Item, schema: str) -> tuple[int | None, int | None]:
    """The tags of both items of a pair. Untyped pairs lack the fields of the side that was missing."""
    if schema == "typed" or "tags_right" in value:
        return value["tags"], value["tags_right"]
    return (value["tags"], None) if value["tags"] % 2 else (None, value["tags"])


# Where one row is on two wires into the same merge, it is there twice on purpose.
IDENTIFIED = sorted(set(CASES) - {"merge"})


@pytest.mark.parametrize("extent", ["item", "run"])
@pytest.mark.parametrize("kind", IDENTIFIED)
def test_source_offset_and_path_name_every_row(kind: str, extent: str, folder: Path) -> None:
    topology = compiled(workflow(kind, extent, "typed"), folder)

    @settings(max_examples=max(settings.default.max_examples // 15, 3))  # type: ignore[union-attr]
    @given(st.lists(st.lists(items, min_size=4, max_size=8), min_size=1, max_size=2))
    def test(given: list[list[Item]]) -> None:
        driver = fed(topology, *given)
        for (node, port), batches in driver.outputs.items():
            if (kind, node) == ("loop", "all"):
                continue  # a merge of what was in the loop with what went round it
            rows = pl.concat([b.frame.select(SOURCE, OFFSET, PATH) for b in batches])
            assert rows.is_unique().all(), f"{node}.{port}"

    test()


def test_order_holds_through_tasks_on_a_log(folder: Path) -> None:
    """The same over a log, whose steps hold many record batches: what is published is in the order of what was sent."""
    text = "\n".join(
        [
            "workflow: order",
            "nodes:",
            "  start: {type: event, topic: in, format: json}",
            *(f"  {n}" for n in BRANCHES[1:]),
            "  out: {type: publish, topic: out, format: json}",
            "connections:",
            "  - start -> odd",
            *(f"  - {w}" for w in (*BRANCH_WIRES[1:], "all -> out")),
        ]
    )
    given = [{"n": n * n % 7, "at": n} for n in range(500)]

    async def once(log: EmbeddedLog) -> list[Any]:
        await send(log, "in", given, batch=13)
        await run(compiled(text, folder), log)
        return await values(log, "out")

    assert asyncio.run(with_log(folder / "log", once)) == given


def test_more_than_a_byte_of_children_keep_their_order(folder: Path) -> None:
    """600 children, the odd ones through a detour: their paths differ in more than one byte."""
    nodes = [
        "many: {type: split, field: tags}",
        "odd: {type: if, when: long(tags) % 2 == 1}",
        "detour: {type: no-op}",
        "all: {type: merge}",
    ]
    topology = made(
        folder, ("item", "any"), nodes, ["start -> many -> odd", "odd.true -> detour -> all", "odd.false -> all"]
    )
    found: Any = fed(topology, [{"tags": list(range(600))}]).items("all")
    assert [v["tags"] for v in found] == list(range(600))
