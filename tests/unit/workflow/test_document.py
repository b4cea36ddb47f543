"""Documents: loading files and text, every field of a document, and what `validate` makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamflow.model.policies import BreakerPolicy, ErrorPolicy, ParkingPolicy, RetryPolicy, RunPolicy
from streamflow.sdk.places import Diagnostic, Place
from streamflow.workflow import WorkflowDocument, load, load_text, validate
from streamflow.workflow.cases import load_cases, with_cases
from streamflow.workflow.dump import to_yaml
from streamflow.workflow.model import Metadata, WorkflowPolicies
from streamflow.workflow.ports import resolve

from .kinds import REGISTRY, If

HEAD = "workflow: w\nnodes:\n  a: {type: event, topic: t}\n"


def read(text: str) -> WorkflowDocument:
    document, found = load_text(text, file="w.yaml")
    assert found == []
    assert document is not None
    return document


def check(text: str) -> list[Diagnostic]:
    document, found = load_text(text, file="w.yaml")
    return found if document is None else [*found, *validate(document, REGISTRY)[1]]


def codes(text: str) -> list[str]:
    return [f"{f.place.line}:{f.place.column} {f.code}" for f in check(text)]


def test_a_document_holds_all_that_is_written() -> None:
    document = read("""
workflow: big-orders
description: What it is for.
version: 1.2
vars: {limit: 5, names: [a]}
registry: http://localhost:8081
policies:
  on_error: stop
  retry: {attempts: 3, delay: 1s}
  guarantee: at_least_once
  commit_interval: 250ms
  pending_bytes_max: 1000
  executions: errors
  partitions: 8
nodes:
  a: {type: event, topic: t}
  b:
    type: set
    fields: {total: x * 2}
    name: Totals
    notes: see the manual
    disabled: true
    position: [10, 20.5]
    credentials: {api: prod-key}
    metadata: {version: "2", category: money, description: d, icon: i, color: red, tags: [x, y]}
    on_error: continue
    retry: {attempts: 2, delay_ms: 50}
  c: {type: set, parameters: {fields: {y: "1"}}, on_error: {fallback: d}}
  d: {type: publish, topic: t2}
connections: [a -> b -> c]
tests:
  - {name: one, input: {a: [{x: 1}]}, expect: {b: [], stopped: true}}
