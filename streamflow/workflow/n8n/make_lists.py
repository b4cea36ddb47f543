"""Nodes on many items: Limit, Sort, Remove Duplicates, Aggregate, Summarize, Split Out; Item Lists, once all these."""

from __future__ import annotations

import re
from collections.abc import Callable

from streamflow.workflow.n8n.filters import unquoted
from streamflow.workflow.n8n.made import Made, Mapped, Step
from streamflow.workflow.n8n.model import N8nNode, Value
from streamflow.workflow.n8n.printed import Printed, call, constant, key_of, listed, path_of_item
from streamflow.workflow.n8n.problems import NoEquivalent
from streamflow.workflow.n8n.values import Values

DEDUPE_WITHIN = "1h"
DEDUPE_HISTORY = "365d"
_FUNCTIONS = {
    "append": ("collect", "appended"), "average": ("mean", "average"), "concatenate": ("join", "concatenated"),
    "count": ("count", "count"), "countUnique": ("count_distinct", "unique_count"), "max": ("max", "max"),
    "min": ("min", "min"), "sum": ("sum", "sum"),
}  # fmt: skip


def make_limit(node: N8nNode, values: Values) -> Made:
    if node.parameters["keep"].text("firstItems") != "firstItems":
        raise NoEquivalent("the last items of an execution", path="parameters.keep")
    return Made(kind="limit", params={"count": _count(node.parameters["maxItems"], values)})


def _count(value: Value, values: Values) -> int:
    if value.raw is None:
        return 1
    text = values.value(value).text.strip('"').strip()
    if not text.isdigit() or len(text) > 12:
        raise NoEquivalent("a count that is no constant number", path=value.path)
    return int(text)


def make_sort(node: N8nNode, values: Values) -> Made:
    if node.parameters["type"].text("simple") != "simple":
        raise NoEquivalent(f"sorting by {node.parameters['type'].text()}", path="parameters.type")
    by: list[dict[str, object]] = []
    for one in node.parameters["sortFieldsUi"]["sortField"]:
        name = values.fixed(one["fieldName"], "a field's name").strip()
        if not name:
            continue
        down = {"descending": True} if one["order"].text() == "descending" else {}
        value = path_of_item(name)
        # Untyped values: numbers among themselves first, then the others as text without regard to case.
        number = f'double({value}) if typeof({value}) in ["long", "double"] else null'
        by += [{"value": number, **down}, {"value": f"lower(string({value}))", **down}]
    if not by:
        return Made(kind="no-op", notes=("it sorts by nothing",))
    return Made(kind="sort", params={"by": by})


def make_dedupe(node: N8nNode, values: Values) -> Made:
    parameters = node.parameters
    operation = parameters["operation"].text("removeDuplicateInputItems")
    if operation == "removeItemsSeenInPreviousExecutions":
        if parameters["logic"].text("removeItemsWithAlreadySeenKeyValues") != "removeItemsWithAlreadySeenKeyValues":
            raise NoEquivalent("a history of the greatest value", path="parameters.logic")
        key = values.text(parameters["dedupeValue"])
        note = f"it remembers values for {DEDUPE_HISTORY} of event time; n8n remembers a number of them"
        return Made(kind="dedupe", params={"key": key.text, "within": DEDUPE_HISTORY}, notes=(note,))
    if operation not in ("removeDuplicateInputItems", "removeDuplicates"):
        raise NoEquivalent(f"the operation {operation!r}", path="parameters.operation")
    if parameters["options"]["removeOtherFields"].raw is True:
        raise NoEquivalent("fields that are removed besides", path="parameters.options.removeOtherFields")
    compare = parameters["compare"].text("allFields")
    if compare == "selectedFields":
        names = values.names_of(_first(parameters["fieldsToCompare"]), "names of fields")
        what = call("to_json", listed(path_of_item(n) for n in names))
    elif compare == "allFieldsExcept":
        names = values.names_of(_first(parameters["fieldsToExclude"]), "names of fields")
        what = call(
            "to_json", call("omit", Printed("item"), *(constant(n) for n in names)) if names else Printed("item")
        )
    else:
        what = call("to_json", Printed("item"))
    key = call("concat", Printed("meta.execution"), constant("/"), what)
    note = f"duplicates are dropped in each execution, within {DEDUPE_WITHIN} of event time"
    return Made(kind="dedupe", params={"key": key.text, "within": DEDUPE_WITHIN}, notes=(note,))


