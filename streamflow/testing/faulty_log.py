"""FaultyLog: a Log whose calls fail where a test says, in the ways that real logs do.

    log = FaultyLog(inner, [Fault("commit", nth=3, kind="unknown_after")])

The third commit then succeeds in `inner`, but its caller sees CommitUnknown. `seeded_faults` draws faults for
randomised tests: the same seed, the same faults.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.errors import CommitUnknown, Fenced, LogFull, UsageError
from streamflow.sdk.log import Appender, Log, NewBatch, Producer, RecordBatch, TopicInfo, TopicSpec

Kind = Literal["fenced", "unknown_before", "unknown_after", "log_full", "slow"]
Call = Literal[
    "begin", "append", "send_offsets", "commit", "abort", "producer", "read", "wait", "offsets", "committed",
    "appender", "append_at_once", "topics", "create_topic",
    "delete_topic", "offset_for_time", "delete_records", "groups", "set_offsets",
]  # fmt: skip
PRODUCER_CALLS: tuple[Call, ...] = ("begin", "append", "send_offsets", "commit")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Fault:
    """The `nth` call (from 1, over all producers) of `call` fails as `kind` says.

    fenced: Fenced, now and ever after for that producer. log_full: LogFull, once, with nothing done.
    unknown_before: CommitUnknown, nothing was committed. unknown_after: CommitUnknown, all was committed.
    slow: the call works, after the event loop has gone round `turns` times.
    """

    call: Call
    nth: int = 1
    kind: Kind = "log_full"
    turns: int = 50

    def __post_init__(self) -> None:
        if self.kind.startswith("unknown") and self.call != "commit":
            raise UsageError(
                f"fault {self.kind!r} on {self.call!r}.", mend="Only a commit can have an unknown outcome."
            )
        if self.kind == "fenced" and self.call not in PRODUCER_CALLS:
            raise UsageError(f"fault 'fenced' on {self.call!r}.", mend=f"Only producers are fenced: {PRODUCER_CALLS}.")


def seeded_faults(seed: int, *, count: int, nth_max: int, kinds: Sequence[Kind] = get_args(Kind)) -> list[Fault]:
    """`count` faults at different producer calls, drawn from `seed`."""
    choose = random.Random(seed)  # noqa: S311 - repeatable, not secret
    drawn: dict[tuple[Call, int], Fault] = {}
    while len(drawn) < min(count, nth_max * len(PRODUCER_CALLS)):
        kind = choose.choice(list(kinds))
        calls: Sequence[Call] = ("commit",) if kind.startswith("unknown") else PRODUCER_CALLS
        fault = Fault(choose.choice(calls), choose.randint(1, nth_max), kind)
        drawn.setdefault((fault.call, fault.nth), fault)
    return list(drawn.values())


class FaultyLog:
    """A Log (contract: `sdk.log.Log`) that passes everything on to `inner`, but for its faults."""

    def __init__(self, inner: Log, faults: Sequence[Fault]) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        self.fired: list[Fault] = []
        self._faults = {(f.call, f.nth): f for f in faults}

    async def _due(self, call: Call) -> Fault | None:
        """Count a call; its fault, if it has one that is more than slowness."""
        self.calls[call] += 1
        fault = self._faults.get((call, self.calls[call]))
        if fault is None:
            return None
        self.fired.append(fault)
        if fault.kind != "slow":
            return fault
        for _ in range(fault.turns):
            await asyncio.sleep(0)
        return None

    async def _passed(self, call: Call, go_on: Callable[[], Awaitable[_T]]) -> _T:
        if await self._due(call) is not None:
            raise _full(call)
        return await go_on()

    @property
    def address(self) -> str:
        return self.inner.address

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    async def create_topic(self, spec: TopicSpec) -> TopicInfo:
        return await self._passed("create_topic", lambda: self.inner.create_topic(spec))

    async def delete_topic(self, name: str) -> None:
        await self._passed("delete_topic", lambda: self.inner.delete_topic(name))

    async def topics(self) -> Mapping[str, TopicInfo]:
        return await self._passed("topics", self.inner.topics)

    async def offsets(self, at: TopicPartition) -> tuple[int, int]:
        return await self._passed("offsets", lambda: self.inner.offsets(at))

    async def offset_for_time(self, at: TopicPartition, timestamp_ms: int) -> int | None:
        return await self._passed("offset_for_time", lambda: self.inner.offset_for_time(at, timestamp_ms))

    async def read(self, at: TopicPartition, offset: int, *, size_bytes_max: int) -> list[RecordBatch]:
        return await self._passed("read", lambda: self.inner.read(at, offset, size_bytes_max=size_bytes_max))

    async def wait(self, positions: Mapping[TopicPartition, int], *, timeout_ms: int) -> None:
        await self._passed("wait", lambda: self.inner.wait(positions, timeout_ms=timeout_ms))

    async def delete_records(self, at: TopicPartition, before: int) -> None:
        await self._passed("delete_records", lambda: self.inner.delete_records(at, before))

    async def producer(self, transactional_id: str) -> Producer:
        inner = await self._passed("producer", lambda: self.inner.producer(transactional_id))
        return _FaultyProducer(self, inner)

    async def appender(self, name: str) -> Appender:
        return _FaultyAppender(self, await self._passed("appender", lambda: self.inner.appender(name)))

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Committed]:
        return await self._passed("committed", lambda: self.inner.committed(group, partitions))

    async def groups(self) -> Mapping[str, Mapping[TopicPartition, Committed]]:
        return await self._passed("groups", self.inner.groups)

    async def set_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed | None]) -> None:
        await self._passed("set_offsets", lambda: self.inner.set_offsets(group, offsets))


class _FaultyProducer:
    """The producer of a FaultyLog. After Fenced or CommitUnknown only `abort` and `close` work: the contract."""

    def __init__(self, log: FaultyLog, inner: Producer) -> None:
        self._log, self._inner = log, inner
        self._dead: Literal["", "fenced", "unknown"] = ""

    async def begin(self) -> None:
        await self._check("begin")
        await self._inner.begin()

    async def append(self, at: TopicPartition, batches: Sequence[NewBatch]) -> None:
        await self._check("append")
        await self._inner.append(at, batches)

    async def send_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        await self._check("send_offsets")
        await self._inner.send_offsets(group, offsets)

    async def commit(self) -> Mapping[TopicPartition, int]:
        fault = await self._check("commit")
        if fault is None:
            return await self._inner.commit()
        self._dead = "unknown"
        if fault.kind == "unknown_after":
            await self._inner.commit()
        raise CommitUnknown("the outcome of the commit is not known (injected fault).", mend="Make a new producer.")

    async def abort(self) -> None:
        await self._log._due("abort")
        await self._inner.abort()

    async def close(self) -> None:
        await self._inner.close()

    async def _check(self, call: Call) -> Fault | None:
        """Count the call and raise its fault; an unknown outcome is returned, for it is the commit's own affair."""
        if self._dead == "unknown":
            raise UsageError(
                f"{call} on a producer whose last commit has an unknown outcome.", mend="Make a new producer."
            )
        fault = await self._log._due(call)
        if fault is not None and fault.kind == "fenced":
            self._dead = "fenced"
        if self._dead:
            raise Fenced("another producer took over (injected fault).", mend="Stop this task.")
        if fault is not None and fault.kind == "log_full":
            raise _full(call)
        return fault


class _FaultyAppender:
    """The appender of a FaultyLog."""

    def __init__(self, log: FaultyLog, inner: Appender) -> None:
        self._log, self._inner = log, inner

    async def append(self, writes: Mapping[TopicPartition, Sequence[NewBatch]]) -> None:
        await self._log._passed("append_at_once", lambda: self._inner.append(writes))

    async def close(self) -> None:
        await self._inner.close()


def _full(call: str) -> LogFull:
    return LogFull(f"no space for {call} (injected fault).", mend="Abort and try again.")
