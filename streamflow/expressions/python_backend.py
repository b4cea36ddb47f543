"""The Python backend: one generated function per expression that loops over rows.

Generated code is straight-line: one assignment per node of the tree, `if` blocks where evaluation depends on a value.
Nothing of the user's text gets into it: names are ours, constants are bound from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from streamflow.expressions.columns import error_column
from streamflow.expressions.failure import BAD_CAST, TOO_LARGE, Fail
from streamflow.expressions.fast_any import fast_inline
from streamflow.expressions.kinds import holds_any
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
from streamflow.expressions.values import UNREADABLE, from_python, to_python

_CHUNK_ROWS = 4_096

Loop = Callable[..., tuple[list[Any], dict[int, int]]]


@dataclass(slots=True)
class PythonExpression:
    """An expression as a loop over columns in their Python representation."""

    node: Node
    columns: tuple[str, ...]
    _types: Mapping[str, Any]
    _loop: Loop
    source: str

    def run(self, frame: pl.DataFrame, parsed: dict[str, list[Any]]) -> tuple[pl.Series, pl.Series | None]:
        """Values and error codes; `parsed` keeps columns that another expression of the same run has read."""
        for name in self.columns:
            if name not in parsed:
                parsed[name] = to_python(frame[name], self._types[name])
        values, codes = self._loop(frame.height, *(parsed[name] for name in self.columns))
        return from_python(values, self.node.type), error_column(codes, frame.height)

    def once(self) -> tuple[list[Any], dict[int, int]]:
        """Value and error of an expression that reads no column."""
        return self._loop(1)


@dataclass(slots=True)
class _Emitter:
    lines: list[str] = field(default_factory=list)
    bound: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    types: dict[str, Any] = field(default_factory=dict)
    indent: int = 3
    counter: int = 0
    # What is computed already in this block or one around it: identity of the node -> (variable, may be null).
    known: dict[object, tuple[str, bool]] = field(default_factory=dict)

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
        key = _identity(node)
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
        if holds_any(node.type):
            self.line(f"if {name} is UNREADABLE: raise Fail({BAD_CAST})")
        return name, True  # frames may hold nulls whatever the schema says

    def _call(self, node: Call) -> tuple[str, bool]:
        parts = [self.emit(a) for a in node.args]
        atoms = [a for a, _ in parts]
        does = node.bound.does
        inline = does.inline or fast_inline(node, self.bind)
        helper = ""
        if not does.inline:
            helper = self.bind(does.py)
        code = inline.format(*atoms, f=helper) if inline else f"{helper}({', '.join(atoms)})"
        nulls = [atom for atom, null in parts if null]
        if node.bound.strict and nulls:
            code = f"None if {' or '.join(f'{a} is None' for a in dict.fromkeys(nulls))} else {code}"
            return self._assigned(code), True
        return self._assigned(code), node.type.nullable

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


def _identity(node: Node) -> object:
    """Equal for nodes that are the same computation: one object, one column, or one key of one column."""
    if isinstance(node, Column):
        return node.name
    if isinstance(node, Call) and node.name == "member" and isinstance(node.args[1], Const):
        return _identity(node.args[0]), node.args[1].value
    return id(node)


def compile_python(node: Node) -> PythonExpression:
    """Generate and compile the loop of one expression."""
    emitter = _Emitter()
    atom, _ = emitter.emit(node)
    variables = list(emitter.columns.values())
    if variables:
        joined = ", ".join(f"C{v}" for v in variables)
        rows = f"enumerate(zip({joined}))" if len(variables) > 1 else f"enumerate({joined})"
        unpack = f"i, ({', '.join(variables)})"
    else:
        rows, unpack = "enumerate(range(n))", "i, _"
    head = [
        f"def loop(n{''.join(', C' + v for v in variables)}):",
        " out = []; push = out.append; codes = {}",
        f" for {unpack} in {rows}:",
        "  try:",
    ]
    tail = [
        f"   push({atom})",
        "  except Fail as fail: push(None); codes[i] = fail.code",
        f"  except RecursionError: push(None); codes[i] = {TOO_LARGE}",
        " return out, codes",
    ]
    source = "\n".join([*head, *emitter.lines, *tail])
    scope: dict[str, Any] = {"Fail": Fail, "UNREADABLE": UNREADABLE, **emitter.bound}
    exec(compile(source, "<expression>", "exec"), scope)  # noqa: S102 - our own code, see above
    return PythonExpression(node, tuple(emitter.columns), emitter.types, scope["loop"], source)


def run_all(
    expressions: Mapping[str, PythonExpression], frame: pl.DataFrame
) -> dict[str, tuple[pl.Series, pl.Series | None]]:
    """Values and errors of several expressions; each column is read once, some thousand rows at a time."""
    if not expressions or frame.height <= _CHUNK_ROWS:
        return _run_chunk(expressions, frame)
    # Parsed JSON is large: a few thousand objects stay in the processor's caches and are freed before the next ones.
    chunks = [_run_chunk(expressions, frame.slice(at, _CHUNK_ROWS)) for at in range(0, frame.height, _CHUNK_ROWS)]
    return {name: _joined([chunk[name] for chunk in chunks]) for name in expressions}


def _run_chunk(
    expressions: Mapping[str, PythonExpression], frame: pl.DataFrame
) -> dict[str, tuple[pl.Series, pl.Series | None]]:
    parsed: dict[str, list[Any]] = {}
    return {name: e.run(frame, parsed) for name, e in expressions.items()}


def _joined(chunks: list[tuple[pl.Series, pl.Series | None]]) -> tuple[pl.Series, pl.Series | None]:
    values = pl.concat([v for v, _ in chunks])
    if all(codes is None for _, codes in chunks):
        return values, None
    fine = [pl.repeat(0, len(v), dtype=pl.UInt8, eager=True) if c is None else c for v, c in chunks]
    return values, pl.concat(fine)
