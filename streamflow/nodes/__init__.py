"""The built-in node kinds, one file each. An explicit tuple: importing a file registers nothing."""

from __future__ import annotations

from streamflow.nodes.event import Event
from streamflow.nodes.filter import Filter
from streamflow.nodes.if_ import If
from streamflow.nodes.no_op import NoOp
from streamflow.nodes.pass_ import Pass
from streamflow.nodes.publish import Publish
from streamflow.nodes.set import Set
from streamflow.sdk.node import Node
from streamflow.sdk.registry import NodeRegistry, plugin_kinds

BUILTIN: tuple[type[Node], ...] = (
    Event,
    Filter,
    If,
    NoOp,
    Pass,
    Publish,
    Set,
)


def registry() -> NodeRegistry:
    """The built-in kinds and those of installed plug-ins."""
    return NodeRegistry((*BUILTIN, *plugin_kinds()))


__all__ = ["BUILTIN", "registry"]
