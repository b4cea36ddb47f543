"""n8n's own names in expressions: `$json`, `$('Node')`, `$node["Node"]`, `$input`, `$now`, `$vars` and others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamflow.workflow.n8n.js_tree import Call, Index, Js, Literal, Member, Name
from streamflow.workflow.n8n.printed import Printed, call, constant, key_of
from streamflow.workflow.n8n.problems import NoEquivalent

if TYPE_CHECKING:
    from streamflow.workflow.n8n.printer import Names

_CLOCK = "the clock became the time of the event (`meta.timestamp`), so that a replay gives the same"
_ONE = "{} became the value that belongs to the item; that is the same where the node gives one item"
_NONE = {
    "$binary": "binary data", "$itemIndex": "the number of an item ($itemIndex)",
    "$runIndex": "the number of a loop's run ($runIndex)", "$prevNode": "the node before ($prevNode)",
    "$parameter": "parameters of the node ($parameter)", "$nodeVersion": "$nodeVersion", "$secrets": "secrets",
    "$position": "the number of an item ($position)", "$self": "$self", "$resumeWebhookUrl": "a resume address",
    "$credentials": "credentials in expressions", "$response": "a response", "$request": "a request",
    "$pageCount": "a number of pages", "$nodeId": "$nodeId", "$agentInfo": "$agentInfo", "$tool": "$tool",
}  # fmt: skip
ITEM = Printed("item")
NOW = Printed("meta.timestamp", "time")


def rooted(tree: Js, names: Names) -> Printed | None:
    """What a name of n8n's, or a chain that begins with one, stands for; None where it is none. Raises NoEquivalent."""
    match tree:
        case Name(name=name):
            return _name(name, names)
        case Member(of=Name(name="$input"), name="item"):
            return None
        case Member(of=of, name="json") if (found := _json(of, names)) is not None:
            return found
        case Member(of=Name(name="$vars" | "$env" as where), name=name):
            return _variable(where, name, names)
        case Index(of=Name(name="$vars" | "$env" as where), key=Literal(value=str(name))):
            return _variable(where, name, names)
        case Member(of=Name(name="$execution"), name=name):
            return _execution(name)
        case Member(of=Name(name="$workflow"), name=name):
            return _workflow(name, names)
        case Member(of=Name(name="$item"), name=name):
            raise NoEquivalent(f"$item.{name}")
        case Call(of=Member(of=Name(name="$input"), name="all")):
            raise NoEquivalent("all items of the input ($input.all())")
        case Call(of=Member(of=of, name="all")) if node_of(of) is not None:
            raise NoEquivalent(f"all items of a node ($('{node_of(of)}').all())")
        case Member(of=of, name=name) if (node := node_of(of)) is not None:
            raise NoEquivalent(f"`.{name}` of the node {node!r}")
        case Call(of=Name(name="$items")):
            raise NoEquivalent("all items of a node ($items())")
    return None


def node_of(tree: Js) -> str | None:
    """The name of the node that `$('Node')`, `$node["Node"]` or `$node.Node` stands for."""
    match tree:
        case Call(of=Name(name="$"), args=(Literal(value=str(name)),)):
            return name
        case Index(of=Name(name="$node"), key=Literal(value=str(name))):
            return name
        case Member(of=Name(name="$node"), name=name):
            return name
        case Index(of=Member(of=Call(of=Name(name="$item")), name="$node"), key=Literal(value=str(name))):
            return name
    return None


def _name(name: str, names: Names) -> Printed | None:
    if name in ("$json", "$data"):
        return ITEM
    if name in ("$now", "$today"):
        names.note(_CLOCK)
        return NOW if name == "$now" else call("truncate", NOW, constant("day"), kind="time")
    if name == "$runIndex" and names.loops:
        return Printed("loop.index", "number")
    if name in _NONE:
        raise NoEquivalent(_NONE[name])
    if name.startswith("$"):
        raise NoEquivalent(f"{name!r}")
    return None


def _json(of: Js, names: Names) -> Printed | None:
    """The item that `.json` belongs to, of this node or of another; None where it is a field of that name."""
    match of:
        case Member(of=Name(name="$input"), name="item") | Name(name="$item"):
            return ITEM
        case Call(of=Member(of=Name(name="$input"), name="first" | "last" as which)):
            names.note(_ONE.format(f"$input.{which}()"))
            return ITEM
        case Index(of=Call(of=Name(name="$items"), args=()), key=Literal(value=0)):
            names.note(_ONE.format("$items()[0]"))
            return ITEM
        case Index(of=Call(of=Member(of=Name(name="$input"), name="all")), key=Literal(value=0)):
            names.note(_ONE.format("$input.all()[0]"))
            return ITEM
        case Index(of=Call(of=Name(name="$items"), args=(Literal(value=str(given)), *_)), key=Literal(value=0)):
            names.note(_ONE.format(f"$items({given!r})[0]"))
            return _node(given, names)
        case Member(of=inner, name="item") if (name := node_of(inner)) is not None:
            return _node(name, names)
        case Call(of=Member(of=inner, name="first" | "last" as which)) if (name := node_of(inner)) is not None:
            names.note(_ONE.format(f"$('{name}').{which}()"))
            return _node(name, names)
        case Call(of=Member(of=inner, name="itemMatching")) if (name := node_of(inner)) is not None:
            names.note(_ONE.format(f"$('{name}').itemMatching()"))
            return _node(name, names)
        case Index(of=Call(of=Member(of=inner, name="all")), key=Literal(value=0)) if (
            name := node_of(inner)
        ) is not None:
            names.note(_ONE.format(f"$('{name}').all()[0]"))
            return _node(name, names)
    if (name := node_of(of)) is not None:
        return _node(name, names)
    return None


def _node(name: str, names: Names) -> Printed:
    found = names.nodes.get(name)
    if found is None:
        raise NoEquivalent(f"the node {name!r}, which is not in the workflow or has no items of its own")
    return key_of(Printed("nodes"), found)


def _variable(where: str, name: str, names: Names) -> Printed:
    names.vars.setdefault(name, f"{where}.{name}")
    return Printed(key_of(Printed("vars"), name).text, "string", whole=True)


def _execution(name: str) -> Printed:
    if name == "id":
        return Printed("meta.execution", "string")
    raise NoEquivalent(f"$execution.{name}")


def _workflow(name: str, names: Names) -> Printed:
    if name in ("name", "id"):
        return constant(names.workflow_name)
    if name == "active":
        return constant(True)
    raise NoEquivalent(f"$workflow.{name}")
