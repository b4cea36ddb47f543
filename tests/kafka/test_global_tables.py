"""A global table on a real broker: two workers, a table on five partitions, a stream on three by other keys.

Method: each order must have found what the table held before the run that read it; the audit adds up, and a record of
the table that cannot be read is one dead letter, though three tasks have read it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from streamflow.logs.kafka import KafkaLog
from streamflow.testing.kafka_server import KafkaServer
from tests.golden.test_topologies import call
from tests.simulation.running import opened, values
from tests.simulation.test_global_tables import CARRIER, ORDER, Change, carriers, orders, put

WORKFLOW = """
workflow: globals
nodes:
  carriers: {type: event, topic: globals.carriers, schema: carrier.avsc, format: json}
  by_code: {type: table, key: code, scope: global}
  orders: {type: event, topic: globals.orders, schema: order.avsc, format: json}
  named: {type: lookup, key: upper(carrier), fields: [name], join: left}
  out: {type: publish, topic: globals.out, key: id, format: json}
connections:
  - carriers -> by_code -> named.table
  - carriers.gone -> by_code.gone
  - orders -> named -> out
"""


def on(kafka: KafkaServer, work: Callable[[KafkaLog], Awaitable[Any]]) -> Any:
    return asyncio.run(opened(KafkaLog(kafka.address), work))


def test_two_workers_look_into_a_table_on_other_partitions(kafka: KafkaServer, tmp_path: Path) -> None:
    (tmp_path / "carrier.avsc").write_text(CARRIER)
    (tmp_path / "order.avsc").write_text(ORDER)
    file = tmp_path / "workflow.yaml"
    file.write_text(WORKFLOW)

    def send(changes: list[Change], count: int, first: int) -> None:
        async def work(log: KafkaLog) -> None:
            await put(log, "globals.carriers", changes, partitions=5)
            await put(log, "globals.orders", orders(count, first=first), partitions=3)

        on(kafka, work)

    def named() -> dict[int, str | None]:
        rows = on(kafka, lambda log: values(log, "globals.out"))
        found = {row["id"]: row["name"] for row in rows}
        assert len(found) == len(rows)
        return found

    address = kafka.address
    send([*carriers(20), ("C9", b"{"), ("C3", None)], 200, 0)
    call("run", file, "--log", address, "--workers", "2", "--until-end")
    held: dict[int, str | None] = {i: f"carrier {i}.0" for i in range(20)} | {3: None}
    assert named() == {n: held[n % 20] for n in range(200)}
    send([*carriers(3, version=1), ("C5", None)], 100, 200)
    call("run", file, "--log", address, "--workers", "2", "--until-end")
    now = held | {i: f"carrier {i}.1" for i in range(3)} | {5: None}
    assert named() == {n: (held if n < 200 else now)[n % 20] for n in range(300)}
    assert json.loads(call("audit", file, "--log", address, "--json"))["ok"]
    assert json.loads(call("lag", file, "--log", address, "--json"))["lag"] == 0
    letters = call("dlq", "list", file, "--log", address, "--json").splitlines()
    assert ["globals.carriers" in line for line in letters if line.strip()].count(True) == 1
