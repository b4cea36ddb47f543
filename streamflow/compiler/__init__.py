"""The compiler: a workflow document becomes a topology. One pass per file, each from one intermediate to the next.

resolve      document -> graph of built nodes; disabled nodes, conditions and fallbacks spelt out
subflows     nodes that stand for other files become the nodes of these
slots        slots that the policies ask for; all of them checked
loops        bodies of loops can be run, within a step or across topics
expand       nodes that stand for several become these
global_tables  wires from tables that every task has become references
partition    repartitions before keyed ports that need them
endings      rows of executions that are ended are led to compensations
gather       rows of an execution brought together before nodes that need all of them
meet         topics for branches that meet behind a repartition of one of them
extents      how far an execution reaches at each node; whole-set nodes checked
typecheck    schemas of all wires, types of all expressions
fuse         stages: what runs together between topics
envelope     reserved columns: made where, kept where, carried where
name_topics  topics, their settings, and why each exists
assemble     the frozen plan
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from streamflow.compiler.assemble import assemble
from streamflow.compiler.codes import CODES
from streamflow.compiler.endings import endings
from streamflow.compiler.envelope import envelope
from streamflow.compiler.error_workflow import check_error_workflow
from streamflow.compiler.expand import expand
from streamflow.compiler.extents import extents
from streamflow.compiler.fuse import fuse
from streamflow.compiler.gather import feeds, gather
from streamflow.compiler.global_tables import refer_to_global_tables
from streamflow.compiler.loops import check_ends, check_loops
from streamflow.compiler.meet import meet
from streamflow.compiler.name_topics import name_topics
from streamflow.compiler.order_kept import check_order
from streamflow.compiler.partition import partition
from streamflow.compiler.resolve import resolve
from streamflow.compiler.schemas import SchemaLoader
from streamflow.compiler.slots import check_slots, put_slots
from streamflow.compiler.subflows import include, with_users
from streamflow.compiler.typecheck import typecheck
from streamflow.sdk.places import Diagnostic
from streamflow.sdk.registry import NodeRegistry
from streamflow.topology.plan import Topology
from streamflow.workflow import WorkflowDocument
from streamflow.workflow.diagnostics import has_errors, in_order
from streamflow.workflow.environments import settle


def compile_document(document: WorkflowDocument, registry: NodeRegistry) -> tuple[Topology | None, list[Diagnostic]]:
    """The topology of a workflow, and everything that is wrong with the document, by place.

    The topology is None if any finding is an error. Reads schema files, and schemas of the registry that
    the document names; loads the modules of functions; touches no log.
    """
    document, unsettled = settle(document)
    loader = SchemaLoader(Path(document.base_folder or "."), document.registry)
    graph, findings = resolve(document, registry)
    findings += [*unsettled, *check_error_workflow(document)]
    included = include(graph, document, registry)
    graph, document = included.graph, replace(document, vars={**document.vars, **included.vars})
    findings += included.findings
    graph, found = put_slots(graph, document.policies, document.place)
    findings += found
    graph, found = check_loops(graph)
    findings += found
    graph, found = refer_to_global_tables(expand(graph))
    findings += found
    findings += check_order(graph)
    graph, found = partition(graph, registry)
    findings += found
    graph, found = endings(graph, document.policies, document.place)
    findings += found
    graph, found = gather(graph, registry)
    findings += [f for f in found if f not in findings]
    graph = meet(graph, registry)
    reach, found = extents(graph)
    findings += [*found, *check_slots(graph, reach, document.policies)]
    typed, found = typecheck(
        graph, reach, loader, vars=document.vars, functions=document.functions, workflow=document.name
    )
    findings += found
    if len(typed.types) < len(graph.nodes):
        return None, in_order(with_users(findings, included.users))
    groups, found = fuse(typed)
    findings += found
    findings += check_ends(typed, groups)
    told = feeds(typed.graph, groups)
    tracked = document.policies.executions != "none" or document.policies.recovers
    envelopes = envelope(
        typed, groups, tracked=tracked, feeds=told, timed_out=document.policies.timeout_ms > 0,
        context=bool(document.policies.context),
    )  # fmt: skip
    topics, found = name_topics(document.name, typed, groups, envelopes, policies=document.policies)
    findings = in_order(with_users([*findings, *found], included.users))
    if has_errors(findings):
        return None, findings
    made = assemble(document, typed, groups, envelopes, topics=topics, schemas=loader.loaded, feeds=told)
    return made, findings


__all__ = ["CODES", "compile_document"]
