"""loop: items go round through the nodes of its body until they are done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal

from streamflow.model.batch import EXECUTION, KEY, PATH
from streamflow.model.policies import Extent
from streamflow.model.types import ANY, BOOL, BYTES, INT, LONG, Field, Schema, Type, array_of, polars_dtype, record_of
from streamflow.nodes.checks import COLLISION, CONTRADICTION, WRONG_TYPE, check_names
from streamflow.nodes.sequence import unwrapped
from streamflow.operators.errors import label
from streamflow.operators.looping import Entry, LoopOperator
from streamflow.operators.rounds import HOME, HOME_KEY, Rounds, collected_element
from streamflow.sdk.expression import Expression, Projection
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator

ROUNDS_MAX: Final = 100_000
_OF_MODE: Mapping[str, tuple[str, ...]] = {
    "for": ("times", "first", "last", "step"),
    "while": ("when",),
    "do-while": ("when",),
    "for-each": ("each", "batch_size"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop(Node):
    """Send items round through the nodes between port `body` and a connection of type loop that leads back.

    - for: so many `times`, or with `loop.value` from `first` to `last`.
    - while: as long as `when` holds, asked before each round. do-while: asked after each round.
    - for-each: a round for each element of the array `each`, which is `loop.item` in the body; with `batch_size` for so
      many at once, `loop.items`. Without `each` every item of the execution goes round once, numbered in batches.

    An item comes back as the body made it, and goes into the next round so; a body that makes several items of one
    sends all of them round. One that is filtered or fails in the body leaves the loop by that. In the body `loop.index`
    is the round, from 0; `loop.outer.index` that of the loop around. What leaves by `done` has the order of arrival.
    Fields that the body adds are null in the first round.

    All rounds are within one step of the task, unless the body waits, keeps items, takes them by key or moves them:
    then items come back by a topic, each round is committed by itself, and items leave by `done` as they finish.
    """

    spec: ClassVar = NodeSpec(
        kind="loop",
        category="control",
        inputs=(
            Port(name="in", help="Items that begin."),
            Port(name="back", loop=True, help="Items that come back at the end of a round."),
        ),
        outputs=(Port(name="body", help="Items in a round."), Port(name="done", help="Items that are through.")),
        stores=(Store(name="counts", help="for-each without `each`: items of executions that have not ended."),),
        whole_set=True,
        one_to_one=True,
        needs=(PATH, EXECUTION),
        icon="repeat",
        example="settle: {type: loop, mode: while, when: balance > 0, limit: 120, collect: balance}",
    )
    mode: Literal["for", "while", "do-while", "for-each"] = param(help="What decides whether another round follows.")
    times: Expression | None = param(default=None, help="for: how many rounds.")
    first: Expression | None = param(default=None, help="for: `loop.value` of the first round. Left out: 1.")
    last: Expression | None = param(default=None, help="for: `loop.value` of the last round, or what it may not pass.")
    step: Expression | None = param(default=None, help="for: what `loop.value` grows by each round. Left out: 1.")
    when: Expression | None = param(default=None, help="while, do-while: whether another round follows.")
    each: Expression | None = param(
        default=None, help="for-each: the array. Left out: the items of an execution are gone through."
    )
    batch_size: int | None = param(
        default=None, ge=1, help="for-each: how many elements a round is about; without `each`, items. Left out: 1."
    )
    limit: int = param(
        default=1000, ge=1, le=ROUNDS_MAX, help="Most rounds of an item; one that needs more fails (`loop_limit`)."
    )
    break_if: Expression | None = param(
        default=None, help="Asked at the end of a round: an item for which it holds leaves the loop."
    )
    collect: Expression | None = param(
        default=None, help="Taken of an item at the end of each round; `done` gives all of them as an array."
    )
    collect_as: str = param(default="results", min_length=1, help="The field of that array.")
    commit_rounds: bool = param(
        default=False,
        help="Bring items back by a topic, so that each round is committed by itself: a crash repeats no round that is "
        "over. Where nodes of the body wait, keep items or take them by key, that is so without being said.",
    )

    def acts_on_executions(self) -> bool:
        return self._by_item

    def makes_new_items(self) -> bool:
        return False

    def gives_several(self) -> bool:
        return True  # its body may

    def scatters_executions(self) -> bool:
        return self.commit_rounds  # else all rounds are within a step

    def crosses_topics(self) -> bool:
        return self.commit_rounds

    def across(self) -> Loop:
        return replace(self, commit_rounds=True)

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        return self.spec.stores if self._by_item and extent != "item" else ()

    def reserved_columns(self, extent: Extent) -> tuple[str, ...]:
        own = self.spec.needs if self._by_item else (PATH,)
        return (*own, KEY) if self.commit_rounds else own

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        source = ctx.inputs["in"]
        self._check_mode(ctx)
        round_schema = self.round_schema(ctx)
        if self.when is not None:
            ctx.typeof(self.when, param="when", expect=BOOL.optional(), round=_index_only(round_schema))
        if self.break_if is not None:
            ctx.typeof(self.break_if, param="break_if", expect=BOOL.optional(), round=round_schema)
        if self.collect is None:
            return {"body": source, "done": source}
        check_names(ctx, [self.collect_as], param="collect_as")
        collected = ctx.typeof(self.collect, param="collect", round=round_schema)
        if source.kind == "any":
            return {"body": ANY, "done": ANY}
        if source.kind != "record":
            ctx.report(WRONG_TYPE, f"items are {source}: they have no fields to collect in.", param="collect")
            return {"body": source, "done": source}
        if source.field(self.collect_as) is not None:
            ctx.report(
                COLLISION,
                f"items have a field {self.collect_as!r} already.",
                param="collect_as",
                mend="Choose another name.",
            )
            return {"body": source, "done": source}
        results = Field(name=self.collect_as, type=_array_of(collected))
        return {"body": source, "done": Type(kind="record", fields=(*source.fields, results))}

    def round_schema(self, ctx: SchemaContext) -> Schema:
        fields = {"index": LONG}
        for name in ("times", "first", "last", "step"):
            if (expression := getattr(self, name)) is not None:
                ctx.typeof(expression, param=name, expect=LONG.optional())
        if self.times is not None or self.last is not None:
            fields["count"] = LONG
        if self.last is not None:
            fields["value"] = LONG
        if self.each is not None:
            array = ctx.typeof(self.each, param="each")
            element = array.element if array.kind == "array" else ANY
            if array.kind not in ("array", "any", "null"):
                ctx.report(WRONG_TYPE, f"`{self.each.text}` is {array}, not an array.", param="each")
            of = element or ANY
            fields["count"] = LONG
            fields |= {"item": of} if self.batch_size is None else {"items": array_of(of)}
        return record_of(fields)

    def remembered(self, ctx: SchemaContext) -> Schemas:
        fields: dict[str, Schema] = {f.name: f.type.optional() for f in self.round_schema(ctx).fields}
        if self.last is not None:
            fields |= dict.fromkeys(("start", "step"), LONG.optional())
        if self.each is not None:
            of = fields["item"] if self.batch_size is None else fields["items"].element
            fields["each"] = array_of((of or ANY).optional()).optional()
        if self.collect is not None:
            found = ctx.typeof(self.collect, param="collect", round=self.round_schema(ctx))
            untyped = ctx.inputs["in"].kind == "any" or found.kind in ("any", "null")
            fields["results"] = array_of(collected_element(ANY if untyped else found)).optional()
        return fields | {"depth": LONG.optional(), HOME: INT.optional(), HOME_KEY: BYTES.optional()}

    def operator(self, ctx: BuildContext) -> Operator:
        source, projections = ctx.inputs["in"], self._entry(ctx)
        untyped = projections is not None and projections.types.get("each", ANY).kind in ("any", "null")
        round_schema = self._round_of(projections)

        def over(name: str, round: Schema, expect: Type | None = None) -> tuple[Projection, Mapping[str, str]] | None:
            expression: Expression | None = getattr(self, name)
            if expression is None:
                return None
            known = {name: expect} if expect is not None else None
            return ctx.projection({name: expression}, expect=known, round=round), {name: label(name, expression)}

        collect = over("collect", round_schema, ANY if source.kind == "any" else None)
        return LoopOperator(
            mode=self.mode,
            rounds=Rounds(
                ctx.node_id,
                None if collect is None else polars_dtype(collect[0].types["collect"]),
                home=ctx.partition if self.commit_rounds else None,
            ),
            limit=self.limit,
            entry=None if projections is None else Entry(values=projections, labels=self._labels(projections)),
            batch_size=self.batch_size,
            when=over("when", _index_only(round_schema)),
            break_if=over("break_if", round_schema),
            collect=collect,
            collect_as=self.collect_as,
            done=ctx.outputs["done"],
            untyped_each=untyped and self.each is not None,
            bounded=self._by_item and ctx.extent != "item",
        )

    @property
    def _by_item(self) -> bool:
        return self.mode == "for-each" and self.each is None

    def _check_mode(self, ctx: SchemaContext) -> None:
        mine = _OF_MODE[self.mode]
        for name in (n for names in _OF_MODE.values() for n in names if n not in mine):
            if getattr(self, name) is not None:
                whose = " and ".join(mode for mode, names in _OF_MODE.items() if name in names)
                ctx.report(
                    CONTRADICTION,
                    f"{name} is of mode {whose}, and the mode is {self.mode}.",
                    param=name,
                    mend=f"Set {' or '.join(mine)}.",
                )
        if self.mode == "for" and (self.times is None) == (self.last is None):
            said = "neither times nor last is" if self.times is None else "both times and last are"
            ctx.report(
                CONTRADICTION, f"{said} given.", param="mode", mend="Set `times`, or `last` with `first` and `step`."
            )
        if self.times is not None and (self.first is not None or self.step is not None):
            ctx.report(CONTRADICTION, "first and step go with last, not with times.", param="times")
        if "when" in mine and self.when is None:
            ctx.report(CONTRADICTION, f"mode {self.mode} needs `when`.", param="mode", mend="Set `when: …`.")

    def _entry(self, ctx: BuildContext) -> Projection | None:
        """What is computed of each item that begins."""
        if self.each is not None:
            return ctx.projection({"each": self.each})
        if self.times is not None:
            return ctx.projection({"count": self.times}, expect={"count": LONG.optional()})
        if self.last is None:
            return None
        first, step = self.first or Expression("1"), self.step or Expression("1")
        texts = {"first": unwrapped(first.text), "last": unwrapped(self.last.text), "step": unwrapped(step.text)}
        count = "((long({last})) - (long({first}))) // (long({step})) + 1".format(**texts)
        fields = {"count": Expression(count, self.last.place), "start": first, "step": step}
        return ctx.projection(fields, expect=dict.fromkeys(fields, LONG.optional()))

    def _labels(self, entry: Projection) -> Mapping[str, str]:
        names = {"count": "times" if self.times is not None else "last", "start": "first", "step": "step"}
        shown = {n: names.get(n, n) for n in entry.types}
        return {n: label(p, getattr(self, p) or Expression("1")) for n, p in shown.items()}

    def _round_of(self, entry: Projection | None) -> Schema:
        """`round_schema` once more, of what was compiled."""
        fields = {"index": LONG}
        if entry is not None:
            fields["count"] = LONG
        if self.last is not None:
            fields["value"] = LONG
        if entry is not None and self.each is not None:
            array = entry.types["each"]
            of = array.element or ANY
            fields |= {"item": of} if self.batch_size is None else {"items": array_of(of)}
        return record_of(fields)


def _index_only(schema: Schema) -> Schema:
    """What `loop` is where the next round is not decided yet."""
    return record_of({f.name: f.type for f in schema.fields if f.name == "index"})


def _array_of(element: Type) -> Type:
    """Arrays of untyped values are untyped themselves: JSON."""
    return ANY if element.kind in ("any", "null") else array_of(element)
