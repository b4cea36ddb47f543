"""Adds up the ledger: proves that every record read had exactly one fate, or says where the proof fails.

Rules, by name (a finding carries one):

    start, gap, overlap, end   ranges of an input follow each other without gap or overlap and cover what is known read
    range                      a range runs forward and holds at least as many offsets as records
    source                     records = rows + markers + dead_lettered + continued
    fates, children, ports     per node: each row in (or failed out of state) has one fate; forwarded rows have
    children, and only those;
                               rows out by port add up
    wire                       what enters a node is what the ports wired to it let out
    sink                       what leaves a publishing node is written or dead-lettered
    dead_letters               failed rows and dead letters written agree
    topic                      records on a topic are those that were written to it, where that is known
    negative                   a count below zero
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

import orjson

from streamflow.model.again import AGAIN_NODE
from streamflow.model.positions import OffsetRange, TopicPartition
from streamflow.runtime.ledger import LedgerRecord, NodeCounts
from streamflow.topology.failures import ENDED_PORT, ONWARD_PORT
from streamflow.topology.plan import StagePlan

FINDINGS_MAX = 1_000  # kept in a report; the rest is only counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known besides the ledger; each part that is missing leaves its rule out.

    `read`: per stage and input partition, from where the workflow began to read up to what its group committed.
    `written`: records on a partition that nobody else writes to. `stages`: the plan, by stage id.
    """

    read: Mapping[tuple[str, TopicPartition], OffsetRange] = field(default_factory=dict)
    written: Mapping[TopicPartition, int] = field(default_factory=dict)
    stages: Mapping[str, StagePlan] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place where the proof fails. `range`: offsets of the input, where one is concerned."""

    rule: str
    stage: str
    partition: int | None = None
    node: str = ""
    at: TopicPartition | None = None
    range: OffsetRange | None = None
    expected: str
    found: str

    def __str__(self) -> str:
        task = self.stage if self.partition is None else f"{self.stage}/{self.partition}"
        offsets = f" [{self.range.first}, {self.range.end})" if self.range else ""
        place = f"{self.at}{offsets}" if self.at else ""
        where = ", ".join(part for part in (task, f"node {self.node}" if self.node else "", place) if part)
        return f"{where}: {self.rule}: expected {self.expected}, found {self.found}."


@dataclass(slots=True, kw_only=True)
class StageTotals:
    """What the ledger says of one stage, all commits together."""

    stage: str
    commits: int = 0
    records: int = 0
    rows: int = 0
    markers: int = 0
    filtered: int = 0
    absorbed: int = 0
    emitted: int = 0
    failed: int = 0
    cancelled: int = 0
    timed_out: int = 0
    dead_letters: int = 0
    rows_to_topics: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """Totals by stage and all findings; `findings_count` exceeds their number when there are very many."""

    stages: tuple[StageTotals, ...]
    findings: tuple[Finding, ...]
    findings_count: int

    @property
    def ok(self) -> bool:
        return self.findings_count == 0

    def text(self) -> str:
        """For people."""
        lines = []
        for s in self.stages:
            to = ", ".join(f"{rows} to {topic}" for topic, rows in sorted(s.rows_to_topics.items()))
            lines.append(
                f"stage {s.stage}: {s.commits} commits, {s.records} records in ({s.rows} rows, {s.markers} markers), "
                f"{to or '0 to topics'}, {s.filtered} filtered, {s.absorbed} absorbed, {s.emitted} emitted, "
                f"{s.failed} failed, {s.dead_letters} dead letters"
                + "".join(f", {n} {word}" for n, word in ((s.cancelled, "cancelled"), (s.timed_out, "timed out")) if n)
            )
        lines += [str(finding) for finding in self.findings]
        if self.findings_count > len(self.findings):
            lines.append(f"… and {self.findings_count - len(self.findings)} more findings")
        lines.append("nothing lost, nothing doubled" if self.ok else f"{self.findings_count} findings")
        return "\n".join(lines)

    def json(self) -> str:
        """For programs."""
        findings = [
            asdict(f) | {"at": str(f.at) if f.at else None, "range": list(f.range) if f.range else None, "text": str(f)}
            for f in self.findings
        ]
        stages = [asdict(s) for s in self.stages]
        return orjson.dumps(
            {"ok": self.ok, "stages": stages, "findings": findings, "findings_count": self.findings_count}
        ).decode()


def audit(entries: Iterable[LedgerRecord], known: Known | None = None) -> AuditReport:
    """Check ledger records, each task's in the order of its ledger partition; memory does not grow with them."""
    ledger = _Audit(known or Known())
    for entry in entries:
        ledger.add(entry)
    ledger.finish()
    totals = tuple(ledger.totals[stage] for stage in sorted(ledger.totals))
    return AuditReport(stages=totals, findings=tuple(ledger.findings), findings_count=ledger.findings_count)


