"""Imports an export so that the document passes its check: what the check refuses of a node makes it a stub.

The mapping knows n8n, the check knows this house: types along the graph, what may stand where. So the import asks the
check, takes back what it refused, and asks again. What was refused is said in the report, at its node.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streamflow.sdk.node import Node
from streamflow.sdk.places import Diagnostic
from streamflow.workflow.n8n.convert import convert
from streamflow.workflow.n8n.draft import Draft
from streamflow.workflow.n8n.model import Export
from streamflow.workflow.n8n.nodes import STUB, Refusal
from streamflow.workflow.n8n.problems import ImportRefused
from streamflow.workflow.n8n.report import Report
from streamflow.workflow.n8n.writing import Written, write
from streamflow.workflow.tree import DEPTH_MAX, NODES_MAX, SIZE_BYTES_MAX

ROUNDS_MAX = 12
_SPREADING = ("SF225", "SF227")  # all items of an execution are needed in one place, and are not there
_ROOM = 0.98  # of a document's limits

Check = Callable[[str], Sequence[Diagnostic]]


@dataclass(frozen=True, slots=True)
class Imported:
    """A workflow document, the report, and what the check still finds: warnings, or errors that could not be mended."""

    text: str
    report: Report
    findings: tuple[Diagnostic, ...]

    @property
    def ok(self) -> bool:
        return not any(f.severity == "error" for f in self.findings)


def import_export(export: Export, kinds: Mapping[str, type[Node]], check: Check) -> Imported:
    """Import one workflow. `check`: what is wrong with a document's text, as `streamflow check` finds it.

    Raises:
        ImportRefused: what it says is too large for a document, or something would not be accounted for.
    """
    refused: dict[int, Refusal] = {}
    refused_wires: dict[int, str] = {}
    for number in range(ROUNDS_MAX):
        draft, report, written = _written(export, kinds, refused, refused_wires)
        findings = tuple(check(written.text))
        errors = [f for f in findings if f.severity == "error"]
        if not errors:
            break
        if not _take_back(errors, written, refused) or number == ROUNDS_MAX - 2:
            # What cannot be laid at the door of a node: none stays that is no stub already.
            more = {
                n.index: Refusal("the workflow did not pass its check with it")
                for n in draft.nodes
                if n.index is not None and n.kind not in (STUB, "manual", "event") and n.index not in refused
            }
            if not more:
                break
            refused |= more
    return Imported(written.text, report, findings)


def _take_back(errors: Sequence[Diagnostic], written: Written, refused: dict[int, Refusal]) -> bool:
    """Note the nodes that errors are about; false where there are none."""
    by_id = {node.id: node for node in written.nodes.values()}
    found = False
    if spread := next((e for e in errors if e.code in _SPREADING), None):
        # What removes duplicates moves items to other partitions; nodes that need all items then fail behind it.
        for one in by_id.values():
            if one.kind == "dedupe" and one.index is not None and one.index not in refused:
                refused[one.index] = Refusal(f"it moves items to other partitions: {spread.message}"[:300])
                found = True
        if found:
            return True
    for error in errors:
        node = written.nodes.get(error.place.line)
        if node is None and (wire := written.wires.get(error.place.line)) is not None:
            node = by_id.get(wire.target.node)
            if node is None or node.index is None or node.kind == STUB:
                node = by_id.get(wire.source.node)
        while node is not None and node.index is None:  # a step before a node, or what was put in: the node behind it
            following = [w.target.node for w in written.wires.values() if w.source.node == node.id]
            node = by_id.get(following[0]) if following else None
        if node is None or node.index is None or node.index in refused or node.kind == STUB:
            continue
        refused[node.index] = Refusal(f"{error.code}: {error.message}"[:300])
        found = True
    return found


def _written(
    export: Export, kinds: Mapping[str, type[Node]], refused: Mapping[int, Refusal], wires: Mapping[int, str]
) -> tuple[Draft, Report, Written]:
    """The document, within the limits that documents have: what is only for readers makes room first."""
    for stage in range(4):
        draft, report = convert(export, kinds, refused=refused, refused_wires=wires, with_pinned=stage < 1)
        told = _make_room(draft, stage)
        if told:
            report.settings.append(told)
        written = write(draft, report.lines()[:2])
        if _fits(draft, written.text):
            return draft, report, written
    raise ImportRefused(
        f"the document would be larger than a document may be: {SIZE_BYTES_MAX:,} bytes, {NODES_MAX:,} values.",
        mend="Split the workflow in n8n.",
    )


def _make_room(draft: Draft, stage: int) -> str:
    """Parameters of stubs become one text each, then go, as far as the stage wants it; what the report says of it."""
    for node in draft.nodes:
        original = node.params.get("original")
        if original is None or node.kind != STUB:
            continue
        if stage >= 3:
            node.params = {k: v for k, v in node.params.items() if k != "original"}
        elif stage == 2 or _depth(original) > DEPTH_MAX - 10:
            node.params = {**node.params, "original": json.dumps(original, ensure_ascii=False)}
    if stage >= 3:
        draft.header = []
        return "parameters of stubs and notes are left out: with them the document would be too large"
    return ""


def _fits(draft: Draft, text: str) -> bool:
    values = (
        len(draft.vars)
        + len(draft.texts)
        + sum(_count(node.to_plain()) + 2 for node in draft.nodes)
        + len(draft.wires)
        + _count(draft.tests)
    )
    return len(text.encode()) < SIZE_BYTES_MAX * _ROOM and values < NODES_MAX * _ROOM


def _count(value: object) -> int:
    """Scalars, keys and collections in a value."""
    if isinstance(value, Mapping):
        return 1 + sum(1 + _count(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return 1 + sum(_count(inner) for inner in value)
    return 1


def _depth(value: object) -> int:
    if isinstance(value, Mapping):
        return 1 + max((_depth(inner) for inner in value.values()), default=0)
    if isinstance(value, list | tuple):
        return 1 + max((_depth(inner) for inner in value), default=0)
    return 0
