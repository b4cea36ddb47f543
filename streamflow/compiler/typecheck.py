"""Infers the schema of every wire and types every expression against it.

Nodes say what they make of their inputs (`Node.output_schemas`); this pass walks the graph, joins wires that meet, and
keeps errors from causing others: what hangs on something unknown is left alone, what hangs on something wrong is
checked for its expressions only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamflow.compiler import loop_types as loops
from streamflow.compiler.codes import FUNCTION_UNKNOWN, NO_SCHEMA, SCHEMA_UNKNOWN, SCHEMAS_DIFFER
from streamflow.compiler.context import InferenceContext
from streamflow.compiler.failures import check_retry, passing_schema
from streamflow.compiler.graph import ERROR_PORT, RECORDS_PORT, Edge, Graph, GraphNode, NodeTypes, TypedGraph
from streamflow.compiler.schemas import SchemaLoader
from streamflow.compiler.unify import unify_all
from streamflow.compiler.visible import visible_nodes
from streamflow.model.batch import loop_column
from streamflow.model.policies import Extent
from streamflow.model.types import ANY, Schema, Type
from streamflow.sdk.node import ReadsTopic, Repeats, Schemas, TopicRead, TopicWrite, WritesTopic
from streamflow.sdk.places import Diagnostic
from streamflow.topology.envelopes import error_schema
from streamflow.topology.failures import ENDED_PORT, ONWARD_PORT

_TIME_KINDS = frozenset({"timestamp", "local", "date", "int", "long", "any"})


def typecheck(
    graph: Graph,
    extents: Mapping[str, Extent],
    loader: SchemaLoader,
    *,
    vars: Mapping[str, object],
    functions: Mapping[str, Callable[..., Any]],
    workflow: str = "",
) -> tuple[TypedGraph, list[Diagnostic]]:
    """Type all nodes that can be typed. Complete only if there are no errors."""
    checker = _Checker(graph, extents, loader, vars, functions, workflow)
    for node_id in graph.order:
        if node_id not in checker.seen:
            checker.visit(node_id)
    return TypedGraph(graph=graph, types=checker.types), checker.findings


def _stands_alone(finding: Diagnostic) -> bool:
    """Whether a finding is none that an error above could cause."""
    return finding.code.startswith("SF21") or finding.code in (SCHEMA_UNKNOWN, FUNCTION_UNKNOWN)


@dataclass
class _Checker:
    graph: Graph
    extents: Mapping[str, Extent]
    loader: SchemaLoader
    vars: Mapping[str, object]
    functions: Mapping[str, Callable[..., Any]]
    workflow: str
    types: dict[str, NodeTypes] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)
    tainted: set[str] = field(default_factory=set)  # nodes whose schemas are guesses, since something above is wrong
    seen: set[str] = field(default_factory=set)
    back: dict[str, Schema] = field(default_factory=dict)  # by loop: schema of what comes back, as far as is known
    rounds: dict[str, Schema] = field(default_factory=dict)  # by loop: what `loop` is in its body
    remembered: dict[str, Mapping[str, Type]] = field(default_factory=dict)  # by loop across topics: columns

    def visit(self, node_id: str) -> None:
        """Type a node; of a loop, its body too."""
        self.seen.add(node_id)
        if node_id in self.graph.bodies:
            loops.settle(self, self.graph.nodes[node_id])
        else:
            self.node(self.graph.nodes[node_id])

    def node(self, node: GraphNode) -> None:
        inputs = self._inputs(node)
        if inputs is None:
            return
        visible = visible_nodes(self.graph, node.id, self.types)
        ctx = InferenceContext(
            workflow=self.workflow,
            node=node,
            inputs=inputs,
            extent=self.extents[node.id],
            vars=self.vars,
            visible=visible,
            loader=self.loader,
            functions=self.functions,
            loops={loop: self.rounds[loop] for loop in self.graph.around(node.id) if loop in self.rounds},
        )
        outputs = dict(node.node.output_schemas(ctx))
        if isinstance(node.node, Repeats) and "in" in inputs:
            self.rounds[node.id] = node.node.round_schema(ctx)
            if node.id in self.graph.across:
                self.remembered[node.id] = {
                    loop_column(node.id, name): of for name, of in node.node.remembered(ctx).items()
                }
        read, write = self._topics(node, ctx)
        aside = {p.name for p in node.node.input_ports() if p.aside}
        failing = self._failing({port: schema for port, schema in inputs.items() if port not in aside})
        check_retry(ctx, failing)
        passing = passing_schema(ctx, outputs, failing) if node.errors.on_error == "pass" else None
        self._settle(node, ctx)
        if missing := self._missing(node, outputs, read, write):
            if not any(f.severity == "error" for f in ctx.findings) and node.id not in self.tainted:
                self.findings.append(
                    Diagnostic(
                        place=node.place,
                        code=NO_SCHEMA,
                        message=f"node {node.id!r}: kind {node.kind!r} does not say what {missing} holds.",
                        mend="This is a defect of the node kind: its output_schemas leaves it out and reports nothing.",
                    )
                )
            return
        left_by = {e.port for e in (*self.graph.out_of(node.id), *self.graph.loops) if e.source == node.id}
        if failing is not None and ERROR_PORT in left_by:
            outputs[ERROR_PORT] = error_schema(failing)
        if ENDED_PORT in left_by:
            outputs[ENDED_PORT] = error_schema(failing or ANY)
        if passing is not None and ONWARD_PORT in left_by:
            outputs[ONWARD_PORT] = passing
        if node.repartitions and "out" in outputs:
            outputs.setdefault(RECORDS_PORT, outputs["out"])
        topic = read or write
        self.types[node.id] = NodeTypes(
            inputs=inputs,
            outputs=outputs,
            extent=self.extents[node.id],
            visible=visible,
            loops=ctx.loops,
            remembered={c: t for loop in self.graph.around(node.id) for c, t in self.remembered.get(loop, {}).items()},
            read=read,
            write=write,
            avro=self.loader.text_of(topic.schema) if topic and topic.format == "avro" else "",
        )

    def _inputs(self, node: GraphNode) -> Schemas | None:
        """Schema of each connected port; None when one of them is not known."""
        if node.id in self.graph.broken:
            return None
        by_port: dict[str, list[Edge]] = {}
        for edge in self.graph.into(node.id):
            if edge.source not in self.types or edge.port not in self.types[edge.source].outputs:
                return None
            if edge.source in self.tainted:
                self.tainted.add(node.id)
            by_port.setdefault(edge.target_port, []).append(edge)
        joined = {port: self._join(node, port, edges) for port, edges in by_port.items()}
        if node.id in self.back and joined.get("in") is not None:
            joined = dict.fromkeys(("in", "back"), self.back[node.id])
        if node.id in self.graph.references:
            joined["table"] = self._referred(node)
        known = {port: schema for port, schema in joined.items() if schema is not None}
        return known if len(known) == len(joined) else None

    def _referred(self, node: GraphNode) -> Schema | None:
        """Schema of the rows of the global table that a node looks into."""
        table = self.graph.references[node.id]
        if table in self.tainted:
            self.tainted.add(node.id)
        types = self.types.get(table)
        return None if types is None else types.outputs.get("out")

    def _join(self, node: GraphNode, port: str, edges: list[Edge]) -> Schema | None:
        schemas = [self.types[e.source].outputs[e.port] for e in edges]
        # A merge brings together what differs: that is what it is for.
        found = unify_all(schemas, lenient=node.node.spec.category == "merge")
        if isinstance(found, Type):
            return found
        if node.node.spec.mixed:
            return ANY
        index, conflict = found
        if node.id not in self.tainted:
            first, other = edges[0], edges[index]
            where = f"{first.start} ({first.place})", f"{other.start} ({other.place})"
            self.findings.append(
                Diagnostic(
                    place=other.place,
                    code=SCHEMAS_DIFFER,
                    message=f"items of different schemas flow into {node.id}.{port}: " + conflict.between(*where) + ".",
                    mend="Bring them to one schema with `set`, or put a `merge` between, which fills gaps with null.",
                )
            )
        return None

    def _topics(self, node: GraphNode, ctx: InferenceContext) -> tuple[TopicRead | None, TopicWrite | None]:
        read = node.node.topic_read(ctx) if isinstance(node.node, ReadsTopic) else None
        write = node.node.topic_write(ctx) if isinstance(node.node, WritesTopic) else None
        if read is not None:
            self._key_and_time(node, ctx, read)
        return read, write

    def _key_and_time(self, node: GraphNode, ctx: InferenceContext, read: TopicRead) -> None:
        """A trigger's own expressions are over the items that it reads."""
        if read.key is not None:
            ctx.type_over(read.schema, read.key, param="key")
        if read.partitioned_by is not None:
            ctx.type_over(read.schema, read.partitioned_by, param="partitioned_by")
        if read.time is None:
            return
        found = ctx.type_over(read.schema, read.time, param="time")
        if found.kind not in _TIME_KINDS:
            ctx.report(
                "SF252",
                f"event time is a timestamp, a date, or a long of ms since 1970; `{read.time.text}` is {found}.",
                param="time",
            )

    def _settle(self, node: GraphNode, ctx: InferenceContext) -> None:
        # Below an error only expressions and references are heard: what nodes say of schemas may follow from it.
        heard = [f for f in ctx.findings if node.id not in self.tainted or _stands_alone(f)]
        self.findings.extend(heard)
        if any(f.severity == "error" for f in ctx.findings):
            self.tainted.add(node.id)

    def _missing(self, node: GraphNode, outputs: Schemas, read: TopicRead | None, write: TopicWrite | None) -> str:
        """What a node left unsaid; "" if nothing."""
        if (node.reads_topic and read is None) or (node.writes_topic and write is None):
            return "its topic"
        return next((f"output {p.name!r}" for p in node.node.output_ports() if p.name not in outputs), "")

    def _failing(self, inputs: Schemas) -> Schema | None:
        """Schema of the items that may fail in a node: those of all its inputs."""
        found = unify_all(list(inputs.values()), lenient=True) if inputs else None
        return found if isinstance(found, Type) else None
