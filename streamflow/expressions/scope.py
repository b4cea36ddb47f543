"""The names of a scope as nodes of the typed tree: fields, the item, meta, earlier nodes, variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from streamflow.expressions.context import TRACEPARENT, header_of, trace_of
from streamflow.expressions.functions.encoding import text_of
from streamflow.expressions.names import Chain, Step
from streamflow.expressions.overloads import typed
from streamflow.expressions.problems import BAD_CONSTANT, TYPE_MISMATCH, UNKNOWN_NAME, Problem, nearest
from streamflow.expressions.signatures import Bound, Implementation
from streamflow.expressions.tree import Call, Column, Const, If, MakeRecord, Node
from streamflow.model.batch import (
    EXECUTION,
    HEADERS,
    KEY,
    OFFSET,
    PARTITION,
    PASSED,
    SOURCE,
    TOPIC,
    TS,
    kept_column,
    loop_column,
)  # fmt: skip
from streamflow.model.types import (
    ANY,
    BOOL,
    BYTES,
    INT,
    LONG,
    PAYLOAD,
    STRING,
    TIMESTAMP_MS,
    Schema,
    Type,
    array_of,
    map_of,
    polars_dtype,
    record_of,
)  # fmt: skip
from streamflow.sdk.expression import META_VARS, Scope

_HEADER_LIST = array_of(record_of({"key": STRING, "value": BYTES.optional()}))
_META: dict[str, tuple[str, Type]] = {
    "source": (SOURCE, STRING.optional()),
    "partition": (PARTITION, INT.optional()),
    "offset": (OFFSET, LONG.optional()),
    "key": (KEY, BYTES.optional()),
    "timestamp": (TS, LONG.optional()),
    "execution": (EXECUTION, STRING.optional()),
    "topic": (TOPIC, STRING.optional()),
    "headers": (HEADERS, _HEADER_LIST.optional()),
}
# What headers tell; which ones is said by the workflow.
_TOLD = ("user", "session", "trace", "traceparent")
META_NAMES = (*_META, *_TOLD, "schema", "environment")
_KEY_AS_TEXT = Bound(params=(BYTES,), type=STRING.optional(), does=Implementation(py=text_of), fails=True)
_INSTANT = Bound(
    params=(LONG,), type=TIMESTAMP_MS.optional(),
    does=Implementation(py=lambda v: v, inline="{0}", expr=lambda e: e.cast(polars_dtype(TIMESTAMP_MS))),
)  # fmt: skip
_HEADERS_TYPE = map_of(BYTES.optional()).optional()


def _last_of_each(headers: list[dict[str, bytes | None]]) -> dict[str, bytes | None]:
    return {h["key"]: h["value"] for h in headers}  # type: ignore[misc]


class Names:
    """Looks names up in a scope. Every method raises Problem for what is not there."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.is_record = scope.item.kind == "record"

    def field(self, step: Step, *, loose: bool = False) -> Node:
        """A field of the item; of an untyped item, the value of a key."""
        schema = self._scope.item
        if schema.kind == "record":
            found = schema.field(step.key)
            if found is not None:
                return Column(found.type, found.name)
            known = [f.name for f in schema.fields]
            choices = known if loose else [*known, "item", "meta", "nodes", "vars"]
            mend = nearest(step.key, choices) or (
                f"the item has {', '.join(known[:8])}{', …' if len(known) > 8 else ''}." if known else ""
            )
            raise Problem(step.offset, UNKNOWN_NAME, f"the item has no field {step.key!r}", mend)
        if schema.kind == "any":
            return self._of_any(Column(ANY, PAYLOAD), step.key)
        raise Problem(
            step.offset, UNKNOWN_NAME, f"{step.key!r} is unknown: items are {schema.kind} here and have no fields",
            "The whole is `item`.",
        )  # fmt: skip

    def _of_any(self, value: Node, key: str) -> Node:
        from streamflow.expressions.functions.maps import member

        bound = Bound(params=(ANY, STRING), type=ANY, does=Implementation(py=member), fails=True)
        return Call(ANY, "member", bound, (value, Const(STRING, key)))

    def item(self, at: int) -> Node:
        return self._whole(self._scope.item, at)

    def _whole(self, schema: Schema, at: int, node: str = "") -> Node:
        def name(field: str) -> str:
            return kept_column(node, field) if node else field

        if schema.kind == "record":
            if not schema.fields:
                raise Problem(at, TYPE_MISMATCH, "the record has no fields")
            made = MakeRecord(
                schema.required(), tuple(f.name for f in schema.fields),
                tuple(Column(f.type, name(f.name)) for f in schema.fields),
            )  # fmt: skip
            if not node or not schema.nullable:
                return made
            # Where some items came past the node, there is a column that tells.
            return If(schema, Column(BOOL.optional(), name(PASSED)), made, Const(schema, None))
        return Column(schema, name(PAYLOAD))

    def meta(self, chain: Chain) -> Node:
        if not chain.rest:
            raise Problem(
                chain.offset, UNKNOWN_NAME, "`meta` alone is no value", f"Name one of {', '.join(META_NAMES)}."
            )
        step = chain.rest[0]
        if step.key == "schema":
            return Const(STRING, self._scope.item.name or self._scope.item.kind)
        if step.key == "environment":
            return Const(STRING.optional(), self._workflow.get("environment"))
        if step.key in _TOLD:
            return self._told(step)
        if step.key not in _META:
            mend = nearest(step.key, META_NAMES) or f"meta has {', '.join(META_NAMES)}."
            raise Problem(step.offset, UNKNOWN_NAME, f"meta has no {step.key!r}", mend)
        column, t = _META[step.key]
        node: Node = Column(t, column)
        if step.key == "key":
            return Call(_KEY_AS_TEXT.type, "key_text", _KEY_AS_TEXT, (node,))
        if step.key == "timestamp":
            return Call(_INSTANT.type, "instant", _INSTANT, (node,))
        if step.key == "headers":
            bound = Bound(params=(t,), type=_HEADERS_TYPE, does=Implementation(py=_last_of_each))
            return Call(_HEADERS_TYPE, "headers", bound, (node,))
        return node

    @property
    def _workflow(self) -> Mapping[str, Any]:
        """What is known of the workflow as a whole."""
        found = self._scope.vars.get(META_VARS, {})
        return found if isinstance(found, dict) else {}

    def _told(self, step: Step) -> Node:
        """What a header tells."""
        headers = {"trace": TRACEPARENT, "traceparent": TRACEPARENT, **self._workflow.get("headers", {})}
        if step.key not in headers:
            mend = f"Say which header does: `policies: {{context: {{{step.key}: header:x-{step.key}}}}}`."
            raise Problem(step.offset, UNKNOWN_NAME, f"nothing tells `meta.{step.key}` here", mend)
        column, t = _META["headers"]
        read = trace_of if step.key == "trace" and headers["trace"] == TRACEPARENT else header_of
        bound = Bound(params=(t, STRING), type=STRING.optional(), does=Implementation(py=read))
        return Call(STRING.optional(), read.__name__, bound, (Column(t, column), Const(STRING, headers[step.key])))

    def node(self, chain: Chain) -> tuple[Node, tuple[Step, ...]]:
        """What an earlier node produced, and the keys that are left to follow."""
        if not chain.rest:
            raise Problem(chain.offset, UNKNOWN_NAME, "`nodes` alone is no value", "Write nodes.<id>.<field>.")
        step, rest = chain.rest[0], chain.rest[1:]
        if step.key not in self._scope.nodes:
            known = list(self._scope.nodes)
            mend = nearest(step.key, known) or (
                f"nodes before this one: {', '.join(known)}." if known else "no node runs before this one."
            )
            raise Problem(step.offset, UNKNOWN_NAME, f"no earlier node is called {step.key!r}", mend)
        schema = self._scope.nodes[step.key]
        if schema.kind == "record" and rest:
            found = schema.field(rest[0].key)
            if found is None:
                known = [f.name for f in schema.fields]
                mend = nearest(rest[0].key, known) or f"it has {', '.join(known[:8])}."
                raise Problem(
                    rest[0].offset, UNKNOWN_NAME, f"node {step.key!r} produces no field {rest[0].key!r}", mend
                )
            return Column(found.type, kept_column(step.key, found.name)), rest[1:]
        return self._whole(schema, chain.offset, step.key), rest

    @property
    def in_loop(self) -> bool:
        """Whether `loop` is a name here; elsewhere it is a field like any other."""
        return bool(self._scope.loops)

    def loop(self, chain: Chain) -> tuple[Node, tuple[Step, ...]]:
        """A value of the loop around, or by `outer` of one around that; and the keys that are left to follow."""
        loops, steps = list(self._scope.loops.items()), list(chain.rest[1:])
        loop, schema = loops.pop(0)
        while steps and steps[0].key == "outer":
            if not loops:
                raise Problem(steps[0].offset, UNKNOWN_NAME, f"there is no loop around loop {loop!r}")
            loop, schema = loops.pop(0)
            steps.pop(0)
        names = [f.name for f in schema.fields]
        if not steps:
            raise Problem(
                chain.offset, UNKNOWN_NAME, "`loop` alone is no value", f"Name one of {', '.join(names)}: loop.index."
            )
        found = schema.field(steps[0].key)
        if found is None:
            mend = nearest(steps[0].key, [*names, "outer"]) or f"It has {', '.join(names)}."
            raise Problem(steps[0].offset, UNKNOWN_NAME, f"loop {loop!r} has no {steps[0].key!r}", mend)
        return Column(found.type, loop_column(loop, found.name)), tuple(steps[1:])

    def variable(self, chain: Chain) -> tuple[Node, tuple[Step, ...]]:
        if not chain.rest:
            raise Problem(chain.offset, UNKNOWN_NAME, "`vars` alone is no value", "Write vars.<name>.")
        known, steps = self._scope.vars, chain.rest
        while len(steps) > 1 and steps[0].key.endswith(".") and isinstance(inside := known.get(steps[0].key), dict):
            known, steps = inside, steps[1:]  # the variables of a sub-flow
        step, rest = steps[0], steps[1:]
        if step.key not in known:
            names = [name for name in known if not name.endswith(".")]
            mend = nearest(step.key, names) or (
                f"vars has {', '.join(names[:8])}." if names else "the workflow has no vars."
            )
            raise Problem(step.offset, UNKNOWN_NAME, f"there is no variable {step.key!r}", mend)
        value = known[step.key]
        while rest and isinstance(value, dict) and rest[0].key in value:
            value, rest = value[rest[0].key], rest[1:]
        try:
            value = orjson.loads(orjson.dumps(value))
        except (TypeError, orjson.JSONDecodeError):
            raise Problem(step.offset, BAD_CONSTANT, f"variable {step.key!r} is no JSON value") from None
        return typed(Const(ANY, value)), rest
