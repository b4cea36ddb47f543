"""Merge, in all of its versions."""

from __future__ import annotations

from streamflow.workflow.n8n.made import Made, Mapped
from streamflow.workflow.n8n.model import N8nNode, Value
from streamflow.workflow.n8n.printed import path_of_item
from streamflow.workflow.n8n.problems import NoEquivalent
from streamflow.workflow.n8n.values import Values

_JOINS = {"keepMatches": "inner", "keepEverything": "outer", "enrichInput1": "left", "enrichInput2": "left"}
_CLASH = "of fields that both items have, {side} keeps its name"


def make_merge(node: N8nNode, values: Values) -> Made:
    if node.version < 2:
        return _first_version(node, values)
    parameters = node.parameters
    mode = parameters["mode"].text("append")
    inputs, advanced = parameters["numberInputs"].number(2), parameters["advanced"].raw is True
    if mode == "append":
        return Made(kind="merge", inputs=("in",))
    if mode == "chooseBranch":
        if parameters["output"].text("specifiedInput") in ("empty",):
            raise NoEquivalent("an empty item once all inputs have come", path="parameters.output")
        return _one_of(_input_number(parameters))
    if mode != "combine":
        raise NoEquivalent(f"the mode {mode!r}", path="parameters.mode")
    if inputs > 2:
        raise NoEquivalent("more than two inputs that are combined", path="parameters.numberInputs")
    how = parameters["combineBy"].text() or {
        "mergeByFields": "combineByFields", "mergeByPosition": "combineByPosition", "multiplex": "combineAll",
    }.get(parameters["combinationMode"].text("mergeByFields"), "")  # fmt: skip
    if not parameters["combineBy"].text() and node.version >= 3:
        how = "combineByFields"
    suffixes, note = _suffixes(parameters["options"])
    if how == "combineByPosition":
        join = {"join": "outer"} if parameters["options"]["includeUnpaired"].raw is True else {}
        return _combined("combine_by_position", {**join, **suffixes}, note)
    if how == "combineAll":
        return _combined("combine_all", suffixes, note)
    if how == "combineByFields":
        return _by_fields(parameters, values, suffixes, note, advanced=advanced)
    raise NoEquivalent(f"combining by {how!r}", path="parameters.combineBy")


def _input_number(parameters: Value) -> int:
    chosen = parameters["useDataOfInput"].raw
    if isinstance(chosen, str):
        chosen = chosen.removeprefix("input")
    if chosen is None:
        chosen = parameters["output"].text("input1").removeprefix("input") or 1
        chosen = chosen if str(chosen).isdigit() else 1
    if not str(chosen).isdigit() or not 1 <= int(str(chosen)) <= 20:
        raise NoEquivalent("a number of an input that is an expression", path="parameters.useDataOfInput")
    return int(str(chosen))


def _one_of(number: int) -> Made:
    """The items of one input. The others are only waited for, and nothing here waits for what it does not read."""
    inputs = tuple("in" if at == number - 1 else "" for at in range(max(number + 1, 2)))
    return Made(
        kind="no-op", inputs=inputs, unwired="its items are not used: n8n only waits for them",
        notes=(f"it hands on input {number}",),
    )  # fmt: skip


def _by_fields(parameters: Value, values: Values, suffixes: dict[str, object], note: str, *, advanced: bool) -> Made:
    join_mode = parameters["joinMode"].text("keepMatches")
    if join_mode not in _JOINS:
        raise NoEquivalent("items without a partner alone", path="parameters.joinMode")
    if join_mode == "keepMatches" and parameters["outputDataFrom"].text("both") != "both":
        raise NoEquivalent("matching items of one input alone", path="parameters.outputDataFrom")
    if parameters["options"]["multipleMatches"].text("all") != "all":
        raise NoEquivalent("the first match alone", path="parameters.options.multipleMatches")
    pairs: list[tuple[str, str]] = []
    if parameters["fieldsToMatchString"].raw and not advanced:
        pairs = [(n, n) for n in values.names_of(parameters["fieldsToMatchString"], "names of fields")]
    else:
        for one in parameters["mergeByFields"]["values"]:
            left, right = (values.fixed(one[k], "a field's name").strip() for k in ("field1", "field2"))
            if left or right:
                pairs.append((left or right, right or left))
    if not pairs:
        raise NoEquivalent("no fields to match", path="parameters.fieldsToMatchString")
    swapped = join_mode == "enrichInput2"
    if swapped:
        pairs = [(right, left) for left, right in pairs]
    params = _keys(pairs) | ({"join": _JOINS[join_mode]} if _JOINS[join_mode] != "inner" else {}) | suffixes
    return _combined("combine_by_key", params, note, swapped=swapped)


def _keys(pairs: list[tuple[str, str]]) -> dict[str, object]:
    made: dict[str, object] = {"keys": [path_of_item(left).text for left, _ in pairs]}
    if any(left != right for left, right in pairs):
        made["right_keys"] = [path_of_item(right).text for _, right in pairs]
    return made


def _suffixes(options: Value) -> tuple[dict[str, object], str]:
    """What becomes of fields that both items have; the second input's win, unless it is said otherwise."""
    clash = options["clashHandling"]["values"]["resolveClash"].text("preferLast")
    if clash == "addSuffix":
        return {"left_suffix": "_1", "right_suffix": "_2"}, "only fields that both items have get a suffix"
    if clash in ("preferInput1", "preferFirst"):
        return {}, f"{_CLASH.format(side='input 1')}; that of input 2 gets `_right`"
    return (
        {"left_suffix": "_left", "right_suffix": ""},
        f"{_CLASH.format(side='input 2')}; that of input 1 gets `_left`",
    )


def _combined(mode: str, params: dict[str, object], note: str, *, swapped: bool = False) -> Made:
    inputs = ("right", "left") if swapped else ("left", "right")
    return Made(kind="merge", params={"mode": mode, **params}, inputs=inputs, notes=(note,) if note else ())


def _first_version(node: N8nNode, values: Values) -> Made:
    parameters = node.parameters
    mode = parameters["mode"].text("append")
    suffixes, note = _suffixes(Value({}))
    match mode:
        case "append":
            return Made(kind="merge", inputs=("in",))
        case "passThrough":
            return _one_of(2 if parameters["output"].text("input1") == "input2" else 1)
        case "multiplex":
            return _combined("combine_all", suffixes, note)
        case "mergeByIndex":
            return _combined("combine_by_position", {"join": parameters["join"].text("left"), **suffixes}, note)
        case "mergeByKey":
            left, right = (values.fixed(parameters[k], "a field's name") for k in ("propertyName1", "propertyName2"))
            if not left or not right:
                raise NoEquivalent("no fields to match", path="parameters.propertyName1")
            return _combined("combine_by_key", {**_keys([(left, right)]), "join": "left", **suffixes}, note)
    raise NoEquivalent(f"the mode {mode!r}", path="parameters.mode")


MAPPINGS = (
    Mapped(
        types=("merge",), make=make_merge, to="merge",
        help="Versions 1 to 3: append, combine by position, by fields (matches, everything, enrich), all combinations. "
        "Choosing a branch and passing one through are a `no-op` behind that input. Not by SQL, not what has no "
        "partner alone, not more than two inputs that are combined.",
    ),
)  # fmt: skip
