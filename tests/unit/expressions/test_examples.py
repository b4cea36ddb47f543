"""Every documented example gives the documented result: folded, on columns, and in the Python backend."""

from __future__ import annotations

import polars as pl
import pytest

from streamflow.expressions.functions import FUNCTIONS
from streamflow.expressions.projection import check_tree, compile_trees
from streamflow.expressions.scope import Names
from streamflow.expressions.tree import (
    Call,
    Coalesce,
    Column,
    Const,
    If,
    Logic,
    MakeList,
    MakeRecord,
    Member,
    Node,
    Try,
)
from streamflow.expressions.values import constant_series, to_python
from streamflow.model.types import Type, record_of
from streamflow.sdk.expression import ITEM_ERROR_CODES, Expression, Scope

NAMES = Names(Scope(item=record_of({})))
EXAMPLES = [(f.name, text, result) for f in dict.fromkeys(FUNCTIONS.values()) for text, result in f.examples]


def tree_of(text: str, *, fold: bool = True) -> Node:
    tree, found = check_tree(Expression(text), NAMES, None)
    assert tree is not None, [str(d) for d in found]
    return tree


def outcome(values: pl.Series, errors: pl.Series | None, t: Type) -> tuple[object, str]:
    """The same value in every row, or the same error."""
    found = to_python(values, t)
    codes = [0] * len(found) if errors is None else errors.to_list()
    assert all(repr(v) == repr(found[0]) for v in found)
    assert len(set(codes)) == 1
    return found[0], ITEM_ERROR_CODES.get(codes[0], "")


def evaluated(node: Node, prefer: str, columns: dict[str, pl.Series]) -> tuple[object, str]:
    projection = compile_trees({"v": node}, "python" if prefer == "python" else "auto")
    frame = pl.DataFrame({"@row": [0, 1, 2], **columns})
    if prefer == "columns" and projection._typed is not None:
        values, errors = projection._typed.run(frame)["v"]  # not projection.run, which would hide a fault of polars
    else:
        result = projection.run(frame)
        values, errors = result.values["v"], result.errors.get("v")
    return outcome(values, errors, node.type)


def unfolded(text: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Node, dict[str, pl.Series]]:
    """The tree with columns where constants were, so that both backends have something to compute."""
    monkeypatch.setattr("streamflow.expressions.overloads.fold", lambda node: node)
    monkeypatch.setattr("streamflow.expressions.check.fold", lambda node: node)
    columns: dict[str, pl.Series] = {}
    node = _with_columns(tree_of(text), columns)
    monkeypatch.undo()
    return node, columns


def _with_columns(node: Node, columns: dict[str, pl.Series]) -> Node:
    def sub(inner: Node) -> Node:
        return _with_columns(inner, columns)

    match node:
        case Const() if node.type.kind != "null":
            name = f"c{len(columns)}"
            columns[name] = constant_series(node.value, node.type, 3)
            return Column(node.type, name)
        case Member():
            return Member(node.type, sub(node.record), node.field)
        case Call():
            return Call(node.type, node.name, node.bound, tuple(map(sub, node.args)))
        case Logic():
            return Logic(node.type, node.word, tuple(map(sub, node.args)))
        case If():
            return If(node.type, sub(node.test), sub(node.yes), sub(node.no))
        case Coalesce():
            return Coalesce(node.type, tuple(map(sub, node.args)))
        case Try():
            return Try(node.type, sub(node.value), sub(node.fallback))
        case MakeList():
            return MakeList(node.type, tuple(map(sub, node.args)))
        case MakeRecord():
            return MakeRecord(node.type, node.names, tuple(map(sub, node.args)))
        case _:
            return node


@pytest.mark.parametrize(("name", "text", "result"), EXAMPLES, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(EXAMPLES)])
@pytest.mark.parametrize("how", ["folded", "columns", "python"])
def test_example(name: str, text: str, result: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "folded":
        node, columns = tree_of(text), {}
    else:
        node, columns = unfolded(text, monkeypatch)
    value, error = evaluated(node, how, columns)
    if result.startswith("error: "):
        assert error == result.removeprefix("error: ")
    else:
        assert error == ""
        expected, _ = evaluated(tree_of(result), "python", {})
        assert repr(value) == repr(expected)


def test_every_function_has_an_example() -> None:
    assert [f.name for f in FUNCTIONS.values() if not f.examples] == []
    assert len({f.name for f in FUNCTIONS.values()}) >= 70
