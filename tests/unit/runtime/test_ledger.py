"""Ledger records come back as they were written; audit finds every kind of loss and repetition."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.model.positions import OffsetRange, TopicPartition
from streamflow.model.types import STRING, record_of
from streamflow.runtime.audit import Known, audit
from streamflow.runtime.ledger import SCHEMA, LedgerRecord, NodeCounts, SinkCounts, SourceCounts
from streamflow.sdk.errors import CodecError
from streamflow.topology.plan import InputPlan, NodePlan, StagePlan, Wire

COUNTS = st.integers(0, 2**62)
PLACES = st.builds(TopicPartition, st.text(max_size=4), st.integers(0, 2**31 - 1))
RECORDS = st.builds(
    LedgerRecord,
    stage=st.text(max_size=4),
    partition=st.integers(0, 9),
    sources=st.lists(
        st.builds(
            SourceCounts,
            node=st.text(max_size=3),
            at=PLACES,
            range=st.builds(OffsetRange, COUNTS, COUNTS),
            records=COUNTS,
            rows=COUNTS,
            markers=COUNTS,
            dead_lettered=COUNTS,
            continued=COUNTS,
        ),
        max_size=2,
    ).map(tuple),
    nodes=st.lists(
        st.builds(
            NodeCounts,
            **dict.fromkeys(("rows_in", "forwarded", "filtered", "absorbed", "waiting", "dead_lettered"), COUNTS),
            node=st.text(max_size=3),
            to_error_port=COUNTS,
            continued=COUNTS,
            rows_out=COUNTS,
            emitted=COUNTS,
            ports=st.dictionaries(st.text(max_size=3), COUNTS, max_size=2),
        ),
        max_size=2,
    ).map(tuple),
    sinks=st.lists(
        st.builds(SinkCounts, node=st.text(max_size=3), at=PLACES, rows=COUNTS, markers=COUNTS, dead_lettered=COUNTS),
        max_size=2,
    ).map(tuple),
    dead_letters=COUNTS,
)


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: LedgerRecord) -> None:
    assert LedgerRecord.decode(record.encode()) == record


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    with suppress(CodecError):
        LedgerRecord.decode(value)


def test_the_schema_file_is_the_schema() -> None:
    stored = Path(__file__).parents[3] / "schemas" / "ledger.avsc"
    assert json.loads(stored.read_text("utf-8")) == SCHEMA


IN, OUT = TopicPartition("shop.orders", 0), TopicPartition("shop.big-orders", 0)
ITEM = record_of({"id": STRING})
STAGE = StagePlan(
    id="placed",
    inputs=(InputPlan(node="placed", topic="shop.orders", schema=ITEM),),
    nodes=(
        NodePlan(id="large", kind="if", wires={"in": (Wire(node="placed"),)}, outputs={"true": ITEM, "false": ITEM}),
        NodePlan(id="alert", kind="publish", wires={"in": (Wire(node="large", port="true"),)}),
    ),
)


def commit(first: int, end: int) -> LedgerRecord:
    """A commit without a flaw: a record that does not decode, a row that fails, half of the rest is filtered."""
    n = end - first
    kept = (n - 2) // 2
    return LedgerRecord(
        stage="placed",
        partition=0,
        sources=(
            SourceCounts(node="placed", at=IN, range=OffsetRange(first, end), records=n, rows=n - 1, dead_lettered=1),
        ),
        nodes=(
            NodeCounts(
                node="large",
                rows_in=n - 1,
                forwarded=kept,
                filtered=n - 2 - kept,
                dead_lettered=1,
                rows_out=kept,
                ports={"true": kept},
            ),
            NodeCounts(node="alert", rows_in=kept, forwarded=kept, rows_out=kept, ports={"records": kept}),
        ),
        sinks=(SinkCounts(node="alert", at=OUT, rows=kept),),
        dead_letters=2,
    )


GOOD = [commit(0, 10), commit(10, 20), commit(20, 30)]
KNOWN = Known(read={("placed", IN): OffsetRange(0, 30)}, written={OUT: 12}, stages={"placed": STAGE})


def changed(index: int, edit: Callable[[LedgerRecord], LedgerRecord]) -> list[LedgerRecord]:
    return [edit(record) if i == index else record for i, record in enumerate(GOOD)]


def node(name: str, **counts: object) -> Callable[[LedgerRecord], LedgerRecord]:
    def edit(record: LedgerRecord) -> LedgerRecord:
        return replace(
            record,
            nodes=tuple(replace(n, **counts) if n.node == name else n for n in record.nodes),  # type: ignore[arg-type]
        )

    return edit


def source(**counts: object) -> Callable[[LedgerRecord], LedgerRecord]:
    return lambda record: replace(record, sources=(replace(record.sources[0], **counts),))  # type: ignore[arg-type]


def sink(**counts: object) -> Callable[[LedgerRecord], LedgerRecord]:
    return lambda record: replace(record, sinks=(replace(record.sinks[0], **counts),))  # type: ignore[arg-type]


def test_a_sound_ledger_has_no_findings() -> None:
    report = audit(GOOD, KNOWN)
    assert report.findings == ()
    assert report.ok
    (stage,) = report.stages
    assert (stage.records, stage.dead_letters, stage.rows_to_topics) == (30, 6, {"shop.big-orders": 12})
    assert "nothing lost, nothing doubled" in report.text()
    assert json.loads(report.json())["ok"] is True


@pytest.mark.parametrize(
    ("records", "rule"),
    [
        ([GOOD[0], GOOD[2]], "gap"),
        ([GOOD[0], GOOD[1], GOOD[1], GOOD[2]], "overlap"),
        ([GOOD[0], commit(8, 20), GOOD[2]], "overlap"),
        (GOOD[1:], "start"),
        (GOOD[:2], "end"),
        (changed(1, source(rows=8)), "source"),
        (changed(1, source(range=OffsetRange(20, 10))), "range"),
        (changed(1, source(records=11, rows=10)), "range"),
        (changed(1, node("large", filtered=3)), "fates"),
        (changed(1, node("large", rows_out=5, ports={"true": 5})), "wire"),
        (changed(1, node("large", forwarded=0, filtered=8)), "children"),
        (changed(1, node("large", rows_out=0, ports={})), "children"),
        (changed(1, node("large", ports={"true": 3})), "ports"),
        (changed(1, node("alert", rows_in=3, forwarded=3)), "wire"),
        (changed(1, sink(rows=3)), "sink"),
        (changed(1, sink(rows=5, dead_lettered=0)), "sink"),
        (changed(1, lambda r: replace(r, dead_letters=1)), "dead_letters"),
        (changed(1, node("large", filtered=-1, forwarded=9)), "negative"),
    ],
)
def test_each_flaw_is_found_and_named(records: list[LedgerRecord], rule: str) -> None:
    report = audit(records, KNOWN)
    assert rule in {f.rule for f in report.findings}, report.text()
    assert not report.ok
    finding = next(f for f in report.findings if f.rule == rule)
    assert finding.stage == "placed"
    assert str(finding) in report.text()


def test_a_finding_says_where_what_was_expected_and_what_was_found() -> None:
    (finding,) = audit([GOOD[0], GOOD[2]], Known(read=KNOWN.read)).findings
    assert str(finding) == (
        "placed/0, node placed, shop.orders/0 [10, 20): gap: expected the next commit to begin at offset 10, found 20."
    )


def test_more_records_on_a_topic_than_the_ledger_wrote_is_a_finding() -> None:
    (finding,) = audit(GOOD, replace(KNOWN, written={OUT: 13})).findings
    assert (finding.rule, finding.expected, finding.found) == ("topic", "12 records", "13")


def test_a_node_at_the_end_forwards_without_children() -> None:
    plan = replace(STAGE, nodes=(NodePlan(id="write", kind="file", wires={"in": (Wire(node="placed"),)}),))
    record = replace(GOOD[0], nodes=(NodeCounts(node="write", rows_in=9, forwarded=9),), sinks=(), dead_letters=1)
    assert audit([record], Known(stages={"placed": plan})).findings == ()


def test_a_source_that_is_no_topic_writes_all_its_rows() -> None:
    at = TopicPartition("big-orders.load.trigger", 0)
    entry = LedgerRecord(
        stage="load",
        partition=0,
        sources=(SourceCounts(node="load", at=at, range=OffsetRange(0, 5), records=5, rows=4, dead_lettered=1),),
        sinks=(SinkCounts(node="load", at=at, rows=4, markers=2),),
        dead_letters=1,
    )
    assert audit([entry], Known(written={at: 6})).ok
    short = replace(entry, sinks=(replace(entry.sinks[0], rows=3),))
    assert [f.rule for f in audit([short]).findings] == ["sink"]


def test_tasks_and_inputs_are_told_apart() -> None:
    other = TopicPartition("shop.orders", 1)
    second = [replace(source(at=other)(r), partition=1) for r in GOOD]
    read = {**KNOWN.read, ("placed", other): OffsetRange(0, 30)}
    mixed = [r for pair in zip(GOOD, second, strict=True) for r in pair]
    assert audit(mixed, replace(KNOWN, read=read, written={OUT: 24})).ok


def test_a_range_that_nothing_is_known_of_may_start_anywhere() -> None:
    assert audit(GOOD[1:]).ok


def test_an_input_that_no_commit_mentions_is_a_finding() -> None:
    other = TopicPartition("shop.orders", 7)
    report = audit(GOOD, replace(KNOWN, read={**KNOWN.read, ("placed", other): OffsetRange(3, 9)}))
    assert [(f.rule, f.found) for f in report.findings] == [("end", "no commit at all")]


@given(st.lists(st.integers(2, 30), min_size=1, max_size=8))
def test_any_cut_into_commits_passes(sizes: list[int]) -> None:
    records, first = [], 0
    for size in sizes:
        records.append(commit(first, first + size))
        first += size
    kept = sum((n - 2) // 2 for n in sizes)
    known = Known(read={("placed", IN): OffsetRange(0, first)}, written={OUT: kept}, stages={"placed": STAGE})
    assert audit(records, known).ok
