"""Orders to executions, as they stand on a workflow's control topic, and what a task remembers of them.

Each task has all of them. An order holds for rows that are anywhere in the workflow, and for those that come later; so
it is remembered for a while: as long as rows can be on their way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import polars as pl

from streamflow.model.batch import DEADLINE, TS, Batch
from streamflow.model.types import STRING, Field, Schema, Type, array_of
from streamflow.operators.errors import fail
from streamflow.operators.lost_branches import BRANCH_LOST, BRANCH_OVER, Lost, LostBranches
from streamflow.sdk.operator import CANCELLED, EXECUTION_TIMED_OUT, OUTRUN, Context, Result

CANCEL: Final = "cancel"
KEPT_MS: Final = 7 * 86_400_000  # an order is forgotten when it is older
ORDERS_MAX: Final = 100_000  # executions with an order that a task remembers: the newest
_TIME_OVER: Final = "the execution has had its time (`timeout` of the policies)"
_FEW: Final = 2_000
_TEXT_CHARS_MAX: Final = 200  # of a reason, and of who gave it

CONTROL: Final[Schema] = Type(
    kind="record",
    name="streamflow.Control",
    doc="An order to an execution: a record on topic <workflow>.control, with the execution's id as its key.",
    fields=tuple(
        Field(name=name, type=of, doc=doc, has_default=of.nullable)
        for name, of, doc in (
            ("execution", STRING, "Whose rows it is for."),
            (
                "action",
                STRING,
                "What is to be done: cancel; branch_lost (another branch was first), branch_over (no more rows can "
                "come). Others are passed over.",
            ),
            ("nodes", array_of(STRING).optional(), "Only rows at these nodes. Null: wherever they are."),
            ("reason", STRING.optional(), "Why, for people."),
            ("by", STRING.optional(), "Who gave it, for people; the merge that says of branches that they lost."),
            ("time", Type(kind="timestamp", unit="ms"), "When it was given. It holds for seven days."),
        )
    ),
)


@dataclass(frozen=True, slots=True)
class Order:
    """A cancel. `nodes`: only there; empty: everywhere."""

    text: str
    at_ms: int
    nodes: frozenset[str] = frozenset()


@dataclass(slots=True)
class Orders:
    """The orders that a task remembers, by execution: at most ORDERS_MAX, none older than KEPT_MS. `lost`: branches
    whose rows end as another was first, which is no cancel of the execution.

    `fresh`: executions whose order has not been carried out on rows that nodes hold.
    """

    by_execution: dict[str, Order] = field(default_factory=dict)
    fresh: dict[str, None] = field(default_factory=dict)
    lost: LostBranches = field(default_factory=LostBranches)
    changes: int = 0  # counts up with each change

    def __bool__(self) -> bool:
        return bool(self.by_execution or self.lost)

    def clear(self) -> None:
        self.by_execution.clear()
        self.fresh.clear()
        self.lost.clear()
        self.changes += 1

    def add(self, execution: str, order: Order) -> None:
        """One more order; two to one execution hold together."""
        before = self.by_execution.pop(execution, None)
        if before is not None:
            both = before.nodes | order.nodes if before.nodes and order.nodes else frozenset[str]()
            order = Order(before.text, max(before.at_ms, order.at_ms), both)
        self.by_execution[execution] = order
        self.fresh[execution] = None
        if len(self.by_execution) > ORDERS_MAX:
            self._forget(next(iter(self.by_execution)))
        self.changes += 1

    def age(self, now_ms: int) -> None:
        """Forget what is too old, by the clock that the journal keeps."""
        self.lost.age(now_ms - KEPT_MS)
        while self.by_execution:
            first = next(iter(self.by_execution))
            if self.by_execution[first].at_ms >= now_ms - KEPT_MS:
                return
            self._forget(first)
            self.changes += 1

    def take_fresh(self) -> Mapping[str, Order]:
        """Orders that are to be carried out on what nodes hold; they are handed out once."""
        fresh, self.fresh = self.fresh, {}
        return MappingProxyType({execution: self.by_execution[execution] for execution in fresh})

    def _forget(self, execution: str) -> None:
        del self.by_execution[execution]
        self.fresh.pop(execution, None)


@dataclass(slots=True)
class ControlOperator:
    """Takes orders in."""

    orders: Orders = field(default_factory=Orders)

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        batch, taken = inputs["in"], 0
        for execution, action, by, order in _orders(batch.frame, ctx.now_ms):
            taken += 1
            if action == BRANCH_OVER:
                self.orders.lost.over(execution, by)
            elif order.at_ms >= ctx.now_ms - KEPT_MS:
                if action == CANCEL:
                    self.orders.add(execution, order)
                else:
                    self.orders.lost.add(execution, by, Lost(order.text, order.at_ms, order.nodes))
        self.orders.age(ctx.now_ms)
        return Result(absorbed=taken, filtered=len(batch) - taken)


def _orders(frame: pl.DataFrame, now_ms: int) -> Iterator[tuple[str, str, str, Order]]:
    """(execution, action, who gave it, order) of the records of a batch, without those that this version does not
    know.
    """
    # Whoever gave it may have a clock that is ahead. And what is as old by its record need not be read again: so it is
    # no newer than that.
    time_ms = pl.min_horizontal(pl.col("time").dt.epoch("ms"), TS, pl.lit(now_ms))
    rows = frame.select("execution", "action", "nodes", "reason", "by", time_ms.alias("time")).iter_rows()
    for execution, action, nodes, reason, by, at_ms in rows:
        if action in (CANCEL, BRANCH_LOST, BRANCH_OVER):
            text = said(by, reason) if action == CANCEL else f"another branch was first: {reason}"
            yield execution, action, by or "", Order(text, at_ms, frozenset(nodes or ()))


def said(by: str | None, reason: str | None) -> str:
    """A cancel in words."""
    who = f"cancelled by {by[:_TEXT_CHARS_MAX]}" if by else "cancelled"
    return f"{who}: {reason[:_TEXT_CHARS_MAX]}" if reason else who


def outrun(batch: Batch, ids: pl.Series, lost: Mapping[str, Lost], node: str) -> tuple[Batch, Batch | None]:
    """(rows that go on, rows at a node of a branch that has lost, as `Result.ended` has them). `ids`: executions."""
    return apart(batch, ids, lost, node, code=OUTRUN)


def out_of_time(batch: Batch, at_ms: int | Sequence[int]) -> tuple[Batch, Batch | None]:
    """(rows that go on, rows whose execution has had its time, as `Result.ended` has them) at a moment, or at one for
    each row: those at which they were due (`by_deadline`). What was due before goes on, however late it is asked.
    """
    if DEADLINE not in batch.frame.columns:
        return batch, None
    moment = at_ms if isinstance(at_ms, int) else pl.Series(at_ms, dtype=pl.Int64)
    over = (batch.frame[DEADLINE] <= moment).fill_null(False)
    if not over.any():
        return batch, None
    return batch.where(~over), fail(batch.where(over), EXECUTION_TIMED_OUT, _TIME_OVER)


def by_deadline(due_ms: pl.Series, frame: pl.DataFrame) -> pl.Series:
    """Times at which rows are due, or their execution has had its time."""
    if DEADLINE not in frame.columns:
        return due_ms
    return pl.select(pl.min_horizontal(due_ms, frame[DEADLINE])).to_series()


def apart(
    batch: Batch, ids: pl.Series, orders: Mapping[str, Order] | Mapping[str, Lost], node: str, *, code: str = CANCELLED
) -> tuple[Batch, Batch | None]:
    """(rows that go on, rows whose execution has an order that holds at the node, as `Result.ended` has them). `ids`:
    executions.
    """
    if len(orders) <= _FEW:  # most rows are of none of them
        named = ids.is_in(pl.Series(list(orders), dtype=pl.String).implode()).fill_null(False)
        if not named.any():
            return batch, None
    else:
        named = pl.Series([i in orders for i in ids.to_list()], dtype=pl.Boolean)
    found = [orders[i] for i in ids.filter(named).to_list()]
    here = pl.Series([not order.nodes or node in order.nodes for order in found], dtype=pl.Boolean)
    if not here.any():
        return batch, None
    ends = named if here.all() else named.clone().scatter(named.arg_true().filter(~here), False)
    texts = pl.Series([order.text for order in found], dtype=pl.String).filter(here)
    return batch.where(~ends), fail(batch.where(ends), code, texts)
