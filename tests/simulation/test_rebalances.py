"""Groups of workers that join, leave, crash, freeze and come back, dealt out by the real assignor.

`Group` itself checks in each round that every task has one owner and its standbys elsewhere; and, while some have heard
of a round and others have not, that a task can be committed by its new owner only, once that has begun.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.simulation.groups import Group, Moves, steps

STEPS_A_TASK_MAX = 1_200  # instructions of Python for a task of a stage: dealt out, and its standby placed


def filled(topics: dict[str, int], workers: int, **options: Any) -> Group:
    group = Group(topics, **options)
    for i in range(workers):
        group.join(f"w{i}")
    group.rebalance()
    group.catch_up()
    return group


def stages(count: int, tasks: int = 1_000) -> dict[str, int]:
    return {f"shop-orders.stage-{i:02d}.ledger": tasks for i in range(count)}


KINDS: list[dict[str, Any]] = [{}, {"standbys": 1}, {"standbys": 2, "on_disk": True}]


@pytest.mark.parametrize("kind", KINDS, ids=["no state", "a standby", "two standbys on disk"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_thousand_tasks_on_fifty_workers_that_come_and_go(count: int, kind: dict[str, Any]) -> None:
    """Method: 8 rounds of random events, one to five in each; no more moves than balance asks for."""
    chance = random.Random(count)
    group = filled(stages(count), 50, seed=count, **kind)
    gone: list[str] = []
    frozen: list[str] = []
    for number in range(8):
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            event = chance.choice(("join", "leave", "leave", "back", "freeze", "thaw"))
            name = chance.choice(sorted(group.members))
            if event == "join":
                group.join(f"new{number}-{len(group.members)}")
            elif event == "leave":
                group.leave(name)
                gone.append(name)
            elif event == "back" and gone:
                group.join(gone.pop(0))
            elif event == "freeze":
                group.freeze(name)
                frozen.append(name)
            elif event == "thaw" and frozen:
                group.thaw(frozen.pop(0))
        moves = group.rebalance()
        assert moves.spread <= 1
        # With several stages the one more that a member may have can be of another stage than before.
        assert moves.moved <= moves.moved_min + (count - 1) * len(group.members) // 2
        if count == 1:
            assert moves.moved == moves.moved_min
        group.catch_up(0.5)
    still = group.rebalance()
    assert (still.moved, still.standbys_moved) == (0, 0)


def test_one_worker_that_goes_moves_its_own_tasks_and_nothing_else() -> None:
    for count in (1, 4):
        group = filled(stages(count), 50)
        mine = len(group.members["w7"].held)
        before = {name: member.held for name, member in group.members.items()}
        group.leave("w7")
        assert group.rebalance().moved == mine == 20 * count
        assert all(before[name] <= member.held for name, member in group.members.items())


def test_what_crashes_is_taken_over_where_its_standbys_are() -> None:
    group = filled(stages(1), 50, standbys=1, on_disk=True)

    def then() -> Moves:
        moves = group.rebalance()
        group.catch_up()
        return moves

    group.leave("w7")
    crashed = then()
    assert (crashed.moved, crashed.cold) == (20, 0)
    group.join("w7")
    back = then()
    assert (back.moved, back.cold) == (20, 0)  # its own tasks, from its disk
    rack = [f"w{i}" for i in range(20, 25)]
    for name in rack:
        group.leave(name)
    five = then()
    assert (five.moved, five.cold) == (100, five.cold_min)  # those whose standby crashed too


def test_the_frozen_one_is_fenced_and_its_old_claim_does_not_count() -> None:
    group = filled(stages(1), 50)
    held = group.members["w8"].held
    group.freeze("w8")
    group.rebalance()
    assert group.believed_max == 2  # it believes to run them still; `Group` looks that only the others may commit
    now = {task for member in group.members.values() for task in member.held}
    assert held <= now
    group.thaw("w8")
    moves = group.rebalance()
    assert moves.moved == moves.moved_min == 20


@pytest.mark.parametrize("standbys", [0, 1])
def test_the_work_grows_with_the_tasks_and_not_with_their_square(standbys: int) -> None:
    found = []
    for tasks, workers in ((500, 25), (1_000, 50), (2_000, 100)):
        group = filled(stages(1, tasks), workers, standbys=standbys, on_disk=standbys > 0)
        counted: list[int] = []

        def count(work: Callable[[], Any], counted: list[int] = counted) -> Any:
            result, taken = steps(work)
            counted.append(taken)
            return result

        group.rebalance(count)
        assert counted[0] <= STEPS_A_TASK_MAX * tasks
        found.append(counted[0])
    assert found[1] <= 2.3 * found[0]
    assert found[2] <= 2.3 * found[1]


def test_messages_of_ten_stages_stay_far_below_what_a_broker_keeps() -> None:
    group = filled(stages(10), 50, standbys=1)
    moves = group.rebalance()
    assert moves.claims_bytes + moves.given_bytes < (1 << 20) // 2
