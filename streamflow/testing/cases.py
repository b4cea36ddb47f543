"""Test cases of a workflow: given input items, expected items per node."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence

import orjson

from streamflow.runtime.build import Functions
from streamflow.runtime.signals import waiting_nodes
from streamflow.sdk.errors import Stopped
from streamflow.sdk.registry import NodeRegistry
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.plan import Topology
from streamflow.workflow.model import TestCase

_SHOWN_MAX = 40


def run_case(
    case: TestCase, topology: Topology, *, nodes: NodeRegistry, functions: Functions | None = None
) -> list[str]:
    """Differences between what a case expects and what the workflow does; an empty list means none.

    Input is given in its order; under the id of a node that waits for signals, these come. Then the clock goes on until
    nothing waits for it.

    `expect` names `node`, `node.port` or `dead_letters` (there a list of {node, code, item}, each key optional), and
    `stopped: true` where the workflow is to stop.
    """
    driver = TopologyDriver(topology, nodes=nodes, functions=functions)
    differences: list[str] = []
    waiting = waiting_nodes(topology)
    stops = "stopped" in case.expect
    try:
        for trigger, items in case.input.items():
            if trigger in waiting:
                driver.signal(trigger, items)
            else:
                driver.feed(trigger, items)
        driver.pass_time()
    except Stopped as stop:
        if not stops:
            return [f"the workflow stopped: {stop.message}"]
    else:
        if stops:
            differences.append("stopped: the workflow was to stop, and did not")
    for name, expected in case.expect.items():
        if name == "stopped":
            continue
        if name == "dead_letters":
            got: Sequence[object] = driver.dead_letters()
            got = [_only(g, e) for g, e in zip(got, expected, strict=False)] + list(got[len(expected) :])
        else:
            node, _, port = name.partition(".")
            got = driver.items(node, port)
        if not same(got, expected):
            differences.append(_show(name, expected, got))
    return differences


def same(a: object, b: object) -> bool:
    """Equal as JSON values: 1 and 1.0 are, NaN is itself, doubles may differ in the last bits."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or math.isclose(a, b, rel_tol=1e-12) or (a != a and b != b)  # noqa: PLR0124
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str) and not isinstance(b, str):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def _only(got: object, expected: object) -> object:
    if isinstance(got, dict) and isinstance(expected, dict):
        return {k: got.get(k) for k in expected}
    return got


def _show(name: str, expected: Sequence[object], got: Sequence[object]) -> str:
    if len(expected) == len(got):
        lines = [
            f"item {i}: {line}" for i, pair in enumerate(zip(expected, got, strict=True)) for line in _fields(*pair)
        ]
        more = f"\n… and {len(lines) - _SHOWN_MAX} more" if len(lines) > _SHOWN_MAX else ""
        return f"{name}: not as expected\n" + "\n".join(lines[:_SHOWN_MAX]) + more
    left = [_line(v) for v in expected]
    right = [_line(v) for v in got]
    lines = list(difflib.unified_diff(left, right, "expected", "got", lineterm="", n=1))[:_SHOWN_MAX]
    return f"{name}: {len(expected)} items expected, {len(got)} got\n" + "\n".join(lines)


def _fields(expected: object, got: object, at: str = "") -> Iterator[str]:
    """Where two items differ, field by field."""
    if same(got, expected):
        return
    if not isinstance(expected, dict) or not isinstance(got, dict):
        yield f"{at}{': ' if at else ''}{_line(expected)} expected, {_line(got)} got"
        return
    for field in dict.fromkeys((*expected, *got)):
        path = f"{at}.{field}" if at else str(field)
        if field not in got:
            yield f"{path}: {_line(expected[field])} expected, the item has no such field"
        elif field not in expected:
            yield f"{path}: not expected, {_line(got[field])} got"
        else:
            yield from _fields(expected[field], got[field], path)


def _line(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()
