"""Event time across stages (DESIGN 12, point 3): `@wm` of a row follows from what is on the log, not from batches,
commits, faults or restarts; and what waits for time is held back by the slowest task that is live, by no other.

Method: a node writes each row's event time and watermark into its item. What they must be is computed row by row from
the topics themselves.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from streamflow.codecs.markers import MARKER_HEADER
from streamflow.codecs.recordbatch import from_records
from streamflow.codecs.records import Record
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import Committed, TopicPartition
from streamflow.replay.follow import follow, journal
from streamflow.runtime.event_time import END_OF_TIME, IDLE, NO_WATERMARK
from streamflow.runtime.program import TaskProgram
from streamflow.runtime.task import Task
from streamflow.runtime.topics import ensure_topics, stage_width
from streamflow.sdk.errors import Fenced, LogFull, StateError
from streamflow.sdk.log import Log, TopicSpec
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from streamflow.topology.plan import Topology
from streamflow.workers.embedded import EmbeddedWorker
from tests.simulation import odd_nodes
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, run, values, with_log

NODES = odd_nodes.registry()
SCHEMA = '{"type": "record", "name": "N", "fields": [{"name": "n", "type": "long"}]}'
RUNS_MAX = 12

WORKFLOW = """\
workflow: timed
nodes:
  rows: {type: event, topic: in, format: json, schema: n.avsc, disorder_ms: 20}
  first: {type: tell-time}
  told: {type: publish, topic: out.first, format: json}
  keyed: {type: repartition, key: string(n % 7), partition_count: 3}
  second: {type: tell-time}
  later: {type: publish, topic: out.second, format: json}
connections:
  - rows -> first -> told
  - rows -> keyed -> second -> later
