"""State and abort (DESIGN 12, point 8): whatever a log answers, outputs are there exactly once and stores are what
their changelogs say.

Method: seeded faults at the calls of a log (`testing.faulty_log`) while a workflow with state runs. A commit with an
unknown outcome must not stop the run; a fenced producer and a full log must, with an error that says so; the next run
goes on. Afterwards everything is counted.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import Committed, TopicPartition
from streamflow.nodes import registry
from streamflow.runtime import source_task
from streamflow.runtime.deadletter import decode_dead_letters
from streamflow.runtime.source_task import SourceTask
from streamflow.runtime.task import Task
from streamflow.sdk.errors import CommitUnknown, Fenced, LogFull
from streamflow.sdk.log import Log
from streamflow.state.memory import MemoryStore
from streamflow.state.restore import restore
from streamflow.testing.faulty_log import Fault, FaultyLog, seeded_faults
from streamflow.topology.plan import Topology
from streamflow.workers.embedded import EmbeddedWorker
from tests.simulation.auditing import audited
from tests.simulation.running import compiled, contents, send, values, with_log

# Two stages with state, rows that fail, files. Every seventh number has no share and is dead-lettered.
WORKFLOW = """\
workflow: faulty
nodes:
  numbers: {type: event, topic: in, format: json}
  shared: {type: set, fields: {share: 100 // (long(n) % 7)}}
  fives: {type: batch, size: 5, scope: stream}
  apart: {type: split, field: items}
  direct: {type: publish, topic: out.direct, format: json}
  keyed: {type: repartition, key: string(long(n) % 5), partition_count: 2}
  threes: {type: batch, size: 3, scope: stream}
  again: {type: split, field: items}
  later: {type: publish, topic: out.later, key: string(long(items.n) % 5), format: json}
  archive: {type: write-file, path: archive.jsonl, rows_max: 16}
connections:
  - numbers -> shared -> fives -> apart -> direct
  - shared -> keyed -> threes -> again -> later
  - shared -> archive
policies: {commit_interval: 1ms, step_bytes_max: 300}
"""
# Files are one process's own: a worker that was taken over from would write into its successor's.
WITHOUT_FILES = "".join(line for line in WORKFLOW.splitlines(keepends=True) if "archive" not in line)
COUNT = 140
GOOD = [n for n in range(COUNT) if n % 7]
RUNS_MAX = 12
SEEDS = range(60)


async def one_run(topology: Topology, log: Log) -> tuple[EmbeddedWorker, Exception | None]:
    """Run to the end or to an error; either way the worker with its tasks."""
    worker = EmbeddedWorker(topology, log, nodes=registry(), until_end=True, threads=2)
    try:
        await worker.run()
    except (Fenced, LogFull, CommitUnknown) as error:
        return worker, error
    return worker, None


async def persist(topology: Topology, log: FaultyLog, *, may_stop: bool) -> EmbeddedWorker:
    """Run again and again until a run comes to its end; the last worker."""
    for _ in range(RUNS_MAX):
        worker, error = await one_run(topology, log)
        if error is None:
            return worker
        assert may_stop, f"a commit of unknown outcome stopped the run: {error}"
        assert not isinstance(error, CommitUnknown)
        assert "injected fault" in str(error)
        assert error.mend
    raise AssertionError(f"no end after {RUNS_MAX} runs")


def is_rising(numbers: Sequence[int]) -> bool:
    return all(a < b for a, b in pairwise(numbers))


async def check(topology: Topology, log: EmbeddedLog, worker: EmbeddedWorker, folder: Path) -> None:
    """Exactly once, in order, and stores as their changelogs."""
    waiting = await check_stores(log, worker)
    direct = [v["items"]["n"] for v in await values(log, "out.direct")]
    later = [v["items"]["n"] for v in await values(log, "out.later")]
    for topic, found in (("out.direct", direct), ("out.later", later)):
        assert max(Counter(found).values()) == 1, f"{topic}: doubled"
        assert set(found) <= set(GOOD)
    assert len(direct) + waiting["fives"] == len(GOOD)
    assert len(later) + waiting["threes"] == len(GOOD)
    # `send` puts n on partition n % 2: in each there is one order, and for each key of the second stage as well.
    for rows in (await contents(log, "out.direct")).values():
        assert is_rising([json.loads(v)["items"]["n"] for _, _, v, _ in rows])
    for rows in (await contents(log, "out.later")).values():
        numbers = [json.loads(v)["items"]["n"] for _, _, v, _ in rows]
        for source in range(2):
            for key in range(5):
                assert is_rising([n for n in numbers if n % 2 == source and n % 5 == key])
    letters = decode_dead_letters(await log.read(TopicPartition("faulty.dead-letter", 0), 0, size_bytes_max=1 << 20))
    assert sorted(json.loads(x.value or b"")["n"] for x in letters) == [n for n in range(COUNT) if not n % 7]
    if any(node.kind == "write-file" for stage in topology.stages for node in stage.nodes):
        check_files(folder)
    report = await audited(log, topology)
    assert report.ok, report.text()


def check_files(folder: Path) -> None:
    lines = [json.loads(line)["n"] for file in folder.glob("archive-*.jsonl") for line in file.read_text().splitlines()]
    assert sorted(lines) == GOOD
    assert not list(folder.glob(".archive*")), "a staged file is left behind"


def tasks_of(worker: EmbeddedWorker) -> list[Task | SourceTask]:
    assert worker.fleet is not None
    return worker.fleet.tasks()


async def check_stores(log: EmbeddedLog, worker: EmbeddedWorker) -> Counter[str]:
    """Every live store equals what its changelog restores; rows that wait in stores, by node."""
    waiting: Counter[str] = Counter()
    for task in tasks_of(worker):
        if not isinstance(task, Task):
            continue
        for (node, name), live in task._program.stores.items():
            assert not live.changes(), f"{node}.{name}: changes that nobody committed"
            restored = MemoryStore()
            await restore(restored, log, task._changelogs[node, name])
            assert list(restored.scan()) == list(live.scan()), f"{node}.{name} of {task.name}"
            if name == "rows":
                waiting[node] += sum(
                    int.from_bytes(value[8:16], "big") for key, value in live.scan() if key.endswith(b"#")
                )
    return waiting


@pytest.mark.parametrize("seed", SEEDS)
def test_any_fault_loses_and_doubles_nothing(seed: int, tmp_path: Path) -> None:
    topology = compiled(WORKFLOW, tmp_path)
    choose = random.Random(seed)
    faults = seeded_faults(seed, count=choose.randint(1, 5), nth_max=40)
    if seed % 3 == 0:
        faults.append(Fault(choose.choice(["read", "producer", "committed", "offsets"]), choose.randint(1, 30)))

    async def once(inner: EmbeddedLog) -> None:
        await send(inner, "in", [{"n": n} for n in range(COUNT)], partitions=2, batch=4)
        log = FaultyLog(inner, faults)
        worker = await persist(topology, log, may_stop=True)
        await check(topology, inner, worker, tmp_path)
        # A run after that finds nothing to do, and changes nothing.
        before = await contents(inner, "out.later")
        worker, error = await one_run(topology, inner)
        assert error is None
        assert await contents(inner, "out.later") == before

    asyncio.run(with_log(tmp_path / "log", once))


@pytest.mark.parametrize("kind", ["unknown_before", "unknown_after"])
@pytest.mark.parametrize("nth", [1, 2, 5, 11, 17])
def test_a_commit_of_unknown_outcome_does_not_stop_the_run(nth: int, kind: Any, tmp_path: Path) -> None:
    topology = compiled(WORKFLOW, tmp_path)

    async def once(inner: EmbeddedLog) -> None:
        await send(inner, "in", [{"n": n} for n in range(COUNT)], partitions=2, batch=4)
        log = FaultyLog(
            inner, [Fault("commit", nth, kind), Fault("commit", nth + 1, kind), Fault("commit", nth + 6, kind)]
        )
        worker = await persist(topology, log, may_stop=False)
        assert len(log.fired) == 3
        assert sum(task.metrics.recoveries for task in tasks_of(worker)) == 3
        await check(topology, inner, worker, tmp_path)

    asyncio.run(with_log(tmp_path / "log", once))


class TellingLog(FaultyLog):
    """Notes, whenever a task asks after a fault where it stands, whether the task says that work waits."""

    def __init__(self, inner: Log, faults: Sequence[Fault]) -> None:
        super().__init__(inner, faults)
        self.worker: EmbeddedWorker | None = None
        self.waits: list[bool] = []

    async def committed(self, group: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Committed]:
        if self.fired and self.worker is not None and self.worker.fleet is not None:
            tasks = [task for task in self.worker.fleet.tasks() if isinstance(task, Task) and task.group == group]
            self.waits += [task.has_pending for task in tasks if set(task.positions) == set(partitions)]
        return await super().committed(group, partitions)


def test_a_task_that_goes_back_has_work_until_it_knows_where_it_stands(tmp_path: Path) -> None:
    """Else a run that ends with its inputs could end in between, and leave out what is to be read again."""
    topology = compiled(WORKFLOW, tmp_path)

    async def once(inner: EmbeddedLog) -> None:
        await send(inner, "in", [{"n": n} for n in range(COUNT)], partitions=2, batch=4)
        log = TellingLog(inner, [Fault("commit", 5, "unknown_before")])
        log.worker = EmbeddedWorker(topology, log, nodes=registry(), until_end=True, threads=2)
        await log.worker.run()
        assert log.waits
        assert all(log.waits)

    asyncio.run(with_log(tmp_path / "log", once))


def test_a_full_log_stops_the_run_and_keeps_what_was_committed(tmp_path: Path) -> None:
    """Method: let the log be full at the tenth commit; what is there then stays, and the next run adds the rest."""
    topology = compiled(WORKFLOW, tmp_path)

    async def once(inner: EmbeddedLog) -> None:
        await send(inner, "in", [{"n": n} for n in range(COUNT)], partitions=2, batch=4)
        _, error = await one_run(topology, FaultyLog(inner, [Fault("commit", 10, "log_full")]))
        assert isinstance(error, LogFull)
        before = await contents(inner, "out.direct")
        worker, error = await one_run(topology, inner)
        assert error is None
        after = await contents(inner, "out.direct")
        assert all(after[p][: len(rows)] == rows for p, rows in before.items())
        await check(topology, inner, worker, tmp_path)

    asyncio.run(with_log(tmp_path / "log", once))


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_second_worker_takes_over_from_the_first(after: int, tmp_path: Path) -> None:
    """Method: two workers over one log. The second starts while a commit of the first hangs; the first is fenced."""
    topology = compiled(WITHOUT_FILES, tmp_path)

    async def once(inner: EmbeddedLog) -> None:
        await send(inner, "in", [{"n": n} for n in range(COUNT)], partitions=2, batch=4)
        hanging = _Hanging(inner, after)
        first = asyncio.create_task(one_run(topology, hanging))
        await hanging.reached.wait()
        second, error = await one_run(topology, inner)
        assert error is None
        hanging.go_on.set()
        _, error = await first
        assert isinstance(error, Fenced)
        await check(topology, inner, second, tmp_path)

    asyncio.run(with_log(tmp_path / "log", once))


class _Hanging(FaultyLog):
    """A log in which the nth commit and all later calls wait until they may go on."""

    def __init__(self, inner: Log, nth: int) -> None:
        super().__init__(inner, [])
        self._nth = nth
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def _due(self, call: Any) -> Fault | None:
        fault = await super()._due(call)
        if call == "commit" and self.calls["commit"] >= self._nth:
            self.reached.set()
        if self.reached.is_set():
            await self.go_on.wait()
        return fault


# Triggers that are no topic commit items with their position; whole files are executions whose rows wait in state.
FILES = """\
workflow: faulty-files
nodes:
  rows: {type: file, path: "in/*.jsonl"}
  shared: {type: set, fields: {share: 100 // (long(n) % 7)}}
  ranked: {type: sort, by: [{value: long(n), descending: true}]}
  sums: {type: aggregate, fields: {sum: {function: sum, of: long(n)}, count: {function: count}}}
  out: {type: publish, topic: out, format: json}
  totals: {type: publish, topic: totals, format: json}
connections:
  - rows -> shared -> ranked -> out
  - rows -> sums -> totals
policies: {commit_interval: 1ms, step_bytes_max: 200}
"""


@pytest.mark.parametrize("seed", range(20))
def test_files_are_read_exactly_once_whatever_fails(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_task, "_ROWS_MAX", 5)
    (tmp_path / "in").mkdir()
    files = [range(0, 31), range(31, 33), range(33, 60)]
    for name, numbers in zip("abc", files, strict=True):
        lines = [json.dumps({"n": n}) for n in numbers]
        (tmp_path / "in" / f"{name}.jsonl").write_text("\n".join([*lines[:2], "no json", *lines[2:]]) + "\n")
    topology = compiled(FILES, tmp_path)
    faults = seeded_faults(seed, count=1 + seed % 4, nth_max=20)

    async def once(inner: EmbeddedLog) -> None:
        worker = await persist(topology, FaultyLog(inner, faults), may_stop=True)
        await check_stores(inner, worker)
        expected = [n for numbers in files for n in reversed(numbers) if n % 7]
        assert [v["n"] for v in await values(inner, "out")] == expected
        totals = [{"sum": sum(numbers), "count": len(numbers)} for numbers in files]
        assert await values(inner, "totals") == totals
        letters = decode_dead_letters(
            await inner.read(TopicPartition("faulty-files.dead-letter", 0), 0, size_bytes_max=1 << 20)
        )
        failing = [n for numbers in files for n in numbers if not n % 7]
        assert len(letters) == len(files) + len(failing)
        report = await audited(inner, topology)
        assert report.ok, report.text()

    asyncio.run(with_log(tmp_path / "log", once))


@pytest.mark.parametrize("kind", ["unknown_before", "unknown_after"])
def test_a_file_is_read_again_when_the_commit_of_its_end_did_not_happen(kind: Any, tmp_path: Path) -> None:
    """Method: one file, read whole before the first commit of all, whose outcome is unknown."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(1, 7)))
    topology = compiled(FILES, tmp_path)

    async def once(inner: EmbeddedLog) -> None:
        log = FaultyLog(inner, [Fault("commit", 1, kind)])
        worker = await persist(topology, log, may_stop=False)
        assert len(log.fired) == 1
        await check_stores(inner, worker)
        assert [v["n"] for v in await values(inner, "out")] == [6, 5, 4, 3, 2, 1]

    asyncio.run(with_log(tmp_path / "log", once))
