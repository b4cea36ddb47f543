"""Which node of n8n becomes what: all mappings, and how a type is found among them."""

from __future__ import annotations

from collections.abc import Mapping

from streamflow.workflow.n8n import make_conditions, make_control, make_fields, make_flow, make_lists, make_merges
from streamflow.workflow.n8n.made import Mapped

MAPPINGS: tuple[Mapped, ...] = (
    *make_flow.MAPPINGS,
    *make_control.MAPPINGS,
    *make_conditions.MAPPINGS,
    *make_fields.MAPPINGS,
    *make_lists.MAPPINGS,
    *make_merges.MAPPINGS,
)
BY_TYPE = {kind: mapped for mapped in MAPPINGS for kind in mapped.types}

STICKY = "stickyNote"
# Triggers whose names do not say so.
_TRIGGERS = frozenset(("emailReadImap", "start", "webhook", "cron", "interval", "manualTrigger", "sseTrigger"))
# Outputs of nodes that have several and no equivalent.
_OUTPUTS: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "splitInBatches": {1: ("loop",), 2: ("loop", "done"), 3: ("done", "loop")},
    "if": {1: ("true", "false")},
    "compareDatasets": {1: ("only_a", "same", "different", "only_b")},
}


def is_trigger(kind: str) -> bool:
    """Whether a node of this type starts a workflow: n8n's own names and those of community nodes end so."""
    return kind in _TRIGGERS or kind.rpartition(".")[2].lower().endswith("trigger")


def outputs_of(kind: str, version: float) -> tuple[str, ...]:
    """Outputs of a type that has several and no equivalent; () where they are not known."""
    known = _OUTPUTS.get(kind, {})
    return known[max((v for v in known if v <= version), default=min(known))] if known else ()


def why_none(kind: str) -> str:
    """Why there is no equivalent of a type."""
    return {
        "code": "code has to be written anew as a function",
        "function": "code has to be written anew as a function",
        "functionItem": "code has to be written anew as a function",
        "executeWorkflow": "another workflow",
    }.get(kind, "no equivalent")
