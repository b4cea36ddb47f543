"""What is wrong with an expression is said with code, line, column, what was found, and the mend."""

import pytest

from streamflow.expressions import compile_projection, typecheck
from streamflow.model.types import (
    ANY,
    BOOL,
    DATE,
    DOUBLE,
    INT,
    LONG,
    STRING,
    TIMESTAMP_MS,
    Type,
    array_of,
    record_of,
)
from streamflow.sdk.expression import Expression, Scope
from streamflow.sdk.places import Place

ITEM = record_of(
    {"amount": DOUBLE, "qty": INT, "name": STRING, "at": TIMESTAMP_MS, "day": DATE, "tags": array_of(STRING)}
)
SCOPE = Scope(item=ITEM, nodes={"priced": record_of({"total": DOUBLE})}, vars={"rate": 1.5})

WRONG = [
    ("amout > 1", "5:10", "SF211", "the item has no field 'amout'", "Did you mean 'amount'?"),
    ("qty + amout", "5:16", "SF211", "the item has no field 'amout'", "Did you mean 'amount'?"),
    ('item["Name"]', "5:15", "SF211", "the item has no field 'Name'", "Did you mean 'name'?"),
    ("$json.nam", "5:16", "SF211", "the item has no field 'nam'", "Did you mean 'name'?"),
    ("nodes.prized.total", "5:16", "SF211", "no earlier node is called 'prized'", "Did you mean 'priced'?"),
    ("nodes.priced.totl", "5:23", "SF211", "node 'priced' produces no field 'totl'", "Did you mean 'total'?"),
    ("$('prized').item.json.total", "5:12", "SF211", "no earlier node is called 'prized'", "Did you mean 'priced'?"),
    ("vars.rat", "5:15", "SF211", "there is no variable 'rat'", "Did you mean 'rate'?"),
    ("meta.timestmp", "5:15", "SF211", "meta has no 'timestmp'", "Did you mean 'timestamp'?"),
    ("$now", "5:10", "SF211", "read no clock", "Use meta.timestamp."),
    ("now()", "5:10", "SF213", "read no clock", "Use meta.timestamp."),
    ("uper(name)", "5:10", "SF213", "there is no function 'uper'", "Did you mean 'upper'?"),
    ("upper(qty)", "5:10", "SF214", "upper(int)", "It takes upper(string)."),
    ("substring(name)", "5:10", "SF214", "substring(string)", "It takes substring(string, long, [long])."),
    ('name + qty', "5:10", "SF212", "`+` does not take string, int", "Convert the other side with string(…)."),
    ("name > 3", "5:17", "SF212", "`>` does not take string, long", "Convert the text with double(…) or long(…)."),
    ("qty and true", "5:10", "SF212", "`and` takes a condition, this is of type int", "Compare it"),
    ('"a" if qty > 1 else 2', "5:10", "SF212", "the branches have types string and long", "Convert one"),
    ("name.first", "5:15", "SF212", "a value of type string has no key 'first'", ""),
    ('day > "tomorrow"', "5:16", "SF218", "'tomorrow' is no date", "2024-02-29"),
    ('to_timezone(at, "Mars/Base")', "5:26", "SF218", "no time zone 'Mars/Base'", "Europe/Berlin"),
    ('regex(name, "(a")', "5:22", "SF217", "pattern '(a'", "Patterns are RE2's."),
    ("name.upper()", "5:10", "SF216", "values have no methods", "Write upper(value)."),
    ("name.__class__", "5:15", "SF216", "'__class__'", 'item["…"]'),
    ("amount ** 2", "5:17", "SF216", "operator '**'", "Write `pow(a, b)`."),
    ("lambda: 1", "5:10", "SF216", "lambda", ""),
    ("[x for x in tags]", "5:10", "SF216", "a comprehension", "list functions"),
    ("f'{name}'", "5:10", "SF216", "f-strings", "Join with"),
    ("qty is 1", "5:17", "SF216", "`is`", "`==`"),
    ("upper(name=1)", "5:20", "SF210", "unexpected '='", "assign nothing"),
    ("a && b", "5:12", "SF210", "unexpected '&&'", "Write `and`."),
    ("qty === 1", "5:14", "SF210", "unexpected '==='", "Write `==`."),
    ("qty ? 1 : 2", "5:14", "SF210", "unexpected '?'", "if condition else"),
    ("(qty + 1", "5:10", "SF210", "'(' is never closed", ""),
    ("qty + 1)", "5:17", "SF210", "')' closes nothing", ""),
    ("'abc", "5:10", "SF210", "never closed", ""),
    ("qty +", "5:15", "SF210", "something is missing", ""),
    ("", "5:10", "SF210", "empty", ""),
    ("99999999999999999999", "5:10", "SF215", "does not fit 64 bits", "double"),
    ("(" * 60, "5:60", "SF215", "more than 50 brackets", ""),
    ("qty" + " " * 5000, "5:10", "SF215", "5,003 characters", "4,096"),
    ("qty > 1\n  and amout > 2", "6:7", "SF211", "no field 'amout'", "amount"),
    ("{{ amout }}", "5:13", "SF211", "no field 'amout'", "amount"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "code", "message", "mend"), WRONG, ids=[w[0][:24] for w in WRONG])
def test_diagnostic(text: str, place: str, code: str, message: str, mend: str) -> None:
    t, found = typecheck(Expression(text, Place("flow.yaml", 5, 10)), SCOPE)
    assert t == ANY
    (only,) = found
    assert (str(only.place), only.code) == (f"flow.yaml:{place}", code)
    assert message in only.message
    assert mend in only.mend


def test_all_expressions_are_checked_in_one_go() -> None:
    projection, found = compile_projection(
        {"a": Expression("x1"), "b": Expression("qty"), "c": Expression("x2")}, SCOPE
    )
    assert projection is None
    assert [d.place.column for d in found] == [1, 1]


@pytest.mark.parametrize(
    ("text", "wanted", "mend"),
    [
        ("qty", BOOL, "Compare it"),
        ("name", LONG, "long(…)"),
        ("qty + 1", INT, "int(…)"),
        ('"blue"', Type(kind="enum", symbols=("red", "green")), "red, green"),
        ("qty", STRING, "string(…)"),
    ],
)
def test_a_type_that_cannot_become_the_wanted_one(text: str, wanted: Type, mend: str) -> None:
    _, found = typecheck(Expression(text), SCOPE, expect=wanted)
    assert [d.code for d in found] == ["SF212"]
    assert mend in found[0].mend
