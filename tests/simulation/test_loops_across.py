"""Loops across topics: bodies that wait, and bodies that take rows by key, whatever restarts, kills and faults between.

Method: tasks driven by hand on a clock that the test sets, and replayed from their journals; the same on a log that
fails at seeded calls; and a process that is killed at each named step of a commit. What comes out is compared with
what the loops do, item by item.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.runtime.topics import ensure_topics, stage_width
from streamflow.sdk.log import Log, TopicSpec
from streamflow.state.memory import MemoryStore
from streamflow.state.restore import restore
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from streamflow.topology.plan import Topology
from tests.simulation.auditing import audited
from tests.simulation.histories import agree_with_ledger, records_of, stand
from tests.simulation.killing import NUMBER, Ground
from tests.simulation.running import compiled, contents, run, send, values, with_log
from tests.simulation.test_faults import persist
from tests.simulation.test_watermarks import NODES, SCHEMA, Bench, benched, replays, send_at

POLL = """
workflow: poll
nodes:
  jobs: {type: event, topic: in, format: json, schema: n.avsc, key: string(n)}
  poll: {type: loop, mode: do-while, when: status != "done", limit: 5, collect: status}
  ask: {type: set, fields: {status: "'done' if loop.index + 1 >= n else 'busy'"}}
  pause: {type: wait, for: 10s}
  asked: {type: set, fields: {tries: loop.index + 1}}
  ready: {type: publish, topic: ready, format: json, headers: {execution: meta.execution}}
  hopeless: {type: publish, topic: hopeless, format: json}
connections:
  - jobs -> poll
  - poll.body -> ask -> pause -> asked -> poll.back
  - poll.done -> ready
  - poll.error -> hopeless
policies: {commit_interval: 1ms, step_bytes_max: 300, partitions: 2, executions: all}
"""


async def turn(bench: Bench, *, restart: bool) -> None:
    """All tasks work until none has anything to do."""
    topics = await ensure_topics(bench.topology, bench.log)
    widths = {name: info.partitions for name, info in topics.items()}
    tasks = [(s.id, p) for s in bench.topology.stages for p in range(stage_width(s, widths))]
    for at in tasks:
        if restart or at not in bench.tasks:
            await bench.start(*at)
    lag = -1
    while lag != 0:
        for at in tasks:
            await bench.work(*at)
        lag = sum([await bench.tasks[at].lag() for at in tasks])


@pytest.mark.parametrize("restart", [False, True])
def test_polls_until_it_is_done(restart: bool, tmp_path: Path) -> None:
    """Each item asks, waits 10 s by the clock, and asks again, five times at most; restarts change nothing."""
    (tmp_path / "n.avsc").write_text(SCHEMA)
    topology = compiled(POLL, tmp_path, nodes=NODES)

    async def work(bench: Bench) -> None:
        log = bench.log
        await log.create_topic(TopicSpec(name="in", partitions=2))

        async def at(now_ms: int) -> tuple[list[int], list[int]]:
            bench.now_ms = now_ms
            await turn(bench, restart=restart)
            ready, hopeless = await values(log, "ready"), await values(log, "hopeless")
            return sorted(row["n"] for row in ready), sorted(row["n"] for row in hopeless)

        await send_at(log, "in", 0, [(n, 7) for n in (1, 3, 5, 7)])
        await send_at(log, "in", 1, [(n, 7) for n in (0, 2, 4, 6)])
        assert await at(1_000) == ([], [])
        assert await at(10_999) == ([], [])
        assert await at(11_000) == ([0, 1], [])
        records = await records_of(log, topology)
        assert Counter(stand(records, topology)["status"]) == {"completed": 2, "waiting": 6}
        assert await at(20_999) == ([0, 1], [])
        assert await at(21_000) == ([0, 1, 2], [])
        await send_at(log, "in", 0, [(9, 8)])
        assert await at(31_000) == ([0, 1, 2, 3], [])
        assert await at(41_000) == ([0, 1, 2, 3, 4], [])
        assert await at(51_000) == ([0, 1, 2, 3, 4, 5], [6, 7])
        assert await at(200_000) == ([0, 1, 2, 3, 4, 5], [6, 7])
        for _ in range(5):
            bench.now_ms += 10_000
            await turn(bench, restart=restart)
        assert await at(bench.now_ms) == ([0, 1, 2, 3, 4, 5], [6, 7, 9])
        for rows in (await contents(log, "ready")).values():
            for ms, key, value, _ in rows:
                item = json.loads(value)
                n = item["n"]
                assert (ms, key) == (7, str(n).encode()), "event time and key are those of the item"
                rounds = max(n, 1)
                assert item["tries"] == rounds
                assert item["results"] == ["busy"] * (rounds - 1) + ["done"]
        records = await records_of(log, topology)
        await agree_with_ledger(log, topology, records)
        assert Counter(stand(records, topology)["status"]) == {"completed": 9}
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


ACROSS = """\
workflow: numbers
nodes:
  numbers: {type: event, topic: in.numbers, format: json, schema: number.avsc}
  rounds: {type: loop, mode: for, times: n % 4, collect: loop.index}
  moment: {type: wait, for: n % 2}
  pairs: {type: loop, mode: for-each, each: "[n, n + 1]"}
  spread: {type: repartition, key: string(n % 5)}
  once: {type: dedupe, key: "string(n * 100 + loop.outer.index * 10 + loop.index)", within: 1000h}
  sums: {type: set, fields: {sum: "coalesce(sum, 0) + loop.item + loop.outer.index"}}
  out: {type: publish, topic: out, format: json}
