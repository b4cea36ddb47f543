"""Exactly once on a real broker under SIGKILL, SIGSTOP and a broker that dies. `./dev soak` is the large run of these.

Method: numbered, keyed items through a repartition and state; workers die and others take over; librdkafka reads what
came out, to the end: nothing lost, nothing doubled, order per key kept.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from streamflow.logs import open_log
from streamflow.model.positions import TopicPartition
from streamflow.sdk.crash import KAFKA_POINTS, POINTS
from streamflow.testing.kafka_proxy import KafkaProxy
from streamflow.testing.kafka_server import KafkaServer
from tests.kafka import attacks
from tests.kafka.ground import Ground
from tests.kafka.lost_markers import excused
from tests.simulation.on_disk import behind

STEPS = [p for p in POINTS if "frame" not in p] + list(KAFKA_POINTS)
_names = count()


@pytest.fixture
def ground(quick_kafka: KafkaServer, tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path / "ground", quick_kafka.bootstrap, f"kill-{next(_names)}", 10_000, session_timeout_s=2)
    yield made
    made.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_at_random_moments(ground: Ground) -> None:
    ground.count = 40_000
    ground.make()
    assert attacks.random_kills(ground, 4, random.Random(1)) == 4
    ground.finish()
    ground.judge()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_at_each_step_of_a_commit(ground: Ground) -> None:
    ground.make()
    attacks.kills_at_steps(ground, STEPS)
    ground.finish()
    ground.judge()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_at_random_moments_with_state_on_disk(ground: Ground) -> None:
    """Workers of one machine share a folder: each task's database goes with the task, and is its changelog's copy."""
    ground.count, ground.options = 40_000, ("--state", "rocksdb", "--state-dir", "state")
    ground.make()
    assert attacks.random_kills(ground, 4, random.Random(4)) == 4
    ground.finish()
    ground.judge()

    async def look() -> list[int]:
        log, found = open_log(f"kafka://{ground.bootstrap}"), []
        await log.open()
        for p in range(ground.partitions):
            places = [TopicPartition(f"{ground.name}.sevens.{store}.changelog", p) for store in ("counts", "rows")]
            folders = list((ground.folder / "state" / ground.name).glob(f"*/{p}"))
            assert len(folders) == 1
            found += await behind(log, folders[0], places)
        await log.close()
        return found

    assert max(asyncio.run(look())) <= 1  # the end of a transaction takes an offset


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_zombie_adds_nothing(ground: Ground) -> None:
    ground.make()
    attacks.zombies(ground, 2, random.Random(3))
    ground.finish()
    ground.judge()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_that_come_and_go(ground: Ground) -> None:
    ground.make()
    attacks.storm(ground, seconds=15, every_s=2)
    ground.finish()
    ground.judge()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_broker_that_is_killed_in_mid_run(needs_kafka: None, tmp_path: Path) -> None:
    with KafkaServer(tmp_path / "kafka", settings={"group.initial.rebalance.delay.ms": "0"}) as server:
        ground = Ground(tmp_path / "ground", server.bootstrap, "restarts", 10_000)
        try:
            ground.make()
            with excused(server.address):
                attacks.broker_kills(ground, server, 1)
                ground.finish()
                ground.judge()
        finally:
            ground.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_network_that_holds_commits_back(
    proxied: tuple[KafkaServer, KafkaProxy], proxy: KafkaProxy, tmp_path: Path
) -> None:
    ground = Ground(
        tmp_path / "ground", proxied[0].bootstrap, "network", 40_000,
        via=f"{proxy.host}:{proxy.port}", environment=dict(attacks.IMPATIENT),
    )  # fmt: skip
    try:
        ground.make()
        assert attacks.bad_network(ground, proxy, 2) == 2
        ground.finish()
        ground.judge()
    finally:
        ground.stop()
