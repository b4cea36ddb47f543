"""Event time across stages on a real broker: what a task kept is found behind transaction markers, in any order."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from streamflow.logs.kafka import KafkaLog
from streamflow.model.positions import TopicPartition
from streamflow.sdk.log import TopicSpec
from streamflow.testing.kafka_server import KafkaServer
from tests.simulation.running import contents, run
from tests.simulation.test_watermarks import (
    MIDDLE,
    NODES,
    markers_and_rows,
    send_at,
    timed,
    watermarks_by_markers,
    watermarks_by_rows,
    wm_of,
)


async def told(log: KafkaLog) -> str:
    """Where everything stands, for whoever has to find out why something is not there."""
    ends = {
        f"{name}/{p}": await log.offsets(TopicPartition(name, p))
        for name, topic in (await log.topics()).items()
        if name in ("in", "out.first", "out.second") or name.startswith("timed.")
        for p in range(topic.partitions)
    }
    groups = {name: offsets for name, offsets in (await log.groups()).items() if name.startswith("timed.")}
    return f"offsets {ends}; positions {groups}; {await log.members('timed')}"


def test_watermarks_go_on_where_they_stood_after_each_restart(kafka: KafkaServer, tmp_path: Path) -> None:
    topology = timed(tmp_path)

    async def work() -> None:
        log = KafkaLog(kafka.address)
        await log.open()
        await log.create_topic(TopicSpec(name="in", partitions=2))
        rows = {p: [(2 * i + p, 1_000 + 10 * i - (7 * i + p) % 20) for i in range(30)] for p in range(2)}
        for cut in range(0, 30, 10):
            for p in range(2):
                await send_at(log, "in", p, rows[p][cut : cut + 10], batch=3)
            await run(topology, log, nodes=NODES)
        first = await wm_of(log, "out.first")
        lacking = {n for p in range(2) for n, _ in rows[p]} - first.keys()
        assert not lacking, await told(log)
        for p in range(2):
            assert [first[n] for n, _ in rows[p]] == watermarks_by_rows([ms for _, ms in rows[p]], 20)
        second, middle = await contents(log, "out.second"), await contents(log, MIDDLE)
        for p in range(3):
            found = [json.loads(value) for _, _, value, _ in second[p]]
            assert [item["wm"] for item in found] == watermarks_by_markers(middle[p], tasks=2)
            assert all(item["ts"] >= item["wm"] for item in found)
            assert any(entry is not None for entry in markers_and_rows(middle[p]))
        await log.close()

    asyncio.run(work())
