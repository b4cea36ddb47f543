"""Numbered, keyed items on Kafka, a workflow with a repartition and state over them, workers to kill, and a judge.

The judge is librdkafka with read_committed: it shares no code with what it judges.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import fastavro
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streamflow.logs import open_log
from streamflow.model.positions import TopicPartition as At
from streamflow.operators.execution_rows import decode
from streamflow.state.memory import MemoryStore
from streamflow.state.restore import restore
from tests.golden.test_topologies import call

SCHEMA = (
    '{"type": "record", "name": "Number", "fields": [{"name": "n", "type": "long"}, {"name": "k", "type": "string"}]}'
)
PARSED = fastavro.parse_schema(json.loads(SCHEMA))
KEYS, SEVENS = 101, 7
WORKFLOW = """\
workflow: {name}
nodes:
  numbers: {{type: event, topic: {name}.in, schema: number.avsc, key: k}}
  odd: {{type: if, when: n % 2 == 1}}
  odds: {{type: publish, topic: {name}.odds, schema: number.avsc}}
  apart: {{type: repartition, key: 'string(n % 13)'}}
  sevens: {{type: batch, size: 7, scope: stream}}
  single: {{type: split, field: items}}
  evens: {{type: publish, topic: {name}.evens}}
connections:
  - numbers -> odd
  - odd.true -> odds
  - odd.false -> apart -> sevens -> single -> evens
