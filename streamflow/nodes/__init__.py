"""The built-in node kinds, one file each. Explicit tables: importing a file registers nothing, and the file of a kind
is imported when a workflow has a node of it.
"""

from __future__ import annotations

from streamflow.sdk.node import Node
from streamflow.sdk.registry import NodeRegistry, load, plugin_kinds

# kind -> module of this package:class
KINDS = {
    "aggregate": "aggregate:AggregateNode",
    "batch": "batch:BatchNode",
    "code": "function:Code",
    "debounce": "debounce:Debounce",
    "dedupe": "dedupe:Dedupe",
    "error-trigger": "error_trigger:ErrorTrigger",
    "event": "event:Event",
    "file": "file:File",
    "filter": "filter:Filter",
    "function": "function:Function",
    "if": "if_:If",
    "join": "join:Join",
    "limit": "limit:Limit",
    "lookup": "lookup:Lookup",
    "loop": "loop:Loop",
    "manual": "manual:Manual",
    "merge": "merge:Merge",
    "no-op": "no_op:NoOp",
    "notification": "notification:Notification",
    "pass": "pass_:Pass",
    "pattern": "pattern:Pattern",
    "publish": "publish:Publish",
    "reduce": "reduce:Reduce",
    "rename": "rename:Rename",
    "repartition": "repartition:Repartition",
    "resume-token": "resume_token:ResumeToken",
    "return": "sub_flow:Return",
    "set": "set:Set",
    "slots": "slots:Slots",
    "sort": "sort:Sort",
    "split": "split:Split",
    "stop-and-error": "stop_and_error:StopAndError",
    "stub": "stub:Stub",
    "sub-flow": "sub_flow:SubFlow",
    "sub-flow-trigger": "sub_flow:SubFlowTrigger",
    "switch": "switch:Switch",
    "table": "table:Table",
    "table_join": "table_join:TableJoin",
    "template": "template:TemplateNode",
    "throttle": "throttle:Throttle",
    "wait": "wait:Wait",
    "window": "window:Window",
    "write-file": "write_file:WriteFile",
}

# What the compiler makes of others.
PARTS = {
    "checkpoint": "checkpointing:Checkpoint",
    "compensated": "compensating:FailAgain",
    "control": "control:Control",
    "gather": "gather:Gather",
    "gather.send": "gather:GatherSend",
    "lookup.global": "global_lookup:GlobalLookup",
    "loop.back": "loop_back:LoopBack",
    "slots.hold": "slots:HoldSlots",
    "slots.read": "slots:ReadEnds",
    "sub-flow.errors": "sub_flow:SubFlowErrors",
    "sub-flow.in": "sub_flow:SubFlowEntry",
    "table_join.matches": "foreign_join:ForeignMatches",
    "table_join.result": "foreign_join:ForeignResult",
    "table_join.rows": "foreign_join:ForeignRows",
    "wait.check": "signal_wait:HearSignals",
    "wait.lost": "signal_wait:LostSignals",
    "wait.read": "signal_wait:ReadSignals",
    "wait.signal": "signal_wait:SignalWait",
}


def registry() -> NodeRegistry:
    """The built-in kinds and those of installed plug-ins."""
    return NodeRegistry(plugin_kinds(), named=_whole(KINDS), named_parts=_whole(PARTS))


def builtin() -> tuple[type[Node], ...]:
    """The classes of all built-in kinds, which imports them all."""
    return tuple(load(name) for name in _whole(KINDS).values())


def parts() -> tuple[type[Node], ...]:
    """The classes of what only the compiler places."""
    return tuple(load(name) for name in _whole(PARTS).values())


def _whole(table: dict[str, str]) -> dict[str, str]:
    return {kind: f"{__name__}.{name}" for kind, name in table.items()}


__all__ = ["KINDS", "PARTS", "builtin", "parts", "registry"]
