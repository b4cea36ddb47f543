"""How long from when a record is to be sent until its output can be read, on Apache Kafka, beside Kafka Streams?

W1 at a steady rate. A process of its own sends (librdkafka, linger 1 ms) at intended times, another reads the output:
read_committed where the guarantee is exactly once. A latency is from the intended time of the input, so that a sender
that falls behind counts against all, to when the reader had the output in its hands: sending, appending, working,
committing and fetching. Both sides commit every 100 ms; Kafka Streams' producer has linger 0. The first seconds are
left out, since a JVM is slow in them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from multiprocessing.synchronize import Event
from pathlib import Path

import fastavro
import numpy as np
import psutil
from confluent_kafka import Consumer, Producer

sys.path.insert(0, str(Path(__file__).parent))
import data
import peer
from harness import HERE, STREAMFLOW, Bench, Cells, Figures, alternate, ask, options

PARTITIONS = 4
RATES = (1_000, 20_000)
WARM_S, MEASURED_S, GRACE_S = 12, 20, 3
GUARANTEES = {
    "at_least_once": ("at_least_once", "read_uncommitted"),
    "exactly_once": ("exactly_once_v2", "read_committed"),
}
COMMIT_MS = 100
_ORDERS = 10_000  # different ones; then they come again under other ids


def send(bootstrap: str, topic: str, rate: int, out: Path) -> None:
    """Send `rate` orders a second. `out` gets when each was to be sent (ns, monotonic), and how late one was."""
    values, keys = _orders()
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1, "compression.type": "lz4",
                         "queue.buffering.max.messages": 1_000_000})  # fmt: skip
    n, at, late_ns, begun = rate * (WARM_S + MEASURED_S), 0, 0, time.monotonic_ns()
    intended = begun + np.arange(n, dtype=np.int64) * 1_000_000_000 // rate
    while at < n:
        now = time.monotonic_ns()
        due = min(n, (now - begun) * rate // 1_000_000_000 + 1)
        for i in range(at, due):
            producer.produce(topic, _with_id(values[i % _ORDERS], i), keys[i % _ORDERS])
        if due > at:
            late_ns = max(late_ns, now - int(intended[at]))
        at = due
        producer.poll(0)
        time.sleep(0.0005)
    producer.flush()
    np.savez(out, intended=intended, late_ns=late_ns)


def receive(bootstrap: str, topic: str, n: int, isolation: str, ready: Event, stop: Event, out: Path) -> None:
    """Read the output until told to stop. `out` gets when (ns, monotonic) that of each order was there; 0: never."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": f"read-{topic}", "auto.offset.reset": "earliest",
                       "isolation.level": isolation, "enable.auto.commit": False})  # fmt: skip
    reader.subscribe([topic], on_assign=lambda *_: ready.set())
    seen = np.zeros(n, np.int64)
    while not stop.is_set():
        found = reader.consume(1_000, 0.02)
        now = time.monotonic_ns()
        for message in found:
            if message.error() is None:
                seen[int(message.value()[3:12])] = now
    reader.close()
    np.savez(out, seen=seen)


def latencies(bench: Bench, args: argparse.Namespace, rate: int, guarantee: str) -> dict[str, object]:
    """streamflow and Kafka Streams at one rate, in turn."""
    theirs, isolation = GUARANTEES[guarantee]

    def cell(start: Callable[[str, str, int], list[str | Path]], target: str) -> Figures:
        source = bench.output(PARTITIONS)
        with _running(bench, start(source, target, rate * (WARM_S + MEASURED_S))) as process:
            return _measured(bench, source, target, rate, isolation, process)

    def ours(source: str, target: str, n: int) -> list[str | Path]:
        folder = bench.copy("w1", {"orders": source, "priced": target}, target)
        return [STREAMFLOW, "run", folder / "workflow.yaml", "--log", bench.server.address, "--guarantee", guarantee]

    def streams(source: str, target: str, n: int) -> list[str | Path]:
        flags = ("-Dlinger.ms=0", f"-Dcommit.ms={COMMIT_MS}", "-Ddeadline.s=120")
        which = peer.kafka_streams(theirs, 1, flags=flags)
        # It would end with the last record: it is told of more than there are, and stopped as we are.
        return [*peer.command(which, "W1", bench.server.bootstrap, source, target, 10 * n)]

    cells: Cells = {"streamflow": partial(cell, ours), f"kafka streams {theirs}": partial(cell, streams)}
    return {"rate": rate, "commit_ms": COMMIT_MS} | alternate(bench, args.runs, PARTITIONS, cells)


