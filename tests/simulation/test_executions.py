"""Records of executions: they agree with the ledger, tell the same however a stream is cut, and survive kills."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from streamflow.cli.main import app
from streamflow.logs.embedded import EmbeddedLog
from streamflow.runtime.execution_log import Newest
from streamflow.runtime.execution_states import Reach
from streamflow.sdk.crash import POINTS
from streamflow.topology.plan import Topology
from tests.simulation import killing
from tests.simulation.histories import agree_with_ledger, records_of, stand
from tests.simulation.running import compiled, run, send, with_log

NUMBER = '{"type": "record", "name": "N", "fields": [{"name": "n", "type": "long"}]}'
POLICIES = "policies: {executions: all, commit_interval: 1ms, step_bytes_max: 1000}\n"

# Branches, siblings of which some have no children, all that may become of a failure, a stage behind another.
BRANCHES = """\
workflow: branches
nodes:
  rows: {type: event, topic: in, format: json, schema: n.avsc}
  odd: {type: if, when: n % 2 == 1}
  many: {type: set, fields: {parts: '["a", "bb", "ccc"]', half: n // 2}}
  apart: {type: split, field: parts, keep: true}
  some: {type: filter, when: (n + length(parts)) % 3 != 0}
  again: {type: set, fields: {letters: 'parts + "-" + string(n)', by: n % 5}}
  shared: {type: set, fields: {share: 100 // (n % 7)}, on_error: continue}
  divided: {type: set, fields: {part: 100 // (n % 5)}, on_error: error_port}
  lost: {type: set, fields: {rest: 100 // (n % 11)}}
  keyed: {type: repartition, key: string(by), partition_count: 3}
  later: {type: filter, when: n % 4 != 2}
  out: {type: publish, topic: out, format: json}
  wrong: {type: publish, topic: wrong, format: json}
  rest: {type: publish, topic: rest, format: json}
connections:
  - rows -> odd
  - odd.true -> many -> apart -> some -> again -> keyed -> later -> out
  - odd.false -> shared -> divided -> lost -> rest
  - divided.error -> wrong
"""

# State: rows that wait to make a batch, a window that begins executions, an outer join and a debounce that give rows
# back under the executions that they had.
STATE = """\
workflow: kept
nodes:
  rows: {type: event, topic: in, format: json, schema: n.avsc}
  others: {type: event, topic: others, format: json, schema: n.avsc}
  fives: {type: batch, size: 5, scope: stream}
  apart: {type: split, field: items}
  batched: {type: publish, topic: batched, format: json}
  first: {type: dedupe, key: n % 50, within: 1s}
  once: {type: publish, topic: once, format: json}
  counted: {type: window, key: n % 3, size: 100ms, fields: {rows: {function: count}}}
  shown: {type: publish, topic: counted, format: json}
  quiet: {type: debounce, key: n % 4, quiet: 3ms}
  settled: {type: publish, topic: settled, format: json}
connections:
  - rows -> fives -> apart -> batched
  - rows -> first -> once
  - rows -> counted -> shown
  - others -> quiet -> settled
"""

FLOWS = {"branches": BRANCHES, "kept": STATE}


def topology_of(flow: str, folder: Path, policies: str = POLICIES) -> Topology:
    (folder / "n.avsc").write_text(NUMBER)
    return compiled(FLOWS[flow] + policies, folder)


async def filled(log: EmbeddedLog) -> None:
    items: list[object] = [{"n": n} for n in range(350)]
    items[100] = b"no json"
    await send(log, "in", items, partitions=2, batch=9)
    await send(log, "others", [{"n": n * 7 % 200} for n in range(150)], partitions=2, batch=9)


@pytest.mark.parametrize("flow", sorted(FLOWS))
def test_executions_did_what_the_ledger_says(flow: str, tmp_path: Path) -> None:
    topology = topology_of(flow, tmp_path)

    async def work(log: EmbeddedLog) -> None:
        await filled(log)
        await run(topology, log)
        records = await records_of(log, topology)
        await agree_with_ledger(log, topology, records)
        stands = stand(records, topology)
        begun = stands.filter(pl.col("trigger") != "")
        assert begun["execution"].is_unique().all()
        assert len(begun) == (350 if flow == "branches" else 500), "each trigger item is an execution"
        assert set(stands["status"]) == {"completed", "failed"}

    asyncio.run(with_log(tmp_path / "log", work))


@pytest.mark.parametrize("flow", sorted(FLOWS))
def test_cutting_the_stream_elsewhere_changes_no_history(flow: str, tmp_path: Path) -> None:
    """Method: the same items in small and in large steps; all that is told of an execution is added up and compared."""

    async def told(log: EmbeddedLog, step_bytes: int) -> dict[object, object]:
        policies = POLICIES.replace("1000", str(step_bytes))
        topology = topology_of(flow, tmp_path, policies=policies)
        await filled(log)
        await run(topology, log)
        records = await records_of(log, topology)
        return {**_sums(records), **dict(stand(records, topology).select("execution", "status").iter_rows())}

    small = asyncio.run(with_log(tmp_path / "small", lambda log: told(log, 600)))
    large = asyncio.run(with_log(tmp_path / "large", lambda log: told(log, 1 << 20)))
    assert _anonymous(small) == _anonymous(large)


def _sums(records: pl.DataFrame) -> dict[object, object]:
    """By execution and node: rows by counter; those filtered and absorbed are one, as a node that does both says."""
    nodes = records.select("execution", "nodes").explode("nodes").unnest("nodes").drop_nulls("node").drop("status")
    nodes = nodes.with_columns(pl.col("filtered") + pl.col("absorbed")).drop("absorbed")
    return {(row[0], row[1]): row[2:] for row in nodes.group_by("execution", "node").sum().iter_rows()}


def _anonymous(found: dict[object, object]) -> dict[str, object]:
    """Without incarnations of topics, which differ from log to log."""
    import re

    return {re.sub(r"#[0-9a-f]{32}", "", str(name)): value for name, value in found.items()}


@pytest.mark.parametrize("flow", sorted(FLOWS))
def test_a_listing_that_lets_go_of_what_is_settled_tells_the_same(flow: str, tmp_path: Path) -> None:
    topology = topology_of(flow, tmp_path)

    async def work(log: EmbeddedLog) -> None:
        await filled(log)
        await run(topology, log)
        expected = stand(await records_of(log, topology), topology)
        newest = Newest(Reach.of(topology), status="", since_ms=None, most=10_000)
        await newest.read(log, f"{topology.workflow}.executions", 4)
        assert newest.rows().sort("execution").equals(expected.sort("execution"))
        few = Newest(Reach.of(topology), status="failed", since_ms=None, most=1)
        await few.read(log, f"{topology.workflow}.executions", 4)
        assert few.totals["failed"] == expected.filter(pl.col("status") == "failed").height
        assert few.rows()["status"].to_list() == ["failed"]

    asyncio.run(with_log(tmp_path / "log", work))


def test_errors_alone_leave_records_of_steps_in_which_something_failed(tmp_path: Path) -> None:
    topology = topology_of("branches", tmp_path, policies=POLICIES.replace("all", "errors"))

    async def work(log: EmbeddedLog) -> None:
        await filled(log)
        await run(topology, log)
        records = await records_of(log, topology)
        stands = stand(records, topology)
        failing = {n for n in range(0, 350, 2) if n % 7 == 0 or n % 5 == 0 or n % 11 == 0 or n == 100}
        assert len(stands) == len(failing)
        assert stands["error_code"].null_count() == 0
        dead = {n for n in failing if n == 100 or (n % 7 and n % 5)}
        assert stands.filter(pl.col("status") == "failed").height == len(dead)

    asyncio.run(with_log(tmp_path / "log", work))


def test_no_tracking_asks_for_no_column_and_no_topic(tmp_path: Path) -> None:
    for flow in FLOWS:
        none = topology_of(flow, tmp_path, policies="")
        every = topology_of(flow, tmp_path)
        assert not [t for t in none.topics if t.kind == "executions"]
        assert all(stage.tracked == "none" and not stage.executions for stage in none.stages)
        assert sum(len(s.needs) for s in none.stages) < sum(len(s.needs) for s in every.stages)
    alone = compiled(ALONE, tmp_path)
    assert [s.needs for s in alone.stages] == [("@key", "@ts")], "rows that enter are executions of their own"


ALONE = """\
workflow: alone
nodes:
  rows: {type: event, topic: in, format: json, schema: n.avsc}
  odd: {type: filter, when: n % 2 == 1}
  out: {type: publish, topic: out, format: json}
connections: [rows -> odd -> out]
policies: {executions: all}
"""


RUNS = """\
workflow: runs
nodes:
  started: {type: manual, items: [{n: 3}, {n: 1}, {n: 2}, {n: 7}, {n: 8}]}
  one: {type: repartition, key: string(n), partition_count: 1}
  total: {type: aggregate, fields: {sum: {function: sum, of: long(n)}}}
  keyed: {type: repartition, key: string(sum), partition_count: 3}
  out: {type: publish, topic: out, format: json}
connections:
  - started -> one -> total -> keyed -> out
policies: {executions: all}
"""


def test_a_run_is_over_when_its_end_has_come_to_every_task_behind_it(tmp_path: Path) -> None:
    topology = compiled(RUNS, tmp_path)

    async def work(log: EmbeddedLog) -> None:
        await run(topology, log)
        records = await records_of(log, topology)
        await agree_with_ledger(log, topology, records)
        assert records["execution"].n_unique() == 1
        stands = [stand(records.head(n), topology).row(0, named=True) for n in range(1, len(records) + 1)]
        assert [one["status"] for one in stands] == [*["running"] * (len(records) - 1), "completed"]
        assert sorted(records.filter("ended")["stage"]) == ["keyed", "keyed", "keyed", "one", "started"]

    asyncio.run(with_log(tmp_path / "log", work))


SAMPLES = """\
workflow: shown
nodes:
  rows: {type: event, topic: in, format: json}
  more: {type: set, fields: {user: '{"name": "ada", "secret": "s-" + string(n), "n": n}', "long": 'repeat("x", 3000)'}}
  parts: {type: set, fields: {part: 100 // long(n)}}
  out: {type: publish, topic: out, format: json}
connections: [rows -> more -> parts -> out]
policies: {executions: all, samples: 1, redact: [secret]}
"""


def test_samples_are_bounded_and_without_redacted_fields(tmp_path: Path) -> None:
    topology = compiled(SAMPLES, tmp_path)

    async def work(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": n, "secret": "top"} for n in range(3)])
        await run(topology, log)
        records = await records_of(log, topology)
        assert len(records) == 3
        for record in records.iter_rows(named=True):
            failed = record["error_node"] == "parts"
            by_port = {(s["node"], s["port"]): s["item"] for s in record["samples"]}
            assert set(by_port) == {("rows", "out"), ("more", "out"), ("parts", "error" if failed else "out")} | (
                set() if failed else {("out", "records")}
            )
            assert json.loads(by_port["rows", "out"])["secret"] == "(redacted)"
            assert all(len(item) <= 1_000 and "top" not in item and "s-" not in item for item in by_port.values())

    asyncio.run(with_log(tmp_path / "log", work))


@pytest.mark.parametrize("point", POINTS)
def test_after_kills_every_execution_has_one_final_status(point: str, tmp_path: Path) -> None:
    """Method: die at the step the first, third and fifth time it is passed; finish; count executions and their rows."""
    ground = killing.make(tmp_path, 8_000)
    flow = tmp_path / "workflow.yaml"
    flow.write_text(killing.WORKFLOW.replace("policies: {", "policies: {executions: all, "))
    for nth in (1, 3, 5):
        assert ground.crash(f"{point}:{nth}"), f"{point} was not passed {nth} times"
    ground.finish()
    killing.check(ground)
    topology = compiled(flow.read_text(), tmp_path)

    async def judge(log: EmbeddedLog) -> None:
        records = await records_of(log, topology)
        await agree_with_ledger(log, topology, records)
        stands = stand(records, topology)
        begun = stands.filter(pl.col("trigger") != "")
        assert len(begun) == 8_000
        assert records.filter(pl.col("begun") > 0)["execution"].is_unique().all(), "told twice"
        assert set(begun["status"]) == {"completed"}

    ground.on_log(judge)
    told = CliRunner().invoke(app, ["audit", str(flow), "--log", str(ground.log), "--json"])
    assert json.loads(told.stdout)["ok"], told.stdout
