"""window: groups of items by key and time become values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from streamflow.model.batch import TS, WM
from streamflow.model.policies import Extent
from streamflow.model.types import TIMESTAMP_MS, Field, Type
from streamflow.nodes.aggregations import (
    CANNOT_TAKE_BACK,
    MERGING,
    ROW_BY_ROW,
    Aggregation,
    aggregated,
    expressions_of,
    fold_of,
    row_by_row,
)
from streamflow.nodes.checks import (
    COLLISION,
    CONTRADICTION,
    TIME_MS_MAX,
    check_key,
    check_names,
    is_field_name,
)
from streamflow.operators.changes import ChangesOperator
from streamflow.operators.errors import label
from streamflow.operators.every import LATEST, EveryOperator
from streamflow.operators.session_merge import Gap
from streamflow.operators.sessions import SessionOperator
from streamflow.operators.sliding import SlidingOperator
from streamflow.operators.sliding_windows import Slide
from streamflow.operators.takeback import takes_back
from streamflow.operators.window_rows import Folds, Keys, WindowRows
from streamflow.operators.windowing import STORE, Aligned, WindowOperator
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import BuildContext, Node, NodeSpec, Port, SchemaContext, Schemas, Store, param
from streamflow.sdk.operator import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(Node):
    """Compute values over the items of each key, window by window of event time.

    tumbling: windows of `size` one behind another. hopping: windows of `size` that begin every `advance`, so an item is
    in several; both begin at multiples of it since 1970, and hold their start but not their end. session: a window for
    items of a key that follow each other within `gap`; its end is its last item's time and the gap. sliding: for each
    item the window of `size` that ends with it, and the one that begins just behind it if that holds an item; both
    ends belong to it. unbounded: one window that never ends, a running value for each key.

    An item that comes when all its windows have closed leaves by the port `late`. A window closes when event time has
    reached its end and `grace` (session, sliding: passed them); when that is, the trigger says (`time`, `disorder`,
    `idle_after`). Items with a null key are filtered. With `emit: update` or `coalesced` a session that takes an item
    replaces what was given of it, and of others that it swallows: those windows leave by the port `gone`.

    unbounded: items that come by the input `gone` are taken back, in the order of all that comes; one may come before
    the item that it takes back. With `gone` connected, on either side, the result is a changing table: a new value
    leaves by `out` behind the old one by `gone`, and only where it differs; a group of which nothing is left leaves by
    `gone` alone. Counts, and sums and means of whole and decimal numbers, subtract; min, max, first, last, collect,
    count_distinct, join, and sums and means of doubles keep all values of a group; the others cannot take back.

    reduce and code take items in order of arrival, one by one in Python. An item that they fail for is left out of all
    its windows, as if it had not come. Where states are put together (session, sliding) an item fails as well that a
    session cannot take in; a sliding window whose items cannot be put together fails as a whole, when it is given.

    The result has the key, the groups of `by`, `window_start` and `window_end`, and the `fields`; its event time is
    that of the window's latest item. `first` and `last` go by event time, and by arrival where that is equal.
    """

    spec: ClassVar = NodeSpec(
        kind="window",
        category="keyed",
        inputs=(
            Port(name="in", keyed=True),
            Port(name="gone", keyed=True, optional=True, help="unbounded: items that are taken back."),
        ),
        outputs=(
            Port(name="out"),
            Port(name="late", help="Items that came when all of their windows had closed."),
            Port(name="gone", help="session, unbounded: what was given before and others replace now."),
        ),
        stores=(
            Store(name=STORE, help="Open windows."),
            Store(name=LATEST, help="every: the latest values of open windows."),
        ),
        needs=(TS, WM),
        icon="clock",
        example="hourly: {type: window, key: origin, size: 1h, "
        "fields: {flights: {function: count}, delay: {function: mean, of: dep_delay}, "
        "route: {function: reduce, initial: '\"\"', expression: 'accumulator + \" \" + dest'}}}",
    )
    key: Expression = param(help="What an item belongs to: text, bytes, a number, a bool or a time.")
    key_field: str = param(default="", help="Field of the key in the result. Left out: its name, if `key` is a field.")
    by: Mapping[str, Expression] | None = param(default=None, help="Further groups within a key, by field name.")
    shape: Literal["tumbling", "hopping", "session", "sliding", "unbounded"] = param(
        default="tumbling", help="How windows lie in time."
    )
    size_ms: int | None = param(default=None, ge=1, le=TIME_MS_MAX, help="Length of a window.")
    advance_ms: int | None = param(
        default=None, ge=1, le=TIME_MS_MAX, help="hopping: how far the next window begins behind this one."
    )
    gap_ms: int | None = param(
        default=None, ge=1, le=TIME_MS_MAX, help="session: items of a key this far apart, or less, are in one window."
    )
    grace_ms: int = param(
        default=0, ge=0, le=TIME_MS_MAX, help="How long a window still takes items when event time has passed its end."
    )
    emit: Literal["close", "coalesced", "every", "update"] = param(
        default="close",
        help="close: each window once, when it closes. update: at each item, what its windows have come to. "
        "coalesced: of windows that changed the latest values, at least once a commit. every: the same at each "
        "multiple of `every` of event time, and the last value of each window when it closes.",
    )
    every_ms: int | None = param(default=None, ge=1, le=TIME_MS_MAX, help="every: how much event time lies between.")
    fields: Mapping[str, Aggregation] = param(help="What is computed, by field name.")

    def input_ports(self) -> tuple[Port, ...]:
        return self.spec.inputs if self.shape == "unbounded" else self.spec.inputs[:1]

    def begins_executions(self, port: str) -> bool:
        return port != "late"

    def makes_new_items(self) -> bool:
        return True

    def gives_several(self) -> bool:
        return True

    def stores(self, extent: Extent) -> tuple[Store, ...]:
        del extent
        return self.spec.stores if self.emit == "every" else self.spec.stores[:1]

    def output_schemas(self, ctx: SchemaContext) -> Schemas:
        if "in" not in ctx.inputs:
            return {}
        self._check_shape(ctx)
        check_names(ctx, self.by or {}, param="by")
        check_names(ctx, self.fields, param="fields")
        fields: dict[str, Type] = {}
        for param_name, name, expression in self._groups():
            check_key(ctx, expression, param=param_name)
            of = ctx.typeof(expression, param=param_name)
            if not is_field_name(name):
                check_names(ctx, [name], param="key_field")
            if name in fields:
                ctx.report(COLLISION, f"{name!r} is there twice.", param=param_name, mend="Set `key_field`.")
            fields[name] = of.required() if param_name == "key" and of.kind != "any" else of
        if self.shape != "unbounded":
            fields |= {"window_start": TIMESTAMP_MS, "window_end": TIMESTAMP_MS}
        for name, aggregation in self.fields.items():
            if name in fields:
                mend = "Give the field another name."
                ctx.report(COLLISION, f"{name!r} is there already.", param=f"fields.{name}", mend=mend)
            found = aggregated(ctx, name, aggregation, merges=self.shape in MERGING)
            if found is None:
                return {}
            fields[name] = found
        self._check_gone(ctx)
        made = Type(kind="record", fields=tuple(Field(name=n, type=t) for n, t in fields.items()))
        return {"out": made, "late": ctx.inputs["in"], "gone": made}

    def operator(self, ctx: BuildContext) -> Operator:
        expressions: dict[str, Expression] = {}
        labels: dict[str, str] = {}
        for at, (param_name, _, expression) in enumerate(self._groups()):
            expressions[f"@:k{at}"], labels[f"@:k{at}"] = expression, label(param_name, expression)
        of_fields, their_labels = expressions_of(self.fields)
        expressions, labels = expressions | of_fields, labels | their_labels
        projection = ctx.projection(expressions)
        keys = Keys(
            {f"@:k{at}": (name, projection.types[f"@:k{at}"]) for at, (_, name, _) in enumerate(self._groups())}
        )
        types, out = projection.types, ctx.outputs["out"]
        folds = tuple(
            row_by_row(ctx, at, name, one, types, merges=self.shape in MERGING)
            if one.function in ROW_BY_ROW
            else fold_of(at, name, one, types, out)
            for at, (name, one) in enumerate(self.fields.items())
        )
        if self.shape == "unbounded" and self.emit != "every" and ("gone" in ctx.inputs or "gone" in ctx.wired):
            if "gone" in ctx.inputs:
                folds = tuple(found for fold in folds if (found := takes_back(fold)) is not None)
            projections = {port: ctx.projection(expressions, port=port) for port in ctx.inputs}
            changing = WindowRows(Folds(keys, folds), ctx.inputs["in"], out)
            return ChangesOperator("coalesced" if self.emit == "coalesced" else "update", changing, projections, labels)
        rows = WindowRows(Folds(keys, folds), ctx.inputs["in"], ctx.outputs["out"])
        emit = "update" if self.emit == "every" else self.emit
        if self.shape == "session":
            return SessionOperator(Gap(self.gap_ms or 0, self.grace_ms), emit, rows, projection, labels)
        made: WindowOperator | SlidingOperator
        if self.shape == "sliding":
            made = SlidingOperator(Slide(self.size_ms or 0, self.grace_ms), emit, rows, projection, labels)
        else:
            size = None if self.shape == "unbounded" else self.size_ms
            advance = self.advance_ms if self.shape == "hopping" else self.size_ms
            made = WindowOperator(Aligned(size, advance or 0, self.grace_ms), emit, rows, projection, labels)
        if self.emit != "every":
            return made
        shown = Keys({name: (name, of) for name, of in keys.columns.values()})
        closes = None if self.shape == "unbounded" else self.grace_ms + (self.shape == "sliding")
        return EveryOperator(made, self.every_ms or 1, shown, out, closes)

    def _groups(self) -> list[tuple[str, str, Expression]]:
        """(parameter, field of the result, expression), the key first."""
        text = self.key.text.strip()
        name = self.key_field or (text.rsplit(".", 1)[-1] if is_field_name(text.rsplit(".", 1)[-1]) else "key")
        return [("key", name, self.key), *((f"by.{n}", n, e) for n, e in (self.by or {}).items())]

    def _check_gone(self, ctx: SchemaContext) -> None:
        if "gone" not in ctx.inputs:
            return
        if self.emit == "every":
            mend = "Set `emit: update` or `emit: coalesced`."
            ctx.report(CONTRADICTION, "what takes items back gives no values at intervals.", param="emit", mend=mend)
        if ctx.inputs["gone"] != ctx.inputs["in"]:
            message = "what is taken back is not of the schema of what comes."
            ctx.report(CONTRADICTION, message, param="shape", mend="Bring both to one schema with `set`.")
        for name, one in self.fields.items():
            if one.function in CANNOT_TAKE_BACK:
                mend = "Use collect, and an expression on the list; or leave `gone` unconnected."
                message = f"{one.function} cannot take items back."
                ctx.report(CONTRADICTION, message, param=f"fields.{name}", mend=mend)

    def _check_shape(self, ctx: SchemaContext) -> None:
        wanted = {
            "tumbling": {"size"},
            "hopping": {"size", "advance"},
            "session": {"gap"},
            "sliding": {"size"},
            "unbounded": set[str](),
        }
        for name in ("size", "advance", "gap"):
            given, takes = getattr(self, f"{name}_ms") is not None, name in wanted[self.shape]
            if given != takes:
                what = f"needs `{name}`" if takes else f"has no `{name}`"
                mend = f"Set {name}: 10m." if takes else "Leave it out."
                place = "shape" if takes else f"{name}_ms"
                ctx.report(CONTRADICTION, f"a window of shape {self.shape} {what}.", param=place, mend=mend)
        if (self.every_ms is not None) != (self.emit == "every"):
            given = self.every_ms is not None
            what = "`every` goes with `emit: every`." if given else "`emit: every` needs `every`."
            place, mend = ("every_ms", "Set `emit: every`.") if given else ("emit", "Set every: 1m.")
            ctx.report(CONTRADICTION, what, param=place, mend=mend)
        if self.shape == "session" and self.emit == "every":
            mend = "Set `emit: coalesced`, `update` or `close`."
            ctx.report(CONTRADICTION, "sessions are not given at intervals.", param="emit", mend=mend)
        if self.shape == "unbounded" and self.emit == "close":
            ctx.report(
                CONTRADICTION,
                "a window without end never closes, so nothing would come out.",
                param="emit",
                mend="Set `emit: update` or `emit: coalesced`.",
            )
        if self.shape == "hopping" and (self.advance_ms or 0) > (self.size_ms or TIME_MS_MAX):
            ctx.report(
                CONTRADICTION,
                "windows that begin further apart than they are long would leave items out.",
                param="advance_ms",
                mend="Make `advance` at most `size`.",
            )
