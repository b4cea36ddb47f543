"""A worker whose brokers are away for longer than it is patient: it goes on when they are back, once each."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from streamflow.logs import KafkaLog
from streamflow.model.positions import TopicPartition
from streamflow.sdk.log import TopicSpec
from streamflow.testing.kafka_proxy import KafkaProxy
from streamflow.testing.kafka_rules import Api
from streamflow.testing.kafka_server import KafkaServer
from streamflow.testing.log_steps import batch, opened, unique, values

PARTITIONS = 2
SEEN_S = 120  # an upper bound for a worker to come back
WORKFLOW = """
workflow: {name}
nodes:
  in: {{type: event, topic: {name}-in, format: json}}
  out: {{type: publish, topic: {name}-out, format: json}}
connections:
  - in -> out
"""


class Running:
    """A worker behind the proxy that gives up soon, and what it says."""

    def __init__(self, name: str, folder: Path, address: str) -> None:
        (folder / "workflow.yaml").write_text(WORKFLOW.format(name=name))
        impatient = {"RETRY_MS": "2000", "REQUEST_TIMEOUT_MS": "2000", "TRANSACTION_TIMEOUT_MS": "1000"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamflow.cli.main", "worker", "workflow.yaml", "--log", address],
            env={
                **os.environ,
                "STREAMFLOW_LOG_LEVEL": "info",
                **{f"STREAMFLOW_KAFKA_{option}": value for option, value in impatient.items()},
            },
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()

    def mark(self) -> int:
        with self._changed:
            return len(self._lines)

    async def says(self, event: str, since: int) -> None:
        """Wait for an event of the worker's log."""

        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(
                    lambda: any(f"event={event} " in line for line in self._lines[since:]), SEEN_S
                )

        assert await asyncio.to_thread(wait), f"no {event} came:\n{''.join(self._lines[since:])[-4_000:]}"

    def end(self) -> int:
        self.process.terminate()
        code = self.process.wait(SEEN_S)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


class Ground:
    """Numbers go in, past the proxy; the same numbers must come out, once each."""

    def __init__(self, log: KafkaLog, name: str) -> None:
        self._log, self.name, self._sent = log, name, 0

    async def make(self) -> None:
        for end in ("in", "out"):
            await self._log.create_topic(
                TopicSpec(name=f"{self.name}-{end}", partitions=PARTITIONS, config={"retention.ms": "-1"})
            )

    async def send(self, count: int) -> None:
        producer = await self._log.producer(f"{self.name}-sender")
        await producer.begin()
        for number in range(self._sent, self._sent + count):
            at = TopicPartition(f"{self.name}-in", number % PARTITIONS)
            await producer.append(at, [batch(json.dumps({"n": number}))])
        await producer.commit()
        await producer.close()
        self._sent += count

    async def all_is_there(self) -> None:
        wanted = list(range(self._sent))
        async with asyncio.timeout(SEEN_S):
            while (found := await self._found()) != wanted:
                assert len(found) == len(set(found)), f"doubled: {found}"
                await asyncio.sleep(0.1)

    async def _found(self) -> list[int]:
        parts = [TopicPartition(f"{self.name}-out", p) for p in range(PARTITIONS)]
        return sorted([json.loads(value)["n"] for at in parts for value in await values(self._log, at)])


async def stand_still(server: KafkaServer, proxy: KafkaProxy, worker: Running) -> None:
    server.pause()
    await worker.says("task_restarts", worker.mark())
    server.resume()


async def half_open(server: KafkaServer, proxy: KafkaProxy, worker: Running) -> None:
    proxy.freeze()
    await worker.says("task_restarts", worker.mark())
    proxy.thaw()


async def refused(server: KafkaServer, proxy: KafkaProxy, worker: Running) -> None:
    proxy.refuse()
    proxy.cut()
    await worker.says("task_restarts", worker.mark())
    proxy.accept()


async def too_slow(server: KafkaServer, proxy: KafkaProxy, worker: Running) -> None:
    """The coordinator aborts a transaction whose records are held up, and fences the task that wrote them."""
    proxy.on(Api.PRODUCE, "request", "hold", for_ms=1_900)


@pytest.fixture
def no_fault_is_left(proxied: tuple[KafkaServer, KafkaProxy], proxy: KafkaProxy) -> Iterator[None]:
    yield
    proxied[0].resume()


@pytest.mark.slow
@pytest.mark.usefixtures("no_fault_is_left")
@pytest.mark.parametrize("outage", [stand_still, half_open, refused, too_slow])
def test_an_outage_is_borne(
    proxied: tuple[KafkaServer, KafkaProxy],
    tmp_path: Path,
    outage: Callable[[KafkaServer, KafkaProxy, Running], Awaitable[None]],
) -> None:
    server, proxy = proxied

    async def scenario() -> None:
        log = KafkaLog(server.address)
        async with opened(log):
            ground = Ground(log, unique("outage"))
            await ground.make()
            await ground.send(10)
            worker = Running(ground.name, tmp_path, f"kafka://{proxy.host}:{proxy.port}")
            try:
                await ground.all_is_there()
                since = worker.mark()
                await outage(server, proxy, worker)
                await ground.send(10)
                await ground.all_is_there()
                if outage is too_slow:
                    await worker.says("fenced", since)
            finally:
                code = worker.end()
            assert code == 0

    asyncio.run(scenario())
