"""docs/nodes from the node classes: `python -m streamflow.nodes.document FOLDER` writes one page a kind and an index.

The pages say what the classes say, so a test can hold them to it. Nothing is written by hand there.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from streamflow.nodes import builtin
from streamflow.sdk.expression import Expression
from streamflow.sdk.node import FunctionRef, Json, Node, ParamSpec, SchemaRef, Template, parameters

_CATEGORIES = {
    "trigger": "Triggers", "action": "Actions", "transform": "Transforms", "condition": "Conditions",
    "split": "Splitting", "merge": "Merging", "control": "Control", "keyed": "Keyed",
}  # fmt: skip
_NOTE = "<!-- Generated from {} by `python -m streamflow.nodes.document docs/nodes`; do not edit. -->"
_WORDS: dict[Any, str] = {
    str: "text", int: "whole number", float: "number", bool: "true or false", Expression: "expression",
    Template: "text with `{{ expression }}`", FunctionRef: "function", SchemaRef: "schema", Json: "any JSON value",
}  # fmt: skip


def render(kind: type[Node]) -> str:
    """The reference page of a node kind, as Markdown."""
    spec = kind.spec
    lines = [_NOTE.format(kind.__module__.replace(".", "/") + ".py"), "", f"# {spec.kind}", "", _text(kind), ""]
    lines += ["## Example", "", "```yaml", spec.example, "```", "", "## Parameters", ""]
    if parameters(kind):
        lines += ["| name | type | default | what |", "|---|---|---|---|", *_rows(kind)]
        for name, form in _forms(kind):
            lines += ["", f"### Each of `{name}`", "", _text(form), ""]
            lines += ["| name | type | default | what |", "|---|---|---|---|", *_rows(form)]
    else:
        lines.append("None.")
    lines += ["", "## Ports", "", "| port | direction | what |", "|---|---|---|"]
    lines += [f"| `{p.name}` | in{', optional' if p.optional else ''} | {p.help or 'Items.'} |" for p in spec.inputs]
    lines += [f"| `{p.name}` | out | {p.help or 'Items.'} |" for p in spec.outputs]
    if spec.can_fail and spec.category != "trigger":
        lines.append("| `error` | out | Items that failed, with `error: {code, message, node}`. |")
    lines += ["", "## Behaviour", "", *_behaviour(kind)]
    if spec.stores:
        lines += ["", "## State", "", "| store | what |", "|---|---|"]
        lines += [f"| `{s.name}` | {s.help} |" for s in spec.stores]
    return "\n".join(lines) + "\n"


def index(kinds: tuple[type[Node], ...]) -> str:
    """The page that lists all kinds by category."""
    lines = [_NOTE.format("the node classes"), "", "# Nodes", ""]
    lines += [
        "Every kind takes items at its input ports and gives items at its output ports. How expressions name the",
        "",
    ]
    lines[-1] = "fields of an item is told in [expressions](../expressions.md)."
    for category, title in _CATEGORIES.items():
        found = sorted((k for k in kinds if k.spec.category == category), key=lambda k: k.spec.kind)
        if found:
            lines += ["", f"## {title}", "", "| kind | what |", "|---|---|"]
            lines += [f"| [{k.spec.kind}]({k.spec.kind}.md) | {_first_sentence(k)} |" for k in found]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """All pages by file name."""
    return {"README.md": index(builtin()), **{f"{kind.spec.kind}.md": render(kind) for kind in builtin()}}


def _behaviour(kind: type[Node]) -> list[str]:
    spec = kind.spec
    lines: list[str] = []
    if spec.category == "trigger":
        lines.append("- Records that do not decode go to the dead letter topic with their original bytes.")
    elif spec.can_fail:
        lines.append("- An item that fails follows the node's error policy; the rest of the batch goes on.")
    else:
        lines.append("- It cannot fail.")
    if spec.one_to_one:
        lines.append("- Each item that goes in comes out once, or fails.")
    if spec.whole_set:
        lines.append(
            "- It acts on whole executions: what one trigger item, file, run or request caused."
            if kind.acts_on_executions is Node.acts_on_executions
            else "- Unless its parameters say otherwise, it acts on whole executions: what one trigger item, file, run "
            "or request caused. All of an execution must get to it together: else the compiler refuses the workflow."
        )
    return lines


def _rows(form: Any) -> list[str]:
    hints = typing.get_type_hints(form)
    return [_row(f, hints[f.name]) for f in parameters(form)]


def _row(field: dataclasses.Field[Any], annotation: Any) -> str:
    spec: ParamSpec = field.metadata["param"]
    if field.default is dataclasses.MISSING:
        default = "required"
    elif field.default is None or field.default == ():
        default = ""
    else:
        default = f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
    bounds = []
    if spec.ge is not None:
        bounds.append(f"at least {spec.ge:,g}")
    if spec.le is not None:
        bounds.append(f"at most {spec.le:,g}")
    tail = f" ({', '.join(bounds)})" if bounds else ""
    return f"| `{field.name}` | {_word(annotation, field.name)} | {default} | {_cell(spec.help)}{tail} |"


def _word(annotation: Any, name: str = "") -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _word(next(a for a in args if a is not type(None)), name)
    if annotation is int and name.endswith("_ms"):
        return "duration (ms, or text such as `5s`)"
    if annotation is Expression and name.endswith("_ms"):
        return "duration (text such as `5s`, or an expression in ms)"
    if annotation in _WORDS:
        return _WORDS[annotation]
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in args)
    if origin is tuple:
        return f"list of {_plural(_word(args[0]))}"
    if origin is Mapping or origin is typing.get_origin(Mapping[str, str]):
        return f"mapping of names to {_plural(_word(args[1]))}"
    return "form"


def _plural(word: str) -> str:
    return word if word in ("text", "any JSON value") or word.startswith(("`", "list")) else f"{word}s"


def _forms(kind: type[Node]) -> list[tuple[str, Any]]:
    """Nested forms of a kind's parameters, by parameter."""
    found = []
    for name, annotation in typing.get_type_hints(kind).items():
        inner = [annotation]
        while inner:
            one = inner.pop()
            inner.extend(typing.get_args(one))
            if isinstance(one, type) and dataclasses.is_dataclass(one) and parameters(one):  # type: ignore[arg-type]
                found.append((name, one))
    return found


def _text(documented: Any) -> str:
    return inspect.cleandoc(documented.__doc__ or "")


def _first_sentence(kind: type[Node]) -> str:
    first = _text(kind).split("\n\n")[0].replace("\n", " ")
    return _cell(first.split(". ")[0].rstrip(".") + ".")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main(folder: str) -> None:
    """Write all pages; pages of kinds that are gone are removed."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in target.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (target / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "docs/nodes")
