"""One Nexmark query on Kafka: workers to kill, and a judge.

The judge reads with librdkafka, read_committed, and asks DuckDB. Stores are judged by a replay: every task does again
what its journal says it did, in one piece, and what it then keeps must be what the changelogs keep of tasks that were
killed, moved and restored.
"""

from __future__ import annotations

import asyncio
import io
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fastavro
import polars as pl
from confluent_kafka.admin import AdminClient

from streamflow.cli.common import compile_file
from streamflow.logs import open_log
from streamflow.logs.embedded import EmbeddedLog
from streamflow.nodes import registry
from streamflow.replay.follow import follow
from streamflow.runtime.state_rows import state_rows
from streamflow.sdk.log import Log
from streamflow.topology.plan import Topology
from tests.golden.nexmark_answers import BY_THE_CLOCK, WINDOW_MS, answers, difference
from tests.golden.test_topologies import call
from tests.kafka.ground import STREAMFLOW, Ground, read_all
from tests.kafka.nexmark_source import PARTITIONS, Source, from_topic, parsed

Kept = dict[tuple[str, int], Counter[Any]]  # rows by node and partition


@dataclass
class NexmarkGround(Ground):
    """A query over the events of `source`, under the workflow's name `name`; `count` is the records of its topic."""

    query: str = ""
    source: Source | None = None

    @property
    def input_topic(self) -> str:
        return self._source.topic

    @property
    def input_group(self) -> str:
        return f"{self.name}.events"

    @property
    def _source(self) -> Source:
        if self.source is None:
            raise AssertionError("a ground needs a source")
        return self.source

    @property
    def _own_clock(self) -> bool:
        return self.query in BY_THE_CLOCK

    def make(self, policies: Mapping[str, Any] | None = None) -> NexmarkGround:
        """Write the workflow; its events are on their topic already."""
        from_topic(self.query, self.folder, self.name, self.input_topic, policies, own_clock=self._own_clock)
        return self

    def run(self, workers: int) -> None:
        """From the start to the end of the events, in so many processes."""
        if self._own_clock:  # the end of the events closes none of its windows
            for _ in range(workers):
                self.start()
            self.finish()
            return
        command = [*STREAMFLOW, "run", "workflow.yaml", "--log", f"kafka://{self.bootstrap}", "--until-end"]
        done = subprocess.run(
            [*command, "--workers", str(workers)], cwd=self.folder, capture_output=True, timeout=3_600, check=False
        )
        assert done.returncode == 0, done.stderr.decode()[-3_000:]

    def finish(self, *, timeout_s: float = 300, linger_s: float = 0) -> None:
        """Until everything is done and every window closed; then all workers end gracefully."""
        by_the_clock_s = 2 * WINDOW_MS / 1_000 if self._own_clock else 0
        super().finish(timeout_s=timeout_s, linger_s=max(linger_s, by_the_clock_s))

    def judge(self) -> None:
        """Results are those of DuckDB, every record had one fate and none failed, stores are what a replay has."""
        said = answers(self._source.file).difference(self.query, self.published(), own_clock=self._own_clock)
        assert not said, f"the results differ from DuckDB's: {said}"
        call("audit", self.folder / "workflow.yaml", "--log", f"kafka://{self.bootstrap}")
        assert not list(read_all(self.bootstrap, f"{self.name}.dead-letter", 1)), "there are dead letters"
        self.judge_stores()

    def published(self) -> pl.DataFrame:
        """Records of the result, in the order of each partition; times are epoch ms."""
        schema = parsed(self.folder / "result.avsc", times_as_numbers=True)
        values = read_all(self.bootstrap, f"{self.name}.result", PARTITIONS)
        rows = [fastavro.schemaless_reader(io.BytesIO(value), schema, None) for _, value in values]
        return pl.DataFrame(rows, infer_schema_length=None)

    def judge_stores(self) -> None:
        """Every node keeps what a replay without any fault keeps."""
        kept, again = asyncio.run(self._kept())
        assert kept.keys() == again.keys()
        for (node, partition), rows in kept.items():
            said = difference(rows, again[node, partition])
            assert not said, f"{node}/{partition} does not keep what a replay keeps: {said}"

    async def _kept(self) -> tuple[Kept, Kept]:
        _, topology = compile_file(self.folder / "workflow.yaml")
        original, target = open_log(f"kafka://{self.bootstrap}"), EmbeddedLog(self.folder / "replayed")
        await original.open()
        await target.open()
        try:
            await follow(topology, original, target, nodes=registry(), files_folder=self.folder / "files")
            return await _kept_by(topology, original), await _kept_by(topology, target)
        finally:
            await target.close()
            await original.close()

    def delete_topics(self) -> None:
        """All that the workflow made; not the events."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        mine = [topic for topic in admin.list_topics(timeout=30).topics if topic.startswith(f"{self.name}.")]
        for deleted in admin.delete_topics(mine).values():
            deleted.result(timeout=60)


async def _kept_by(topology: Topology, log: Log) -> Kept:
    """As nodes read their stores: how these are cut into entries is no concern of anybody."""
    found: Kept = {}
    for node in sorted({store.node for stage in topology.stages for store in stage.stores}):
        async for partition, rows in state_rows(topology, node, log, registry(), {}):
            found[node, partition] = Counter(repr(row) for row in rows.iter_rows())
    return found
