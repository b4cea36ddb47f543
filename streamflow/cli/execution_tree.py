"""An execution as a tree of its nodes, for people, and as plain facts, for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from streamflow.cli.lines import when
from streamflow.cli.output import counted, one_line
from streamflow.sdk.operator import ENDING_CODES

if TYPE_CHECKING:
    from streamflow.runtime.again_log import Links
    from streamflow.runtime.execution_detail import ExecutionDetail, NodeDetail

_WORDS: Final = {
    "rows_in": "in", "rows_out": "out", "filtered": "filtered", "absorbed": "into state", "emitted": "out of state",
    "continued": "dropped after an error", "to_error_port": "by port error", "dead_lettered": "dead-lettered",
    "cancelled": "cancelled", "timed_out": "timed out",
}  # fmt: skip


def lines_of(one: ExecutionDetail) -> Iterator[str]:
    """The execution as text."""
    stand = one.stand
    yield f"{stand['execution']}  {stand['status']}"
    lasted = stand["last_ms"] - stand["began_ms"]
    begun = f" by trigger {stand['trigger']}" if stand["trigger"] else ""
    yield f"began {when(stand['began_ms'])}{begun}, last step {lasted:,} ms later, {counted(stand['records'], 'step')}"
    if stand["error_code"] is not None:
        yield one_line(_said(stand))
    if one.partial:
        yield "(executions: errors; steps in which nothing failed left no record)"
    yield ""
    rows = list(_tree(one.nodes))
    width = max((len(label) for label, _ in rows), default=0)
    for label, node in rows:
        told = f"{label:<{width}}  {node.status:<9}  {_counts(node)}".rstrip() if node.status else label
        yield told
    if one.samples:
        yield ""
        for sample in one.samples:
            yield one_line(f"{sample['node']}.{sample['port']}: {sample['item']}")


def _said(stand: Any) -> str:
    """The first error, or why the execution ended."""
    node, code, message = (stand[f"error_{name}"] for name in ("node", "code", "message"))
    return f"ended in {node}: {message}" if code in ENDING_CODES else f"error in {node}: {code}: {message}"


def _counts(node: NodeDetail) -> str:
    parts = [f"{rows:,} {_WORDS[c]}" for c, rows in node.rows.items() if rows and c in _WORDS]
    if node.began_ms:
        parts.append(f"+{node.began_ms:,} ms")
    return ", ".join(parts)


def _tree(nodes: tuple[NodeDetail, ...]) -> Iterator[tuple[str, NodeDetail]]:
    """(label with branches, node); a node with several feeders stands below the last of them to be passed."""
    by_id = {node.node: node for node in nodes}
    order = {node.node: i for i, node in enumerate(nodes)}
    feeder: dict[str, tuple[str, str]] = {}
    for node in nodes:
        for port, fed in node.wires:
            if fed in by_id and order[fed] > order[node.node]:
                feeder[fed] = (node.node, port)
    children: dict[str, list[tuple[str, str]]] = {}
    for fed in order:
        if fed in feeder:
            source, port = feeder[fed]
            children.setdefault(source, []).append((port, fed))

    def below(source: str, indent: str) -> Iterator[tuple[str, NodeDetail]]:
        fed = children.get(source, [])
        for i, (port, name) in enumerate(fed):
            last = i == len(fed) - 1
            shown = name if port in ("out", "records") else f"{name} [{port}]"
            yield f"{indent}{'└─ ' if last else '├─ '}{shown}", by_id[name]
            yield from below(name, indent + ("   " if last else "│  "))

    for node in nodes:
        if node.node not in feeder:
            yield node.node, node
            yield from below(node.node, "")


def facts_of(one: ExecutionDetail, workflow: str) -> dict[str, Any]:
    """The execution as JSON; times are UTC, `*_ms` are since it began."""
    return {
        "workflow": workflow,
        **stand_facts(one.stand),
        "partial": one.partial,
        "nodes": [
            {
                "node": n.node, "kind": n.kind, "stage": n.stage, "status": n.status, **n.rows,
                "began_ms": n.began_ms, "last_ms": n.last_ms,
            }
            for n in one.nodes
        ],
        "steps": [
            {name: value for name, value in step.items() if name not in ("execution", "at_ms")}
            | {"at": when(step["at_ms"])}
            for step in one.steps
        ],
        "samples": list(one.samples),
    }  # fmt: skip


def stand_facts(stand: Any) -> dict[str, Any]:
    """How an execution stands, as JSON."""
    error = {name: stand[f"error_{name}"] for name in ("code", "message", "node")}
    context = context_facts(stand)
    return {
        "execution": stand["execution"],
        "status": stand["status"],
        "trigger": stand["trigger"] or None,
        "began": when(stand["began_ms"]),
        "last": when(stand["last_ms"]),
        "steps_told": stand["records"],
        "error": None if stand["error_code"] is None else error,
        **({"context": context} if context else {}),
    }


def context_facts(stand: Any) -> dict[str, str]:
    """User, session, trace and environment of an execution, as far as its records tell them."""
    return {name: stand[name] for name in ("user", "session", "trace", "environment") if stand[name] is not None}


def link_facts(links: Links, execution: str) -> dict[str, Any]:
    """What an execution has to do with others, and what commands did with it; only what there is."""
    made: dict[str, Any] = {}
    if (of := links.retry_of.get(execution)) is not None:
        made["retry_of"] = of
    if retries := links.retried_as.get(execution):
        made["retried_as"] = retries
    if execution in links.compensated:
        made["compensated"] = True
    return made


def print_links(told: dict[str, Any]) -> None:
    """The same as text."""
    if "retry_of" in told:
        print(f"\nretry of {told['retry_of']}")
    for one in told.get("retried_as", ()):
        print(f"\nretried as {one}")
    if told.get("compensated"):
        print("\ncompensated by a command")
