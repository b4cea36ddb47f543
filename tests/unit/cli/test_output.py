"""Progress and colors: what a terminal gets, and what a file gets."""

from __future__ import annotations

import io
import sys

import pytest

from streamflow.cli import progress
from streamflow.cli.output import counted, one_line, use_color


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "env", "colored"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colors(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, env: dict[str, str], colored: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert use_color(stream) is colored


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, seconds: list[int]) -> str:
    """What is written when the line is offered something at these seconds."""
    now = [0.0]
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("streamflow.cli.progress.time.monotonic", lambda: now[0])
    line = progress.ProgressLine()
    for second in seconds:
        now[0] = second
        line.show(f"{second} s")
    line.clear()
    return stream.getvalue()


def test_a_terminal_gets_one_line_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, Terminal(), [0, 1, 10, 100]) == "\r1 s\r10 s\r100 s\r     \r"


def test_a_file_gets_lines_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, io.StringIO(), list(range(3_600))).splitlines()
    assert lines[:3] == ["1 s", "2 s", "3 s"]
    assert len(lines) < 100
    assert int(lines[-1].split()[0]) - int(lines[-2].split()[0]) == 60


def test_nobody_looking_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    assert shown(monkeypatch, Gone(), [1, 2]) == ""


def test_words() -> None:
    assert [counted(n, "record") for n in (0, 1, 2_000)] == ["0 records", "1 record", "2,000 records"]
    assert one_line("a\x1b[31mb\tc\u2028é") == r"a\x1b[31mb\tc\u2028é"