class _Audit:
    """The sums while the ledger is read."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._next: dict[tuple[str, TopicPartition], int] = {}
        self._written: dict[TopicPartition, int] = defaultdict(int)
        self.totals: dict[str, StageTotals] = {}
        self.findings: list[Finding] = []
        self.findings_count = 0

    def add(self, entry: LedgerRecord) -> None:
        for finding in (*self._ranges(entry), *_counts(entry, self._known.stages.get(entry.stage))):
            self._report(finding)
        totals = self.totals.setdefault(entry.stage, StageTotals(stage=entry.stage))
        totals.commits += 1
        totals.dead_letters += entry.dead_letters
        for source in entry.sources:
            totals.records += source.records
            totals.rows += source.rows
            totals.markers += source.markers
            totals.failed += source.dead_lettered + source.continued
        for node in entry.nodes:
            totals.filtered += node.filtered
            totals.absorbed += node.absorbed
            totals.emitted += node.emitted
            totals.failed += node.dead_lettered + node.to_error_port + node.continued
            totals.cancelled += node.cancelled
            totals.timed_out += node.timed_out
        for sink in entry.sinks:
            self._written[sink.at] += sink.rows + sink.markers
            totals.rows_to_topics[sink.at.topic] = totals.rows_to_topics.get(sink.at.topic, 0) + sink.rows

    def finish(self) -> None:
        for (stage, at), read in self._known.read.items():
            reached = self._next.get((stage, at))
            if reached is None and read.first == read.end:
                continue  # nothing was there to read
            if reached != read.end:
                found = "no commit at all" if reached is None else f"{reached}"
                self._report(
                    Finding(
                        rule="end",
                        stage=stage,
                        at=at,
                        range=read,
                        found=found,
                        expected=f"commits up to offset {read.end}",
                    )
                )
        for at, records in self._known.written.items():
            if records != self._written[at]:
                expected = f"{self._written[at]} records"
                self._report(Finding(rule="topic", stage="", at=at, expected=expected, found=f"{records}"))

    def _ranges(self, entry: LedgerRecord) -> Iterator[Finding]:
        for source in entry.sources:
            place = entry.stage, source.at
            begins = self._next.get(place)
            rule = "start"
            if begins is None and place in self._known.read:
                begins = self._known.read[place].first
            elif begins is not None:
                rule = "gap" if source.range.first > begins else "overlap"
            if begins is not None and source.range.first != begins:
                low, high = sorted((begins, source.range.first))
                yield Finding(
                    rule=rule,
                    stage=entry.stage,
                    partition=entry.partition,
                    node=source.node,
                    at=source.at,
                    range=OffsetRange(low, high),
                    expected=f"the next commit to begin at offset {begins}",
                    found=f"{source.range.first}",
                )
            self._next[place] = source.range.end

    def _report(self, finding: Finding) -> None:
        self.findings_count += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)


def _counts(entry: LedgerRecord, plan: StagePlan | None) -> Iterator[Finding]:
    """Findings within one commit."""
    yield from _sources(entry)
    planned = {node.id: node for node in plan.nodes} if plan is not None else {}
    for node in entry.nodes:
        known = planned.get(node.node)
        may_have_children = bool(node.ports) if known is None else bool(known.outputs or node.ports)
        for rule, expected, found in _node(node, may_have_children=may_have_children):
            yield Finding(
                rule=rule, stage=entry.stage, partition=entry.partition, node=node.node, expected=expected, found=found
            )
    if plan is not None:
        yield from _wires(entry, plan)
    yield from _sinks(entry, plan)
    failed = sum(s.dead_lettered for s in entry.sources) + sum(n.dead_lettered for n in entry.nodes)
    failed += sum(s.dead_lettered for s in entry.sinks)
    if failed != entry.dead_letters:
        yield Finding(
            rule="dead_letters",
            stage=entry.stage,
            partition=entry.partition,
            expected=f"{failed} dead letters for as many failed rows",
            found=f"{entry.dead_letters}",
        )


def _sources(entry: LedgerRecord) -> Iterator[Finding]:
    for s in entry.sources:
        offsets = s.range.end - s.range.first
        fates = s.rows + s.markers + s.dead_lettered + s.continued
        checks = [
            ("range", offsets < s.records, f"at least {s.records} offsets for as many records", f"{offsets}"),
            ("source", fates != s.records, f"{s.records} records to be accounted for", f"{fates}"),
            (
                "negative",
                min(s.records, s.rows, s.markers, s.dead_lettered, s.continued) < 0,
                "no count below zero",
                "one",
            ),
        ]
        for rule, broken, expected, found in checks:
            if broken:
                yield Finding(
                    rule=rule,
                    stage=entry.stage,
                    partition=entry.partition,
                    node=s.node,
                    at=s.at,
                    range=s.range,
                    expected=expected,
                    found=found,
                )


def _node(n: NodeCounts, *, may_have_children: bool) -> Iterator[tuple[str, str, str]]:
    """Rule, expectation and finding. A node at the end (such as one that writes files) forwards without children."""
    if n.rows_in + n.failed_from_state != n.fates:
        yield (
            "fates",
            f"{n.rows_in + n.failed_from_state} rows in (or failed out of state) to have one fate each",
            f"{n.fates} fates",
        )
    if (n.children and not n.forwarded) or (n.forwarded and not n.children and may_have_children):
        yield "children", f"children of {n.forwarded} forwarded rows", f"{n.children}"
    failed = sum(n.ports.get(port, 0) for port in ("error", ONWARD_PORT, ENDED_PORT))
    if n.ports and sum(n.ports.values()) != n.rows_out + failed:
        yield "ports", f"{n.rows_out} rows out", f"{sum(n.ports.values()) - failed} by port"
    counts = (n.rows_in, n.forwarded, n.filtered, n.absorbed, n.waiting, n.dead_lettered, n.to_error_port, n.continued)
    if min(*counts, n.cancelled, n.timed_out, n.rows_out, n.emitted, n.failed_from_state, n.children) < 0:
        yield "negative", "no count below zero", "one"


def _wires(entry: LedgerRecord, plan: StagePlan) -> Iterator[Finding]:
    out: dict[tuple[str, str], int] = defaultdict(int)
    counted = {n.node: n for n in entry.nodes}
    come_back = {i.node for i in plan.inputs if i.back}
    for s in entry.sources:
        if s.node not in counted or s.node in come_back:  # else by port, below
            out[s.node, "out"] += s.rows
    for n in entry.nodes:
        for port, rows in n.ports.items():
            out[n.node, port] += rows
    again = counted[AGAIN_NODE].ports if AGAIN_NODE in counted else {}
    inside = {node.id for node in plan.nodes}
    for node_id, rows in again.items():  # items that were given again at a trigger; those at nodes are added below
        if node_id not in inside and node_id not in counted:
            out[node_id, "out"] += rows
    for node in plan.nodes:
        wires = [wire for wires in node.wires.values() for wire in wires]
        if any(w.node in counted and counted[w.node].rows_out and not counted[w.node].ports for w in wires):
            continue  # not counted by port
        expected = sum(out[w.node, w.port] for w in wires) + again.get(node.id, 0)
        found = counted[node.id].rows_in if node.id in counted else 0
        if wires and expected != found:
            yield Finding(
                rule="wire",
                stage=entry.stage,
                partition=entry.partition,
                node=node.id,
                expected=f"{expected} rows in, as left by the ports wired to it",
                found=f"{found}",
            )


def _sinks(entry: LedgerRecord, plan: StagePlan | None) -> Iterator[Finding]:
    """Rows for a topic come from a node's port `records`, or straight from a source that is no topic."""
    written: dict[str, int] = defaultdict(int)
    for sink in entry.sinks:
        written[sink.node] += sink.rows + sink.dead_lettered
    made: dict[str, int] = defaultdict(int)
    nodes = {n.node for n in entry.nodes}
    for s in entry.sources:
        if s.node in written and s.node not in nodes:  # what comes back to a loop may be written in its own stage
            made[s.node] += s.rows
    for n in entry.nodes:
        if n.ports or n.node in written:
            made[n.node] += n.ports.get("records", n.rows_out)
    for node in sorted(written.keys() | {n.node for n in entry.nodes if "records" in n.ports}):
        topics = sum(s.wire.node == node for s in plan.sinks) if plan is not None and plan.sinks else 1
        if written[node] != made[node] * topics:
            yield Finding(
                rule="sink",
                stage=entry.stage,
                partition=entry.partition,
                node=node,
                expected=f"{made[node] * topics} rows written to topics or dead-lettered",
                found=f"{written[node]}",
            )
