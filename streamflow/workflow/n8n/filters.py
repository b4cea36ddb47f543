"""Conditions of If, Filter and Switch, in n8n's older form (by type) and in its newer one (operators)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streamflow.workflow.n8n.js_patterns import checked
from streamflow.workflow.n8n.model import Value
from streamflow.workflow.n8n.printed import Printed, both, call, certain, constant, equal, quoted, truth, unequal
from streamflow.workflow.n8n.problems import NoEquivalent
from streamflow.workflow.n8n.values import Values

CONDITIONS_MAX = 100
_EMPTY = Printed('""', "string", whole=True)

# Names of the older form in the newer one.
_OLD = {
    "equal": "equals", "notEqual": "notEquals", "larger": "gt", "largerEqual": "gte", "smaller": "lt",
    "smallerEqual": "lte", "isEmpty": "empty", "isNotEmpty": "notEmpty", "isNull": "notExists", "isNotNull": "exists",
}  # fmt: skip
_OLD_DEFAULT = {"string": "equals", "number": "lt", "boolean": "equals", "dateTime": "after"}
_UNARY = frozenset(("exists", "notExists", "empty", "notEmpty", "true", "false"))
_ORDER = {
    "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "after": ">", "before": "<", "afterOrEquals": ">=",
    "beforeOrEquals": "<=",
}  # fmt: skip
_LENGTH = {
    "lengthEquals": "==", "lengthNotEquals": "!=", "lengthGt": ">", "lengthLt": "<", "lengthGte": ">=",
    "lengthLte": "<=",
}  # fmt: skip
_TEXT: Mapping[str, str] = {"contains": "contains", "startsWith": "starts_with", "endsWith": "ends_with"}


def new_form(conditions: Value, values: Values, *, ignore_case: bool, loose: bool) -> Printed:
    """`{combinator, conditions: [{leftValue, rightValue, operator: {type, operation}}]}`; without conditions, true."""
    options = conditions["options"]
    ignore_case = ignore_case or options["caseSensitive"].raw is False
    loose = loose or options["typeValidation"].text() == "loose"
    rows = list(conditions["conditions"])
    if len(rows) > CONDITIONS_MAX:
        raise NoEquivalent(f"more than {CONDITIONS_MAX} conditions", path=conditions.path)
    made = [_row(row, values, ignore_case=ignore_case, loose=loose) for row in rows]
    return both(made, "or" if conditions["combinator"].text("and").lower() == "or" else "and")


def _row(row: Value, values: Values, *, ignore_case: bool, loose: bool) -> Printed:
    operator = row["operator"]
    if isinstance(operator.raw, str):  # some tools write `operator: equals`
        kind, name = "any", operator.text()
    else:
        kind, name = operator["type"].text("string"), operator["operation"].text("equals")
    left = values.value(row["leftValue"])
    right = None if name in _UNARY else values.value(row["rightValue"])
    return _guarded(row, lambda: compared(kind, name, left, right, ignore_case=ignore_case, loose=loose))


def old_form(conditions: Value, values: Values, *, any_of: bool) -> Printed:
    """`{string: [{value1, operation, value2}], number: […], …}`; without conditions, true."""
    made: list[Printed] = []
    for kind in ("string", "number", "boolean", "dateTime"):
        for row in conditions[kind]:
            if len(made) >= CONDITIONS_MAX:
                raise NoEquivalent(f"more than {CONDITIONS_MAX} conditions", path=conditions.path)
            left, right = values.value(row["value1"]), values.value(row["value2"])
            made.append(_old_row(row, kind, left, right))
    return both(made, "or" if any_of else "and")


def old_rule(rule: Value, kind: str, left: Printed, values: Values) -> Printed:
    """A rule of an older Switch: its `operation` and `value2`."""
    return _old_row(rule, kind, left, values.value(rule["value2"]))


def _old_row(row: Value, kind: str, left: Printed, right: Printed) -> Printed:
    written = row["operation"].text(_OLD_DEFAULT.get(kind, "equals"))
    name = _OLD.get(written, written)
    if kind == "boolean" and row["value2"].raw is None and name not in _UNARY:
        right = constant(False)  # what the editor shows and does not write
    return _guarded(row, lambda: _old_compared(kind, name, left, right))


def _old_compared(kind: str, name: str, left: Printed, right: Printed) -> Printed:
    """In the older form equality converts nothing, and what is missing counts as 0 where numbers are put in order."""
    if name in ("equals", "notEquals"):
        right = _converted(kind, right, loose=False) if right.whole and kind != "string" else right
        return equal(left, right) if name == "equals" else unequal(left, right)
    if kind == "number" and name in _ORDER:
        left, right = (_number_or_0(left), _number_or_0(right))
        return Printed(f"{left} {_ORDER[name]} {right}", "bool", tight=False)
    return compared(kind, name, left, right, ignore_case=False, loose=True)


def _number_or_0(value: Printed) -> Printed:
    value = _number(value, loose=True)
    return value if value.whole else call("coalesce", value, constant(0), kind="number", whole=True)


def _guarded(row: Value, make: Callable[[], Printed]) -> Printed:
    try:
        return make()
    except NoEquivalent as error:
        raise NoEquivalent(error.what, path=error.path or row.path) from None


def compared(kind: str, name: str, left: Printed, right: Printed | None, *, ignore_case: bool, loose: bool) -> Printed:
    """One condition. `loose`: values of other types are converted before they are compared."""
    name = _OLD.get(name, name)
    match name:
        case "exists" | "notExists":
            return _is_there(left, name == "exists")
        case "empty" | "notEmpty" if kind in ("number", "boolean", "dateTime"):
            return _is_there(left, name == "notEmpty")
        case "empty":
            return call("is_empty", left, kind="bool", whole=True)
        case "notEmpty":
            return Printed(f"not {call('is_empty', left)}", "bool", tight=False, whole=True)
        case "true" | "false" if loose:
            return _boolean(left, constant(name == "true"))
        case "true":
            return equal(left, constant(True))
        case "false":
            return Printed(f"not {certain(left)}", "bool", tight=False, whole=True)
    right = right or constant(None)
    if kind in ("array", "object") or (kind == "any" and name in _LENGTH):
        return _of_list(name, left, right)
    left, right = _converted(kind, left, loose=loose), _converted(kind, right, loose=loose)
    if kind == "boolean" and loose and name in ("equals", "notEquals"):
        return _boolean(left, right) if name == "equals" else Printed(
            f"not {certain(_boolean(left, right))}", "bool", tight=False, whole=True
        )  # fmt: skip
    if kind == "dateTime" and name == "notEquals":
        return Printed(f"{left} != {right}", "bool", tight=False)
    if kind == "string" and not any(one.whole and one.text != '""' for one in (left, right)):
        # A text that is not there is empty to n8n; beside a constant with content that makes no difference.
        left, right = (
            one if one.whole else call("coalesce", one, _EMPTY, kind="string", whole=True) for one in (left, right)
        )
    if ignore_case and kind == "string" and not name.lower().endswith("regex"):
        left, right = _lowered(left), _lowered(right)
    return _scalar(name, left, right, ignore_case=ignore_case)


def _is_there(value: Printed, there: bool) -> Printed:
    return Printed(f"{value} {'!=' if there else '=='} null", "bool", tight=False, whole=True)


def _scalar(name: str, left: Printed, right: Printed, *, ignore_case: bool) -> Printed:
    if name == "equals":
        return equal(left, right)
    if name == "notEquals":
        return unequal(left, right)
    if name in _ORDER:
        return Printed(f"{left} {_ORDER[name]} {right}", "bool", tight=False)
    positive = name[3:4].lower() + name[4:] if name.startswith("not") else name
    if positive == "regex":
        made = call("regex_match", left, Printed(_regex(right, ignore_case)), kind="bool")
    elif positive in _TEXT:
        made = call(_TEXT[positive], left, right, kind="bool")
    else:
        raise NoEquivalent(f"the operation {name!r}")
    return made if positive == name else Printed(f"not {certain(made)}", "bool", tight=False, whole=True)


def _of_list(name: str, left: Printed, right: Printed) -> Printed:
    if name in ("contains", "notContains"):
        made = call("contains", left, right, kind="bool")
        return made if name == "contains" else Printed(f"not {certain(made)}", "bool", tight=False, whole=True)
    if name in _LENGTH:
        return Printed(f"{call('length', left)} {_LENGTH[name]} {_number(right)}", "bool", tight=False)
    if name in ("equals", "notEquals"):
        return equal(left, right) if name == "equals" else unequal(left, right)
    raise NoEquivalent(f"the operation {name!r} of lists")


def _boolean(left: Printed, right: Printed) -> Printed:
    """Loosely: what JavaScript takes for true, and texts that say so."""
    if left.kind in ("any", "string"):
        # Texts that say so are read; of everything else JavaScript's truth counts.
        said = f'{left} in ["true", "false"]'
        left = Printed(f"bool({left.text}) if {said} else {certain(truth(left))}", "bool", tight=False)
    elif left.kind != "bool":
        left = truth(left)
    if right.kind == "bool":
        return left if right.text == "true" else Printed(f"not {certain(left)}", "bool", tight=False, whole=True)
    return equal(certain(left), certain(truth(right)))


def _converted(kind: str, value: Printed, *, loose: bool) -> Printed:
    """The value as the type that the condition is of: constants always, others where types are checked loosely."""
    if value.kind == "null":
        return value
    match kind:
        case "number":
            return _number(value, loose=loose)
        case "dateTime":
            return value if value.kind == "time" else call("timestamp", value, kind="time")
        case "string":
            if value.kind == "string":
                return value
            if loose or value.whole:
                return call("coalesce", call("string", value), _EMPTY, kind="string", whole=True)
    return value


def _number(value: Printed, *, loose: bool = False) -> Printed:
    if value.kind == "string" and value.text.startswith('"'):
        text = value.text[1:-1].strip()
        for kind in (int, float):
            try:
                return constant(kind(text))
            except ValueError:
                continue
        if not text:
            return constant(0)
        raise NoEquivalent(f"{text[:40]!r} where a number is expected")
    if loose and value.kind in ("any", "string"):
        return call("double", value, kind="number")
    return value


def _lowered(value: Printed) -> Printed:
    if value.text.startswith('"'):
        return Printed(value.text.lower(), "string", whole=True) if "\\" not in value.text else call(
            "lower", value, kind="string"
        )  # fmt: skip
    return call("lower", value, kind="string")


def _regex(value: Printed, ignore_case: bool) -> str:
    """A pattern, bare or as `/pattern/flags`."""
    if not value.text.startswith('"'):
        raise NoEquivalent("a regular expression that is no constant text")
    text = unquoted(value.text)
    flags = ""
    if text.startswith("/") and (end := text.rfind("/")) > 0 and all(f in "gimsuy" for f in text[end + 1 :]):
        text, flags = text[1:end], "".join(f for f in dict.fromkeys(text[end + 1 :]) if f in "ims")
    if ignore_case and "i" not in flags:
        flags += "i"
    return quoted(checked(f"(?{flags}){text}" if flags else text))


def unquoted(text: str) -> str:
    """The value of a text constant that `quoted` wrote."""
    signs = {"n": "\n", "r": "\r", "t": "\t"}
    made: list[str] = []
    at = 1
    while at < len(text) - 1:
        sign = text[at]
        if sign != "\\":
            made.append(sign)
            at += 1
            continue
        width = {"x": 2, "u": 4, "U": 8}.get(text[at + 1], 0)
        made.append(chr(int(text[at + 2 : at + 2 + width], 16)) if width else signs.get(text[at + 1], text[at + 1]))
        at += 2 + width
    return "".join(made)
