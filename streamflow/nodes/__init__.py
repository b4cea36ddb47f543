"""The built-in node kinds, one file each. An explicit tuple: importing a file registers nothing."""

from __future__ import annotations

from streamflow.nodes.aggregate import AggregateNode
from streamflow.nodes.batch import BatchNode
from streamflow.nodes.checkpointing import Checkpoint
from streamflow.nodes.compensating import FailAgain
from streamflow.nodes.control import Control
from streamflow.nodes.debounce import Debounce
from streamflow.nodes.dedupe import Dedupe
from streamflow.nodes.error_trigger import ErrorTrigger
from streamflow.nodes.event import Event
from streamflow.nodes.file import File
from streamflow.nodes.filter import Filter
from streamflow.nodes.foreign_join import ForeignMatches, ForeignResult, ForeignRows
from streamflow.nodes.function import Code, Function
from streamflow.nodes.gather import Gather, GatherSend
from streamflow.nodes.global_lookup import GlobalLookup
from streamflow.nodes.if_ import If
from streamflow.nodes.join import Join
from streamflow.nodes.limit import Limit
from streamflow.nodes.lookup import Lookup
from streamflow.nodes.loop import Loop
from streamflow.nodes.loop_back import LoopBack
from streamflow.nodes.manual import Manual
from streamflow.nodes.merge import Merge
from streamflow.nodes.no_op import NoOp
from streamflow.nodes.notification import Notification
from streamflow.nodes.pass_ import Pass
from streamflow.nodes.pattern import Pattern
from streamflow.nodes.publish import Publish
from streamflow.nodes.reduce import Reduce
from streamflow.nodes.rename import Rename
from streamflow.nodes.repartition import Repartition
from streamflow.nodes.resume_token import ResumeToken
from streamflow.nodes.set import Set
from streamflow.nodes.signal_wait import HearSignals, LostSignals, ReadSignals, SignalWait
from streamflow.nodes.slots import HoldSlots, ReadEnds, Slots
from streamflow.nodes.sort import Sort
from streamflow.nodes.split import Split
from streamflow.nodes.stop_and_error import StopAndError
from streamflow.nodes.stub import Stub
from streamflow.nodes.sub_flow import Return, SubFlow, SubFlowEntry, SubFlowErrors, SubFlowTrigger
from streamflow.nodes.switch import Switch
from streamflow.nodes.table import Table
from streamflow.nodes.table_join import TableJoin
from streamflow.nodes.template import TemplateNode
from streamflow.nodes.throttle import Throttle
from streamflow.nodes.wait import Wait
from streamflow.nodes.window import Window
from streamflow.nodes.write_file import WriteFile
from streamflow.sdk.node import Node
from streamflow.sdk.registry import NodeRegistry, plugin_kinds

BUILTIN: tuple[type[Node], ...] = (
    AggregateNode,
    BatchNode,
    Code,
    Debounce,
    Dedupe,
    ErrorTrigger,
    Event,
    File,
    Filter,
    Function,
    If,
    Join,
    Limit,
    Lookup,
    Loop,
    Manual,
    Merge,
    NoOp,
    Notification,
    Pass,
    Pattern,
    Publish,
    Reduce,
    Rename,
    Repartition,
    ResumeToken,
    Return,
    Set,
    Slots,
    Sort,
    Split,
    StopAndError,
    Stub,
    SubFlow,
    SubFlowTrigger,
    Switch,
    Table,
    TableJoin,
    TemplateNode,
    Throttle,
    Wait,
    Window,
    WriteFile,
)


# What the compiler makes of others.
PARTS: tuple[type[Node], ...] = (
    Checkpoint,
    Control,
    FailAgain,
    Gather,
    GatherSend,
    ForeignRows,
    ForeignMatches,
    ForeignResult,
    GlobalLookup,
    LoopBack,
    ReadSignals,
    HearSignals,
    SignalWait,
    LostSignals,
    ReadEnds,
    HoldSlots,
    SubFlowEntry,
    SubFlowErrors,
)


def registry() -> NodeRegistry:
    """The built-in kinds and those of installed plug-ins."""
    return NodeRegistry((*BUILTIN, *plugin_kinds()), PARTS)


__all__ = ["BUILTIN", "registry"]
