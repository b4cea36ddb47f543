"""JavaScript of n8n's parameters, and what is printed for it. That the values are right: tests/golden/n8n/20-*."""

from __future__ import annotations

import pytest

from streamflow.workflow.n8n.js_parse import parse
from streamflow.workflow.n8n.js_tree import Binary, Call, Literal, Member, Name, Unary
from streamflow.workflow.n8n.model import Value
from streamflow.workflow.n8n.printer import Names
from streamflow.workflow.n8n.problems import NoEquivalent
from streamflow.workflow.n8n.values import Values


def printed(text: str, **nodes: str) -> str:
    names = Names(nodes={"My Node": "my-node", "B": "b"} | nodes, workflow_name="flow")
    return Values(names).value(Value(text, "p")).text


def refused(text: str) -> str:
    with pytest.raises(NoEquivalent) as found:
        printed(text)
    assert found.value.path == "p"
    return found.value.what


def test_operators_bind_as_in_javascript() -> None:
    tree = parse("a + b * c === d && !e")
    assert isinstance(tree, Binary)
    assert tree.sign == "&&"
    assert isinstance(tree.right, Unary)
    left = tree.left
    assert isinstance(left, Binary)
    assert left.sign == "==="
    assert isinstance(left.left, Binary)
    assert left.left.sign == "+"


def test_power_binds_to_the_right_and_minus_to_the_left() -> None:
    power, minus = parse("2 ** 3 ** 2"), parse("9 - 3 - 2")
    assert isinstance(power, Binary)
    assert power.left == Literal(at=0, value=2)
    assert isinstance(minus, Binary)
    assert minus.right == Literal(at=8, value=2)


def test_new_belongs_to_the_innermost_call() -> None:
    tree = parse("new Date(x).getTime()")
    assert isinstance(tree, Call)
    assert isinstance(tree.of, Member)
    made = tree.of.of
    assert isinstance(made, Call)
    assert made.new
    assert made.of == Name(at=4, name="Date")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("=", '""'),
        ("={{ }}", "null"),
        ("plain", '"plain"'),
        ("={{ $json.a }}", "item.a"),
        ("={{$json['a']['b c']}}", 'item.a["b c"]'),
        ("={{ $json.from }}", "item.from"),
        ("={{ $json.in }}", 'item["in"]'),
        ("={{ $json.__proto__ }}", 'item["__proto__"]'),
        ("={{ $('My Node').item.json.x }}", 'nodes["my-node"].x'),
        ('={{ $node["B"].json["x"] }}', "nodes.b.x"),
        ("={{ $node.B.json.x }}", "nodes.b.x"),
        ("={{ $('B').last().json.x }}", "nodes.b.x"),
        ("={{ $('B').all()[0].json.x }}", "nodes.b.x"),
        ("={{ $item(0).$node['B'].json.x }}", "nodes.b.x"),
        ("={{ $json.data.json.x }}", "item.data.json.x"),
        ("={{ $now }}", "meta.timestamp"),
        ("={{ $execution.id }}", "meta.execution"),
        ("={{ $workflow.id }}", '"flow"'),
        ("={{ a => a }}{{", None),
        ("=a {{ $json.b }} c", 'concat("a ", coalesce(string(item.b), ""), " c")'),
        ("={{ $json.a }}\n", 'concat(coalesce(string(item.a), ""), "\\n")'),
        ("={{ {a: {b: 1}} }}", '{"a": {"b": 1}}'),
        ("={{ {a: {b: 1}}}}", '{"a": {"b": 1}}'),
        ("={{ '}}' + \"{{\" }}", 'concat("}}", "{{")'),
        ("={{ $json.a // rest\n + 1 }}", "item.a + 1"),
        ("={{ /* note */ 5; }}", "5"),
        ("={{ 1_000 + 0xff + .5 }}", "(1000 + 255) + 0.5"),
    ],
)
def test_a_parameter_is_printed(source: str, text: str | None) -> None:
    if text is None:
        refused(source)
    else:
        assert printed(source) == text


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("={{ $json.a.map(x => x.b) }}", "`.map()` with a function"),
        ("={{ a = 1 }}", "an assignment (=)"),
        ("={{ $json.a++ }}", "an assignment (++)"),
        (
            "={{ $('Nowhere').item.json.a }}",
            "the node 'Nowhere', which is not in the workflow or has no items of its own",
        ),
        ("={{ $json.a.match(/(?=x)/)[0] }}", "the regular expression '(?=x)', which RE2 does not take"),
        ("={{ 'a' 'b' }}", "something that is no expression, at \"'b'\""),
        ("={{ 'never closed }}", 'a text that is never closed: "\'never closed"'),
        ("={{ " + "(" * 60 + "1" + ")" * 60 + " }}", "an expression of more than 40 levels"),
        ("={{ " + "1+" * 100 + "1 }}", "an expression of more than 80 levels"),
        ("={{ " + "1," * 3000 + "1 }}", "an expression of more than 4,000 names and signs"),
        ("={{ '" + "x" * 30_000 + "' }}", "an expression of 30,002 characters; 20,000 are read"),
    ],
)
def test_what_has_no_equivalent_is_named(source: str, what: str) -> None:
    assert refused(source) == what


def test_a_chain_of_alternatives_does_not_grow_with_each() -> None:
    text = printed("={{ $json.a || $json.b || $json.c || $json.d || 'none' }}")
    assert text.startswith("case(not (item.a == null")
    assert text.endswith('item.d, "none")')
    assert len(text) < 500


def test_what_would_grow_beyond_bounds_is_refused_early() -> None:
    source = "$json.a"
    for _ in range(30):
        source = f"({source} || 1) + ({source} || 2)" if len(source) < 4_000 else source
    assert "an expression" in refused(f"={{{{ {source} }}}}")


def test_a_long_text_becomes_a_variable() -> None:
    names = Names()
    text = "x" * 5_000
    assert Values(names).value(Value(text, "p")).text == "vars.imported_text_1"
    assert Values(names).value(Value(text, "q")).text == "vars.imported_text_1"
    assert names.texts == {"imported_text_1": text}


def test_variables_are_remembered_with_where_they_came_from() -> None:
    names = Names()
    assert Values(names).value(Value("={{ $env.A }}{{ $vars['b c'] }}", "p")).text == 'concat(vars.A, vars["b c"])'
    assert names.vars == {"A": "$env.A", "b c": "$vars.b c"}