policies: {{commit_interval: {commit_interval}, step_bytes_max: 4096}}
"""


@dataclass
class Ground:
    """A workflow over `count` items on a cluster, in a folder of its own."""

    folder: Path
    bootstrap: str
    name: str
    count: int
    partitions: int = 4
    via: str = ""  # bootstrap that the workers use, if it is another
    commit_interval: str = "20ms"
    environment: dict[str, str] = field(default_factory=dict)
    session_timeout_s: float = 6
    options: tuple[str, ...] = ()  # of `streamflow worker`
    workers: list[Worker] = field(default_factory=list)
    _looker: Consumer | None = None
    _done: int = 0

    @property
    def input_topic(self) -> str:
        return f"{self.name}.in"

    @property
    def input_group(self) -> str:
        """The group under which the stage that reads the input commits."""
        return f"{self.name}.numbers"

    def make(self) -> Ground:
        """Write the workflow and all items, in order within each key."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "workflow.yaml").write_text(
            WORKFLOW.format(name=self.name, commit_interval=self.commit_interval)
        )
        (self.folder / "number.avsc").write_text(SCHEMA)
        create_topics(self.bootstrap, [f"{self.name}.{t}" for t in ("in", "odds", "evens")], self.partitions)
        self._produce(0)
        return self

    def more(self, count: int) -> None:
        """So many more items."""
        first, self.count = self.count, self.count + count
        self._produce(first)

    def _produce(self, first: int) -> None:
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "linger.ms": 20, "enable.idempotence": True,
             "queue.buffering.max.messages": 2_000_000, "batch.num.messages": 100}
        )  # fmt: skip
        for n in range(first, self.count):
            producer.produce(f"{self.name}.in", value=encoded(n), key=f"k{n % KEYS}")
            if not n % 10_000:
                producer.poll(0)
        assert producer.flush(120) == 0

    def start(self, *, crash_at: str = "") -> Worker:
        """One more worker."""
        worker = Worker(self, crash_at)
        self.workers.append(worker)
        return worker

    def done(self) -> int:
        """Input records whose results are committed, as the group's offsets say."""
        if self._looker is None:
            # A transaction that somebody left open is no reason to wait.
            self._looker = Consumer(
                {
                    "bootstrap.servers": self.bootstrap,
                    "group.id": self.input_group,
                    "log_level": 0,
                    "isolation.level": "read_uncommitted",
                }
            )
        places = [TopicPartition(self.input_topic, p) for p in range(self.partitions)]
        with contextlib.suppress(KafkaException):  # a broker that is just coming up says that it does not know yet
            self._done = sum(max(0, at.offset) for at in self._looker.committed(places, timeout=60))
        return self._done

    def lag(self) -> int:
        """Records of both stages that are not committed, by the workflow's own command."""
        return sum(task["lag"] for task in json.loads(self.lags())["tasks"])

    def lags(self) -> str:
        """What the workflow's own command says of each task, as JSON."""
        return call("lag", self.folder / "workflow.yaml", "--log", f"kafka://{self.bootstrap}", "--json")

    def wait_for(self, records: int, *, timeout_s: float = 120) -> None:
        """Until that many input records are done."""
        deadline = time.monotonic() + timeout_s
        while (done := self.done()) < records:
            assert time.monotonic() < deadline, f"{done} of {records} done\n{self.said()}"
            self.check_alive()
            time.sleep(0.05)

    def finish(self, *, timeout_s: float = 300, linger_s: float = 0) -> None:
        """Until everything is done; `linger_s` later all workers end gracefully."""
        if all(worker.process.poll() is not None for worker in self.workers):
            self.start()
        self.wait_for(self.count, timeout_s=timeout_s)
        deadline = time.monotonic() + timeout_s
        # Twice: what a transaction wrote may be seen a moment later than how far it read.
        while lag := self.lag() or self.lag():
            assert time.monotonic() < deadline, f"lag {lag}\n{self.lags()}\n{self.stands()}\n{self.said()}"
            self.check_alive()
            time.sleep(0.2)
        time.sleep(linger_s)
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.ended()

    def stands(self) -> str:
        """What the workers that are up say of where their tasks stand."""
        up = [worker for worker in self.workers if worker.process.poll() is None]
        for worker in up:
            worker.process.send_signal(signal.SIGUSR1)
        time.sleep(2)
        return "\n".join(
            line for worker in up for line in worker.whole().splitlines() if "event=task_stands" in line.split()
        )

    def check_alive(self) -> None:
        for worker in self.workers:
            code = worker.process.poll()
            assert code in worker.may_end_with(), f"worker ended with {code}\n{worker.said()}"

    def said(self) -> str:
        return "\n".join(f"-- worker {w.process.pid} ({w.process.poll()})\n{w.said()}" for w in self.workers[-4:])

    def stop(self) -> None:
        """Kill whatever still runs."""
        for worker in self.workers:
            worker.kill()

    def judge(self) -> None:
        """0 lost, 0 doubled, order per key kept; and the reader reaches the end."""
        odds, evens = self.numbers("odds"), self.numbers("evens")
        waiting = self.waiting()
        for topic, found in (("odds", odds), ("evens", evens)):
            doubled = [n for n, times in Counter(n for ns in found.values() for n in ns).items() if times > 1]
            assert not doubled, f"{topic}: {len(doubled)} doubled, such as {doubled[:5]}"
        for p, numbers in odds.items():
            assert not out_of_order(numbers, lambda n: n % KEYS), f"odds/{p}"
        for p, numbers in evens.items():
            assert not out_of_order(numbers, lambda n: (n % KEYS, n % 13)), f"evens/{p}"
        assert sorted(n for ns in odds.values() for n in ns) == list(range(1, self.count, 2)), "odds lost"
        got = {n for ns in evens.values() for n in ns}
        missing = set(range(0, self.count, 2)) - got
        assert got <= set(range(0, self.count, 2))
        assert len(missing) == waiting, f"{len(missing)} evens are not out, {waiting} wait in state"
        assert waiting < SEVENS * self.partitions

    def numbers(self, topic: str) -> dict[int, list[int]]:
        """Numbers on an output topic by partition, read to the end."""
        found: dict[int, list[int]] = {p: [] for p in range(self.partitions)}
        for partition, value in read_all(self.bootstrap, f"{self.name}.{topic}", self.partitions):
            record = fastavro.schemaless_reader(io.BytesIO(value), PARSED, None)
            assert isinstance(record, dict)
            found[partition].append(record["n"])
        return found

    def waiting(self) -> int:
        """Rows that wait in the store of `sevens`, as its changelog has them."""

        async def read() -> int:
            log, rows = open_log(f"kafka://{self.bootstrap}"), 0
            await log.open()
            try:
                for p in range(self.partitions):
                    store = MemoryStore()
                    await restore(store, log, At(f"{self.name}.sevens.rows.changelog", p))
                    rows += sum(decode(value).height for key, value in store.scan() if not key.endswith(b"#"))
            finally:
                await log.close()
            return rows

        return asyncio.run(read())