connections:
  - numbers -> rounds
  - rounds.body -> moment -> pairs
  - pairs.body -> spread -> once -> sums -> pairs.back
  - pairs.done -> rounds.back
  - rounds.done -> out
policies: {commit_interval: 1ms, step_bytes_max: STEP, partitions: 2, executions: EXECUTIONS}
"""
ITEM = """{"type": "record", "name": "Number", "fields": [
  {"name": "n", "type": "long"}, {"name": "sum", "type": ["null", "long"], "default": null}]}"""


def result(n: int) -> dict[str, object]:
    """What the loops make of an item."""
    total = None
    for outer in range(n % 4):
        for item in (n, n + 1):
            total = (total or 0) + item + outer
    return {"n": n, "sum": total, "results": list(range(n % 4))}


def across(folder: Path, *, step: int = 8192, executions: str = "none") -> Topology:
    folder.mkdir(exist_ok=True)
    text = ACROSS.replace("STEP", str(step)).replace("EXECUTIONS", executions)
    (folder / "workflow.yaml").write_text(text)
    (folder / "number.avsc").write_text(ITEM)
    return compiled(text, folder)


async def check(log: Log, topology: Topology, count: int) -> None:
    """Each item came out once, as the loops make it, with its key and in its partition; nothing goes round any more."""
    found = {
        p: [(key, json.loads(value)) for _, key, value, _ in rows] for p, rows in (await contents(log, "out")).items()
    }
    doubled = [n for n, times in Counter(item["n"] for rows in found.values() for _, item in rows).items() if times > 1]
    assert not doubled, doubled[:5]
    items = sorted((item for rows in found.values() for _, item in rows), key=lambda item: int(item["n"]))
    assert items == [result(n) for n in range(count)]
    assert all(key == str(item["n"] % 7).encode() for rows in found.values() for key, item in rows)
    assert all(item["n"] % 2 == p for p, rows in found.items() for _, item in rows)
    report = await audited(log, topology)
    assert report.ok, report.text()
    for p in range(2):
        store = MemoryStore()
        await restore(store, log, TopicPartition("numbers.moment.waiting.changelog", p))
        assert [key for key, _ in store.scan() if key != b"#"] == []


def test_an_execution_runs_while_rows_of_it_are_on_their_way(tmp_path: Path) -> None:
    """Sums per topic tell, whichever stage has worked how often."""
    topology = across(tmp_path, executions="all")

    async def work(bench: Bench) -> None:
        log = bench.log
        await send(log, "in.numbers", [{"n": n} for n in range(8)], partitions=2)
        bench.now_ms, seen = 1_000, []
        await turn_of(bench, "numbers")
        for stage in ("spread", "once.in", "numbers") * 6:
            seen.append(dict(Counter(stand(await records_of(log, topology), topology)["status"])))
            await turn_of(bench, stage)
            bench.now_ms += 1
        # 0 and 4 make no round; 2 and 6 are on their way between stages; the odd ones wait within their first round.
        assert seen[0] == {"completed": 2, "running": 2, "waiting": 4}
        assert {"completed", "running", "waiting"} >= set().union(*seen)
        await turn(bench, restart=True)
        for _ in range(3):
            bench.now_ms += 10
            await turn(bench, restart=True)
        records = await records_of(log, topology)
        await agree_with_ledger(log, topology, records)
        assert Counter(stand(records, topology)["status"]) == {"completed": 8}
        await check(log, topology, 8)

    benched(tmp_path, topology, work)


async def turn_of(bench: Bench, stage: str) -> None:
    """Both tasks of a stage do what there is to do."""
    for p in range(2):
        if (stage, p) not in bench.tasks:
            await bench.start(stage, p)
        await bench.work(stage, p)


@pytest.mark.parametrize("seed", range(4))
def test_any_fault_loses_and_doubles_nothing(seed: int, tmp_path: Path) -> None:
    async def work(log: EmbeddedLog) -> None:
        topology = across(tmp_path, step=300, executions="all")
        await send(log, "in.numbers", [{"n": n} for n in range(30)], partitions=2, batch=5)
        faulty = FaultyLog(log, seeded_faults(seed, count=2 + seed, nth_max=80))
        await persist(topology, faulty, may_stop=True)
        for _ in range(4):
            await persist(topology, faulty, may_stop=True)
        await check(log, topology, 30)
        records = await records_of(log, topology)
        await agree_with_ledger(log, topology, records)
        assert Counter(stand(records, topology)["status"]) == {"completed": 30}

    asyncio.run(with_log(tmp_path / "log", work))


COUNT = 150


@pytest.mark.parametrize(
    "point", ["before-begin", "after-outputs", "after-offsets", "torn-frame", "after-frame", "before-store"]
)
def test_kills_while_items_go_round(point: str, tmp_path: Path) -> None:
    """A crash repeats the round under way at most, and nothing of it shows."""
    topology = across(tmp_path)
    ground = Ground(tmp_path, COUNT)
    items = [{"n": n} for n in range(COUNT)]
    ground.on_log(lambda log: send(log, "in.numbers", items, partitions=2))
    for nth in (4, 9):
        assert ground.crash(f"{point}:{nth}"), f"{point} was not passed so often"
    for _ in range(4):  # what waits when a run ends goes on in the next one
        ground.finish()
    ground.on_log(lambda log: check(log, topology, COUNT))


WINDOW = """
workflow: windows
nodes:
  start: {type: event, topic: in, format: json, schema: number.avsc}
  rounds: {type: loop, mode: for, times: n % 3}
  spread: {type: repartition, key: string(n)}
  same: {type: no-op}
  tens: {type: window, key: string(n % 2), size: 10ms, grace: GRACE, fields: {items: {function: count}}}
  out: {type: publish, topic: out, format: json}
  late: {type: publish, topic: late, format: json}
connections:
  - start -> rounds
  - rounds.body -> spread -> same -> rounds.back
  - rounds.done -> tens -> out
  - tens.late -> late
policies: {commit_interval: 1ms, step_bytes_max: 300, partitions: 2}
"""


@pytest.mark.parametrize("grace", ["0ms", "80ms"])
def test_windows_behind_go_by_the_time_of_what_enters_the_loop(grace: str, tmp_path: Path) -> None:
    """Rows that go round hold no time back, and nobody waits for them: an item may be late when it comes out."""
    (tmp_path / "number.avsc").write_text(NUMBER)
    topology = compiled(WINDOW.replace("GRACE", grace), tmp_path)
    assert all(stage.timed for stage in topology.stages if stage.id != "spread")

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": n} for n in range(80)], partitions=2, batch=10)
        await run(topology, log)
        windows, late = await values(log, "out"), await values(log, "late")
        assert sum(row["items"] for row in windows) + len(late) <= 80
        if grace == "80ms":
            assert not late
        else:
            assert windows
        report = await audited(log, topology)
        assert report.ok, report.text()

    asyncio.run(with_log(tmp_path / "log", work))
