"""Parking by key: order of each key kept, others not held up, every item one fate, whatever the steps and restarts."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pytest

from streamflow.testing.driver import TopologyDriver
from tests.unit.runtime.failing import dead, driver, feed

PARK = {"attempts": 4, "delay": "1s", "backoff": "exponential", "mode": "park"}


class Service:
    """Fails for each item until some time of the driver's clock."""

    def __init__(self, well_at_ms: dict[int, int]) -> None:
        self.well_at_ms, self.now_ms = well_at_ms, lambda: 0

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        if self.now_ms() < self.well_at_ms.get(item["n"], 0):
            raise ValueError(f"{item['n']} is not ready")
        return item


def parking(service: Service, **node: Any) -> TopologyDriver:
    made = driver(service, retry=PARK | node.pop("retry", {}), **node)
    service.now_ms = lambda: made.clock.now_ms
    return made


def numbers(of: TopologyDriver) -> list[int]:
    return [i["n"] for i in of.items("out")]  # type: ignore[index]


def items(*keys: str | None) -> list[dict[str, Any]]:
    return [{"k": k, "n": n} for n, k in enumerate(keys)]


def test_a_key_waits_in_order_and_others_go_on() -> None:
    run = parking(Service({0: 2_500}))
    feed(run, items("a", "b", "a", "b"))
    assert numbers(run) == [1, 3]
    run.wake(999)
    assert numbers(run) == [1, 3]
    feed(run, [{"k": "a", "n": 4}, {"k": "c", "n": 5}])
    assert numbers(run) == [1, 3, 5]
    run.wake(1_000)  # fails a second time: two seconds from now
    assert numbers(run) == [1, 3, 5]
    run.wake(3_000)
    assert numbers(run) == [1, 3, 5, 0, 2, 4]
    feed(run, [{"k": "a", "n": 6}])
    assert numbers(run)[-1] == 6
    assert not dead(run)
    counts = run.counts()["shaky"]
    assert (counts.rows_in, counts.forwarded, counts.absorbed, counts.emitted) == (7, 4, 3, 3)
    assert not [k for k, _ in run.stores["shaky", "parked"].scan() if k[:1] != b"c"]


def test_what_is_given_up_is_followed_by_the_next() -> None:
    run = parking(Service({0: 1 << 60}))
    feed(run, items("a", "a", "a"))
    for now_ms in (1_000, 3_000):
        run.wake(now_ms)
    assert (numbers(run), dead(run)) == ([], [])
    run.wake(7_000)
    assert (numbers(run), dead(run)) == ([1, 2], [(0, "exception", 4)])


def test_items_without_a_key_wait_for_nobody() -> None:
    run = parking(Service({0: 500, 2: 500}))
    feed(run, items(None, None, None, None))
    assert numbers(run) == [1, 3]
    run.wake(1_000)
    assert numbers(run) == [1, 3, 0, 2]


def test_what_is_not_worth_a_retry_is_not_put_aside() -> None:
    run = parking(Service({0: 500, 1: 500}), retry={"when": "n != 0"})
    feed(run, items("a", "a", "b"))
    assert (numbers(run), dead(run)) == ([2], [(0, "exception", 1)])
    run.wake(1_000)
    assert numbers(run) == [2, 1]


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"key_items_max": 2}, "key_items_max"),
        ({"items_max": 2}, "items_max"),
        ({"key_bytes_max": 150}, "key_bytes_max"),
        ({"bytes_max": 150}, "bytes_max"),
    ],
)
def test_what_finds_no_room_is_a_dead_letter_that_says_so(limits: dict[str, int], why: str) -> None:
    run = parking(Service({0: 1_000}), retry={"parking": limits}, on_error="continue")
    feed(run, items("a", "a", "a", "b"))
    assert numbers(run) == [3]
    assert dead(run) == [(2, "parking_full", 0)]
    assert why in str(run.dead_letters()[0]["message"])
    run.wake(1_000)
    assert numbers(run) == [3, 0, 1]


def test_an_abort_takes_back_what_was_put_aside() -> None:
    run = parking(Service({0: 500}))
    feed(run, items("a", "b"))
    run.commit()
    store = run.stores["shaky", "parked"]
    run.wake(1_000)
    assert numbers(run) == [1, 0]
    store.abort()
    run.wake(1_000)
    assert numbers(run) == [1, 0, 0], "it waits again, and comes out again"


@pytest.mark.parametrize("seed", range(12))
def test_any_steps_give_what_a_model_gives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: random items and failures, an independent model item by item, and steps of every size."""
    choose = random.Random(seed)
    count = 40
    given = [{"k": choose.choice(["a", "b", "c", "d"]), "n": n} for n in range(count)]
    well = {n: choose.choice([1_500, 4_000, 9_000, 1 << 60]) for n in range(count) if choose.random() < 0.2}
    script: list[tuple[str, Any]] = []
    now_ms, at = 0, 0
    while at < count or now_ms < 60_000:
        if at < count and choose.random() < 0.5:
            n = choose.randint(1, 12)
            script.append(("feed", given[at : at + n]))
            at += n
        else:
            now_ms += choose.choice([300, 1_000, 2_500, 20_000])
            script.append(("wake", now_ms))
    expected_out, expected_dead = modelled(script, well)
    whole: list[int] | None = None
    for step_rows, part_rows in ((1, 512), (3, 512), (1_000, 512), (1_000, 2), (7, 1)):
        monkeypatch.setattr("streamflow.runtime.parking._PART_ROWS", part_rows)
        service = Service(well)
        run = driver(service, step_rows=step_rows, retry=PARK)
        service.now_ms = lambda run=run: run.clock.now_ms  # type: ignore[misc]
        for what, value in script:
            if what == "feed":
                feed(run, value)
            else:
                run.wake(value)
        keys = {i["n"]: i["k"] for i in given}
        by_key: dict[str, list[int]] = defaultdict(list)
        for n in numbers(run):
            by_key[keys[n]].append(n)
        assert by_key == expected_out
        assert sorted((n, attempt) for n, _, attempt in dead(run)) == sorted(expected_dead)
        whole = whole if whole is not None else numbers(run)
        assert sorted(numbers(run)) == sorted(whole)
        assert numbers(run) == whole, "steps show in the order of keys"


def modelled(script: list[tuple[str, Any]], well: dict[int, int]) -> tuple[dict[str, list[int]], list[tuple[int, int]]]:
    """What comes out by key, and what is given up with its tries; one item at a time."""
    out: dict[str, list[int]] = defaultdict(list)
    gone: list[tuple[int, int]] = []
    queues: dict[str, list[int]] = defaultdict(list)
    due: dict[str, tuple[int, int]] = {}  # time, tries so far
    now_ms = 0

    def fails(n: int) -> bool:
        return now_ms < well.get(n, 0)

    for what, value in script:
        if what == "feed":
            for item in value:
                key, n = item["k"], item["n"]
                if queues[key]:
                    queues[key].append(n)
                elif fails(n):
                    queues[key].append(n)
                    due[key] = (now_ms + 1_000, 1)
                else:
                    out[key].append(n)
            continue
        now_ms = value
        for key, waiting in queues.items():
            while waiting and due[key][0] <= now_ms:
                n, tries = waiting[0], due[key][1] + 1
                if fails(n) and tries < 4:
                    due[key] = (now_ms + (1_000 << (tries - 1)), tries)
                    continue
                if fails(n):
                    gone.append((n, tries))
                else:
                    out[key].append(n)
                waiting.pop(0)
                due[key] = (now_ms, 0)
    return out, gone
