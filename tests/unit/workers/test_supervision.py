"""Tasks that end although nobody asked them to, and tasks that are asked where they stand."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.runtime.task import Task
from streamflow.workers import fleet
from streamflow.workers.driver import AnyTask
from tests.simulation.running import compiled, run, send, values, with_log

TEXT = """\
workflow: w
nodes:
  numbers: {type: event, topic: in, format: json}
  all: {type: publish, topic: out, format: json}
connections: [numbers -> all]
"""


def test_a_task_that_was_cancelled_from_within_begins_again(tmp_path: Path) -> None:
    """Whatever a task awaits may be cancelled, and then nothing but its driver notices."""
    cancelled: list[str] = []

    async def turn(task: AnyTask) -> bool:
        if len(cancelled) < 2 and task.has_pending:
            cancelled.append(task.name)
            raise asyncio.CancelledError
        return await task.advance()

    async def work(log: EmbeddedLog) -> list[object]:
        await send(log, "in", [{"n": n} for n in range(50)])
        # However slow the machine: rows are pending in a second turn.
        await run(compiled(f"{TEXT}policies: {{commit_interval: 1m}}"), log, turn=turn)
        return await values(log, "out")

    assert asyncio.run(with_log(tmp_path, work)) == [{"n": n} for n in range(50)]
    assert cancelled == ["numbers/0", "numbers/0"]


def test_a_task_that_does_not_begin_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fleet, "_LOOK_S", 0.05)
    monkeypatch.setattr(fleet, "_STUCK_S", 0.3)
    begun: list[str] = []
    start = Task.start

    async def hang(self: Task) -> None:
        begun.append(self.name)
        if len(begun) == 1:
            await asyncio.Event().wait()
        await start(self)

    monkeypatch.setattr(Task, "start", hang)

    async def work(log: EmbeddedLog) -> list[object]:
        await send(log, "in", [{"n": n} for n in range(50)])
        await run(compiled(TEXT), log)
        return await values(log, "out")

    assert asyncio.run(with_log(tmp_path, work)) == [{"n": n} for n in range(50)]
    assert begun == ["numbers/0", "numbers/0"]
    said = capsys.readouterr().out
    assert "task_stands" in said
    assert "it does not begin" in said
    assert "thread_stands" in said


def test_where_tasks_stand_is_told_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    async def turn(task: AnyTask) -> bool:
        if not asked and task.has_pending:
            asked.append(task.name)
            os.kill(os.getpid(), signal.SIGUSR1)
            await asyncio.sleep(0.2)
        return await task.advance()

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": n} for n in range(50)])
        await run(compiled(TEXT), log, turn=turn)

    asyncio.run(with_log(tmp_path, work))
    said = capsys.readouterr().out
    assert "task_stands" in said
    assert "numbers/0" in said
    assert "running" in said
    assert "in/0" in said
    assert "sleep:" in said
