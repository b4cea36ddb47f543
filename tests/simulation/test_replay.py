"""A replay that follows the journal gives what the first run gave. DESIGN 12, point 4."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import Committed, TopicPartition
from streamflow.nodes import registry
from streamflow.replay.follow import follow
from streamflow.topology.plan import Topology
from tests.simulation import odd_nodes
from tests.simulation.running import compiled, contents, only, run, send, values, with_log

# Two topics meet: what comes first is decided when it runs, and shows in every batch that `fives` makes.
WORKFLOW = """\
workflow: met
nodes:
  left: {type: event, topic: in.left, format: json}
  right: {type: event, topic: in.right, format: json}
  all: {type: merge, mode: append}
  fives: {type: batch, size: 5, scope: stream}
  apart: {type: split, field: items}
  out: {type: publish, topic: out, format: json, headers: {from: '"met"'}}
connections:
  - left -> all
  - right -> all
  - all -> fives -> apart -> out
policies: {commit_interval: 1ms, step_bytes_max: 4096}
"""


def test_a_replay_repeats_order_of_inputs_keys_times_and_headers(tmp_path: Path) -> None:
    """Method: run over two inputs, replay into another log from the journal alone, compare record by record."""
    replayed(compiled(WORKFLOW, tmp_path), tmp_path)


def test_a_replay_repeats_the_order_of_steps_within_a_commit(tmp_path: Path) -> None:
    """The same with commits by size, each of which holds steps of both inputs in turn."""
    by_size = WORKFLOW.replace("commit_interval: 1ms", "commit_interval: 30s, pending_bytes_max: 20000")
    replayed(compiled(by_size, tmp_path), tmp_path)


def replayed(topology: Topology, tmp_path: Path) -> None:

    async def first(log: EmbeddedLog) -> None:
        await send(log, "in.left", [{"n": i, "side": "l"} for i in range(3_000)], partitions=2, batch=7)
        await send(log, "in.right", [{"n": i, "side": "r"} for i in range(3_000)], partitions=2, batch=11)
        await run(topology, log)
        again = EmbeddedLog(tmp_path / "replayed")
        await again.open()
        commits = await follow(topology, log, again, nodes=registry())
        assert commits > 10, "too few commits to show anything"
        expected, got = await contents(log, "out"), await contents(again, "out")
        assert sum(map(len, expected.values())) > 5_900
        assert got == expected
        await again.close()

    asyncio.run(with_log(tmp_path / "log", first))


def test_another_order_of_inputs_would_show(tmp_path: Path) -> None:
    """The test above can fail: without the journal, inputs met in another order give other batches."""
    topology = compiled(WORKFLOW, tmp_path)

    async def once(log: EmbeddedLog) -> object:
        return await contents(log, "out")

    async def one_side_first(log: EmbeddedLog) -> object:
        await send(log, "in.right", [{"n": i, "side": "r"} for i in range(3_000)], partitions=2, batch=11)
        await send(log, "in.left", [], partitions=2)
        await run(topology, log)
        await send(log, "in.left", [{"n": i, "side": "l"} for i in range(3_000)], partitions=2, batch=7)
        await run(topology, log)
        return await once(log)

    async def both(log: EmbeddedLog) -> object:
        await send(log, "in.left", [{"n": i, "side": "l"} for i in range(3_000)], partitions=2, batch=7)
        await send(log, "in.right", [{"n": i, "side": "r"} for i in range(3_000)], partitions=2, batch=11)
        await run(topology, log)
        return await once(log)

    one = asyncio.run(with_log(tmp_path / "a", both))
    other = asyncio.run(with_log(tmp_path / "b", one_side_first))
    assert one != other


STAMPED = """\
workflow: stamped
nodes:
  rows: {type: event, topic: in, format: json, schema: n.avsc}
  odd: {type: if, when: n % 2 == 1}
  stamp: {type: stamp}
  shared: {type: set, fields: {share: 100 // (n % 7)}}
  threes: {type: batch, size: 3, scope: stream}
  apart: {type: split, field: items}
  keyed: {type: repartition, key: string(n % 5), partition_count: 2}
  again: {type: stamp}
  stamped: {type: publish, topic: out.stamped, format: json, headers: {drawn: string(drawn)}}
  lists: {type: publish, topic: out.lists, format: json}
  later: {type: publish, topic: out.later, key: string(n % 5), format: json}
connections:
  - rows -> odd
  - odd.true -> stamp -> stamped
  - rows -> shared -> threes -> apart -> lists
  - rows -> keyed -> again -> later
policies: {commit_interval: 1ms, step_bytes_max: 600, executions: all}
"""


def test_a_replay_repeats_clock_chance_dead_letters_and_all_outputs(tmp_path: Path) -> None:
    """Method: nodes that read the clock and draw numbers, several outputs, failing rows, a second stage."""
    nodes = odd_nodes.registry()
    (tmp_path / "n.avsc").write_text('{"type": "record", "name": "N", "fields": [{"name": "n", "type": "long"}]}')
    topology = compiled(STAMPED, tmp_path, nodes=nodes)

    async def first(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": n} for n in range(600)], partitions=2, batch=9)
        await run(topology, log, nodes=nodes)
        again = EmbeddedLog(tmp_path / "replayed")
        await again.open()
        await follow(topology, log, again, nodes=nodes)
        for topic in [
            t.name
            for t in topology.topics
            if t.kind in ("sink", "repartition", "dead_letter", "changelog", "executions")
        ]:
            expected, got = await contents(log, topic), await contents(again, topic)
            if topic in ("stamped.keyed.repartition", "stamped.executions"):
                # Several tasks write to each of their partitions: how their records interleave is the log's affair.
                expected, got = ({p: sorted(rows) for p, rows in found.items()} for found in (expected, got))
            if topic == "stamped.dead-letter":
                # All tasks share its one partition; each one's own letters are in order.
                expected, got = _by_origin(expected), _by_origin(got)
                assert sum(map(len, got.values())) == len([n for n in range(600) if n % 7 == 0])
            assert got == expected, topic
        clocks = {
            json.loads(v)["seen_ms"] for rows in (await contents(log, "out.stamped")).values() for _, _, v, _ in rows
        }
        assert len(clocks) > 3, "too few readings of the clock to show anything"
        await again.close()

    asyncio.run(with_log(tmp_path / "log", first))


def _by_origin(found: Mapping[int, list[tuple[Any, ...]]]) -> dict[int, list[tuple[Any, ...]]]:
    """Dead letters by the partition that the record came from."""
    split: dict[int, list[tuple[Any, ...]]] = {}
    for row in only(found):
        number = json.loads(row[2][row[2].index(b'{"n"') :].split(b"}")[0] + b"}")["n"]
        split.setdefault(number % 2, []).append(row)
    return split


def test_chance_depends_on_item_and_node_alone(tmp_path: Path) -> None:
    """Method: the same records read twice, in other steps and commits: each node draws the same for the same item."""
    nodes = odd_nodes.registry()
    (tmp_path / "n.avsc").write_text('{"type": "record", "name": "N", "fields": [{"name": "n", "type": "long"}]}')

    async def twice(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": n} for n in range(40)], partitions=2, batch=9)
        for step_bytes in (1, 1 << 20):
            topology = compiled(STAMPED.replace("600", str(step_bytes)), tmp_path, nodes=nodes)
            await run(topology, log, nodes=nodes)
            await log.set_offsets("stamped.rows", {TopicPartition("in", p): Committed(0, "") for p in range(2)})
        drawn: dict[tuple[str, int], list[float]] = {}
        for topic in ("out.stamped", "out.later"):
            for value in await values(log, topic):
                drawn.setdefault((topic, value["n"]), []).append(value["drawn"])
        assert len(drawn) == 20 + 40
        assert all(len(numbers) == 2 and len(set(numbers)) == 1 for numbers in drawn.values())
        assert len({numbers[0] for numbers in drawn.values()}) == len(drawn), (
            "a number was drawn for two items or nodes"
        )

    asyncio.run(with_log(tmp_path / "log", twice))
