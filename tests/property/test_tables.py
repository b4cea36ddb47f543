"""Tables against plain models, row by row, for streams in any order and cut anywhere.

A model is a dict. For joins by foreign key the three parts run one behind another, and what the partitions of the
second say is mixed in any order: the result may not depend on it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.model.types import BYTES, LONG, STRING, record_of
from streamflow.nodes import registry
from streamflow.nodes.foreign_join import ForeignMatches, ForeignResult, ForeignRows
from streamflow.operators.foreign_rows import MESSAGE, with_fields
from streamflow.sdk.expression import Expression
from streamflow.testing.driver import TopologyDriver
from streamflow.testing.operator_kit import Arrival, KitBuild, make_node, run_node
from streamflow.topology.plan import Topology
from tests.simulation.running import compiled

Row = tuple[str, str | None, int, int]  # port, key, number, event time
Given = list[tuple[str, str | None, object, int]]  # port, key, number or pair of numbers, event time
EXAMPLES = max(settings.default.max_examples // 4, 10)  # type: ignore[union-attr]
ITEM = record_of({"k": STRING.optional(), "n": LONG})
KEY_ONLY = record_of({"key": BYTES})
SIDES = ("left", "left_gone", "right", "right_gone")
KINDS: dict[str, tuple[tuple[str, ...], str, dict[str, Any]]] = {
    "table": (("in", "gone"), "table", {}),
    "lookup-inner": (("in", "table", "gone"), "lookup", {"prefix": "r_"}),
    "lookup-left": (("in", "table", "gone"), "lookup", {"join": "left", "prefix": "r_"}),
    "join-inner": (SIDES, "table_join", {"join": "inner", "prefix": "r_"}),
    "join-left": (SIDES, "table_join", {"join": "left", "prefix": "r_"}),
    "join-outer": (SIDES, "table_join", {"join": "outer", "prefix": "r_"}),
}


class Table:
    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, int]] = {}  # number, time

    def change(self, key: str, row: tuple[int, int] | None) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        before = self.rows.pop(key, None)
        if row is not None:
            self.rows[key] = row
        return before, row


def table(rows: Sequence[Row]) -> Given:
    made: Given = []
    kept = Table()
    for port, key, n, ts in rows:
        if key is not None:
            before, now = kept.change(key, (n, ts) if port == "in" else None)
            made += [("gone", key, before[0], ts)] if before else []
            made += [("out", key, now[0], ts)] if now else []
    return made


def lookup(rows: Sequence[Row], how: str) -> Given:
    made: Given = []
    kept = Table()
    for port, key, n, ts in rows:
        if port != "in":
            if key is not None:
                kept.change(key, (n, ts) if port == "table" else None)
            continue
        found = kept.rows.get(key) if key is not None else None
        if found or how == "left":
            made.append(("out", key, (n, found[0] if found else None), ts))
    return made


def joined(rows: Sequence[Row], how: str) -> Given:
    made: Given = []
    sides = {"left": Table(), "right": Table()}

    def result(key: str) -> tuple[int | None, int | None] | None:
        left, right = (sides[s].rows.get(key) for s in ("left", "right"))
        there = {"inner": left and right, "left": left, "outer": left or right}[how]
        return (left and left[0], right and right[0]) if there else None  # type: ignore[return-value]

    for port, key, n, ts in rows:
        if key is None:
            continue
        side, other = ("left", "right") if port.startswith("left") else ("right", "left")
        before = result(key)
        if sides[side].change(key, None if port.endswith("gone") else (n, ts)) == (None, None):
            continue
        at = max(ts, sides[other].rows.get(key, (0, ts))[1])
        after = result(key)
        made += [("gone", key, before, at)] if before else []
        made += [("out", key, after, at)] if after else []
    return made


def model(kind: str, rows: Sequence[Row]) -> Given:
    name, _, how = kind.partition("-")
    return table(rows) if name == "table" else lookup(rows, how) if name == "lookup" else joined(rows, how)


def ran(kind: str, rows: Sequence[Row], cuts: Sequence[int]) -> Given:
    """What a node gives, in order: by the row that made it, and what is gone before what is new."""
    ports, name, params = KINDS[kind]
    schemas = {p: KEY_ONLY if p.endswith("gone") else ITEM for p in ports}
    arrivals = [
        Arrival(port=p, item={"key": b""} if p.endswith("gone") else {"k": k, "n": n}, key=k and k.encode(), ts=ts)
        for p, k, n, ts in rows
    ]
    done = run_node(make_node(name, key="k", **params), arrivals, schema=schemas, cuts=cuts)
    made = [{"port": port, **row} for port, frame in done.outputs.items() for row in frame.iter_rows(named=True)]
    return [_shown(row) for row in sorted(made, key=lambda row: (row["@row"], row["@path"]))]


def _shown(row: dict[str, Any]) -> tuple[str, str | None, object, int]:
    value = (row["n"], row["r_n"]) if "r_n" in row else row["n"]
    return row["port"], row["k"] if row["k"] is not None else row.get("r_k"), value, row["@ts"]


@st.composite
def streams(draw: st.DrawFn, ports: Sequence[str]) -> tuple[list[Row], list[int]]:
    """Rows whose times go to and fro, and where steps end."""
    count = draw(st.integers(1, 30))
    keys = st.sampled_from(["a", "a", "b", "c", None])
    rows = [(draw(st.sampled_from(ports)), draw(keys), n, draw(st.integers(0, 40))) for n in range(count)]
    return rows, sorted(draw(st.lists(st.integers(0, count), max_size=6)))


@pytest.mark.parametrize("kind", list(KINDS))
def test_changes_are_those_of_the_model(kind: str) -> None:
    @settings(max_examples=EXAMPLES)
    @given(streams(KINDS[kind][0]))
    def test(stream: tuple[list[Row], list[int]]) -> None:
        rows, cuts = stream
        assert ran(kind, rows, cuts) == model(kind, rows)

    test()


def test_a_coalesced_table_gives_what_each_step_made_of_its_keys() -> None:
    @settings(max_examples=EXAMPLES)
    @given(streams(KINDS["table"][0]))
    def test(stream: tuple[list[Row], list[int]]) -> None:
        rows, cuts = stream
        there: dict[str, int] = {}
        for gone, new in steps_of(rows, cuts):
            for row in gone:
                assert there.pop(row["k"]) == row["n"]
            for row in new:
                assert row["k"] not in there
                there[row["k"]] = row["n"]
        kept = Table()
        for port, key, n, ts in rows:
            if key is not None:
                kept.change(key, (n, ts) if port == "in" else None)
        assert there == {key: row[0] for key, row in kept.rows.items()}

    test()


@cache
def coalesced() -> Topology:
    return compiled(
        """
