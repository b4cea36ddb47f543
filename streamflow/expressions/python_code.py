"""The code of one expression for one row: one assignment per node of the tree, `if` blocks where values decide.

Nothing of the user's text gets into it: names are ours, constants are bound from outside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streamflow.expressions.failure import BAD_CAST
from streamflow.expressions.fast_any import fast_inline, put_over_some
from streamflow.expressions.kinds import holds_any
from streamflow.expressions.numbering import Numbering
from streamflow.expressions.tree import (
    Call,
    Coalesce,
    Column,
    Const,
    Failed,
    If,
    Logic,
    MakeList,
    MakeRecord,
    Member,
    Node,
    Try,
)  # fmt: skip


@dataclass(slots=True)
class Emitter:
    lines: list[str] = field(default_factory=list)
    bound: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    types: dict[str, Any] = field(default_factory=dict)
    indent: int = 3
    counter: int = 0
    # What is computed already in this block or one around it: number of the computation -> (variable, may be null).
    known: dict[int, tuple[str, bool]] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)  # variable of a JSON column -> whether it is an object
    numbering: Numbering = field(default_factory=Numbering)

    def line(self, text: str) -> None:
        self.lines.append(" " * self.indent + text)

    def fresh(self) -> str:
        self.counter += 1
        return f"t{self.counter}"

    def bind(self, value: Any) -> str:
        name = f"k{len(self.bound)}"
        self.bound[name] = value
        return name

    def block(self, node: Node, into: str) -> bool:
        """Emit `node` one level deeper, assigned to `into`; what it computes is unknown after it."""
        outside = dict(self.known)
        self.indent += 1
        atom, null = self.emit(node)
        self.line(f"{into} = {atom}")
        self.indent -= 1
        self.known = outside
        return null

    def emit(self, node: Node) -> tuple[str, bool]:
        """The variable that holds the node's value, and whether it may be None."""
        key = self.numbering.of(node)
        if key not in self.known:
            self.known[key] = self._emit(node)
        return self.known[key]

    def _emit(self, node: Node) -> tuple[str, bool]:
        match node:
            case Const():
                return self._constant(node)
            case Column():
                return self._column(node)
            case Member():
                record, _ = self.emit(node.record)
                target = self.fresh()
                self.line(f"{target} = None if {record} is None else {record}[{self.bind(node.field)}]")
                return target, True
            case Call():
                return self._call(node)
            case Logic():
                return self._logic(node)
            case If():
                test, _ = self.emit(node.test)
                target = self.fresh()
                self.line(f"if {test}:")
                yes = self.block(node.yes, target)
                self.line("else:")
                no = self.block(node.no, target)
                return target, yes or no
            case Coalesce():
                return self._coalesce(node)
            case Try():
                target = self.fresh()
                self.line("try:")
                value = self.block(node.value, target)
                self.line("except Fail:")
                fallback = self.block(node.fallback, target)
                return target, value or fallback
            case Failed():
                self.line(f"raise Fail({node.code})")
                return "None", True
            case MakeList():
                atoms = [self.emit(a)[0] for a in node.args]
                return self._assigned(f"[{', '.join(atoms)}]"), False
            case MakeRecord():
                pairs = [f"{self.bind(n)}: {self.emit(a)[0]}" for n, a in zip(node.names, node.args, strict=True)]
                return self._assigned(f"{{{', '.join(pairs)}}}"), False

    def _assigned(self, code: str) -> str:
        target = self.fresh()
        self.line(f"{target} = {code}")
        return target

    def _constant(self, node: Const) -> tuple[str, bool]:
        value = node.value
        if value is None or isinstance(value, bool) or (isinstance(value, int) and 0 <= value < 2**31):
            return repr(value), value is None
        return self.bind(value), False

    def _column(self, node: Column) -> tuple[str, bool]:
        if node.name not in self.columns:
            self.columns[node.name] = f"c{len(self.columns)}"
            self.types[node.name] = node.type
        name = self.columns[node.name]
        if node.type.kind == "any":
            self.objects[name] = self._assigned(f"type({name}) is dict")
            self.line(f"if not {self.objects[name]} and {name} is UNREADABLE: raise Fail({BAD_CAST})")
        elif holds_any(node.type):
            self.line(f"if {name} is UNREADABLE: raise Fail({BAD_CAST})")
        return name, True  # frames may hold nulls whatever the schema says

    def _call(self, node: Call) -> tuple[str, bool]:
        if (put := put_over_some(node)) is not None:
            return self._put_over(node, *put)
        parts = [self.emit(a) for a in node.args]
        atoms = [a for a, _ in parts]
        does = node.bound.does
        if does.inline == "{0}":
            return parts[0]
        code = does.inline.format(*atoms) if does.inline else f"{self.bind(does.py)}({', '.join(atoms)})"
        nulls = [atom for atom, null in parts if null] if node.bound.strict else []
        if nulls:
            code = f"None if {' or '.join(f'{a} is None' for a in dict.fromkeys(nulls))} else {code}"
        if not does.inline and (fast := fast_inline(node, self.bind)) is not None:
            value, test = (template.format(*atoms) for template in fast)
            for atom, is_object in self.objects.items():
                test = test.replace(f"type({atom}) is dict", is_object)
            code = f"{value} if {test} else {code}"
        return self._assigned(code), bool(nulls) or node.type.nullable

    def _put_over(self, node: Call, some: Call, new: MakeRecord) -> tuple[str, bool]:
        """`merge(pick(whole, …), {…})` as one new object: where a key is missing, the two functions find out."""
        whole, _ = self.emit(some.args[0])
        keys = [self.bind(a.value) for a in some.args[1:] if isinstance(a, Const)]
        pick, merge = self.bind(some.bound.does.py), self.bind(node.bound.does.py)
        picked = f"{pick}({', '.join([whole, *keys])})"
        is_object = self.objects.get(whole, f"type({whole}) is dict")
        self.line(f"if not {is_object} and {whole} is not None: {picked}")  # which fails, before fields do
        fields = [f"{self.bind(n)}: {self.emit(a)[0]}" for n, a in zip(new.names, new.args, strict=True)]
        target = self.fresh()
        self.line(f"try: {target} = {{{', '.join([*(f'{k}: {whole}[{k}]' for k in keys), *fields])}}}")
        self.line("except (KeyError, TypeError):")
        self.line(f" {target} = None if {whole} is None else {merge}({picked}, {{{', '.join(fields)}}})")
        return target, True

    def _logic(self, node: Logic) -> tuple[str, bool]:
        """Left to right; once the result is decided the rest is not evaluated. A null waits for what decides."""
        decided = "False" if node.word == "and" else "True"
        first, null = self.emit(node.args[0])
        target = self._assigned(first)
        start = self.indent
        outside = dict(self.known)
        for arg in node.args[1:]:
            self.line(f"if {target} is not {decided}:")
            self.indent += 1
            atom, more = self.emit(arg)
            if null:
                self.line(f"if {target} is None: {target} = {atom} if {atom} is {decided} else None")
                self.line(f"else: {target} = {atom}")
            else:
                self.line(f"{target} = {atom}")
            null = null or more
            self.indent = start
            self.known = dict(outside)
        return target, null

    def _coalesce(self, node: Coalesce) -> tuple[str, bool]:
        first, null = self.emit(node.args[0])
        target = self._assigned(first)
        for arg in node.args[1:]:
            if not null:
                break
            self.line(f"if {target} is None:")
            null = self.block(arg, target)
        return target, null
