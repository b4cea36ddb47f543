"""Test cases: `tests` in a document, and `<workflow>.test.yaml` files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as FilePath

from streamflow.sdk.params import BROKEN, Path, spell, suggestion
from streamflow.sdk.places import Diagnostic, Place
from streamflow.workflow.findings import Findings
from streamflow.workflow.model import TestCase, WorkflowDocument
from streamflow.workflow.tree import Tree, parse, plain

KEYS = ("name", "input", "expect")
# What a case may expect besides items of nodes: dead letters as {node, code, item}, and that the workflow stops.
EXPECT_BESIDES_NODES = ("dead_letters", "stopped")
_FORM = "Write {name: …, input: {trigger: [items]}, expect: {node: [items]}}."


def read_cases(tree: Tree, findings: Findings) -> list[TestCase]:
    """The cases of a list; faulty ones are left out."""
    if tree.sequence is None:
        if tree.value is not None and tree.value is not BROKEN:
            findings.report(tree.place, "SF112", f"tests: expected a list, found {spell(tree.value)}.", _FORM)
        return []
    made: list[TestCase] = []
    names: dict[str, Place] = {}
    for item in tree.sequence:
        case = _case(item, findings)
        if case is None:
            continue
        if (first := names.setdefault(case.name, case.place)) is not case.place:
            findings.report(case.place, "SF112", f"test name {spell(case.name)} is already used on line {first.line}.")
        made.append(case)
    return made


def load_cases(document: WorkflowDocument) -> tuple[tuple[TestCase, ...], list[Diagnostic]]:
    """The document's cases and those of the files `<stem>.test.yaml` and `<stem>.*.test.yaml` beside it."""
    findings = Findings()
    cases = list(document.tests)
    source = FilePath(document.source)
    if document.source:
        for file in sorted(source.parent.glob("*.test.yaml")):
            if file.name != f"{source.stem}.test.yaml" and not file.name.startswith(f"{source.stem}."):
                continue
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                findings.report(Place(str(file)), "SF105", f"cannot be read: {error}.")
                continue
            tree, found = parse(text, str(file))
            findings += found
            if tree is not None:
                cases += read_cases(_list_in(tree), findings)
    return tuple(cases), findings


def _list_in(tree: Tree) -> Tree:
    """A test file is a list of cases, or a mapping with `tests`."""
    entries = tree.mapping
    return entries["tests"][1] if entries and set(entries) == {"tests"} else tree


def _case(item: Tree, findings: Findings) -> TestCase | None:
    entries = item.mapping
    if entries is None:
        if item.value is not BROKEN:
            findings.report(item.place, "SF112", f"a test case is a mapping, found {spell(item.value)}.", _FORM)
        return None
    before = len(findings)
    for key, (place, _) in entries.items():
        if key not in KEYS:
            findings.report(place, "SF110", f"unknown key {spell(key)} of a test case.", suggestion(key, KEYS))
    name = entries["name"][1].value if "name" in entries else ""
    if not isinstance(name, str):
        findings.report(entries["name"][1].place, "SF112", f"name: expected text, found {spell(name)}.")
    if "expect" not in entries:
        findings.report(item.place, "SF111", "the test case has no 'expect'.", _FORM)
    places: dict[Path, Place] = {}
    items = {key: _items(entries, key, places, findings) for key in ("input", "expect")}
    if len(findings) > before:
        return None
    return TestCase(
        name=str(name) or f"line {item.place.line}",
        input=items["input"],
        expect=items["expect"],
        place=item.place,
        places=places,
    )


def _items(
    entries: Mapping[str, tuple[Place, Tree]], key: str, places: dict[Path, Place], findings: Findings
) -> dict[str, tuple[object, ...]]:
    """Lists of items by node or port."""
    if key not in entries:
        return {}
    tree = entries[key][1]
    if tree.mapping is None:
        if tree.value is not BROKEN:
            findings.report(
                tree.place, "SF112", f"{key}: expected a mapping of nodes, found {spell(tree.value)}.", _FORM
            )
        return {}
    made: dict[str, tuple[object, ...]] = {}
    for name, (place, inner) in tree.mapping.items():
        places[(key, name)] = place
        if inner.sequence is None:
            if (key, name, inner.value) == ("expect", "stopped", True):
                made[name] = ()
            elif inner.value is not BROKEN:
                findings.report(inner.place, "SF112", f"{key}.{name}: expected a list, found {spell(inner.value)}.")
            continue
        made[name] = tuple(plain(one, (key, name, at), places) for at, one in enumerate(inner.sequence))
    return made


def with_cases(document: WorkflowDocument, cases: tuple[TestCase, ...]) -> WorkflowDocument:
    """The document with other test cases, for `validate` to check them too."""
    return replace(document, tests=cases)
