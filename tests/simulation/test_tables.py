"""Tables on a log: records without value, a join by foreign key over several partitions, and whatever fails.

Method: random changes of orders and customers, deletions among them. What the topic of the result holds in the end is
compared with two dicts; on the way there, each row that is there no more must be said to be gone before a new one.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streamflow.codecs.recordbatch import from_records
from streamflow.codecs.records import Record
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.sdk.log import Log, TopicSpec
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, run, values, with_log
from tests.simulation.test_faults import persist

Change = tuple[str, dict[str, Any] | None]  # record key, value
ORDER = """{"type": "record", "name": "Order", "fields": [
  {"name": "id", "type": "string"}, {"name": "customer", "type": ["null", "string"]}, {"name": "n", "type": "long"}]}"""
CUSTOMER = """{"type": "record", "name": "Customer", "fields": [
  {"name": "name", "type": "string"}, {"name": "limit", "type": "long"}]}"""
WORKFLOW = """
workflow: tabled
nodes:
  orders: {{type: event, topic: orders, schema: order.avsc, format: json, key: id}}
  customers: {{type: event, topic: customers, schema: customer.avsc, format: json, key: name}}
  j: {{type: table_join, left_key: id, foreign_key: customer, right_key: name, join: {join}, prefix: c_}}
  seen: {{type: lookup, key: customer, table_key: name, join: left, prefix: c_}}
  out: {{type: publish, topic: out, key: id, format: json, partitions: 2}}
  all: {{type: publish, topic: all, format: json}}
connections:
  - orders -> j.left
  - orders.gone -> j.left_gone
  - customers -> j.right
  - customers.gone -> j.right_gone
  - j -> out
  - j.gone -> out.gone
  - orders -> seen -> all
  - customers -> seen.table
  - customers.gone -> seen.gone
policies: {{commit_interval: 1ms, step_bytes_max: {step_bytes}}}
"""


async def put(log: Log, topic: str, changes: Sequence[Change], *, partitions: int, batch: int = 7) -> None:
    """Changes as JSON records, those of a key in one partition; None is a record without value."""
    await log.create_topic(TopicSpec(name=topic, partitions=partitions))
    producer = await log.producer(f"put.{topic}")
    await producer.begin()
    for p in range(partitions):
        rows = [
            Record(0, i, key.encode(), None if value is None else json.dumps(value).encode(), [])
            for i, (key, value) in enumerate(changes)
            if sum(key.encode()) % partitions == p
        ]
        for at in range(0, len(rows), batch):
            await producer.append(TopicPartition(topic, p), [from_records(rows[at : at + batch])])
    await producer.commit()
    await producer.close()


def changes(seed: int, count: int) -> tuple[list[Change], list[Change]]:
    draw = random.Random(seed)
    orders: list[Change] = []
    customers: list[Change] = []
    for n in range(count):
        key, name = f"o{draw.randrange(8)}", f"c{draw.randrange(5)}"
        if draw.random() < 0.7:
            customer = draw.choice([name, name, name, None])
            orders.append((key, None if draw.random() < 0.2 else {"id": key, "customer": customer, "n": n}))
        else:
            customers.append((name, None if draw.random() < 0.3 else {"name": name, "limit": n}))
    return orders, customers


def expected(orders: Sequence[Change], customers: Sequence[Change], join: str) -> dict[str, Any]:
    left = {key: row for key, row in dict(orders).items() if row is not None}
    right = {key: row for key, row in dict(customers).items() if row is not None}
    made = {
        key: {**row, "c_name": found and found["name"], "c_limit": found and found["limit"]}
        for key, row in left.items()
        for found in [right.get(row["customer"])]
    }
    return {key: row for key, row in made.items() if join == "left" or row["c_name"] is not None}


async def result(log: Log) -> dict[str, Any]:
    """What the topic of the result says that there is."""
    there: dict[str, Any] = {}
    for rows in (await contents(log, "out")).values():
        for _, key, value, _ in rows:
            name = key.decode()
            if value is None:
                del there[name]
            else:
                assert name not in there
                there[name] = json.loads(value)
    return there


def topology(folder: Path, join: str, step_bytes: int) -> Any:
    (folder / "order.avsc").write_text(ORDER)
    (folder / "customer.avsc").write_text(CUSTOMER)
    return compiled(WORKFLOW.format(join=join, step_bytes=step_bytes), folder)


@pytest.mark.parametrize(("join", "step_bytes"), [("inner", 1), ("left", 400), ("left", 1 << 20)])
def test_a_join_by_foreign_key_holds_what_both_tables_hold(
    join: str, step_bytes: int, log_folder: Path, tmp_path: Path
) -> None:
    orders, customers = changes(step_bytes, 60 if step_bytes == 1 else 120)
    compiled_one = topology(tmp_path, join, step_bytes)

    async def work(log: EmbeddedLog) -> None:
        await put(log, "orders", orders, partitions=2)
        await put(log, "customers", customers, partitions=3)
        await run(compiled_one, log)
        assert await result(log) == expected(orders, customers, join)
        given = [row["n"] for row in await values(log, "all")]
        assert sorted(given) == sorted(row["n"] for _, row in orders if row is not None)
        assert (await audited(log, compiled_one)).findings == ()

    asyncio.run(with_log(log_folder, work))


@pytest.mark.parametrize("seed", range(4))
def test_any_fault_loses_and_doubles_nothing(seed: int, log_folder: Path, tmp_path: Path) -> None:
    """Aborts, commits of unknown outcome and take-overs: tables are those of a run without any."""
    orders, customers = changes(seed, 60)
    join = ("inner", "left")[seed % 2]
    compiled_one = topology(tmp_path, join, 300)

    async def work(log: EmbeddedLog) -> None:
        await put(log, "orders", orders, partitions=2)
        await put(log, "customers", customers, partitions=3)
        await persist(compiled_one, FaultyLog(log, seeded_faults(seed, count=1 + seed % 5, nth_max=60)), may_stop=True)
        assert await result(log) == expected(orders, customers, join)
        given = [row["n"] for row in await values(log, "all")]
        assert sorted(given) == sorted(row["n"] for _, row in orders if row is not None)

    asyncio.run(with_log(log_folder, work))
