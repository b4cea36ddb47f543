"""Small node kinds for the tests of documents: nothing here runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from streamflow.sdk.expression import Expression
from streamflow.sdk.node import FunctionRef, Json, Node, NodeSpec, Port, SchemaRef, Template, param
from streamflow.sdk.registry import NodeRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Node):
    """A trigger."""

    spec: ClassVar = NodeSpec(kind="event", category="trigger", inputs=())
    topic: str = param(help="Topic to read.", min_length=1)
    schema: SchemaRef | None = param(default=None, help="Schema of the items.")
    key: Expression | None = param(default=None, help="Key.")
    time: Expression | None = param(default=None, help="Event time.")
    start: Literal["earliest", "latest"] = param(default="earliest", help="Where to begin.")


@dataclass(frozen=True, slots=True, kw_only=True)
class If(Node):
    """Two ways."""

    spec: ClassVar = NodeSpec(
        kind="if", category="condition", outputs=(Port(name="true"), Port(name="false")), one_to_one=True
    )
    when: Expression = param(help="The condition.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Set(Node):
    """Adds fields."""

    spec: ClassVar = NodeSpec(kind="set", category="transform")
    fields: Mapping[str, Expression] = param(help="Fields to set.", min_length=1)
    remove: tuple[str, ...] = param(default=(), help="Fields to remove.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish(Node):
    """An end."""

    spec: ClassVar = NodeSpec(kind="publish", category="action", outputs=())
    topic: str = param(help="Topic to write.", pattern=r"^[a-zA-Z0-9._-]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOp(Node):
    """Passes on."""

    spec: ClassVar = NodeSpec(kind="no-op", category="control", can_fail=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Join(Node):
    """Two inputs."""

    spec: ClassVar = NodeSpec(kind="join", category="merge", inputs=(Port(name="left"), Port(name="right")))
    within_ms: int = param(default=1_000, ge=1, le=86_400_000, help="Distance in time.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function(Node):
    """A Python function."""

    spec: ClassVar = NodeSpec(kind="function", category="action")
    function: FunctionRef = param(help="The function.")
    mode: Literal["item", "frame"] = param(default="item", help="What it takes.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One entry of a nested form."""

    when: Expression = param(help="Condition.")
    port: str = param(help="Port.", pattern=r"^\w+$")
    weight: float = param(default=1.0, ge=0, help="Weight.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A form of which only one parameter is required."""

    value: Expression = param(help="What to sort by.")
    descending: bool = param(default=False, help="Greatest first.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything(Node):
    """Every annotation that a parameter may have."""

    spec: ClassVar = NodeSpec(kind="everything", category="transform")
    text: str = param(default="x", help="Text.", min_length=1)
    whole: int = param(default=0, ge=-5, le=5, help="Integer.")
    number: float = param(default=0.5, le=1e9, help="Number.")
    flag: bool = param(default=False, help="Flag.")
    mode: Literal["a", "b", "true"] = param(default="a", help="Choice.")
    when: Expression | None = param(default=None, help="Expression.")
    greeting: Template | None = param(default=None, help="Template.")
    function: FunctionRef | None = param(default=None, help="Function.")
    schema: SchemaRef | None = param(default=None, help="Schema.")
    data: Json = param(default=None, help="Anything.")
    names: tuple[str, ...] = param(default=(), help="Names.")
    limits: Mapping[str, int] | None = param(default=None, help="Numbers by name.")
    rules: tuple[Rule, ...] = param(default=(), help="Forms.")
    first: Rule | None = param(default=None, help="One form.")
    by: tuple[Order, ...] = param(default=(), help="Forms that may be written short.")
    delay_ms: int = param(default=0, ge=0, le=86_400_000, help="Pause.")

    def __post_init__(self) -> None:
        if self.flag and self.mode == "b":
            raise ValueError("flag does not go with mode b")


KINDS = (Event, If, Set, Publish, NoOp, Join, Function, Everything)
REGISTRY = NodeRegistry(KINDS)