policies: {commit_interval: 1ms, step_bytes_max: 300}
"""
MIDDLE = "timed.keyed.repartition"


def timed(folder: Path, text: str = WORKFLOW) -> Topology:
    (folder / "n.avsc").write_text(SCHEMA)
    return compiled(text, folder, nodes=NODES)


async def send_at(log: Log, topic: str, partition: int, rows: Sequence[tuple[int, int]], *, batch: int = 100) -> None:
    """Items {n} at their times, as (n, time), on a topic that exists."""
    producer = await log.producer(f"send.{topic}.{partition}")
    await producer.begin()
    for at in range(0, len(rows), batch):
        found = [Record(0, ms, None, json.dumps({"n": n}).encode(), []) for n, ms in rows[at : at + batch]]
        await producer.append(TopicPartition(topic, partition), [from_records(found)])
    await producer.commit()
    await producer.close()


def markers_and_rows(records: Sequence[tuple[Any, ...]]) -> list[tuple[int, int] | None]:
    """A partition of an internal topic in order: (task, watermark) for what tells time, None for a row."""
    found: list[tuple[int, int] | None] = []
    for _, _, value, headers in records:
        if headers == ((MARKER_HEADER, b"watermark"),):
            told = json.loads(value)
            found.append((told["task"], told["watermark_ms"]))
        elif not headers:
            found.append(None)
    return found


def watermarks_by_markers(records: Sequence[tuple[Any, ...]], tasks: int) -> list[int]:
    """The definition: at each row the least of what each upstream task said before it, never back."""
    said, highest, found = dict.fromkeys(range(tasks), NO_WATERMARK), NO_WATERMARK, []
    for entry in markers_and_rows(records):
        if entry is None:
            found.append(highest)
        else:
            said[entry[0]] = entry[1]
            least = min(said.values())
            highest = max(highest, least if least < IDLE else NO_WATERMARK)
    return found


def watermarks_by_rows(times: Sequence[int], disorder_ms: int) -> list[int]:
    found, highest = [], NO_WATERMARK
    for ms in times:
        highest = max(highest, ms - disorder_ms)
        found.append(highest)
    return found


async def wm_of(log: Log, topic: str) -> dict[int, int]:
    """Watermark by `n`; each item is there once."""
    items = await values(log, topic)
    found = {item["n"]: item["wm"] for item in items}
    assert len(found) == len(items)
    return found


async def persist(topology: Topology, log: FaultyLog) -> None:
    """Run until a run comes to its end; each fault that stops a run is a restart of all tasks."""
    for _ in range(RUNS_MAX):
        try:
            await EmbeddedWorker(topology, log, nodes=NODES, until_end=True, threads=2).run()
        except (Fenced, LogFull):
            continue
        return
    raise AssertionError(f"no end after {RUNS_MAX} runs")


@pytest.mark.parametrize("seed", range(40))
def test_watermarks_follow_from_the_log_whatever_batches_faults_and_restarts(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    step_bytes = choose.choice([1, 300, 3_000])
    topology = timed(tmp_path, WORKFLOW.replace("step_bytes_max: 300", f"step_bytes_max: {step_bytes}"))
    # Each partition within its disorder: nothing is ever late.
    rows = {p: [(2 * i + p, 1_000 + 10 * i - choose.randint(0, 20)) for i in range(60)] for p in range(2)}

    async def once(inner: EmbeddedLog) -> None:
        await inner.create_topic(TopicSpec(name="in", partitions=2))
        log = FaultyLog(inner, seeded_faults(seed, count=choose.randint(0, 4), nth_max=30))
        cut = {p: choose.randint(0, 60) for p in range(2)}
        for begin, end in ((dict.fromkeys(range(2), 0), cut), (cut, dict.fromkeys(range(2), 60))):
            for p in range(2):
                await send_at(inner, "in", p, rows[p][begin[p] : end[p]], batch=choose.choice([1, 7, 100]))
            await persist(topology, log)
        first = await wm_of(inner, "out.first")
        for p in range(2):
            expected = watermarks_by_rows([ms for _, ms in rows[p]], 20)
            assert [first[n] for n, _ in rows[p]] == expected, "by the rows of a source"
        second, middle = await contents(inner, "out.second"), await contents(inner, MIDDLE)
        for p in range(3):
            found = [json.loads(value) for _, _, value, _ in second[p]]
            assert [item["wm"] for item in found] == watermarks_by_markers(middle[p], tasks=2), "by markers"
            assert all(item["ts"] >= item["wm"] for item in found), "a row became late on its way"
            told = [entry for entry in markers_and_rows(middle[p]) if entry is not None]
            for task in range(2):
                said = [ms for whose, ms in told if whose == task]
                assert said == sorted(set(said)), "something was told that was no news"
                assert said[-1] == watermarks_by_rows([ms for _, ms in rows[task]], 20)[-1]
        report = await audited(inner, topology)
        assert report.ok, report.text()

    asyncio.run(with_log(tmp_path / "log", once))


def test_workflows_without_event_time_pay_nothing(tmp_path: Path) -> None:
    """No marker, and nothing beside the offsets. Only what leads to a reader of the watermark is told."""
    one_sided = timed(tmp_path, WORKFLOW.replace("second: {type: tell-time}", "second: {type: no-op}"))
    assert [sink.watermarks for stage in one_sided.stages for sink in stage.sinks] == [False] * 3
    told = [sink.topic for stage in timed(tmp_path).stages for sink in stage.sinks if sink.watermarks]
    assert told == [MIDDLE]
    topology = timed(tmp_path, WORKFLOW.replace("tell-time", "no-op"))
    assert not any(stage.timed for stage in topology.stages)

    async def once(log: EmbeddedLog) -> None:
        await log.create_topic(TopicSpec(name="in", partitions=2))
        await send_at(log, "in", 0, [(n, n) for n in range(30)])
        await run(topology, log, nodes=NODES)
        assert all(not headers for rows in (await contents(log, MIDDLE)).values() for _, _, _, headers in rows)
        groups = await log.groups()
        assert all(c.metadata == "" for stage in topology.stages for c in groups[stage.group("timed")].values())

    asyncio.run(with_log(tmp_path / "log", once))


class Bench:
    """Tasks of a topology, each driven by hand, on one clock that a test sets."""

    def __init__(self, topology: Topology, log: Log, executor: ThreadPoolExecutor) -> None:
        self.topology, self.log, self.executor, self.now_ms = topology, log, executor, 1_000
        self.tasks: dict[tuple[str, int], Task] = {}

    async def start(self, stage_id: str, partition: int) -> None:
        """A new task, which takes over from the one before."""
        topics = await ensure_topics(self.topology, self.log)
        stage = self.topology.stage(stage_id)
        width = stage_width(stage, {name: info.partitions for name, info in topics.items()})
        program = TaskProgram(self.topology, stage, partition=partition, tasks=width, topics=topics, nodes=NODES)
        clocks: Any = {"clock_ms": lambda: self.now_ms, "clock_s": lambda: self.now_ms / 1000}
        task = Task(self.topology, program, self.log, self.executor, **clocks)
        await task.start()
        self.tasks[stage_id, partition] = task

    async def work(self, stage_id: str, partition: int) -> None:
        """All that is there, and commit."""
        task = self.tasks[stage_id, partition]
        while await task.advance():
            pass
        await task.settle()

    async def close(self) -> None:
        for task in self.tasks.values():
            await task.close()


ONE_BEHIND = WORKFLOW.replace("partition_count: 3", "partition_count: 1").replace(
    "disorder_ms: 20", "idle_after_ms: 500"
)


def benched(folder: Path, topology: Topology, work: Callable[[Bench], Any]) -> None:
    async def once(log: EmbeddedLog) -> None:
        with ThreadPoolExecutor(1) as executor:
            bench = Bench(topology, log, executor)
            await work(bench)
            await bench.close()

    asyncio.run(with_log(folder / "log", once))


def test_a_slow_an_idle_and_a_restarted_task(tmp_path: Path) -> None:
    """Method: three upstream tasks, one after the other in an order that the test chooses."""
    topology = timed(tmp_path, ONE_BEHIND)

    async def work(bench: Bench) -> None:
        log = bench.log
        await log.create_topic(TopicSpec(name="in", partitions=3))
        for p in range(3):
            await bench.start("rows", p)
        await bench.start("keyed", 0)
        fast, slow, quiet = 0, 1, 2

        async def arrives() -> dict[int, int]:
            await bench.work("keyed", 0)
            return await wm_of(log, "out.second")

        await send_at(log, "in", fast, [(0, 100), (1, 200)])
        await bench.work("rows", fast)
        assert await arrives() == {0: NO_WATERMARK, 1: NO_WATERMARK}
        # The others have said nothing yet: they hold time back.
        await send_at(log, "in", fast, [(2, 300)])
        await bench.work("rows", fast)
        assert (await arrives())[2] == NO_WATERMARK
        await send_at(log, "in", slow, [(3, 50)])
        await bench.work("rows", slow)
        await bench.work("rows", quiet)
        assert (await arrives())[3] == NO_WATERMARK
        # The third has no rows at all. Half a second later nobody waits for it: it commits that without any row.
        bench.now_ms += 500
        await bench.work("rows", quiet)
        told = markers_and_rows((await contents(log, MIDDLE))[0])
        assert told[-1] == (quiet, IDLE)
        await send_at(log, "in", fast, [(4, 400)])
        await bench.work("rows", fast)
        assert (await arrives())[4] == 50, "the slow task counts"
        # The slow one fails, and another takes over: what it sends then is not late, for the others never passed it.
        await bench.start("rows", slow)
        await bench.start("keyed", 0)
        await send_at(log, "in", slow, [(5, 60), (6, 350)])
        await bench.work("rows", slow)
        found = await arrives()
        assert (found[5], found[6]) == (50, 50)
        await send_at(log, "in", fast, [(7, 401)])
        await bench.work("rows", fast)
        assert (await arrives())[7] == 350
        # The third wakes up: from its first row on it counts again, and time does not go back.
        await send_at(log, "in", quiet, [(8, 10)])
        await bench.work("rows", quiet)
        await send_at(log, "in", slow, [(9, 900)])
        await bench.work("rows", slow)
        found = await arrives()
        assert (found[8], found[9]) == (350, 350)
        items = {item["n"]: item["ts"] for item in await values(log, "out.second")}
        assert [n for n, ms in items.items() if ms < found[n]] == [8], "only the row that was late to begin with"
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


async def replays(topology: Topology, log: Log, folder: Path) -> None:
    """Outputs, internal topics and their markers included, come out again of the journal alone."""
    again = EmbeddedLog(folder / "replayed")
    await again.open()
    await follow(topology, log, again, nodes=NODES)
    for topic in [t.name for t in topology.topics if t.kind in ("sink", "repartition")]:
        # How the records of several tasks interleave on a partition is the log's affair.
        expected, got = [
            {p: sorted(rows, key=repr) for p, rows in (await contents(one, topic)).items()} for one in (log, again)
        ]
        assert got == expected, topic
    await again.close()


def test_idle_decisions_are_in_the_journal_and_a_replay_takes_them_from_there(tmp_path: Path) -> None:
    """Method: a merge of two topics in one task; one falls silent while the other goes on, then all is replayed."""
    text = """\
