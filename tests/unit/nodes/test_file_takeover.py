"""A file sink whose task was taken over does no harm when it goes on. DESIGN 12, points 7 and 11.

Two tasks over one log: the second fences the first, as another process does that finds this one stopped. Then the first
goes on from wherever it was, as a stopped process does, before or after what its successor did.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from streamflow.connectors.files.formats import FileFormat
from streamflow.connectors.files.sink import FileSink, FileWrites
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.batch import ROW, Batch
from streamflow.model.types import LONG, record_of
from streamflow.nodes import registry
from streamflow.runtime.program import TaskProgram
from streamflow.runtime.task import Task
from streamflow.runtime.topics import ensure_topics
from streamflow.sdk.errors import Fenced
from streamflow.sdk.log import Log
from streamflow.testing.operator_kit import FakeStore, KitContext
from streamflow.topology.plan import Topology
from tests.simulation.running import compiled, send, with_log

WORKFLOW = """\
workflow: archived
nodes:
  rows: {type: event, topic: in, format: json, schema: n.avsc}
  archive: {type: write-file, path: out/n.FORMAT, rows_max: 5}
connections: [rows -> archive]
policies: {commit_interval: 1h, partitions: 1}
"""
ROWS = record_of({"n": LONG})


def written(folder: Path) -> list[int]:
    """What a user finds, file after file."""
    found: list[int] = []
    for path in sorted(folder.glob("n-*")):
        if path.suffix == ".parquet":
            found += pl.read_parquet(path)["n"].to_list()
        else:
            found += [json.loads(line)["n"] for line in path.read_text().splitlines()]
    return found


def hidden(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


async def new_task(topology: Topology, log: Log, executor: ThreadPoolExecutor) -> Task:
    topics = await ensure_topics(topology, log)
    (stage,) = topology.stages
    program = TaskProgram(topology, stage, partition=0, tasks=1, topics=topics, nodes=registry())
    return Task(topology, program, log, executor)


async def read(task: Task) -> None:
    while await task.advance():
        pass


async def go_on(task: Task) -> None:
    await read(task)
    await task.commit()


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
@pytest.mark.parametrize("wakes", ["before a row", "before the commit", "behind the commit", "behind the end"])
@pytest.mark.parametrize("begun", [0, 3, 6])
def test_a_fenced_task_changes_no_file(begun: int, wakes: str, format: str, tmp_path: Path) -> None:
    """`begun`: how many rows the first task has written but not committed when it is stopped."""
    (tmp_path / "n.avsc").write_text('{"type": "record", "name": "N", "fields": [{"name": "n", "type": "long"}]}')
    topology = compiled(WORKFLOW.replace("FORMAT", format), tmp_path)

    async def work(log: EmbeddedLog) -> None:
        with ThreadPoolExecutor(1) as executor:
            first, second = [await new_task(topology, log, executor) for _ in range(2)]
            await send(log, "in", [{"n": n} for n in range(3)])
            await first.start()
            await read(first)
            await first.settle()
            await send(log, "in", [{"n": n} for n in range(3, 3 + begun)])
            await read(first)
            await second.start()

            async def wake() -> None:
                with pytest.raises(Fenced):
                    await go_on(first)
                with pytest.raises(Fenced):
                    await first.drain()

            if wakes == "before a row":
                await wake()
            await send(log, "in", [{"n": n} for n in range(3 + begun, 12)])
            await read(second)
            if wakes == "before the commit":
                await wake()
            await second.settle()
            if wakes == "behind the commit":
                await wake()
            await send(log, "in", [{"n": n} for n in range(12, 14)])
            await read(second)
            await second.drain()
            if wakes == "behind the end":
                await wake()
                # It may have begun a file that nobody will ever name: the next one to start removes it.
                third = await new_task(topology, log, executor)
                await third.start()
                await third.drain()
            await first.close()
        assert written(tmp_path / "out") == list(range(14))
        assert hidden(tmp_path / "out") == []

    asyncio.run(with_log(tmp_path / "log", work))


def sink(folder: Path, format: FileFormat = "jsonl") -> FileSink:
    path = folder / f"n.{format}"
    return FileSink(FileWrites(path=path, format=format, schema=ROWS, rows_max=5, size_bytes_max=1 << 20), 0)


def write(sink: FileSink, ctx: KitContext, numbers: Sequence[int]) -> None:
    frame = pl.DataFrame({"n": numbers, ROW: pl.Series(range(len(numbers)), dtype=pl.UInt32)})
    sink.process({"in": Batch(frame, ROWS)}, ctx)


def commit(sink: FileSink, ctx: KitContext) -> None:
    sink.prepare(ctx)
    ctx.store("parts").commit()
    sink.committed(ctx)


def copy(ctx: KitContext) -> KitContext:
    """What a successor restores: all that was committed."""
    store = FakeStore()
    store.base = dict(ctx.store("parts").base)
    return KitContext(stores={"parts": store})


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_commit_whose_names_were_not_given_yet_is_finished_by_the_successor(
    format: FileFormat, tmp_path: Path
) -> None:
    """The first is stopped between its commit and the renaming, and goes on with that when all is over."""
    one, ctx = sink(tmp_path, format), KitContext()
    write(one, ctx, range(7))
    one.prepare(ctx)
    ctx.store("parts").commit()
    other, its = sink(tmp_path, format), copy(ctx)
    other.committed(its)
    write(other, its, range(7, 9))
    commit(other, its)
    one.committed(ctx)
    assert written(tmp_path) == list(range(5))
    other.closing(its)
    commit(other, its)
    one.committed(ctx)
    assert written(tmp_path) == list(range(9))
    assert hidden(tmp_path) == []


def test_a_file_that_was_open_when_its_task_was_taken_over_is_no_ones_result(tmp_path: Path) -> None:
    one, ctx = sink(tmp_path), KitContext()
    write(one, ctx, [1, 2])
    commit(one, ctx)
    (path,) = tmp_path.glob(".n-*")
    with path.open("r+b") as stopped:  # in the middle of a write
        stopped.seek(0, 2)
        other, its = sink(tmp_path), copy(ctx)
        other.committed(its)
        other.closing(its)
        commit(other, its)
        stopped.write(b"late")
    assert written(tmp_path) == [1, 2]


def test_files_that_are_there_already_are_never_replaced(tmp_path: Path) -> None:
    """Such as those of the same workflow before a reset, or of another node with the same path."""
    for run in range(3):
        one, ctx = sink(tmp_path), KitContext(node=f"node-{run}")
        write(one, ctx, [run])
        one.closing(ctx)
        commit(one, ctx)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "n-0-000000.jsonl",
        "n-0-000000~1.jsonl",
        "n-0-000000~2.jsonl",
    ]
    assert sorted(written(tmp_path)) == [0, 1, 2]


def test_two_nodes_may_write_beside_each_other(tmp_path: Path) -> None:
    pairs = [(sink(tmp_path), KitContext(node=node)) for node in "ab"]
    for number in range(6):
        for one, ctx in pairs:
            write(one, ctx, [number])
            commit(one, ctx)
    for one, ctx in pairs:
        one.closing(ctx)
        commit(one, ctx)
    assert sorted(written(tmp_path)) == sorted([*range(6), *range(6)])
    assert hidden(tmp_path) == []


def test_a_staged_file_that_somebody_removed_is_told(tmp_path: Path) -> None:
    one, ctx = sink(tmp_path), KitContext()
    write(one, ctx, [1])
    commit(one, ctx)
    for path in tmp_path.glob(".n-*"):
        path.unlink()
    with pytest.raises(Fenced, match="is gone"):
        write(one, ctx, [2])
