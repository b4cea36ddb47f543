"""table: a stream of changes as the table that they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from streamflow.model.batch import KEY, TS, WM
from streamflow.model.policies import Extent
from streamflow.nodes.checks import CONTRADICTION
from streamflow.nodes.tables import check_port_keys, first_given, port_keys
from streamflow.operators.table_latest import STORE, CoalescedTableOperator, TableOperator
from streamflow.operators.table_rows import TableState
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Node):
    """Keep the latest item of each key, and say what every change made of it.

    An item at `in` takes the place of the one with its key; an item at `gone` takes away the one with its key, whatever
    else it holds. What is there no more leaves by `gone`, what is there now by `out`: a change gives both, in this
    order, a new key only `out`, a deletion only `gone`. The event time of both is that of the change. What takes such a
    stream back in (another table, a join, `publish`) has a port `gone` as well.

    The later item in order of arrival wins, also where its event time is earlier than that of the one it replaces:
    a topic is the history of its table, and its order is what all of its readers agree on. Items with a null key, and
    deletions of what is not there, are filtered.

    `scope: global`: each task that looks into the table (`lookup`) has all of it, read from all partitions of its
    topic, so what looks up need not be partitioned as the table is, nor by what it looks up. Such a table stands
    directly behind a trigger that reads a topic, and gives no changes: it can be connected to port `table` of lookups
    only. A task reads the table to the end of its topic before it begins, and goes on reading as it works; how far it
    had read is journaled, so a replay finds the same rows for as long as the topic has all records: where compaction
    or retention took some away since, a replay may find a later row, or none. Partitions that are added to the topic
    are read when the workers are started again. Keep such topics compacted, and the table small enough for each task
    to hold it.
    """

    spec: ClassVar = NodeSpec(
        kind="table",
        category="keyed",
        inputs=(
            Port(name="in", keyed=True, help="Items that are there from now on."),
            Port(name="gone", keyed=True, optional=True, beside="in", help="Items whose keys are there no more."),
        ),
        outputs=(
            Port(name="out", help="Items that are there now."),
            Port(name="gone", help="Items that were replaced or taken away, as they were."),
        ),
        stores=(Store(name=STORE, help="The latest item of each key."),),
        needs=(KEY, TS),
        icon="table",
        example="customers: {type: table, key: id}",
    )
    key: Expression = param(help="What an item is the latest of: text, bytes, a number, a bool or a time.")
    gone_key: Expression | None = param(default=None, help="The key of items at `gone`. Left out: as `key`.")
    emit: Literal["update", "coalesced"] = param(
        default="update",
        help="update: every change. coalesced: what several changes that came together made of a key, at least once "
        "a commit.",
    )

    scope: Literal["partition", "global"] = param(
        default="partition",
        help="partition: each task has the keys of its partition. global: each task that looks into it has all keys.",
    )

    def is_global(self) -> bool:
        return self.scope == "global"

    def port_key(self, port: str) -> Expression | None:
        found: Expression = getattr(self, self._params()[port])
        return found

    def makes_new_items(self) -> bool:
        return True  # what is gone came long before

    def scatters_executions(self) -> bool:
        return self.emit == "coalesced"

    def reserved_columns(self, extent: Extent) -> tuple[str, ...]:
        return (*self.spec.needs, WM) if self.emit == "coalesced" else self.spec.needs

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        check_port_keys(ctx, self._params(), self)
        if self.is_global() and self.emit == "coalesced":
            ctx.report(
                CONTRADICTION,
                "a global table gives no changes, and so none that are coalesced.",
                param="emit",
                mend="Leave out `emit`, or `scope`.",
            )
        return {"out": ctx.inputs["in"], "gone": ctx.inputs["in"]}

    def operator(self, ctx: BuildContext) -> Operator:
        kind = CoalescedTableOperator if self.emit == "coalesced" else TableOperator
        return kind(port_keys(ctx, self._params(), self), TableState(ctx.inputs["in"], STORE))

    def _params(self) -> dict[str, str]:
        """The parameter that holds the key, by port, deletions first."""
        return {"gone": first_given(self, ("gone_key", "key")), "in": "key"}
