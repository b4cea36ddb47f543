"""Policy `stop` commits exactly the rows before the first failing row, then halts and says where. DESIGN 12, point
11.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from tests.simulation.running import compiled, contents, only, run, send, values, with_log

WORKFLOW = """\
workflow: careful
nodes:
  numbers: {type: event, topic: in, format: json}
  checked: {type: set, fields: {share: 100 // n}, on_error: stop}
  pairs: {type: batch, size: 2, scope: stream}
  apart: {type: split, field: items}
  out: {type: publish, topic: out, format: json}
connections:
  - numbers -> checked -> pairs -> apart -> out
policies: {commit_interval: 1s, step_bytes_max: %d}
"""


@pytest.mark.parametrize("step_bytes", [4096, 1 << 20])
@pytest.mark.parametrize("failing", [0, 1, 137, 400, 999])
def test_stop_commits_the_rows_before_the_first_failure(failing: int, step_bytes: int, tmp_path: Path) -> None:
    """Method: one zero among 1,000 numbers; whatever the steps, the rows before it are out, and nothing behind it."""
    topology = compiled(WORKFLOW % step_bytes, tmp_path)
    numbers = [{"n": 0 if i == failing else i + 1} for i in range(1_000)]

    async def once(log: EmbeddedLog) -> None:
        await send(log, "in", numbers, batch=10)
        report = await run(topology, log)
        assert report.halted is not None
        text = str(report.halted)
        for part in ("checked", "division_by_zero", f"offset {failing}"):
            assert part in text
        whole_pairs = failing // 2 * 2
        assert [v["items"]["n"] for v in await values(log, "out")] == [n["n"] for n in numbers[:whole_pairs]]
        committed = (await log.groups()).get("careful.numbers", {})
        assert [c.offset for c in committed.values()] == ([failing] if failing else [])
        # Started again, it halts at the same place and adds nothing.
        again = await run(topology, log)
        assert again.halted is not None
        assert len(await values(log, "out")) == whole_pairs

    asyncio.run(with_log(tmp_path / "log", once))


FANNED = """\
workflow: fanned
nodes:
  left: {type: event, topic: in.left, format: json, on_error: stop}
  right: {type: event, topic: in.right, format: json, on_error: stop}
  all: {type: merge}
  checked: {type: set, fields: {share: 100 // n}, on_error: stop}
  every: {type: publish, topic: out.every, format: json}
  shares: {type: publish, topic: out.shares, format: json}
  archive: {type: write-file, path: archive.jsonl}
connections:
  - left -> all
  - right -> all
  - all -> every
  - all -> archive
  - all -> checked -> shares
policies: {commit_interval: 1ms, step_bytes_max: 200}
"""


@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 30), (17, 5), (40, None), (None, 0)])
def test_a_stop_holds_back_other_branches_and_other_inputs(left: int | None, right: int | None, tmp_path: Path) -> None:
    """Method: two inputs, each perhaps with a zero. What is behind a zero is on no topic and in no file."""
    topology = compiled(FANNED, tmp_path)

    async def once(log: EmbeddedLog) -> list[int]:
        for side, zero in (("left", left), ("right", right)):
            await send(
                log, f"in.{side}", [{"n": 0 if n == zero else 1, "at": n, "side": side} for n in range(50)], batch=5
            )
        report = await run(topology, log)
        assert report.halted is not None
        every = await values(log, "out.every")
        assert [(v["side"], v["at"]) for v in every] == [(v["side"], v["at"]) for v in await values(log, "out.shares")]
        for side, zero in (("left", left), ("right", right)):
            ats = [v["at"] for v in every if v["side"] == side]
            assert ats == list(range(len(ats)))
            assert zero is None or len(ats) <= zero
        stopped = {"left": left, "right": right}["left" if "in.left" in str(report.halted) else "right"]
        assert f"offset {stopped} " in str(report.halted) or f"offset {stopped})" in str(report.halted)
        return [v["at"] for v in every]

    written = asyncio.run(with_log(tmp_path / "log", once))
    lines = [line for file in tmp_path.glob("archive-*.jsonl") for line in file.read_text().splitlines()]
    assert [json.loads(line)["at"] for line in lines] == written


@pytest.mark.parametrize("failing", [0, 23, 49])
def test_a_record_that_does_not_decode_stops_at_its_offset(failing: int, tmp_path: Path) -> None:
    topology = compiled(FANNED, tmp_path)

    async def once(log: EmbeddedLog) -> None:
        await send(log, "in.left", [b"no json" if n == failing else {"n": 1, "at": n} for n in range(50)], batch=5)
        await send(log, "in.right", [])
        report = await run(topology, log)
        assert report.halted is not None
        assert f"offset {failing}" in str(report.halted)
        assert [v["at"] for v in await values(log, "out.every")] == list(range(failing))

    asyncio.run(with_log(tmp_path / "log", once))


FILES = """\
workflow: filed
nodes:
  rows: {type: file, path: "in/*.jsonl", on_error: stop}
  ranked: {type: sort, by: [{value: long(n), descending: true}]}
  odd: {type: if, when: long(n) % 2 == 1}
  taken: {type: set, fields: {n_right: 0}}
  pairs: {type: merge, mode: combine_by_position, on_error: stop}
  pair: {type: publish, topic: out.pairs, format: json}
  out: {type: publish, topic: out, format: json}
connections:
  - rows -> ranked -> out
  - rows -> odd
  - odd.true -> taken -> pairs.left
  - odd.false -> pairs.right
  - pairs -> pair
policies: {commit_interval: 1ms}
"""


@pytest.mark.parametrize("bad", [0, 1, 37, 99])
def test_a_line_that_does_not_decode_stops_at_its_place(bad: int, tmp_path: Path) -> None:
    """The lines before it are on the trigger's topic, none behind it is; whoever mends the line loses nothing."""
    (tmp_path / "in").mkdir()
    lines = [json.dumps({"n": 2 * n}) for n in range(100)]
    broken = tmp_path / "in" / "a.jsonl"
    broken.write_text("\n".join([*lines[:bad], "x" * len(lines[bad]), *lines[bad + 1 :]]) + "\n")
    topology = compiled(FILES, tmp_path)

    async def once(log: EmbeddedLog) -> None:
        for _ in range(2):
            report = await run(topology, log)
            assert report.halted is not None
            assert "a.jsonl" in str(report.halted)
            trigger = [v for _, _, v, headers in only(await contents(log, "filed.rows.trigger")) if not headers]
            assert len(trigger) == bad
        broken.write_text("\n".join(lines) + "\n")
        report = await run(topology, log)
        assert report.halted is None
        assert [v["n"] for v in await values(log, "out")] == [2 * n for n in reversed(range(100))]

    asyncio.run(with_log(tmp_path / "log", once))


def test_a_stop_at_the_end_of_an_execution_holds_back_its_end(tmp_path: Path) -> None:
    """Items that collide fail when their file ends. Files before it are done; its end and all behind it are not."""
    (tmp_path / "in").mkdir()
    # A file of even numbers only has no pairs; in the second one a pair collides.
    for name, numbers in (("a", range(0, 40, 2)), ("b", range(20)), ("c", range(0, 4_000, 2))):
        (tmp_path / "in" / f"{name}.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in numbers))
    topology = compiled(FILES, tmp_path)

    async def once(log: EmbeddedLog) -> None:
        report = await run(topology, log)
        assert report.halted is not None
        assert "pairs" in str(report.halted)
        assert "collision" in str(report.halted)
        assert [v["n"] for v in await values(log, "out")] == list(range(38, -1, -2))
        end_of_b = 1 + 20 + 1 + 1 + 20  # offset of the marker: begin, rows, end; begin, rows
        assert (await log.groups())["filed.rows"][TopicPartition("filed.rows.trigger", 0)].offset == end_of_b

    asyncio.run(with_log(tmp_path / "log", once))


def test_of_several_failing_rows_the_first_counts(tmp_path: Path) -> None:
    topology = compiled(WORKFLOW % (1 << 20), tmp_path)

    async def once(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": 0 if n in (41, 42, 300) else 1} for n in range(400)])
        report = await run(topology, log)
        assert report.halted is not None
        assert "offset 41" in str(report.halted)
        assert len(await values(log, "out")) == 40

    asyncio.run(with_log(tmp_path / "log", once))
