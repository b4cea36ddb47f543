"""event: the trigger that reads a topic. Its records are the items; it needs no operator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from streamflow.model.types import ANY, BYTES, Schema, record_of
from streamflow.nodes.checks import CONTRADICTION, TIME_MS_MAX
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import Node, NodeSpec, Port, SchemaContext, SchemaRef, Schemas, TopicRead, param


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Node):
    """Start an execution for each record of a topic.

    A record that does not decode goes to the dead letter topic with its original bytes; the others go on.

    A record without value says that its key is there no more. Such records leave by the port `gone`, when something is
    connected there or `tombstones: gone` is set; else they do not decode, or are nulls where items may be null. All
    they say is their key, so the items of that port have one field: the one that `key` names, if it names a field of
    text, bytes or a whole number, else `key` with the key's bytes. Their event time is that of the record. Without a
    key they do not decode.
    """

    spec: ClassVar = NodeSpec(
        kind="event",
        category="trigger",
        inputs=(),
        outputs=(
            Port(name="out", help="One item for each record."),
            Port(name="gone", help="The key of each record without value."),
        ),
        icon="radio",
        example="placed: {type: event, topic: shop.orders, schema: order.avsc, key: customer, time: ts}",
    )
    topic: str = param(help="Topic to read.", min_length=1)
    format: Literal["avro", "json", "bytes"] | None = param(
        default=None, help="Encoding of the records. Left out: avro when there is a schema, else json."
    )
    framing: Literal["raw", "confluent", "single_object"] = param(
        default="raw",
        help="What stands before an Avro payload: nothing (raw), magic byte and schema id (confluent), or marker and "
        "fingerprint (single_object).",
    )
    schema: SchemaRef | None = param(
        default=None, help="Schema of the items. JSON without one gives untyped items, checked as they run."
    )
    key: Expression | None = param(default=None, help="Value that replaces the record key; left out: the record's own.")
    partitioned_by: Expression | None = param(
        default=None,
        help="What producers of the topic partition it by, if they all do. A node with that key then takes the items "
        "where they are, without a repartition; what lies elsewhere would be another item's group to it.",
    )
    partitioner: str | None = param(
        default=None,
        min_length=1,
        help="How producers choose a partition by that, under any name: murmur2, crc32. Topics that say the same meet "
        "by that key without a repartition, and must have equally many partitions. Left out: not known.",
    )
    time: Expression | None = param(
        default=None, help="Event time: a timestamp, or a long of ms since 1970. Left out: the record's timestamp."
    )
    by_clock: bool = param(
        default=False,
        help="Event time is when an item is read, by the clock; it goes on without items. Recorded, so that a replay "
        "says the same.",
    )
    disorder_ms: int = param(
        default=0,
        ge=0,
        le=TIME_MS_MAX,
        help="How far behind the latest event time of its partition a record may come and not be late. What waits for "
        "event time waits that much longer.",
    )
    idle_after_ms: int | None = param(
        default=None,
        ge=1,
        le=TIME_MS_MAX,
        help="A partition without new records for so long (by the clock) does not hold event time back until its next "
        "record. Left out: event time waits for every partition.",
    )
    start: Literal["earliest", "latest"] = param(
        default="earliest", help="Where reading begins when nothing was committed yet."
    )
    tombstones: Literal["gone"] | None = param(
        default=None, help="gone: records without value leave by that port also when nothing is connected there."
    )
    partitions: int | None = param(
        default=None, ge=1, le=10_000, help="Partitions of the topic when it has to be created."
    )

    def topic_read(self, ctx: SchemaContext) -> TopicRead | None:
        for name, given in (
            ("time", self.time),
            ("disorder_ms", self.disorder_ms),
            ("idle_after_ms", self.idle_after_ms),
        ):
            if self.by_clock and given:
                message = f"event time by the clock has no `{name.removesuffix('_ms')}`."
                ctx.report(CONTRADICTION, message, param=name, mend="Leave it out, or leave out `by_clock`.")
        if self.partitioner is not None and self.partitioned_by is None:
            message = "`partitioner` says how a partition is chosen, but not by what."
            ctx.report(CONTRADICTION, message, param="partitioner", mend="Set `partitioned_by`, or leave it out.")
        schema = self._schema(ctx)
        if schema is None:
            return None
        return TopicRead(
            topic=self.topic,
            format=self._format(),
            framing=self.framing,
            schema=schema,
            key=self.key,
            partitioned_by=self.partitioned_by,
            time=self.time,
            by_clock=self.by_clock,
            disorder_ms=self.disorder_ms,
            idle_after_ms=self.idle_after_ms,
            start=self.start,
            tombstones=self.tombstones == "gone",
        )

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        schema = self._schema(ctx)
        return {} if schema is None else {"out": schema, "gone": self._gone(schema)}

    def _gone(self, schema: Schema) -> Schema:
        name = "" if self.key is None else self.key.text.strip()
        field = schema.field(name) if schema.kind == "record" else None
        if field is None or field.type.kind not in ("string", "bytes", "int", "long"):
            return record_of({"key": BYTES})
        return record_of({name: replace(field.type.required(), doc="", aliases=())})

    def _format(self) -> Literal["avro", "json", "bytes"]:
        return self.format or ("avro" if self.schema is not None else "json")

    def _schema(self, ctx: SchemaContext) -> Schema | None:
        chosen = self._format()
        if self.framing != "raw" and chosen != "avro":
            ctx.report(
                CONTRADICTION,
                f"framing {self.framing!r} belongs to format avro; format is {chosen}.",
                param="framing",
                mend="Leave framing out, or set format: avro.",
            )
        if self.schema is not None:
            if chosen == "bytes":
                ctx.report(
                    CONTRADICTION,
                    "format bytes has no schema.",
                    param="schema",
                    mend="Leave schema out, or set format.",
                )
                return BYTES
            return ctx.schema(self.schema, param="schema")
        if chosen == "avro":
            ctx.report(
                CONTRADICTION,
                "format avro needs a schema to read with.",
                param="format",
                mend="Add schema: an .avsc file beside the workflow, or a subject of the registry.",
            )
            return None
        return BYTES if chosen == "bytes" else ANY
