"""Sub-flows: what a file gives in the place of a node, and which files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamflow.compiler import compile_document
from streamflow.compiler.renaming import renamed
from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.plan import Topology
from streamflow.workflow import load

OUTER = """
workflow: outer
nodes:
  start: {type: event, topic: in, format: json}
  sub: {type: sub-flow, workflow: inner.yaml%s}
  end: {type: no-op}
connections: [start -> sub -> end]
"""
INNER = """
workflow: inner
vars: {by: 2}
nodes:
  given: {type: sub-flow-trigger}
  double: {type: set, fields: {n: long(n) * vars.by}}
  result: {type: return}
connections: [given -> double -> result]
"""


def compiled(folder: Path, **files: str) -> tuple[Topology | None, list[str]]:
    """`outer` and other files by name; what is found, less the folder."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    document, findings = load(folder / "outer.yaml")
    assert document is not None, findings
    topology, found = compile_document(document, registry())
    return topology, [str(f).replace(f"{folder}/", "") for f in (*findings, *found) if f.severity == "error"]


def given(folder: Path, items: list[object], **files: str) -> TopologyDriver:
    topology, found = compiled(folder, **files)
    assert topology is not None, found
    driver = TopologyDriver(topology, nodes=registry())
    driver.feed("start", items)
    return driver


def test_the_nodes_of_the_file_stand_in_the_place_of_the_node(tmp_path: Path) -> None:
    driver = given(tmp_path, [{"n": 1}, {"n": 2}, {"n": "x"}], outer=OUTER % "", inner=INNER)
    assert driver.items("end") == [{"n": 2}, {"n": 4}]
    assert [d["node"] for d in driver.dead_letters()] == ["sub.double"]
    assert [n.id for n in driver.topology.stages[0].nodes] == ["sub.given", "sub.double", "sub.result", "sub", "end"]


def test_without_wait_items_go_on_as_they_came(tmp_path: Path) -> None:
    driver = given(tmp_path, [{"n": 1}], outer=OUTER % ", wait: false", inner=INNER)
    assert driver.items("end") == [{"n": 1}]
    assert driver.items("sub.result") == [{"n": 2}]


def test_inputs_are_the_fields_that_are_handed_in(tmp_path: Path) -> None:
    driver = given(tmp_path, [{"m": 3, "k": 1}], outer=OUTER % ", inputs: {n: m}", inner=INNER)
    assert driver.items("end") == [{"n": 6}]


def test_a_sub_flow_goes_round_in_a_loop(tmp_path: Path) -> None:
    outer = """
workflow: outer
nodes:
  start: {type: event, topic: in, format: json}
  again: {type: loop, mode: while, when: long(n) < 100}
  sub: {type: sub-flow, workflow: inner.yaml}
  end: {type: no-op}
connections: [start -> again, again.body -> sub -> again.back, again.done -> end]
"""
    assert given(tmp_path, [{"n": 1}, {"n": 60}], outer=outer, inner=INNER).items("end") == [{"n": 128}, {"n": 120}]


def test_keyed_nodes_of_a_sub_flow_have_topics_named_by_both_ids(tmp_path: Path) -> None:
    inner = """
workflow: inner
nodes:
  given: {type: sub-flow-trigger}
  once: {type: dedupe, key: string(n), within: 1h}
  result: {type: return}
connections: [given -> once -> result]
"""
    topology, _ = compiled(tmp_path, outer=OUTER % "", inner=inner)
    assert topology is not None
    names = {t.name for t in topology.topics}
    assert "outer.sub.once.in.repartition" in names
    assert any(name.startswith("outer.sub.once.") and name.endswith(".changelog") for name in names)


