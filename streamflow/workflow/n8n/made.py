"""What a node of n8n becomes, and the rows of the table that says which function makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from streamflow.workflow.n8n.model import N8nNode
from streamflow.workflow.n8n.values import Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A node that is put before the one that takes the id, where one of n8n's does the work of several."""

    kind: str
    params: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A node here.

    `inputs` and `outputs`: our port for each of n8n's by number; the last one stands for all beyond. "" leaves a wire
    out: nothing flows there, for the reason `unwired`. `comments` stand above the node.
    """

    kind: str
    params: Mapping[str, object] = field(default_factory=dict)
    inputs: tuple[str, ...] = ("in",)
    outputs: tuple[str, ...] = ("out",)
    before: tuple[Step, ...] = ()
    unwired: str = ""
    notes: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    when_typed: Mapping[str, object] | None = None  # parameters where the items that come have a schema
    typed: bool = False  # its items have a schema, also where those that came had none


Make = Callable[[N8nNode, Values], Made]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """A row of the table: types of n8n nodes, what makes them, and what the reference says."""

    types: tuple[str, ...]
    make: Make
    to: str
    help: str


def port_of(ports: tuple[str, ...], number: int) -> str:
    return ports[min(number, len(ports) - 1)] if ports else ""
