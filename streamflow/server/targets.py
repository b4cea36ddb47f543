"""What a request names: a workflow that is served, a signal or a node of it, and whose wait ends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streamflow.operators.signing import Claim, claimed, verify
from streamflow.runtime.signals import Signal, waiting_nodes
from streamflow.sdk.params import suggestion
from streamflow.server.problems import Problem
from streamflow.topology.plan import NodePlan, Topology

TEXT_CHARS_MAX: Final = 1_024
_FIELDS: Final = ("key", "execution", "node", "payload")


@dataclass(frozen=True, slots=True)
class Workflows:
    """The workflows that are served, by name."""

    by_name: Mapping[str, Topology]

    def need(self, name: str) -> Topology:
        """Raises Problem 404."""
        if name not in self.by_name:
            raise Problem(
                404,
                "workflow",
                "it is one that this server serves.",
                found=_shown(name),
                mend=suggestion(name, list(self.by_name)) or "See `streamflow serve`.",
            )
        return self.by_name[name]


def named_nodes(topology: Topology, target: str) -> tuple[str, list[NodePlan], bool]:
    """The signal, the nodes that wait for it, and whether one node was named. Raises Problem 404."""
    waiting = waiting_nodes(topology)
    by_signal = [node for node in waiting.values() if node.params["signal"] == target]
    if by_signal:
        return target, by_signal, False
    if target in waiting:
        node = waiting[target]
        return str(node.params["signal"]), [node], True
    known = sorted({str(node.params["signal"]) for node in waiting.values()} | set(waiting))
    raise Problem(
        404,
        "signal",
        f"it is a signal or a node that waits for one in workflow {topology.workflow!r}.",
        found=_shown(target),
        mend=suggestion(target, known),
    )


def signal_of(topology: Topology, target: str, body: Mapping[str, Any], id: str | None) -> Signal:
    """The signal that a body asks for. Raises Problem 400, 403, 404."""
    name, nodes, only = named_nodes(topology, target)
    if odd := [field for field in body if field not in _FIELDS]:
        raise Problem(
            400,
            f"body.{_shown(odd[0])}",
            f"the body has {', '.join(_FIELDS)}, and no more.",
            mend=suggestion(odd[0], list(_FIELDS)) or "Leave it out.",
        )
    key, execution, node = (_text(body, field) for field in ("key", "execution", "node"))
    if node is not None:
        mine = [one for one in nodes if one.id == node]
        if not mine:
            raise Problem(
                404, "body.node", f"it waits for signal {name!r}.", found=_shown(node),
                mend=suggestion(node, [one.id for one in nodes]),
            )  # fmt: skip
        nodes, only = mine, True
    if key is None and execution is None:
        raise Problem(400, "body", "it says whose wait ends.", mend="Give `key` or `execution`.")
    if key is None and (by_key := [one for one in nodes if one.params.get("key") is not None]):
        raise Problem(400, "body.key", f"node {by_key[0].id!r} waits by key.", found="none", mend="Give `key`.")
    if strict := [one.id for one in nodes if one.params.get("signed")]:
        raise Problem(403, "signal", f"node {strict[0]!r} takes signed signals only.", mend="Send to /resume/TOKEN.")
    payload = body.get("payload")
    return Signal(
        name=name,
        key=key if key is not None else str(execution),
        execution=execution,
        node=nodes[0].id if only else None,
        payload=None if payload is None else _dumped(payload),
        id=id,
    )


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a token is for."""

    topology: Topology
    signal: str
    claim: Claim


def resumed(workflows: Workflows, token: str, signing_key: bytes | None) -> Resumed:
    """What a token ends. Raises Problem 403, the same one whatever is wrong with it."""
    claim = claimed(token)
    right = signing_key is not None and verify(token, claim or Claim("", "", "", ""), signing_key)
    topology = workflows.by_name.get(claim.workflow) if claim is not None else None
    node = waiting_nodes(topology).get(claim.node) if topology is not None and claim is not None else None
    if not right or claim is None or topology is None or node is None:
        raise Problem(403, "token", "it is one that was signed for a workflow here.", mend="Take the link as it came.")
    return Resumed(topology, str(node.params["signal"]), claim)


def needs_signing_key(topologies: Sequence[Topology]) -> bool:
    """Whether some node takes signed signals only."""
    return any(node.params.get("signed") for topology in topologies for node in waiting_nodes(topology).values())


def _text(body: Mapping[str, Any], field: str) -> str | None:
    value = body.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_CHARS_MAX:
        found = f"{len(value):,} characters" if isinstance(value, str) else type(value).__name__
        raise Problem(400, f"body.{field}", f"it is text of 1 to {TEXT_CHARS_MAX:,} characters.", found=found)
    return value


def _dumped(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise Problem(400, "body.payload", "its numbers are finite.") from None


def _shown(text: str) -> str:
    return text[:100] if text.isprintable() else repr(text)[:100]
