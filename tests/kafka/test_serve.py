"""Signals over HTTP on Kafka: a server that is killed with the record written, and one that stands in for it."""

from __future__ import annotations

import json
import signal
import time
from itertools import count
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer

from streamflow.testing.kafka_server import KafkaServer
from tests.kafka.ground import create_topics
from tests.simulation.test_serve import WORKFLOW, Shop, approve

_names = count()


@pytest.mark.timeout(300)
def test_a_killed_server_holds_nobody_up_and_its_signal_counts_once(kafka: KafkaServer, tmp_path: Path) -> None:
    name = f"serve-{next(_names)}"
    shop = Shop(tmp_path, f"kafka://{kafka.bootstrap}")
    text = WORKFLOW.replace("workflow: shop", f"workflow: {name}")
    for topic in ("orders", "mails", "shipped"):
        text = text.replace(f"topic: {topic}", f"topic: {name}.{topic}")
    (tmp_path / "workflow.yaml").write_text(text)
    create_topics(kafka.bootstrap, [f"{name}.{topic}" for topic in ("orders", "mails", "shipped")], 2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for order in "ab":
        producer.produce(f"{name}.orders", json.dumps({"id": order}).encode(), key=order)
    assert producer.flush(60) == 0
    with shop.served(crash_at="before-end-txn") as (base, process):
        port = httpx.URL(base).port
        with pytest.raises(httpx.TransportError):
            approve(base, "a", "ann", "k1", workflow=name)
        assert process.wait(timeout=60) == -signal.SIGKILL
    began = time.monotonic()
    with shop.served("--port", str(port)) as (base, _):
        for _ in range(2):
            answer = approve(base, "a", "ann", "k1", workflow=name)
            assert answer.status_code == 202, answer.text
            assert answer.json()["topic"] == f"{name}.signals"
        shop.run()  # which would wait for the transaction of the first, were it still open
        assert time.monotonic() - began < 45
        assert [one["id"] for one in shop.waiting("paid")] == ["a"]
        assert [one["id"] for one in shop.waiting("checked")] == ["b"]
        assert httpx.get(f"{base}/health/ready", timeout=30).status_code == 200
    shop.call("audit", "workflow.yaml")
