"""A source task: runs a trigger that is no topic and commits its items to the trigger's topic, position and all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

import orjson
import polars as pl

from streamflow.codecs import encode_marker, encoder
from streamflow.codecs.markers import marker_type
from streamflow.codecs.registry import SchemaRegistry
from streamflow.model.batch import TS
from streamflow.model.policies import RunPolicy
from streamflow.model.positions import Committed, TopicPartition
from streamflow.runtime.allowance import Allowance
from streamflow.runtime.build import Functions, TaskBuildContext, build_node
from streamflow.runtime.committed import last_record
from streamflow.runtime.emit import Writes, watermark_marker
from streamflow.runtime.event_time import END_OF_TIME
from streamflow.runtime.records import DeadWrites, encode_source_failures, source_records
from streamflow.runtime.seed import BEGIN, END, WATERMARK
from streamflow.runtime.task import TaskMetrics
from streamflow.runtime.transaction import Transaction
from streamflow.sdk.budget import Budget
from streamflow.sdk.errors import CommitUnknown, Stopped, UsageError
from streamflow.sdk.log import Log, NewBatch, Producer
from streamflow.sdk.node import ReadsSource
from streamflow.sdk.registry import NodeRegistry
from streamflow.sdk.source import Source, SourceBatch
from streamflow.topology.plan import StagePlan, Topology

_ROWS_MAX = 50_000
_T = TypeVar("_T")


class SourceTask:
    """Drive it with `advance`, as a `Task`. The position is committed as metadata of the trigger topic's partition
    0.
    """

    def __init__(
        self,
        topology: Topology,
        stage: StagePlan,
        log: Log,
        executor: Executor,
        *,
        nodes: NodeRegistry,
        functions: Functions | None = None,
        registry: SchemaRegistry | None = None,
        policy: RunPolicy | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        budget: Budget | None = None,
    ) -> None:
        """`budget`: as of a `Task`."""
        self._topology, self.stage, self._log, self._executor = topology, stage, log, executor
        self._policy, self._clock_ms = policy or topology.run, clock_ms
        self.partition = 0
        self.group = stage.group(topology.workflow)
        self.transactional_id = f"{self.group}.0"
        (self._sink,) = stage.sinks
        self._at = TopicPartition(self._sink.topic, 0)
        self._encoder = encoder(self._sink.codec, registry=registry)
        self._make_source: Callable[[], Source] = lambda: _source(topology, stage, nodes, functions or {})
        self._source: Source = self._make_source()
        self._errors = stage.inputs[0].errors
        self.metrics = TaskMetrics()
        self.halted: Stopped | None = None
        self.done = False
        self._producer: Producer | None = None
        self._pending: list[NewBatch] = []
        self._dead = DeadWrites()
        self._rows_pending = self._markers = self._continued = self._rows = 0
        self._position, self._read = "", False
        self._end_told = True  # that no more is there at present; only told to stages that need event time
        self._rows_max = _ROWS_MAX
        self._since_s, self._not_before_s = 0.0, 0.0
        self._halt_after_commit: Stopped | None = None
        self._allowance = Allowance(budget)

    @property
    def name(self) -> str:
        return f"{self.stage.id}/0"

    @property
    def has_pending(self) -> bool:
        return self._read

    async def start(self) -> None:
        self._producer = await self._log.producer(self.transactional_id)
        await self._rewind()

    async def _rewind(self) -> None:
        self._pending, self._dead, self._read, self.done = [], DeadWrites(), False, False
        self._allowance.clear()
        self._rows_pending = self._markers = self._continued = 0
        self._not_before_s, self._halt_after_commit = 0.0, None
        committed = (await self._log.committed(self.group, [self._at])).get(self._at)
        self._rows = committed.offset if committed else 0
        self._position = committed.metadata if committed else ""
        self._end_told = not self._sink.watermarks or await self._is_end_told()
        await self._in_thread(self._reopen)

    async def _is_end_told(self) -> bool:
        """Whether the trigger's topic ends with a marker of event time; this task writes that of its end only."""
        last = await last_record(self._log, self._at)
        return last is not None and marker_type(last) == WATERMARK

    def _reopen(self) -> None:
        """Go back to the last position that was taken."""
        self._source.close()
        self._source = self._make_source()
        self._source.open(self._position)

    async def advance(self) -> bool:
        """Read once from the source and commit when it is time. False: there was nothing."""
        if self.halted is not None:
            return False
        try:
            return await self._advance()
        except CommitUnknown:
            await self._recover()
            return True

    async def settle(self) -> None:
        """Commit what was read. Where the outcome is unknown, go back to what the log holds."""
        if not self._read:
            return
        try:
            await self.commit()
        except CommitUnknown:
            await self._recover()

    async def _recover(self) -> None:
        if self._producer is not None:
            await self._producer.close()
        self._producer = await self._log.producer(self.transactional_id)
        self.metrics.recoveries += 1
        await self._rewind()

    async def _advance(self) -> bool:
        moved = False
        reads = not self.done and time.monotonic() >= self._not_before_s and self._halt_after_commit is None
        if reads and self._allowance.may_read(self._policy.step_bytes_max):
            before = self._pending_bytes()
            batch = await self._in_thread(lambda: self._source.read(rows_max=self._rows_max, timeout_ms=100))
            moved = await self._in_thread(lambda: self._take(batch))
            self._allowance.read([])
            self._allowance.made(max(0, self._pending_bytes() - before))
        full = self._pending_bytes() >= self._policy.pending_bytes_max or self._allowance.short
        due = (time.monotonic() - self._since_s) * 1000 >= self._policy.commit_interval_ms
        if self._read and (full or due or self.done or self._halt_after_commit is not None):
            await self.commit()
        if self._halt_after_commit is not None and not self._read:
            self.halted = self._halt_after_commit
        return moved

    def _pending_bytes(self) -> int:
        return sum(len(b.body) for b in self._pending)

    def _take(self, batch: SourceBatch) -> bool:
        """Encode what was read; it waits for the next commit."""
        frame, now_ms = batch.frame, self._clock_ms()
        bad, encoded = list(batch.bad), None
        if frame.height:
            if TS not in frame.columns:
                frame = frame.with_columns(pl.lit(now_ms, dtype=pl.Int64).alias(TS))
            encoded = self._encoder.encode(
                frame.with_columns(pl.col(entry.column).alias(entry.field) for entry in self._sink.envelope)
            )
            bad += [(b"", row.code, f"row {row.row}: {row.message}") for row in encoded.bad]
        if bad and self._errors.on_error == "stop":
            return self._narrow(bad)
        moved = bool(batch.frame.height or batch.begins or batch.ends or batch.bad or batch.position != self._position)
        if moved and not self._read:
            self._since_s, self._read = time.monotonic(), True
        if batch.begins:
            self._pending.append(encode_marker(BEGIN, orjson.dumps({"name": batch.begins}), now_ms))
            self._markers += 1
        if encoded is not None:
            self._pending.extend(encoded.batches)
            self._rows_pending += frame.height - len(encoded.bad)
            self._end_told = not self._sink.watermarks
        if bad and self._errors.on_error == "continue":
            self._continued += len(bad)
            if "continue" in self.stage.also_told:
                told = encode_source_failures(self._topology, self.stage, bad, now_ms, handled=True)
                self._dead.add(DeadWrites(told.writes))
        elif bad:
            self._dead.add(encode_source_failures(self._topology, self.stage, bad, now_ms))
        if batch.ends:
            self._pending.append(encode_marker(END, b"{}", now_ms))
            self._markers += 1
        if batch.done and not self._end_told:
            self._pending.append(watermark_marker(0, END_OF_TIME, now_ms))
            self._markers += 1
            self._end_told = self._read = True
        self._position, self.done = batch.position, batch.done
        self._not_before_s = time.monotonic() + batch.wait_ms / 1000
        self.metrics.rows_in += frame.height + len(batch.bad)
        return moved

    def _narrow(self, bad: list[tuple[bytes, str, str]]) -> bool:
        """Policy `stop`: read again in ever smaller pieces, until the failing row is the next one; then halt."""
        if self._rows_max > 1:
            self._rows_max //= 2
        else:
            _, code, text = bad[0]
            self._halt_after_commit = Stopped(
                f"trigger {self.stage.inputs[0].node!r}: {code}: {text} Everything before it is committed."
            )
        self._reopen()
        return True

    async def commit(self) -> None:
        assert self._producer is not None, "start() comes first"
        first, read = self._rows, self._rows_pending + self._dead.count + self._continued
        writes: Writes = {self._at: self._pending} if self._pending else {}
        await Transaction(self._producer, self.group).run(
            outputs=[writes],
            dead_letters=self._dead.writes,
            stores={},
            records=source_records(
                self.stage, self._at, first, self._rows_pending, self._markers, self._dead.count, self._continued,
                self._clock_ms(),
            ),
            offsets={self._at: Committed(first + read, self._position)},
            timestamp_ms=self._clock_ms(),
        )  # fmt: skip
        self._rows = first + read
        self.metrics.commits += 1
        self.metrics.rows_out += self._rows_pending
        self.metrics.dead += self._dead.count
        self._pending, self._dead, self._read = [], DeadWrites(), False
        self._allowance.committed()
        self._rows_pending = self._markers = self._continued = 0

    async def drain(self) -> None:
        if self.halted is None:
            await self.settle()
        await self.close()

    async def close(self) -> None:
        self._allowance.clear()
        await self._in_thread(self._source.close)
        if self._producer is not None:
            await self._producer.close()
            self._producer = None

    async def lag(self) -> int:
        return 0

    async def wait(self, timeout_ms: int) -> None:
        """Until the source may be asked again, or the time is over."""
        if self._allowance.blocked and self.halted is None:
            await self._allowance.wait(timeout_ms)
            return
        left_ms = max(1.0, (self._not_before_s - time.monotonic()) * 1000)
        await asyncio.sleep(min(left_ms, timeout_ms) / 1000)

    async def _in_thread(self, fn: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, fn)


def _source(topology: Topology, stage: StagePlan, nodes: NodeRegistry, functions: Functions) -> Source:
    (entry,) = stage.inputs
    (plan,) = stage.nodes
    node = build_node(plan, nodes)
    if not isinstance(node, ReadsSource):
        raise UsageError(f"node {plan.id!r} of kind {plan.kind!r} is no source.")
    return node.source(
        TaskBuildContext(
            node_id=entry.node,
            inputs={"out": entry.schema, "in": entry.schema},
            outputs={"out": entry.schema},
            extent=entry.extent,
            vars=topology.vars,
            base_folder=topology.base_folder,
            partition=0,
            functions=functions,
            schemas=topology.schemas,
        )
    )
