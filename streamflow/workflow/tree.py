"""YAML text as a tree of plain values that know their places. Hostile text is refused, never followed.

Built from ruamel's events without recursion. Anchors, aliases, merge keys, tags and second documents are findings, as
are keys that occur twice; what is faulty becomes `BROKEN`, so that nobody reports it again. Scalars follow YAML 1.2:
only `true`, `false`, `null`, `~`, integers and decimal numbers are not text; `yes`, `on` and dates stay text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from streamflow.sdk.params import BROKEN, KEY, Path
from streamflow.sdk.places import Diagnostic, Place
from streamflow.workflow.findings import Findings
from streamflow.workflow.scanner import ExpressionScanner

SIZE_BYTES_MAX = 1 << 20
DEPTH_MAX = 64
NODES_MAX = 50_000
LINE_CHARS_MAX = 65_536

_INTEGER = re.compile(r"[-+]?[0-9]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))


@dataclass(slots=True)
class Tree:
    """A value: scalar, list of trees, mapping of name to (key's place, tree), or BROKEN.

    `place` is where it starts, `text` where its text starts (past a quote, on the first line of a block).
    """

    value: object
    place: Place
    text: Place
    plain: bool = False  # an unquoted scalar
    flow: bool = False  # a mapping in braces

    @property
    def mapping(self) -> dict[str, tuple[Place, Tree]] | None:
        return self.value if isinstance(self.value, dict) else None

    @property
    def sequence(self) -> list[Tree] | None:
        return self.value if isinstance(self.value, list) else None


def plain(tree: Tree, path: Path = (), places: dict[Path, Place] | None = None) -> object:
    """The tree as plain JSON values; `places` takes the place of every value and key under `path`."""
    if places is not None:
        places[path] = tree.text
    if (entries := tree.mapping) is not None:
        if places is not None:
            places.update({(*path, name, KEY): key for name, (key, _) in entries.items()})
        return {name: plain(inner, (*path, name), places) for name, (_, inner) in entries.items()}
    if (items := tree.sequence) is not None:
        return [plain(inner, (*path, at), places) for at, inner in enumerate(items)]
    return tree.value


def parse(text: str, file: str) -> tuple[Tree | None, list[Diagnostic]]:
    """The document in `text`; None if there is none or its YAML is broken. All findings that can be had."""
    reader = _Reader(text, file)
    try:
        return reader.read(), reader.findings
    except _Refused:
        return None, reader.findings


class _Refused(Exception):  # ends reading; the finding was recorded
    pass


@dataclass(slots=True)
class _Open:
    """A collection that is being read. `key` is the mapping key whose value comes next."""

    tree: Tree
    name: str = ""  # the key that this collection is the value of
    key: tuple[str | None, Place] | None = None  # (None, …): reported, its value is dropped
    merged: bool = False  # it has a merge key: what it should hold is not known


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.lines = text.splitlines()
        self.findings = Findings()
        self.root: Tree | None = None
        self.open: list[_Open] = []

    def refuse(self, place: Place, code: str, message: str, mend: str = "") -> _Refused:
        self.findings.report(place, code, message, mend)
        return _Refused()

    def place(self, mark: object) -> Place:
        return Place(self.file, mark.line + 1, mark.column + 1)  # type: ignore[attr-defined]

    def read(self) -> Tree | None:
        self._check_size()
        yaml = YAML(typ="safe", pure=True)
        yaml.Scanner = ExpressionScanner
        nodes = documents = 0
        try:
            for event in yaml.parse(self.text):
                if isinstance(event, DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        raise self.refuse(
                            self.place(event.start_mark),
                            "SF102",
                            "a second document starts here.",
                            "Use one file each.",
                        )
                elif isinstance(event, NodeEvent):
                    nodes += 1
                    if nodes > NODES_MAX:
                        where = self.place(event.start_mark)
                        raise self.refuse(where, "SF104", f"the document has more than {NODES_MAX:,} values.")
                    self._node(event)
                elif isinstance(event, CollectionEndEvent):
                    self._close()
        except MarkedYAMLError as error:
            raise self._syntax(error) from None
        except YAMLError as error:  # characters that YAML does not allow
            raise self._character(error) from None
        return self.root

    def _check_size(self) -> None:
        size = len(self.text.encode("utf-8", errors="replace"))
        if size > SIZE_BYTES_MAX:
            raise self.refuse(
                Place(self.file, 1, 1), "SF104", f"the document has {size:,} bytes, more than {SIZE_BYTES_MAX:,}."
            )
        for number, line in enumerate(self.lines, start=1):
            if len(line) > LINE_CHARS_MAX:
                where = Place(self.file, number, LINE_CHARS_MAX)
                raise self.refuse(where, "SF104", f"the line has more than {LINE_CHARS_MAX:,} characters.")

    def _node(self, event: NodeEvent) -> None:
        tree = self._tree(event)
        name = ""
        if self.open:
            name = self._add(self.open[-1], tree, event)
        else:
            self.root = tree
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            if len(self.open) >= DEPTH_MAX:
                raise self.refuse(tree.place, "SF104", f"the document nests deeper than {DEPTH_MAX} levels.")
            self.open.append(_Open(tree, name))

    def _tree(self, event: NodeEvent) -> Tree:
        place = self.place(event.start_mark)
        if isinstance(event, AliasEvent):
            self.findings.report(place, "SF102", f"alias *{event.anchor} is not accepted.", "Write the value out.")
            return Tree(BROKEN, place, place)
        # With an anchor or a tag the event starts there, not at the value.
        if event.anchor is not None:
            self.findings.report(place, "SF102", f"anchor &{event.anchor} is not accepted.", "Remove it.")
        if _tag(event):
            self.findings.report(
                place, "SF102", f"tag {_tag(event)} is not accepted.", "Remove it; quote a value to make it text."
            )
        if isinstance(event, MappingStartEvent):
            return Tree({}, place, place, flow=bool(event.flow_style))
        if isinstance(event, SequenceStartEvent):
            return Tree([], place, place)
        assert isinstance(event, ScalarEvent)
        if _tag(event):
            return Tree(BROKEN, place, place)
        if event.style is None:
            return Tree(_scalar(event.value), place, place, plain=True)
        return Tree(self._joined(event.value, place), place, self._text_place(place, event))

    def _joined(self, text: str, place: Place) -> object:
        """Text with escaped surrogate pairs (as JSON writes them) made whole; half a pair is no text."""
        if not any("\ud800" <= char <= "\udfff" for char in text):
            return text
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self.findings.report(
                place, "SF101", "this is no YAML: half of a surrogate pair is no character.", "Remove it."
            )
            return BROKEN

    def _text_place(self, place: Place, event: ScalarEvent) -> Place:
        if event.style in ("'", '"'):
            return place.moved(1)
        for number in range(place.line, min(place.line + 20, len(self.lines))):  # a block: its first line with text
            if self.lines[number].strip():
                return Place(self.file, number + 1, len(self.lines[number]) - len(self.lines[number].lstrip()) + 1)
        return place

    def _add(self, parent: _Open, tree: Tree, event: NodeEvent) -> str:
        """Put a value into its collection; returns the key it stands under."""
        if (items := parent.tree.sequence) is not None:
            items.append(tree)
            return ""
        entries = parent.tree.mapping
        assert entries is not None
        if parent.key is None:
            parent.key = (self._key(parent, entries, tree, event), tree.place)
            return ""
        (name, place), parent.key = parent.key, None
        if name is not None:
            entries[name] = (place, tree)
        return name or ""

    def _key(
        self, parent: _Open, entries: Mapping[str, tuple[Place, Tree]], tree: Tree, event: NodeEvent
    ) -> str | None:
        """Name of a key, or None if it may not stand here (reported)."""
        if tree.value is BROKEN:
            return None
        if not isinstance(event, ScalarEvent):
            if not any(_is_cut(value) for _, value in entries.values()):
                self.findings.report(tree.place, "SF112", "a key must be text.", "Quote it.")
            return None
        name = str(event.value)
        if name == "<<" and tree.plain:
            self.findings.report(tree.place, "SF102", "merge key << is not accepted.", "Write the keys out.")
            parent.merged = True
            return None
        if name in entries:
            line = entries[name][0].line
            if parent.name == "nodes" and len(self.open) == 2:
                self.findings.report(
                    tree.place, "SF114", f"node id {name!r} is already used on line {line}.", "Rename one of them."
                )
            else:
                self.findings.report(
                    tree.place, "SF103", f"key {name!r} is already there on line {line}.", "Remove one of them."
                )
            return None
        return name

    def _close(self) -> None:
        closed = self.open.pop()
        if closed.tree.flow:
            self._check_commas(closed.tree)
        if closed.merged:
            closed.tree.value = BROKEN

    def _check_commas(self, tree: Tree) -> None:
        """`{when: max(a, b) > 3}` is `{when: "max(a", "b) > 3": null}` to YAML: report it once, as what was meant."""
        entries = tree.mapping
        assert entries is not None
        cut = ""  # the key whose expression a comma cut
        for name, (place, value) in list(entries.items()):
            if cut and value.plain and value.value is None:
                del entries[name]
                cut = "" if name.count(")") > name.count("(") else cut
                continue
            cut = ""
            if _is_cut(value):
                cut = name
                self.findings.report(
                    value.place,
                    "SF107",
                    f"the comma ends the value of {name!r}, leaving {value.value!r}.",
                    f"Quote the whole value: {name}: '…'.",
                )
                entries[name] = (place, Tree(BROKEN, value.place, value.text))

    def _syntax(self, error: MarkedYAMLError) -> _Refused:
        mark = error.problem_mark or error.context_mark
        place = self.place(mark) if mark is not None else Place(self.file, 1, 1)
        before = len(self.findings)
        for opened in self.open:
            if opened.tree.flow and opened.tree.mapping is not None:
                self._check_commas(opened.tree)
        if len(self.findings) > before:
            return _Refused()
        problem = str(error.problem or error.context or "not YAML")
        line = self.lines[place.line - 1] if 0 < place.line <= len(self.lines) else ""
        mend = "Quote text that has YAML's own characters in it, such as ': ', '#', brackets or a leading quote."
        if "\\t" in problem or line[: place.column].lstrip(" ").startswith("\t"):
            mend = "Indent with spaces, not tabs."
        elif "end of stream" in problem:
            start = error.context_mark
            mend = f"Opened on line {start.line + 1}." if start is not None else mend
        return self.refuse(place, "SF101", f"this is no YAML: {problem}.", mend)

    def _character(self, error: YAMLError) -> _Refused:
        at = getattr(error, "position", None)
        place = Place(self.file, 1, 1)
        if isinstance(at, int) and at <= len(self.text):
            before = self.text[:at]
            place = Place(self.file, before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1)
        return self.refuse(place, "SF101", "this is no YAML: a control character stands here.", "Remove it.")


def _is_cut(value: Tree) -> bool:
    """Whether unquoted text ends inside round brackets."""
    return value.plain and isinstance(value.value, str) and value.value.count("(") > value.value.count(")")


def _tag(event: NodeEvent) -> str:
    """The tag that was written on a value, or ""."""
    tag = str(getattr(event, "ctag", None) or "")
    return tag.replace("tag:yaml.org,2002:", "!!", 1)


def _scalar(text: str) -> object:
    """Value of an unquoted scalar."""
    if text in _NULLS:
        return None
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if len(text) <= 400 and _FLOAT.fullmatch(text):
        value = float(text)
        return value if abs(value) != float("inf") else text
    return text


def entries_of(tree: Tree) -> Mapping[str, tuple[Place, Tree]]:
    """Entries of a mapping; empty for anything else."""
    return tree.mapping or {}