workflow: tables
nodes:
  start: {type: event, topic: in, format: json}
  typed: {type: set, keep: [], fields: {port: string(port), k: string(k), n: long(n)}}
  near: {type: repartition, key: k}
  to: {type: if, when: 'port == "in"'}
  t: {type: table, key: k, emit: coalesced}
connections: [start -> typed -> near -> to, to.true -> t, to.false -> t.gone]
""",
        Path(),
    )


def steps_of(rows: Sequence[Row], cuts: Sequence[int]) -> Iterator[tuple[list[Any], list[Any]]]:
    """What each step gives by `gone` and by `out`."""
    driver = TopologyDriver(coalesced(), nodes=registry())
    for start, stop in pairwise([0, *cuts, len(rows)]):
        if start < stop:
            items = [{"port": p, "k": k, "n": n} for p, k, n, _ in rows[start:stop]]
            times = [ts for *_, ts in rows[start:stop]]
            driver.feed("start", items, keys=[None] * len(items), times_ms=times, end=False)
            driver.commit()
            yield driver.items("t", "gone"), driver.items("t", "out")
            driver.outputs.clear()


# By foreign key: rows are (port, left key or right key, foreign key, number).
Foreign = tuple[str, str, str | None, int]
LEFT = record_of({"k": STRING, "fk": STRING.optional(), "n": LONG})
RIGHT = record_of({"x": STRING, "m": LONG})
PARAMS: dict[str, Any] = {"left_key": Expression("k"), "right_key": Expression("x"), "foreign_key": Expression("fk")}
How = Literal["inner", "left"]


def foreign_model(rows: Sequence[Foreign], how: How) -> dict[str, tuple[int, int | None]]:
    left: dict[str, tuple[str | None, int]] = {}
    right: dict[str, int] = {}
    for port, key, fk, n in rows:
        if port == "left":
            left[key] = fk, n
        elif port == "right":
            right[key] = n
        else:
            (left if port == "left_gone" else right).pop(key, None)
    pairs = {key: (n, right.get(fk) if fk else None) for key, (fk, n) in left.items()}
    return {key: pair for key, pair in pairs.items() if how == "left" or pair[1] is not None}


@st.composite
def foreign_streams(draw: st.DrawFn) -> tuple[list[Foreign], list[int], int]:
    """Changes of both sides, where steps end, and a seed for the order of partitions."""
    count, rows = draw(st.integers(1, 25)), []
    for n in range(count):
        port = draw(st.sampled_from(["left", "left", "left", "right", "right", "left_gone", "right_gone"]))
        key = draw(st.sampled_from(["a", "b"] if port.startswith("left") else ["x", "y", "z"]))
        rows.append((port, key, draw(st.sampled_from(["x", "x", "y", "z", None])), n))
    return rows, sorted(draw(st.lists(st.integers(0, count), max_size=5))), draw(st.integers(0, 1 << 30))


def part(node: Any, arrivals: list[Arrival], schema: Any, cuts: Sequence[int]) -> list[dict[str, Any]]:
    """What a part of a join gives, in order, after it was seen that cuts change nothing."""
    found = []
    for where in (cuts, range(len(arrivals))):
        done = run_node(node, arrivals, schema=schema, cuts=where)
        rows = [{"port": p, **row} for p, frame in done.outputs.items() for row in frame.iter_rows(named=True)]
        found.append(sorted(rows, key=lambda row: (row["@row"], row["@path"])))
    assert found[0] == found[1]
    return found[0]


def fields(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("@") and name != "port"}


@pytest.mark.parametrize("how", ["inner", "left"])
def test_a_join_by_foreign_key_is_right_whichever_partition_is_faster(how: How) -> None:
    """Each foreign key in a partition of its own; what they say of left keys is mixed in any order that keeps each."""

    @settings(max_examples=max(EXAMPLES // 2, 10))
    @given(foreign_streams())
    def test(stream: tuple[list[Foreign], list[int], int]) -> None:
        rows, cuts, seed = stream
        lefts = [
            Arrival(port=p, key=k.encode(), item={"key": b""} if p == "left_gone" else {"k": k, "fk": fk, "n": n})
            for p, k, fk, n in rows
            if p.startswith("left")
        ]
        whole: Any = {"join": how, **PARAMS}
        told = part(ForeignRows(**whole), lefts, {"left": LEFT, "left_gone": KEY_ONLY}, cuts)
        # A message stands behind the right rows that had come before its left row.
        at_left = [i for i, row in enumerate(rows) if row[0].startswith("left")]
        mixed: list[tuple[int, bytes, Arrival]] = []
        for row in told:
            meets = row["__fk"] if row["__fk"] is not None else row["__key"]
            mixed.append(
                (at_left[row["@row"]], meets, Arrival(port="left", key=meets, item=fields(row), ts=row["@ts"]))
            )
        for i, (p, key, _, n) in enumerate(rows):
            if p.startswith("right"):
                item = {"key": b""} if p == "right_gone" else {"x": key, "m": n}
                mixed.append((i, key.encode(), Arrival(port=p, key=key.encode(), item=item)))
        mixed.sort(key=lambda entry: entry[0])
        schemas = {"left": with_fields(LEFT, MESSAGE), "right": RIGHT, "right_gone": KEY_ONLY}
        partitions = []
        for place in sorted({meets for _, meets, _ in mixed}):
            own = [arrival for _, meets, arrival in mixed if meets == place]
            partitions.append([fields(row) for row in part(ForeignMatches(**whole), own, schemas, cuts)])
        answers = []
        draw = random.Random(seed)
        while any(partitions):
            answers.append(draw.choice([p for p in partitions if p]).pop(0))
        result = {"in": ForeignMatches(**whole).output_schemas(KitBuild(inputs=schemas))["out"]}
        arrivals = [Arrival(key=item["__key"], item=item) for item in answers]
        there: dict[str, tuple[int, int | None]] = {}
        for row in part(ForeignResult(**whole), arrivals, result, cuts) if arrivals else []:
            if row["port"] == "gone":
                assert there.pop(row["k"]) == (row["n"], row["m"])
            else:
                assert row["k"] not in there
                there[row["k"]] = row["n"], row["m"]
        assert there == foreign_model(rows, how)

    test()
