"""Set (Edit Fields) and Rename Keys."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from streamflow.workflow.n8n.js_tree import Call, Fields, Js, Member, Name
from streamflow.workflow.n8n.made import Made, Mapped
from streamflow.workflow.n8n.model import N8nNode, Value
from streamflow.workflow.n8n.printed import Printed, call, constant, field_of_item, fields, joined, key_of, listed
from streamflow.workflow.n8n.problems import NoEquivalent
from streamflow.workflow.n8n.values import Values, pieces

FIELDS_MAX = 300
_NOTHING = "(nothing)"  # a field that no item has
# Where an expression stands: inside a text of JSON, or by itself.
_HOLE = re.compile("\ue000([0-9]+)\ue001")
_VALUE = re.compile("\ue002([0-9]+)\ue001")
_OLD_KINDS = {"stringValue": "string", "numberValue": "number", "booleanValue": "boolean", "arrayValue": "array",
              "objectValue": "object"}  # fmt: skip


def make_set(node: N8nNode, values: Values) -> Made:
    parameters = node.parameters
    if parameters["duplicateItem"].raw is True:
        raise NoEquivalent("items that are duplicated", path="parameters.duplicateItem")
    new = _new_fields(node, values)
    if len(new) > FIELDS_MAX:
        raise NoEquivalent(f"more than {FIELDS_MAX} fields")
    only, kept, removed = _others(node, values)
    dotted = parameters["options"]["dotNotation"].raw is not False and parameters["mode"].text() != "raw"
    made = _nested(new, only=only) if dotted else {name: value.text for name, value in new.items()}
    if any(not name or name.startswith("@") for name in (*made, *kept, *removed)):
        raise NoEquivalent("a field without a name", path="parameters")
    params: dict[str, object] = {"fields": made} if made else {}
    if only and not kept:
        # `keep: []` makes typed items of untyped ones, which then do not go together with others at the next node. The
        # first new field may stand for what is kept, as it is replaced.
        params["keep"] = list(made)[:1] or [_NOTHING]
        return Made(kind="set", params=params, when_typed={**params, "keep": []})
    if only:
        params["keep"] = kept
    elif removed:
        params["remove"] = removed
    if not params:
        return Made(kind="no-op", notes=("it sets nothing",))
    return Made(kind="set", params=params)


def _new_fields(node: N8nNode, values: Values) -> dict[str, Printed]:
    parameters = node.parameters
    if node.version >= 3 and parameters["mode"].text("manual") in ("raw", "jsonData"):
        return raw_json(parameters["jsonOutput"], values)
    made: dict[str, Printed] = {}
    if parameters["assignments"].raw is not None:
        for one in parameters["assignments"]["assignments"]:
            _put(made, one["name"], _as_kind(one["type"].text("string"), one["value"], values), values)
    elif isinstance(parameters["fields"]["values"].raw, list):
        for one in parameters["fields"]["values"]:
            written = one["type"].text("stringValue")
            _put(made, one["name"], _as_kind(_OLD_KINDS.get(written, "any"), one[written], values), values)
    else:
        for kind in ("string", "number", "boolean", "object", "array"):
            for one in parameters["values"][kind]:
                # The oldest forms convert nothing that an expression gives.
                value = (
                    values.value(one["value"]) if one["value"].is_expression else _as_kind(kind, one["value"], values)
                )
                _put(made, one["name"], value, values)
    return made


def _put(made: dict[str, Printed], name: Value, value: Printed, values: Values) -> None:
    made[values.fixed(name, "a field's name")] = value


def _as_kind(kind: str, value: Value, values: Values) -> Printed:
    """The value as the type that its field is said to have; n8n converts it so."""
    found = values.value(value)
    if value.is_expression:
        return _converted(kind, found)
    raw = value.raw
    match kind:
        case "number":
            return _number(raw, value)
        case "boolean":
            return constant(raw if isinstance(raw, bool) else str(raw).strip().lower() in ("true", "1", "yes"))
        case "array" | "object" if isinstance(raw, str):
            try:
                return constant(json.loads(raw) if raw.strip() else [] if kind == "array" else {})
            except (ValueError, RecursionError):
                raise NoEquivalent("text that is no JSON", path=value.path) from None
        case "string" if not isinstance(raw, str | list | dict) and raw is not None:
            return constant(json.dumps(raw))
    return found


def _number(raw: object, value: Value) -> Printed:
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return constant(raw)
    text = "" if raw is None else str(raw).strip()
    for kind in (int, float):
        try:
            number = kind(text or "0")
        except ValueError:
            continue
        if abs(number) < 2**63:
            return constant(number)
    raise NoEquivalent(f"{text[:40]!r} where a number is expected", path=value.path)


def _converted(kind: str, value: Printed) -> Printed:
    if value.kind == "null":
        return value
    match kind:
        case "string" if value.kind != "string":
            return call("string", value, kind="string")
        case "number" if value.kind in ("any", "string"):
            return Printed(f'double({value.text}) if typeof({value.text}) == "string" else {value}', tight=False)
        case "boolean" if value.kind in ("any", "string"):
            return Printed(f'bool({value.text}) if typeof({value.text}) == "string" else {value}', tight=False)
        case "array" | "object" if value.kind in ("any", "string"):
            return Printed(f'parse_json({value.text}) if typeof({value.text}) == "string" else {value}', tight=False)
    return value


def _others(node: N8nNode, values: Values) -> tuple[bool, list[str], list[str]]:
    """(only some of the input's fields stay, which ones, which ones go)."""
    parameters = node.parameters
    if node.version < 3 and parameters["assignments"].raw is None:
        return parameters["keepOnlySet"].raw is True, [], []
    include = parameters["include"].text()
    if node.version >= 3.3 or parameters["assignments"].raw is not None:
        if parameters["includeOtherFields"].raw is not True and include in ("", "all", "none"):
            # Before includeOtherFields was written, `include` alone said it.
            everything = include == "all" and parameters["includeOtherFields"].raw is None
            return not everything, [], []
        include = include or "all"
    match include or "all":
        case "none":
            return True, [], []
        case "selected":
            return True, values.names_of(parameters["includeFields"], "names of fields"), []
        case "except":
            return False, [], values.names_of(parameters["excludeFields"], "names of fields")
    return False, [], []


def _nested(new: Mapping[str, Printed], *, only: bool) -> dict[str, str]:
    """Fields named `a.b` are put into the object `a`."""
    groups: dict[str, dict[str, Printed] | Printed] = {}
    for name, value in new.items():
        first, dot, rest = name.partition(".")
        if not dot or not first or not rest or any(not part for part in rest.split(".")):
            groups[name] = value
            continue
        inner = groups.setdefault(first, {})
        if isinstance(inner, Printed):
            raise NoEquivalent(f"the field {name!r} beside {first!r}", path="parameters")
        inner[rest] = value
    made: dict[str, str] = {}
    for name, group in groups.items():
        if isinstance(group, Printed):
            made[name] = group.text
        else:
            made[name] = _object(group, None if only else field_of_item(name)).text
    return made


def _object(entries: Mapping[str, Printed], base: Printed | None) -> Printed:
    tops: dict[str, dict[str, Printed] | Printed] = {}
    for name, value in entries.items():
        first, dot, rest = name.partition(".")
        if not dot:
            tops[first] = value
            continue
        inner = tops.setdefault(first, {})
        if isinstance(inner, Printed):
            raise NoEquivalent(f"the field {name!r} beside {first!r}", path="parameters")
        inner[rest] = value
    made = fields(
        (name, one if isinstance(one, Printed) else _object(one, None if base is None else key_of(base, name)))
        for name, one in tops.items()
    )
    if base is None:
        return made
    return call("merge", call("coalesce", base, Printed("{}")), made)


def raw_json(value: Value, values: Values) -> dict[str, Printed]:
    """Fields of JSON that is written out, with expressions in its places or inside its texts."""
    if isinstance(value.raw, dict):
        return {key: values.value(value[key]) for key in value.raw}
    text = value.text("{}")
    try:
        parts: list[str | Js] = pieces(text[1:]) if text.startswith("=") else [text]
        if len([p for p in parts if not isinstance(p, str) or p.strip()]) == 1 and (
            isinstance(only := next(p for p in parts if not isinstance(p, str) or p.strip()), Fields)
        ):
            return {name: values.printer.print(inner) for name, inner in only.fields}
        holes = [p for p in parts if not isinstance(p, str)]
        tree = json.loads(_with_marks(parts))
    except NoEquivalent as error:
        raise NoEquivalent(error.what, path=value.path) from None
    except (ValueError, RecursionError):
        raise NoEquivalent("JSON that is known only as it runs", path=value.path) from None
    if not isinstance(tree, dict):
        raise NoEquivalent("JSON that is no object with fields that are written out", path=value.path)
    try:
        printed = [values.printer.print(hole) for hole in holes]
        whole = [values.printer.print(unquoted(hole)) for hole in holes]
    except NoEquivalent as error:
        raise NoEquivalent(error.what, path=value.path) from None
    return {_plain(key, value): _filled(inner, printed, whole) for key, inner in tree.items()}


def unquoted(tree: Js) -> Js:
    """`JSON.stringify(x)` where JSON is written: x itself."""
    match tree:
        case Call(of=Member(of=Name(name="JSON"), name="stringify"), args=(inner, *_)):
            return inner
        case Call(of=Member(of=inner, name="toJsonString")):
            return inner
    return tree


def _with_marks(parts: list[str | Js]) -> str:
    """JSON in which a mark stands for each expression: text by itself, or part of a text that it stands in."""
    made: list[str] = []
    inside, number = False, 0
    for part in parts:
        if not isinstance(part, str):
            made.append(f"\ue000{number}\ue001" if inside else f'"\ue002{number}\ue001"')
            number += 1
            continue
        at = 0
        while at < len(part):
            if part[at] == "\\":
                made.append(part[at : at + 2])
                at += 2
                continue
            if part[at] == '"':
                inside = not inside
            # A text of JSON may hold no line ends; n8n takes them all the same.
            made.append(part[at] if not inside or part[at] >= " " else json.dumps(part[at])[1:-1])
            at += 1
    return "".join(made)


def _plain(key: str, value: Value) -> str:
    if _HOLE.search(key):
        raise NoEquivalent("a field's name that is an expression", path=value.path)
    return key


def _filled(tree: object, texts: list[Printed], whole: list[Printed]) -> Printed:
    """Marks replaced: `texts` inside a text, `whole` where an expression stands by itself."""
    if isinstance(tree, dict):
        return fields((key, _filled(inner, texts, whole)) for key, inner in tree.items())
    if isinstance(tree, list):
        return listed(_filled(inner, texts, whole) for inner in tree)
    if not isinstance(tree, str):
        return constant(tree)
    if found := _VALUE.fullmatch(tree):
        return whole[int(found[1])]
    parts = _HOLE.split(tree)
    if len(parts) == 1:
        return constant(tree)
    return joined(texts[int(part)] if at % 2 else constant(part) for at, part in enumerate(parts) if at % 2 or part)


def make_rename(node: N8nNode, values: Values) -> Made:
    if node.parameters["additionalOptions"]["regexReplacement"]["replacements"]:
        raise NoEquivalent("renaming by regular expressions", path="parameters.additionalOptions")
    renamed: dict[str, str] = {}
    for one in node.parameters["keys"]["key"]:
        old, new = (values.fixed(one[k], "a field's name") for k in ("currentKey", "newKey"))
        if "." in old or "." in new:
            raise NoEquivalent("renaming inside an object", path=one.path)
        if old and new and old != new:
            renamed[old] = new
    if not renamed:
        return Made(kind="no-op", notes=("it renames nothing",))
    return Made(kind="rename", params={"fields": renamed})


MAPPINGS = (
    Mapped(
        types=("set",), make=make_set, to="set",
        help="Versions 1 to 3: only what is set, or with all or some other fields; dots in names; the mode in which "
        "JSON is written.",
    ),
    Mapped(types=("renameKeys",), make=make_rename, to="rename", help="Not by patterns, not inside objects."),
)  # fmt: skip
