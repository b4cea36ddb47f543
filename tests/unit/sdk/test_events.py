"""Events of a process: what is below the level costs nothing, the first one that counts sets structlog up."""

from __future__ import annotations

import subprocess
import sys

from structlog.testing import capture_logs

from streamflow.sdk import events
from streamflow.sdk.events import Logger


def test_events_come_with_their_values_and_level() -> None:
    with capture_logs() as logged:
        Logger("a").info("task_began", task="a/0")
        Logger("b").warning("task_stands", task="b/1", seconds=2)
    assert logged == [
        {"event": "task_began", "task": "a/0", "log_level": "info"},
        {"event": "task_stands", "task": "b/1", "seconds": 2, "log_level": "warning"},
    ]


def test_what_is_below_the_level_is_left_out_and_prepares_nothing() -> None:
    called: list[int] = []
    events.prepare(events.LEVELS["warning"], lambda: called.append(1))
    with capture_logs() as logged:
        Logger("a").info("task_began")
        Logger("a").debug("task_began")
        assert called == []
        Logger("a").error("task_failed")
        Logger("a").warning("task_stands")
    assert [event["event"] for event in logged] == ["task_failed", "task_stands"]
    assert called == [1]


def test_a_process_without_events_does_not_import_structlog() -> None:
    code = """
import sys
from streamflow.cli.logs import configure
from streamflow.sdk.events import Logger
configure()
Logger("a").info("task_began")
assert "structlog" not in sys.modules
Logger("a").warning("task_stands", task="a/0")
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr.endswith(" level=warning event=task_stands task=a/0\n"), done.stderr
