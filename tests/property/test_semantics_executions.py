"""What acts on whole executions is given whole executions, or the compiler refuses it (DESIGN 12, point 1).

Method: every node kind whose result may depend on several rows, in every mode its parameters offer, at every place
where the rows of an execution may be apart: behind a split, behind repartitions of one and of several partitions,
where two repartitions meet. Either the compiler refuses, or the stream cut into other steps gives the same rows; in
memory with random cuts, and on a log with several partitions.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import typing
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest

from streamflow.compiler import compile_document
from streamflow.logs.embedded import EmbeddedLog
from streamflow.nodes import builtin, registry
from streamflow.runtime import source_task
from streamflow.runtime.build import build_node
from streamflow.sdk.node import Node, parameters
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.plan import Topology
from streamflow.workflow.load import load_text
from tests.property.semantics_items import TRIGGERS, make_items, write_inputs
from tests.simulation.running import compiled, contents, run, send, values, with_log

FUNCTIONS = "tests.property.semantics_items"

# Kinds that look at each row by itself, whatever stands beside it. Where they act outside the log (write-file) or halt
# (stop-and-error), and how triggers cut what they read, is in test_semantics_batches.py.
ROW_BY_ROW = frozenset(
    [
        *("error-trigger", "event", "file", "filter", "if", "loop", "manual", "no-op", "notification", "pass"),
        *("publish", "rename", "repartition", "resume-token", "return", "set", "slots", "split", "stop-and-error"),
        *("stub", "sub-flow"),
        *("sub-flow-trigger", "switch", "template", "wait", "write-file"),
    ]
)
# Variants of the others: `IN` stands for where rows come from. They are of a scope: of the rows of an execution, or of
# the stream that a partition brings.
Variant = str | tuple[str, str, str]
MERGE = "odd: {type: if, when: ODD}", "IN -> odd, odd.true -> X.left, odd.false -> X.right"
# Sides whose rows must not lose their order on topics of their own.
NEAR = "odd-near: {type: repartition, key: name}\n  odd: {type: if, when: ODD}"
NEARBY = "IN -> odd-near, odd-near -> odd, odd.true -> X.{}, odd.false -> X.{}"
JOIN = "odd: {type: repartition, key: name}", "IN -> odd, odd -> X.left, odd -> X.right"
EXECUTION: dict[str, list[Variant]] = {
    "aggregate": [
        "{type: aggregate}",
        "{type: aggregate, by: {name: name}, fields: {sum: {function: sum, of: n}, last: {function: last, of: x}}}",
    ],
    "batch": ["{type: batch}", "{type: batch, size: 2, scope: execution}"],
    "limit": ["{type: limit, count: 1, offset: 1}", "{type: limit, count: 2, scope: execution}"],
    "sort": ["{type: sort, by: [{value: n, descending: true}, {value: name, nulls: first}]}"],
    "merge": [
        ("{type: merge, mode: combine_by_key, keys: [name], join: inner}", *MERGE),
        ("{type: merge, mode: combine_by_key, keys: [name], join: outer}", *MERGE),
        ("{type: merge, mode: combine_by_position, join: left}", *MERGE),
        ("{type: merge, mode: combine_all}", *MERGE),
        ("{type: merge, mode: choose, prefer: left}", *MERGE),
        ("{type: merge, mode: choose, prefer: right}", *MERGE),
    ],
    "function": [f"{{type: function, mode: frame, scope: execution, function: '{FUNCTIONS}:reversed_rows'}}"],
    "code": [f"{{type: code, mode: frame, scope: execution, function: '{FUNCTIONS}:row_count'}}"],
}
STREAM: dict[str, list[Variant]] = {
    "debounce": ["{type: debounce, key: name, quiet: 2ms, at_most: 3ms}"],
    "pattern": ["{type: pattern, key: name, within: 4ms, contiguity: strict, steps: {a: n < 4, b: n > 1}}"],
    "reduce": ["{type: reduce, key: name, initial: 1, expression: (accumulator * 7 + n) % 1000, forget: 3ms}"],
    "dedupe": ["{type: dedupe, key: name, within: 3ms}"],
    "throttle": ["{type: throttle, key: name, count: 2, per: 3ms}"],
    "batch": ["{type: batch, size: 3, scope: stream}"],
    "limit": ["{type: limit, count: 7, offset: 1, scope: stream}"],
    "sort": ["{type: sort, by: [{value: n}], count: 3}"],
    "join": [
        (f"{{type: join, key: name, {rule}, right_prefix: r_}}", *JOIN)
        for rule in (
            "before: 2ms, after: 1ms, kind: outer",
            "time: asof, within: 3ms, kind: left",
            "time: window, size: 4ms, kind: right",
            "time: unbounded, kind: semi",
            "after: 2ms, on: left.n < right.n, kind: anti",
        )
    ],
    "window": [
        f"{{type: window, key: name, {shape}, fields: {{sum: {{function: sum, of: n}}, x: {{function: last, of: x}}}}}}"
        for shape in (
            "size: 3ms",
            "shape: hopping, size: 4ms, advance: 2ms, emit: update",
            "shape: session, gap: 2ms, emit: update",
            "shape: sliding, size: 2ms, emit: update",
            "size: 3ms, emit: every, every: 1ms",
            "shape: unbounded, emit: update",
        )
    ],
    "table": [
        "{type: table, key: name}",
        ("{type: table, key: name}", "odd: {type: if, when: ODD}", "IN -> odd, odd.true -> X, odd.false -> X.gone"),
    ],
    "lookup": [
        (f"{{type: lookup, key: name, join: {join}, prefix: r_}}", NEAR, NEARBY.format("in", "table"))
        for join in ("inner", "left")
    ],
    "table_join": [
        (f"{{type: table_join, key: name, join: {join}, prefix: r_}}", NEAR, NEARBY.format("left", "right"))
        for join in ("inner", "left", "outer")
    ],
}
ROWS: dict[str, list[Variant]] = {
    "merge": [("{type: merge, mode: append}", MERGE[0], "IN -> odd, odd.true -> X, odd.false -> X")],
    "function": [
        f"{{type: function, mode: item, function: '{FUNCTIONS}:twice'}}",
        f"{{type: function, mode: frame, scope: rows, function: '{FUNCTIONS}:refuses_fives'}}",
    ],
    "code": [
        f"{{type: code, mode: item, function: '{FUNCTIONS}:sometimes_raises'}}",
        f"{{type: code, mode: frame, scope: rows, function: '{FUNCTIONS}:even'}}",
    ],
}
SCOPES = {"execution": EXECUTION, "stream": STREAM, "rows": ROWS}

# Where the node under test may stand: nodes before it, their wires, and what `IN` is.
PLACES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "trigger": ("", "", ("start",)),
    "split": ("many", "start -> many", ("many",)),
    "one": ("keyed:1", "start -> keyed", ("keyed",)),
    "several": ("keyed:3", "start -> keyed", ("keyed",)),
    "split, one": ("many keyed:1", "start -> many -> keyed", ("keyed",)),
    "split, several": ("many keyed:3", "start -> many -> keyed", ("keyed",)),
    "one, split": ("keyed:1 many", "start -> keyed -> many", ("many",)),
    "several, split": ("keyed:3 many", "start -> keyed -> many", ("many",)),
    "split, one, split": ("many keyed:1 again", "start -> many -> keyed -> again", ("again",)),
    "one, one": ("keyed:1 other:1", "start -> keyed -> other", ("other",)),
    "counted": ("many count", "start -> many -> count", ("count",)),
    "function": ("twice", "start -> twice", ("twice",)),
    "function, one": ("twice keyed:1", "start -> twice -> keyed", ("keyed",)),
    "append": ("half all", "start -> half, half.true -> all, half.false -> all", ("all",)),
    "halves": ("half a:1 b:1", "start -> half, half.true -> a, half.false -> b", ("a", "b")),
    "twice": ("a:1 b:1", "start -> a, start -> b", ("a", "b")),
    "twice, split": ("a:1 b:1 many", "start -> a, start -> b, a -> many, b -> many", ("many",)),
    "twice, one": ("a:1 b:1 keyed:1", "start -> a, start -> b, a -> keyed, b -> keyed", ("keyed",)),
}
BETWEEN = {
    "many": "{type: split, field: tags, keep: true, index: at}",
    "again": "{type: split, field: lines, keep: true}",
    "count": "{type: sort, by: [{value: n}], count: 4}",
    "twice": "{type: function, mode: item, schema: item.avsc, function: 'tests.property.semantics_items:twice'}",
    "all": "{type: merge}",
    "half": "{type: if, when: n > 2}",
}
MEETING = frozenset(p for p in PLACES if p.startswith(("halves", "twice")))  # two inputs: arrival decides their order
TIMED = ("window", "join", "dedupe", "throttle", "debounce", "pattern", "reduce")  # kinds for which rows may be late
REFUSALS = {"SF224", "SF225"}
EXTENTS = ("item", "run", "file")
# What is given of a window in between depends on where steps end, and says so; test_windows.py has what does not.
# Coalesced values depend on steps by their nature; a global table gives nothing: who looks into it is asked elsewhere.
# Which branch is the first is a matter of arrival, and so is what the others still do: test_gather.py.
EXEMPT = {("emit", "coalesced"), ("scope", "global"), ("mode", "first"), ("others", "finish")}


def test_every_kind_is_classified() -> None:
    several = {kind for scope in SCOPES.values() for kind in scope}
    assert several.isdisjoint(ROW_BY_ROW)
    assert {kind.spec.kind for kind in builtin()} == several | ROW_BY_ROW, "a new node kind needs a class, and variants"


@pytest.mark.parametrize("kind", [k for k in builtin() if k.spec.kind not in ROW_BY_ROW], ids=lambda k: k.spec.kind)
def test_every_choice_of_a_kind_has_a_variant(kind: type[Node]) -> None:
    texts = " ".join(str(v) for scope in SCOPES.values() for v in scope.get(kind.spec.kind, []))
    hints = typing.get_type_hints(kind)
    for parameter in parameters(kind):
        if typing.get_origin(hints[parameter.name]) is Literal:
            for value in typing.get_args(hints[parameter.name]):
                if (parameter.name, value) in EXEMPT:
                    continue
                assert f"{parameter.name}: {value}" in texts or parameter.default == value, (parameter.name, value)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_node_says_whether_it_acts_on_executions(scope: str, folder: Path) -> None:
    topology = compiled(workflow(variants(scope), "split", "item"), folder)
    acts = {n.id for s in topology.stages for n in s.nodes if build_node(n, registry()).acts_on_executions()}
    assert acts == (set(variants(scope)) if scope == "execution" else set())


def variants(scope: str) -> dict[str, Variant]:
    """By id of the node."""
    return {f"{kind}-{i}": variant for kind, found in SCOPES[scope].items() for i, variant in enumerate(found)}


def workflow(under_test: Mapping[str, Variant], place: str, extent: str) -> str:
    """The text of a workflow with nodes, by id, at a place; each ends in a topic."""
    before, wires, arrivals = PLACES[place]
    nodes = [f"start: {TRIGGERS[extent, 'typed']}"]
    for name, _, partitions in (word.partition(":") for word in before.split()):
        if partitions:
            nodes.append(f"{name}: {{type: repartition, key: name, partition_count: {partitions}}}")
        else:
            nodes.append(f"{name}: {BETWEEN[name]}")
    connections = wires.split(", ") if wires else []
    for name, variant in under_test.items():
        node, beside, own = variant if isinstance(variant, tuple) else (variant, "", "IN -> X")
        nodes.append(f"{name}: {node}")
        if beside:
            # Parts of one item have to go both ways.
            odd = "at % 2 == 1" if "many" in before.split() else "n % 2 == 1"
            nodes.append(beside.replace("odd", f"{name}-odd").replace("ODD", odd))
            own = own.replace("odd", f"{name}-odd")
        for wire in own.split(", "):
            starts = arrivals if wire.startswith("IN") else ("",)
            connections += [wire.replace("IN", start).replace("X", name) for start in starts]
        nodes.append(
            f"{name}-out: {{type: publish, topic: out.{name}, format: json, headers: {{execution: meta.execution}}}}"
        )
        connections.append(f"{name} -> {name}-out")
    return "\n".join(["workflow: apart", "nodes:", *(f"  {n}" for n in nodes), "connections:"]) + "".join(
        f"\n  - {wire}" for wire in connections
    )


@cache
def allowed(scope: str, place: str, extent: str, folder: Path) -> dict[str, Variant]:
    """The variants that the compiler does not refuse because rows of an execution are apart there, or alone."""
    found = {}
    for name, variant in variants(scope).items():
        document, findings = load_text(workflow({name: variant}, place, extent), base_folder=str(folder))
        assert document is not None, findings
        topology, findings = compile_document(document, registry())
        if topology is not None:
            found[name] = variant
            continue
        assert {f.code for f in findings if f.severity == "error"} <= REFUSALS, [str(f) for f in findings]
        assert all(f.place.line and f.mend for f in findings)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("apart")
    write_inputs(made)
    return made


def outputs(
    topology: Topology,
    given: Sequence[object],
    cuts: Sequence[int],
    step_rows: int,
    *,
    ordered: bool,
    without: Collection[str] = ("@row",),
) -> Mapping[str, object]:
    """What every port gives and what fails, but for `@row`, which counts within a step."""
    driver = TopologyDriver(topology, nodes=registry(), step_rows=step_rows)
    for start, stop in pairwise([0, *cuts, len(given)]):
        driver.feed("start", given[start:stop], times_ms=list(range(start, stop)), end=False)
        driver.commit()
    driver.feed("start", [])
    seen: dict[str, object] = {"dead": sorted(map(repr, driver.dead_letters()))}
    for (node, port), batches in driver.outputs.items():
        rows = [
            repr(row)
            for batch in batches
            for row in batch.frame.select(c for c in sorted(batch.frame.columns) if c not in without).iter_rows(
                named=True
            )
        ]
        seen[f"{node}.{port}"] = rows if ordered else sorted(rows)
    return {port: rows for port, rows in seen.items() if rows}


@pytest.mark.parametrize("extent", ["item", "run"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("scope", SCOPES)
def test_cuts_change_nothing_or_the_compiler_refuses(scope: str, place: str, extent: str, folder: Path) -> None:
    if scope == "stream" and place in MEETING:
        return  # what a stream of two inputs is depends on arrival, which the journal tells (point 4)
    fine = allowed(scope, place, extent, folder)
    if place == "counted":  # time passes rows that are held back by number: when they come, they may be late or not
        fine = {name: variant for name, variant in fine.items() if not name.startswith(TIMED)}
        assert fine.keys() == {n for n in variants(scope) if not n.startswith(TIMED)} or scope == "execution"
    assert place == "counted" or scope == "execution" or fine == variants(scope), "only executions can be apart"
    if not fine:
        return
    topology = compiled(workflow(fine, place, extent), folder)
    gathered = any(stage.feeds for stage in topology.stages)
    ordered = place not in MEETING and not gathered
    # The time at which a row came that had been held back is no part of it.
    without = ("@row", "@wm") if place == "counted" or gathered else ("@row",)

    for seed in range(2):
        draw, given = random.Random(seed), make_items(seed, 9)
        whole = outputs(topology, given, [], 1 << 30, ordered=ordered, without=without)
        # The second time row by row, which random cuts seldom come to.
        cuts = sorted(draw.sample(range(1, 9), 4)) if seed == 0 else list(range(1, 9))
        step_rows = draw.randrange(2, 5) if seed == 0 else 1
        parts = outputs(topology, given, cuts, step_rows, ordered=ordered, without=without)
        # The names first: rows of everything would fill the screen.
        assert sorted(port for port in whole if parts.get(port) != whole[port]) == [], (cuts, place)
        assert parts.keys() == whole.keys()


def test_what_the_compiler_allows(folder: Path) -> None:
    """The other half: it does not simply refuse everything."""
    found = {
        (extent, place)
        for extent in EXTENTS
        for place in PLACES
        if allowed("execution", place, extent, folder) == variants("execution")
    }
    bounded = {"trigger", "split", "one", "split, one", "one, split", "split, one, split", "one, one"}
    bounded |= {"function", "function, one", "append"}
    # What took rows of an item apart is put right by a gather; where an item is one row, nothing is to be gathered.
    alone = {"trigger", "one", "several", "one, one", "counted"}
    expected = {("item", place) for place in PLACES if place not in alone}
    assert found == expected | {(extent, place) for extent in ("run", "file") for place in bounded}


# The same through tasks, on a log: its record batches, steps, commits and pieces of files end in other places.

Cut = tuple[int, int, int, str]  # records of a batch, bytes of a step, rows of a piece of a file, commit interval
COARSE: Cut = (1_000, 1 << 20, 50_000, "1s")
FINE: list[Cut] = [(1, 1, 2, "1ms"), (3, 700, 4, "20ms")]


@pytest.mark.parametrize("place", ["split", "several, split", "one, one", "twice, one"])
@pytest.mark.parametrize("extent", ["item", "run", "file"])
def test_cuts_on_a_log_change_nothing(extent: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over topics of several partitions. What an execution gives is compared by itself: tasks run side by side."""
    write_inputs(tmp_path)
    fine = {
        f"{scope}-{name}": variant
        for scope in ("rows", "execution")
        for name, variant in allowed(scope, place, extent, tmp_path).items()
    }
    given = make_items(5, 20)
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in given))

    def ran(cut: Cut) -> Mapping[str, object]:
        records, step_bytes, rows, interval = cut
        monkeypatch.setattr(source_task, "_ROWS_MAX", rows)
        policies = f"\npolicies: {{commit_interval: {interval}, step_bytes_max: {step_bytes}}}"
        text = workflow(fine, place, extent).replace("items: []", f"items: {json.dumps(given)}")
        if extent == "item":
            text = text.replace("schema: item.avsc}", "schema: item.avsc, format: json}", 1)
        text += policies
        folder = tmp_path / f"log-{records}"
        return asyncio.run(with_log(folder, lambda log: once(log, compiled(text, tmp_path), records)))

    async def once(log: EmbeddedLog, topology: Topology, records: int) -> Mapping[str, object]:
        if extent == "item":
            await send(log, "in", given, partitions=2, batch=records)
        await run(topology, log)
        found: dict[str, object] = {}
        for name in fine:
            executions: dict[str, list[str]] = {}
            for rows in (await contents(log, f"out.{name}")).values():
                for _, _, value, headers in rows:
                    # The name of an execution holds which topic it was made as, and that differs between logs.
                    execution = re.sub("#[^/]*", "", str(headers))
                    executions.setdefault(execution, []).append(str(value))
            # Rows that nothing brought together again come as their partitions do.
            ordered = name.startswith("execution")
            found[name] = {e: rows if ordered else sorted(rows) for e, rows in executions.items()}
        return found

    expected = ran(COARSE)
    alone = {"execution-merge-0", "execution-merge-3"}  # pairs, where an execution is one item
    assert {name for name in fine if not expected[name]} <= (alone if "split" not in place else set())
    for cut in FINE:
        got = ran(cut)
        assert [name for name in expected if got[name] != expected[name]] == [], cut


BESIDE = """\
workflow: beside
nodes:
  started: {type: manual, items: [{n: 3}, {n: 1}, {n: 2}]}
  streamed: {type: event, topic: in, format: json}
  all: {type: publish, topic: all, format: json}
  keyed: {type: repartition, key: string(n), partition_count: 1}
  ranked: {type: sort, by: [{value: long(n)}]}
  out: {type: publish, topic: out, format: json}
connections: ["[started, streamed] -> all", started -> keyed -> ranked -> out]
"""


def test_an_execution_ends_though_its_stage_has_tasks_that_never_see_it(tmp_path: Path) -> None:
    """The stream beside it has more partitions than the run, so only the first task tells of the end."""

    async def once(log: EmbeddedLog) -> list[object]:
        await send(log, "in", [{"n": n} for n in range(8)], partitions=4)
        await run(compiled(BESIDE, tmp_path), log)
        return await values(log, "out")

    assert asyncio.run(with_log(tmp_path / "log", once)) == [{"n": 1}, {"n": 2}, {"n": 3}]
