"""Accounting (DESIGN 12, point 9): each row has one fate, and the ledger says which.

Method: random workflows of nodes that split, filter, fail and join, with every error policy, run over random items on a
log. The audit must balance against what is on the topics, and both against a plain Python account of the same graph. A
node that loses, doubles or miscounts a row must be refused before anything of the step is committed.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.runtime.deadletter import decode_dead_letters
from streamflow.runtime.graph import AccountingError
from tests.simulation import odd_nodes
from tests.simulation.auditing import audited, ledger
from tests.simulation.running import compiled, contents, run, send, values, with_log

Item = dict[str, Any]
Account = Callable[[Item], dict[str, list[Item]] | None]  # items by port; None: it failed


def _split(item: Item) -> dict[str, list[Item]] | None:
    tags = item.get("tags")
    if tags is not None and not isinstance(tags, list):
        return None
    return {"out": [{**item, "tags": tag} for tag in tags or ()]}


def _ways(item: Item) -> dict[str, list[Item]]:
    ports = [port for port, least in (("some", 1), ("many", 3)) if item["n"] > least]
    return {port: [item] for port in ports or ["default"]}


# Kinds by name: parameters, output ports, and what becomes of an item.
KINDS: dict[str, tuple[str, tuple[str, ...], Account]] = {
    "filter": (
        "type: filter, when: 10 // long(n) > 2",
        ("out",),
        lambda i: None if i["n"] == 0 else {"out": [i] if 10 // i["n"] > 2 else []},
    ),
    "set": (
        "type: set, fields: {n: 6 // long(n)}",
        ("out",),
        lambda i: None if i["n"] == 0 else {"out": [{**i, "n": 6 // i["n"]}]},
    ),
    "if": ("type: if, when: long(n) % 2 == 1", ("true", "false"), lambda i: {"true" if i["n"] % 2 else "false": [i]}),
    "switch": (
        "type: switch, mode: all, cases: [{when: long(n) > 1, port: some}, {when: long(n) > 3, port: many}]",
        ("some", "many", "default"),
        _ways,
    ),
    "split": ("type: split, field: tags, keep: true", ("out",), _split),
    "merge": ("type: merge", ("out",), lambda i: {"out": [i]}),
}
POLICIES = ("dead_letter", "continue", "pass", "constant", "breaker", "error_port", "fallback", "retry", "unwired")
ONWARD: dict[str, Item] = {"pass": {}, "constant": {"n": 1}, "breaker": {"n": 2}}
# At the end of a branch: rows that come out are fewer than went in, and which they are depends on their order.
LEAVES: dict[str, tuple[str, Callable[[int], int]]] = {
    "publish": ("", lambda rows: rows),
    "batch": ("type: batch, size: 3, scope: stream", lambda rows: rows // 3),
    "limit": ("type: limit, count: 4, offset: 1, scope: stream", lambda rows: max(0, min(4, rows - 1))),
    "repartition": ("type: repartition, key: string(n), partition_count: 2", lambda rows: rows),
}


@dataclass
class Drawn:
    """A workflow: its text, and what it should do."""

    nodes: list[str] = field(default_factory=list)
    wires: list[str] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    feeds: dict[str, list[str]] = field(default_factory=dict)  # node -> ports that feed it
    leaves: dict[str, tuple[str, str]] = field(default_factory=dict)  # topic -> (port, kind of leaf)
    commit_interval: str = "1ms"

    def text(self) -> str:
        head = ["workflow: drawn", "nodes:", "  start: {type: event, topic: in, format: json}"]
        policies = f"policies: {{commit_interval: {self.commit_interval}, step_bytes_max: 200}}"
        return "\n".join(
            [*head, *(f"  {n}" for n in self.nodes), "connections:", *(f"  - {w}" for w in self.wires), policies]
        )


@st.composite
def graphs(draw: st.DrawFn) -> Drawn:
    """Up to six nodes on ports that exist already, a merge perhaps on several; then a topic behind every port."""
    drawn = Drawn(commit_interval=draw(st.sampled_from(["1ms", "1s"])))  # one step a commit, or several
    open_ports = ["start.out"]
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(sorted(KINDS)))
        name = f"{kind}{number}"
        params, ports, _ = KINDS[kind]
        policy = draw(st.sampled_from(POLICIES)) if kind in ("filter", "set", "split") else "dead_letter"
        many = kind == "merge" and len(open_ports) > 1
        feeding = draw(st.lists(st.sampled_from(open_ports), min_size=1, max_size=2 if many else 1, unique=True))
        drawn.nodes.append(f"{name}: {{{params}{_policy(policy, name)}}}")
        drawn.kinds[name], drawn.policies[name], drawn.feeds[name] = kind, policy, feeding
        drawn.wires += [f"{port} -> {name}" for port in feeding]
        open_ports = [p for p in open_ports if p not in feeding or draw(st.booleans())]  # now and then fanned out
        open_ports += [f"{name}.{port}" for port in ports]
        if policy == "fallback":
            drawn.nodes.append(f"rescue{number}: {{type: no-op}}")
            drawn.kinds[f"rescue{number}"], drawn.policies[f"rescue{number}"] = "merge", "dead_letter"
            drawn.feeds[f"rescue{number}"] = [f"{name}.error"]
            open_ports.append(f"rescue{number}.out")
        elif policy == "error_port":
            open_ports.append(f"{name}.error")
    for number, port in enumerate(dict.fromkeys(open_ports)):
        leaf, topic = draw(st.sampled_from(sorted(LEAVES))), f"out.{number}"
        drawn.leaves[topic] = (port, leaf)
        drawn.nodes.append(f"sink{number}: {{type: publish, topic: {topic}, format: json}}")
        middle = ""
        if LEAVES[leaf][0]:
            drawn.nodes.append(f"leaf{number}: {{{LEAVES[leaf][0]}}}")
            middle = f"leaf{number} -> "
        drawn.wires.append(f"{port} -> {middle}sink{number}")
    return drawn


def _policy(policy: str, name: str) -> str:
    return {
        "continue": ", on_error: continue",
        "pass": ", on_error: pass",
        "constant": ", on_error: {fallback: {value: {n: 1}}}",
        "breaker": ", on_error: {fallback: {value: {n: 2}}, breaker: {failures: 10000, within: 1s, probe_after: 1s}}",
        "error_port": ", on_error: error_port",
        "unwired": ", on_error: dead_letter",
        "fallback": f", on_error: {{fallback: rescue{name[-1]}}}",
        "retry": ", retry: {attempts: 3}",
    }.get(policy, "")


def account(drawn: Drawn, given: list[Item]) -> tuple[dict[str, int], Counter[str]]:
    """Records by topic, and dead letters by node, as plain Python tells them."""
    ports: dict[str, list[Item]] = {"start.out": given}
    dead: Counter[str] = Counter()
    for name, kind in drawn.kinds.items():
        for port in drawn.feeds[name]:
            for item in ports.get(port, ()):
                done = KINDS[kind][2](item)
                if done is not None:
                    for out, children in done.items():
                        ports.setdefault(f"{name}.{out}", []).extend(children)
                elif drawn.policies[name] in (
                    "pass",
                    "constant",
                    "breaker",
                ):  # in the place of what it would have given
                    ports.setdefault(f"{name}.out", []).append({**item, **ONWARD[drawn.policies[name]]})
                elif drawn.policies[name] in ("error_port", "fallback"):
                    ports.setdefault(f"{name}.error", []).append({**item, "error": {}})
                elif drawn.policies[name] != "continue":
                    dead[name] += 1
    return {t: LEAVES[leaf][1](len(ports.get(port, ()))) for t, (port, leaf) in drawn.leaves.items()}, dead


def on_a_log(work: Callable[[EmbeddedLog], Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(with_log(Path(folder) / "log", work))


items = st.lists(
    st.fixed_dictionaries({"n": st.integers(0, 6), "tags": st.none() | st.lists(st.integers(0, 3), max_size=3)}),
    min_size=8,
    max_size=20,
)


@settings(max_examples=max(settings.default.max_examples // 2, 10))  # type: ignore[union-attr]
@given(graphs(), items, st.integers(1, 5))
def test_random_workflows_balance(drawn: Drawn, given: list[Item], batch: int) -> None:
    topology = compiled(drawn.text())
    undecodable = [b"{", *given]

    async def once(log: EmbeddedLog) -> None:
        await send(log, "in", undecodable, batch=batch)
        await run(topology, log, threads=2)
        records, dead = account(drawn, given)
        found = {t: sum(map(len, (await contents(log, t)).values())) for t in drawn.leaves}
        assert found == records
        letters = decode_dead_letters(await log.read(TopicPartition("drawn.dead-letter", 0), 0, size_bytes_max=1 << 22))
        assert Counter(letter.node for letter in letters) == dead + Counter(start=1)
        report = await audited(log, topology)
        assert report.ok, report.text()
        for name in drawn.kinds:
            failed = sum(n.dead_lettered for e in await ledger(log, topology) for n in e.nodes if n.node == name)
            assert failed == dead[name]

    on_a_log(once)


@settings(max_examples=max(settings.default.max_examples // 6, 5))  # type: ignore[union-attr]
@given(items, st.sampled_from(["dead_letter", "error_port", "continue"]))
def test_rows_that_fail_as_they_come_out_of_state_are_accounted_for(given: list[Item], policy: str) -> None:
    """A combine whose items collide fails when its execution ends: those rows were absorbed, and then fail."""
    text = f"""\
