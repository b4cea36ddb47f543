"""Delayed items: nothing waits for them, each is tried when it is due, every item one fate, whatever the steps."""

from __future__ import annotations

import random
from typing import Any

import pytest

from streamflow.testing.driver import TopologyDriver
from tests.unit.runtime.failing import dead, driver, feed
from tests.unit.runtime.test_parking import Service, items, numbers

DELAY = {"attempts": 4, "delay": "1s", "backoff": "exponential", "mode": "delay"}


def delaying(service: Service, **node: Any) -> TopologyDriver:
    made = driver(service, retry=DELAY | node.pop("retry", {}), **node)
    service.now_ms = lambda: made.clock.now_ms
    return made


def test_an_item_waits_alone_and_its_key_goes_on() -> None:
    run = delaying(Service({0: 2_500}))
    feed(run, items("a", "b", "a", None))
    assert numbers(run) == [1, 2, 3]
    run.wake(999)
    run.wake(1_000)  # fails a second time: two seconds from now
    feed(run, [{"k": "a", "n": 4}])
    assert numbers(run) == [1, 2, 3, 4]
    run.wake(3_000)
    assert numbers(run) == [1, 2, 3, 4, 0]
    counts = run.counts()["shaky"]
    assert (counts.rows_in, counts.forwarded, counts.absorbed, counts.emitted) == (5, 4, 1, 1)
    assert [k for k, _ in run.stores["shaky", "delayed"].scan()] == [b"c"]


def test_what_is_given_up_is_a_dead_letter_with_its_tries() -> None:
    run = delaying(Service({0: 1 << 60, 1: 1_500}))
    feed(run, items("a", "a"))
    for now_ms in (1_000, 3_000, 7_000):
        assert dead(run) == []
        run.wake(now_ms)
    assert (numbers(run), dead(run)) == ([1], [(0, "exception", 4)])


def test_what_is_not_worth_a_retry_is_not_delayed() -> None:
    run = delaying(Service({0: 500, 1: 500}), retry={"when": "n != 0"})
    feed(run, items("a", "a", "b"))
    assert (numbers(run), dead(run)) == ([2], [(0, "exception", 1)])
    run.wake(1_000)
    assert numbers(run) == [2, 1]


@pytest.mark.parametrize(("limits", "why"), [({"items_max": 2}, "items_max"), ({"bytes_max": 150}, "bytes_max")])
def test_what_finds_no_room_is_a_dead_letter_that_says_so(limits: dict[str, int], why: str) -> None:
    run = delaying(Service(dict.fromkeys(range(3), 1_000)), retry={"parking": limits}, on_error="continue")
    feed(run, items("a", "b", "c", "d"))
    assert numbers(run) == [3]
    assert dead(run) == [(2, "delay_full", 1)]
    message = str(run.dead_letters()[0]["message"])
    assert why in message
    assert "It failed with exception" in message
    run.wake(1_000)
    assert numbers(run) == [3, 0, 1]


def test_an_abort_takes_back_what_was_delayed() -> None:
    run = delaying(Service({0: 500, 2: 1 << 60}), retry={"parking": {"items_max": 1}})
    feed(run, items("a", "b"))
    run.commit()
    run.wake(1_000)
    assert numbers(run) == [1, 0]
    run.stores["shaky", "delayed"].abort()
    feed(run, [{"k": "c", "n": 2}])
    assert dead(run) == [(2, "delay_full", 1)], "there is no room, for it waits again"
    run.wake(1_000)
    assert numbers(run) == [1, 0, 0], "it waits again, and comes out again"
    run.wake(5_000)
    assert numbers(run) == [1, 0, 0]


def test_what_is_due_together_comes_in_the_order_of_failures_and_in_bounded_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamflow.runtime.delayed.PART_BYTES_MAX", 200)
    monkeypatch.setattr("streamflow.runtime.delayed.TAKEN_ENTRIES_MAX", 2)
    run = delaying(Service(dict.fromkeys(range(20), 500)))
    feed(run, items(*"abcdefghijklmnopqrst"))
    run.wake(1_000)
    assert numbers(run) == list(range(20))
    assert len(run.outputs["out", "out"]) > 3, "one batch for each of several steps"


@pytest.mark.parametrize("seed", range(12))
def test_any_steps_give_what_a_model_gives(seed: int) -> None:
    """Method: random items and failures, a model item by item, and steps of every size."""
    choose = random.Random(seed)
    count = 40
    given = [{"k": choose.choice(["a", "b", None]), "n": n} for n in range(count)]
    well = {n: choose.choice([1_500, 4_000, 9_000, 1 << 60]) for n in range(count) if choose.random() < 0.4}
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
    script += [("wake", now_ms + 10_000 * n) for n in range(1, 4)]
    expected = modelled(script, well)
    for step_rows in (1, 3, 1_000):
        run = delaying(Service(well), step_rows=step_rows)
        for what, value in script:
            if what == "feed":
                feed(run, value)
            else:
                run.wake(value)
        assert (numbers(run), dead(run)) == expected
        assert not [k for k, _ in run.stores["shaky", "delayed"].scan() if k != b"c"]


def modelled(script: list[tuple[str, Any]], well: dict[int, int]) -> tuple[list[int], list[tuple[int, str, int]]]:
    """What leaves and what is given up, item by item."""
    out: list[int] = []
    lost: list[tuple[int, str, int]] = []
    waiting: list[tuple[int, int, int, int]] = []  # due, number, n, tries
    now_ms = number = 0

    def tried(n: int, tries: int) -> None:
        nonlocal number
        if now_ms >= well.get(n, 0):
            out.append(n)
        elif tries == 4:
            lost.append((n, "exception", 4))
        else:
            waiting.append((now_ms + 1_000 * 2 ** (tries - 1), number, n, tries))
            number += 1

    for what, value in script:
        if what == "feed":
            for item in value:
                tried(item["n"], 1)
            continue
        now_ms = value
        due = sorted(w for w in waiting if w[0] <= now_ms)
        waiting[:] = [w for w in waiting if w[0] > now_ms]
        for _, _, n, tries in due:
            tried(n, tries + 1)
    return out, lost
