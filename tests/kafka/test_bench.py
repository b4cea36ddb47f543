"""`streamflow bench` on a real broker: figures, and nothing that stays."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from streamflow.logs import open_log
from streamflow.sdk.log import Log
from streamflow.testing.kafka_server import KafkaServer
from tests.golden.test_topologies import call
from tests.simulation.running import opened
from tests.unit.cli.test_bench import SCHEMA, WORKFLOW


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_topics_of_its_own_are_made_and_deleted(quick_kafka: KafkaServer, tmp_path: Path, guarantee: str) -> None:
    (tmp_path / "order.avsc").write_text(json.dumps(SCHEMA))
    (tmp_path / "workflow.yaml").write_text(WORKFLOW)
    address = f"kafka://{quick_kafka.bootstrap}"

    async def names(log: Log) -> set[str]:
        return set(await log.topics())

    before = asyncio.run(opened(open_log(address), names))
    said: dict[str, Any] = json.loads(
        call(
            "bench", tmp_path / "workflow.yaml", "--log", address, "--records", "20000", "--seconds", "1",
            "--guarantee", guarantee, "--json",
        )
    )  # fmt: skip
    assert said["log"] == "kafka"
    assert 8_000 < said["throughput"]["records_out"] < 12_000
    assert said["latency"]["records"] > 100
    assert said["latency"]["p50"] > 0
    after = asyncio.run(opened(open_log(address), names))
    assert {name for name in after - before if name.startswith("bench-")} == set()
