"""Several worker processes of one run: started, listened to, replaced when they are killed, and ended together.

Each is a command of its own that writes one JSON line after another, its `Progress`, to a pipe that it inherits.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import orjson

from streamflow.sdk.errors import StreamflowError
from streamflow.sdk.events import Logger
from streamflow.workers.progress import Progress, summed

REPORT_FD = "STREAMFLOW_REPORT_FD"  # environment of a worker process: the pipe's number
_LINE_BYTES_MAX = 1 << 20
_STDERR_SHOWN_MAX = 4_000
_LAST_WORDS_S = 5.0
_KILLS_MAX, _KILLS_WITHIN_S = 20, 60.0  # replaced so often, a worker is not killed by chance
_log = Logger(__name__)


class WorkerFailed(StreamflowError):
    """A worker process ended with an error; the others were ended, too."""

    code = "SF611"


def reporter() -> Callable[[Progress], None] | None:
    """In a worker process: what tells its progress to the process that started it."""
    number = os.environ.get(REPORT_FD)
    if not number:
        return None
    pipe = os.fdopen(int(number), "wb", buffering=0)

    def tell(progress: Progress) -> None:
        try:
            pipe.write(orjson.dumps(asdict(progress), option=orjson.OPT_APPEND_NEWLINE))
        except BrokenPipeError:  # who started us is gone, and nobody would ever end us
            os.kill(os.getpid(), signal.SIGTERM)

    return tell


@dataclass(slots=True)
class _Child:
    number: int
    process: asyncio.subprocess.Process | None = None
    said: Progress = field(default_factory=Progress)
    before: Progress = field(default_factory=Progress)  # totals of those that it replaced
    killed_s: list[float] = field(default_factory=list)

    def totals(self) -> Progress:
        total = summed([self.before, self.said])
        total.tasks, total.idle, total.lag = self.said.tasks, self.said.idle, self.said.lag
        total.standbys, total.standby_lag = self.said.standbys, self.said.standby_lag
        total.scheduler = dict(self.said.scheduler)
        return total


class Processes:
    """`count` processes of one command."""

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        *,
        environment: Mapping[str, str] | None = None,
        tasks: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """`tasks`: how many there are in all; given, the run ends when all of them run somewhere and are idle."""
        self._command, self._environment = list(command), dict(environment or {})
        self._children = [_Child(number) for number in range(count)]
        self._tasks, self._on_progress = tasks, on_progress
        self._stop = asyncio.Event()
        self._started = time.monotonic()

    @property
    def pids(self) -> list[int]:
        """Of the processes that run."""
        return [c.process.pid for c in self._children if c.process is not None and c.process.returncode is None]

    def stop(self) -> None:
        """Ask all for a graceful end."""
        self._stop.set()

    async def run(self) -> Progress:
        """Run to the end; totals of all. Raises WorkerFailed."""
        jobs = [asyncio.create_task(self._keep(child)) for child in self._children]
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([*jobs, stop], return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            self._signal(signal.SIGTERM)
            results = await asyncio.gather(*jobs, return_exceptions=True)
        finally:
            stop.cancel()
            self._signal(signal.SIGKILL)  # only where something above was cancelled is one left
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return self._totals()

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.process is not None and child.process.returncode is None:
                child.process.send_signal(number)

    def _totals(self) -> Progress:
        total = summed(child.totals() for child in self._children)
        total.seconds = time.monotonic() - self._started
        return total

    async def _keep(self, child: _Child) -> None:
        """Run one worker; one that was killed is replaced."""
        while not self._stop.is_set():
            code, stderr = await self._once(child)
            if code == 0:
                return
            if code > 0:
                raise WorkerFailed(
                    f"worker {child.number} ended with {code}: {stderr.strip() or 'it said nothing.'}",
                    mend="Everything committed stays committed; mend the cause and start again.",
                )
            now = time.monotonic()
            child.killed_s = [at for at in child.killed_s if now - at < _KILLS_WITHIN_S] + [now]
            if self._stop.is_set():
                return
            if len(child.killed_s) > _KILLS_MAX:
                raise WorkerFailed(
                    f"worker {child.number} was killed {len(child.killed_s)} times within {_KILLS_WITHIN_S:.0f} s, "
                    f"last by signal {-code}.",
                    mend="Look for what kills it, such as the system's memory limit.",
                )
            _log.warning("worker_replaced", worker=child.number, signal=-code)
            child.before = child.totals()
            child.said = Progress()

    async def _once(self, child: _Child) -> tuple[int, str]:
        """One process from start to end: its return code (negative: killed by that signal), the end of its stderr."""
        readable, writable = os.pipe()
        try:
            child.process = await asyncio.create_subprocess_exec(
                *self._command,
                env={**os.environ, **self._environment, REPORT_FD: str(writable)},
                pass_fds=(writable,),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C at a terminal reaches us alone; we end them in order
            )
        finally:
            os.close(writable)
        listening = asyncio.create_task(self._listen(child, readable))
        try:
            stderr = await self._stderr(child)
            code = await child.process.wait()
            await asyncio.wait([listening], timeout=_LAST_WORDS_S)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        return code, stderr

    async def _listen(self, child: _Child, readable: int) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(readable, "rb", buffering=0)
        )
        try:
            while line := await reader.readline():
                if line.endswith(b"\n"):  # the last one of a killed process may be torn
                    child.said = Progress(**orjson.loads(line))
                    self._told()
        finally:
            transport.close()

    def _told(self) -> None:
        total = self._totals()
        if self._on_progress is not None:
            self._on_progress(total)
        if self._tasks is not None and total.idle and total.tasks == self._tasks:
            self._stop.set()

    async def _stderr(self, child: _Child) -> str:
        """Hand on what the worker says, and keep the end of it."""
        assert child.process is not None
        assert child.process.stderr is not None
        kept = b""
        while piece := await child.process.stderr.read(4096):
            sys.stderr.buffer.write(piece)
            sys.stderr.flush()
            kept = (kept + piece)[-_STDERR_SHOWN_MAX:]
        return kept.decode(errors="replace")
