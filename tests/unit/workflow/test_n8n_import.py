"""Reading exports, the YAML that is written, and what is refused. What nodes become: tests/golden/n8n."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from typer.testing import CliRunner

from streamflow.cli.import_ import check_text
from streamflow.cli.main import app
from streamflow.nodes import registry
from streamflow.sdk.places import Diagnostic, Place
from streamflow.workflow.load import load_text
from streamflow.workflow.n8n import Imported, import_export, read_exports
from streamflow.workflow.n8n.names import node_ids, slug
from streamflow.workflow.n8n.problems import ImportRefused
from streamflow.workflow.n8n.table import MAPPINGS
from streamflow.workflow.n8n.yaml_text import lines_of
from streamflow.workflow.tree import parse, plain


def node(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": f"n8n-nodes-base.{kind}", "typeVersion": 1, "parameters": {}, **more}


def export(nodes: list[dict[str, Any]], *wires: tuple[str, str], **more: Any) -> bytes:
    connections: dict[str, Any] = {}
    for source, target in wires:
        group = connections.setdefault(source, {"main": [[]]})["main"][0]
        group.append({"node": target, "type": "main", "index": 0})
    return json.dumps({"name": "flow", "nodes": nodes, "connections": connections, **more}).encode()


def imported(data: bytes) -> Imported:
    (found,) = read_exports(data, "file")
    return import_export(found, registry().kinds, check_text)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe{}", "byte 0 is not UTF-8"),
        (b"[]", "there is no n8n workflow"),
        (b'{"nodes": {}}', "there is no n8n workflow"),
        (b'{"nodes": [NaN]}', "NaN is no JSON number"),
        (b"[" * 200 + b"]" * 200, "more than 100 levels"),
        (b'{"nodes": [' + b"0," * 500_001 + b"0]}", "more than"),
        (json.dumps({"nodes": [{}] * 2_001}).encode(), "more than 2,000 nodes"),
        (b" " * ((16 << 20) + 1), "more than 16,777,216 bytes"),
    ],
)
def test_a_file_that_is_no_export_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImportRefused, match=message):
        read_exports(data)


def test_quotes_and_brackets_inside_texts_do_not_count_as_depth() -> None:
    (found,) = read_exports(json.dumps({"nodes": [], "name": '[{"' * 500}).encode())
    assert found.name == '[{"' * 500


def test_half_a_character_is_replaced() -> None:
    (found,) = read_exports(b'{"nodes": [{"name": "a\\ud800b", "type": "x"}]}')
    assert found.nodes[0].name == "a\ufffdb"


def test_numbers_beyond_64_bits_are_doubles_as_in_javascript() -> None:
    (found,) = read_exports(b'{"nodes": [{"type": "x", "parameters": {"a": 12345678901234567890123, "b": 1e999}}]}')
    assert found.nodes[0].parameters["a"].raw == 12345678901234567890123.0
    assert found.nodes[0].parameters["b"].raw == "1e999"


def test_all_workflows_of_a_list_are_found() -> None:
    data = json.dumps([{"name": n, "nodes": []} for n in "ab"]).encode()
    assert [e.name for e in read_exports(data)] == ["a", "b"]


def test_ids_are_made_of_names() -> None:
    assert [slug(t) for t in ("Über Straße!", "🚀", "1. First", "a" * 99)] == ["uber-strasse", "", "_1-first", "a" * 48]
    nodes = read_exports(export([node(n, "noOp") for n in ("A", "a", "🚀", "true", "🎉")]))[0].nodes
    assert list(node_ids(nodes).values()) == ["a", "a-2", "noop", "true-2", "noop-2"]


YAML_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
        st.sampled_from(["yes", "007", "- a", "a: b", "a #b", " a", "a ", "a\n", "\n\na\n\n", "\n", "  x\ny", "a\tb\nc",
                         "{{ x }}", "={{ x }}", "\u2028\n", "\ufeffa", "x" * 20_000, " y" * 9_000, "null", "~", "1e5",
                         "a\r\nb", "|", ">-\n x", "'q'", '"', "\\", "%", "@", "`", "?", "(a", "_", "a:"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=6), inner, max_size=4),
    ),
    max_leaves=12,
)  # fmt: skip


@given(YAML_VALUES)
def test_what_is_written_reads_as_it_was(value: object) -> None:
    text = "\n".join(lines_of("key", value, 0)) + "\n"
    tree, findings = parse(text, "<text>")
    assert findings == []
    assert tree is not None
    assert plain(tree) == {"key": value}
    assert YAML(typ="safe", pure=True).load(text) is not None
    assert max(map(len, text.splitlines())) < 60_000


def test_what_the_check_refuses_of_a_node_makes_it_a_stub() -> None:
    """Method: a check that refuses the line of one node until it is a stub."""
    data = export([node("Start", "manualTrigger"), node("Out", "noOp")], ("Start", "Out"))

    def check(text: str) -> list[Diagnostic]:
        lines = text.splitlines()
        at = lines.index("  out:")
        if lines[at + 1] == "    type: stub":
            return []
        return [Diagnostic(place=Place("f", at + 1, 3), code="SF999", message="not that one.")]

    made = import_export(read_exports(data)[0], registry().kinds, check)
    assert made.ok
    assert [(n.outcome, n.why) for n in made.report.nodes] == [("mapped", ""), ("stub", "SF999: not that one.")]


def test_a_check_that_is_never_content_ends_with_its_findings() -> None:
    data = export([node("Start", "manualTrigger"), node("Out", "noOp")], ("Start", "Out"))
    finding = Diagnostic(place=Place("f", 0, 0), code="SF999", message="no.")
    made = import_export(read_exports(data)[0], registry().kinds, lambda text: [finding])
    assert not made.ok
    assert made.findings == (finding,)


def test_pinned_data_that_is_too_large_makes_room() -> None:
    items = [{"json": {"text": "x" * 9_000}} for _ in range(200)]
    data = export([node("Start", "manualTrigger"), node("Out", "noOp")], ("Start", "Out"), pinData={"Start": items})
    made = imported(data)
    assert made.ok
    assert "tests:" not in made.text
    assert made.report.pinned == ["pinned data is left out: with it the document would be too large"]


def test_parameters_that_are_too_many_become_one_text() -> None:
    rows = [{"a": at, "b": [at]} for at in range(15_000)]
    data = export([node("Start", "manualTrigger"), node("Big", "x", parameters={"rows": rows})], ("Start", "Big"))
    made = imported(data)
    assert made.ok
    document, _ = load_text(made.text)
    assert document is not None
    big = document.node("big")
    assert big is not None
    assert json.loads(str(big.params.values["original"])) == {"rows": rows}


def test_a_large_workflow_is_imported_in_seconds() -> None:
    names = [f"n{at}" for at in range(400)]
    nodes = [node("Start", "manualTrigger"), *(node(n, "noOp") for n in names)]
    wires = [("Start", names[0]), *itertools.pairwise(names), *((n, names[-1]) for n in names[:-2:2])]
    begin = time.monotonic()
    made = imported(export(nodes, *wires))
    assert made.ok
    assert time.monotonic() - begin < 60


def test_the_reference_tells_of_every_mapping() -> None:
    from streamflow.workflow.n8n.document import page

    text = (Path(__file__).parents[3] / "docs" / "n8n.md").read_text(encoding="utf-8")
    assert text == page(), "python -m streamflow.workflow.n8n.document --write"
    assert all(kind in text for mapped in MAPPINGS for kind in mapped.types)


def run(*args: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert result.exit_code == code, result.output
    return result


def test_the_command_writes_a_document_that_checks(tmp_path: Path) -> None:
    file, out = tmp_path / "x.json", tmp_path / "x.yaml"
    file.write_bytes(export([node("Start", "manualTrigger"), node("Ask", "httpRequest")], ("Start", "Ask")))
    facts = json.loads(run("import", "n8n", file, "-o", out, "--json").stdout)
    assert facts["ok"]
    assert facts["counts"] == {"nodes": {"mapped": 1, "stub": 1}, "connections": {"connected": 1}}
    assert [d["severity"] for d in facts["diagnostics"]] == ["warning"]
    assert "SF258" in run("check", out).stderr


def test_without_a_file_for_it_the_document_goes_to_stdout(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(export([node("Start", "manualTrigger")]))
    result = run("import", "n8n", file)
    document, findings = load_text(result.stdout)
    assert document is not None
    assert not findings
    assert "1 nodes: 1 mapped" in result.stderr
    assert json.loads(run("import", "n8n", file, "--json").stdout)["document"] == result.stdout


def test_wrong_calls(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("{")
    run("import", "n8n", file, code=1)
    run("import", "n8n", tmp_path / "none.json", code=2)
    run("import", "n8n", tmp_path, code=2)
    file.write_text(json.dumps([{"name": "a", "nodes": []}, {"name": "a", "nodes": []}]))
    run("import", "n8n", file, code=2)
    run("import", "n8n", file, "--workflow", "c", code=2)
    run("import", "n8n", file, "--workflow", "2")
    folder = tmp_path / "out"
    folder.mkdir()
    run("import", "n8n", file, "-o", folder)
    assert sorted(p.name for p in folder.iterdir()) == ["a-2.yaml", "a.yaml"]
