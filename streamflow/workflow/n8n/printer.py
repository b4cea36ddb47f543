"""Prints JavaScript expressions as expressions of streamflow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from streamflow.workflow.n8n import js_functions, js_methods, js_patterns
from streamflow.workflow.n8n.js_names import rooted
from streamflow.workflow.n8n.js_tree import (
    Arrow,
    Binary,
    Call,
    Choice,
    Fields,
    Index,
    Items,
    Js,
    Literal,
    Member,
    Name,
    Pattern,
    Text,
    Unary,
)
from streamflow.workflow.n8n.printed import (
    NULL,
    Printed,
    both,
    call,
    certain,
    constant,
    equal,
    fields,
    joined,
    key_of,
    listed,
    negated,
    quoted,
    truth,
    unequal,
)
from streamflow.workflow.n8n.problems import NoEquivalent

CONSTANT_CHARS_MAX = 1_000
PRINTED_CHARS_MAX = 4_000  # expressions have 4,096 at most

_TYPES = {
    "string": ("string",), "number": ("long", "double"), "boolean": ("bool",), "undefined": ("null",),
    "object": ("array", "record", "map"),
}  # fmt: skip
_NUMBERS = frozenset(("-", "*", "/", "%", "**"))
_MIRRORED = {"===": "==", "!==": "!="}


@dataclass(slots=True)
class Names:
    """What an expression of a workflow may name; what is used of it is noted.

    `nodes`: id of each node by its n8n name. `vars`: filled with the variables that expressions read.
    """

    nodes: Mapping[str, str] = field(default_factory=dict)
    workflow_name: str = ""
    loops: bool = False  # whether expressions may read `loop.index`
    vars: dict[str, str] = field(default_factory=dict)  # name -> where it came from
    texts: dict[str, str] = field(default_factory=dict)  # long constants, by the variable that holds each
    notes: dict[str, None] = field(default_factory=dict)  # of the node at hand; in order, each once

    def constant(self, value: object) -> Printed:
        """A JSON value; a long text becomes a variable, since expressions are short."""
        if not isinstance(value, str) or len(value) <= CONSTANT_CHARS_MAX:
            return constant(value)
        name = next((n for n, text in self.texts.items() if text == value), f"imported_text_{len(self.texts) + 1}")
        self.texts[name] = value
        return Printed(f"vars.{name}", "string", whole=True)

    def note(self, text: str) -> None:
        self.notes[text] = None


@dataclass(frozen=True, slots=True)
class Printer:
    """One expression at a time. All methods raise NoEquivalent."""

    names: Names

    def print(self, tree: Js) -> Printed:
        """The value of an expression."""
        made = self._value(tree)
        if len(made.text) > PRINTED_CHARS_MAX:  # at every level: what is said twice in each would double with each
            raise NoEquivalent(f"an expression that would have more than {PRINTED_CHARS_MAX:,} characters")
        return made

    def _value(self, tree: Js) -> Printed:
        match tree:
            case Literal(value=value):
                return self.names.constant(value)
            case Text(parts=parts):
                return joined(self.names.constant(p) if isinstance(p, str) else self.print(p) for p in parts)
            case Items(items=items):
                return listed(self.print(i) for i in items)
            case Fields(fields=entries):
                return fields((name, self.print(value)) for name, value in entries)
            case Choice():
                return self._choice(tree)
            case Unary():
                return self._unary(tree)
            case Binary():
                return self._binary(tree)
            case Name() | Member() | Index() | Call():
                return self._chain(tree)
            case Pattern():
                raise NoEquivalent("a regular expression as a value")
            case Arrow():
                raise NoEquivalent("a function")
        raise NoEquivalent(type(tree).__name__)

    def condition(self, tree: Js) -> Printed:
        """Whether JavaScript takes the value for true; a null counts as false."""
        match tree:
            case Binary(sign="&&", left=left, right=right):
                return both((self.condition(left), self.condition(right)), "and")
            case Binary(sign="||", left=left, right=right):
                return both((self.condition(left), self.condition(right)), "or")
            case Unary(sign="!", of=of):
                return self._not(of)
        return truth(self.print(tree))

    def _not(self, tree: Js) -> Printed:
        match tree:
            case Unary(sign="!", of=of):
                return certain(self.condition(of))
            case Binary(sign="&&" | "||"):
                return negated(self.condition(tree))
        return negated(self.print(tree))

    def _choice(self, tree: Choice) -> Printed:
        yes, no = self.print(tree.yes), self.print(tree.no)
        kind = yes.kind if yes.kind == no.kind else no.kind if yes.kind == "null" else yes.kind
        if {yes.kind, no.kind} & {"any"}:
            kind = "any"
        text = f"{yes} if {self.condition(tree.test)} else {no}"
        return Printed(text, kind, tight=False, whole=yes.whole and no.whole)

    def _unary(self, tree: Unary) -> Printed:
        if tree.sign == "!":
            return self._not(tree.of)
        of = self.print(tree.of)
        if tree.sign == "-":
            return Printed(f"-{of}", "number", tight=False)
        if tree.sign == "+":
            return of if of.kind == "number" else call("double", of, kind="number")
        raise NoEquivalent(f"`{tree.sign}` as a value")

    def _binary(self, tree: Binary) -> Printed:
        sign = _MIRRORED.get(tree.sign, tree.sign)
        if sign in ("&&", "||"):
            return self._lazy(tree, sign)
        if sign in ("==", "!=") and (told := self._type_test(tree, sign)) is not None:
            return told
        left, right = self.print(tree.left), self.print(tree.right)
        if sign == "??":
            kind = right.kind if left.kind in (right.kind, "null") else "any"
            return call("coalesce", left, right, kind=kind, whole=right.whole)
        if tree.sign in ("==", "!="):
            left, right = _same_numbers(left, right)
        if sign == "==":
            return equal(left, right)
        if sign == "!=":
            return unequal(left, right)
        if sign in ("<", "<=", ">", ">="):
            left, right = _same_times(left, right)
            return Printed(f"{left} {sign} {right}", "bool", tight=False, whole=left.whole and right.whole)
        if sign == "+":
            if "string" in (left.kind, right.kind):
                return joined((left, right))
            kind = "number" if left.kind == right.kind == "number" else "any"
            return Printed(
                f"{left} + {right}", kind, tight=False, whole=kind == "number" and left.whole and right.whole
            )
        if sign == "**":
            return call("pow", left, right, kind="number")
        if sign in _NUMBERS:
            if sign == "-" and left.kind == right.kind == "time":
                left, right = (call("epoch_ms", one, kind="number") for one in (left, right))
            return Printed(f"{left} {sign} {right}", "number", tight=False, whole=left.whole and right.whole)
        if sign == "in":
            return call("has", right, left, kind="bool")
        raise NoEquivalent(f"the operator {tree.sign}")

    def _lazy(self, tree: Binary, sign: str) -> Printed:
        """`a || b || c`: the first that is taken for true, else the last; `&&` the first that is not."""
        parts = _flattened(tree, sign)
        values = [self.print(part) for part in parts]
        if all(v.kind == "bool" for v in values):
            return both(values, "and" if sign == "&&" else "or")
        if sign == "||" and all(v.kind in ("any", "string") for v in values) and values[-1].text == '""':
            self.names.note('`|| ""` became coalesce: 0 and false stay what they are')
            return call("coalesce", *values, whole=True)
        tests = [truth(v) if sign == "||" else negated(v) for v in values[:-1]]
        kind = values[0].kind if len({v.kind for v in values}) == 1 else "any"
        if len(values) == 2:
            return Printed(f"{values[0]} if {tests[0]} else {values[1]}", kind, tight=False)
        cases = [one for test, value in zip(tests, values, strict=False) for one in (test, value)]
        return call("case", *cases, values[-1], kind=kind)

    def _type_test(self, tree: Binary, sign: str) -> Printed | None:
        """`typeof x === "string"`."""
        sides = (tree.left, tree.right)
        asked = next((s for s in sides if isinstance(s, Unary) and s.sign == "typeof"), None)
        named = next((s for s in sides if isinstance(s, Literal)), None)
        if asked is None or named is None:
            return None
        kinds = _TYPES.get(str(named.value))
        if kinds is None:
            raise NoEquivalent(f"typeof {named.value!r}")
        inside = ", ".join(quoted(k) for k in kinds)
        word = "in" if sign == "==" else "not in"
        return Printed(f"typeof({self.print(asked.of).text}) {word} [{inside}]", "bool", tight=False, whole=True)

    def _chain(self, tree: Js) -> Printed:
        """Names, keys and calls: what n8n puts into reach, then methods of values."""
        found = rooted(tree, self.names)
        if found is not None:
            return found
        match tree:
            case Member(of=of, name=name):
                return self._member(of, name)
            case Index(of=of, key=key):
                return self._index(of, key)
            case Call(of=Member(of=of, name=name), args=args, new=False):
                if (made := js_functions.static(self, of, name, args)) is not None:
                    return made
                if isinstance(of, Pattern):
                    return js_patterns.of_pattern(self, of, name, args)
                return js_methods.method(self, self.print(of), name, args)
            case Call(of=Name(name=name), args=args, new=new):
                return js_functions.function(self, name, args, new=new)
            case Name(name=name):
                raise NoEquivalent(f"the name {name!r}")
        raise NoEquivalent("a call of something that is no name")

    def _member(self, of: Js, name: str) -> Printed:
        if (found := js_functions.constant_of(of, name)) is not None:
            return found
        value = self.print(of)
        if name == "length" and value.text != "item":
            return call("length", value, kind="number")
        if value.kind == "time":
            return js_methods.time_part(value, name)
        if value.kind in ("string", "number", "bool", "list"):
            raise NoEquivalent(f"`.{name}` of a {value.kind}")
        return key_of(value, name) if value.kind in ("any", "record") else NULL

    def _index(self, of: Js, key: Js) -> Printed:
        if (found := js_patterns.group(self, of, key)) is not None:
            return found
        value = self.print(of)
        if isinstance(key, Literal) and isinstance(key.value, str):
            return key_of(value, key.value) if value.kind in ("any", "record") else NULL
        at = self.print(key)
        if value.kind == "string":
            return call("substring", value, at, Printed("1"), kind="string")
        return call("get", value, at)


def _flattened(tree: Js, sign: str) -> list[Js]:
    """Operands of a chain of one operator, from the left."""
    made: list[Js] = []
    while isinstance(tree, Binary) and tree.sign == sign:
        made.append(tree.right)
        tree = tree.left
    return [tree, *reversed(made)]


def _same_numbers(left: Printed, right: Printed) -> tuple[Printed, Printed]:
    """A text constant that is a number, beside a number: JavaScript reads it as one."""
    for one, other in ((left, right), (right, left)):
        if one.kind == "number" and other.kind == "string" and re.fullmatch(r'"-?[0-9]{1,15}"', other.text):
            number = Printed(other.text.strip('"'), "number", whole=True)
            return (left, number) if other is right else (number, right)
    return left, right


def _same_times(left: Printed, right: Printed) -> tuple[Printed, Printed]:
    """A time beside something else: that is read as a time."""
    if (left.kind == "time") != (right.kind == "time"):
        left, right = (one if one.kind == "time" else call("timestamp", one, kind="time") for one in (left, right))
    return left, right
