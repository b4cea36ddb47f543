"""Events that a process logs: a name and values, through structlog, which is imported when there is one to write.

Most runs write none, and structlog takes a tenth of the time in which a small one is over. What stands here knows only
the least level that counts and what to call before the first event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _Output:
    """What the process has said about its events. One for all loggers, as structlog's configuration is."""

    def __init__(self) -> None:
        self.least = 0
        self.first: Callable[[], None] | None = None


class Logger:
    """The events of a module."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **values: Any) -> None:
        self._write("debug", event, values)

    def info(self, event: str, **values: Any) -> None:
        self._write("info", event, values)

    def warning(self, event: str, **values: Any) -> None:
        self._write("warning", event, values)

    def error(self, event: str, **values: Any) -> None:
        self._write("error", event, values)

    def _write(self, level: str, event: str, values: dict[str, Any]) -> None:
        if LEVELS[level] < _output.least:
            return
        import structlog

        first, _output.first = _output.first, None
        if first is not None:
            first()
        getattr(structlog.get_logger(self._name), level)(event, **values)


def prepare(least: int, first: Callable[[], None]) -> None:
    """Events below level `least` are not written; `first` is called before the first one that is."""
    _output.least, _output.first = least, first


_output = _Output()
