"""How the loop of one task ends."""

from __future__ import annotations

import asyncio

import pytest

from streamflow.workers.driver import Driver


class Committing:
    """A task whose turn is one commit, which ends when the test says so."""

    name, halted, has_pending = "numbers/0", None, True

    def __init__(self) -> None:
        self.begun, self.answered = asyncio.Event(), asyncio.Event()
        self.commits, self.drained = 0, False

    async def start(self) -> None:
        pass

    async def advance(self) -> bool:
        self.begun.set()
        await self.answered.wait()
        self.commits += 1
        return True

    async def drain(self) -> None:
        self.drained = True

    async def close(self) -> None:
        pass


def dropped(*, answers: bool) -> tuple[Committing, list[str]]:
    async def run() -> tuple[Committing, list[str]]:
        task, told = Committing(), list[str]()
        driver = Driver(task)  # type: ignore[arg-type]
        driver.start(failed=lambda _, error: told.append(repr(error)), ended=lambda d: told.append(d.state))
        await task.begun.wait()
        dropping = asyncio.create_task(driver.drop())
        await asyncio.sleep(0)
        if answers:
            task.answered.set()
        await dropping
        await asyncio.sleep(0)
        return task, told

    return asyncio.run(run())


def test_a_commit_under_way_when_a_task_is_dropped_is_finished_and_counted() -> None:
    task, told = dropped(answers=True)
    assert (task.commits, task.drained, told) == (1, False, ["gone"])


def test_a_commit_that_nobody_answers_does_not_hold_up_who_drops_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamflow.workers.driver._TURN_S_MAX", 0.01)
    task, told = dropped(answers=False)
    assert (task.commits, task.drained, told) == (0, False, ["gone"])
