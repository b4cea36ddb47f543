"""Workflows in Python: the same document as from YAML, where nodes may also be Python functions.

    wf = Workflow("big-orders", on_error="dead_letter")
    placed = wf.event("placed", topic="shop.orders", schema="order.avsc", key="customer", time="ts")
    large = wf.if_("large", when="amount * qty > 500")
    priced = wf.function("priced", price)  # dict -> dict, list of dicts, or None
    alert = wf.publish("alert", topic="shop.big-orders")
    placed >> large
    large["true"] >> priced >> alert

Every built-in kind is a method: its name with `_` for `-`, and a `_` behind Python's keywords (`if_`, `no_op`).
Findings about such a workflow carry the file and line of the call that made the node.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from streamflow.model.policies import OnError
from streamflow.sdk.errors import DocumentError, UsageError
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import ConnectionType, FunctionRef
from streamflow.sdk.params import RawParams, build_form, param_types, spell, suggestion
from streamflow.sdk.places import Diagnostic, Place
from streamflow.workflow.error_forms import Failing, read_on_error
from streamflow.workflow.findings import Findings
from streamflow.workflow.forms import HeaderForm, NodeForm, PoliciesForm
from streamflow.workflow.model import ERROR_PORT, Connection, Metadata, NodeEntry, TestCase, WorkflowDocument

Function = Callable[..., Any]


class CallPlace(Place):
    """Where a call of the builder stands. What is inside its arguments has no place of its own."""

    __slots__ = ()

    def moved(self, columns: int) -> Place:
        return self


class NodeHandle:
    """A node that was added to a workflow. `a >> b` connects, `a["port"]` names a port, `a.error` its error port."""

    __slots__ = ("id", "port", "workflow")

    def __init__(self, workflow: Workflow, node_id: str, port: str = "") -> None:
        self.workflow, self.id, self.port = workflow, node_id, port

    def __getitem__(self, port: str) -> NodeHandle:
        return NodeHandle(self.workflow, self.id, str(port))

    @property
    def error(self) -> NodeHandle:
        """The port of items that failed here."""
        return self[ERROR_PORT]

    def __rshift__(self, target: NodeHandle | Sequence[NodeHandle]) -> NodeHandle | Fan:
        return Fan([self]) >> target

    def __rrshift__(self, sources: Iterable[NodeHandle]) -> NodeHandle | Fan:
        return Fan(sources) >> self

    def __repr__(self) -> str:
        return f"<node {self.id}{'.' + self.port if self.port else ''} of {self.workflow.name}>"


class Fan:
    """Several nodes side by side: what `a >> [b, c]` gives back, for `>> d` to go on from both."""

    __slots__ = ("ends",)

    def __init__(self, ends: Iterable[NodeHandle]) -> None:
        self.ends = list(ends)

    def __rshift__(self, target: NodeHandle | Fan | Sequence[NodeHandle]) -> NodeHandle | Fan:
        targets = (
            target.ends if isinstance(target, Fan) else [target] if isinstance(target, NodeHandle) else list(target)
        )
        for source in self.ends:
            for one in targets:
                source.workflow.connect(source, one)
        # A port in the middle of a chain is the one that is entered; the node is left by its only output.
        onward = [one[""] for one in targets]
        return onward[0] if isinstance(target, NodeHandle) else Fan(onward)


class Workflow:
    """Builds a workflow document. `on_error` and further keywords are the document's `policies`."""

    def __init__(
        self,
        name: str,
        *,
        description: str = "",
        version: str = "",
        vars: Mapping[str, object] | None = None,
        environments: Mapping[str, object] | None = None,
        registry: str = "",
        **policies: object,
    ) -> None:
        self.name = name
        self._place = _caller()
        self._findings = Findings()
        self._nodes: list[NodeEntry] = []
        self._connections: list[Connection] = []
        self._tests: list[TestCase] = []
        self._functions: dict[str, Function] = {}
        values = {
            "workflow": name, "description": description, "version": version,
            "vars": vars or {}, "environments": environments or {}, "registry": registry, "policies": policies,
        }  # fmt: skip
        made, found = build_form(HeaderForm, RawParams(values=values, place=self._place), noun="key")
        self._findings += found
        self._header = made or HeaderForm(workflow=str(name), policies=PoliciesForm())

    def node(
        self,
        node_id: str,
        kind: str,
        /,
        *,
        on_error: OnError | Mapping[str, object] | None = None,
        parameters: Mapping[str, object] | None = None,
        **params: object,
    ) -> NodeHandle:
        """Add a node of any kind. Keywords are its parameters, and what every node may say (`disabled`, `retry`, …).

        `parameters`: further ones, for names that are not free as keywords. A callable becomes a `FunctionRef`, also
        inside a form: `fields={"spread": {"function": "code", "aggregator": Spread, "of": "price"}}`.
        """
        place = _caller()
        common = {name: params.pop(name) for name in param_types(NodeForm) if name in params}
        form, found = build_form(NodeForm, RawParams(values=common, place=place), noun="key")
        self._findings += found
        form = form or NodeForm()
        values = {**params, **(parameters or {})}
        for name, value in values.items():
            if callable(value) and not isinstance(value, type):
                ref = f"python:{node_id}" if len(values) == 1 or name == "function" else f"python:{node_id}.{name}"
                self._functions[ref] = value
                values[name] = FunctionRef(ref)
            elif isinstance(value, Mapping):
                values[name] = self._referring(value, f"python:{node_id}.{name}")
        failing = self._failing(on_error, place)
        self._nodes.append(
            NodeEntry(
                id=node_id,
                type=kind,
                params=RawParams(values=values, place=place),
                name=form.name,
                credentials=form.credentials or {},
                disabled=form.disabled,
                notes=form.notes,
                position=(form.position[0], form.position[1]) if form.position else None,
                metadata=form.metadata.metadata() if form.metadata else Metadata(),
                on_error=failing.on_error,
                fallback=failing.fallback,
                value=failing.value,
                breaker=failing.breaker,
                retry=form.retry.policy() if form.retry else None,
                retry_when=form.retry.when if form.retry else None,
                compensate=form.compensate,
                compensate_when=form.compensate_when,
                place=place,
                type_place=place,
                policy_place=place,
            )
        )
        return NodeHandle(self, node_id)

    def _failing(self, on_error: object, place: Place) -> Failing:
        if on_error is None:
            return Failing()
        values = dict(on_error) if isinstance(on_error, Mapping) else {}
        if isinstance(target := values.get("fallback"), NodeHandle):
            values["fallback"] = target.id
        written = values if isinstance(on_error, Mapping) else on_error
        made, found = read_on_error(written, place, RawParams(values=values, place=place))
        self._findings += found
        return made

    def _referring(self, form: Mapping[Any, Any], path: str) -> dict[Any, Any]:
        """A form with references in the place of its functions and classes, whose names say where they stood."""
        made: dict[Any, Any] = {}
        for name, value in form.items():
            ref = f"{path}.{name}"
            if callable(value):
                self._functions[ref] = value
                value = FunctionRef(ref)
            made[name] = self._referring(value, ref) if isinstance(value, Mapping) else value
        return made

    def function(self, node_id: str, function: Function | str, /, **params: Any) -> NodeHandle:
        """A Python function on items: dict -> dict, list of dicts (several items) or None (filtered)."""
        return self.node(node_id, "function", function=function, mode="item", **params)

    def frame_function(self, node_id: str, function: Function | str, /, **params: Any) -> NodeHandle:
        """A Python function on polars frames: DataFrame -> DataFrame."""
        return self.node(node_id, "function", function=function, mode="frame", **params)

    def __getattr__(self, name: str) -> Callable[..., NodeHandle]:
        if name.startswith("_"):
            raise AttributeError(name)
        methods = _kinds_by_method()
        if name not in methods:
            raise AttributeError(f"a Workflow has no method or node kind {name!r}. {suggestion(name, methods)}")
        kind = methods[name]

        def add(node_id: str, /, **params: Any) -> NodeHandle:
            return self.node(node_id, kind, **params)

        return add

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_kinds_by_method()})

    def connect(
        self,
        source: NodeHandle,
        target: NodeHandle,
        *,
        type: ConnectionType | None = None,
        condition: str | Expression | None = None,
        label: str = "",
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Connect two nodes; `a >> b` for those that need no more to say."""
        for end in (source, target):
            if not isinstance(end, NodeHandle):
                raise UsageError(f"only nodes can be connected, not {spell(end)}.", mend="Use what `wf.node` returned.")
            if end.workflow is not self:
                raise UsageError(f"node {end.id!r} belongs to workflow {end.workflow.name!r}, not to {self.name!r}.")
        place = _caller()
        if isinstance(condition, str):
            condition = Expression(condition, place)
        port = source.port or (ERROR_PORT if type == "error" else "")
        usual: ConnectionType = "error" if port == ERROR_PORT else "conditional" if condition is not None else "main"
        self._connections.append(
            Connection(
                source=source.id,
                source_port=port,
                target=target.id,
                target_port=target.port,
                type=type or usual,
                condition=condition,
                label=label,
                metadata=metadata or {},
                place=place,
                target_place=place,
            )
        )

    def test(self, name: str, *, input: Mapping[str, Sequence[object]], expect: Mapping[str, Sequence[object]]) -> None:
        """Add a test case: items per trigger, and the items expected per `node` or `node.port`."""
        case = TestCase(
            name=name,
            input={key: tuple(items) for key, items in input.items()},
            expect={key: tuple(items) for key, items in expect.items()},
            place=_caller(),
        )
        self._tests.append(case)

    def findings(self) -> list[Diagnostic]:
        """What is wrong with the calls so far; the graph and the parameters are checked by `validate`."""
        return list(self._findings)

    def document(self) -> WorkflowDocument:
        """The document. Raises DocumentError where a call of the builder was wrong."""
        if self._findings:
            raise DocumentError("; ".join(str(f) for f in self._findings))
        return self.as_written()

    def as_written(self) -> WorkflowDocument:
        """The document with defaults in place of what is wrong (see `findings`)."""
        header = self._header
        policies = header.policies or PoliciesForm()
        return WorkflowDocument(
            name=header.workflow,
            nodes=tuple(self._nodes),
            connections=tuple(self._connections),
            description=header.description,
            version=str(header.version),
            policies=policies.policies(),
            vars=header.vars or {},
            environments={name: form.vars for name, form in (header.environments or {}).items()},
            registry=header.registry,
            tests=tuple(self._tests),
            base_folder=str(FilePath(self._place.file).parent) if self._place.line else "",
            source=self._place.file if FilePath(self._place.file).is_file() else "",
            functions=dict(self._functions),
            place=self._place,
        )

    def to_yaml(self) -> str:
        """The workflow as a YAML document. Raises UsageError for functions that cannot be imported by name."""
        from streamflow.workflow.dump import to_yaml

        return to_yaml(self.document())


def _kinds_by_method() -> dict[str, str]:
    """Method name -> node kind, of built-in and plug-in nodes."""
    import keyword

    from streamflow.nodes import KINDS
    from streamflow.sdk.registry import plugin_kinds

    kinds = [*KINDS, *(kind.spec.kind for kind in plugin_kinds())]
    names = {kind.replace("-", "_"): kind for kind in kinds}
    return {f"{name}_" if keyword.iskeyword(name) else name: kind for name, kind in names.items()}


def _caller() -> Place:
    """Place of the call into this module."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__") == __name__ and frame.f_back is not None:
        frame = frame.f_back
    line, column = frame.f_lineno, 0
    positions = list(frame.f_code.co_positions())
    at = frame.f_lasti // 2
    if at < len(positions) and positions[at][0] == line:
        column = positions[at][2] or 0
    return CallPlace(frame.f_code.co_filename, line, column + 1)
