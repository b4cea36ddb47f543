"""Nexmark on a real broker, small: three workers, and workers that are killed while their number changes.

`./dev soak nexmark` is the large run of the same, over all queries.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from streamflow.testing.kafka_server import KafkaServer
from streamflow.testing.nexmark import Nexmark
from tests.kafka import attacks
from tests.kafka.nexmark_ground import NexmarkGround
from tests.kafka.nexmark_source import DISORDER, Source

KILLS = 3
_names = count()


@pytest.fixture(scope="module")
def source(quick_kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Source:
    file = tmp_path_factory.mktemp("nexmark") / "events.jsonl"
    return Source(Nexmark(events=10_000, **DISORDER), file, quick_kafka.bootstrap, "nexmark.events").write()


@pytest.fixture
def ground(request: pytest.FixtureRequest, source: Source, tmp_path: Path) -> Iterator[NexmarkGround]:
    made = NexmarkGround(
        tmp_path / "ground", source.bootstrap, f"nexmark-{next(_names)}", source.records,
        session_timeout_s=2, query=request.param, source=source,
    )  # fmt: skip
    yield made
    made.stop()
    made.delete_topics()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("ground", ["q8"], indirect=True)
def test_three_workers_give_what_duckdb_gives(ground: NexmarkGround) -> None:
    ground.make()
    ground.run(workers=3)
    ground.judge()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("ground", ["q7", "q8"], indirect=True)  # which also pass through three workers
def test_so_do_workers_that_are_killed_while_their_number_changes(ground: NexmarkGround) -> None:
    ground.make({"commit_interval": "20ms", "step_bytes_max": 16_384})
    assert attacks.kills_while_rescaling(ground, KILLS, random.Random(5)) > 0  # a fast machine is done before the last
    ground.finish()
    ground.judge()
