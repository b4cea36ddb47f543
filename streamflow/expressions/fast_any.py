"""Inline forms for what is most frequent on JSON: reading a key, comparing, computing, looking up in a constant list.

Each tests the Python types at hand, and every other case is left to the definition, so none has a meaning of its own.
Without them every operation costs a call and a few type tests per row.
"""

from __future__ import annotations

from collections.abc import Callable

from streamflow.expressions.tree import Call, Const, MakeRecord, Node

_SIGNS = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!="}
_ARITHMETIC = {"add": "+", "subtract": "-", "multiply": "*"}
_EXACT_MAX = 2**53  # integers up to here are doubles exactly, so Python's mixed comparison is ours
Template = tuple[str, str]  # the value, and a test, false for nulls, of whether it is right; `{0}` is an argument
_SMALL = 2**31  # sums, differences and products of such integers fit 64 bits


def fast_inline(node: Call, bind: Callable[[object], str]) -> Template | None:
    """The template of a call; None when there is none worth having. `bind` names a constant."""
    if any(p.kind != "any" for p in node.bound.params[:1]):
        return None
    if node.name == "pick":
        return _pick(node, bind)
    if len(node.args) != 2:
        return None
    if node.name == "merge":
        return "{{**{0}, **{1}}}", "type({0}) is dict and type({1}) is dict"
    if node.name == "member":
        return "{0}.get({1})", "type({0}) is dict"
    if node.name in _SIGNS:
        return _comparison(node)
    if node.name in _ARITHMETIC:
        return _arithmetic(node)
    if node.name == "contains":
        return _membership(node, bind)
    return None


def put_over_some(node: Call) -> tuple[Call, MakeRecord] | None:
    """The parts of `merge(pick(whole, "a", …), {…})`, which is how new fields are put over some of an object's."""
    if node.name != "merge" or len(node.args) != 2:
        return None
    some, new = node.args[0], _unconverted(node.args[1])
    if not (isinstance(some, Call) and some.name == "pick" and isinstance(new, MakeRecord)):
        return None
    whole, *names = some.args
    plain = not isinstance(whole, Const) and all(isinstance(n, Const) and type(n.value) is str for n in names)
    return (some, new) if plain else None


def _unconverted(node: Node) -> Node:
    """What a conversion that changes nothing converts."""
    while isinstance(node, Call) and node.bound.does.inline == "{0}":
        (node,) = node.args
    return node


def _pick(node: Call, bind: Callable[[object], str]) -> Template | None:
    whole, *names = node.args
    if isinstance(whole, Const) or not all(isinstance(n, Const) and type(n.value) is str for n in names):
        return None
    keys = bind(tuple(n.value for n in names if isinstance(n, Const)))
    return f"{{{{k: {{0}}[k] for k in {keys} if k in {{0}}}}}}", "type({0}) is dict"


def _comparison(node: Call) -> Template | None:
    sign = _SIGNS[node.name]
    for at, argument in enumerate(node.args):
        if not isinstance(argument, Const):
            continue
        value, other = argument.value, f"{{{1 - at}}}"
        if type(value) is str:
            test = f"type({other}) is str"
        elif (type(value) is int and abs(value) < _EXACT_MAX) or (type(value) is float and value == value):  # noqa: PLR0124
            # NaN, which is unequal to itself, is left to the definition; so are long integers beside a double.
            exact = (
                f"type({other}) is int"
                if type(value) is int
                else f"type({other}) is int and -{_EXACT_MAX} < {other} < {_EXACT_MAX}"
            )
            test = f"type({other}) is float and {other} == {other} or {exact}"
        else:
            return None
        return f"{{0}} {sign} {{1}}", test
    return None


def _arithmetic(node: Call) -> Template | None:
    sign = _ARITHMETIC[node.name]
    tests = []
    for at, argument in enumerate(node.args):
        name = f"{{{at}}}"
        if isinstance(argument, Const):
            if type(argument.value) is not int or abs(argument.value) >= _SMALL:
                return None
        else:
            tests.append(f"type({name}) is int and -{_SMALL} < {name} < {_SMALL}")
    whole = " and ".join(tests)
    if len(tests) == 2:
        whole = f"{whole} or type({{0}}) is float and (type({{1}}) is float or type({{1}}) is int)"
    return f"{{0}} {sign} {{1}}", whole


def _membership(node: Call, bind: Callable[[object], str]) -> Template | None:
    whole = node.args[0]
    if isinstance(whole, Const) and isinstance(whole.value, list) and all(type(v) is str for v in whole.value):
        return f"{{1}} in {bind(frozenset(whole.value))}", "type({1}) is str"
    return None
