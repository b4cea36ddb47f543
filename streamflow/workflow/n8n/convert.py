"""From an export to the draft of a document and the report."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping

from streamflow.sdk.node import Node
from streamflow.workflow.error_forms import RETRY_TOTAL_MS_MAX
from streamflow.workflow.n8n.draft import Draft, DraftNode, DraftWire, End
from streamflow.workflow.n8n.made import Made
from streamflow.workflow.n8n.make_control import LOOP
from streamflow.workflow.n8n.meeting import bring_together
from streamflow.workflow.n8n.model import Export, N8nNode
from streamflow.workflow.n8n.names import node_ids, slug, unique
from streamflow.workflow.n8n.nodes import STUB, Maker, Refusal
from streamflow.workflow.n8n.pinned import tests_of
from streamflow.workflow.n8n.printed import Printed, key_of
from streamflow.workflow.n8n.printer import Names
from streamflow.workflow.n8n.report import NodeFate, Report
from streamflow.workflow.n8n.roles import MAIN, Roles, leading_back, reached, roles_of
from streamflow.workflow.n8n.settings import policies_of, told_settings
from streamflow.workflow.n8n.wiring import Wiring, drop_unreached

UNREACHED = "no trigger reaches it"
_IDLE = frozenset(("true", "false", "null"))


def convert(
    export: Export,
    kinds: Mapping[str, type[Node]],
    *,
    refused: Mapping[int, Refusal] | None = None,
    refused_wires: Mapping[int, str] | None = None,
    with_pinned: bool = True,
) -> tuple[Draft, Report]:
    """The draft and the report. `refused`: nodes (by index) that must be stubs; `refused_wires`: wires to leave out.

    Raises:
        ImportRefused: something of the export would not be accounted for.
    """
    work = _Conversion(export, kinds, refused or {}, refused_wires or {})
    return work.run(with_pinned=with_pinned)


class _Conversion:
    def __init__(
        self,
        export: Export,
        kinds: Mapping[str, type[Node]],
        refused: Mapping[int, Refusal],
        refused_wires: Mapping[int, str],
    ) -> None:
        self.export, self.kinds, self.refused, self.refused_wires = export, kinds, refused, refused_wires
        self.roles: Roles = roles_of(export)
        self.ids = node_ids(n for n in export.nodes if n.index in self.roles.flow)
        self.taken = set(self.ids.values()) | _IDLE
        by_name: dict[str, str] = {}
        for node in export.nodes:
            if node.index in self.ids:
                by_name.setdefault(node.name, self.ids[node.index])
        self.names = Names(nodes=by_name, workflow_name=export.name, loops=LOOP in kinds)
        self.made: dict[int, Made] = {}
        self.entries = dict(self.ids)
        self.drafts: dict[int, list[DraftNode]] = {}
        self.fates: dict[int, NodeFate] = {}
        self.added: list[DraftNode] = []
        self.told: list[str] = []

    def run(self, *, with_pinned: bool) -> tuple[Draft, Report]:
        starts = self._starts()
        live = reached(starts, self.export.wires)
        self._make_nodes(live)
        back = leading_back(starts, self.export.wires)
        left = {n.index: UNREACHED for n in self.export.nodes if n.index in self.ids and n.index not in live}
        wiring = Wiring(
            self.export, self.roles, self.made, self.ids, self.entries, self.kinds, self.taken, self.refused_wires,
            back, left,
        )  # fmt: skip
        wiring.connect()
        self._policies(wiring)
        nodes = [draft for node in self.export.nodes for draft in self.drafts.get(node.index, ())]
        wires = wiring.wires
        self._start(starts, nodes, wires)
        nodes += wiring.added
        self.added += wiring.added
        bring_together(nodes, wires, self._typed(), self.taken, self.added)
        self._leave_out(nodes, wires, wiring)
        draft = self._draft(nodes, wires)
        report = self._report(wiring, draft)
        if with_pinned:
            draft.tests, report.pinned = tests_of(self.export, self.ids, nodes, self._trigger_ids())
        elif self.export.pinned:
            report.pinned = ["pinned data is left out: with it the document would be too large"]
        report.check(len(self.export.nodes), len(self.export.wires))
        return draft, report

    def _starts(self) -> list[int]:
        """Where items begin: triggers; without any, nodes that nothing leads to, else the first one."""
        found = [n.index for n in self.export.nodes if n.index in self.roles.triggers]
        if found:
            return found
        entered = {w.target for w in self.export.wires if w.type == MAIN and w.source is not None}
        flow = [n.index for n in self.export.nodes if n.index in self.roles.flow]
        return [index for index in flow if index not in entered] or flow[:1]

    def _make_nodes(self, live: set[int]) -> None:
        maker = Maker(self.export, self.roles, self.ids, self.names, self.kinds, self.refused, live)
        for node in self.export.nodes:
            if node.index not in self.ids:
                self.fates[node.index] = self._aside(node)
                continue
            made, fate = maker.make(node)
            if node.index not in live:
                fate.outcome, fate.why, fate.at = "left_out", UNREACHED, ""
            self.made[node.index], self.fates[node.index] = made, fate
            self.drafts[node.index] = self._drafts_of(node, made, commented="" if node.index in live else UNREACHED)

    def _aside(self, node: N8nNode) -> NodeFate:
        owner = self.roles.attached.get(node.index)
        fate = NodeFate(
            place=node.place, name=node.name, type=node.full_type, version=node.version,
            outcome="comment" if owner is None else "attached",
        )  # fmt: skip
        if owner is not None:
            fate.id = self.ids[owner]
        return fate

    def _drafts_of(self, node: N8nNode, made: Made, *, commented: str) -> list[DraftNode]:
        """The node, with the steps before it."""
        made_of: list[DraftNode] = []
        before = ""
        for step in made.before:
            before = unique(f"{self.ids[node.index]}-before", self.taken)
            if not made_of:
                self.entries[node.index] = before
            made_of.append(DraftNode(id=before, kind=step.kind, params=step.params, commented=commented))
        main = DraftNode(
            id=self.ids[node.index], kind=made.kind, params=made.params, index=node.index, name=node.name,
            comments=made.comments, disabled=node.disabled and made.kind not in ("manual", "no-op"), notes=node.notes,
            position=node.position, credentials=node.credentials, version=f"{node.version:g}", commented=commented,
            when_typed=made.when_typed,
        )  # fmt: skip
        return [*made_of, main]

    def _policies(self, wiring: Wiring) -> None:
        """Steps before nodes are wired; what becomes of failures and retries."""
        for node in self.export.nodes:
            drafts = self.drafts.get(node.index, [])
            for one, other in itertools.pairwise(drafts):
                reason = one.commented
                wiring.wires.append(DraftWire(source=End(one.id), target=End(other.id), commented=reason))
            if not drafts or drafts[-1].commented:
                continue
            made, fate, draft = self.made[node.index], self.fates[node.index], drafts[-1]
            draft.on_error, notes = wiring.continued(node, made)
            fate.notes += notes
            kind = self.kinds.get(made.kind)
            if node.retry and kind is not None:
                if node.index in self.roles.triggers or not kind.spec.can_fail:
                    fate.notes.append(f"retryOnFail has no meaning here: {made.kind} cannot fail")
                else:
                    draft.retry = self._retry(node, fate)

    def _retry(self, node: N8nNode, fate: NodeFate) -> dict[str, int]:
        tries = min(max(node.tries, 1), 100)
        wait = min(max(node.wait_ms, 0), RETRY_TOTAL_MS_MAX)
        longest = RETRY_TOTAL_MS_MAX // max(tries - 1, 1)
        if wait > longest:
            fate.notes.append(f"tries wait {longest} ms instead of {wait} ms: together at most {RETRY_TOTAL_MS_MAX} ms")
        return {"attempts": tries, "delay_ms": min(wait, longest)}

    def _start(self, starts: list[int], nodes: list[DraftNode], wires: list[DraftWire]) -> None:
        """Without a trigger one is added."""
        if self.roles.triggers:
            return
        start = unique("start", self.taken)
        node = DraftNode(id=start, kind="manual", params={}, comments=("The export has no trigger.",))
        nodes.insert(0, node)
        self.added.append(node)
        for index in starts:
            made = self.made[index]
            port = next((p for p in made.inputs if p), "in")
            wires.append(DraftWire(source=End(start), target=End(self.entries[index], "" if port == "in" else port)))

    def _typed(self) -> dict[str, bool]:
        """Nodes whose items have a schema of their own, by id."""
        return {self.ids[index]: made.typed for index, made in self.made.items()}

    def _trigger_ids(self) -> dict[int, str]:
        return {index: self.entries[index] for index in self.roles.triggers}

    def _leave_out(self, nodes: list[DraftNode], wires: list[DraftWire], wiring: Wiring) -> None:
        """What nothing reaches once all is connected becomes comments, with its wires."""
        begin = {node.id for node in nodes if self._is_trigger(node)}
        gone = drop_unreached(nodes, wires, begin)
        for node in nodes:
            if node.id in gone:
                node.commented = UNREACHED
                if node.index is not None:
                    fate = self.fates[node.index]
                    fate.outcome, fate.why, fate.at = "left_out", "what led to it is left out", ""
        for wire in wires:
            if not wire.commented and {wire.source.node, wire.target.node} & gone:
                wire.commented = UNREACHED
        wiring.settle()

    def _is_trigger(self, node: DraftNode) -> bool:
        if node.commented or node.kind not in self.kinds:
            return False
        return not self.kinds[node.kind].spec.inputs

    def _draft(self, nodes: list[DraftNode], wires: list[DraftWire]) -> Draft:
        if not any(not node.commented for node in nodes):
            node = DraftNode(id=unique("start", self.taken), kind="manual", params={"items": []})
            nodes.append(node)
            self.added.append(node)
        draft = Draft(workflow=slug(self.export.name) or "imported", title=self.export.name, nodes=nodes, wires=wires)
        said = json.dumps([node.params for node in nodes if node.kind != STUB], default=str)
        draft.vars = {name: source for name, source in self.names.vars.items() if _reads(said, name)}
        draft.texts = {name: text for name, text in self.names.texts.items() if _reads(said, name)}
        draft.footer = policies_of(self.export.settings, draft.workflow)
        draft.header = [
            line
            for node in self.export.nodes
            if node.index in self.roles.notes
            for line in ("", f"{node.name}:", *node.parameters["content"].text().splitlines())
        ]
        return draft

    def _report(self, wiring: Wiring, draft: Draft) -> Report:
        return Report(
            workflow=draft.workflow,
            name=self.export.name,
            nodes=[self.fates[node.index] for node in self.export.nodes],
            connections=wiring.fates,
            unreadable=list(self.export.unreadable),
            added=[f"{node.id} ({node.kind})" for node in self.added],
            settings=told_settings(self.export.settings),
            variables=dict(draft.vars),
        )


def _reads(said: str, name: str) -> bool:
    """Whether a variable is read by what nodes say: nodes that became stubs in the end read nothing."""
    return key_of(Printed("vars"), name).text in said or json.dumps(key_of(Printed("vars"), name).text)[1:-1] in said
