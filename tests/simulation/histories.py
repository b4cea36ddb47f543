"""Reads the records of executions of a workflow, and holds them to its ledger."""

from __future__ import annotations

from collections import Counter

import polars as pl

from streamflow.model.positions import TopicPartition
from streamflow.runtime.execution_states import Reach, States, decode_records, fold, statuses
from streamflow.sdk.log import Log
from streamflow.topology.plan import Topology
from tests.simulation.auditing import ledger

_LEDGER = (
    "rows_in", "rows_out", "emitted", "continued", "to_error_port", "cancelled", "timed_out",
)  # fmt: skip


async def records_of(log: Log, topology: Topology) -> pl.DataFrame:
    """All records of executions, partition after partition."""
    (topic,) = (t.name for t in topology.topics if t.kind == "executions")
    pages = []
    for p in range((await log.topics())[topic].partitions):
        at = TopicPartition(topic, p)
        position, end = await log.offsets(at)
        while position < end:
            batches = await log.read(at, position, size_bytes_max=1 << 20)
            pages.append(decode_records(batches, first_offset=position))
            position = batches[-1].last_offset + 1
    assert pages, "no execution left a record"
    return pl.concat(pages)


def stand(records: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """How each execution stands, with all transitions checked record by record of each topic's partition."""
    reach, states = Reach.of(topology), States.none()
    for at in range(0, len(records), 1_000):
        states = fold(states, records[at : at + 1_000], reach)
    return statuses(states, reach)


async def agree_with_ledger(log: Log, topology: Topology, records: pl.DataFrame) -> None:
    """What all executions did at each node is what the ledger says of it (`executions: all`)."""
    told: Counter[tuple[str, str]] = Counter()
    nodes = records.select(pl.col("nodes").explode()).unnest("nodes").drop_nulls("node").drop("status")
    for row in nodes.group_by("node").sum().iter_rows(named=True):
        told.update({(row["node"], name): row[name] for name in (*_LEDGER, "filtered", "absorbed", "dead_lettered")})
    tracked = {stage.id for stage in topology.stages if not stage.inputs[0].source}
    own = {stage.id: {n.id for n in stage.nodes} for stage in topology.stages}
    wanted: Counter[tuple[str, str]] = Counter()
    for record in await ledger(log, topology):
        for node in record.nodes:
            if node.node in own[record.stage]:
                wanted.update({(node.node, name): getattr(node, name) for name in _LEDGER})
                wanted[node.node, "left"] += node.filtered + node.absorbed
                wanted[node.node, "dead_lettered"] += node.dead_lettered
        for sink in record.sinks if record.stage in tracked else ():  # rows that their topic did not take
            wanted[sink.node, "dead_lettered"] += sink.dead_lettered
            wanted[sink.node, "rows_out"] -= sink.dead_lettered
    for node in {node for node, _ in told}:
        told[node, "left"] = told.pop((node, "filtered")) + told.pop((node, "absorbed"))
    known = {node.id for stage in topology.stages if stage.id in tracked for node in stage.nodes}
    got = {name: rows for name, rows in told.items() if name[0] in known and rows}
    expected = {name: rows for name, rows in wanted.items() if rows}
    differ = {name: (got.get(name), expected.get(name)) for name in {*got, *expected}}
    differ = {name: both for name, both in differ.items() if both[0] != both[1]}
    assert not differ, f"(executions, ledger) by node and counter: {differ}"
