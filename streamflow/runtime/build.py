"""Makes operators from node plans: what a node may ask while a task is being built."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from streamflow.expressions import compile_projection, parse_template
from streamflow.model.batch import PASSED, kept_column
from streamflow.model.policies import Extent
from streamflow.model.types import ANY, BOOL, PAYLOAD, Schema, Type, polars_dtype
from streamflow.runtime.context import StepClock, TaskContext
from streamflow.runtime.graph import Graph
from streamflow.runtime.guards import guarded
from streamflow.runtime.late_calls import CallLog
from streamflow.runtime.node_times import behind
from streamflow.runtime.timed_calls import TimedCalls
from streamflow.sdk.errors import UsageError
from streamflow.sdk.expression import Expression, Projection, Scope
from streamflow.sdk.node import FunctionRef, Node, SchemaRef, Schemas, Template
from streamflow.sdk.operator import Operator
from streamflow.sdk.params import RawParams, build
from streamflow.sdk.registry import NodeRegistry
from streamflow.sdk.state import TransactionalStore
from streamflow.topology.plan import NodePlan, StagePlan, Topology

Functions = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBuildContext:
    """`sdk.node.BuildContext` over a plan."""

    node_id: str
    inputs: Schemas
    outputs: Schemas
    extent: Extent
    vars: Mapping[str, object]
    base_folder: str
    partition: int
    wired: frozenset[str] = frozenset()
    target_partitions: int = 0  # of the topic that the node's rows go to; 0: none
    live: bool = False  # whether effects outside the log are wanted
    files_folder: str = ""  # where files are written instead of beside the workflow
    kept: Mapping[str, Schema] = field(default_factory=dict)
    remembered: Mapping[str, Type] = field(default_factory=dict)
    loops: Mapping[str, Schema] = field(default_factory=dict)  # around it, innermost first
    calls: CallLog = field(default_factory=CallLog)
    functions: Functions = field(default_factory=dict)
    schemas: Mapping[str, Schema] = field(default_factory=dict)

    def output_path(self, path: str) -> Path:
        live = Path(self.base_folder, path)
        if not self.files_folder:
            return live
        # Normal, so that no `..` leads out again; what is not beside the workflow keeps its whole path.
        whole, beside = Path(os.path.abspath(live)), Path(os.path.abspath(self.base_folder))
        inside = whole.relative_to(beside if whole.is_relative_to(beside) else whole.anchor)
        return Path(self.files_folder, inside)

    def projection(
        self,
        expressions: Mapping[str, Expression],
        *,
        port: str = "in",
        expect: Mapping[str, Type] | None = None,
        round: Schema | None = None,
    ) -> Projection:
        scope = self.scope(port)
        if round is not None:
            scope = replace(scope, loops={self.node_id: round, **scope.loops})
        projection, findings = compile_projection(expressions, scope, expect=expect)
        if projection is None:
            raise UsageError(
                f"node {self.node_id!r}: the plan holds an expression that does not compile: {findings[0]}",
                mend="Compile the workflow again with this version.",
            )
        return projection

    def scope(self, port: str) -> Scope:
        return Scope(item=self.inputs[port], nodes=self.kept, vars=self.vars, loops=self.loops)

    def template(self, template: Template) -> Expression:
        return parse_template(template.text, template.place)

    def schema(self, ref: SchemaRef) -> Schema:
        return self.schemas[str(ref)]

    def function(self, ref: FunctionRef) -> Callable[..., Any]:
        return load_function(ref, self.functions)

    def timed(self, function: Callable[..., Any], timeout_ms: int | None) -> Callable[..., Any]:
        return function if timeout_ms is None else TimedCalls(self.node_id, function, timeout_ms, self.calls)


def load_function(ref: FunctionRef, functions: Functions) -> Callable[..., Any]:
    """A function by `module:name`, or one handed to the builder. Raises UsageError."""
    if ref.ref in functions:
        return functions[ref.ref]
    module, _, name = ref.ref.partition(":")
    try:
        target: Any = importlib.import_module(module)
        for part in name.split("."):
            target = getattr(target, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"function {ref.ref!r} cannot be loaded: {error}.") from error
    if not callable(target):
        raise UsageError(f"{ref.ref!r} is no function but {type(target).__name__}.")
    found: Callable[..., Any] = target
    return found


def build_node(plan: NodePlan, registry: NodeRegistry) -> Node:
    """The node object of a plan. Raises UsageError when this installation lacks its kind or knows other parameters."""
    kind = registry.planned(plan.kind)
    if kind is None:
        raise UsageError(f"node {plan.id!r} is of kind {plan.kind!r}, which is not installed here.")
    node, findings = build(kind, RawParams(values=plan.params))
    if node is None:
        raise UsageError(f"node {plan.id!r}: {findings[0]}", mend="Compile the workflow again with this version.")
    return node


def kept_schemas(topology: Topology, upto: NodePlan) -> Mapping[str, Schema]:
    """Schemas behind `nodes.<id>` for a node: what the plan keeps of every other node, wherever it runs."""
    before = _kept_before(topology, upto)
    return {node: schema.optional() if PASSED in keep else schema for node, keep, schema in before}


def kept_columns(topology: Topology, upto: NodePlan) -> Mapping[str, pl.DataType]:
    """Columns `@nodes.…` that items before a node may have, wherever they begin."""
    every = (_kept_dtypes(*kept) for kept in _kept_before(topology, upto))
    return {column: dtype for columns in every for column, dtype in columns.items()}


def _kept_before(topology: Topology, upto: NodePlan) -> Iterator[tuple[str, Sequence[str], Schema]]:
    for stage in topology.stages:
        for node in stage.nodes:
            schema = node.outputs.get("out") or next(iter(node.outputs.values()), None)
            if node.keep and schema is not None and node.id != upto.id:
                yield node.id, node.keep, schema
        for entry in (*stage.inputs, *(table.input for table in stage.tables)):
            if entry.keep:
                yield entry.node, entry.keep, entry.schema


def build_graph(
    topology: Topology,
    stage: StagePlan,
    nodes: NodeRegistry,
    stores: Mapping[tuple[str, str], TransactionalStore],
    clock: StepClock,
    *,
    partition: int,
    functions: Functions,
    files_folder: str = "",
    live: bool = False,
    topic_partitions: Mapping[str, int] | None = None,
    **options: object,
) -> Graph:
    """The stage's graph with an operator and a context for each node. `files_folder`: see `TaskBuildContext`.
    `topic_partitions`: of topics that the stage writes; None: what the plan says, 1 where it says nothing.
    """
    if topic_partitions is None:
        topic_partitions = {t.name: t.partitions or 1 for t in topology.topics}
    targets = {s.wire.node: topic_partitions.get(s.topic, 1) for s in stage.sinks}
    operators: dict[str, Operator] = {}
    contexts: dict[str, TaskContext] = {}
    one_to_one = set()
    for plan in stage.nodes:
        node = build_node(plan, nodes)
        if node.spec.one_to_one:
            one_to_one.add(plan.id)
        operator = node.operator(
            TaskBuildContext(
                node_id=plan.id,
                inputs=plan.inputs,
                outputs=plan.outputs,
                extent=plan.extent,
                vars=topology.vars,
                base_folder=topology.base_folder,
                partition=partition,
                wired=frozenset(
                    w.port for n in stage.nodes for ws in n.wires.values() for w in ws if w.node == plan.id
                ),
                target_partitions=targets.get(plan.id, 0),
                files_folder=files_folder,
                live=live,
                kept=kept_schemas(topology, plan),
                remembered=plan.remembered,
                loops=plan.loops,
                calls=clock.calls,
                functions=functions,
                schemas=topology.schemas,
            )
        )
        operators[plan.id] = guarded(
            plan, operator, stage, vars=topology.vars, kept=kept_schemas(topology, plan), pause=clock.pause
        )
    lies_behind = behind(stage, operators)
    for plan in stage.nodes:
        contexts[plan.id] = TaskContext(
            workflow=topology.workflow,
            stage=stage.id,
            node=plan.id,
            partition=partition,
            clock=clock,
            stores={name: store for (node_id, name), store in stores.items() if node_id == (plan.table or plan.id)},
            behind_ms=lies_behind[plan.id],
        )
    one, kept = frozenset(one_to_one), _kept_within(stage)
    return Graph(stage, operators, contexts, one_to_one=one, behind=lies_behind, kept=kept, **options)  # type: ignore[arg-type]


def _kept_within(stage: StagePlan) -> Mapping[str, Mapping[str, pl.DataType]]:
    """By node: columns `@nodes.…` that begin before it in this stage."""
    own: dict[str, dict[str, pl.DataType]] = {i.node: _kept_dtypes(i.node, i.keep, i.schema) for i in stage.inputs}
    before: dict[str, dict[str, pl.DataType]] = {}
    for plan in stage.nodes:
        schema = plan.outputs.get("out") or next(iter(plan.outputs.values()), None)
        if plan.keep and schema is not None:
            own[plan.id] = _kept_dtypes(plan.id, plan.keep, schema)
        sources = {wire.node for wires in plan.wires.values() for wire in wires}
        before[plan.id] = {c: t for s in sources for c, t in (before.get(s, {}) | own.get(s, {})).items()}
    return before


def _kept_dtypes(node: str, keep: Sequence[str], schema: Schema) -> dict[str, pl.DataType]:
    types = {f.name: f.type for f in schema.fields} | {PASSED: BOOL, PAYLOAD: ANY}
    return {kept_column(node, name): polars_dtype(types[name]) for name in keep}
