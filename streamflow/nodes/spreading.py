"""What `publish` and `repartition` share: how rows are spread over the partitions of a topic."""

from __future__ import annotations

from typing import Literal, Protocol

from streamflow.model.batch import OFFSET, PATH, SOURCE
from streamflow.nodes.checks import CONTRADICTION, WRONG_TYPE
from streamflow.operators.errors import label
from streamflow.operators.placement import COUNTS, PARTITION_VALUE, STORE, WEIGHTS_SUM_MAX, Placement
from streamflow.sdk.errors import UsageError
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, SchemaContext, Store

PartitionBy = Literal["key", "round_robin", "weighted", "random", "least_loaded", "expression"]
BY_HELP = (
    "key: by hash of the key, as Kafka's Java client does. round_robin: one partition after another. weighted: in "
    "proportion to `weights`. random: drawn from each item's position, so a replay draws the same. least_loaded: where "
    "this task has written the fewest rows. expression: `partition` modulo the number of partitions."
)
WEIGHTS_HELP = "weighted: how many of so many items each partition gets, in order of partitions."
PARTITION_HELP = "expression: a whole number from 0 on, for each item."


class Spreads(Protocol):
    """The parameters."""

    @property
    def partition_by(self) -> PartitionBy | None: ...
    @property
    def weights(self) -> tuple[int, ...]: ...
    @property
    def partition(self) -> Expression | None: ...


def check_spread(ctx: SchemaContext, node: Spreads, partitions: int | None, *, count: str) -> None:
    """`count`: the parameter that says how many `partitions` there are."""
    for name, given, wanted in (
        ("weights", bool(node.weights), "weighted"),
        ("partition", node.partition is not None, "expression"),
    ):
        if given != (node.partition_by == wanted):
            what = f"`partition_by: {wanted}` needs `{name}`" if not given else f"`{name}` belongs to `{wanted}`"
            mend = f"Set {name}." if not given else f"Set `partition_by: {wanted}`, or leave {name} out."
            ctx.report(CONTRADICTION, f"{what}.", param="partition_by" if not given else name, mend=mend)
    if "gone" in ctx.inputs and node.partition_by not in (None, "key"):
        ctx.report(
            CONTRADICTION,
            "a deletion has to go where the items of its key are, which only their key can say.",
            param="partition_by",
            mend="Leave `partition_by` out, or leave the port `gone` unconnected.",
        )
    if node.weights:
        _check_weights(ctx, node.weights, partitions, count)
    if node.partition is not None:
        kind = ctx.typeof(node.partition, param="partition")
        if kind.kind not in ("int", "long"):
            message = f"a partition is a whole number; `{node.partition.text}` is {kind}."
            ctx.report(WRONG_TYPE, message, param="partition", mend="Convert it with long().")


def _check_weights(ctx: SchemaContext, weights: tuple[int, ...], partitions: int | None, count: str) -> None:
    if min(weights) < 0 or not 0 < sum(weights) <= WEIGHTS_SUM_MAX:
        message = f"weights are whole numbers from 0 on, not all 0, and at most {WEIGHTS_SUM_MAX} together."
        ctx.report(CONTRADICTION, message, param="weights", mend="Give each partition its share, such as [3, 1].")
    if partitions is not None and partitions != len(weights):
        ctx.report(
            CONTRADICTION,
            f"there are {len(weights)} weights for {partitions} partitions.",
            param="weights",
            mend=f"Give each partition a weight, or leave `{count}` out.",
        )


def spread_stores(node: Spreads) -> tuple[Store, ...]:
    """The store of strategies that count."""
    return (Store(name=STORE, help="How many items went where."),) if node.partition_by in COUNTS else ()


def spread_columns(node: Spreads) -> tuple[str, ...]:
    """Reserved columns that strategies read."""
    return (SOURCE, OFFSET, PATH) if node.partition_by == "random" else ()


def placement(ctx: BuildContext, node: Spreads) -> Placement | None:
    """None: by key, or as rows came."""
    if node.partition_by is None or node.partition_by == "key":
        return None
    if node.weights and ctx.target_partitions not in (0, len(node.weights)):
        raise UsageError(
            f"node {ctx.node_id!r}: there are {len(node.weights)} weights, but the topic has {ctx.target_partitions} "
            "partitions.",
            mend="Give each partition a weight.",
        )
    chosen = None
    if node.partition is not None:
        chosen = ctx.projection({PARTITION_VALUE: node.partition}), label("partition", node.partition)
    return Placement(node.partition_by, max(ctx.target_partitions, 1), node.weights, chosen)
