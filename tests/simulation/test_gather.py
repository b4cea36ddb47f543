"""Rows of an execution that went ways of their own come together as if they had never been apart.

Method: a seed draws a workflow of branches that split, filter, fail, wait and change partition before nodes that need
all rows of an execution. The same workflow with `no-op` in the place of whatever takes rows apart has all of them in
one step, and says what has to come out. Tasks work in any order, on a log that fails, and are begun anew at any step.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from streamflow.cli.redrive import Redrive
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import registry
from streamflow.operators.gathering import STORE
from streamflow.replay.follow import follow
from streamflow.testing.driver import TopologyDriver
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from tests.simulation.auditing import audited
from tests.simulation.histories import agree_with_ledger, records_of, stand
from tests.simulation.random_executions import _drive, _nothing_is_gathered
from tests.simulation.running import compiled, contents, run, send, values
from tests.simulation.test_watermarks import Bench

TIMED = """\
workflow: timed
nodes:
  start: {type: event, topic: in, format: json, key: string(k)}
  wait: {type: wait, for: 'long(n) % 4 * 1000'}
  spread: {type: repartition, key: string(long(n) % 3), partition_count: 2}
  both: {type: merge, mode: combine_by_key, keys: [string(n)], join: outer, timeout: 1500ms}
  out: {type: publish, topic: out, format: json}
  over: {type: publish, topic: out.over, format: json}
  late: {type: publish, topic: out.late, format: json}
connections:
  - start -> wait -> both.left
  - start -> spread -> both.right
  - both.out -> out
  - both.timeout -> over
  - both.late -> late
