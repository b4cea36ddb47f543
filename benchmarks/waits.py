"""Do 100,000 executions wait for signals at once on one worker in 600 MB, and is a signal answered within a second?

One worker on an embedded log. All items are sent and wait; the worker is killed and begun again; then each gets its
signal, at a steady rate, in portions, and how long it takes from before a signal is written until its item is read from
the topic behind the wait is measured. At the end each item must have come out once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import orjson

from streamflow.codecs.recordbatch import from_records, records
from streamflow.codecs.records import Record
from streamflow.logs import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.runtime.signals import Signal, write_signals
from streamflow.sdk.log import Log, TopicSpec

PARTITIONS = 2
WORKFLOW = """\
workflow: approvals
nodes:
  orders: {type: event, topic: orders, schema: order.avsc, format: json, key: id}
  approved: {type: wait, signal: approval, key: id, timeout: 12h}
  done: {type: publish, topic: done, format: json}
connections: [orders -> approved -> done]
policies: {partitions: PARTITIONS}
"""
ORDER = """{"type": "record", "name": "Order", "fields": [
  {"name": "id", "type": "string"}, {"name": "customer", "type": "string"}, {"name": "amount", "type": "double"}]}"""
_PORTION = 5_000
_PATIENCE_S = 600.0


class Worker:
    """The worker's process."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "streamflow.cli.main", "run", "workflow.yaml", "--log", "log"]
        self._process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=(folder / "worker.log").open("ab")
        )

    def memory_mb(self, what: str) -> float:
        """`VmRSS`: resident now; `VmHWM`: the most there was."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(what))

    def end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        self._process.wait(60)


async def main_async(folder: Path, items: int, per_s: int) -> dict[str, object]:
    (folder / "workflow.yaml").write_text(WORKFLOW.replace("PARTITIONS", str(PARTITIONS)))
    (folder / "order.avsc").write_text(ORDER)
    log = EmbeddedLog(folder / "log")
    await log.open()
    for topic in ("orders", "approvals.signals", "done"):
        await log.create_topic(TopicSpec(name=topic, partitions=PARTITIONS))
    await send_items(log, items)
    worker, begun = Worker(folder), time.monotonic()
    try:
        await until(lambda: all_wait(log, items))
        waiting_s, waiting_mb = time.monotonic() - begun, worker.memory_mb("VmRSS")
        print(f"{items:,} items wait after {waiting_s:.1f} s; resident {waiting_mb:.0f} MB", flush=True)
        peak_mb = worker.memory_mb("VmHWM")
        worker.end(signal.SIGKILL)
        worker, begun = Worker(folder), time.monotonic()
        first = await answered(log, 0, 1, per_s)  # begun anew when the first signal is answered
        restart_s = time.monotonic() - begun
        print(f"killed and begun again: the first answer after {restart_s:.1f} s", flush=True)
        begun = time.monotonic()
        waits_ms = await answered(log, 1, items, per_s)
        seconds = time.monotonic() - begun
        peak_mb = max(peak_mb, worker.memory_mb("VmHWM"))
    finally:
        worker.end(signal.SIGTERM)
    found = [orjson.loads(value)["id"] for _, value in await read_all(log)]
    await log.close()
    assert len(found) == items == len(set(found)), f"{len(found):,} came out, {len(set(found)):,} different ones"
    del first
    p50, p99, most = (float(np.percentile(waits_ms, q)) for q in (50, 99, 100))
    print(f"{items - 1:,} signals in {seconds:.1f} s: p50 {p50:.0f} ms, p99 {p99:.0f} ms, at most {most:.0f} ms")
    print(f"the worker's memory: at most {peak_mb:.0f} MB")
    return {
        "items": items, "signals_per_s": round((items - 1) / seconds), "waiting_rss_mb": round(waiting_mb),
        "peak_mb": round(peak_mb), "until_all_wait_s": round(waiting_s, 1), "restart_s": round(restart_s, 2),
        "answer_ms": {"p50": round(p50), "p99": round(p99), "max": round(most)},
    }  # fmt: skip


async def send_items(log: Log, items: int) -> None:
    producer = await log.producer("orders")
    for first in range(0, items, _PORTION):
        await producer.begin()
        for p in range(PARTITIONS):
            numbers = range(first + p, min(first + _PORTION, items), PARTITIONS)
            rows = [
                Record(0, 1_700_000_000_000 + n, name(n).encode(), orjson.dumps(
                    {"id": name(n), "customer": f"customer {n % 977}", "amount": n % 1_000 + 0.5}), [])
                for n in numbers
            ]  # fmt: skip
            if rows:
                await producer.append(TopicPartition("orders", p), [from_records(rows)])
        await producer.commit()
    await producer.close()


def name(number: int) -> str:
    return f"order-{number:08}"


async def all_wait(log: Log, items: int) -> bool:
    """Whether all items were taken by the stage in which they wait."""
    group = (await log.groups()).get("approvals.approved.in", {})
    topic = "approvals.approved.in.repartition"
    if topic not in await log.topics():
        return False
    ends = [(await log.offsets(TopicPartition(topic, p)))[1] for p in range(PARTITIONS)]
    known = sum(group[at].offset for at in group if at.topic == topic)
    return sum(ends) >= items and known >= sum(ends)


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    ends = time.monotonic() + _PATIENCE_S
    while not await done():
        if time.monotonic() > ends:
            raise TimeoutError(f"not done after {_PATIENCE_S:.0f} s")
        await asyncio.sleep(0.2)


async def answered(log: Log, first: int, end: int, per_s: int) -> list[float]:
    """Signals for items `first` to before `end`; how long each took, in ms."""
    positions = {
        TopicPartition("done", p): (await log.offsets(TopicPartition("done", p)))[1] for p in range(PARTITIONS)
    }
    sent_s: dict[str, float] = {}
    took_ms: list[float] = []

    async def write() -> None:
        producer = await log.producer("signals")
        begun, at = time.monotonic(), first
        while at < end:
            portion = range(at, min(end, at + max(1, per_s // 20)))
            told = [Signal(name="approval", key=name(n), payload='{"by": "kim"}') for n in portion]
            sent_s.update(dict.fromkeys((name(n) for n in portion), time.monotonic()))
            await write_signals(log, producer, "approvals.signals", told, now_ms=time.time_ns() // 1_000_000)
            at = portion.stop
            await asyncio.sleep(max(0.0, begun + (at - first) / per_s - time.monotonic()))
        await producer.close()

    writing = asyncio.ensure_future(write())
    ends = time.monotonic() + _PATIENCE_S
    while len(took_ms) < end - first:
        await log.wait(positions, timeout_ms=100)
        for at, position in list(positions.items()):
            for batch in await log.read(at, position, size_bytes_max=1 << 20):
                seen_s = time.monotonic()
                took_ms += [
                    1_000 * (seen_s - sent_s[orjson.loads(r.value)["id"]])
                    for r in records(batch) if r.value is not None and r.offset >= position
                ]  # fmt: skip
                positions[at] = batch.last_offset + 1
        if time.monotonic() > ends:
            raise TimeoutError(f"{len(took_ms):,} of {end - first:,} answered after {_PATIENCE_S:.0f} s")
    await writing
    return took_ms


async def read_all(log: Log) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    for p in range(PARTITIONS):
        at, position = TopicPartition("done", p), 0
        while batches := await log.read(at, position, size_bytes_max=4 << 20):
            for batch in batches:
                found += [(p, r.value) for r in records(batch) if r.value is not None and r.offset >= position]
                position = batch.last_offset + 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--per-s", type=int, default=2_000, help="signals a second")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "waits.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="streamflow-bench-") as folder:
        result = asyncio.run(main_async(Path(folder), args.items, args.per_s))
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    args.out.write_text(json.dumps({"machine": machine, **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