workflow: timed
nodes:
  left: {type: event, topic: in.left, format: json, schema: n.avsc}
  right: {type: event, topic: in.right, format: json, schema: n.avsc, idle_after_ms: 500}
  both: {type: merge, mode: append}
  first: {type: tell-time}
  told: {type: publish, topic: out.first, format: json}
  keyed: {type: repartition, key: string(n % 7), partition_count: 2}
  second: {type: tell-time}
  later: {type: publish, topic: out.second, format: json}
connections:
  - left -> both
  - right -> both
  - both -> first -> told
  - both -> keyed -> second -> later
policies: {commit_interval: 1h}
"""
    topology = timed(tmp_path, text)
    (stage,) = (s for s in topology.stages if any(i.topic == "in.left" for i in s.inputs))

    async def work(bench: Bench) -> None:
        log = bench.log
        for topic in ("in.left", "in.right"):
            await log.create_topic(TopicSpec(name=topic, partitions=1))
        await bench.start(stage.id, 0)
        await send_at(log, "in.left", 0, [(0, 100)])
        await send_at(log, "in.right", 0, [(1, 30)])
        await bench.work(stage.id, 0)
        await send_at(log, "in.left", 0, [(2, 200)])
        await bench.work(stage.id, 0)
        assert (await wm_of(log, "out.first"))[2] == 30
        bench.now_ms += 700
        await send_at(log, "in.left", 0, [(3, 300)])
        await bench.work(stage.id, 0)
        assert (await wm_of(log, "out.first"))[3] == 300, "decided in a step of the other input"
        await bench.start(stage.id, 0)
        await send_at(log, "in.left", 0, [(4, 400)])
        await bench.work(stage.id, 0)
        assert (await wm_of(log, "out.first"))[4] == 400, "a restart remembers it"
        await send_at(log, "in.right", 0, [(5, 350)])
        await bench.work(stage.id, 0)
        bench.now_ms += 600
        await bench.work(stage.id, 0)  # the same in a step of its own, without any record
        decided = [at for entry in [e async for e in journal(log, stage, 0)] for s in entry.steps for at in s.idle]
        assert decided == [TopicPartition("in.right", 0)] * 2
        for p in range(2):
            await bench.start("keyed", p)
            await bench.work("keyed", p)
        report = await audited(log, topology)
        assert report.ok, report.text()
        await replays(topology, log, tmp_path)

    benched(tmp_path, topology, work)


def test_what_a_commit_keeps_does_not_grow_beyond_what_brokers_take(tmp_path: Path) -> None:
    """Method: 64 upstream tasks, and hundreds of executions whose end half of them announced; restart and go on."""
    tasks, quick = 64, "policies: {commit_interval: 1h}\n"
    topology = timed(tmp_path, ONE_BEHIND[: ONE_BEHIND.index("policies")] + quick)

    async def work(bench: Bench) -> None:
        log = bench.log
        await log.create_topic(TopicSpec(name="in", partitions=tasks))
        await ensure_topics(topology, log)
        at = TopicPartition(MIDDLE, 0)
        producer = await log.producer("upstream")
        await producer.begin()
        for task in range(tasks):
            await producer.append(at, [marker("watermark", {"task": task, "watermark_ms": 2**40 + task})])
        for execution in range(300):
            for task in range(0, tasks, 2):
                told = {"execution": f"in#incarnation/0:{execution}", "task": task, "of": tasks}
                await producer.append(at, [marker("end", told)])
        await producer.commit()
        await bench.start("keyed", 0)
        await bench.work("keyed", 0)
        committed = (await log.committed("timed.keyed", [at]))[at]
        assert len(committed.metadata) < 20
        await bench.start("keyed", 0)
        program = bench.tasks["keyed", 0]._program
        assert len(program.seeders[at].state.ends) == 300
        assert program.time is not None
        assert program.time.time.watermark_ms == 2**40
        await producer.begin()
        told = {"execution": "in#incarnation/0:7", "of": tasks}
        await producer.append(at, [marker("end", {**told, "task": task}) for task in range(1, tasks, 2)])
        await producer.append(at, [marker("watermark", {"task": 0, "watermark_ms": 2**41})])
        await producer.commit()
        await producer.close()
        await bench.work("keyed", 0)
        assert len(program.seeders[at].state.ends) == 299
        assert program.time.time.watermark_ms == 2**40 + 1

    benched(tmp_path, topology, work)


def marker(kind: str, told: dict[str, Any]) -> Any:
    return from_records([Record(0, 0, None, json.dumps(told).encode(), [(MARKER_HEADER, kind.encode())])])


def test_positions_without_their_journal_are_refused_and_reset_ones_begin_anew(tmp_path: Path) -> None:
    topology = timed(tmp_path)

    async def work(bench: Bench) -> None:
        log = bench.log
        await log.create_topic(TopicSpec(name="in", partitions=1))
        at = TopicPartition("in", 0)
        await send_at(log, "in", 0, [(0, 1_000), (1, 5)])
        await bench.start("rows", 0)
        await bench.work("rows", 0)
        known = (await log.committed("timed.rows", [at]))[at]
        for metadata, wrong in ((str(int(known.metadata) + 1), "stands at commit"), ("{}", "not from this program")):
            await log.set_offsets("timed.rows", {at: Committed(2, metadata)})
            with pytest.raises(StateError, match=wrong) as error:
                await bench.start("rows", 0)
            assert "reset" in error.value.mend
        await log.set_offsets("timed.rows", {at: Committed(0, "")})
        await bench.start("rows", 0)
        await bench.work("rows", 0)
        assert [item["wm"] for item in await values(log, "out.first")] == [980, 980] * 2

    benched(tmp_path, topology, work)


def test_a_users_record_that_looks_like_a_marker_is_a_record(tmp_path: Path) -> None:
    topology = timed(tmp_path)

    async def once(log: EmbeddedLog) -> None:
        await log.create_topic(TopicSpec(name="in", partitions=1))
        producer = await log.producer("user")
        await producer.begin()
        for n, kind in enumerate(["watermark", "begin", "end"]):
            headers = [(MARKER_HEADER, kind.encode())]
            lone = from_records([Record(0, n, None, json.dumps({"n": n}).encode(), headers)])
            await producer.append(TopicPartition("in", 0), [lone])
        await producer.commit()
        await producer.close()
        await run(topology, log, nodes=NODES)
        for topic in ("out.first", "out.second"):
            assert sorted(item["n"] for item in await values(log, topic)) == [0, 1, 2]
        report = await audited(log, topology)
        assert report.ok, report.text()

    asyncio.run(with_log(tmp_path / "log", once))


FILES = """\
workflow: timed
nodes:
  rows: {type: file, path: "in/*.jsonl", schema: n.avsc, time: n}
  first: {type: tell-time}
  told: {type: publish, topic: out.first, format: json}
  keyed: {type: repartition, key: string(n % 7), partition_count: 2}
  second: {type: tell-time}
  later: {type: publish, topic: out.second, format: json}
