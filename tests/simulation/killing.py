"""A workflow with state over numbered items, a way to kill its process at chosen moments, and the checks afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import polars as pl

from streamflow.codecs import CodecSpec, decoder, encoder
from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.operators.execution_rows import decode
from streamflow.sdk.log import TopicSpec
from streamflow.state.memory import MemoryStore
from streamflow.state.restore import restore
from tests.simulation.running import with_log

NUMBER = '{"type": "record", "name": "Number", "fields": [{"name": "n", "type": "long"}]}'
WORKFLOW = """\
workflow: numbers
nodes:
  numbers: {type: event, topic: in.numbers, schema: number.avsc}
  odd: {type: if, when: n % 2 == 1}
  sevens: {type: batch, size: 7, scope: stream}
  apart: {type: split, field: items}
  odds: {type: publish, topic: out.odds}
  evens: {type: publish, topic: out.evens, schema: number.avsc}
connections:
  - numbers -> odd
  - odd.true -> sevens -> apart -> odds
  - odd.false -> evens
policies: {commit_interval: 1ms, step_bytes_max: 8192}
"""
SEVENS = 7
T = TypeVar("T")


@dataclass(frozen=True)
class Ground:
    """A folder with the workflow and its log."""

    folder: Path
    count: int
    partitions: int = 2
    options: tuple[str, ...] = ()  # of `streamflow run`

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def on_log(self, work: Callable[[EmbeddedLog], Awaitable[T]]) -> T:
        return asyncio.run(with_log(self.log, work))

    def start(self, *, crash_at: str = "") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "streamflow.cli.main", "run", "workflow.yaml", "--until-end", "--log", "log"]
        command += self.options
        environment = {**os.environ, "STREAMFLOW_CRASH_AT": crash_at}
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def finish(self) -> None:
        """Run to the end; fails loudly if it does not."""
        process = self.start()
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, f"exit {process.returncode}\n{out.decode()}\n{err.decode()}"

    def crash(self, point: str) -> bool:
        """Run until the process kills itself at `point` (name:nth); False if it came to the end before."""
        process = self.start(crash_at=point)
        _, err = process.communicate(timeout=240)
        assert process.returncode in (0, -signal.SIGKILL), err.decode()
        return process.returncode == -signal.SIGKILL

    def kill_after(self, records: int) -> bool:
        """Run and SIGKILL the process as soon as it has committed that many more records; False if it ended before."""
        before = self.on_log(self.committed)
        process = self.start()
        try:

            async def watch(log: EmbeddedLog) -> None:
                while process.poll() is None and await self.committed(log) < before + records:
                    ends = {TopicPartition("in.numbers", p): 1 << 60 for p in range(self.partitions)}
                    await log.wait(ends, timeout_ms=2)

            self.on_log(watch)
        finally:
            running = process.poll() is None
            process.kill()
            process.communicate()
        return running

    async def committed(self, log: EmbeddedLog) -> int:
        places = [TopicPartition("in.numbers", p) for p in range(self.partitions)]
        return sum(c.offset for c in (await log.committed("numbers.numbers", places)).values())


def make(folder: Path, count: int, *options: str) -> Ground:
    """Write the workflow and `count` items numbered from 0, in turn on each partition. `options`: of the run."""
    ground = Ground(folder, count, options=options)
    (folder / "workflow.yaml").write_text(WORKFLOW)
    (folder / "number.avsc").write_text(NUMBER)

    async def fill(log: EmbeddedLog) -> None:
        await log.create_topic(TopicSpec(name="in.numbers", partitions=ground.partitions))
        encode = encoder(CodecSpec(format="avro", schema=schema_from_avro(NUMBER), name="Number"))
        producer = await log.producer("fill")
        await producer.begin()
        for p in range(ground.partitions):
            every = pl.int_range(count, eager=True).alias("n")
            numbers = every.filter(every // 2 % ground.partitions == p)  # odd and even ones on each partition
            frame = pl.DataFrame([numbers]).with_columns(
                pl.col("n").cast(pl.String).cast(pl.Binary).alias("@key"), pl.col("n").alias("@ts")
            )
            await producer.append(TopicPartition("in.numbers", p), encode.encode(frame, records_max=500).batches)
        await producer.commit()
        await producer.close()

    ground.on_log(fill)
    return ground


def outputs(ground: Ground, topic: str) -> dict[int, list[int]]:
    """The numbers on a topic by partition, in order."""
    spec = CodecSpec(format="avro", schema=schema_from_avro(NUMBER), name="Number")

    async def read(log: EmbeddedLog) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        reader = decoder(spec, reserved=())
        for p in range((await log.topics())[topic].partitions):
            offset, found[p] = 0, []
            while batches := await log.read(TopicPartition(topic, p), offset, size_bytes_max=1 << 20):
                decoded = reader.decode(batches, first_offset=offset)
                assert not decoded.bad
                found[p] += decoded.frame["n"].to_list()
                offset = decoded.end_offset
        return found

    return ground.on_log(read)


def store_rows(ground: Ground) -> dict[int, int]:
    """Rows that wait in the store of `sevens`, by partition, as its changelog has them."""

    async def read(log: EmbeddedLog) -> dict[int, int]:
        waiting, topic = {}, "numbers.sevens.rows.changelog"
        for p in range(ground.partitions):
            store = MemoryStore()
            await restore(store, log, TopicPartition(topic, p))
            waiting[p] = _rows_in(store)
        return waiting

    return ground.on_log(read)


def _rows_in(store: MemoryStore) -> int:
    return sum(decode(value).height for key, value in store.scan() if not key.endswith(b"#"))


def check(ground: Ground) -> None:
    """0 lost, 0 doubled, order kept, and what waits in state is what its changelog says."""
    odds, evens = outputs(ground, "out.odds"), outputs(ground, "out.evens")
    waiting = store_rows(ground)
    for topic, found, remainder in (("out.odds", odds, 1), ("out.evens", evens, 0)):
        for p, numbers in found.items():
            doubled = [n for n, times in Counter(numbers).items() if times > 1]
            assert not doubled, f"{topic}/{p}: {len(doubled)} doubled, such as {doubled[:5]}"
            assert numbers == sorted(numbers), f"{topic}/{p}: out of order"
            assert all(n % 2 == remainder for n in numbers)
    assert sorted(n for ns in evens.values() for n in ns) == list(range(0, ground.count, 2)), "evens lost"
    got = sorted(n for ns in odds.values() for n in ns)
    total = ground.count // 2
    assert len(got) + sum(waiting.values()) == total, f"{len(got)} out, {waiting} in state, {total} expected"
    assert set(got) <= set(range(1, ground.count, 2))
    for p in range(ground.partitions):
        assert waiting[p] < SEVENS
