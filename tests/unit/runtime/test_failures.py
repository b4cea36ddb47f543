"""What becomes of items that fail: passed on, replaced, tried again in place, refused by a breaker."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest

from streamflow.model.batch import ERROR_ATTEMPT, ERROR_CODE, ERROR_MESSAGE, EXECUTION, Batch
from streamflow.model.policies import RetryPolicy
from streamflow.model.types import LONG, record_of
from streamflow.nodes import registry
from streamflow.runtime.context import StepClock, TaskContext
from streamflow.runtime.retry_rule import RetryRule
from streamflow.testing.driver import TopologyDriver
from tests.simulation.running import compiled
from tests.unit.runtime.failing import dead, driver, feed

NUMBER = '{"type": "record", "name": "N", "fields": [{"name": "n", "type": "long"}, {"name": "k", "type": "string"}]}'


def typed(node: str, tmp_path: Any, **run: Any) -> TopologyDriver:
    """src (typed) -> shaky (divides 12 by n) -> out."""
    (tmp_path / "n.avsc").write_text(NUMBER)
    text = (
        "workflow: w\nnodes:\n  src: {type: event, topic: in, format: json, schema: n.avsc}\n"
        f"  shaky: {{type: set, {node}}}\n  out: {{type: no-op}}\nconnections: [src -> shaky -> out]\n"
    )
    return TopologyDriver(compiled(text, tmp_path), nodes=registry(), **run)


ITEMS = [{"n": n, "k": "x"} for n in (3, 0, 4, 0, 2)]


@pytest.mark.parametrize("step_rows", [1, 2, 100])
def test_failed_items_pass_on_as_they_came_in_in_their_place(tmp_path: Any, step_rows: int) -> None:
    run = typed("fields: {n: 12 // n}, on_error: pass", tmp_path, step_rows=step_rows)
    feed(run, ITEMS)
    assert [i["n"] for i in run.items("out")] == [4, 0, 3, 0, 6]  # type: ignore[index]
    counts = run.counts()["shaky"]
    assert (counts.forwarded, counts.to_error_port, counts.ports) == (3, 2, {"out": 3, "error.pass": 2})
    assert not run.dead


def test_a_constant_takes_the_place_of_what_fails(tmp_path: Any) -> None:
    run = typed("fields: {part: 12 // n}, on_error: {fallback: {value: {part: -1}}}", tmp_path)
    feed(run, ITEMS)
    assert [(i["n"], i["part"], i["k"]) for i in run.items("out")] == [  # type: ignore[index]
        (3, 4, "x"), (0, -1, "x"), (4, 3, "x"), (0, -1, "x"), (2, 6, "x"),
    ]  # fmt: skip


def test_a_constant_goes_into_an_untyped_item() -> None:
    run = driver(lambda i: {"half": 12 // i["n"]}, on_error={"fallback": {"value": {"half": None}}})
    feed(run, ITEMS[:2])
    assert run.items("out") == [{"half": 4}, {"n": 0, "k": "x", "half": None}]


class Sometimes:
    """Fails the first `times` calls for an item."""

    def __init__(self, times: dict[int, int]) -> None:
        self.times, self.calls = times, Counter[int]()

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        self.calls[item["n"]] += 1
        if self.calls[item["n"]] <= self.times.get(item["n"], 0):
            raise ValueError(f"call {self.calls[item['n']]} for {item['n']}")
        return item


@pytest.mark.parametrize("step_rows", [1, 2, 100])
def test_items_are_tried_again_in_place_and_keep_their_order(step_rows: int) -> None:
    call = Sometimes({1: 1, 2: 5, 3: 2})
    run = driver(call, step_rows=step_rows, retry={"attempts": 3, "delay": "1s"})
    feed(run, [{"k": "a", "n": n} for n in range(5)])
    assert [i["n"] for i in run.items("out")] == [0, 1, 3, 4]  # type: ignore[index]
    assert dead(run) == [(2, "exception", 3)]
    assert call.calls == {0: 1, 1: 2, 2: 3, 3: 3, 4: 1}


@pytest.mark.parametrize(
    ("retry", "tries"),
    [
        ({"codes": ["timeout"]}, 1),
        ({"codes": ["exception", "timeout"]}, 5),
        ({"when": "error.attempt < 3"}, 3),
        ({"when": 'error.code = "exception"'}, 5),
        ({"when": "n = 8"}, 1),
        ({"when": 'contains(error.message, "call 1")'}, 2),
        ({"when": "1 // (n - 7) = 0"}, 1),
        ({"limit": "3s"}, 4),
        ({"limit": "3s", "backoff": "exponential"}, 3),
        ({"limit": "3s", "backoff": "linear"}, 3),
    ],
)
def test_only_what_is_worth_it_is_tried_again(retry: dict[str, Any], tries: int) -> None:
    call = Sometimes({7: 100})
    when = {k: v.replace(" = ", " == ") if k == "when" else v for k, v in retry.items()}
    run = driver(call, retry={"attempts": 5, "delay": "1s"} | when)
    feed(run, [{"k": "a", "n": 7}])
    assert dead(run) == [(7, "exception", tries)]
    assert call.calls[7] == tries


def waits(policy: RetryPolicy, executions: list[str]) -> list[list[int]]:
    """Waits of rows of these executions, by try."""
    schema = record_of({"n": LONG})
    rule = RetryRule("node", policy, schema, {})
    ctx = TaskContext(workflow="w", stage="s", node="node", partition=0, clock=StepClock())
    found = []
    for tries in range(1, policy.attempts):
        n = len(executions)
        frame = pl.DataFrame({"n": [0] * n, EXECUTION: executions, ERROR_CODE: ["x"] * n, ERROR_MESSAGE: ["x"] * n})
        found.append(rule.waits_ms(rule.tried(Batch(frame, schema), tries), ctx).tolist())
        assert set(rule.tried(Batch(frame, schema), tries).frame[ERROR_ATTEMPT]) == {tries}
    return np.array(found).T.tolist()


def test_waits_grow_as_their_policy_says() -> None:
    of = {
        b: waits(RetryPolicy(attempts=5, delay_ms=100, backoff=b, delay_max_ms=350), ["e"])[0]
        for b in ("fixed", "linear", "exponential")
    }  # type: ignore[arg-type]
    assert of == {"fixed": [100] * 4, "linear": [100, 200, 300, 350], "exponential": [100, 200, 350, 350]}


def test_chance_is_the_rows_own_and_bounded() -> None:
    executions = [f"t#1/0:{n}" for n in range(200)]
    policy = RetryPolicy(attempts=4, delay_ms=1_000, delay_max_ms=3_000, backoff="random")
    drawn = waits(policy, executions)
    assert drawn == waits(policy, executions), "a replay draws the same"
    assert waits(policy, executions[7:9]) == drawn[7:9], "whatever fails beside it"
    every = [w for own in drawn for w in own]
    assert min(every) >= 1_000
    assert max(every) <= 3_000
    assert len(set(every)) > 300
    shaken = [w for own in waits(RetryPolicy(attempts=3, delay_ms=1_000, jitter=0.2), executions) for w in own]
    assert min(shaken) >= 800
    assert max(shaken) <= 1_200
    assert len(set(shaken)) > 100
    capped = waits(RetryPolicy(attempts=3, delay_ms=1_000, jitter=0.5, delay_max_ms=1_100), executions)
    assert max(w for own in capped for w in own) == 1_100


BREAKER = {"fallback": {"value": {"n": -1}}, "breaker": {"failures": 3, "within": "10s", "probe_after": "5s"}}


@pytest.mark.parametrize("step_rows", [1, 2, 3, 100])
def test_a_breaker_opens_probes_and_closes(step_rows: int) -> None:
    bad = {"now": True}

    def call(item: dict[str, Any]) -> dict[str, Any]:
        if bad["now"] and item["n"] % 2:
            raise ValueError("down")
        return item

    run = driver(call, step_rows=step_rows, on_error=BREAKER)

    def given(now_ms: int, *ns: int) -> list[int]:
        before = len(run.items("out"))
        run.clock.now_ms = now_ms
        feed(run, [{"k": "a", "n": n} for n in ns])
        return [i["n"] for i in run.items("out")][before:]  # type: ignore[index]

    assert given(0, 0, 1, 2, 3) == [0, -1, 2, -1]  # two failures
    assert given(9_999, 1, 2, 4, 6) == [-1, -1, -1, -1]  # the third opens it: what would not fail is not tried
    assert given(14_998, 2) == [-1]
    assert given(14_999, 1, 2) == [-1, -1]  # the probe fails
    assert given(19_999, 2, 3, 5, 7, 8) == [2, -1, -1, -1, -1]  # the probe does not: closed, until three more fail
    bad["now"] = False
    assert given(30_000, 1, 3) == [1, 3]
    bad["now"] = True
    assert given(31_000, 1, 3, 4) == [-1, -1, 4]
    assert given(41_000, 1, 4) == [-1, 4], "what failed ten seconds ago does not count"


def test_a_breaker_tells_why_an_item_was_not_tried(tmp_path: Any) -> None:
    (tmp_path / "n.avsc").write_text(NUMBER)
    text = (
        "workflow: w\nnodes:\n  src: {type: event, topic: in, format: json, schema: n.avsc}\n"
        "  shaky: {type: set, fields: {part: 12 // n}, on_error: {fallback: rescue, breaker: "
        "{failures: 1, within: 1s, probe_after: 1s}}}\n  out: {type: no-op}\n  rescue: {type: no-op}\n"
        "connections: [src -> shaky -> out]\n"
    )
    run = TopologyDriver(compiled(text, tmp_path), nodes=registry())
    feed(run, [{"n": 0, "k": "a"}, {"n": 1, "k": "a"}])
    assert [i["error"]["code"] for i in run.items("rescue")] == ["division_by_zero", "circuit_open"]  # type: ignore[index]


@pytest.mark.parametrize("seed", range(10))
def test_how_a_stream_is_cut_shows_nowhere(seed: int) -> None:
    """Method: random items with random failures, through retry, breaker and constant, in steps of every size."""
    choose = random.Random(seed)
    given = [{"k": choose.choice("abc"), "n": n} for n in range(80)]
    bad = {n for n in range(80) if choose.random() < 0.3}

    def call(item: dict[str, Any]) -> Any:
        if item["n"] in bad:
            raise ValueError("bad")
        return [item] * (item["n"] % 3) or None

    found = []
    for step_rows in (1, 7, 1_000):
        run = driver(call, step_rows=step_rows, on_error=BREAKER, retry={"attempts": 2, "jitter": 0.5, "delay": "1s"})
        for at in range(0, 80, 20):
            run.clock.now_ms = at * 400
            feed(run, given[at : at + 20])
        counts = run.counts()["shaky"]
        found.append((run.items("out"), counts.filtered, counts.forwarded, counts.to_error_port))
    assert found[0] == found[1] == found[2]
