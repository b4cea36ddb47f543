"""Parameters of n8n as expressions and templates: fixed values, `={{ … }}`, and text with `{{ … }}` in it."""

from __future__ import annotations

from collections.abc import Mapping

from streamflow.workflow.n8n.js_parse import parse
from streamflow.workflow.n8n.js_tree import Js
from streamflow.workflow.n8n.model import Value
from streamflow.workflow.n8n.printed import NULL, Printed, as_text, constant, fields, joined, listed
from streamflow.workflow.n8n.printer import PRINTED_CHARS_MAX, Names, Printer
from streamflow.workflow.n8n.problems import NoEquivalent

HOLES_MAX = 500


def pieces(text: str) -> list[str | Js]:
    """Text and expressions of what stands behind n8n's `=`. Raises NoEquivalent."""
    made: list[str | Js] = []
    at = 0
    while (start := text.find("{{", at)) >= 0:
        if len(made) > HOLES_MAX:
            raise NoEquivalent(f"a text with more than {HOLES_MAX // 2} expressions in it")
        if start > at:
            made.append(text[at:start])
        tree, at = _hole(text, start + 2)
        if tree is not None:
            made.append(tree)
    if at < len(text):
        made.append(text[at:])
    return made


def _hole(text: str, start: int) -> tuple[Js | None, int]:
    """The expression that begins at `start`, and where it ends. `}}` may stand inside it: the shortest that is one."""
    problem = NoEquivalent("`{{` that is never closed")
    end = start - 1
    for _ in range(4):
        end = text.find("}}", end + 1)
        if end < 0:
            break
        while text.startswith("}}}", end):  # an object that ends where the hole does
            end += 1
        source = text[start:end].strip()
        if not source:
            return None, end + 2
        try:
            return parse(source), end + 2
        except NoEquivalent as error:
            problem = error if problem.what.startswith("`{{`") else problem
    raise problem


class Values:
    """Prints the parameters of one node."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.printer = Printer(names)

    def value(self, value: Value) -> Printed:
        """Any parameter; one that is a whole expression keeps its type. Raises NoEquivalent, with the place."""
        raw = value.raw
        if isinstance(raw, str) and raw.startswith("="):
            return self._short(self._expression(raw[1:], value.path), value.path)
        if isinstance(raw, list):
            return listed(self.value(inner) for inner in value)
        if isinstance(raw, Mapping):
            return fields((key, self.value(value[key])) for key in raw)
        return self.names.constant(raw)

    def code(self, source: str, path: str) -> Printed:
        """A bare JavaScript expression."""
        try:
            return self._short(self.printer.print(parse(source)), path)
        except NoEquivalent as error:
            raise NoEquivalent(error.what, path=error.path or path) from None

    def text(self, value: Value) -> Printed:
        """The same as text, null as empty text."""
        return as_text(self.value(value))

    def fixed(self, value: Value, what: str) -> str:
        """A text that may be no expression: the name of a field, a topic. Raises NoEquivalent."""
        raw = value.raw
        if isinstance(raw, str) and raw.startswith("="):
            found = self.value(value)
            inner = found.text
            if found.kind == "string" and inner.startswith('"') and inner.endswith('"') and "\\" not in inner:
                return inner[1:-1]
            raise NoEquivalent(f"{what} that is an expression", path=value.path)
        return "" if raw is None else str(raw)

    def names_of(self, value: Value, what: str) -> list[str]:
        """Fields named as `a, b`, or as a list."""
        if isinstance(value.raw, list):
            return [text for one in value if (text := self.fixed(one, what).strip())]
        return [text for one in self.fixed(value, what).split(",") if (text := one.strip())]

    def _expression(self, text: str, path: str) -> Printed:
        try:
            found = pieces(text)
            if not found:
                return NULL if "{{" in text else constant("")
            if len(found) == 1 and not isinstance(found[0], str):
                return self.printer.print(found[0])
            return joined(self.names.constant(p) if isinstance(p, str) else self.printer.print(p) for p in found)
        except NoEquivalent as error:
            raise NoEquivalent(error.what, path=error.path or path) from None

    def _short(self, printed: Printed, path: str) -> Printed:
        if len(printed.text) > PRINTED_CHARS_MAX:
            raise NoEquivalent(f"an expression that would have {len(printed.text):,} characters", path=path)
        return printed
