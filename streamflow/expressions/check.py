"""The type checker: from syntax and scope to the typed tree. Every finding names its place in the text."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from streamflow.expressions import calendar, forms
from streamflow.expressions.failure import Fail
from streamflow.expressions.functions import FUNCTIONS
from streamflow.expressions.functions.maps import index_any, member
from streamflow.expressions.functions.regex import pattern_fault
from streamflow.expressions.kinds import TEMPORAL, common, short, spelled
from streamflow.expressions.limits import LONG_MAX
from streamflow.expressions.names import CLOCK, Chain, Step, chain_of
from streamflow.expressions.overloads import Mismatch, apply, convert, fold, optional_if
from streamflow.expressions.parse import Parsed
from streamflow.expressions.problems import (
    BAD_CONSTANT,
    BAD_REGEX,
    FORBIDDEN,
    LIMIT_EXCEEDED,
    TYPE_MISMATCH,
    UNKNOWN_FUNCTION,
    UNKNOWN_NAME,
    WRONG_ARGUMENTS,
    Problem,
    nearest,
)  # fmt: skip
from streamflow.expressions.scope import Names
from streamflow.expressions.signatures import Bound, Implementation
from streamflow.expressions.time_formats import check_format
from streamflow.expressions.tree import Call, Const, If, Logic, MakeList, MakeRecord, Member, Node
from streamflow.model.types import ANY, BOOL, BYTES, DOUBLE, LONG, NULL, STRING, Type, array_of, record_of

_BINARY: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("add", "+"), ast.Sub: ("subtract", "-"), ast.Mult: ("multiply", "*"), ast.Div: ("divide", "/"),
    ast.FloorDiv: ("floor_divide", "//"), ast.Mod: ("mod", "%"),
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("equal", "=="), ast.NotEq: ("not_equal", "!="), ast.Lt: ("less", "<"), ast.LtE: ("less_equal", "<="),
    ast.Gt: ("greater", ">"), ast.GtE: ("greater_equal", ">="), ast.In: ("contains", "in"),
    ast.NotIn: ("not_contains", "not in"), ast.Is: ("equal", "is"), ast.IsNot: ("not_equal", "is not"),
}  # fmt: skip
_CONSTANTS: dict[str, Const] = {
    name: Const(t, value)
    for names, t, value in (
        (("true", "True"), BOOL, True),
        (("false", "False"), BOOL, False),
        (("null", "None"), NULL, None),
    )
    for name in names
}
_AVRO_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CLOCKS = frozenset(("now", "today", "utcnow", "current_timestamp", "current_date"))
_RANDOM = frozenset(("random", "rand", "uuid", "uuid4", "random_int"))


class Checker:
    """Checks one expression against one scope."""

    def __init__(self, parsed: Parsed, names: Names) -> None:
        self._parsed, self._names = parsed, names

    def check(self) -> Node:
        """The typed tree. Raises Problem."""
        return self.infer(self._parsed.tree)

    def infer(self, node: ast.expr) -> Node:
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.Name() | ast.Attribute():
                chain = chain_of(self._parsed, node)
                if chain is not None:
                    return self._chain(chain)
                assert isinstance(node, ast.Attribute)
                key, at = self._parsed.attribute(node)
                return self.member(self.infer(node.value), Step(key, at))
            case ast.Subscript():
                chain = chain_of(self._parsed, node)
                return self._subscript(node) if chain is None else self._chain(chain)
            case ast.BoolOp():
                word = "and" if isinstance(node.op, ast.And) else "or"
                args = tuple(self.condition(v, f"`{word}`") for v in node.values)
                return Logic(optional_if(BOOL, nullable=any(a.type.nullable for a in args)), word, args)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp():
                return self._binary(node)
            case ast.Compare():
                return self._compare(node)
            case ast.IfExp():
                test = self.condition(node.test, "`if`")
                return self.choose(test, self.infer(node.body), self.infer(node.orelse), self.at(node))
            case ast.Call():
                return self._call(node)
            case ast.List():
                return self._list([self.infer(e) for e in node.elts])
            case ast.Dict():
                return self._dict(node)
            case _:
                raise Problem(self.at(node), FORBIDDEN, f"{type(node).__name__} is not part of expressions")

    def at(self, node: ast.expr) -> int:
        return self._parsed.start(node)

    # Constants and literals

    def _constant(self, node: ast.Constant) -> Node:
        value = node.value
        if isinstance(value, str | bytes):
            found = self._parsed.string(node)
            return Const(STRING if isinstance(found, str) else BYTES, found)
        if isinstance(value, int):
            if value > LONG_MAX:
                raise Problem(
                    self.at(node), LIMIT_EXCEEDED, "the number does not fit 64 bits", "Write it as a double: 1e20."
                )
            return Const(LONG, value)
        assert isinstance(value, float)
        return Const(DOUBLE, value)

    def _list(self, items: Sequence[Node]) -> Node:
        element = common([i.type for i in items]) if items else NULL
        if element is None:
            element = ANY
        nodes = tuple(convert(i, element) for i in items)
        return fold(MakeList(array_of(element), nodes))

    def _dict(self, node: ast.Dict) -> Node:
        names: list[str] = []
        for key in node.keys:
            assert key is not None
            found = self._constant(key) if isinstance(key, ast.Constant) else None
            if not isinstance(found, Const) or not isinstance(found.value, str):
                raise Problem(
                    self.at(key), WRONG_ARGUMENTS, "a key of a record is constant text", 'Write {"name": value}.'
                )
            if found.value in names:
                raise Problem(self.at(key), WRONG_ARGUMENTS, f"key {found.value!r} stands twice")
            names.append(found.value)
        values = [self.infer(v) for v in node.values]
        if names and all(_AVRO_NAME.fullmatch(n) for n in names):
            t = record_of({n: v.type for n, v in zip(names, values, strict=True)})
            return fold(MakeRecord(t, tuple(names), tuple(values)))
        return fold(MakeRecord(ANY, tuple(names), tuple(convert(v, ANY) for v in values)))

    # Names and keys

    def _chain(self, chain: Chain) -> Node:
        rest = chain.rest
        if chain.root == "":
            first = rest[0]
            if first.key in _CONSTANTS:
                node: Node = _CONSTANTS[first.key]
            elif first.key == "loop" and self._names.in_loop:
                node, rest = self._names.loop(chain)
                rest = (first, *rest)
            else:
                node = self._names.field(first)
            rest = rest[1:]
        elif chain.root == "item":
            node, rest = (
                (self._names.field(rest[0], loose=True), rest[1:])
                if rest and self._names.is_record
                else (self._names.item(chain.offset), rest)
            )
        elif chain.root == "meta":
            node, rest = self._names.meta(chain), rest[1:]
        elif chain.root == "nodes":
            node, rest = self._names.node(chain)
        else:
            node, rest = self._names.variable(chain)
        for step in rest:
            node = self.member(node, step)
        return node

    def member(self, value: Node, step: Step) -> Node:
        """`value.key` or `value["key"]`."""
        t = value.type
        if t.kind == "union":
            value = convert(value, ANY)
            t = ANY
        if t.kind == "record":
            found = t.field(step.key)
            if found is None:
                known = [f.name for f in t.fields]
                raise Problem(
                    step.offset,
                    UNKNOWN_NAME,
                    f"{short(t)} has no field {step.key!r}",
                    nearest(step.key, known) or _among(known),
                )
            if isinstance(value, MakeRecord):
                return value.args[value.names.index(step.key)]
            if isinstance(value, Const):
                inside = value.value.get(step.key) if isinstance(value.value, dict) else None
                return Const(optional_if(found.type, nullable=inside is None), inside)
            return Member(optional_if(found.type, nullable=found.type.nullable or t.nullable), value, step.key)
        if t.kind == "any":
            return self._any_call("member", member, [value, Const(STRING, step.key)])
        if t.kind == "map":
            assert t.element is not None
            return self._map_get(value, Const(STRING, step.key))
        if t.kind == "null":
            return value
        raise Problem(step.offset, TYPE_MISMATCH, f"a value of type {short(t)} has no key {step.key!r}")

    def _any_call(self, name: str, py: Any, args: list[Node]) -> Node:
        bound = Bound(params=(ANY,) * len(args), type=ANY, does=Implementation(py=py), fails=True)
        return fold(Call(ANY, name, bound, tuple(args)))

    def _map_get(self, value: Node, key: Node) -> Node:
        assert value.type.element is not None
        result = value.type.element.optional()
        does = Implementation(py=lambda m, k: m.get(k))
        return fold(Call(result, "map_get", Bound(params=(value.type, STRING), type=result, does=does), (value, key)))

    def _subscript(self, node: ast.Subscript) -> Node:
        value, at = self.infer(node.value), self.at(node.slice)
        if isinstance(node.slice, ast.Slice):
            if node.slice.step is not None:
                raise Problem(at, FORBIDDEN, "a slice has no step here", "Use reverse(…) to turn the order.")
            start = self.infer(node.slice.lower) if node.slice.lower else Const(LONG, 0)
            stop = [self.infer(node.slice.upper)] if node.slice.upper else []
            return self.call("slice", [value, start, *stop], self.at(node), shown="[…:…]")
        key = self.infer(node.slice)
        if value.type.kind == "union":
            value = convert(value, ANY)
        if value.type.kind == "map" and key.type.is_text:
            return self._map_get(value, key)
        if value.type.kind == "record":
            raise Problem(at, TYPE_MISMATCH, "the key of a record must be constant text", "Use get(record, key).")
        if value.type.kind == "any" or key.type.kind == "any":
            return self._any_call("index", index_any, [convert(value, ANY), convert(key, ANY)])
        return self.call("item_at", [value, key], self.at(node), shown="[…]")

    # Operators

    def condition(self, node: ast.expr, where: str) -> Node:
        found = self.infer(node)
        if found.type.kind == "null":
            return Const(BOOL.optional(), None)
        try:
            return convert(found, BOOL)
        except Mismatch:
            raise Problem(
                self.at(node), TYPE_MISMATCH, f"{where} takes a condition, this is of type {short(found.type)}",
                "Compare it, or use bool(…), is_empty(…) or is_not_null(…).",
            ) from None  # fmt: skip

    def _unary(self, node: ast.UnaryOp) -> Node:
        if isinstance(node.op, ast.Not):
            return self.call("not_", [self.condition(node.operand, "`not`")], self.at(node), shown="not")
        if isinstance(node.op, ast.USub):
            inner = node.operand
            if isinstance(inner, ast.Constant) and type(inner.value) is int and inner.value == LONG_MAX + 1:
                return Const(LONG, -inner.value)
            return self.call("negate", [self.infer(inner)], self.at(node), shown="-")
        return self.call("multiply", [self.infer(node.operand), Const(LONG, 1)], self.at(node), shown="+")

    def _binary(self, node: ast.BinOp) -> Node:
        if type(node.op) not in _BINARY:
            raise Problem(self.at(node), FORBIDDEN, f"operator {type(node.op).__name__} is not part of expressions")
        name, sign = _BINARY[type(node.op)]
        return self.call(name, [self.infer(node.left), self.infer(node.right)], self.at(node), shown=sign)

    def _compare(self, node: ast.Compare) -> Node:
        parts: list[Node] = []
        left = self.infer(node.left)
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.infer(right_node)
            parts.append(self.comparison(*_COMPARE[type(op)], left, right, self.at(right_node)))
            left = right
        if len(parts) == 1:
            return parts[0]
        return Logic(optional_if(BOOL, nullable=any(p.type.nullable for p in parts)), "and", tuple(parts))

    def comparison(self, name: str, sign: str, left: Node, right: Node, at: int) -> Node:
        if sign in ("in", "not in"):
            return self.call(name, [right, left], at, shown=sign)
        nulls = [isinstance(x, Const) and x.value is None for x in (left, right)]
        if any(nulls) and name in ("equal", "not_equal"):
            return self.call(
                "is_null" if name == "equal" else "is_not_null", [right if nulls[0] else left], at, shown=sign
            )
        if sign in ("is", "is not"):
            raise Problem(at, FORBIDDEN, f"`{sign}` compares with null only", "Write `==` or `!=`.")
        left, right = self._as_dates(left, right, at), self._as_dates(right, left, at)
        return self.call(name, [left, right], at, shown=sign)

    def _as_dates(self, value: Node, other: Node, at: int) -> Node:
        """Constant text beside a date or time is read as one."""
        if other.type.kind in TEMPORAL and isinstance(value, Const) and isinstance(value.value, str):
            try:
                return Const(other.type.required(), calendar.parse_iso(value.value, other.type))
            except Fail:
                raise Problem(
                    at, BAD_CONSTANT, f"{value.value!r} is no {other.type.kind} in ISO 8601",
                    "Write it like 2024-02-29 or 2024-02-29T12:30:00Z.",
                ) from None  # fmt: skip
        return value

    def choose(self, test: Node, yes: Node, no: Node, at: int) -> Node:
        """`yes if test else no`, both of their common type."""
        t = common([yes.type, no.type])
        if t is None:
            raise Problem(
                at, TYPE_MISMATCH, f"the branches have types {short(yes.type)} and {short(no.type)}",
                "Convert one, for example with string(…).",
            )  # fmt: skip
        return If(t, test, convert(yes, t), convert(no, t))

    # Calls

    def _call(self, node: ast.Call) -> Node:
        at = self.at(node)
        if not isinstance(node.func, ast.Name):
            chain = chain_of(self._parsed, node.func)
            name = chain.rest[-1].key if chain is not None and chain.rest else ""
            mend = f"Write {name}(value)." if name in FUNCTIONS else "Functions are called by name: upper(name)."
            raise Problem(at, FORBIDDEN, "values have no methods", mend)
        name = self._parsed.name(node.func)
        if name.lower() in _CLOCKS:
            raise Problem(at, UNKNOWN_FUNCTION, f"there is no {name}(): {CLOCK}", "Use meta.timestamp.")
        if name not in FUNCTIONS:
            mend = nearest(name, FUNCTIONS)
            if name.lower() in _RANDOM:
                mend = "Expressions have no random values; derive one from the item, for example with md5."
            raise Problem(at, UNKNOWN_FUNCTION, f"there is no function {name!r}", mend)
        if FUNCTIONS[name].special:
            return forms.special(self, FUNCTIONS[name], node.args, at)
        args = [self.infer(a) for a in node.args]
        self._check_constants(FUNCTIONS[name].name, node.args, args)
        return self.call(name, args, at)

    def call(self, name: str, args: Sequence[Node], at: int, *, shown: str = "") -> Node:
        """A function or operator on arguments; the Problem says what it takes instead."""
        function = FUNCTIONS[name]
        try:
            return apply(function, args)
        except Mismatch:
            got = spelled([a.type for a in args])
            if shown:
                raise Problem(
                    at, TYPE_MISMATCH, f"`{shown}` does not take {got or 'nothing'}", _operator_mend(shown, args)
                ) from None
            takes = " or ".join(s.spelled(name) for s in function.signatures[:4])
            json = " A JSON value is converted first, with date(…), timestamp(…) or bytes(…)." if "any" in got else ""
            raise Problem(
                at, WRONG_ARGUMENTS, f"{name}({got}): these arguments do not fit", f"It takes {takes}.{json}"
            ) from None

    def _check_constants(self, name: str, nodes: Sequence[ast.expr], args: Sequence[Node]) -> None:
        """Patterns, zones and formats that are constant are checked now."""
        if len(args) < 2 or not isinstance(args[1], Const) or not isinstance(args[1].value, str):
            return
        value, at = args[1].value, self.at(nodes[1])
        if name.startswith("regex_"):
            fault = pattern_fault(value)
            if fault:
                raise Problem(at, BAD_REGEX, f"pattern {value[:60]!r}: {fault}", "Patterns are RE2's.")
        if name in ("to_timezone", "from_timezone"):
            self._constant_check(
                lambda: calendar.zone(value), at, f"there is no time zone {value!r}", "Write it like Europe/Berlin."
            )
        if name in ("parse_date", "parse_timestamp", "parse_local", "format_timestamp"):
            self._constant_check(
                lambda: check_format(value),
                at,
                f"{value!r} is no format",
                "Directives are %Y %m %d %H %M %S and the like.",
            )

    def _constant_check(self, test: Any, at: int, message: str, mend: str) -> None:
        try:
            test()
        except Fail:
            raise Problem(at, BAD_CONSTANT, message, mend) from None


def _operator_mend(sign: str, args: Sequence[Node]) -> str:
    kinds: list[Type] = [a.type for a in args]
    if sign == "+" and any(k.is_text for k in kinds):
        return "Convert the other side with string(…)."
    if any(k.is_text for k in kinds) and any(k.is_numeric for k in kinds):
        return "Convert the text with double(…) or long(…)."
    if any(k.kind in TEMPORAL for k in kinds):
        return "Use date_add and date_diff, or convert with date(…) or timestamp(…)."
    return ""


def _among(known: Sequence[str]) -> str:
    return f"It has {', '.join(known[:8])}{', …' if len(known) > 8 else ''}." if known else ""
