"""Each node of the flow becomes a node here: by the table, else a stub."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from streamflow.sdk.node import Node
from streamflow.sdk.params import param_types
from streamflow.workflow.n8n.made import Made
from streamflow.workflow.n8n.make_flow import foreign_trigger, silent
from streamflow.workflow.n8n.model import Export, N8nNode
from streamflow.workflow.n8n.printer import Names
from streamflow.workflow.n8n.problems import NoEquivalent
from streamflow.workflow.n8n.report import NodeFate
from streamflow.workflow.n8n.roles import MAIN, Roles
from streamflow.workflow.n8n.table import BY_TYPE, outputs_of, why_none
from streamflow.workflow.n8n.values import Values

STUB = "stub"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node is a stub although there is a mapping: what the workflow's check found."""

    why: str


@dataclass(slots=True)
class Maker:
    """Makes the nodes of an export. `names` collects variables that are read; `refused`: nodes that must be stubs."""

    export: Export
    roles: Roles
    ids: Mapping[int, str]
    names: Names
    kinds: Mapping[str, type[Node]]
    refused: Mapping[int, Refusal]
    reached: Collection[int]

    def make(self, node: N8nNode) -> tuple[Made, NodeFate]:
        """The node, and its line of the report."""
        fate = NodeFate(
            place=node.place, name=node.name, type=node.full_type, version=node.version, outcome="mapped",
            id=self.ids[node.index],
        )  # fmt: skip
        self.names.notes.clear()
        made = self._trigger(node, fate) if node.index in self.roles.triggers else self._other(node, fate)
        if made.kind == STUB:
            fate.outcome = "stub"
        elif belonging := self._belongings(node):
            shown = json.dumps(belonging, ensure_ascii=False, indent=1).splitlines()
            made = replace(made, comments=(*made.comments, "What belongs to it in n8n:", *shown))
        fate.kind = made.kind
        fate.notes += [*made.notes, *(self.names.notes if made.kind != STUB else ())]
        fate.notes += self._named(node)
        return made, fate

    def _trigger(self, node: N8nNode, fate: NodeFate) -> Made:
        if node.disabled:
            return silent("disabled: it became a manual trigger without items", comments=foreign_trigger(node).comments)
        try:
            return self._mapped(node) or foreign_trigger(node)
        except NoEquivalent as problem:
            made = foreign_trigger(node)
            return replace(
                made, notes=(*made.notes, f"{problem.path}: {problem.what}" if problem.path else problem.what)
            )

    def _other(self, node: N8nNode, fate: NodeFate) -> Made:
        if (refusal := self.refused.get(node.index)) is not None:
            fate.why = refusal.why
            return self._passing(node, self.stub(node, refusal.why), fate)
        try:
            made = self._mapped(node)
        except NoEquivalent as problem:
            fate.why, fate.at = problem.what, problem.path
            return self._passing(
                node, self.stub(node, f"{problem.path}: {problem.what}" if problem.path else problem.what), fate
            )
        if made is None:
            fate.why = why_none(node.type)
            made = self.stub(node, fate.why)
        return self._passing(node, made, fate)

    def _mapped(self, node: N8nNode) -> Made | None:
        mapped = BY_TYPE.get(node.type)
        if mapped is None:
            return None
        parameters = replace(node.parameters, seen=set())
        made = mapped.make(replace(node, parameters=parameters), Values(self.names))
        if not made.comments and (unseen := parameters.unseen()):
            made = replace(made, notes=(*made.notes, f"not carried over: {', '.join(unseen[:20])}"))
        for name, params in ((made.kind, made.params), *((step.kind, step.params) for step in made.before)):
            kind = self.kinds.get(name)
            if kind is None:
                raise NoEquivalent(f"there is no node kind {name!r} here")
            known = param_types(kind)
            if unknown := next((n for n in params if n not in known and f"{n}_ms" not in known), ""):
                raise NoEquivalent(f"the node kind {name!r} has no {unknown!r} here")
        return made

    def _passing(self, node: N8nNode, made: Made, fate: NodeFate) -> Made:
        """A disabled node passes on its first input by its first output."""
        if not node.disabled:
            return made
        single = len(set(made.inputs)) == len(set(made.outputs)) == 1 and not made.before and made.kind != "merge"
        if single and made.kind in self.kinds and self.kinds[made.kind].spec.outputs:
            return made
        fate.why = fate.at = ""
        shown = json.dumps(node.parameters.raw, ensure_ascii=False, indent=1).splitlines()
        return Made(
            kind="no-op",
            comments=(f"n8n: {node.full_type}, disabled", *shown), notes=(f"disabled: {made.kind!r} became a no-op",),
            outputs=("out", ""), unwired="the node is disabled: items leave by its first output",
        )  # fmt: skip

    def stub(self, node: N8nNode, why: str) -> Made:
        """A stub with all ports that the export's wires use."""
        inputs = max([w.input for w in self.export.wires if w.type == MAIN and w.target == node.index], default=0) + 1
        used = max([w.output for w in self.export.wires if w.type == MAIN and w.source == node.index], default=0) + 1
        outputs = outputs_of(node.type, node.version)
        if not outputs:
            count = self.export.outputs.get(node.index, 0)
            used = max(1, min(used, count - 1) if node.on_error == "continueErrorOutput" and count > 1 else used)
            outputs = ("out",) if used <= 1 else tuple(f"out{at}" for at in range(min(used, 64)))
        names = ("in",) if inputs <= 1 else tuple(f"in{at}" for at in range(min(inputs, 64)))
        params: dict[str, object] = {"of": node.full_type, "why": why[:300]}
        if names != ("in",):
            params["inputs"] = list(names)
        if outputs != ("out",):
            params["outputs"] = list(outputs)
        original = dict(node.parameters.raw) if isinstance(node.parameters.raw, dict) else {}
        if belonging := self._belongings(node):
            original["(attached)"] = belonging
        if original:
            params["original"] = original
        return Made(kind=STUB, params=params, inputs=names, outputs=outputs)

    def _belongings(self, node: N8nNode) -> list[dict[str, object]]:
        return [self._belonging(index) for index, owner in self.roles.attached.items() if owner == node.index]

    def _belonging(self, index: int) -> dict[str, object]:
        """A model, a tool, a memory of a node: what it is, and what it is to whom."""
        node = next(n for n in self.export.nodes if n.index == index)
        into = [
            {"as": w.type, "to": w.target_name}
            for w in self.export.wires
            if w.source == index and w.type != MAIN and w.target is not None
        ]
        made: dict[str, object] = {"name": node.name, "type": node.full_type, "version": node.version, "belongs": into}
        if node.parameters.raw:
            made["parameters"] = node.parameters.raw
        if node.credentials:
            made["credentials"] = node.credentials
        if node.disabled:
            made["disabled"] = True
        return made

    def _named(self, node: N8nNode) -> list[str]:
        """What n8n says of a node that has no meaning here."""
        notes: list[str] = []
        if node.execute_once:
            notes.append("executeOnce is not carried over: every item is processed")
        if node.always_output:
            notes.append("alwaysOutputData is not carried over: without items nothing follows")
        if node.on_error and node.on_error not in ("stopWorkflow", "continueErrorOutput", "continueRegularOutput"):
            notes.append(f"onError {node.on_error!r} is not known")
        return notes