""")
    assert (document.name, document.description, document.version) == ("big-orders", "What it is for.", "1.2")
    assert (document.vars, document.registry) == ({"limit": 5, "names": ["a"]}, "http://localhost:8081")
    assert document.policies == WorkflowPolicies(
        on_error="stop",
        retry=RetryPolicy(attempts=3, delay_ms=1_000),
        run=RunPolicy(guarantee="at_least_once", commit_interval_ms=250, pending_bytes_max=1_000),
        executions="errors",
        partitions=8,
    )
    _, b, c, _ = document.nodes
    assert (b.id, b.type, b.name, b.notes, b.disabled) == ("b", "set", "Totals", "see the manual", True)
    assert (b.position, b.credentials) == ((10.0, 20.5), {"api": "prod-key"})
    assert b.metadata == Metadata(
        version="2", category="money", description="d", icon="i", color="red", tags=("x", "y")
    )
    assert document.error_policy(b) == ErrorPolicy(on_error="continue", retry=RetryPolicy(attempts=2, delay_ms=50))
    assert c.params.values == {"fields": {"y": "1"}}
    assert document.error_policy(c) == ErrorPolicy(
        on_error="error_port", fallback="d", retry=RetryPolicy(attempts=3, delay_ms=1_000)
    )
    assert document.tests[0].input == {"a": ({"x": 1},)}
    assert document.tests[0].expect == {"b": (), "stopped": ()}


def test_parameters_know_their_places() -> None:
    document = read(HEAD + "  b: {type: set, fields: {total: 'x * 2'}}\nconnections: [a -> b]\n")
    params = document.nodes[1].params
    assert params.at("fields", "total") == Place("w.yaml", 4, 35)
    assert params.key_at("fields", "total") == Place("w.yaml", 4, 27)
    assert params.at("fields", "other") == Place("w.yaml", 4, 26)
    assert params.at("nothing") == Place("w.yaml", 4, 3)


def test_nodes_may_be_a_list() -> None:
    document = read("workflow: w\nnodes:\n  - {id: a, type: event, topic: t}\n  - {id: b, type: publish, topic: u}\n")
    assert [n.id for n in document.nodes] == ["a", "b"]


def test_a_wired_error_port_is_the_error_policy() -> None:
    document = read(
        HEAD + "  b: {type: set, fields: {x: y}}\n  c: {type: publish, topic: u}\nconnections: [a -> b, b.error -> c]\n"
    )
    assert document.error_policy(document.nodes[1]).on_error == "error_port"
    assert document.error_policy(document.nodes[2]).on_error == "dead_letter"


def test_ports_that_were_not_written_are_filled_in() -> None:
    document = read(
        HEAD + "  b: {type: if, when: x}\n  c: {type: join}\n  d: {type: publish, topic: u}\nconnections:\n"
        "  - a -> b\n  - {from: b, index: 1, to: c.left}\n  - b.true -> c.right\n"
        "  - c -> d\n  - {from: c, type: error, to: d}\n"
    )
    nodes, found = validate(document, REGISTRY)
    assert found == []
    assert isinstance(nodes["b"], If)
    connections, _ = resolve(document, nodes)
    assert [str(c) for c in connections] == [
        "a.out -> b.in",
        "b.false -> c.left",
        "b.true -> c.right",
        "c.out -> d.in",
        "c.error -> d.in",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1:1 SF130"]),
        ("nodes:", ["1:1 SF111", "1:1 SF130"]),
        ("workflow: w\nnodes: {}", ["1:11 SF130"]),
        ("workflow: w\nnodes: 5", ["2:8 SF112"]),
        (
            "workflow: 5\nnodes: {a: {type: event, topic: t}, b: {type: publish, topic: u}}\nconnections: [a -> b]",
            ["1:11 SF112"],
        ),
        (HEAD + "  b: {type: publish, topic: u}\nconnections: [a -> b]\nnmae: x", ["6:1 SF110"]),
        (HEAD + "  b: {type: publish}\nconnections: [a -> b]", ["4:3 SF122"]),
        (HEAD + "  b: {tpye: publish, topic: u}\nconnections: [a -> b]", ["4:3 SF111"]),
        (HEAD + "  b: {type: publish, topic: u, disabled: maybe}\nconnections: [a -> b]", ["4:42 SF112"]),
        (HEAD + "  b: {type: publish, topic: u, position: [1]}\nconnections: [a -> b]", ["4:3 SF112"]),
        (HEAD + "  b: {type: publish, topic: u, parameters: {topic: v}}\nconnections: [a -> b]", ["4:45 SF103"]),
        (HEAD + "  b: {type: publish, topic: u, on_error: retry}\nconnections: [a -> b]", ["4:42 SF112"]),
        (HEAD + "  b: {type: publish, topic: u, on_error: error_port}\nconnections: [a -> b]", ["4:42 SF140"]),
        (HEAD + "  b: {type: publish, topic: u, on_error: {fallback: a}}\nconnections: [a -> b]", ["4:53 SF134"]),
        (HEAD + "  b: {type: join}\n  c: {type: publish, topic: u}\nconnections: [a -> b.left -> c]", ["4:3 SF137"]),
        (HEAD + "  b: {type: set, fields: {x: y}}\nconnections: [a -> b]", ["4:3 SF142"]),
        (HEAD + "  b: {type: set, fields: {x: y}}\nconnections: [a -> b, b -> b]", ["5:23 SF135"]),
        (
            HEAD + "  b: {type: set, fields: {x: y}, on_error: {fallback: c}}\n"
            "  c: {type: set, fields: {x: y}}\n  d: {type: publish, topic: u}\nconnections: [a -> b -> d, c -> b]",
            ["7:28 SF135"],
        ),
        (HEAD + "connections: []", ["3:3 SF142"]),
    ],
)
def test_one_mistake_gives_one_finding(text: str, expected: list[str]) -> None:
    assert codes(text) == expected


def test_two_knots_give_two_cycles() -> None:
    names = "".join(f"  {n}: {{type: no-op}}\n" for n in "bcdef")
    found = check(HEAD + names + "connections: [a -> b -> c -> b, c -> d -> e -> f -> d]\n")
    assert [f.message for f in found] == [
        "the connections make a cycle: b -> c -> b.",
        "the connections make a cycle: d -> e -> f -> d.",
    ]


def test_a_long_chain_needs_no_recursion() -> None:
    count = 3_000
    names = "".join(f"  n{i}: {{type: no-op}}\n" for i in range(count))
    chain = " -> ".join(f"n{i}" for i in range(count))
    assert check(HEAD + names + f"  end: {{type: publish, topic: u}}\nconnections:\n  - a -> {chain} -> end\n") == []


def test_load_reads_a_file_and_finds_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("\ufeff" + HEAD, encoding="utf-8")
    document, found = load(file)
    assert found == []
    assert document is not None
    assert (document.base_folder, document.source) == (str(tmp_path), str(file))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"workflow: w\nx: caf\xe9\n")
    (tmp_path / "huge.yaml").write_bytes(b"#" * ((1 << 20) + 1))
    for name, code in (("latin.yaml", "SF105"), ("missing.yaml", "SF105"), ("huge.yaml", "SF104"), (".", "SF105")):
        document, found = load(tmp_path / name)
        assert document is None
        assert [f.code for f in found] == [code]
    assert "huge.yaml, latin.yaml" in load(tmp_path / "missing.yaml")[1][0].mend


def test_test_cases_beside_a_workflow(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(HEAD + "tests: [{name: inside, expect: {a: []}}]\n")
    (tmp_path / "w.test.yaml").write_text("- {name: beside, input: {a: []}, expect: {a: []}}\n")
    (tmp_path / "w.more.test.yaml").write_text("tests: [{name: more, expect: {b: []}}]\n")
    (tmp_path / "other.test.yaml").write_text("- {name: of another workflow, expect: {}}\n")
    document, _ = load(tmp_path / "w.yaml")
    assert document is not None
    cases, found = load_cases(document)
    assert found == []
    assert [case.name for case in cases] == ["inside", "more", "beside"]
    _, found = validate(with_cases(document, cases), REGISTRY)
    assert [(f.code, Path(f.place.file).name) for f in found if f.code == "SF144"] == [("SF144", "w.more.test.yaml")]


def test_what_nodes_say_of_errors() -> None:
    document = read(
        HEAD
        + """\
  b:
    type: set
    fields: {y: "1"}
    retry: {attempts: 4, delay: 1s, backoff: random, delay_max: 1m, jitter: 0.5, codes: [late], when: error.attempt < 3,
      limit: 1h, mode: park, parking: {items_max: 5}}
  c:
    type: set
    fields: {y: "1"}
    on_error: {fallback: {value: {y: 2}}, breaker: {failures: 3, within: 10s, probe_after: 5s}}
  d: {type: set, fields: {y: "1"}, on_error: pass}
connections: [a -> b -> c -> d]
"""
    )
    _, b, c, d = document.nodes
    assert b.retry == RetryPolicy(
        attempts=4, delay_ms=1_000, backoff="random", delay_max_ms=60_000, jitter=0.5, codes=("late",),
        when="error.attempt < 3", limit_ms=3_600_000, mode="park", parking=ParkingPolicy(items_max=5),
    )  # fmt: skip
    assert b.retry_when is not None
    assert (b.retry_when.place.line, b.retry_when.place.column) == (7, 103)
    breaker = BreakerPolicy(failures=3, within_ms=10_000, probe_after_ms=5_000)
    assert document.error_policy(c) == ErrorPolicy(on_error="pass", value={"y": 2}, breaker=breaker)
    assert document.error_policy(d) == ErrorPolicy(on_error="pass")
    again = load_text(to_yaml(document))[0]
    assert again is not None
    assert [document.error_policy(n) for n in document.nodes] == [again.error_policy(n) for n in again.nodes]