workflow: late
nodes:
  start: {{type: manual, items: {json.dumps(given)}}}
  odd: {{type: if, when: long(n) % 2 == 1}}
  taken: {{type: set, fields: {{n_right: 0}}}}
  pairs: {{type: merge, mode: combine_by_position, on_error: {policy}}}
  ranked: {{type: sort, by: [{{value: string(n)}}]}}
  out: {{type: publish, topic: out, format: json}}
connections:
  - start -> odd
  - odd.true -> taken -> pairs.left
  - odd.false -> pairs.right
  - pairs{".error" if policy == "error_port" else ""} -> ranked -> out
policies: {{commit_interval: 1ms}}
"""
    topology = compiled(text)

    async def once(log: EmbeddedLog) -> None:
        await run(topology, log, threads=2)
        report = await audited(log, topology)
        assert report.ok, report.text()
        letters = await log.read(TopicPartition("late.dead-letter", 0), 0, size_bytes_max=1 << 22)
        failed = len(decode_dead_letters(letters)) + len(await values(log, "out"))
        collide = len({i["n"] % 2 for i in given}) == 2 and policy != "continue"
        assert failed == (len(given) if collide else 0)

    on_a_log(once)


@pytest.mark.parametrize("at", [0, 7, 29])
@pytest.mark.parametrize("how", ["lose", "double", "lie"])
def test_a_node_that_miscounts_is_refused_and_its_step_not_committed(how: str, at: int, tmp_path: Path) -> None:
    """Method: one bad row among 30, five to a step. Everything of earlier steps is there, nothing of that one."""
    (tmp_path / "n.avsc").write_text('{"type": "record", "name": "N", "fields": [{"name": "n", "type": "long"}]}')
    text = f"""\
