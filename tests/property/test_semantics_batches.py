"""A physical batch is never observable (DESIGN 12, point 1): splitting a stream into other batches changes no output.

Method: for every node kind a workflow with all its variants side by side. Random items go in once as one step and
once in random steps with commits in between; every port of every node must give the same rows, reserved columns
included, and the same rows must fail. Then some of it again through real tasks on a log, over other record batches
and step sizes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import builtin, registry
from streamflow.runtime import source_task
from streamflow.runtime.deadletter import DeadLetter, decode_dead_letters
from streamflow.testing.driver import TopologyDriver
from streamflow.topology.plan import Topology
from tests.property.semantics_items import TRIGGERS, items, make_items, write_inputs
from tests.simulation.running import compiled, contents, run, send, with_log

FUNCTIONS = "tests.property.semantics_items"
# By kind: nodes that stand behind `many` (the item once for each of its tags, field `at` counts them), and their wires.
# A variant marked `typed` needs fields.
CASES: dict[str, list[tuple[str, str]]] = {
    "if": [("odd: {type: if, when: long(n) % 2 == 1}", "many -> odd")],
    "filter": [("f: {type: filter, when: 10 // long(n) > 2}", "many -> f")],
    "set": [
        ("half: {type: set, fields: {half: 10 // long(n), again: half + 1}, remove: [m]}", "many -> half"),
        ("earlier: {type: set, fields: {before: nodes.start.n}}", "many -> earlier"),
    ],
    "rename": [("r: {type: rename, fields: {name: title}}", "many -> r")],
    "template": [('t: {type: template, text: "{{ name }}: {{ 10 // long(n) }}"}', "many -> t")],
    "switch": [
        (
            "first: {type: switch, cases: [{when: long(n) == 1, port: one}, {when: 10 // long(n) > 2, port: two}]}",
            "many -> first",
        ),
        (
            "every: {type: switch, mode: all, value: n, cases: [{equals: 1, port: a}, {equals: 1, port: b}]}",
            "many -> every",
        ),
    ],
    "split": [
        ("kept: {type: split, field: lines, keep: true, index: line}", "many -> kept"),
        ("apart: {type: split, field: lines}", "many -> apart"),
    ],
    "batch": [
        ("all: {type: batch}", "many -> all"),
        ("twos: {type: batch, size: 2}", "many -> twos"),
        ("threes: {type: batch, size: 3, scope: stream}", "many -> threes"),
        ("again: {type: split, field: items}", "threes -> again"),
    ],
    "sort": [
        (
            "s: {type: sort, by: [{value: double(x), descending: true}, {value: string(name), nulls: first}]}",
            "many -> s",
        ),
        ("bad: {type: sort, by: [{value: 10 // long(n)}]}", "many -> bad"),
    ],
    "limit": [
        ("l: {type: limit, count: 2, offset: 1}", "many -> l"),
        ("whole: {type: limit, count: 5, offset: 1, scope: stream}", "many -> whole"),
    ],
    "aggregate": [
        ("list: {type: aggregate}", "many -> list"),
        (
            "groups: {type: aggregate, by: {name: string(name)}, fields: {count: {function: count}, "
            "sum: {function: sum, of: long(n)}, mean: {function: mean, of: double(x)}, "
            "low: {function: min, of: double(x)}, first: {function: first, of: long(at)}, "
            "last: {function: last, of: long(at)}, all: {function: collect, of: long(n)}, "
            "kinds: {function: count_distinct, of: long(n)}, text: {function: join, of: string(n)}, "
            "best: {function: max_by, of: long(at), by: double(x)}, top: {function: top, of: string(n), k: 2}, "
            "about: {function: approx_count_distinct, of: string(n)}, "
            "q: {function: quantiles, of: double(x), q: [0, 0.5, 1]}}}",
            "many -> groups",
        ),
    ],
    "loop": [
        (
            "f: {type: loop, mode: for, times: long(n), limit: 3, collect: loop.index, break_if: long(n) == 2}",
            "many -> f",
        ),
        ("fb: {type: set, fields: {m: 10 // (long(n) - loop.index)}}", "f.body -> fb, fb -> f.back"),
        ("w: {type: loop, mode: while, when: long(m) < 6, limit: 4, collect: m}", "many -> w"),
        ("wb: {type: set, fields: {m: long(m) + 1}}", "w.body -> wb, wb -> wf"),
        ("wf: {type: filter, when: long(m) != 4}", "wf -> w.back"),
        ("o: {type: loop, mode: for-each, each: lines, collect: m}", "many -> o, o.body -> i, o.done -> all"),
        (
            "i: {type: loop, mode: do-while, when: loop.index < loop.outer.index, collect: n, collect_as: inner}",
            "i.body -> pairs, i.done -> all, i.done -> noinner",
        ),
        ("pairs: {type: set, fields: {pair: '[loop.index, long(loop.outer.item.qty)]'}}", "pairs -> twice"),
        ("twice: {type: split, field: pair, keep: true}", "twice -> ib"),
        ("ib: {type: set, fields: {m: long(pair)}, remove: [pair]}", "ib -> i.back, ib -> all"),
        ("noinner: {type: set, remove: [inner]}", "noinner -> o.back"),
        ("all: {type: merge}", "many -> all"),
        ("p: {type: loop, mode: for-each, batch_size: 2}", "many -> p"),
        ("pb: {type: set, fields: {part: loop.index}}", "p.body -> pb, pb -> p.back"),
    ],
    "merge": [
        ("odd: {type: if, when: long(n) % 2 == 1}", "many -> odd"),
        ("all: {type: merge}", "odd.true -> all, odd.false -> all, many -> all"),
        (
            "key: {type: merge, mode: combine_by_key, keys: [string(name)], join: outer}",
            "odd.true -> key.left, odd.false -> key.right",
        ),
        ("at: {type: merge, mode: combine_by_position, join: left}", "odd.true -> at.left, odd.false -> at.right"),
        ("each: {type: merge, mode: combine_all}", "odd.true -> each.left, odd.false -> each.right"),
        ("one: {type: merge, mode: choose, prefer: right}", "odd.true -> one.left, odd.false -> one.right"),
    ],
    "function": [
        (f"twice: {{type: function, function: '{FUNCTIONS}:twice'}}", "many -> twice"),
        (f"y: {{type: function, mode: frame, function: '{FUNCTIONS}:doubled'}} # typed", "many -> y"),
        (f"even: {{type: function, mode: frame, function: '{FUNCTIONS}:even'}} # typed", "many -> even"),
        (f"fives: {{type: function, mode: frame, function: '{FUNCTIONS}:refuses_fives'}} # typed", "many -> fives"),
        (
            f"turned: {{type: function, mode: frame, scope: execution, function: '{FUNCTIONS}:reversed_rows'}} # typed",
            "many -> turned",
        ),
    ],
    "code": [(f"shared: {{type: code, function: '{FUNCTIONS}:sometimes_raises'}}", "many -> shared")],
    "window": [
        (
            f"{name}: {{type: window, key: string(name), by: {{odd: long(n) % 2}}, {shape}, fields: {{"
            "count: {function: count}, sum: {function: sum, of: long(n)}, mean: {function: mean, of: double(x)}, "
            "low: {function: min, of: double(x)}, first: {function: first, of: long(at)}, "
            "last: {function: last, of: long(at)}, all: {function: collect, of: long(n)}, "
            "kinds: {function: count_distinct, of: long(n)}, text: {function: join, of: string(n)}, "
            "best: {function: max_by, of: long(at), by: double(x)}, top: {function: top, of: string(n), k: 2}, "
            "about: {function: approx_count_distinct, of: string(n)}, "
            "q: {function: quantiles, of: double(x), q: [0, 0.5, 1]}}}",
            f"many -> {name}",
        )
        for name, shape in {
            "tens": "size: 30ms, emit: close",
            "graced": "size: 20ms, grace: 15ms, emit: update",
            "hops": "shape: hopping, size: 30ms, advance: 20ms, emit: close",
            "rolls": "shape: hopping, size: 30ms, advance: 10ms, emit: update",
            "spells": "shape: session, gap: 15ms, grace: 5ms, emit: close",
            "grows": "shape: session, gap: 25ms, emit: update",
            "ticks": "shape: hopping, size: 30ms, advance: 20ms, grace: 5ms, emit: every, every: 10ms",
            "slides": "shape: sliding, size: 20ms, grace: 5ms, emit: close",
            "glides": "shape: sliding, size: 20ms, emit: update",
            "total": "shape: unbounded, emit: update",
        }.items()
    ],
    "table": [
        ("t: {type: table, key: string(name)}", "many -> t"),
        ("odd: {type: if, when: long(n) % 2 == 1}", "many -> odd"),
        ("u: {type: table, key: string(name)}", "odd.true -> u, odd.false -> u.gone"),
        ("c: {type: table, key: string(name), emit: update, gone_key: string(name)}", "u -> c, u.gone -> c.gone"),
    ],
    "lookup": [
        ("near: {type: repartition, key: name} # typed", "many -> near"),
        ("odd: {type: if, when: n % 2 == 1} # typed", "near -> odd"),
        ("third: {type: if, when: at == 1} # typed", "odd.false -> third"),
        (
            "l: {type: lookup, key: name, join: left, prefix: r_} # typed",
            "odd.true -> l, third.false -> l.table, third.true -> l.gone",
        ),
        ("i: {type: lookup, key: name, fields: [x, n], prefix: r_} # typed", "odd.true -> i, odd.false -> i.table"),
    ],
    "table_join": [
        ("near: {type: repartition, key: name} # typed", "many -> near"),
        ("odd: {type: if, when: n % 2 == 1} # typed", "near -> odd"),
        ("third: {type: if, when: at == 1} # typed", "odd.false -> third"),
        *(
            (
                f"{join}: {{type: table_join, key: name, join: {join}, prefix: r_}} # typed",
                f"odd.true -> {join}.left, third.false -> {join}.right, third.true -> {join}.right_gone",
            )
            for join in ("inner", "left", "outer")
        ),
    ],
    "dedupe": [
        ("once: {type: dedupe, key: string(name), within: 25ms}", "many -> once"),
        ("repeats: {type: no-op}", "once.duplicates -> repeats"),
        ("each: {type: dedupe, key: long(n), within: 1ms, grace: 0ms}", "many -> each"),
    ],
    "throttle": [
        ("slow: {type: throttle, key: string(name), count: 2, per: 30ms}", "many -> slow"),
        ("rest: {type: no-op}", "slow.over -> rest"),
    ],
    "debounce": [
        ("settled: {type: debounce, key: string(name), quiet: 15ms}", "many -> settled"),
        ("cut: {type: debounce, key: string(name), quiet: 25ms, at_most: 35ms, grace: 5ms}", "many -> cut"),
        ("behind: {type: set, fields: {m: long(n) + nodes.start.n}}", "settled -> behind"),
    ],
    "pattern": [
        (
            f"{name}: {{type: pattern, key: string(name), within: 35ms, {more}, "
            "steps: {low: long(n) < 3, high: 10 // long(n) > 2}}",
            f"many -> {name}",
        )
        for name, more in {"follow": "grace: 10ms", "next": "contiguity: strict"}.items()
    ],
    "reduce": [
        (
            "run: {type: reduce, key: string(name), initial: 1, expression: (accumulator * 7 + 10 // long(n)) % 1000}",
            "many -> run",
        ),
        (
            'spell: {type: reduce, key: string(name), forget: 15ms, initial: \'{"n": 0, "all": ""}\', '
            'expression: \'{"n": accumulator.n + 1, "all": accumulator.all + string(n)}\'}',
            "many -> spell",
        ),
    ],
    "join": [
        ("keyed: {type: repartition, key: string(name)}", "many -> keyed"),
        ("odd: {type: if, when: long(n) % 2 == 1}", "keyed -> odd"),
        *(
            (
                f"{name}: {{type: join, key: string(name), {rule}, left_prefix: l_, right_prefix: r_}}",
                f"odd.true -> {name}.left, odd.false -> {name}.right",
            )
            for name, rule in {
                "near": "before: 20ms, after: 30ms, grace: 5ms, kind: outer",
                "fits": 'before: 40ms, on: "10 // long(left.at) > long(right.n)", kind: left',
                "tens": "time: window, size: 30ms, kind: anti",
                "rates": "time: asof, within: 50ms, kind: left",
                "any": "time: unbounded, kind: semi",
            }.items()
        ),
        (
            "self: {type: join, key: string(name), after: 10ms, left_prefix: l_, right_prefix: r_}",
            "keyed -> self.left, keyed -> self.right",
        ),
    ],
    "repartition": [
        ("keyed: {type: repartition, key: string(name)}", "many -> keyed"),
        ("behind: {type: set, fields: {k: long(n) + nodes.start.n}}", "keyed -> behind"),
        *(
            (f"{by}: {{type: repartition, partition_count: 2, partition_by: {by}}}", f"many -> {by}")
            for by in ("round_robin", "random", "least_loaded")
        ),
        ("weighted: {type: repartition, partition_by: weighted, weights: [2, 1]}", "many -> weighted"),
        ("chosen: {type: repartition, partition_by: expression, partition: 10 // long(n)}", "many -> chosen"),
    ],
    "publish": [
        ("turns: {type: publish, topic: turns, partitions: 3, partition_by: round_robin}", "many -> turns"),
        ("p: {type: publish, topic: p, key: string(name), headers: {n: 10 // long(n)}}", "many -> p"),
    ],
    "no-op": [("noop: {type: no-op}", "many -> noop")],
    "notification": [
        ('told: {type: notification, url_env: NONE, title: "{{ 10 // long(n) }}"}', "many -> told"),
        ('rated: {type: notification, url_env: NONE, title: "{{ name }}", at_most: 3/1m}', "many -> rated"),
    ],
    "return": [("given: {type: return}", "many -> given")],
    "pass": [("off: {type: filter, when: long(n) > 100, disabled: true}", "many -> off")],
}
# Triggers stand before every case; what else acts outside a graph has a test of its own below.
ELSEWHERE = {
    *("error-trigger", "event", "manual", "file", "stop-and-error", "write-file", "sub-flow", "sub-flow-trigger"),
    *("stub", "wait", "resume-token"),  # every item fails; tests/property/test_waits.py
    "slots",  # tests/property/test_slots.py
}


def test_every_kind_has_a_case() -> None:
    kinds = {kind.spec.kind for kind in builtin()}
    assert kinds == CASES.keys() | ELSEWHERE, "a new node kind needs a case here"


def workflow(kind: str, extent: str, schema: str) -> str:
    """The text of a workflow with the variants of a kind."""
    variants = [v for v in CASES[kind] if schema == "typed" or "# typed" not in v[0]]
    wires = [f"  - {wire}" for _, connections in variants for wire in connections.split(", ")]
    return "\n".join(
        [
            "workflow: cut",
            "nodes:",
            f"  start: {TRIGGERS[extent, schema]}",
            "  many: {type: split, field: tags, keep: true, index: at}",
            *(f"  {node}" for node, _ in variants),
            "connections:",
            "  - start -> many",
            *wires,
        ]
    )


def outputs(driver: TopologyDriver) -> Mapping[str, object]:
    """What every port gave, and what failed; but for `@row`, which counts within a step."""
    seen: dict[str, object] = {}
    for (node, port), batches in driver.outputs.items():
        rows = [
            row
            for batch in batches
            for row in batch.frame.select(c for c in sorted(batch.frame.columns) if c != "@row").iter_rows(named=True)
        ]
        if rows:
            seen[f"{node}.{port}"] = [repr(row) for row in rows]
    seen["failed"] = sorted(map(repr, driver.dead_letters()))
    return seen


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[list[dict[str, Any]]], list[list[int]], list[bool]]:
    """Executions, where steps end in each, and after which steps there is a commit."""
    executions = draw(st.lists(st.lists(items, min_size=4, max_size=8), min_size=1, max_size=2))
    cuts = [sorted(draw(st.lists(st.integers(0, len(e)), min_size=1, max_size=4))) for e in executions]
    return executions, cuts, draw(st.lists(st.booleans(), min_size=12, max_size=12))


def feed(
    driver: TopologyDriver,
    executions: Sequence[Sequence[object]],
    cuts: Sequence[Sequence[int]],
    commits: Sequence[bool],
) -> None:
    at, steps = 0, iter(commits)
    for execution, own in zip(executions, cuts, strict=True):
        edges = [0, *own, len(execution)]
        for start, stop in pairwise(edges):
            keys = [b"k%d" % (i % 2) for i in range(start, stop)]
            times = [10 * (at + i) for i in range(start, stop)]
            driver.feed(
                "start",
                execution[start:stop],
                keys=keys,
                times_ms=times,
                end=stop == len(execution) and start == edges[-2],
            )
            if next(steps, False):
                driver.commit()
        at += len(execution)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cut")
    write_inputs(made)
    return made


def check(topology: Topology, stream: Any) -> Mapping[str, object]:
    executions, cuts, commits = stream
    whole, parts = (TopologyDriver(topology, nodes=registry()) for _ in range(2))
    feed(whole, executions, [[] for _ in executions], [])
    feed(parts, executions, cuts, commits)
    assert outputs(parts) == outputs(whole)
    return outputs(whole)


@pytest.mark.parametrize("schema", ["typed", "any"])
@pytest.mark.parametrize("extent", ["item", "run"])
@pytest.mark.parametrize("kind", sorted(CASES))
def test_cuts_change_nothing(kind: str, extent: str, schema: str, folder: Path) -> None:
    topology = compiled(workflow(kind, extent, schema), folder)

    @settings(max_examples=max(settings.default.max_examples // 20, 3))  # type: ignore[union-attr]
    @given(streams())
    def test(stream: Any) -> None:
        check(topology, stream)

    test()
    # And row by row, which random cuts seldom come to.
    crumbs = make_items(1, 11)
    check(topology, ([crumbs[:4], crumbs[4:]], [[1, 2, 3], [1, 2, 3, 4, 5, 6]], [True, False] * 6))


# The same through tasks, on a log: record batches, steps, commits and pieces of files are cut in other places.

BODY = """\
  many: {type: split, field: tags, keep: true, index: at}
  odd: {type: if, when: long(n) %% 2 == 1}
  ways: {type: switch, cases: [{when: 10 // long(n) > 3, port: much}]}
  all: {type: merge}
  threes: {type: batch, size: 3, scope: stream}
  apart: {type: split, field: items}
  first: {type: limit, count: 7, scope: stream}
  ranked: {type: sort, by: [{value: long(n), descending: true}]}
  sums: {type: aggregate, by: {name: string(name)}, fields: {sum: {function: sum, of: long(n)}}}
  pairs: {type: merge, mode: combine_by_position, join: outer}
  keyed: {type: repartition, key: string(name)}
  archive: {type: write-file, path: archive.jsonl, rows_max: 5}
  limited: {type: publish, topic: out.limited, format: json}
  merged: {type: publish, topic: out.merged, key: string(name), headers: {n: string(n)}, format: json}
  lists: {type: publish, topic: out.lists, format: json}
  summed: {type: publish, topic: out.summed, format: json}
  paired: {type: publish, topic: out.paired, format: json}
  sorted: {type: publish, topic: out.sorted, format: json}
connections:
  - start -> many -> odd
  - odd.true -> ways
  - odd.false -> all
  - ways.much -> all
  - ways.default -> all
  - all -> merged
  - all -> threes -> apart -> lists
  - all -> first -> limited
  - many -> ranked -> sorted
  - many -> sums -> summed
  - odd.true -> pairs.left
  - odd.false -> pairs.right
  - pairs -> paired
  - many -> keyed -> archive
policies: {commit_interval: %s, step_bytes_max: %d, partitions: 1}
"""
START = {
    "topic": "  start: {type: event, topic: in, format: json, schema: item.avsc}\n",
    "files": '  start: {type: file, path: "in/*.jsonl", schema: item.avsc, time: n}\n',
}
Cut = tuple[int, int, int, str]  # records of a batch, bytes of a step, rows of a piece of a file, commit interval
COARSE: Cut = (1_000, 1 << 20, 50_000, "1s")
FINE: list[Cut] = [(1, 1, 1, "1ms"), (3, 1, 2, "1s"), (7, 700, 4, "1ms")]


def everything(
    folder: Path, start: str, given: Sequence[dict[str, Any]], cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> object:
    """All that a run leaves behind: records of its topics, dead letters, files."""
    records, step_bytes, rows, interval = cut
    folder.mkdir()
    write_inputs(folder)
    text = f"workflow: whole\nnodes:\n{START[start]}{BODY % (interval, step_bytes)}"
    monkeypatch.setattr(source_task, "_ROWS_MAX", rows)
    (folder / "in").mkdir()
    for name, part in (("a", given[::2]), ("b", given[1::2])):
        (folder / "in" / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in part))

    async def once(log: EmbeddedLog) -> object:
        if start == "topic":
            await send(log, "in", given, batch=records)
        topology = compiled(text, folder)
        await run(topology, log)
        # What is on internal topics shows in what is made of it; the markers among it have times of their own.
        names = [t.name for t in topology.topics if t.kind == "sink"]
        seen = {name: await contents(log, name) for name in names}
        return seen, [_plain(letter) for letter in await dead_letters(log, "whole.dead-letter")]

    left = asyncio.run(with_log(folder / "log", once))
    return left, {path.name: path.read_text() for path in sorted(folder.glob("archive-*"))}


async def dead_letters(log: EmbeddedLog, topic: str) -> list[DeadLetter]:
    batches = await log.read(TopicPartition(topic, 0), 0, size_bytes_max=1 << 24)
    return decode_dead_letters(batches)


def _plain(letter: DeadLetter) -> object:
    # Which topic it was made as differs between logs, and so do the ids of executions. Where a letter came out of a
    # stage of its own, its offset counts that stage's records, markers included: it differs by commits.
    return letter.node, letter.code, letter.message, letter.timestamp_ms, letter.key, letter.value, letter.item


@pytest.mark.parametrize("start", ["topic", "files"])
@pytest.mark.parametrize("seed", [1, 2])
def test_cuts_on_a_log_change_nothing(start: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = make_items(seed, 24)
    expected = everything(tmp_path / "coarse", start, given, COARSE, monkeypatch)
    for number, cut in enumerate(FINE):
        assert everything(tmp_path / f"fine-{number}", start, given, cut, monkeypatch) == expected, cut


STOPPING = """\
workflow: halt
nodes:
  start: {type: event, topic: in, format: json, schema: item.avsc}
  broken: {type: stop-and-error, message: "item {{ n }}", when: n == 5}
  twos: {type: batch, size: 2, scope: stream}
  out: {type: publish, topic: out, format: json}
connections: [start -> broken -> twos -> out]
policies: {commit_interval: %s, step_bytes_max: %d}
"""


def test_cuts_do_not_move_the_place_of_a_stop(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    expected = halted(tmp_path, COARSE)
    assert "item 5" in expected[0]
    for cut in FINE:
        assert halted(tmp_path, cut) == expected, cut


BETWEEN = {
    "many": "{type: split, field: tags, keep: true, index: at}",
    "keyed": "{type: repartition, key: name, partition_count: 1}",
}


@pytest.mark.parametrize("before", ["many", "keyed", "many -> keyed"])
def test_cuts_do_not_move_the_place_of_a_stop_behind_other_nodes(before: str, tmp_path: Path) -> None:
    """Rows of one item, and rows that came through a topic, where offsets count what commits put between them."""
    write_inputs(tmp_path)
    nodes = "".join(f"  {name}: {node}\n" for name, node in BETWEEN.items() if name in before)
    text = STOPPING.replace("start -> broken", f"start -> {before} -> broken").replace("  broken:", f"{nodes}  broken:")
    if "many" in before:
        text = text.replace("n == 5", "n + at == 6")
    said, expected = halted(tmp_path, COARSE, text)
    assert "item" in said
    for cut in FINE:
        again, got = halted(tmp_path, cut, text)
        assert got == expected, cut
        assert again.partition("(record")[0] == said.partition("(record")[0]


def halted(folder: Path, cut: Cut, text: str = STOPPING) -> tuple[str, object]:
    records, step_bytes, _, interval = cut
    topology = compiled(text % (interval, step_bytes), folder)

    async def once(log: EmbeddedLog) -> tuple[str, object]:
        await send(log, "in", make_items(3, 40), batch=records)
        report = await run(topology, log)
        return str(report.halted), await contents(log, "out")

    return asyncio.run(with_log(folder / f"log-{records}-{step_bytes}-{interval}", once))