connections:
  - rows -> first -> told
  - rows -> keyed -> second -> later
policies: {commit_interval: 1ms}
"""


def test_the_end_of_files_is_the_end_of_time_until_there_are_more(tmp_path: Path) -> None:
    topology = timed(tmp_path, FILES)
    (tmp_path / "in").mkdir()

    def write(name: str, numbers: Sequence[int]) -> None:
        (tmp_path / "in" / name).write_text("".join(json.dumps({"n": n}) + "\n" for n in numbers))

    async def once(log: EmbeddedLog) -> None:
        write("a.jsonl", [10, 30, 20])
        await run(topology, log, nodes=NODES)
        assert await wm_of(log, "out.first") == {10: 10, 30: 30, 20: 30}
        middle = await contents(log, MIDDLE)
        assert all(markers_and_rows(middle[p])[-1] == (0, END_OF_TIME) for p in range(2))
        await run(topology, log, nodes=NODES)
        assert await contents(log, MIDDLE) == middle, "the end is told once"
        write("b.jsonl", [5, 7])
        await run(topology, log, nodes=NODES)
        found = await wm_of(log, "out.first")
        assert (found[5], found[7]) == (5, 7)
        middle = await contents(log, MIDDLE)
        assert all(markers_and_rows(middle[p])[-1] == (0, END_OF_TIME) for p in range(2))
        report = await audited(log, topology)
        assert report.ok, report.text()

    asyncio.run(with_log(tmp_path / "log", once))
