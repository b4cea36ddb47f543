"""Workflows with a node that fails when a test says so, on the topology driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streamflow.compiler import compile_document
from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.plan import Topology
from streamflow.workflow.builder import Workflow

Call = Callable[[dict[str, Any]], Any]


def topology(call: Call, **node: Any) -> tuple[Topology, Mapping[str, Call]]:
    """src -> shaky (calls `call`) -> out, and errors -> failed where the error port takes them."""
    wf = Workflow("w")
    src = wf.node("src", "event", topic="in", format="json")
    shaky = wf.node("shaky", "function", parameters={"function": call}, **node)
    out = wf.node("out", "no-op")
    src >> shaky >> out
    document = wf.document()
    made, findings = compile_document(document, registry())
    assert made is not None, [str(f) for f in findings]
    return made, document.functions


def driver(call: Call, *, step_rows: int = 1 << 30, **node: Any) -> TopologyDriver:
    made, functions = topology(call, **node)
    return TopologyDriver(made, nodes=registry(), functions=functions, step_rows=step_rows)


def feed(to: TopologyDriver, items: list[dict[str, Any]]) -> None:
    """Items `{k, n}` with their key."""
    to.feed("src", items, keys=[None if i["k"] is None else i["k"].encode() for i in items])


def dead(of: TopologyDriver) -> list[tuple[int, str, int]]:
    """(n, code, attempt) of each dead letter, in order."""
    attempts = [
        tries
        for batch in of.dead
        for tries in (batch.frame["@error_attempt"] if "@error_attempt" in batch.frame.columns else [1] * len(batch))
    ]
    letters = of.dead_letters()
    return [(d["item"]["n"], str(d["code"]), tries) for d, tries in zip(letters, attempts, strict=True)]  # type: ignore[index]
