"""A replay that follows the journal gives what the first run gave. DESIGN 12, point 4."""

from __future__ import annotations

import asyncio
from pathlib import Path

from streamflow.logs.embedded import EmbeddedLog
from streamflow.nodes import registry
from streamflow.replay.follow import follow
from tests.simulation.running import compiled, contents, run, send, with_log

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
    topology = compiled(WORKFLOW, tmp_path)

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
