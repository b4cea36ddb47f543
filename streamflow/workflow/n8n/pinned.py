"""Pinned data as test cases: what is pinned to a trigger goes in, what is pinned to other nodes is expected of them."""

from __future__ import annotations

from collections.abc import Mapping

from streamflow.workflow.n8n.draft import DraftNode
from streamflow.workflow.n8n.model import Export

ITEMS_MAX = 200  # of a node


def tests_of(
    export: Export, ids: Mapping[int, str], nodes: list[DraftNode], triggers: Mapping[int, str]
) -> tuple[list[dict[str, object]], list[str]]:
    """(test cases, what the report says of pinned data)."""
    given: dict[str, object] = {}
    expected: dict[str, object] = {}
    told: list[str] = []
    by_name = {node.name: node.index for node in reversed(export.nodes)}
    there = {node.id: node for node in nodes if not node.commented}
    for name, items in export.pinned.items():
        index = by_name.get(name)
        if index is None or index not in ids or ids[index] not in there:
            told.append(f"data pinned to {name!r} is left out: the node is not in the document")
            continue
        shown = list(items[:ITEMS_MAX])
        if len(items) > ITEMS_MAX:
            told.append(f"of {len(items):,} items pinned to {name!r} the first {ITEMS_MAX} are in the test case")
        if index in triggers:
            given[triggers[index]] = shown
        else:
            expected[ids[index]] = shown
    if not given and not expected:
        return [], told
    told.append("pinned data became the test case 'pinned'")
    if any(there[node].kind == "stub" for node in expected):
        told.append("the test case expects items of stubs: it passes once they are replaced")
    return [{"name": "pinned", **({"input": given} if given else {}), "expect": expected}], told