def _first(value: Value) -> Value:
    """Older versions list fields as `{fields: [{fieldName}]}`."""
    if isinstance(value.raw, dict):
        return Value([one["fieldName"].raw for one in value["fields"]], value.path)
    return value


def make_aggregate(node: N8nNode, values: Values) -> Made:
    parameters = node.parameters
    if parameters["options"]["includeBinaries"].raw is True:
        raise NoEquivalent("binary data", path="parameters.options.includeBinaries")
    if parameters["aggregate"].text("aggregateIndividualFields") == "aggregateAllItemData":
        return _collected(parameters, values)
    if parameters["options"]["mergeLists"].raw is True:
        raise NoEquivalent("lists that are joined", path="parameters.options.mergeLists")
    made: dict[str, object] = {}
    for one in parameters["fieldsToAggregate"]["fieldToAggregate"]:
        path = values.fixed(one["fieldToAggregate"], "a field's name").strip()
        if not path:
            continue
        given = values.fixed(one["outputFieldName"], "a field's name") if one["renameField"].raw is True else ""
        made[given or path.rpartition(".")[2]] = {"function": "collect", "of": _path(path, one).text}
    if not made:
        raise NoEquivalent("no fields to aggregate", path="parameters.fieldsToAggregate")
    notes = () if parameters["options"]["keepMissing"].raw is True else ("missing values stay in lists, as null",)
    return Made(kind="aggregate", params={"fields": made}, notes=notes, typed=True)


def _path(path: str, value: Value) -> Printed:
    """`a.b[0].c`."""
    made = Printed("item")
    for part in path.split("."):
        name, *numbers = re.split(r"\[(\d+)\]", part)
        if "[" in name or "]" in name or (numbers and any(n for n in numbers[1::2])):
            raise NoEquivalent(f"the path {path!r}", path=value.path)
        made = key_of(made, name) if name else made
        for number in numbers[::2]:
            made = call("get", made, Printed(number))
    return made


def _collected(parameters: Value, values: Values) -> Made:
    into = values.fixed(parameters["destinationFieldName"], "a field's name") or "data"
    include = parameters["include"].text("allFields")
    if include == "specifiedFields":
        names = values.names_of(parameters["fieldsToInclude"], "names of fields")
        what = call("pick", Printed("item"), *(constant(n) for n in names)) if names else constant({})
    elif include == "allFieldsExcept":
        names = values.names_of(parameters["fieldsToExclude"], "names of fields")
        what = call("omit", Printed("item"), *(constant(n) for n in names)) if names else Printed("item")
    else:
        return Made(kind="aggregate", params={"into": into}, typed=True)
    return Made(kind="aggregate", params={"fields": {into: {"function": "collect", "of": what.text}}}, typed=True)


def make_summarize(node: N8nNode, values: Values) -> Made:
    parameters = node.parameters
    if parameters["options"]["outputFormat"].text("separateItems") != "separateItems":
        raise NoEquivalent("all groups in one item", path="parameters.options.outputFormat")
    computed: dict[str, object] = {}
    for one in parameters["fieldsToSummarize"]["values"]:
        name = one["aggregation"].text("count")
        if name not in _FUNCTIONS:
            raise NoEquivalent(f"the aggregation {name!r}", path=one.path)
        function, prefix = _FUNCTIONS[name]
        path = values.fixed(one["field"], "a field's name").strip()
        if not path:
            continue
        value = _path(path, one)
        made: dict[str, object] = {"function": function}
        if name in ("average", "sum", "max", "min"):
            made["of"] = f"double({value.text})"
        elif name in ("concatenate", "countUnique"):
            made["of"] = f"string({value.text})"
        else:
            made["of"] = value.text
        if name == "concatenate":
            made["separator"] = _separator(one, values)
        computed[f"{prefix}_{path.replace('.', '_')}"] = made
    if not computed:
        raise NoEquivalent("no fields to summarize", path="parameters.fieldsToSummarize")
    params: dict[str, object] = {}
    if names := values.names_of(parameters["fieldsToSplitBy"], "names of fields"):
        params["by"] = {n.replace(".", "_"): f"string({_path(n, parameters).text})" for n in names}
    notes = ("fields that make groups become text",) if params else ()
    return Made(kind="aggregate", params={**params, "fields": computed}, notes=notes, typed=True)


