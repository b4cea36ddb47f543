"""Progress of long work on stderr: one line rewritten in place on a terminal, else plain lines, ever more seldom."""

from __future__ import annotations

import sys
import time

_PLAIN_INTERVAL_S_MAX = 60.0


class ProgressLine:
    """Shows a text at most once a second. Where stderr is no terminal, the intervals grow: a log is not a screen."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._started = self._shown = time.monotonic()
        self._width = 0
        self._closed = False

    def show(self, text: str) -> None:
        """Show `text` if it is time."""
        now = time.monotonic()
        interval_s = 0.9 if self._tty else min(max(0.9, (now - self._started) / 4), _PLAIN_INTERVAL_S_MAX)
        if self._closed or now - self._shown < interval_s:
            return
        self._shown = now
        self._write(f"\r{text.ljust(self._width)}" if self._tty else f"{text}\n")
        self._width = len(text)

    def clear(self) -> None:
        """Remove what was rewritten in place, so that a result can follow."""
        if self._tty and self._width:
            self._write(f"\r{' ' * self._width}\r")
            self._width = 0

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except BrokenPipeError:
            self._closed = True  # nobody looks any more; the work goes on
