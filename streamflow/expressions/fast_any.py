"""Inline forms for what is most frequent on JSON: reading a key, and comparing or computing with numbers and texts.

Each tests the Python types at hand and leaves every other case to the definition `{f}`. Without them a comparison costs a
call and two set look-ups per row.
"""

from __future__ import annotations

from streamflow.expressions.tree import Call, Const

_SIGNS = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!="}


def fast_inline(node: Call) -> str:
    """An inline template for a call, or "" when there is none worth having."""
    if node.name == "member" and len(node.args) == 2:
        return "{0}.get({1}) if type({0}) is dict else {f}({0}, {1})"
    if node.name in _SIGNS and len(node.args) == 2 and all(p.kind == "any" for p in node.bound.params):
        return _comparison(node)
    return ""


def _comparison(node: Call) -> str:
    sign = _SIGNS[node.name]
    for at, argument in enumerate(node.args):
        if isinstance(argument, Const):
            other, kind = 1 - at, type(argument.value)
            if kind is float and argument.value == argument.value:
                # Against a float that is not NaN, Python's operators order all floats but NaN as we do.
                return f"{{0}} {sign} {{1}} if type({{{other}}}) is float and {{{other}}} == {{{other}}} else {{f}}({{0}}, {{1}})"
            if kind in (int, str):
                return f"{{0}} {sign} {{1}} if type({{{other}}}) is {kind.__name__} else {{f}}({{0}}, {{1}})"
    return ""