@pytest.mark.parametrize(
    ("options", "inner", "message"),
    [
        (", pin: 'sha256:0'", INNER, "'inner.yaml' is not the version that is pinned: it is sha256:"),
        ("", "", "inner.yaml:1:1: error: SF130: the file is empty"),
        ("", OUTER % "", "'inner.yaml' would be inside itself: outer.yaml -> inner.yaml -> inner.yaml."),
        ("", INNER.replace("sub-flow-trigger", "manual"), "no node of kind sub-flow-trigger"),
        ("", INNER.replace("result: {type: return}", "result: {type: no-op}"), "no node `return` that items reach"),
        ("", INNER.replace("vars.by", "vars.bi"),
         "inner.yaml:6:50: error: SF211: there is no variable 'bi'. Vars has by."),
        (
            "",
            INNER.replace("double: {type: set, fields: {n: long(n) * vars.by}}", "double: {type: batch}"),
            "node 'double' (batch) of 'inner.yaml'",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_a_sub_flow_is_refused(tmp_path: Path, options: str, inner: str, message: str) -> None:
    topology, found = compiled(tmp_path, outer=OUTER % options, inner=inner)
    assert topology is None
    assert any(message in one for one in found), found
    assert all("outer.yaml:5:" in one for one in found), "both places are told"


def test_a_pin_is_of_what_the_file_says(tmp_path: Path) -> None:
    _, (found,) = compiled(tmp_path, outer=OUTER % ", pin: 'sha256:0'", inner=INNER)
    pin = found.split("Set `pin: ")[1].split("`")[0]
    other_layout = "# A comment.\n" + INNER.replace("{by: 2}", "\n  by: 2")
    assert compiled(tmp_path, outer=OUTER % f", pin: '{pin}'", inner=other_layout)[1] == []
    assert compiled(tmp_path, outer=OUTER % f", pin: '{pin}'", inner=INNER.replace("by: 2", "by: 3"))[0] is None


def test_what_another_trigger_of_the_file_feeds_is_refused(tmp_path: Path) -> None:
    inner = (
        INNER.replace("connections:", "").replace("[given -> double -> result]", "")
        + """
  other: {type: event, topic: other, format: json}
  both: {type: merge, mode: combine_all}
connections: [given -> double -> both.left, other -> both.right, both -> result]
"""
    )
    _, found = compiled(tmp_path, outer=OUTER % ", run: all", inner=inner)
    assert any("input 'right' of node 'both'" in one for one in found), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nodes.a.x + 1", 'nodes["p.a"].x + 1'),
        ("nodes['a b'].x", "nodes['p.a b'].x"),
        ("$('a').item.json.x", "$('p.a').item.json.x"),
        ('$node["a"].json.x', '$node["p.a"].json.x'),
        ("vars.rate * item.vars", 'vars["p."].rate * item.vars'),
        ("'nodes.a' + item.nodes.a", "'nodes.a' + item.nodes.a"),
        ("amount", "amount"),
    ],
)
def test_expressions_keep_their_meaning(text: str, expected: str) -> None:
    assert renamed(text, "p.") == expected


def test_retries_of_a_sub_flow_are_said_to_have_no_effect(tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text(INNER)
    (tmp_path / "outer.yaml").write_text(OUTER % ", retry: {attempts: 3}")
    document, _ = load(tmp_path / "outer.yaml")
    assert document is not None
    topology, findings = compile_document(document, registry())
    assert topology is not None
    (found,) = [f for f in findings if f.code == "SF240"]
    assert found.severity == "warning"
    assert "is a sub-flow" in found.message
    assert "inner.yaml" in found.mend


SHARED = """
workflow: inner
nodes:
  given: {type: sub-flow-trigger, schema: number.avsc}
  deeper: {type: sub-flow, workflow: more/deep.yaml}
  kept: {type: write-file, path: out/kept.jsonl}
  result: {type: return}
connections: [given -> deeper -> result, deeper -> kept]
"""
NUMBER = '{"type": "record", "name": "Number", "fields": [{"name": "%s", "type": "long"}]}'


def project(folder: Path, named: str = "../shared/inner.yaml") -> tuple[Topology | None, list[str]]:
    """`app/outer.yaml` uses `shared/inner.yaml`, which uses `shared/more/deep.yaml`."""
    (folder / "streamflow.root").touch()
    for inside in ("app", "shared/more"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    (folder / "shared/inner.yaml").write_text(SHARED)
    (folder / "shared/more/deep.yaml").write_text(INNER)
    (folder / "shared/number.avsc").write_text(NUMBER % "n")
    (folder / "app/number.avsc").write_text(NUMBER % "wrong")
    return compiled(folder / "app", outer=OUTER.replace("inner.yaml", named) % "")


def test_a_file_in_another_folder_has_its_paths_from_there(tmp_path: Path) -> None:
    topology, found = project(tmp_path)
    assert topology is not None, found
    assert list(topology.schemas) == ["../shared/number.avsc"]
    (kept,) = [n for s in topology.stages for n in s.nodes if n.id == "sub.kept"]
    assert kept.params["path"] == "../shared/out/kept.jsonl"
    driver = TopologyDriver(topology, nodes=registry())
    driver.feed("start", [{"n": 4}])
    assert driver.items("end") == [{"n": 8}]


def test_a_schema_that_its_own_folder_lacks_is_not_taken_from_the_workflows(tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "shared/number.avsc").unlink()
    topology, found = compiled(tmp_path / "app", outer=OUTER.replace("inner.yaml", "../shared/inner.yaml") % "")
    assert topology is None
    assert any("there is no schema '../shared/number.avsc'" in one for one in found), found


TAKEN = INNER.replace("sub-flow-trigger}", "sub-flow-trigger, schema: order.avsc}")


def ordered(folder: Path, outer: str, inner: str = "") -> tuple[Topology | None, list[str]]:
    """`app/outer.yaml` with a registry of its own, and `shared/inner.yaml`, which takes `order.avsc`."""
    for inside in ("app", "shared"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    (folder / "streamflow.root").touch()
    (folder / "shared/inner.yaml").write_text(inner + TAKEN)
    return compiled(folder / "app", outer=outer + OUTER.replace("inner.yaml", "../shared/inner.yaml") % "")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_file_elsewhere_has_the_registry_of_the_workflow(elsewhere: bool, tmp_path: Path) -> None:
    """`elsewhere`: a schema of that name is among the project's, too, where both would find it."""
    (tmp_path / "app/reg").mkdir(parents=True)
    (tmp_path / "app/reg/order.avsc").write_text(NUMBER % "n")
    if elsewhere:
        (tmp_path / "schemas").mkdir()
        (tmp_path / "schemas/order.avsc").write_text(NUMBER % "wrong")
    for inner in ("", "registry: ../app/reg\n"):
        topology, found = ordered(tmp_path, "registry: reg\n", inner)
        assert topology is not None, found
        assert [[f.name for f in schema.fields] for schema in topology.schemas.values()] == [["n"]]
        driver = TopologyDriver(topology, nodes=registry())
        driver.feed("start", [{"n": 4}])
        assert driver.items("end") == [{"n": 8}]


def test_a_file_within_a_file_that_names_no_registry_may_name_the_workflows(tmp_path: Path) -> None:
    (tmp_path / "app/reg").mkdir(parents=True)
    (tmp_path / "app/reg/order.avsc").write_text(NUMBER % "n")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/deep.yaml").write_text("registry: ../app/reg\n" + TAKEN)
    (tmp_path / "streamflow.root").touch()
    (tmp_path / "shared/inner.yaml").write_text(
        SHARED.replace(", schema: number.avsc", "").replace("more/deep.yaml", "deep.yaml")
    )
    outer = OUTER.replace("inner.yaml", "../shared/inner.yaml") % ""
    topology, found = compiled(tmp_path / "app", outer="registry: reg\n" + outer)
    assert topology is not None, found


@pytest.mark.parametrize("inner", ["", "registry: http://127.0.0.1:9\n"])
def test_a_subject_is_not_taken_from_a_file_of_the_workflow(inner: str, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/order.avsc").write_text(NUMBER % "wrong")
    topology, found = ordered(tmp_path, "registry: http://127.0.0.1:9\n", inner)
    assert topology is None
    assert any("'../shared/order.avsc'" in one for one in found), found


def test_a_file_below_needs_no_marker_and_one_above_does(tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "app/lib").mkdir()
    (tmp_path / "app/lib/inner.yaml").write_text(INNER)
    (tmp_path / "streamflow.root").unlink()
    assert compiled(tmp_path / "app", outer=OUTER.replace("inner.yaml", "lib/inner.yaml") % "")[0] is not None
    topology, found = compiled(tmp_path / "app", outer=OUTER.replace("inner.yaml", "../shared/inner.yaml") % "")
    assert topology is None
    assert any("leads out of the project" in one and "`streamflow.root`" in one for one in found), found


@pytest.mark.parametrize(
    "named", ["../../elsewhere.yaml", "link.yaml", "linked/elsewhere.yaml", "/etc/x.yaml", "a\\\\b.yaml", "x.txt"]
)
def test_nothing_outside_of_the_project_can_be_named(named: str, tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (tmp_path / "elsewhere.yaml").write_text(INNER)
    project(root)
    (root / "app/link.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    (root / "app/linked").symlink_to(tmp_path)
    topology, found = compiled(root / "app", outer=OUTER.replace("inner.yaml", f'"{named}"') % "")
    assert topology is None
    assert any("SF244" in one for one in found), found


def test_a_file_is_not_inside_itself_by_another_path(tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "shared/more/deep.yaml").write_text(SHARED.replace("more/deep.yaml", "../../shared/inner.yaml"))
    topology, found = compiled(tmp_path / "app", outer=OUTER.replace("inner.yaml", "../shared/inner.yaml") % "")
    assert topology is None
    assert any("would be inside itself: outer.yaml -> inner.yaml -> deep.yaml -> inner.yaml" in one for one in found)
