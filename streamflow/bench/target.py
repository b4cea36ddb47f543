"""What is measured: the workflow as its file says, but with topics of its own, so that nobody's records are touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from streamflow.compiler import compile_document
from streamflow.nodes import registry
from streamflow.sdk.errors import UsageError
from streamflow.topology.plan import TopicPlan, Topology
from streamflow.workflow.model import NodeEntry, WorkflowDocument

# Kinds whose effect is outside of the log: a measurement would send, or write, for real.
OUTSIDE: Final = ("notification", "write-file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A workflow to measure. `sources`: topics that it reads and that are filled; `sinks`: those that it writes."""

    document: WorkflowDocument
    topology: Topology
    sources: tuple[TopicPlan, ...]
    sinks: tuple[TopicPlan, ...]

    def time_of(self, topic: str) -> str:
        """The expression by which records of a source have their event time; "" is the record's own."""
        return next((i.time for stage in self.topology.stages for i in stage.inputs if i.topic == topic), "")


def target(document: WorkflowDocument, prefix: str = "") -> Target:
    """The workflow with `prefix` before its name and those of all topics that it names. Raises UsageError where it
    cannot be measured.
    """
    outside = [node.id for node in document.nodes if node.type in OUTSIDE and not node.disabled]
    if outside:
        raise UsageError(
            f"nodes {', '.join(map(repr, outside))} act outside of the log, and a measurement would do so for real.",
            mend="Set `disabled: true` at them, or measure a copy of the workflow without them.",
        )
    if prefix:
        document = replace(
            document, name=prefix + document.name, nodes=tuple(_renamed(n, prefix) for n in document.nodes)
        )
    topology, findings = compile_document(document, registry())
    wrong = [f for f in findings if f.severity == "error"]
    if topology is None or wrong:
        raise UsageError(f"the workflow cannot run: {wrong[0] if wrong else ''}", mend="`streamflow check` tells all.")
    sources = tuple(t for t in topology.topics if t.kind == "source")
    if not sources:
        raise UsageError(
            "no node of the workflow reads a topic, so there is nothing to send it records by.",
            mend="`bench` measures workflows with an `event` trigger.",
        )
    return Target(
        document=document, topology=topology, sources=sources,
        sinks=tuple(t for t in topology.topics if t.kind == "sink"),
    )  # fmt: skip


def _renamed(node: NodeEntry, prefix: str) -> NodeEntry:
    values: Mapping[str, object] = node.params.values
    topic = values.get("topic")
    if not isinstance(topic, str):
        return node
    return replace(node, params=replace(node.params, values={**values, "topic": prefix + topic}))
