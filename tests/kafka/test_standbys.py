"""Standbys on a real broker: who takes a task over reads what its standby had not read, and nothing else.

Method: two workers; the first half of the input is done and the standbys have all of it, as `streamflow lag` says. In
the middle of the second half one worker is killed. What the other then reads of changelogs is in its log, by offsets.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamflow.testing.kafka_server import KafkaServer
from tests.golden.test_topologies import call
from tests.kafka.ground import Ground, Worker

HALF = 8_000
CHANGELOGS = {"sevens.rows", "sevens.counts"}


@pytest.fixture
def ground(quick_kafka: KafkaServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ground]:
    name = f"standby-{request.node.callspec.params['state']}-{request.node.callspec.params['standbys']}"
    made = Ground(tmp_path, quick_kafka.bootstrap, name, HALF, session_timeout_s=15).make()
    yield made
    made.stop()


def standbys(ground: Ground) -> dict[tuple[str, int], tuple[int, int]]:
    """(position, lag) of each changelog's standby."""
    found = json.loads(call("lag", ground.folder / "workflow.yaml", "--log", f"kafka://{ground.bootstrap}", "--json"))
    return {(row["changelog"], row["partition"]): (row["position"], row["lag"]) for row in found["standbys"]}


def wait_until_level(ground: Ground) -> dict[tuple[str, int], int]:
    """Positions of all standbys, when each has all there is; all input is done."""
    deadline = time.monotonic() + 300
    while True:
        ground.check_alive()
        assert time.monotonic() < deadline, ground.said()
        if ground.done() == ground.count and not ground.lag():
            found = standbys(ground)
            if len(found) == len(CHANGELOGS) * ground.partitions and not any(lag for _, lag in found.values()):
                return {at: position for at, (position, _) in found.items()}
        time.sleep(0.3)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("state", "standbys"), [("memory", 1), ("rocksdb", 1), ("memory", 0)])
def test_a_take_over_reads_the_tail_of_changelogs_only(ground: Ground, state: str, standbys: int) -> None:
    """Without standbys everything is read: the last case shows that the measure tells the difference."""
    for number in range(2):
        folder = ("--state-dir", f"state-{number}") if state == "rocksdb" else ()
        ground.options = ("--standbys", str(standbys), "--state", state, *folder)
        ground.start()
    killed, heir = ground.workers
    reached: dict[tuple[str, int], int] = {}
    if standbys:
        reached = wait_until_level(ground)
        assert min(reached.values()) > 5
    else:
        ground.wait_for(HALF)
    before = {event: len(heir.lines(event)) for event in ("state_restored", "standby_ends", "task_runs")}
    stateful = tasks_with_state(killed)
    assert stateful
    ground.more(HALF)
    ground.wait_for(HALF + HALF // 3)
    killed.kill()
    ground.finish()
    ground.judge()
    after = {event: heir.lines(event)[count:] for event, count in before.items()}
    assert stateful <= {line["task"] for line in after["task_runs"]}
    restored = [line for line in after["state_restored"] if line["task"] in stateful]
    if not standbys:
        assert {line["task"] for line in restored} == stateful
        assert {line["first"] for line in restored} == {"0"}
        return
    assert stateful <= {line["task"] for line in after["standby_ends"]}
    for line in restored:  # none where nothing was left to read
        topic, _, partition = line["changelog"].rpartition("/")
        assert int(line["first"]) >= reached[topic, int(partition)]


def tasks_with_state(worker: Worker) -> set[str]:
    """What the group gave it last, of the stage that keeps state."""
    (*_, last) = (line for line in worker.whole().splitlines() if "event=assigned" in line)
    found = re.search(r"apart.ledger': \(([0-9, ]+)\)", last)
    return set() if found is None else {f"apart/{int(p)}" for p in found[1].split(",") if p.strip()}
