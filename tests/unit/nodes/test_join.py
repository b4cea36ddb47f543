"""The join node: what it does with items that have no key, no fields, or values that do not fit; and from Python."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from streamflow import Workflow
from streamflow.compiler import compile_document
from streamflow.nodes import registry
from streamflow.operators.execution_rows import PART_BYTES_MAX
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.plan import Topology
from tests.simulation.running import compiled

Row = tuple[str, int, object, int]  # side, event time, key, number
WORKFLOW = """
workflow: w
nodes:
  lefts: {{type: event, topic: l, format: json}}
  rights: {{type: event, topic: r, format: json}}
  one: {{type: set, keep: [], fields: {{k: {left}(k), n: long(n)}}}}
  two: {{type: set, keep: [], fields: {{k: {right}(k), n: long(n)}}}}
  j: {{type: join, {join}}}
connections: [{wires}]
"""
TYPED = "lefts -> one -> j.left, rights -> two -> j.right"
UNTYPED = "lefts -> j.left, rights -> j.right, lefts -> one, rights -> two"


def plan(join: str, *, left: str = "string", right: str = "string", wires: str = TYPED) -> Topology:
    return compiled(WORKFLOW.format(join=join, left=left, right=right, wires=wires))


def ran(topology: Topology, rows: Sequence[Row]) -> TopologyDriver:
    driver = TopologyDriver(topology, nodes=registry())
    for side, at, key, number in rows:
        trigger = {"l": "lefts", "r": "rights"}[side]
        driver.feed(trigger, [{"k": key, "n": number}], times_ms=[at], end=False)
    return driver


def test_items_without_a_key_are_filtered_and_counted() -> None:
    rows = [("l", 1, None, 1), ("r", 1, None, 2), ("l", 1, "a", 3), ("r", 1, "a", 4)]
    driver = ran(plan("key: k, after: 5ms, right_prefix: r_"), rows)
    assert driver.items("j", "out") == [{"k": "a", "n": 3, "r_n": 4}]
    assert driver.counts()["j"].filtered == 2
    assert driver.counts()["j"].absorbed == 1


@pytest.mark.parametrize(("left", "right"), [("string", "long"), ("long", "string")])
def test_untyped_keys_meet_typed_ones_as_their_bytes_do(left: str, right: str) -> None:
    """What is put between brings keys together by their bytes: so does the join."""
    wires = "lefts -> one -> j.left, rights -> j.right, rights -> two"
    topology = plan("left_key: k, right_key: k, after: 5ms", left=left, right=right, wires=wires)
    driver = ran(topology, [("l", 1, 7, 1), ("r", 1, "7", 2), ("r", 2, 7, 3), ("r", 2, None, 4), ("r", 2, 8, 5)])
    found = driver.items("j", "out")
    assert [(i["n"], i["right"]["n"]) for i in found] == [(1, 2), (1, 3)]  # type: ignore[index, call-overload]


def test_items_that_are_no_records_are_fields() -> None:
    topology = plan("key: k, after: 5ms, on: left.n < right.n, kind: left", wires=UNTYPED)
    driver = ran(topology, [("l", 1, "a", 5), ("r", 1, "a", 4), ("r", 2, "a", 6), ("l", 9, "z", 0), ("r", 9, "z", 1)])
    assert driver.items("j", "out") == [
        {"left": {"k": "a", "n": 5}, "right": {"k": "a", "n": 6}},
        {"left": {"k": "z", "n": 0}, "right": {"k": "z", "n": 1}},
    ]


def test_a_pair_has_the_later_event_time_and_an_execution_of_its_own() -> None:
    driver = ran(plan("key: k, before: 5ms, after: 5ms, right_prefix: r_"), [("l", 7, "a", 1), ("r", 4, "a", 2)])
    (batch,) = driver.outputs["j", "out"]
    assert batch.frame["@ts"].to_list() == [7]
    assert batch.frame["@execution"].to_list() == ["j#a@0+1"]
    assert batch.frame["@key"].to_list() == [b"a"]


def test_a_pair_whose_condition_fails_fails_the_item_that_came_last() -> None:
    """It has one fate: the pairs that were fine do not come out either."""
    rows = [("l", 1, "a", 1), ("l", 1, "a", 0), ("r", 1, "a", 5), ("r", 2, "b", 5), ("l", 2, "b", 0), ("l", 3, "a", 2)]
    driver = ran(
        plan("key: k, before: 9ms, after: 9ms, right_prefix: r_, on: right.n // left.n > 1, kind: outer"), rows
    )
    assert driver.items("j", "out") == [{"k": "a", "n": 2, "r_n": 5}]
    assert [(d["code"], d["item"]) for d in driver.dead_letters()] == [
        ("division_by_zero", {"k": "a", "n": 5}),
        ("division_by_zero", {"k": "b", "n": 0}),
    ]


@pytest.mark.parametrize(
    "join", ["after: 5ms", "time: window, size: 5ms", "time: asof, within: 5ms", "time: unbounded"]
)
def test_a_time_that_no_join_can_hold_fails(join: str) -> None:
    driver = ran(plan(f"key: k, {join}, right_prefix: r_"), [("l", 2**62, "a", 1), ("l", -(2**62), "a", 1)])
    assert [d["code"] for d in driver.dead_letters()] == ["does_not_fit", "does_not_fit"]


def test_a_late_item_still_meets_those_that_wait() -> None:
    """A left item waits 50 ms and a right one 1 ms. The first of the late ones meets nobody."""
    rows = [("l", 100, "a", 1), ("r", 100, "z", 0), ("l", 140, "z", 2), ("r", 140, "y", 0)]
    late = [("r", 90, "a", 3), ("r", 120, "a", 4)]
    driver = ran(plan("key: k, before: 0ms, after: 50ms, right_prefix: r_"), [*rows, *late])
    assert driver.items("j", "out") == [{"k": "a", "n": 1, "r_n": 4}]
    assert driver.items("j", "late") == [{"left": None, "right": {"k": "a", "n": 3}}]


def test_hot_keys_and_far_times_find_their_partners_only() -> None:
    """Times so far apart that (key, time) does not fit one number: the index then goes by buckets of time."""
    far = 2**60
    rows = [("l", at, f"k{n % 3}", n) for n, at in enumerate([-far, -far + 1, 0, 1, far, far + 1])]
    topology = plan("key: k, time: unbounded, on: left.n == right.n, right_prefix: r_")
    driver = TopologyDriver(topology, nodes=registry())
    for trigger in ("lefts", "rights"):
        items = [{"k": key, "n": number} for _, _, key, number in rows]
        driver.feed(trigger, items, times_ms=[at for _, at, _, _ in rows], end=False)
    assert [i["n"] for i in driver.items("j", "out")] == list(range(6))  # type: ignore[index, call-overload]


def test_a_join_from_python() -> None:
    wf = Workflow("python")
    placed, paid = (wf.event(name, topic=name, format="json") for name in ("placed", "paid"))
    both = wf.join("both", key="string(id)", after="1m", kind="left")
    placed >> both["left"]
    paid >> both["right"]
    both >> wf.publish("out", topic="out", format="json")
    topology, findings = compile_document(wf.document(), registry())
    assert topology is not None, findings
    driver = TopologyDriver(topology, nodes=registry())
    driver.feed("placed", [{"id": 1}, {"id": 2}], times_ms=[0, 1], end=False)
    driver.feed("paid", [{"id": 2, "sum": 5}], times_ms=[30_000], end=False)
    assert driver.items("out") == [{"left": {"id": 2}, "right": {"id": 2, "sum": 5}}]


def test_large_items_that_stand_together_are_kept_in_entries_that_fit_a_record() -> None:
    draws = Random(1)
    keys = [draws.randbytes(75_000).hex() for _ in range(30)] + [str(n) for n in range(3_000)]
    driver = TopologyDriver(plan("key: k, after: 5ms, right_prefix: r_"), nodes=registry())
    driver.feed("lefts", [{"k": k, "n": 1} for k in keys], times_ms=[1] * len(keys), end=False)
    (store,) = driver.stores.values()
    assert max(len(value or b"") for _, value in store.changes()) <= PART_BYTES_MAX
    driver.commit()
    store.abort()  # memory is void: what comes is read from the store
    driver.feed("rights", [{"k": k, "n": 2} for k in keys[28:33]], times_ms=[1] * 5, end=False)
    assert driver.items("j", "out") == [{"k": k, "n": 1, "r_n": 2} for k in keys[28:33]]
