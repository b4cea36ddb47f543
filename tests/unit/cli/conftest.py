"""The command line as its users have it: in a folder of its own, in this process or in real ones."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner, Result

from streamflow.cli.main import app
from streamflow.codecs.records import Record, from_records
from streamflow.logs import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.sdk.log import TopicSpec
from tests.simulation.running import with_log

T = TypeVar("T")
LOG = ".streamflow/log"
PROGRAM = [sys.executable, "-m", "streamflow.cli.main"]
WAIT_S = 60  # until something is taken to hang


class Cli:
    """`streamflow …` in the test's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log_folder = folder / LOG
        self._processes: list[subprocess.Popen[str]] = []

    def __call__(self, *args: object, code: int = 0, input: str | bytes = b"") -> Result:
        result = CliRunner().invoke(app, [str(a) for a in args], input=input)
        told = f"streamflow {' '.join(map(str, args))}\n{result.stdout}{result.stderr}{result.exception!r}"
        assert result.exception is None or isinstance(result.exception, SystemExit), told
        assert result.exit_code == code, told
        return result

    def json(self, *args: object, code: int = 0) -> Any:
        return json.loads(self(*args, "--json", code=code).stdout)

    def tail(self, topic: str, *args: object) -> list[dict[str, Any]]:
        """Records of a topic as `tail --json` shows them, from the earliest on unless told."""
        start = () if "--from" in args else ("--from", "earliest")
        out = self("tail", topic, *start, "--no-follow", "--json", *args).stdout
        return [json.loads(line) for line in out.splitlines()]

    def start(self, *args: object, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """A real process; whatever happens to the test, it ends with it."""
        process = subprocess.Popen(
            [*PROGRAM, *map(str, args)], cwd=self.folder, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def on_log(self, work: Callable[[EmbeddedLog], Any]) -> Any:
        """The result of a coroutine function on the log."""
        return asyncio.run(with_log(self.log_folder, work))

    def wait_for(self, topic: str, count: int) -> None:
        """Until a topic holds so many records, whoever writes them."""

        async def wait(log: EmbeddedLog) -> None:
            async with asyncio.timeout(WAIT_S):
                places = [TopicPartition(topic, p) for p in range((await log.topics())[topic].partitions)]
                while sum([(await log.offsets(at))[1] for at in places]) < count:
                    await log.wait({at: (await log.offsets(at))[1] for at in places}, timeout_ms=1000)

        self.on_log(wait)

    def append(self, topic: str, records: Sequence[Record], *, partition: int = 0, partitions: int = 1) -> None:
        """Records that `send` would not write: headers, no value, any bytes."""

        async def write(log: EmbeddedLog) -> None:
            if topic not in await log.topics():
                await log.create_topic(TopicSpec(name=topic, partitions=partitions))
            producer = await log.producer("test")
            await producer.begin()
            await producer.append(TopicPartition(topic, partition), [from_records(records)])
            await producer.commit()
            await producer.close()

        self.on_log(write)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    monkeypatch.chdir(tmp_path)
    made = Cli(tmp_path)
    yield made
    made.end()


@pytest.fixture
def shop(cli: Cli) -> str:
    """The workflow that `init` makes."""
    cli("init", "shop")
    return "shop/workflow.yaml"


@pytest.fixture
def sent(cli: Cli, shop: str) -> str:
    """The same with its orders on the topic, and run once."""
    cli("send", "shop.orders", "shop/orders.jsonl", "--schema", "shop/order.avsc", "--key", "customer")
    cli("run", shop, "--until-end")
    return shop
