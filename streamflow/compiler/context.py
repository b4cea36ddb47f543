"""What a node is told while schemas are inferred, and where its findings go: `sdk.node.SchemaContext`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from streamflow.compiler.codes import FUNCTION_UNKNOWN
from streamflow.compiler.graph import GraphNode
from streamflow.compiler.schemas import SchemaLoader
from streamflow.expressions import parse_template, typecheck
from streamflow.model.policies import Extent
from streamflow.model.types import ANY, Schema, Type
from streamflow.sdk.expression import Expression, Scope
from streamflow.sdk.node import FunctionRef, SchemaRef, Schemas, Template
from streamflow.sdk.places import Diagnostic


@dataclass(slots=True, kw_only=True)
class InferenceContext:
    """One node's view. Findings are collected once each, in the order they are made."""

    workflow: str
    node: GraphNode
    inputs: Schemas
    extent: Extent
    vars: Mapping[str, object]
    visible: Mapping[str, Schema]  # what `nodes.<id>` may name
    loader: SchemaLoader
    functions: Mapping[str, Callable[..., Any]]
    loops: Mapping[str, Schema] = field(default_factory=dict)  # around the node, innermost first
    findings: list[Diagnostic] = field(default_factory=list)

    @property
    def node_id(self) -> str:
        return self.node.id

    @property
    def base_folder(self) -> str:
        """Folder that relative paths of parameters start from: the workflow file's."""
        return str(self.loader.folder)

    def typeof(
        self,
        expression: Expression,
        *,
        param: str,
        port: str = "in",
        expect: Type | None = None,
        round: Schema | None = None,
    ) -> Type:
        if port not in self.inputs and self.inputs:
            self.report("SF132", f"node {self.node.id!r} has no connected input port {port!r}.", param=param)
            return ANY
        # A trigger has no inputs: its expressions may use constants only.
        item = self.inputs.get(port) or Type(kind="record")
        return self.type_over(item, expression, param=param, expect=expect, round=round)

    def type_over(
        self,
        item: Schema,
        expression: Expression,
        *,
        param: str,
        expect: Type | None = None,
        round: Schema | None = None,
    ) -> Type:
        """`typeof` over items of a given schema: a trigger's key and time are over what it reads."""
        scope = self._over(item)
        if round is not None:
            scope = replace(scope, loops={self.node.id: round, **scope.loops})
        placed = expression if expression.place.file else Expression(expression.text, self.node.place_of(param))
        found, findings = typecheck(placed, scope, expect=expect)
        self._add(findings)
        return found

    def scope(self, port: str) -> Scope:
        return self._over(self.inputs[port])

    def _over(self, item: Schema) -> Scope:
        return Scope(item=item, nodes=self.visible, vars=self.vars, loops=self.loops)

    def template(self, template: Template) -> Expression:
        return parse_template(template.text, template.place)

    def schema(self, ref: SchemaRef, *, param: str) -> Schema | None:
        found = self.loader.load(str(ref))
        if isinstance(found, Type):
            return found
        self.report(found.code, found.message, param=param, mend=found.mend)
        return None

    def function(self, ref: FunctionRef, *, param: str) -> Callable[..., Any] | None:
        if (given := self.functions.get(ref.ref)) is not None:
            return given
        module_name, _, name = ref.ref.partition(":")
        if module_name == "python":
            if (given := self.functions.get(name)) is None:
                self.report(
                    FUNCTION_UNKNOWN,
                    f"function {ref.ref!r} was not handed to the workflow.",
                    param=param,
                    mend="Run the Python file that defines it.",
                )
            return given
        try:
            target: Any = importlib.import_module(module_name)
            for part in name.split("."):
                target = getattr(target, part)
        except (ImportError, AttributeError, ValueError) as error:
            self.report(
                FUNCTION_UNKNOWN,
                f"function {ref.ref!r} cannot be loaded: {error}.",
                param=param,
                mend="Name an installed module and a function in it, as `package.module:name`.",
            )
            return None
        if not callable(target):
            self.report(FUNCTION_UNKNOWN, f"{ref.ref!r} is no function but {type(target).__name__}.", param=param)
            return None
        found: Callable[..., Any] = target
        return found

    def report(
        self,
        code: str,
        message: str,
        *,
        param: str = "",
        mend: str = "",
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        named = f"node {self.node.written_id!r}"
        where = f"{named}: " if not message.startswith(named) else ""
        self._add(
            [
                Diagnostic(
                    place=self.node.place_of(param),
                    code=code,
                    message=f"{where}{message}",
                    mend=mend,
                    severity=severity,
                )
            ]
        )

    def _add(self, findings: Iterable[Diagnostic]) -> None:
        self.findings.extend(f for f in findings if f not in self.findings)