policies: {executions: all, commit_interval: 50ms, step_bytes_max: 300, partitions: 2}
"""
JOINS = ("inner", "left", "outer")


@dataclass
class Drawn:
    """Lines of a workflow."""

    choose: random.Random
    nodes: list[str] = field(default_factory=list)
    wires: list[str] = field(default_factory=list)

    def add(self, kind: str, params: str, *feeds: tuple[str, str]) -> str:
        """A node, fed by (port of another, port of this)."""
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(f"{name}: {{{params}}}")
        self.wires += [f"{source} -> {name}{f'.{port}' if port else ''}" for source, port in feeds]
        return name

    def text(self) -> str:
        policies = "policies: {executions: all, commit_interval: 50ms, step_bytes_max: 300, partitions: 2}"
        head = ["workflow: drawn", "nodes:", "  start: {type: event, topic: in, format: json, key: string(k)}"]
        body = [*(f"  {n}" for n in self.nodes), "connections:", *(f"  - {w}" for w in self.wires)]
        return "\n".join([*head, *body, policies])


def draw(seed: int) -> Drawn:
    """Branches, brought together two by two until one is left."""
    drawn = Drawn(random.Random(seed))
    choose = drawn.choose
    source = drawn.add("split", "type: split, field: tags, keep: true", ("start", "")) if seed % 2 else "start"
    branches = [_branch(drawn, source) for _ in range(choose.randint(2, 4))]
    number = 0
    while len(branches) > 1:
        one, other = (branches.pop(choose.randrange(len(branches))) for _ in range(2))
        mode = choose.choice(["combine_by_key, keys: [string(n)]", "combine_by_position", "combine_all", "choose"])
        if mode.startswith("combine_by"):
            mode += f", join: {choose.choice(JOINS)}"
        params = f"type: merge, mode: {mode}, right_suffix: _{number}"
        merged = drawn.add("merge", params, (one, "left"), (other, "right"))
        branches.append(_branch(drawn, merged) if choose.random() < 0.4 else merged)
        number += 1
    (last,) = branches
    if choose.random() < 0.3:
        last = drawn.add("batch", "type: batch", (last, ""))
    drawn.add("sink", "type: publish, topic: out, format: json", (last, ""))
    return drawn


def _branch(drawn: Drawn, source: str) -> str:
    choose = drawn.choose
    for _ in range(choose.randint(0, 3)):
        a, b = choose.randint(2, 4), choose.randint(0, 2)
        kind, params = choose.choice(
            [
                ("set", f"type: set, fields: {{n: long(n) + {b}}}"),
                ("filter", f"type: filter, when: long(n) % {a} != {b}"),
                ("bad", f"type: set, fields: {{got: 100 // (long(n) % {a} - {b})}}, on_error: continue"),
                (
                    "again",
                    f"type: set, fields: {{got: 100 // (long(n) % {a} - {b})}}, on_error: continue, "
                    "retry: {attempts: 2, delay: 2s, mode: park}",
                ),
                ("split", "type: split, field: tags, keep: true, on_error: continue"),
                ("wait", f"type: wait, for: 'long(n) % {a} * 1000'"),
                ("wait", f"type: wait, for: 'long(n) % {a} * 1000'"),
                ("repartition", f"type: repartition, key: string(long(n) % {a}), partition_count: 2"),
                ("repartition", f"type: repartition, key: string(long(n) % {a}), partition_count: 2"),
            ]
        )
        source = drawn.add(kind, params, (source, ""))
    return source


def together(text: str) -> str:
    """The workflow with nothing in it that takes rows of an execution apart."""
    text = re.sub(r"type: wait, for: '[^']*'", "type: no-op", text)
    text = re.sub(r"type: repartition, key: [^{]*?, partition_count: 2", "type: no-op", text)
    return re.sub(r", retry: \{[^}]*\}", "", text)


def drawn_items(choose: random.Random) -> list[dict[str, Any]]:
    return [
        {"n": choose.randint(0, 11), "k": choose.randint(0, 4), "tags": ["a", "b", "c"][: choose.randint(0, 3)], "i": i}
        for i in range(choose.randint(5, 20))
    ]


def expected(text: str, items: list[dict[str, Any]]) -> Counter[str]:
    driver = TopologyDriver(compiled(together(text)), nodes=registry())
    driver.feed("start", items)
    return Counter(json.dumps(item, sort_keys=True) for item in driver.items(sink_of(text)))


def sink_of(text: str) -> str:
    return next(line.split(":")[0].strip() for line in text.splitlines() if "topic: out," in line)


async def run_apart(seed: int, text: str, items: list[dict[str, Any]], folder: Path) -> Counter[str]:
    """What comes out of tasks that work in any order, on a log that fails; the history must be whole."""
    choose, topology = random.Random(seed + 1), compiled(text)
    inner = EmbeddedLog(folder / "log")
    await inner.open()
    try:
        await send(inner, "in", items, partitions=2, batch=4)
        log = FaultyLog(inner, seeded_faults(seed, count=choose.randint(0, 4), nth_max=40))
        with ThreadPoolExecutor(1) as executor:
            bench = Bench(topology, log, executor)
            await _drive(bench, topology, log, choose)
            await bench.close()
        report = await audited(inner, topology)
        assert report.ok, report.text()
        records = await records_of(inner, topology)
        await agree_with_ledger(inner, topology, records)
        assert set(stand(records, topology)["status"]) == {"completed"}
        await _nothing_is_gathered(topology, inner)
        return Counter(json.dumps(item, sort_keys=True) for item in await values(inner, "out"))
    finally:
        await inner.close()


@pytest.mark.parametrize("seed", range(8))
def test_branches_come_together_as_if_they_had_been_in_one_step(seed: int, tmp_path: Path) -> None:
    text, items = draw(seed).text(), drawn_items(random.Random(seed + 2))
    got = asyncio.run(run_apart(seed, text, items, tmp_path))
    assert got == expected(text, items), text


@pytest.mark.parametrize("seed", range(36, 46))
def test_how_a_stream_is_cut_shows_nowhere(seed: int) -> None:
    text, items = draw(seed).text(), drawn_items(random.Random(seed + 2))
    topology, wanted = compiled(text), expected(text, items)
    for rows in (1, 3, 1 << 20):
        driver = TopologyDriver(topology, nodes=registry(), step_rows=rows)
        driver.feed("start", items)
        driver.pass_time()
        assert Counter(json.dumps(item, sort_keys=True) for item in driver.items(sink_of(text))) == wanted, (rows, text)
        kept = [entry for (_, name), store in driver.stores.items() if name == STORE for entry in store.scan()]
        assert all(key == b"c" and not any(value) for key, value in kept)


def test_a_replay_gives_the_same_records(tmp_path: Path) -> None:
    """Behind a wait and a repartition, with a time-out: also what the clock did is done again."""

    async def once() -> None:
        inner = EmbeddedLog(tmp_path / "log")
        await inner.open()
        topology = compiled(TIMED)
        await send(inner, "in", drawn_items(random.Random(5)), partitions=2, batch=4)
        log = FaultyLog(inner, seeded_faults(5, count=2, nth_max=40))
        with ThreadPoolExecutor(1) as executor:
            bench = Bench(topology, log, executor)
            await _drive(bench, topology, log, random.Random(6))
            await bench.close()
        again = EmbeddedLog(tmp_path / "again")
        await again.open()
        await follow(topology, inner, again, nodes=registry())
        for topic in ("out", "out.over", "out.late"):
            made, wanted = await contents(again, topic), await contents(inner, topic)
            for p in wanted:  # two tasks write to each partition, and their turns are not told
                assert sorted(made[p]) == sorted(wanted[p]), topic
        assert sum(map(len, (await contents(inner, "out.over")).values()))
        await again.close()
        await inner.close()

    asyncio.run(once())


REDRIVEN = """\
workflow: again
nodes:
  start: {type: event, topic: in, format: json, key: string(k)}
  spread: {type: repartition, key: string(n), partition_count: 2}
  bad: {type: set, fields: {got: 100 // (long(n) - 3)}}
  both: {type: merge, mode: combine_by_position, join: outer}
  out: {type: publish, topic: out, format: json}
connections:
  - start -> spread -> bad -> both.left
  - start -> both.right
  - both -> out
policies: {partitions: 2}
"""


def test_items_that_are_sent_again_leave_nothing_behind(tmp_path: Path) -> None:
    """An item fails on its way, its execution goes on without it; sent again it is counted, and fails again."""

    async def once() -> None:
        log = EmbeddedLog(tmp_path / "log")
        await log.open()
        topology = compiled(REDRIVEN)
        await send(log, "in", [{"n": n, "k": n} for n in range(6)], partitions=2)
        await run(topology, log)
        before = await values(log, "out")
        assert sorted(item.get("n_right", item["n"]) for item in before) == [0, 1, 2, 3, 4, 5]
        redrive = Redrive(log, topology, None)
        await redrive.run(dry_run=False)
        assert redrive.sent == 1
        await run(topology, log)
        await _nothing_is_gathered(topology, log)
        assert await values(log, "out") == before
        assert (await log.offsets(TopicPartition("again.dead-letter", 0)))[1] == 2
        await log.close()

    asyncio.run(once())