def _measured(bench: Bench, source: str, target: str, rate: int, isolation: str, process: psutil.Process) -> Figures:
    n, context = rate * (WARM_S + MEASURED_S), multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    sent, got = bench.folder / f"{target}.sent.npz", bench.folder / f"{target}.got.npz"
    address = bench.server.bootstrap
    reader = context.Process(target=receive, args=(address, target, n, isolation, ready, stop, got))
    sender = context.Process(target=send, args=(address, source, rate, sent))
    reader.start()
    if not ready.wait(60):
        raise RuntimeError("the reader was given no partitions")
    sender.start()
    time.sleep(WARM_S)
    used = _cpu_s(process)
    sender.join()
    used = _cpu_s(process) - used
    time.sleep(GRACE_S)
    stop.set()
    reader.join()
    intended, late_ns = (np.load(sent)[name] for name in ("intended", "late_ns"))
    seen = np.load(got)["seen"][rate * WARM_S :]
    out = seen > 0
    _all_there(out, rate)
    ms = (seen[out] - intended[rate * WARM_S :][out]) / 1e6
    p50, p95, p99 = np.percentile(ms, [50, 95, 99])
    return {"p50_ms": float(p50), "p95_ms": float(p95), "p99_ms": float(p99), "max_ms": float(ms.max()),
            "cores": used / MEASURED_S, "sender_late_ms_max": float(late_ns / 1e6)}  # fmt: skip


def _all_there(out: np.ndarray, rate: int) -> None:
    """Raise unless the orders whose output came are those that W1 passes on."""
    passes = np.array([order["amount"] > 20 for order in _rows()])
    ids = np.arange(rate * WARM_S, rate * WARM_S + len(out))
    if not np.array_equal(out, passes[ids % _ORDERS]):
        raise AssertionError(f"{int(out.sum())} outputs, {int(passes[ids % _ORDERS].sum())} expected")


@contextmanager
def _running(bench: Bench, command: list[str | Path]) -> Iterator[psutil.Process]:
    with (bench.folder / "process.txt").open("w") as said:
        process = subprocess.Popen(command, cwd=bench.folder, stdout=said, stderr=said)
        try:
            yield psutil.Process(process.pid)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(60)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _rows() -> list[dict[str, object]]:
    return next(data.orders(_ORDERS, chunk=_ORDERS)).to_dicts()


def _orders() -> tuple[list[bytes], list[bytes]]:
    """Encoded orders, and their keys."""
    schema = fastavro.schema.load_schema(HERE / "w1" / "order.avsc")
    values, keys = [], []
    for row in _rows():
        out = BytesIO()
        fastavro.schemaless_writer(out, schema, row)
        values.append(out.getvalue())
        keys.append(row["@key"])
    return values, keys


def _with_id(value: bytes, number: int) -> bytes:
    """The order under another id: a record begins with its id, `o-` and nine digits behind their length."""
    return value[:3] + b"%09d" % number + value[12:]


QUESTIONS = {
    f"{guarantee}, {rate:,}/s": partial(latencies, rate=rate, guarantee=guarantee)
    for guarantee in GUARANTEES
    for rate in RATES
}

if __name__ == "__main__":
    ask(QUESTIONS, options(__doc__, "latency", records=0, runs=3).parse_args())
