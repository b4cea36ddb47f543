"""The writer: one thread per opening that commits what the tasks hand in, several at a time when they come at once.

With durability `fsync` all commits of a turn share one sync. What is handed in has been compressed before, so the log
is held only to assign offsets and to write.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from streamflow.logs.embedded.catalog import Catalog
from streamflow.logs.embedded.checkpoint import Checkpointer, Swap
from streamflow.logs.embedded.core import Core, Written
from streamflow.logs.embedded.frame import Change
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import CommitUnknown, LogError, LogFull, StreamflowError

_TURN_MAX = 64  # commits of one turn

Ends = dict[TopicPartition, int]  # of partitions that frames written in this turn have moved


@dataclass(slots=True)
class Prepared:
    """What a job wants written, made while the log is held: offsets are final."""

    change: Change
    data: Sequence[bytes | memoryview] = ()
    ends: Ends = field(default_factory=dict)


@dataclass(slots=True)
class Job:
    """`prepare` looks at the catalog and either makes a change or raises; None: there is nothing to do.

    A job that is not `shared` changes more than partition ends and is committed alone, so that the next one sees it.
    """

    prepare: Callable[[Catalog, Ends], Prepared | None]
    shared: bool = False
    future: Future[Change] = field(default_factory=Future)


@dataclass(slots=True)
class _Checkpoint:
    swaps: tuple[Swap, ...]
    now_ms: int | None
    future: Future[None] = field(default_factory=Future)


class Writer:
    """Starts its thread at once; `close` ends it after what was handed in before."""

    def __init__(self, core: Core, *, journal_bytes_max: int, clock: Callable[[], int]) -> None:
        self._core, self._clock = core, clock
        self._journal_bytes_max = self._checkpoint_at = journal_bytes_max
        self._checkpointer = Checkpointer(core)
        self._queue: queue.SimpleQueue[Job | _Checkpoint | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="streamflow-log-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> Future[Change]:
        self._check_open()
        self._queue.put(job)
        return job.future

    def checkpoint(self, swaps: tuple[Swap, ...] = (), *, now_ms: int | None = None) -> Future[None]:
        """Ask for a checkpoint. Its failures (LogFull) are the future's."""
        self._check_open()
        request = _Checkpoint(swaps, now_ms)
        self._queue.put(request)
        return request.future

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()

    def _check_open(self) -> None:
        if self._closed:
            raise LogError("the log is closed.", mend="Open it before use.")

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            if isinstance(first, _Checkpoint):
                self._run_checkpoint(first)
                continue
            jobs = [first]
            stop: _Checkpoint | None = None
            ended = False
            while len(jobs) < _TURN_MAX:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    ended = True
                    break
                if isinstance(item, _Checkpoint):
                    stop = item
                    break
                jobs.append(item)
            self._turn(jobs)
            if stop is not None:
                self._run_checkpoint(stop)
            if ended:
                return

    def _turn(self, jobs: list[Job]) -> None:
        try:
            with self._core.locked():
                together: list[Job] = []
                for job in jobs:
                    if not job.shared:
                        self._commit(together)
                        self._commit([job])
                        together = []
                    else:
                        together.append(job)
                self._commit(together)
                self._checkpoint_if_due()
        except Exception as error:  # whatever it is belongs to those who wait for an outcome, not to this thread
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(error)

    def _commit(self, jobs: Sequence[Job]) -> None:
        """Write the frames of `jobs`, publish them together, and tell each its outcome."""
        ends: Ends = {}
        written: list[tuple[Job, Written]] = []
        for job in jobs:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                prepared = job.prepare(self._core.catalog, ends)
                if prepared is None:
                    job.future.set_result(Change())
                    continue
                after = written[-1][1] if written else None
                written.append((job, self._core.write_frame(prepared.change, prepared.data, after)))
            except StreamflowError as error:
                job.future.set_exception(error)
            except OSError as error:
                job.future.set_exception(LogError(f"{self._core.journal.path}: cannot be written: {error}."))
            else:
                ends.update(prepared.ends)
        if not written:
            return
        try:
            self._core.publish([frame for _, frame in written])
        except (LogFull, OSError) as error:
            self._not_synced([job for job, _ in written], error)
            return
        for job, frame in written:
            job.future.set_result(frame.change)

    def _not_synced(self, jobs: Sequence[Job], error: Exception) -> None:
        """The sync failed before anything counted: take the frames back, or admit that nobody knows."""
        outcome: Exception = (
            error if isinstance(error, LogFull) else LogError(f"the journal cannot be synced: {error}.")
        )
        try:
            self._core.take_back()
        except OSError as again:
            outcome = CommitUnknown(f"the journal can neither be synced ({error}) nor cut back ({again}).")
        for job in jobs:
            job.future.set_exception(outcome)

    def _checkpoint_if_due(self) -> None:
        position = self._core.catalog.position
        if position < self._checkpoint_at:
            return
        try:
            self._checkpointer.run(self._clock())
        except (LogFull, OSError) as error:
            # Everything stays readable from the journal. Not at once again: each attempt copies.
            self._checkpoint_at = position + self._journal_bytes_max // 4
            logging.getLogger(__name__).warning("checkpoint put off: %s", error)
        else:
            self._checkpoint_at = self._journal_bytes_max

    def _run_checkpoint(self, request: _Checkpoint) -> None:
        try:
            with self._core.locked():
                now_ms = self._clock() if request.now_ms is None else request.now_ms
                self._checkpointer.run(now_ms, request.swaps)
            request.future.set_result(None)
        except Exception as error:  # the outcome belongs to who asked
            request.future.set_exception(error)
