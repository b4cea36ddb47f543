"""Which reserved columns are made and carried: only what something downstream reads.

A column is needed by an operator (`NodeSpec.needs`), by an expression that names `meta.…` or `nodes.<id>.<field>`, by a
sink, or by a merge that puts rows back in order. What is needed behind an internal topic is a field of its records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from streamflow.compiler.fuse import Group, Groups
from streamflow.compiler.graph import Graph, TypedGraph
from streamflow.compiler.walk import expressions_of
from streamflow.expressions import WHOLE, references
from streamflow.model import dead_letter
from streamflow.model.batch import (
    DEADLINE,
    EXECUTION,
    GONE,
    HEADERS,
    KEY,
    OFFSET,
    PARTITION,
    PASSED,
    PATH,
    POSITION,
    ROW,
    SOURCE,
    TOPIC,
    TS,
    WM,
    kept_column,
    loop_column,
)
from streamflow.model.types import BOOL, BYTES, INT, LONG, PAYLOAD, STRING, Schema, Type
from streamflow.topology.plan import EnvelopeField, FeedPlan

# Columns that an expression's `meta.<name>` is read from.
META_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "source": (SOURCE,),
    "partition": (PARTITION,),
    "offset": (OFFSET,),
    "key": (KEY,),
    "timestamp": (TS,),
    "execution": (EXECUTION,),
    "topic": (TOPIC,),
    "headers": (HEADERS,),
    "tags": (HEADERS,),
    "user": (HEADERS,),
    "session": (HEADERS,),
    "trace": (HEADERS,),
    "traceparent": (HEADERS,),
    "schema": (),
    "environment": (),
}
# Made anew wherever rows enter a stage; never carried.
_LOCAL = frozenset({ROW, KEY, TS, WM, POSITION})
_CARRIED: Mapping[str, Type] = {
    SOURCE: STRING,
    OFFSET: LONG,
    EXECUTION: STRING,
    DEADLINE: LONG.optional(),
    PATH: BYTES,
    TOPIC: STRING,
    PARTITION: INT,
    HEADERS: dead_letter.HEADERS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelopes:
    """What each stage makes, each node keeps, and each internal topic carries."""

    needs: Mapping[str, tuple[str, ...]]  # by stage, and by global table
    keep: Mapping[str, tuple[str, ...]]  # by node: fields
    carried: Mapping[str, tuple[EnvelopeField, ...]]  # by node whose rows enter a stage through an internal topic
    timed: frozenset[str] = frozenset()  # of those nodes, the ones behind whose topic something reads the watermark


@dataclass(slots=True)
class _Demand:
    """What one node reads besides the fields of its items."""

    columns: set[str] = field(default_factory=set)
    kept: set[tuple[str, str]] = field(default_factory=set)  # (node, field)


def envelope(
    typed: TypedGraph,
    groups: Groups,
    *,
    tracked: bool = False,
    feeds: Mapping[str, Collection[FeedPlan]] | None = None,
    timed_out: bool = False,
    context: bool = False,
) -> Envelopes:
    """Follow what nodes read back to where it is made. `tracked`: executions leave records. `feeds`: what stages tell
    of them besides. `timed_out`: they have only so much time. `context`: records of executions have what headers tell.
    """
    graph = typed.graph
    demands = {n: _demand(typed, n) for n in graph.nodes}
    for plan in (plan for plans in (feeds or {}).values() for plan in plans):
        for node in (*plan.sent, *(hold.node for hold in plan.holds), *plan.parks):
            demands[node].columns.add(EXECUTION)
    if tracked:
        _demand_executions(typed, groups, demands)
    if timed_out:
        _demand_deadlines(graph, demands)
    carried: dict[str, tuple[EnvelopeField, ...]] = {}
    for group in groups.stages:
        for entry in group.inputs:
            if not group.source and (graph.nodes[entry].repartitions or graph.nodes[entry].reads_source):
                carried[entry] = _carried(typed, entry, [demands[n] for n in graph.behind(entry)])
    needs = {g.id: _needs(typed, g, demands, carried) for g in groups.stages}
    if tracked and context:
        for group in (g for g in groups.stages if not g.source and any(graph.nodes[i].is_trigger for i in g.inputs)):
            needs[group.id] = tuple(sorted({*needs[group.id], HEADERS}))
    for table in set(graph.references.values()):
        needs[table] = tuple(sorted(c for c in demands[table].columns if c != ROW and not c.startswith("@nodes.")))
    timed = frozenset(
        e for e in carried if e not in graph.returning and any(WM in demands[n].columns for n in graph.behind(e))
    )
    keep: dict[str, set[str]] = {}
    for demand in demands.values():
        for node, name in demand.kept:
            keep.setdefault(node, set()).add(name)
    kept = {n: tuple(sorted(f)) for n, f in keep.items()}
    return Envelopes(needs=needs, keep=kept, carried=carried, timed=timed)


def _demand(typed: TypedGraph, node_id: str) -> _Demand:
    graph, node, types = typed.graph, typed.graph.nodes[node_id], typed.types[node_id]
    demand = _Demand(columns=set(node.node.reserved_columns(types.extent)))
    condition = [node.retry_when] if node.retry_when is not None and node.errors.retry.attempts > 1 else []
    for expression in (*expressions_of(node.node), *condition):
        found = references(expression)
        for name in found.meta:
            demand.columns.update(META_COLUMNS.get(name, ()))
        for other, names in found.nodes.items():
            if other in types.visible:
                demand.kept.update((other, n) for n in _kept(types.visible[other], names))
    if node.errors.retry.puts_aside:
        demand.columns.update((KEY, TS, EXECUTION, POSITION))  # a dead letter tells where its record lies
    if node.errors.retry.draws:
        demand.columns.add(EXECUTION)
    if node.writes_topic or node.repartitions:
        demand.columns.update((KEY, TS))
    if len(graph.into(node_id)) > 1 and any(graph.nodes[n].node.gives_several() for n in graph.ancestors(node_id)):
        demand.columns.add(PATH)  # siblings have one arrival; their paths tell their order
    return demand


def _demand_executions(typed: TypedGraph, groups: Groups, demands: Mapping[str, _Demand]) -> None:
    """What records of executions rest on, besides `@row`, which says enough where every row that enters a stage is an
    execution of its own and none comes out of state.
    """
    graph = typed.graph
    for group in groups.stages:
        if group.source:
            continue
        alone = all(graph.nodes[i].is_trigger and typed.types[i].extent == "item" for i in group.inputs)
        for n in group.nodes:
            if not alone or graph.nodes[n].repartitions or graph.nodes[n].stores(typed.types[n].extent):
                demands[n].columns.add(EXECUTION)
        # Where siblings go on as rows of one arrival, which of them had no child is told by their paths.
        if sum(graph.nodes[n].node.gives_several() for n in group.nodes) > 1:
            for n in group.nodes:
                demands[n].columns.add(PATH)


def _demand_deadlines(graph: Graph, demands: Mapping[str, _Demand]) -> None:
    """When executions have had their time is asked where rows are held, and where they come out of a topic."""
    for node in graph.nodes.values():
        if node.lasting or node.is_trigger or node.repartitions:
            continue
        holds = node.node.spec.holds or node.errors.retry.parks
        aside = {p.name for p in node.node.input_ports() if p.aside}
        arriving = [e for e in graph.into(node.id) if e.target_port not in aside and graph.enters(e)]
        if holds or any(graph.nodes[e.source].repartitions for e in arriving):
            demands[node.id].columns.add(DEADLINE)


def _fields(schema: Schema, names: Iterable[str]) -> set[str]:
    """The columns behind `nodes.<id>.<field>…`; no names mean the whole item."""
    if schema.kind != "record":
        return {PAYLOAD}
    known = {f.name for f in schema.fields}
    named = set(names)
    return named & known if named and named <= known else known


def _kept(schema: Schema, names: Collection[str]) -> set[str]:
    """What is kept of a node: where it is named as a whole that some items have not passed, also whether they have."""
    fields = _fields(schema, names)
    return fields | {PASSED} if WHOLE in names and schema.nullable and schema.kind == "record" else fields


def _carried(typed: TypedGraph, entry: str, below: list[_Demand]) -> tuple[EnvelopeField, ...]:
    """Fields for what nodes below `entry` read and what is known there already."""
    node, types = typed.graph.nodes[entry], typed.types[entry]
    columns: dict[str, Type] = {}
    if not node.is_trigger:  # the topic of a trigger is itself where lineage begins
        wanted = {c for d in below for c in d.columns} - _LOCAL
        columns |= {c: _CARRIED[c] for c in _CARRIED if c in wanted}
        for other, name in sorted({k for d in below for k in d.kept}):
            schema = types.visible.get(other)
            if schema is not None and other != entry:
                columns[kept_column(other, name)] = _kept_type(schema, name)
        columns |= _remembered(typed, entry)
    item = types.outputs["out"]
    if has_deletions(typed.graph, entry):
        columns[GONE] = BYTES.optional()
    taken = {f.name for f in item.fields}
    fields: list[EnvelopeField] = []
    if item.kind != "record":
        of = item.optional() if GONE in columns else item.required()
        fields.append(EnvelopeField(column=PAYLOAD, field="__item", type=of))
    for column, of in columns.items():
        name = avro_field_name(column, taken)
        taken.add(name)
        fields.append(EnvelopeField(column=column, field=name, type=of))
    return tuple(fields)


def _remembered(typed: TypedGraph, entry: str) -> Mapping[str, Type]:
    """What loops around remember of a row. What a round is about is known anew at the loop, and needed before that only
    by expressions that name it.
    """
    graph, of_round = typed.graph, ("value", "item", "items")
    left_out: set[str] = set()
    for loop in graph.around(entry):
        behind = graph.bodies[loop] & graph.descendants(entry)
        named = any("loop" in references(e).fields for n in behind for e in expressions_of(graph.nodes[n].node))
        if graph.returning.get(entry) == loop or not named:
            left_out |= {loop_column(loop, name) for name in of_round}
    return {c: t for c, t in typed.types[entry].remembered.items() if c not in left_out}


def has_deletions(graph: Graph, node: str) -> bool:
    """Whether a repartition carries deletions among its items: keys in column `@gone`, beside items of nulls."""
    return graph.nodes[node].repartitions and any(e.target_port == "gone" for e in graph.into(node))


def _kept_type(schema: Schema, name: str) -> Type:
    if schema.kind != "record":
        return schema.optional()
    if name == PASSED:
        return BOOL.optional()
    found = schema.field(name)
    assert found is not None, name
    return found.type.optional()  # items that came another way have none


def avro_field_name(column: str, taken: set[str]) -> str:
    """The Avro name of a reserved column: `@offset` is `__offset`, `@nodes.a.b` is `__n_a_b`; with a hash if taken."""
    plain = column.removeprefix("@")
    plain = "n_" + plain.removeprefix("nodes.") if plain.startswith("nodes.") else plain
    name = "__" + "".join(c if c.isascii() and c.isalnum() else "_" for c in plain)
    return name if name not in taken else f"{name}_{sha256(column.encode()).hexdigest()[:8]}"


def _needs(
    typed: TypedGraph,
    group: Group,
    demands: Mapping[str, _Demand],
    carried: Mapping[str, tuple[EnvelopeField, ...]],
) -> tuple[str, ...]:
    """Columns to make where rows enter the stage: what its nodes read, and what its topics carry on."""
    if group.source:
        return (KEY, TS)
    wanted: set[str] = set()
    for node in group.nodes:
        wanted |= demands[node].columns
        if typed.graph.nodes[node].repartitions:
            wanted |= {e.column for e in carried.get(node, ())}
    return tuple(sorted(c for c in wanted if c not in (ROW, PAYLOAD) and not c.startswith(("@nodes.", "@loop."))))
