"""Reads exports of n8n: a workflow, a list of them, or what the API and the template site wrap around one.

The file is foreign: its size, its depth and the number of its values are bounded before anything walks through it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from streamflow.workflow.n8n.model import Export, N8nNode, N8nWire, Value
from streamflow.workflow.n8n.problems import ImportRefused

SIZE_BYTES_MAX = 16 << 20
DEPTH_MAX = 100
VALUES_MAX = 500_000
NODES_MAX = 2_000
WIRES_MAX = 10_000
EXPORTS_MAX = 10_000

_OWN = "n8n-nodes-base."
_WRAPPERS = ("workflow", "data", "workflows", "json", "workflowData")
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def read_exports(data: bytes, name: str = "") -> list[Export]:
    """All workflows in a file. `name`: what one without a name is called.

    Raises:
        ImportRefused: the bytes are no JSON, are too large or too deep, or hold no workflow.
    """
    root = _parse(data)
    found = [_export(tree, outer, name) for tree, outer in _workflows(root, "", 0)]
    if not found:
        raise ImportRefused(
            "there is no n8n workflow in the file: nothing in it has a list `nodes`.",
            mend="Export it with Download in n8n's editor, or with `n8n export:workflow`.",
        )
    return found


def _parse(data: bytes) -> Any:
    if len(data) > SIZE_BYTES_MAX:
        raise ImportRefused(
            f"the file has more than {SIZE_BYTES_MAX:,} bytes.", mend="Export the workflows one by one."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImportRefused(f"byte {error.start} is not UTF-8.", mend="Save the file as UTF-8.") from None
    depth = 0
    for sign in _BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(sign[0], 0)
        if depth > DEPTH_MAX:
            raise ImportRefused(f"values are nested more than {DEPTH_MAX} levels deep at character {sign.start():,}.")
    try:
        return _cleaned(json.loads(text, parse_int=_whole, parse_float=_real, parse_constant=_constant))
    except ValueError as error:
        raise ImportRefused(f"the file is no JSON: {error}.") from None
    except RecursionError:
        raise ImportRefused("the file is nested too deeply.") from None


def _whole(text: str) -> int | float | str:
    """Numbers beyond 64 bits are doubles, as in JavaScript."""
    value = int(text) if len(text) < 20 else None
    return value if value is not None and -(2**63) <= value < 2**63 else _real(text)


def _real(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _cleaned(root: Any) -> Any:
    """The same without halves of surrogate pairs, which no text file can hold. Counts values on the way."""
    count = 0

    def clean(value: Any) -> Any:
        nonlocal count
        count += 1
        if count > VALUES_MAX:
            raise ImportRefused(f"the file holds more than {VALUES_MAX:,} values.")
        if isinstance(value, str):
            return _whole_characters(value)
        if isinstance(value, list):
            return [clean(inner) for inner in value]
        if isinstance(value, dict):
            return {_whole_characters(key): clean(inner) for key, inner in value.items()}
        return value

    return clean(root)


def _whole_characters(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _workflows(value: Any, name: str, depth: int) -> list[tuple[Mapping[str, Any], str]]:
    """(workflow, name that what is around it gives) of everything that is a workflow, through known wrappers."""
    if depth > 6:
        return []
    if isinstance(value, list):
        return [one for inner in value[:EXPORTS_MAX] for one in _workflows(inner, name, depth + 1)]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("nodes"), list):
        return [(value, name)]
    named = value.get("name")
    name = named if isinstance(named, str) and named else name
    return [one for key in _WRAPPERS if key in value for one in _workflows(value[key], name, depth + 1)]


def _export(tree: Mapping[str, Any], outer_name: str, file_name: str) -> Export:
    if len(tree["nodes"]) > NODES_MAX:
        raise ImportRefused(f"the workflow has more than {NODES_MAX:,} nodes.")
    unreadable: list[tuple[str, str]] = []
    nodes: list[N8nNode] = []
    for index, raw in enumerate(tree["nodes"]):
        if isinstance(raw, dict):
            nodes.append(_node(raw, index))
        else:
            unreadable.append((f"nodes[{index}]", f"{type(raw).__name__} where a node is expected"))
    by_name: dict[str, int] = {}
    for node in nodes:
        by_name.setdefault(node.name, node.index)
    for node, raw in zip(nodes, (r for r in tree["nodes"] if isinstance(r, dict)), strict=True):
        if isinstance(raw.get("id"), str):  # some tools write ids where n8n writes names
            by_name.setdefault(raw["id"], node.index)
    wires, outputs = _wires(tree.get("connections"), by_name, unreadable)
    name = tree.get("name")
    settings = tree.get("settings")
    return Export(
        name=name if isinstance(name, str) and name.strip() else outer_name or file_name or "imported",
        nodes=tuple(nodes),
        wires=tuple(wires),
        outputs=outputs,
        pinned=_pinned(tree.get("pinData"), unreadable),
        settings=settings if isinstance(settings, dict) else {},
        unreadable=tuple(unreadable),
    )


def _node(raw: Mapping[str, Any], index: int) -> N8nNode:
    full_type = raw["type"] if isinstance(raw.get("type"), str) and raw["type"] else "unknown"
    kind = full_type.removeprefix(_OWN)
    name = raw.get("name")
    parameters = raw.get("parameters")
    on_error = raw.get("onError")
    if not isinstance(on_error, str):
        on_error = "continueRegularOutput" if raw.get("continueOnFail") is True else ""
    notes = raw.get("notes")
    fields = Value(raw)
    return N8nNode(
        index=index,
        name=name if isinstance(name, str) and name else kind.rpartition(".")[2],
        type=kind,
        full_type=full_type,
        version=_version(raw.get("typeVersion")),
        parameters=Value(parameters if isinstance(parameters, dict) else {}, "parameters"),
        credentials=_credentials(raw.get("credentials")),
        position=_position(raw.get("position")),
        notes=notes if isinstance(notes, str) else "",
        disabled=raw.get("disabled") is True,
        on_error=on_error,
        always_output=raw.get("alwaysOutputData") is True,
        execute_once=raw.get("executeOnce") is True,
        retry=raw.get("retryOnFail") is True,
        tries=int(fields["maxTries"].number(3)),
        wait_ms=int(fields["waitBetweenTries"].number(1000)),
    )


def _version(raw: object) -> float:
    if isinstance(raw, list) and raw:
        raw = raw[-1]
    return raw if isinstance(raw, int | float) and not isinstance(raw, bool) and raw > 0 else 1


def _position(raw: object) -> tuple[float, float] | None:
    if isinstance(raw, dict):
        raw = [raw.get("x"), raw.get("y")]
    if isinstance(raw, list) and len(raw) == 2 and all(isinstance(n, int | float) for n in raw):
        return (raw[0], raw[1])
    return None


def _credentials(raw: object) -> dict[str, str]:
    """What for -> id; by older exports, or without an id, the name."""
    found: dict[str, str] = {}
    for what, one in raw.items() if isinstance(raw, dict) else ():
        if isinstance(one, dict):
            one = one.get("id") or one.get("name")
        if isinstance(one, int) and not isinstance(one, bool):
            one = str(one)
        if what and isinstance(one, str) and one:
            found[what] = one
    return found


def _wires(
    raw: object, by_name: Mapping[str, int], unreadable: list[tuple[str, str]]
) -> tuple[list[N8nWire], dict[int, int]]:
    wires: list[N8nWire] = []
    outputs: dict[int, int] = {}
    if raw is not None and not isinstance(raw, dict) and raw != []:
        unreadable.append(("connections", f"{type(raw).__name__} where connections are expected"))
    for source, types in raw.items() if isinstance(raw, dict) else ():
        if not isinstance(types, dict):
            if types:
                unreadable.append((f"connections[{source!r}]", f"{type(types).__name__} where outputs are expected"))
            continue
        for kind, groups in types.items():
            place = f"connections[{source!r}].{kind}"
            if not isinstance(groups, list):
                if groups:
                    unreadable.append((place, f"{type(groups).__name__} where a list of outputs is expected"))
                continue
            if kind == "main" and source in by_name:
                outputs[by_name[source]] = len(groups)
            for output, group in enumerate(groups):
                if isinstance(group, dict):  # one wire where a list of them belongs
                    group = [group]
                for at, end in enumerate(group if isinstance(group, list) else ()):
                    here = f"{place}[{output}][{at}]"
                    if not isinstance(end, dict) or not isinstance(end.get("node"), str):
                        unreadable.append((here, f"{type(end).__name__} without a node"))
                        continue
                    if len(wires) >= WIRES_MAX:
                        raise ImportRefused(f"the workflow has more than {WIRES_MAX:,} connections.")
                    into = end.get("index")
                    wires.append(
                        N8nWire(
                            index=len(wires),
                            source=by_name.get(source),
                            source_name=source,
                            output=output,
                            type=kind,
                            target=by_name.get(end["node"]),
                            target_name=end["node"],
                            input=into if isinstance(into, int) and not isinstance(into, bool) and into >= 0 else 0,
                            place=here,
                        )
                    )
    return wires, outputs


def _pinned(raw: object, unreadable: list[tuple[str, str]]) -> dict[str, list[object]]:
    """Items by node name. Newer exports put each into `json`, older ones do not."""
    found: dict[str, list[object]] = {}
    for name, items in raw.items() if isinstance(raw, dict) else ():
        if not isinstance(items, list):
            unreadable.append((f"pinData[{name!r}]", f"{type(items).__name__} where items are expected"))
            continue
        found[name] = [i["json"] if isinstance(i, dict) and isinstance(i.get("json"), dict) else i for i in items]
    return found
