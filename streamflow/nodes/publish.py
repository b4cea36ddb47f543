"""publish: items into a topic. On the hot path: with an inferred schema and no key the frame goes through as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from streamflow.model.batch import Batch
from streamflow.model.policies import Extent
from streamflow.model.types import ANY, BYTES, Schema
from streamflow.nodes.checks import CONTRADICTION, MISFIT, WRONG_TYPE, check_key
from streamflow.nodes.spreading import (
    BY_HELP,
    PARTITION_HELP,
    WEIGHTS_HELP,
    PartitionBy,
    check_spread,
    placement,
    spread_columns,
    spread_stores,
)
from streamflow.operators.errors import join_failed, label
from streamflow.operators.fitting import Misfit
from streamflow.operators.keys import can_be_key
from streamflow.operators.placement import Placement
from streamflow.operators.records import RecordColumns, Shaping, Tombstones, Typing, in_turn, shape_items
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import (
    BuildContext,
    Node,
    NodeSpec,
    Port,
    SchemaContext,
    SchemaRef,
    Schemas,
    Store,
    TopicWrite,
    param,
)
from streamflow.sdk.operator import Context, Operator, Result

_RETENTION = "retention.ms"


@dataclass(frozen=True, slots=True)
class PublishOperator:
    """Payload of the topic's schema, `@key` and `@headers`, as output `records`; rows of `gone` without payload."""

    shaping: Shaping | Typing
    columns: RecordColumns | None
    tombstones: Tombstones | None
    placement: Placement | None = None

    def process(self, inputs: Mapping[str, Batch], ctx: Context) -> Result:
        made: list[Batch] = []
        failures: list[Batch | None] = []
        if "gone" in inputs:
            assert self.tombstones is not None
            records, failed = self.tombstones.run(inputs["gone"])
            made.append(records)
            failures += failed
        if "in" in inputs:
            records, failed = self._records(inputs["in"], ctx)
            made.append(records)
            failures += failed
        records = in_turn(made, deletions=self.tombstones is not None)
        return Result(outputs={"records": records}, failed=join_failed(failures))

    def _records(self, batch: Batch, ctx: Context) -> tuple[Batch, list[Batch | None]]:
        """(records, items that failed)."""
        failures: list[Batch | None] = []
        if self.columns is not None:
            batch, failed = self.columns.add(batch)
            failures.append(failed)
        if self.placement is not None:
            batch, failed = self.placement.choose(batch)
            failures.append(failed)
        records, misfits = self.shaping.run(batch)
        if self.placement is not None:
            records = self.placement.place(records, ctx)
        return records, [*failures, misfits]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish(Node):
    """Write each item to a topic, in the same transaction as everything else its input caused.

    With a schema, fields are matched by name: others are dropped, missing ones take null or their default, and what
    cannot fit is found when the workflow is checked. A value that does not fit (null where one is required, a long too
    large for an int) is an item error before anything is sent. Without a schema the topic gets the items as they are:
    Avro with an inferred schema, or JSON for untyped items.

    For each item at `gone` a record without value is written, which says that its key is there no more, and which a
    compacted topic forgets in time. All that is taken of such an item is its key. An item without a key fails.
    """

    spec: ClassVar = NodeSpec(
        kind="publish",
        category="action",
        inputs=(
            Port(name="in", help="Items to write."),
            Port(name="gone", optional=True, help="Items whose keys are there no more."),
        ),
        outputs=(),
        one_to_one=True,
        icon="send",
        example="alert: {type: publish, topic: shop.big-orders, key: customer, "
        "headers: {origin: '\"streamflow\"'}, retention_ms: 7d}",
    )
    topic: str = param(help="Topic to write.", min_length=1)
    format: Literal["avro", "json", "bytes"] | None = param(
        default=None, help="Encoding of the records. Left out: avro for typed items, json for untyped, bytes for bytes."
    )
    framing: Literal["raw", "confluent", "single_object"] = param(
        default="raw", help="What stands before an Avro payload; confluent registers the schema."
    )
    schema: SchemaRef | None = param(
        default=None, help="Schema of the records. Left out: that of the items as it was inferred."
    )
    key: Expression | None = param(
        default=None, help="Record key; `null` writes none. Left out: the key that the item came with."
    )
    gone_key: Expression | None = param(
        default=None, help="Record key of items at `gone`. Left out: `key`, or the key that the item came with."
    )
    headers: Mapping[str, Expression] | None = param(
        default=None, help="Record headers by name, as text; a null is a header without value."
    )
    partition_by: PartitionBy | None = param(
        default=None,
        help=f"{BY_HELP} Left out: as items came, where there are as many partitions and nothing gives a key; else by "
        "key.",
    )
    weights: tuple[int, ...] = param(default=(), help=WEIGHTS_HELP)
    partition: Expression | None = param(default=None, help=PARTITION_HELP)
    partitions: int | None = param(
        default=None,
        ge=1,
        le=10_000,
        help="Partitions when the topic has to be created. Left out: as many as `weights`, or as the input has.",
    )
    config: Mapping[str, str] | None = param(
        default=None, help="Settings of the topic when it has to be created, by Kafka's names."
    )
    retention_ms: int | None = param(
        default=None, ge=-1, help="How long records are kept when the topic has to be created; -1 for ever."
    )

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        del extent
        return spread_stores(self)

    def reserved_columns(self, extent: Extent) -> tuple[str, ...]:
        del extent
        return spread_columns(self)

    def scatters_executions(self) -> bool:
        return False  # items pass at once

    def topic_write(self, ctx: SchemaContext) -> TopicWrite | None:
        schema = self._schema(ctx)
        if schema is None:
            return None
        config = dict(self.config or {})
        if self.retention_ms is not None:
            config[_RETENTION] = str(self.retention_ms)
        return TopicWrite(
            topic=self.topic,
            format=self._format(schema),
            framing=self.framing,
            schema=schema,
            partitions=self.partitions or len(self.weights) or None,
            config=config,
        )

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        check_key(ctx, self.key)
        if "gone" in ctx.inputs:
            check_key(ctx, self.gone_key or self.key, param="gone_key" if self.gone_key else "key", port="gone")
        for name, expression in (self.headers or {}).items():
            kind = ctx.typeof(expression, param=f"headers.{name}")
            if not can_be_key(kind) and kind.kind != "null":
                ctx.report(
                    WRONG_TYPE,
                    f"a header is text, bytes, a number, a bool or a time; `{expression.text}` is {kind}.",
                    param=f"headers.{name}",
                    mend="Turn it into text with json().",
                )
        if self.retention_ms is not None and _RETENTION in (self.config or {}):
            ctx.report(
                CONTRADICTION, f"retention_ms and config {_RETENTION!r} say the same twice.", param="retention_ms"
            )
        check_spread(ctx, self, self.partitions, count="partitions")
        schema = self._schema(ctx)
        if schema is None:
            return {}
        self._check_format(ctx, schema)
        shaped = shape_items(ctx.inputs["in"], schema)
        for misfit in shaped if isinstance(shaped, list) else ():
            _report(ctx, misfit)
        return {"records": schema}

    def operator(self, ctx: BuildContext) -> Operator:
        source = ctx.inputs["in"]
        shaping = shape_items(source, ctx.outputs["records"])
        assert not isinstance(shaping, list), shaping
        tombstones = None
        if "gone" in ctx.inputs:
            key = self.gone_key or self.key
            name = "gone_key" if self.gone_key else "key"
            projection = None if key is None else ctx.projection({"key": key}, port="gone")
            columns = None if projection is None or key is None else RecordColumns(
                projection, {"key": label(name, key)}, (), True
            )  # fmt: skip
            tombstones = Tombstones(columns, ctx.outputs["records"])
        return PublishOperator(
            shaping, record_columns(ctx, self.key, self.headers or {}), tombstones, placement(ctx, self)
        )

    def _format(self, schema: Schema) -> Literal["avro", "json", "bytes"]:
        if self.format is not None:
            return self.format
        if schema.kind == "any":
            return "json"
        return "bytes" if schema.kind == "bytes" and self.schema is None else "avro"

    def _inferred(self, source: Schema) -> Schema:
        if self.format == "bytes" and source.kind == "record" and len(source.fields) == 1:
            return BYTES  # one field of text or bytes is the payload
        return ANY if source.kind == "any" else source

    def _schema(self, ctx: SchemaContext) -> Schema | None:
        if self.schema is not None:
            return ctx.schema(self.schema, param="schema")
        return self._inferred(ctx.inputs["in"]) if "in" in ctx.inputs else None

    def _check_format(self, ctx: SchemaContext, schema: Schema) -> None:
        chosen = self._format(schema)
        if self.framing != "raw" and chosen != "avro":
            ctx.report(
                CONTRADICTION,
                f"framing {self.framing!r} belongs to format avro; format is {chosen}.",
                param="framing",
                mend="Leave framing out, or set format: avro.",
            )
        if chosen == "avro" and schema.kind == "any":
            ctx.report(
                CONTRADICTION,
                "untyped items cannot be written as avro.",
                param="format",
                mend="Give a schema, or set format: json.",
            )
        if chosen == "bytes" and schema.kind != "bytes":
            ctx.report(
                CONTRADICTION,
                f"format bytes writes items that are bytes, or have one field of text or bytes; these are {schema}.",
                param="format",
                mend="Make one field with set and keep: [], or choose avro or json.",
            )
        if chosen == "json" and schema.kind == "bytes":
            ctx.report(CONTRADICTION, "items of bytes are no JSON.", param="format", mend="Set format: bytes.")


def record_columns(
    ctx: BuildContext, key: Expression | None, headers: Mapping[str, Expression]
) -> RecordColumns | None:
    """What computes `@key` and `@headers`; None when neither is asked for."""
    expressions: dict[str, Expression] = {f"headers.{n}": e for n, e in headers.items()}
    if key is not None:
        expressions["key"] = key
    if not expressions:
        return None
    projection = ctx.projection(expressions)
    return RecordColumns(projection, {n: label(n, e) for n, e in expressions.items()}, tuple(headers), key is not None)


def _report(ctx: SchemaContext, misfit: Misfit) -> None:
    what = f"field {misfit.path!r} {misfit.message}" if misfit.path else f"the item {misfit.message}"
    ctx.report(MISFIT, f"{what}.", param="schema", mend="Compute it with a set before this node, or change the schema.")
