"""wait: items go on after a time, at a time, or when a signal comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from streamflow.model.types import LONG
from streamflow.nodes.signal_wait import signal_parts
from streamflow.nodes.wait_params import WaitBase
from streamflow.operators.errors import label
from streamflow.operators.waiting import DUE, STORE, WaitOperator
from streamflow.sdk.node import BuildContext, NodeSpec, Parts, Port, SchemaContext, Schemas, Store
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(WaitBase):
    """Let items wait: `for` a duration, `until` a time, or for a `signal`.

    Items wait by the wall clock, and hold nothing else back: they are kept in the node's state, over restarts, while
    what comes behind them goes on. They come out as they went in, with their execution, key and event time; so to a
    node with windows behind it they may be late. Items whose time has passed already go on at once.

    `signal: NAME` waits for a record of that name on topic `<workflow>.signals`, which `streamflow signal` writes, and
    anyone may (schemas/signal.avsc). A signal has a key; it answers the items that wait under that key here, by default
    those of one execution: they go on with its payload as field `signal`. One that no item waits for is early: it is
    kept for `keep_early`, and the next item of its key does not wait; it then answers no other. A signal that comes
    after the answer is early for the next item of its key. Signals that were kept in vain, that do not fit `schema`, or
    whose token is not right (`signed`) are dead letters. Of signals of one key with the same `id` the first counts, and
    the others do nothing: so whoever does not know whether a signal was written may write it again.

    Signals and time-outs are settled in the order in which the task hears of them; an item whose time-out has passed is
    not answered any more.
    """

    spec: ClassVar = NodeSpec(
        kind="wait",
        category="control",
        outputs=(
            Port(name="out", help="Items that have waited."),
            Port(name="timeout", help="With `timeout`: items that no signal has come for."),
        ),
        stores=(Store(name=STORE, help="Items that wait, and signals that came early."),),
        holds=True,
        icon="hourglass",
        example='approved: {type: wait, signal: approval, key: "order", timeout: 1h}',
    )

    def output_ports(self) -> tuple[Port, ...]:
        return self.spec.outputs if self.timeout_ms is not None else self.spec.outputs[:1]

    def held_ports(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        return ("in",), tuple(port.name for port in self.output_ports())

    def parts(self) -> Parts | None:
        return None if self.signal is None else signal_parts(self)

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        if self.check_mode(ctx):
            self.check_times(ctx)
        return {port.name: ctx.inputs["in"] for port in self.output_ports()}

    def operator(self, ctx: BuildContext) -> Operator:
        name, expression = ("for", self.for_ms) if self.for_ms is not None else ("until", self.until)
        assert expression is not None, "the compiler checked it"
        untyped = ctx.projection({DUE: expression}).types[DUE].kind == "any"
        return WaitOperator(
            projection=ctx.projection({DUE: expression}, expect={DUE: LONG.optional()} if untyped else None),
            labels={DUE: label(name, expression)},
            schema=ctx.inputs["in"],
            earlier=ctx.kept,
            relative=self.for_ms is not None,
            remembered=ctx.remembered,
        )
