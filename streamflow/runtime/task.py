"""A task: one stage on one partition. Fetches, steps, commits; recovers by starting over from what was committed.

created ──start──▶ running ──stop policy──▶ halted
                   │  ▲
          any fault│  │recover: new producer, committed offsets, restored stores
                   ▼  │
                 broken ──fenced──▶ (raises)
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from streamflow.model.policies import RunPolicy
from streamflow.model.positions import Committed, OffsetRange, TopicPartition
from streamflow.runtime.again_reader import AgainReader
from streamflow.runtime.allowance import Allowance
from streamflow.runtime.arrived import Arrived
from streamflow.runtime.at_once import AtOnce
from streamflow.runtime.buffers import Buffers
from streamflow.runtime.checkpoint import restore_all, why_useless
from streamflow.runtime.committed import agreed, last_record, link, linked, rests
from streamflow.runtime.control import GOES_ON, HOLDS
from streamflow.runtime.deadletter import encode_dead_letters
from streamflow.runtime.emit import Writes
from streamflow.runtime.journal import JournalRecord, JournalStep
from streamflow.runtime.program import TaskProgram
from streamflow.runtime.record_at import record_at
from streamflow.runtime.records import commit_records, dead_letters, handled_errors, stop_letter
from streamflow.runtime.spent import COMMIT
from streamflow.runtime.stepped import Stepped
from streamflow.runtime.table_reader import TableReader
from streamflow.runtime.transaction import Transaction
from streamflow.sdk.budget import Budget
from streamflow.sdk.errors import (
    CommitUnknown,
    EntryTooLarge,
    OffsetOutOfRange,
    StateBroken,
    StateError,
    Stopped,
    StreamflowError,
)
from streamflow.sdk.log import Log, Producer, RecordBatch
from streamflow.topology.plan import StorePlan, Topology

_REFRESH_S = 6 * 3600.0  # brokers may be set to forget positions after a day
_T = TypeVar("_T")


def _no_wait(seconds: float) -> None:
    """Does not wait."""


def _size_of(reading: asyncio.Task[list[RecordBatch]]) -> int:
    """Bytes of what was read; 0 where it is not over, or brought nothing."""
    if not reading.done() or reading.cancelled() or reading.exception() is not None:
        return 0
    return sum(len(batch.body) for batch in reading.result())


Fetched = Mapping[TopicPartition, Sequence[RecordBatch]]  # what came, by input


@dataclass(slots=True)
class TaskMetrics:
    """What a task has done since it started; only what was committed counts."""

    rows_in: int = 0
    rows_out: int = 0
    dead: int = 0
    commits: int = 0
    recoveries: int = 0
    restoring: int = 0  # offsets of changelogs left to read before it can begin
    restored: int = 0  # those that it has read
    steps: dict[str, int] = field(default_factory=dict)  # by rows that they took: "1", "2", "4", … and less than twice
    spent_s: dict[str, float] = field(default_factory=dict)  # see `spent`
    span: Span | None = None  # from the first record taken to the end of the last commit


@dataclass(slots=True)
class Span:
    """When work was done: by the machine's monotonic clock, and by the CPU time of the process; seconds."""

    first_s: float
    first_cpu_s: float
    last_s: float
    last_cpu_s: float

    @classmethod
    def begin(cls) -> Span:
        now_s, cpu_s = time.monotonic(), time.process_time()
        return cls(now_s, cpu_s, now_s, cpu_s)

    def go_on(self) -> None:
        """It lasts until now."""
        self.last_s, self.last_cpu_s = time.monotonic(), time.process_time()


@dataclass(slots=True)
class _Pending:
    """Steps since the last commit."""

    steps: list[JournalStep] = field(default_factory=list)
    done: list[Stepped] = field(default_factory=list)
    size_bytes: int = 0
    since_s: float = 0.0  # when its first step began


