"""Rows that a topic on Kafka would reject are dead-lettered before they are sent; where it takes more, more goes."""

from __future__ import annotations

import asyncio

from streamflow.logs.kafka import KafkaLog
from streamflow.testing.kafka_server import KafkaServer
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, run, send
from tests.simulation.test_too_large import dead

TOPOLOGY = """
workflow: large
nodes:
  start: {type: event, topic: large.in, format: json}
  wide: {type: set, keep: [], fields: {v: "repeat(string(v), long(n))"}}
  small: {type: publish, topic: large.small, format: json, config: {max.message.bytes: "2000"}}
  usual: {type: publish, topic: large.usual, format: json}
  twice: {type: set, keep: [], fields: {v: v + v + v}}
  large: {type: publish, topic: large.large, format: json, config: {max.message.bytes: "4000000"}}
connections: [start -> wide -> small, wide -> usual, wide -> twice -> large]
"""


def test_topics_tell_how_much_they_take(kafka: KafkaServer) -> None:
    async def work() -> None:
        log = KafkaLog(kafka.address)
        await log.open()
        topology = compiled(TOPOLOGY)
        await send(log, "large.in", [{"v": "x", "n": n} for n in (3, 1_900, 1_930, 1_000_000, 4)])
        await run(topology, log)
        sizes = {
            name: [len(value) for _, _, value, _ in (await contents(log, f"large.{name}"))[0]]
            for name in ("small", "usual", "large")
        }
        assert sizes["small"] == [11, 1_908, 12]
        assert sizes["usual"] == [11, 1_908, 1_938, 1_000_008, 12]
        assert sizes["large"] == [17, 5_708, 5_798, 3_000_008, 20]
        letters = await dead(log, topology)
        assert [(one.node, one.code, one.offset) for one in letters] == [
            ("small", "too_large", 2),
            ("small", "too_large", 3),
        ]
        assert "more than the 2000 bytes that its topic takes" in letters[0].message
        # Ends of transactions take offsets here, so how many records a topic holds does not follow from them.
        assert [f for f in (await audited(log, topology)).findings if f.rule != "topic"] == []
        await log.close()

    asyncio.run(work())
