"""From text to Python's syntax tree, with names, strings and positions taken from the text itself (see scan.py)."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from streamflow.expressions.limits import DEPTH_MAX
from streamflow.expressions.problems import FORBIDDEN, LIMIT_EXCEEDED, SYNTAX, Problem
from streamflow.expressions.scan import scan
from streamflow.sdk.expression import Expression
from streamflow.sdk.places import Diagnostic, Place

_ALLOWED = (
    ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Dict, ast.Compare, ast.Call, ast.Constant, ast.Attribute,
    ast.Subscript, ast.Name, ast.List, ast.Slice,
)  # fmt: skip
_NAMES: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lambda: ("lambda", "Expressions define no functions."),
    ast.ListComp: ("a comprehension", "Use the list functions, such as sum, sort or unique."),
    ast.SetComp: ("a comprehension", "Use the list functions, such as sum, sort or unique."),
    ast.DictComp: ("a comprehension", "Use pick or omit."),
    ast.GeneratorExp: ("a comprehension", "Use the list functions, such as sum, sort or unique."),
    ast.Tuple: ("a tuple", "Write a list: [a, b]."),
    ast.Set: ("a set", "Write a list: [a, b]."),
    ast.Starred: ("`*` before a value", "Write the arguments one by one."),
    ast.Await: ("await", ""),
    ast.Yield: ("yield", ""),
    ast.YieldFrom: ("yield", ""),
}


@dataclass(slots=True)
class Parsed:
    """A syntax tree whose positions are offsets into `text`."""

    text: str
    tree: ast.expr
    _strings: dict[int, tuple[int, str | bytes]] = field(default_factory=dict)

    def start(self, node: ast.expr) -> int:
        return node.col_offset - 1

    def name(self, node: ast.Name) -> str:
        """A name as it is written, `$` included."""
        return self.text[node.col_offset - 1 : (node.end_col_offset or 1) - 1]

    def attribute(self, node: ast.Attribute) -> tuple[str, int]:
        """The name after the dot, and where it stands."""
        end = (node.end_col_offset or 1) - 1
        return self.text[end - len(node.attr) : end], end - len(node.attr)

    def string(self, node: ast.Constant) -> str | bytes:
        """The value of a string constant: adjacent literals are one."""
        parts: list[str | bytes] = []
        at, end = node.col_offset - 1, (node.end_col_offset or 1) - 1
        while at < end:
            if at in self._strings:
                at, value = self._strings[at]
                parts.append(value)
            else:
                at += 1
        if all(isinstance(p, str) for p in parts):
            return "".join(parts)  # type: ignore[arg-type]
        return b"".join(p if isinstance(p, bytes) else p.encode() for p in parts)


def parse(text: str) -> Parsed:
    """The checked syntax tree of an expression. Raises Problem."""
    scanned = scan(text)
    try:
        # Parentheses let a text start with spaces or run over lines; brackets are known to be balanced.
        tree = ast.parse(f"({scanned.plain})", mode="eval").body
    except (SyntaxError, ValueError) as error:
        at = min(max((getattr(error, "offset", None) or 2) - 2, 0), len(text))
        raise Problem(at, SYNTAX, _syntax_message(text, at, error)) from None
    except (MemoryError, RecursionError):
        raise Problem(0, LIMIT_EXCEEDED, "the expression is nested too deeply") from None
    parsed = Parsed(text, tree, {start: (end, value) for start, end, value in scanned.strings})
    _check_shape(parsed)
    return parsed


def _syntax_message(text: str, at: int, error: Exception) -> str:
    rest = text[at:].strip()
    if not rest or at >= len(text.rstrip()):
        return "the expression ends where something is missing"
    if "comma" in str(error):
        return f"an operator or comma is missing near {rest[:20]!r}"
    return f"cannot read the expression at {rest[:20]!r}"


def _check_shape(parsed: Parsed) -> None:
    """Depth, and only the kinds of nodes that the language has. Iterative: the tree may be deep."""
    stack: list[tuple[ast.AST, int]] = [(parsed.tree, 1)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, ast.expr):
            _check_node(parsed, node)
            if depth > DEPTH_MAX:
                raise Problem(
                    parsed.start(node), LIMIT_EXCEEDED, f"the expression is more than {DEPTH_MAX} levels deep",
                    "Split it over several `set` nodes, or use concat, case or switch.",
                )  # fmt: skip
            depth += 1
        stack.extend((child, depth) for child in ast.iter_child_nodes(node))


def _check_node(parsed: Parsed, node: ast.expr) -> None:
    at = parsed.start(node)
    if not isinstance(node, _ALLOWED):
        found, mend = _NAMES.get(type(node), (f"{type(node).__name__}", ""))
        raise Problem(at, FORBIDDEN, f"{found} is not part of expressions", mend)
    if isinstance(node, ast.Call) and node.keywords:
        raise Problem(at, FORBIDDEN, "arguments have no names here", "Give them in order.")
    if isinstance(node, ast.Dict) and None in node.keys:
        raise Problem(at, FORBIDDEN, "`**` is not part of expressions", "Use merge(a, b).")
    if isinstance(node, ast.Constant) and (isinstance(node.value, complex) or node.value is Ellipsis):
        raise Problem(at, FORBIDDEN, "this constant is not part of expressions")
    if isinstance(node, ast.Attribute):
        name, position = parsed.attribute(node)
        _check_name(name, position)
    if isinstance(node, ast.Name):
        _check_name(parsed.name(node), at)


def _check_name(name: str, at: int) -> None:
    if name.startswith("__") and name.endswith("__"):
        raise Problem(
            at, FORBIDDEN, f"{name!r}: Python's own attributes are out of reach", 'Write item["…"] for a field.'
        )


def diagnostic(expression: Expression, problem: Problem) -> Diagnostic:
    """The finding with its line and column in the document; without a known line, within the expression itself."""
    return Diagnostic(
        place=place_of(expression, problem.offset), code=problem.code, message=problem.message + ".",
        mend=_sentence(problem.mend),
    )  # fmt: skip


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text else ""


def place_of(expression: Expression, offset: int) -> Place:
    before = expression.text[:offset]
    line, column = before.count("\n"), offset - (before.rfind("\n") + 1)
    start = expression.place
    if not start.line:
        return Place(start.file or "<expression>", line + 1, column + 1)
    return Place(start.file, start.line + line, column + 1) if line else start.moved(column)