def _separator(one: Value, values: Values) -> str:
    chosen = one["separateBy"].text(",")
    if chosen != "other":
        return chosen
    text = values.value(one["customSeparator"]).text
    if not text.startswith('"'):
        raise NoEquivalent("a separator that is an expression", path=one.path)
    return unquoted(text)


def make_split(node: N8nNode, values: Values) -> Made:
    parameters = node.parameters
    if parameters["options"]["includeBinary"].raw is True:
        raise NoEquivalent("binary data", path="parameters.options.includeBinary")
    names = values.names_of(parameters["fieldToSplitOut"], "a field's name")
    if len(names) != 1:
        raise NoEquivalent("several lists that are split side by side" if names else "no field to split out",
                           path="parameters.fieldToSplitOut")  # fmt: skip
    path = names[0].removeprefix("$json.")
    include = parameters["include"].text("noOtherFields")
    into = values.fixed(parameters["options"]["destinationFieldName"], "a field's name").strip()
    field = into or path.rpartition(".")[2]
    keep = include != "noOtherFields" or bool(into)
    before: tuple[Step, ...] = ()
    if field != path or include == "selectedOtherFields" or (into and include == "noOtherFields"):
        # The list is brought to the top first, with what stays beside it.
        params: dict[str, object] = {"fields": {field: _path(path, parameters["fieldToSplitOut"]).text}}
        if include == "selectedOtherFields":
            others = values.names_of(parameters["fieldsToInclude"], "names of fields")
            params["keep"] = list(dict.fromkeys([*others, field]))
        elif include == "noOtherFields":
            params["keep"] = [field]
        elif into and "." not in path:
            params["remove"] = [path]
        before = (Step(kind="set", params=params),)
    return Made(kind="split", params={"field": field, **({"keep": True} if keep else {})}, before=before)


_ITEM_LISTS: dict[str, Callable[[N8nNode, Values], Made]] = {
    "splitOutItems": make_split, "aggregateItems": make_aggregate, "concatenateItems": make_aggregate,
    "removeDuplicates": make_dedupe, "sort": make_sort, "limit": make_limit, "summarize": make_summarize,
}  # fmt: skip


def make_item_lists(node: N8nNode, values: Values) -> Made:
    operation = node.parameters["operation"].text("splitOutItems")
    if operation not in _ITEM_LISTS:
        raise NoEquivalent(f"the operation {operation!r}", path="parameters.operation")
    return _ITEM_LISTS[operation](node, values)


MAPPINGS = (
    Mapped(types=("limit",), make=make_limit, to="limit", help="Not the last items."),
    Mapped(types=("sort",), make=make_sort, to="sort", help="By fields: numbers first, then text in any case."),
    Mapped(
        types=("removeDuplicates",), make=make_dedupe, to="dedupe",
        help="In each execution, or over executions by a value. Not by the greatest value so far.",
    ),
    Mapped(
        types=("aggregate",), make=make_aggregate, to="aggregate",
        help="Fields into lists, or whole items into one. Not with lists joined, not with binary data.",
    ),
    Mapped(types=("summarize",), make=make_summarize, to="aggregate", help="An item for each group."),
    Mapped(
        types=("splitOut",), make=make_split, to="split",
        help="One field; before it a `set` where the list lies inside an object, or where only some fields stay.",
    ),
    Mapped(types=("itemLists",), make=make_item_lists, to="split", help="As the node that its operation became."),
)  # fmt: skip