class Task:
    """Runs one task on a log. Drive it with `advance`; it never runs in two places because its producer is fenced."""

    def __init__(
        self,
        topology: Topology,
        program: TaskProgram,
        log: Log,
        executor: Executor,
        *,
        policy: RunPolicy | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        clock_s: Callable[[], float] = time.monotonic,
        inputs: Log | None = None,
        budget: Budget | None = None,
    ) -> None:
        """`clock_s`: seconds since any moment, by which commits and looks into other topics are due. `inputs`: the log
        to read from, where it is another one than what is written to (a replay). `budget`: what it may hold beside
        the other tasks of its process; none is as much as its own bounds allow.
        """
        self._topology, self._program, self._log, self._executor = topology, program, log, executor
        self._inputs = inputs or log
        self._policy, self._clock_ms, self._clock_s = policy or topology.run, clock_ms, clock_s
        self.stage, self.partition = program.stage, program.partition
        self.group = self.stage.group(topology.workflow)
        self.transactional_id = f"{self.group}.{self.partition}"
        self.positions: dict[TopicPartition, int] = {}
        self.metrics = TaskMetrics(spent_s=program.graph.spent.seconds)
        self.halted: Stopped | None = None
        self._producer: Producer | None = None
        self._pending = _Pending()
        self._committed: dict[TopicPartition, Committed] = {}
        self._number = 0  # of the last commit that kept something besides offsets and stores
        self._caught_up: dict[TopicPartition, int] = {}  # inputs that had nothing more when last read: since when, ms
        self._buffers = Buffers(list(program.inputs))
        self._stop_at: tuple[TopicPartition, int, str] | None = None
        self._stop_error = ("", "", "")  # what stops it there: node, code, message
        self._turn = 0
        self.closed: frozenset[TopicPartition] = frozenset()  # inputs of which nothing more is taken for now
        self._goes_on = False  # by the clock, soon
        self._going_back = False  # positions are not yet those of the log again
        self._rests = False  # nothing behind the committed positions was tried
        self._heard = 0  # up to where in the control topic everything is done that its orders ask for
        self._begun: dict[TopicPartition, int] = {}  # else: up to where something may have been
        self._tells_pause = False  # the journal does not tell yet which of both
        self._broke_at = -1  # commits there were when state on disk was found to be broken
        self._refreshed_s = self._clock_s()  # when the positions of all inputs were committed
        self._changelogs = {(s.node, s.name): self._changelog(s) for s in self.stage.stores}
        self._reader = TableReader(
            program, self._inputs, self._in_thread, self._add_table, clock_ms=clock_ms, clock_s=clock_s,
            step_bytes_max=self._policy.step_bytes_max, look_every_ms=self._policy.commit_interval_ms,
        )  # fmt: skip
        self._tables = self._reader.tables
        self._again = AgainReader(
            program.again, self._inputs, compute=self._in_thread, before=self._commit_pending, done=self._given_again,
            clock_s=clock_s, step_bytes_max=self._policy.step_bytes_max, look_every_ms=self._policy.commit_interval_ms,
        )  # fmt: skip
        self._at_once = AtOnce(topology, log, self.transactional_id)
        self._prefetched: dict[TopicPartition, tuple[int, asyncio.Task[list[RecordBatch]]]] = {}
        begin = {t.name for t in topology.topics if t.kind in ("source", "trigger")}
        self._allowance = Allowance(budget, [at for at, i in program.inputs.items() if i.topic in begin])

    @property
    def name(self) -> str:
        return f"{self.stage.id}/{self.partition}"

    @property
    def has_pending(self) -> bool:
        """Whether something that was read waits for its turn or its commit, or is about to be read again."""
        waits = self._going_back or bool(self._pending.steps) or bool(self._buffers)
        return waits or self._goes_on

    async def start(self) -> None:
        """Take over: fence the predecessor, read committed offsets, restore stores, settle outside effects."""
        await self._make_producer()
        program = self._program
        await self._in_thread(program.state.open)
        await self._in_thread(self._tables.open)
        why = await why_useless(program.state, self._log, self._changelogs, program.topics, self._clock_ms())
        if why:
            await self._in_thread(program.state.discard, why)
        await self._rewind()

    async def _make_producer(self) -> None:
        self._producer = await self._log.producer(self.transactional_id)
        await self._at_once.open()

    async def _rewind(self) -> None:
        """Forget everything since the last commit; positions and stores are those of the log again."""
        self._going_back = True
        self._heard = 0
        await self._drop_prefetched()
        self._pending = _Pending()
        await self._at_once.drop()
        self._caught_up.clear()
        self._buffers.clear()
        self._allowance.clear()
        self._program.take_counts()
        self._program.clock.calls.forget()
        await self._in_thread(self._program.state.mend)
        read = await restore_all(self.name, self._program.state, self._log, self._changelogs, self._left)
        self.metrics.restored += read
        committed = await self._log.committed(self.group, list(self._program.inputs))
        await self._restore_kept(committed)
        for at, plan in self._program.inputs.items():
            start, end = await self._inputs.offsets(at)
            known = committed.get(at)
            if known is None:
                self.positions[at] = start if plan.start == "earliest" else end
            elif start <= known.offset <= end:
                self.positions[at] = known.offset
            else:
                # Going on from `start` would lose records without a word.
                raise OffsetOutOfRange(
                    f"task {self.name}: {at} holds offsets {start} to {end}, and this workflow stands at "
                    f"{known.offset}: records were deleted before it read them, or the topic was made anew.",
                    mend="Restore the topic, or start the workflow from the beginning with `streamflow reset`.",
                )
            self._committed[at] = Committed(self.positions[at], known.metadata if known else "")
        await self._again.begin(self.group, self._log)
        await self._see_what_was_begun(committed)
        if self._tables:
            await self._read_tables()
        self._going_back = False
        await self._in_thread(self._after_commit)
        self._look_within()

    async def _see_what_was_begun(self, committed: Mapping[TopicPartition, Committed]) -> None:
        """Which records whoever had the task before may have tried without committing that; see `Endings`."""
        endings = self._program.endings
        if endings is None or not endings.careful:
            return
        self._rests = rests(committed.values())
        ends = {} if self._rests else {at: (await self._inputs.offsets(at))[1] for at in self._program.inputs}
        self._begun = {at: end for at, end in ends.items() if self.positions[at] < end}
        endings.paused, self._tells_pause = bool(self._begun), True

    def _pause(self, now_ms: int) -> None:
        """Rows do not end as long as some may have been tried; the journal tells when that begins and ends."""
        endings = self._program.endings
        assert endings is not None, "there are steps that are undone"
        self._begun = {at: end for at, end in self._begun.items() if self.positions[at] < end}
        if not self._tells_pause and endings.paused == bool(self._begun):
            return
        endings.paused, self._tells_pause = bool(self._begun), False
        told = HOLDS if endings.paused else GOES_ON
        self._add(Stepped(), now_ms, [JournalStep(at=TopicPartition(self.stage.control, 0), range=told, now_ms=now_ms)])

    async def _rest(self, *, rested: bool) -> None:
        """Commit the positions as they are, saying whether something behind them is tried from now on."""
        assert self._producer is not None, "start() comes first"
        mark = {at: Committed(self.positions[at], link(self._number, rests=rested)) for at in self._program.inputs}
        await self._producer.begin()
        await self._producer.send_offsets(self.group, mark)
        await self._producer.commit()
        self._committed.update(mark)
        self._rests = rested

    async def _read_tables(self) -> None:
        """Global tables from the beginning of their topics to the end."""
        committed = await self._log.committed(self.group, self._tables.counting)
        await self._reader.begin(committed, fill=self._inputs is self._log)
        self._committed.update(committed)

    async def _restore_kept(self, committed: Mapping[TopicPartition, Committed]) -> None:
        """Open executions and event time, from the journal record that the committed offsets name."""
        numbers = {at: linked(at, known) for at, known in committed.items()}
        self._number, record = agreed(numbers.values()), None
        if self._number:
            at = TopicPartition(self.stage.journal, self.partition)
            last = await last_record(self._log, at)
            record = None if last is None or last.value is None else JournalRecord.decode(last.value)
            if record is None or record.number != self._number:
                raise StateError(
                    f"task {self.name} stands at commit {self._number}, but the last one in its journal {at} is "
                    f"{'missing' if record is None else record.number}: it was cut, or positions were set by hand.",
                    mend="Start the workflow from the beginning with `streamflow reset`.",
                )
        elif not committed and self.stage.journal:
            await self._check_new()
        self._program.restore(record, [at for at, number in numbers.items() if number])

    async def _check_new(self) -> None:
        """A task without positions that has committed before would do everything again."""
        at = TopicPartition(self.stage.journal, self.partition)
        if await last_record(self._log, at) is not None:
            raise OffsetOutOfRange(
                f"task {self.name} has committed before, as its journal {at} tells, but group {self.group!r} has no "
                f"positions of it: they were deleted, or expired (Kafka keeps those of a stopped workflow for "
                f"offsets.retention.minutes).",
                mend="Set the positions again from the last journal record, or start anew with `streamflow reset`.",
            )

    async def refresh(self) -> None:
        """Commit the positions again as they are, if the last commit is long ago: logs let positions expire.

        Raises what `commit` raises.
        """
        if self._pending.steps or not self._committed or self._clock_s() - self._refreshed_s < _REFRESH_S:
            return
        assert self._producer is not None, "start() comes first"
        await self._producer.begin()
        await self._producer.send_offsets(self.group, dict(self._committed))
        await self._producer.commit()
        self._refreshed_s = self._clock_s()

    async def advance(self) -> bool:
        """Process what is there, at most one step, and commit when it is time. False: nothing was there."""
        return await self.take(await self.fetch())

    async def fetch(self) -> Fetched | None:
        """Record batches of one input, to be handed to `take`; inputs in turn. None: all are at their end.

        Where inputs are merged: those of all inputs of which nothing is held; perhaps none, where rows wait.
        """
        if self.halted is not None:
            return None
        if self._reader.stopped is not None:
            return None
        wanted = self._wanted()
        if wanted and not self._may_read(wanted):
            return None
        came: dict[TopicPartition, list[RecordBatch]] = {}
        for at in wanted:
            if batches := await self._look(at):
                came[at] = batches
                if not self._merges:
                    inputs = list(self._program.inputs)
                    self._turn = (inputs.index(at) + 1) % len(inputs)
                    break
        self._allowance.read([(at, self._buffers.end_offset(at, self.positions[at]), b) for at, b in came.items()])
        return came if came or (self._merges and self._buffers) else None

    def _wanted(self) -> list[TopicPartition]:
        """Inputs to look at, in this order."""
        inputs = list(self._program.inputs)
        if self._merges:
            return [at for at in inputs if at not in self._buffers]
        inputs = inputs[self._turn :] + inputs[: self._turn]
        if self._stop_at is None:
            return [at for at in inputs if at not in self.closed]
        # Before a halt only the failing input goes on, up to the failure: rows of others might fail as well, and two
        # inputs that send each other back would never come to an end.
        return [at for at in inputs if at == self._stop_at[0] and self.positions[at] < self._stop_at[1]]

    def _may_read(self, wanted: Sequence[TopicPartition]) -> bool:
        """Whether the budget has room for what these inputs may bring: one of them, or all where they are merged."""
        together = wanted if self._merges else wanted[:1]
        for at in together:
            self._allowance.use_ahead(at)
        return self._allowance.may_read(sum(map(self._size_max, together)))

    def _size_max(self, at: TopicPartition) -> int:
        """Bytes that the next read of an input may bring: those read ahead, where they are there already."""
        begun = self._prefetched.get(at)
        here = begun is not None and begun[0] == self._buffers.end_offset(at, self.positions[at])
        size = _size_of(begun[1]) if begun is not None and here else 0
        return size or self._policy.step_bytes_max

    @property
    def _merges(self) -> bool:
        """Whether rows of all inputs are taken in one order. Not before a halt, when one of them goes on alone."""
        return self._program.merges and self._stop_at is None

    async def _look(self, at: TopicPartition) -> list[RecordBatch]:
        """What an input has from where it was read to; and begin to read on."""
        batches = await self._read(at)
        if batches:
            self._caught_up.pop(at, None)
            if self._allowance.read_ahead(at, self._policy.step_bytes_max):
                after = batches[-1].last_offset + 1
                reading = self._inputs.read(at, after, size_bytes_max=self._policy.step_bytes_max)
                job = asyncio.ensure_future(reading)
                self._prefetched[at] = (after, job)
                job.add_done_callback(lambda job: self._came_ahead(at, job))
        else:
            self._caught_up.setdefault(at, self._clock_ms())
        return batches

    def _came_ahead(self, at: TopicPartition, job: asyncio.Task[list[RecordBatch]]) -> None:
        if self._prefetched.get(at, (0, None))[1] is job:
            self._allowance.came_ahead(at, _size_of(job))

    async def take(self, fetched: Fetched | None) -> bool:
        """Process what was fetched last, and commit when it is time. False: there was nothing."""
        if self.halted is not None:
            return False
        moved = await self._take_or_recover(fetched)
        if not moved and self.stage.control:
            self._heard = self._tables.positions[TopicPartition(self.stage.control, 0)]
        self._allowance.over(self._held)
        # Without room nothing was read: what moved was a table, or a timer, and may do so each turn.
        if self._allowance.blocked or (not moved and self._allowance.short):
            await self._give_way()
        self._look_within()
        return moved

    @property
    def _held(self) -> list[TopicPartition]:
        """Inputs of which something was read ahead of its turn."""
        return [at for at in self._program.inputs if at in self._buffers]

    async def _give_way(self) -> None:
        """Others wait, and nothing goes on here: what was read and not taken can be read again."""
        await self._drop_prefetched()
        self._buffers.clear()
        self._allowance.give_way()

    def _look_within(self) -> None:
        """How operators stand that keep rows waiting; asked between steps, since others ask at any time."""
        program = self._program
        self.closed = frozenset(at for at in program.inputs if program.room(at) == 0)
        self._goes_on = program.graph.goes_on_by_itself()

    async def _take_or_recover(self, fetched: Fetched | None) -> bool:
        try:
            return await self._take(fetched)
        except (CommitUnknown, StateBroken) as error:
            # Either outcome leaves a consistent log; a new producer settles it and we go on from what it holds.
            await self._recover(error)
            return True
        except EntryTooLarge as error:
            if self._program.graph.careful:
                raise
            self._program.graph.careful = True  # the rows that it is too large for are found when they come again
            await self._recover(error)
            return True

    async def _take(self, fetched: Fetched | None) -> bool:
        if self._rests:
            await self._rest(rested=False)
        if self._tells_pause or self._begun:
            self._pause(self._clock_ms())
        moved = await self._reader.look(idle=fetched is None)
        if self._reader.stopped is not None:
            if self._pending.steps:
                await self.commit()
            self.halted = self._reader.stopped
            return False
        now_ms = self._clock_ms()
        if self._stop_at is None:
            again = await self._again.look(now_ms, idle=fetched is None)
            if isinstance(again, Stopped):
                await self._halt(again)
                return False
            moved = again or moved
        woke = await self._wake_all(now_ms)
        if woke and self._stop_at is not None:
            return True  # what was fetched is to be read again
        stepped = fetched is not None and await self._step(fetched, now_ms)
        moved = moved or woke or stepped
        await self._at_once.give(wait=not moved)
        # Without room nobody has looked: that there is nothing more would be a guess.
        if not stepped and self._stop_at is None and not self._allowance.blocked:
            await self._quiet(now_ms)
        if self._pending.steps and self._due(idle=not moved):
            await self.commit()
        elif not moved:
            await self.refresh()
        if self._stop_at is not None and self.halted is None and not self._pending.steps:
            where, offset, text = self._stop_at
            if self.positions[where] >= offset:
                await self._tell_stop(where, offset)
                self.halted = Stopped(f"{text} (record {where} offset {offset}); everything before it is committed.")
        return moved

    async def _commit_pending(self) -> None:
        if self._pending.steps:
            await self.commit()

    def _given_again(self, done: Stepped, now_ms: int, read: Sequence[JournalStep] = ()) -> None:
        self._reader.tell()
        self._add(done, now_ms, read)

    async def _tell_stop(self, where: TopicPartition, offset: int) -> None:
        """The error workflow hears where this task halts, each time it does: nothing of that step is committed, so
        there is no transaction of it that could hold this.
        """
        if "stop" not in self.stage.also_told:
            return
        assert self._producer is not None, "start() comes first"
        plan, now_ms = self._program.inputs[where], self._clock_ms()
        source = "" if plan.internal or plan.extent != "item" else self._program.seeders[where].source
        record = await record_at(self._inputs, where, offset)
        letter = stop_letter(self._topology, self.stage, self._stop_error, where, offset, source, record, now_ms)
        await self._producer.begin()
        await self._producer.append(
            TopicPartition(self.stage.errors, 0),
            encode_dead_letters([letter], size_bytes_max=self._program.letter_bytes_max),
        )
        await self._producer.commit()

    async def _halt(self, why: Stopped) -> None:
        """Nothing of the last step counts, and no more is done."""
        await self._rewind()
        self.halted = why

    def _due(self, *, idle: bool) -> bool:
        waited_ms = (self._clock_s() - self._pending.since_s) * 1000
        full = self._pending.size_bytes >= self._policy.pending_bytes_max or self._allowance.short
        return full or waited_ms >= self._policy.commit_interval_ms or (idle and self._stop_at is not None)

    async def _read(self, at: TopicPartition) -> list[RecordBatch]:
        begun, here = self._prefetched.pop(at, None), self._buffers.end_offset(at, self.positions[at])
        self._allowance.use_ahead(at)
        if begun is not None and begun[0] == here:
            batches = await begun[1]
            if batches:
                return batches
        return await self._inputs.read(at, here, size_bytes_max=self._policy.step_bytes_max)

    async def _step(self, fetched: Fetched, now_ms: int) -> bool:
        """Process what came, or what is next of all that is held. False: it has to wait."""
        if not self._merges:
            ((at, batches),) = fetched.items()
            limits = [self._stop_at[1]] if self._stop_at is not None and self._stop_at[0] == at else []
            if (end := self._allowance.until(at)) is not None:
                limits.append(end)
            room = self._program.room(at) if self._stop_at is None else None
            if room is not None:
                if room == 0:
                    return False  # what woke before took it
                limits.append(self.positions[at] + room)
            limit = min(limits, default=None)
            await self.process({at: batches}, until={at: limit}, now_ms=now_ms)
            return True
        more = {at: self._may_bring(at, now_ms) for at in self._program.inputs}
        held, program = self._buffers, self._program
        ends = {at: self._allowance.until(at) for at in fetched}

        def next() -> list[Arrived]:
            for at, batches in fetched.items():
                came = program.arrived(at, batches, first=self.positions[at], now_ms=now_ms)
                held.add(came if (end := ends[at]) is None else came.split(end)[0])
            return held.take(more, program.taken_ms())

        return await self._process(next, now_ms=now_ms)

    def _may_bring(self, at: TopicPartition, now_ms: int) -> bool:
        """Whether an input has to be waited for: the log has more of it, or will have, as others have said.

        Who said so may be gone: nobody waits longer than `input_wait_ms`.
        """
        since_ms = self._caught_up.get(at)
        if since_ms is None:
            return True
        clock = self._program.time
        waits = clock is not None and clock.on_the_way(at)
        return waits and now_ms - since_ms < self._policy.input_wait_ms

    async def process(
        self,
        came: Fetched,
        *,
        until: Mapping[TopicPartition, int | None],
        now_ms: int,
        idle: Sequence[TopicPartition] | None = None,
    ) -> None:
        """One step of everything that came, up to offset `until` (None: all) of each input; its outputs wait for the
        next commit. `idle`: what a journal says of idle inputs.
        """
        program, held = self._program, Buffers(list(self._program.inputs))

        def next() -> list[Arrived]:
            found = [program.arrived(at, b, first=self.positions[at], now_ms=now_ms) for at, b in came.items()]
            found = [one if (end := until[one.at]) is None else one.split(end)[0] for one in found]
            if len(found) == 1:
                return found
            for one in found:
                held.add(one)
            return held.take_all(program.taken_ms())

        await self._process(next, now_ms=now_ms, idle=idle)

    async def _process(
        self, next: Callable[[], list[Arrived]], *, now_ms: int, idle: Sequence[TopicPartition] | None = None
    ) -> bool:
        """A step, in a thread. False: `next` gave nothing."""
        begun_s = self._clock_s()
        if self.metrics.span is None:
            self.metrics.span = Span.begin()

        def step() -> Stepped | None:
            arrived = next()
            if not arrived:
                return None
            return self._program.step(arrived, now_ms=now_ms, caught_up=self._caught_up, idle=idle)

        done = await self._in_thread(step)
        if done is None:
            return False
        if await self._stopped(done):
            return True
        self._pending.since_s = self._pending.since_s or begun_s
        self._reader.tell()
        self._add(done, now_ms)
        self._allowance.stepped(self._held)
        for taken in done.taken:
            self.positions[taken.at] = taken.range.end
        return True

    def _add_table(self, done: Stepped, now_ms: int, read: Sequence[JournalStep] = ()) -> None:
        """What was read of tables, told before the step that looks into them: what was late there is not of this."""
        self._add(done, now_ms, read, calls=False)

    def _add(self, done: Stepped, now_ms: int, read: Sequence[JournalStep] = (), *, calls: bool = True) -> None:
        """A step is done, and waits for the commit. `read`: what the journal is to say of it, where it took nothing.
        `calls`: it may have made such as were late.
        """
        pending = self._pending
        pending.since_s = pending.since_s or self._clock_s()
        late, first = self._program.clock.calls.take() if calls else (), len(pending.steps)
        for number, taken in enumerate(done.taken):
            idle = done.idle if number == 0 else ()
            pending.steps.append(
                JournalStep(at=taken.at, range=taken.range, now_ms=now_ms, with_previous=number > 0, idle=idle)
            )
            if not done.failed:
                taken.batches = ()
        pending.steps.extend(read)
        if late:
            pending.steps[first] = replace(pending.steps[first], late=late)
        self._at_once.take(done.writes)
        pending.done.append(done)
        pending.size_bytes += done.size_bytes
        self._allowance.made(done.size_bytes)

    async def _quiet(self, now_ms: int, idle: Sequence[TopicPartition] | None = None) -> None:
        """A step without records: event time may go on without an input that has been silent for too long."""
        clock = self._program.time
        # Who heard of more to come is told when there is none after all.
        tell = clock is not None and clock.tells and clock.time.told_more is not False and not self._pending.steps
        tell = tell and idle is None and not await self._has_more()
        if clock is None or not (clock.can_idle or clock.by_clock or tell or idle):
            return
        at = next(iter(self._program.inputs))
        here = self.positions[at]
        done = await self._in_thread(
            lambda: self._program.quiet(now_ms, self._caught_up, idle, here=(at, here), tell=tell)
        )
        if done is None or await self._stopped(done):
            return
        self._reader.tell()
        quiet = JournalStep(at=at, range=OffsetRange(here, here), now_ms=now_ms, idle=done.idle)
        self._add(done, now_ms, [quiet])

    async def _wake_all(self, now_ms: int) -> bool:
        """Operators that wait for the clock act, in as many steps as they need. False: it is time for none of them.

        They come before the rows of the same reading of the clock, so that what is due is not overtaken by them.
        """
        woke = False
        while self._stop_at is None and await self._wake(now_ms):
            woke = True
            if self._pending.size_bytes >= self._policy.pending_bytes_max:
                await self.commit()
        return woke

    async def _wake(self, now_ms: int) -> bool:
        """A step without records: operators that wait for the clock act. False: it is time for none of them."""
        if not self._program.is_due(now_ms):
            return False
        at = next(iter(self._program.inputs))
        here = self.positions[at]
        done = await self._in_thread(lambda: self._program.wake(now_ms, here=(at, here)))
        if await self._stopped(done):
            return True
        self._reader.tell()
        self._add(done, now_ms, [JournalStep(at=at, range=OffsetRange(here, here), now_ms=now_ms, woke=True)])
        return True

    async def _stopped(self, done: Stepped) -> bool:
        """Whether a row failed that stops the workflow: then nothing of the step counts."""
        if done.stop is not None:
            # Begin again from the last commit and go exactly up to the failing record.
            self._stop_error = done.stop.error
            self._stop_at = (done.stop.at, done.stop.offset, done.stop.text)
            await self._rewind()
            return True
        return False

    async def settle(self) -> None:
        """Commit what is pending. Where the outcome is unknown, go back to what the log holds; see `has_pending`,
        `lag`.
        """
        if not self._pending.steps:
            return
        try:
            await self.commit()
        except (CommitUnknown, StateBroken) as error:
            await self._recover(error)

    async def commit(self) -> None:
        """Commit outputs, changelogs, ledger, journal and input offsets in one transaction; then stores and hooks.

        Raises Fenced, LogFull (nothing was committed), CommitUnknown.
        """
        await self._at_once.give(wait=True)
        begun_s, pending, program = time.perf_counter(), self._pending, self._program
        assert self._producer is not None, "start() comes first"
        for hook, ctx in program.graph.hooks():
            await self._in_thread(hook.prepare, ctx)
        dead = await self._in_thread(
            dead_letters, self._topology, self.stage, self.partition, pending.done, program.letter_bytes_max,
        )  # fmt: skip
        told: Writes = {}
        if self.stage.errors:
            told = await self._in_thread(
                handled_errors, self._topology, self.stage, self.partition, pending.done, program.letter_bytes_max,
            )  # fmt: skip
        now_ms = pending.steps[-1].now_ms if pending.steps else self._clock_ms()
        more = await self._has_more()
        before, behind = program.watermarks(now_ms, more=more)
        journal = program.journal(pending.steps, self._number + 1, more=more)
        counts = program.take_counts() | self._tables.take_counts()
        records = commit_records(self.stage, journal, pending.done, counts, (before, behind), dead)
        # Those of silent inputs as well: Kafka lets each expire by itself, and a task that has lost some of its
        # positions would begin those inputs anew.
        offsets = {at: Committed(self.positions[at], link(journal.number)) for at in program.inputs}
        offsets |= {**self._tables.offsets(), **self._again.offsets()}
        transaction = Transaction(self._producer, self.group)
        await transaction.run(
            outputs=[before.writes, *(done.writes for done in pending.done), behind.writes],
            dead_letters={**dead.writes, **told},
            stores={self._changelogs[key]: store for key, store in program.stores.items()},
            records=records,
            offsets=offsets,
            timestamp_ms=now_ms,
        )
        self._committed.update(offsets)
        self._refreshed_s = self._clock_s()
        self._number = journal.number
        program.committed(journal)
        self.metrics.commits += 1
        if self.metrics.span is not None:
            self.metrics.span.go_on()
        self.metrics.rows_in += sum(d.rows_in for d in pending.done)
        for rows in (d.rows_in for d in pending.done if d.rows_in):
            size = str(1 << rows.bit_length() - 1)
            self.metrics.steps[size] = self.metrics.steps.get(size, 0) + 1
        self.metrics.rows_out += sum(c.rows for d in pending.done for c in d.sinks.values())
        self.metrics.dead += dead.count
        self._pending = _Pending()
        self._allowance.committed()
        await self._in_thread(self._after_commit)
        program.graph.spent.add(COMMIT, time.perf_counter() - begun_s)

    async def drain(self) -> None:
        """Commit what is pending and let outside effects finish; nothing new is fetched."""
        if self._producer is not None:
            if self.halted is None:
                await self.settle()
            await self._close_hooks()
            endings = self._program.endings
            if endings is not None and endings.careful and not endings.paused and not self._rests:
                with contextlib.suppress(CommitUnknown):  # then it may have been tried, which is safe to say
                    await self._rest(rested=True)
        await self.close()

    async def close(self) -> None:
        self._allowance.clear()  # first: what follows may be cancelled
        await self._drop_prefetched()
        if self._producer is not None:
            await self._producer.close()
            self._producer = None
        await self._at_once.close()
        # Not in our own pool: a step of a dropped task may hold its threads.
        await asyncio.to_thread(self._program.state.close)
        await asyncio.to_thread(self._tables.close)

    async def _has_more(self) -> bool:
        """Whether this task has more to read than what it is about to commit: stages behind it may wait for that."""
        if self._program.time is None or not self._program.time.tells:
            return False
        if self._buffers or self._allowance.blocked or any(map(self._program.time.on_the_way, self._program.inputs)):
            return True
        for at in self._program.inputs:
            begun = self._prefetched.get(at)
            if begun is not None:
                await asyncio.wait([begun[1]])
                if begun[1].cancelled() or begun[1].exception() is not None or begun[1].result():
                    return True  # who reads on sees what is wrong
            elif at not in self._caught_up:
                return True
        return False

    async def replay(self, record: JournalRecord) -> None:
        """Do again what a journal record tells: the same inputs in the same order with the same clock; then commit.
        Nothing waits meanwhile.
        """
        self._program.clock.sleep = _no_wait
        for steps in record.together():
            first = steps[0]
            self._program.clock.calls.tell(first.late)
            if first.at in self._tables and first.range in (HOLDS, GOES_ON):
                assert self._program.endings is not None, "the control topic is told of"
                self._program.endings.paused = first.range == HOLDS
                self._add(Stepped(), first.now_ms, [first])
            elif first.at in self._tables:
                await self._reader.replay(first, self._read_until)
            elif first.at in self._again.positions:
                self._again.positions[first.at] = first.range.first
                batches = await self._read_until(first.at, first.range.first, first.range.end)
                await self._again.take_in(batches, first.range.end, first.now_ms)
            elif first.woke:
                await self._wake(first.now_ms)
            elif first.range.first == first.range.end:
                await self._quiet(first.now_ms, first.idle)
            else:
                came = {s.at: await self._read_until(s.at, s.range.first, s.range.end) for s in steps}
                until: dict[TopicPartition, int | None] = {s.at: s.range.end for s in steps}
                await self.process(came, until=until, now_ms=first.now_ms, idle=first.idle)
        await self.commit()

    async def _read_until(self, at: TopicPartition, first: int, end: int) -> list[RecordBatch]:
        """A step's batches, however many reads they take now: what a node keeps may be cut as its steps were."""
        batches: list[RecordBatch] = []
        while first < end and (more := await self._inputs.read(at, first, size_bytes_max=self._policy.step_bytes_max)):
            batches += more
            first = more[-1].last_offset + 1
        return batches

    async def lag(self) -> int:
        """Records committed on the inputs that this task has not read."""
        behind = 0
        tables = {at: self._tables.positions[at] for at in self._tables.counting}  # the rest is that of other tasks
        for at, position in (*self.positions.items(), *tables.items(), *self._again.positions.items()):
            if at in self.closed:
                continue  # it waits for what only others can bring
            behind += max(0, (await self._inputs.offsets(at))[1] - position)
        return behind

    async def orders_left(self) -> int:
        """Records of the control topic that this task has not read, or not done all for: those others count as well."""
        if not self.stage.control:
            return 0
        return max(0, (await self._inputs.offsets(TopicPartition(self.stage.control, 0)))[1] - self._heard)

    async def wait(self, timeout_ms: int) -> None:
        """Until something new is on an input, or the time is over."""
        if (due_ms := self._program.due_ms()) is not None and self.halted is None:
            timeout_ms = min(timeout_ms, max(0, due_ms - self._clock_ms()))
        if self._allowance.blocked and self.halted is None:
            await self._allowance.wait(timeout_ms)
            return
        wanted = {at: position for at, position in self.positions.items() if at not in self.closed}
        ends = {at: self._buffers.end_offset(at, position) for at, position in wanted.items()}
        if places := {**ends, **self._tables.positions, **self._again.positions}:
            await self._inputs.wait(places, timeout_ms=timeout_ms)
        else:  # nothing is read before the clock lets something go on
            await asyncio.sleep(timeout_ms / 1_000)

    async def _close_hooks(self) -> None:
        hooks = self._program.graph.hooks()
        while hooks:
            for hook, ctx in hooks:
                await self._in_thread(hook.closing, ctx)
            if not any(store.changes() for store in self._program.stores.values()):
                return
            try:
                await self.commit()
                return
            except (CommitUnknown, StateBroken) as error:
                await self._recover(error)  # after which nothing is left to close, or the same once more

    async def _recover(self, error: StreamflowError) -> None:
        if isinstance(error, StateBroken):
            if self._broke_at == self.metrics.commits:
                raise error  # restored, and broken again: the disk is to blame
            self._broke_at = self.metrics.commits
        self.metrics.recoveries += 1
        if self._producer is not None:
            await self._producer.close()
        await self._make_producer()
        await self._rewind()

    def _left(self, offsets: int) -> None:
        self.metrics.restoring = offsets

    def _after_commit(self) -> None:
        for hook, ctx in self._program.graph.hooks():
            hook.committed(ctx)

    def _changelog(self, store: StorePlan) -> TopicPartition:
        return TopicPartition(store.changelog, self.partition)

    async def _drop_prefetched(self) -> None:
        for _, begun in self._prefetched.values():
            begun.cancel()
        await asyncio.gather(*(b for _, b in self._prefetched.values()), return_exceptions=True)
        self._prefetched.clear()

    async def _in_thread(self, fn: Callable[..., _T], *args: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: fn(*args))
