"""Records without value on a real broker: written by `publish.gone`, and read again by `event.gone`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from streamflow.logs.kafka import KafkaLog
from streamflow.testing.kafka_server import KafkaServer
from tests.simulation.running import compiled, contents, run
from tests.simulation.test_tables import CUSTOMER, Change, put

WORKFLOW = """
workflow: {name}
nodes:
  start: {{type: event, topic: {source}, schema: customer.avsc, format: {source_format}, key: name}}
  t: {{type: table, key: name}}
  out: {{type: publish, topic: {target}, key: name, format: {target_format}, config: {{cleanup.policy: compact}}}}
connections: [start -> t -> out, start.gone -> t.gone, t.gone -> out.gone]
"""
CHANGES: list[Change] = [
    ("a", {"name": "a", "limit": 1}),
    ("b", {"name": "b", "limit": 2}),
    ("a", None),
    ("c", None),
    ("b", {"name": "b", "limit": 3}),
    ("b", None),
    ("a", {"name": "a", "limit": 4}),
]


def test_deletions_go_round(kafka: KafkaServer, tmp_path: Path) -> None:
    (tmp_path / "customer.avsc").write_text(CUSTOMER)

    async def work() -> None:
        log = KafkaLog(kafka.address)
        await log.open()
        await put(log, "tables.in", CHANGES, partitions=1)
        ways = [
            ("one", "tables.in", "json", "tables.avro", "avro"),
            ("two", "tables.avro", "avro", "tables.out", "json"),
        ]
        for name, source, source_format, target, target_format in ways:
            text = WORKFLOW.format(
                name=f"tables-{name}",
                source=source,
                source_format=source_format,
                target=target,
                target_format=target_format,
            )
            await run(compiled(text, tmp_path), log)
        given = [(key, value) for rows in (await contents(log, "tables.out")).values() for _, key, value, _ in rows]
        assert [value for key, value in given if key == b"a"] == [
            b'{"name":"a","limit":1}',
            None,
            b'{"name":"a","limit":4}',
        ]
        assert [value for key, value in given if key == b"b"] == [
            b'{"name":"b","limit":2}',
            None,
            b'{"name":"b","limit":3}',
            None,
        ]
        assert {key for key, _ in given} == {b"a", b"b"}
        await log.close()

    asyncio.run(work())
