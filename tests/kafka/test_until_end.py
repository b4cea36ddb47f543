"""`run --until-end`: what open transactions have written is not read yet, so the run does not end before they do."""

from __future__ import annotations

import json
import time

import pytest
from confluent_kafka import Producer

from streamflow.testing.kafka_server import KafkaServer
from tests.kafka.ground import KEYS, Ground, encoded
from tests.kafka.test_workers import ground, started

__all__ = ["ground"]  # a fixture
OPEN = 500


@pytest.mark.timeout(300)
@pytest.mark.parametrize("commits", [True, False])
def test_two_workers_wait_for_an_open_transaction(ground: Ground, quick_kafka: KafkaServer, commits: bool) -> None:
    """Method: all partitions of the input end with records of a transaction that is open while the workers read the
    rest, and for a while after; then it ends either way.
    """
    producer = Producer({"bootstrap.servers": quick_kafka.bootstrap, "transactional.id": f"open-{ground.name}"})
    producer.init_transactions(60)
    producer.begin_transaction()
    for n in range(ground.count, ground.count + OPEN):
        producer.produce(ground.input_topic, value=encoded(n), key=f"k{n % KEYS}")
    assert producer.flush(60) == 0
    process = started(ground, "--workers", "2", "--until-end", "--json")
    try:
        ground.wait_for(ground.count)
        time.sleep(3)
        assert process.poll() is None, process.communicate()
        if commits:
            producer.commit_transaction(60)
            ground.count += OPEN
        else:
            producer.abort_transaction(60)
        out, err = process.communicate(timeout=200)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    facts = json.loads(out)
    assert (facts["stages"]["numbers"], facts["lag"]) == (ground.count, 0)
    ground.judge()
