"""A worker ends even when Faust's own part of the end does not."""

from __future__ import annotations

import asyncio

import faust
import pytest
from structlog.testing import capture_logs

from streamflow.workers.faust.app import WorkflowApp


class Tasks:
    """Tasks that note when they were ended."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    async def end(self) -> None:
        self._said.append("tasks ended")


@pytest.mark.parametrize("hangs", [False, True])
def test_tasks_end_first_and_a_hanging_stop_is_given_up(monkeypatch: pytest.MonkeyPatch, hangs: bool) -> None:
    said: list[str] = []

    async def stop(self: faust.App) -> None:
        said.append("faust stops")
        if hangs:
            await asyncio.Event().wait()
        said.append("faust stopped")

    monkeypatch.setattr(faust.App, "stop", stop)
    monkeypatch.setitem(WorkflowApp.stop.__globals__, "_STOP_S_MAX", 0.05)  # the package names a function `app` too
    host = WorkflowApp("w.faust", broker="aiokafka://127.0.0.1:1", store="memory://", web_enabled=False)
    host.tasks = Tasks(said)  # type: ignore[assignment]
    with capture_logs() as logged:  # another test may have set logs up for a stream that is closed by now
        asyncio.run(asyncio.wait_for(host.stop(), 30))
    assert said == ["tasks ended", "faust stops", *([] if hangs else ["faust stopped"])]
    assert [line["event"] for line in logged] == (["faust_did_not_stop"] if hangs else [])