workflow: cheated
nodes:
  start: {{type: event, topic: in, format: json, schema: n.avsc}}
  cheat: {{type: cheat, how: {how}, at: {at}}}
  threes: {{type: batch, size: 3, scope: stream}}
  out: {{type: publish, topic: out, format: json}}
connections: [start -> cheat -> threes -> out]
policies: {{commit_interval: 1ms, step_bytes_max: 1}}
"""
    topology = compiled(text, tmp_path, nodes=odd_nodes.registry())

    async def once(log: EmbeddedLog) -> None:
        await send(log, "in", [{"n": n} for n in range(30)], batch=5)
        with pytest.raises(AccountingError, match=r"'cheat'.*rows were lost or doubled"):
            await run(topology, log, nodes=odd_nodes.registry())
        committed = (await log.groups()).get("cheated.start", {})
        reached = sum(c.offset for c in committed.values())
        assert reached <= at // 5 * 5
        assert [v["count"] for v in await values(log, "out")] == [3] * (reached // 3)
        report = await audited(log, topology)
        assert report.ok, report.text()

    asyncio.run(with_log(tmp_path / "log", once))


def test_halting_keeps_the_balance(tmp_path: Path) -> None:
    text = """\
workflow: halting
nodes:
  start: {type: event, topic: in, format: json}
  many: {type: split, field: tags, keep: true, on_error: continue}
  share: {type: set, fields: {share: 6 // long(n)}, on_error: stop}
  out: {type: publish, topic: out, format: json}
connections: [start -> many -> share -> out]
policies: {commit_interval: 1ms, step_bytes_max: 300}
"""
    topology = compiled(text, tmp_path)

    async def once(log: EmbeddedLog) -> None:
        given = [{"n": 41 - n, "tags": [1] * (n % 3) if n % 5 else 7} for n in range(60)]
        await send(log, "in", given, batch=4)
        report = await run(topology, log)
        assert report.halted is not None
        assert len(await values(log, "out")) == sum(n % 3 for n in range(41) if n % 5)
        checked = await audited(log, topology)
        assert checked.ok, checked.text()

    asyncio.run(with_log(tmp_path / "log", once))


def test_rows_that_fail_before_and_at_the_end_of_an_execution_all_reach_the_error_port(tmp_path: Path) -> None:
    """Sorted rows come when the execution ends: then one has no key, and the others collide, at the same moment."""
    given = [{"n": n} for n in (3, 0, 2, 1)]
    text = f"""\
workflow: both
nodes:
  start: {{type: manual, items: {json.dumps(given)}}}
  ranked: {{type: sort, by: [{{value: long(n)}}]}}
  odd: {{type: if, when: long(n) % 2 == 1}}
  taken: {{type: set, fields: {{n_right: 0}}}}
  pairs: {{type: merge, mode: combine_by_key, keys: [long(n) // long(n)], on_error: error_port}}
  out: {{type: publish, topic: out, format: json}}
connections:
  - start -> ranked -> odd
  - odd.true -> taken -> pairs.left
  - odd.false -> pairs.right
  - pairs.error -> out
"""
    topology = compiled(text, tmp_path)

    async def once(log: EmbeddedLog) -> None:
        await run(topology, log)
        found = {v["n"]: v["error"]["code"] for v in await values(log, "out")}
        assert found == {0: "division_by_zero", 1: "collision", 2: "collision", 3: "collision"}
        report = await audited(log, topology)
        assert report.ok, report.text()

    asyncio.run(with_log(tmp_path / "log", once))
