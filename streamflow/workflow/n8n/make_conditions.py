"""If, Filter and Switch."""

from __future__ import annotations

from streamflow.workflow.n8n.filters import new_form, old_form, old_rule
from streamflow.workflow.n8n.made import Made, Mapped
from streamflow.workflow.n8n.model import N8nNode, Value
from streamflow.workflow.n8n.names import slug
from streamflow.workflow.n8n.printed import Printed
from streamflow.workflow.n8n.problems import NoEquivalent
from streamflow.workflow.n8n.values import Values

PORTS_MAX = 64
_TAKEN = frozenset(("error", "records", "default"))


def _condition(node: N8nNode, values: Values) -> Printed:
    """Of an If or a Filter, in whichever form it is written."""
    conditions = node.parameters["conditions"]
    if conditions["conditions"].raw is not None or conditions["combinator"].raw is not None:
        return new_form(conditions, values, **_looseness(node.parameters, node.version, since=2))
    either = node.parameters["combineOperation"].text("all") == "any"
    either = either or node.parameters["combineConditions"].text("AND").upper() == "OR"
    return old_form(conditions, values, any_of=either)


def _looseness(parameters: Value, version: float, *, since: float) -> dict[str, bool]:
    options = parameters["options"]
    loose = parameters["looseTypeValidation"].raw is True or options["looseTypeValidation"].raw is True
    return {"ignore_case": options["ignoreCase"].raw is True, "loose": loose}


def make_if(node: N8nNode, values: Values) -> Made:
    return Made(kind="if", params={"when": _condition(node, values).text}, outputs=("true", "false"))


def make_filter(node: N8nNode, values: Values) -> Made:
    return Made(kind="filter", params={"when": _condition(node, values).text})


def make_switch(node: N8nNode, values: Values) -> Made:
    parameters = node.parameters
    if parameters["mode"].text("rules") == "expression":
        return _by_number(node, values)
    if parameters["rules"]["rules"].raw is not None or node.version < 3:
        return _old_rules(node, values)
    return _new_rules(node, values)


def _by_number(node: N8nNode, values: Values) -> Made:
    """The expression gives the number of the output."""
    parameters = node.parameters
    count = int((parameters["numberOutputs"] if node.version >= 2 else parameters["outputsAmount"]).number(4))
    if not 1 <= count <= PORTS_MAX:
        raise NoEquivalent(f"{count} outputs", path="parameters.numberOutputs")
    number = values.value(parameters["output"])
    ports = tuple(f"out{at}" for at in range(count))
    cases = [{"equals": at, "port": port} for at, port in enumerate(ports)]
    return Made(kind="switch", params={"value": number.text, "cases": cases}, outputs=ports)


def _old_rules(node: N8nNode, values: Values) -> Made:
    """Versions 1 and 2: one value, compared by each rule; rules name their output by number or by key."""
    parameters = node.parameters
    kind = parameters["dataType"].text("number")
    left = values.value(parameters["value1"])
    rules = list(parameters["rules"]["rules"])
    cases: list[dict[str, object]] = []
    ports: list[str] = []
    if node.version >= 2:
        ports = _port_names([rule["outputKey"].text() for rule in rules])
        numbers = list(range(len(rules)))
    else:
        numbers = [int(rule["output"].number(0)) for rule in rules]
        if any(not 0 <= n < PORTS_MAX for n in numbers):
            raise NoEquivalent("an output of that number", path="parameters.rules")
        ports = [f"out{at}" for at in range(max([3, *numbers]) + 1)]
    for rule, number in zip(rules, numbers, strict=True):
        cases.append({"when": old_rule(rule, kind, left, values).text, "port": ports[number]})
    fallback = parameters["fallbackOutput"]
    return _switch(cases, ports, int(fallback.number(-1)) if fallback.text() != "extra" else len(ports))


def _new_rules(node: N8nNode, values: Values) -> Made:
    parameters = node.parameters
    options = parameters["options"]
    rules = list(parameters["rules"]["values"])
    named = [rule["outputKey"].text() if rule["renameOutput"].raw is True else "" for rule in rules]
    ports = _port_names(named)
    looseness = _looseness(parameters, node.version, since=3)
    cases: list[dict[str, object]] = []
    for rule, port in zip(rules, ports, strict=True):
        cases.append({"when": new_form(rule["conditions"], values, **looseness).text, "port": port})
    fallback = options["fallbackOutput"].raw
    number = len(ports) if fallback == "extra" else fallback if isinstance(fallback, int) else -1
    other = slug(options["renameFallbackOutput"].text())
    other = other if other and other not in (*ports, *_TAKEN) else "default"
    return _switch(cases, ports, number, every=options["allMatchingOutputs"].raw is True, other=other)


def _switch(
    cases: list[dict[str, object]], ports: list[str], fallback: int, *, every: bool = False, other: str = "default"
) -> Made:
    """`fallback`: number of the output for what matches nothing; -1 there is none, one beyond the last an extra one,
    which is the port `other`.
    """
    if len(ports) > PORTS_MAX:
        raise NoEquivalent(f"more than {PORTS_MAX} outputs", path="parameters.rules")
    outputs = list(ports)
    params: dict[str, object] = {"cases": cases}
    if fallback >= len(ports):
        outputs.append(other)
        if other != "default":
            params["default"] = other
    elif fallback >= 0:
        params["default"] = ports[fallback]
    if every:
        params["mode"] = "all"
    if not cases:  # nothing matches: all items go by the fallback
        return Made(
            kind="if", params={"when": "false"}, outputs=(*("true" for _ in ports), "false"),
            notes=("a Switch without rules: nothing matches",),
        )  # fmt: skip
    return Made(kind="switch", params=params, outputs=tuple(outputs))


def _port_names(keys: list[str]) -> list[str]:
    """A port for each output: what the user called it, or its number."""
    made: list[str] = []
    for at, key in enumerate(keys):
        name = slug(key) if key and not key.startswith("=") else ""
        if not name or name in _TAKEN or name in made:
            name = f"out{at}" if not name else f"{name}-{at}"
        made.append(name)
    return made


MAPPINGS = (
    Mapped(types=("if",), make=make_if, to="if", help="All versions. `true` and `false` are its outputs 0 and 1."),
    Mapped(types=("filter",), make=make_filter, to="filter", help="All versions."),
    Mapped(
        types=("switch",), make=make_switch, to="switch",
        help="Rules of versions 1 to 3, and the mode in which an expression gives the output's number. Ports are named "
        "as outputs are, else `out0`, `out1`, …; the extra fallback output is `default`.",
    ),
)  # fmt: skip