STREAMFLOW = [sys.executable, "-m", "streamflow.cli.main"]


class Worker:
    """One worker process of a ground."""

    def __init__(self, ground: Ground, crash_at: str) -> None:
        self.asked = False
        self._err = ground.folder / f"worker-{len(ground.workers)}.err"
        more = ["--session-timeout", str(ground.session_timeout_s), *ground.options]
        with self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [
                    *STREAMFLOW,
                    "worker",
                    "workflow.yaml",
                    "--log",
                    f"kafka://{ground.via or ground.bootstrap}",
                    *more,
                ],
                cwd=ground.folder,
                env={
                    **os.environ,
                    **ground.environment,
                    "STREAMFLOW_CRASH_AT": crash_at,
                    "STREAMFLOW_LOG_LEVEL": "info",
                },
                stdout=subprocess.DEVNULL,
                stderr=err,
            )

    def lines(self, event: str) -> list[dict[str, str]]:
        """What it logged under that name, by key."""
        return [
            dict(word.split("=", 1) for word in line.split() if "=" in word)
            for line in self.whole().splitlines()
            if f"event={event}" in line.split()
        ]

    def whole(self) -> str:
        """All that it said."""
        return self._err.read_text(errors="replace")

    def said(self) -> str:
        return self._err.read_text(errors="replace")[-3_000:]

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """Ask for a graceful end, once: asked again, it ends at once."""
        if self.process.poll() is None and not self.asked:
            self.asked = True
            self.process.terminate()

    def may_end_with(self) -> set[int | None]:
        """One that is asked before it has begun knows nothing of graceful ends."""
        fresh = self.asked and "event=" not in self.said()
        return {None, 0, -signal.SIGKILL, *([-signal.SIGTERM] if fresh else [])}

    def ended(self, *, timeout_s: float = 60) -> None:
        """Ended gracefully, or killed before."""
        code = self.process.wait(timeout_s)
        assert code in self.may_end_with(), f"exit {code}\n{self.said()}"

    def crashed(self, *, timeout_s: float = 120) -> None:
        """Killed itself at the point it was told."""
        code = self.process.wait(timeout_s)
        assert code == -signal.SIGKILL, f"exit {code}\n{self.said()}"

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


def encoded(n: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED, {"n": n, "k": f"k{n % KEYS}"})
    return out.getvalue()


def out_of_order(numbers: list[int], key: object) -> list[int]:
    last: dict[object, int] = {}
    wrong = []
    for n in numbers:
        of = key(n)  # type: ignore[operator]
        if last.get(of, -1) >= n:
            wrong.append(n)
        last[of] = n
    return wrong


def create_topics(bootstrap: str, names: list[str], partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for made in admin.create_topics([NewTopic(name, partitions, 1) for name in names]).values():
        made.result(timeout=60)


def read_all(bootstrap: str, topic: str, partitions: int) -> Iterator[tuple[int, bytes]]:
    """Committed records of a topic to its end: (partition, value)."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"judge-{random.random()}", "isolation.level": "read_committed",
         "auto.offset.reset": "earliest", "enable.auto.commit": False, "enable.partition.eof": True}
    )  # fmt: skip
    try:
        consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
        at_end: set[int] = set()
        heard = time.monotonic()
        while len(at_end) < partitions:
            messages = consumer.consume(10_000, timeout=0.2)  # it waits for so many, or for so long
            heard = time.monotonic() if messages else heard
            assert time.monotonic() - heard < 30, f"{topic}: no end reached within 30 s, only of {sorted(at_end)}"
            for message in messages:
                error = message.error()
                if error is None:
                    yield message.partition(), message.value()
                else:
                    assert error.code() == -191, error  # end of partition
                    at_end.add(message.partition())
    finally:
        consumer.close()
