"""The examples give on Kafka what they give on the embedded log: the same files, unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from streamflow.testing.kafka_server import KafkaServer
from tests.golden.test_topologies import FOLDERS, call, run_example


@pytest.mark.parametrize("name", FOLDERS)
def test_an_example_gives_its_expected_output_on_kafka(name: str, kafka: KafkaServer, tmp_path: Path) -> None:
    run_example(name, tmp_path / name, kafka.address)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    plan = json.loads(call("plan", tmp_path / name / "workflow.yaml", "--json"))
    planned = {topic["name"] for topic in plan["topics"]}
    mine = [topic for topic in admin.list_topics(timeout=30).topics if topic in planned or topic.startswith(name)]
    for deleted in admin.delete_topics(mine).values():
        deleted.result(timeout=30)
