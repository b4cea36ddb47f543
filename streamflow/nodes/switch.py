"""switch: many ways for items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import orjson
import polars as pl

from streamflow.model.batch import Batch
from streamflow.nodes.checks import CONTRADICTION, check_condition
from streamflow.nodes.sequence import unwrapped
from streamflow.operators.errors import failed_rows, label
from streamflow.operators.masks import condition
from streamflow.sdk.expression import Expression, Projection
from streamflow.sdk.node import BuildContext, Json, Node, NodeSpec, Port, SchemaContext, Schemas, param
from streamflow.sdk.operator import Context, Operator, Result

_RESERVED_PORTS = ("error", "records")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way: a condition or a value, and the port it leads to."""

    port: str = param(help="Output port of the items of this case.", pattern="^[A-Za-z_][A-Za-z0-9_-]*$")
    when: Expression | None = param(default=None, help="Condition of this case; without `value` on the node.")
    equals: Json | None = param(default=None, help="What the node's `value` equals in this case.")


@dataclass(frozen=True, slots=True)
class SwitchOperator:
    """Masks case by case. In mode first a row that has found its case is not asked further, so cannot fail there."""

    cases: Projection  # conditions named by their number
    labels: Mapping[str, str]
    ports: tuple[str, ...]
    default: str
    first: bool

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch = inputs["in"]
        done = self.cases.run(batch.frame, batch.parsed)
        nowhere = pl.repeat(True, len(batch), eager=True)  # rows that no case took yet
        wrong = pl.repeat(False, len(batch), eager=True)
        errors: dict[str, pl.Series] = {}
        masks: list[tuple[str, pl.Series]] = []
        for at, port in enumerate(self.ports):
            codes = done.errors.get(str(at))
            if codes is not None:
                asked = nowhere & ~wrong if self.first else ~wrong
                failing = asked & (codes != 0)
                errors[str(at)] = failing.cast(pl.UInt8) * codes
                wrong = wrong | failing
            taken = condition(done.values[str(at)])
            if self.first:
                taken = taken & nowhere & ~wrong
            nowhere = nowhere & ~taken
            masks.append((port, taken))
        fine = ~wrong
        masks.append((self.default, nowhere))
        by_port: dict[str, pl.Series] = {}
        for port, mask in masks:
            mask = mask & fine
            by_port[port] = by_port[port] | mask if port in by_port else mask
        outputs = {port: batch.where(mask) for port, mask in by_port.items() if mask.any()}
        return Result(outputs=outputs, failed=failed_rows(batch, errors, self.labels) if wrong.any() else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Node):
    """Send each item to the port of its case: the first that matches, or all that match.

    Cases are conditions, or values that `value` is compared with. What matches none goes to `default`.
    """

    spec: ClassVar = NodeSpec(
        kind="switch",
        category="condition",
        outputs=(Port(name="default", help="Items that no case matches; and one port for each case."),),
        icon="list-tree",
        example="by-country: {type: switch, value: country, cases: [{equals: DE, port: de}, {equals: FR, port: fr}]}",
    )
    cases: tuple[Case, ...] = param(help="The cases, in order.", min_length=1)
    value: Expression | None = param(default=None, help="What the cases' `equals` are compared with.")
    mode: Literal["first", "all"] = param(
        default="first", help="Whether an item goes to the first case that matches, or to a copy for each."
    )
    default: str = param(default="default", help="Port of what matches no case.", pattern="^[A-Za-z_][A-Za-z0-9_-]*$")

    def output_ports(self) -> tuple[Port, ...]:
        names = dict.fromkeys((*(c.port for c in self.cases), self.default))
        return tuple(Port(name=n) for n in names)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        if self.value is not None:
            ctx.typeof(self.value, param="value")
        for at, case in enumerate(self.cases):
            where = f"cases[{at}]"
            if case.port in _RESERVED_PORTS or self.default in _RESERVED_PORTS:
                ctx.report(
                    CONTRADICTION, f"the ports {' and '.join(_RESERVED_PORTS)} mean something else.", param=where
                )
            if self.value is None and case.when is None:
                ctx.report(
                    CONTRADICTION, "the case has no condition.", param=where, mend="Set when, or value on the node."
                )
            elif self.value is not None and case.when is not None:
                ctx.report(
                    CONTRADICTION,
                    "the node compares a value, so a case has `equals` and no `when`.",
                    param=where,
                    mend="Leave value out to use conditions.",
                )
            else:
                check_condition(ctx, self._condition(case), param=where)
        return {port.name: ctx.inputs["in"] for port in self.output_ports()}

    def operator(self, ctx: BuildContext) -> Operator:
        conditions = {str(at): self._condition(case) for at, case in enumerate(self.cases)}
        labels = {n: label(f"cases[{n}]", e) for n, e in conditions.items()}
        return SwitchOperator(
            ctx.projection(conditions), labels, tuple(c.port for c in self.cases), self.default, self.mode == "first"
        )

    def _condition(self, case: Case) -> Expression:
        if self.value is None:
            assert case.when is not None
            return case.when
        if case.equals is None:
            return Expression(f"is_null({unwrapped(self.value.text)})", self.value.place)
        return Expression(f"({unwrapped(self.value.text)}) == {literal(case.equals)}", self.value.place)


def literal(value: object) -> str:
    """A JSON value as expression text."""
    if value is None or isinstance(value, bool):
        return repr(value)
    return orjson.dumps(value).decode()
