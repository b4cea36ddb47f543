"""Random workflows on a log that fails, with a clock of their own and crashes at any step: all executions end legally.

    python -m tests.simulation.random_executions --graphs 10000        # many; the seed of a failure is printed
    python -m tests.simulation.random_executions --seed 4711 --show    # one, with its workflow

Method: a seed draws a graph of branches, splits, waits, loops, repartitions and nodes that fail under every policy, its
items, the faults of the log, which executions are cancelled when and how long they may take, which task works next, how
far, and when one is dropped and begun anew. When nothing is left to do and nothing waits for the clock, the ledger must
balance, what the executions say must agree with it, each must have come to an end, cancelled and timed out only those
that were told to, and those that dead letters name must be failed. Where executions can be recovered, some of them are
then retried and resumed, several times, and must come to such an end again; each dead letter is given once. A seed
makes the same log, byte for byte, each time: the digest that is printed at the end tells.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from streamflow.compiler import compile_document
from streamflow.compiler.codes import CHECKPOINTS, ONE_ROW_EXECUTION, STAGE_CYCLE
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import registry
from streamflow.operators.gathering import STORE as GATHERED
from streamflow.recovery.recover import Recover
from streamflow.recovery.resuming import resumptions
from streamflow.recovery.retrying import retries
from streamflow.recovery.rolling_back import rollbacks
from streamflow.recovery.undoing import compensations
from streamflow.runtime.cancels import ControlRecord, write_cancels
from streamflow.runtime.deadletter import decode_dead_letters
from streamflow.runtime.topics import ensure_topics, stage_width
from streamflow.sdk.errors import Fenced, LogFull
from streamflow.state.memory import MemoryStore
from streamflow.state.restore import restore
from streamflow.testing.faulty_log import FaultyLog, seeded_faults
from streamflow.topology.plan import Topology
from streamflow.workflow.load import load_text
from tests.simulation.auditing import audited
from tests.simulation.histories import agree_with_ledger, records_of, stand
from tests.simulation.one_thread import Inline, in_one_thread, in_turn, incarnations
from tests.simulation.running import contents, send
from tests.simulation.test_watermarks import Bench

PARTITIONS = 2
ROUNDS_MAX = 20_000
KINDS = ("set", "set", "set", "if", "switch", "split", "filter", "repartition", "wait", "signal", "merge", "loop")
POLICIES = (
    "",
    "error",
    "breaker",
    "on_error: continue",
    "on_error: pass",
    "on_error: {fallback: {value: {n: 0}}}",
    "retry: {attempts: 3, delay: 10ms}",
    "retry: {attempts: 3, delay: 2s, backoff: exponential, mode: park}",
    "retry: {attempts: 3, delay: 1s, jitter: 0.5, mode: delay}",
    "on_error: continue, retry: {attempts: 2, delay: 1s, mode: delay}",
    "on_error: pass, retry: {attempts: 2, delay: 1s, mode: park}",
)


@dataclass
class Drawn:
    """A workflow: lines of nodes and wires."""

    choose: random.Random
    nodes: list[str] = field(default_factory=list)
    wires: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=lambda: ["start"])
    compensates: bool = False
    recovers: bool = False
    timeout_s: int = 0  # how long an execution may take; 0: as long as it does
    by_command: bool = False  # steps are undone by commands only
    recorded: list[str] = field(default_factory=list)  # nodes before which there are checkpoints

    def text(self) -> str:
        on_error = "on_error: compensate, " if self.compensates and not self.by_command else ""
        on_error += "recovery: commands, " if self.recovers else ""
        on_error += f"timeout: {self.timeout_s}s, " if self.timeout_s else ""
        if self.recorded:
            on_error += f"checkpoints: {{nodes: [{', '.join(self.recorded)}], rollbacks_max: 2}}, "
        policies = f"policies: {{{on_error}executions: all, commit_interval: 50ms, step_bytes_max: 300, partitions: 2}}"
        head = ["workflow: drawn", "nodes:", "  start: {type: event, topic: in, format: json, key: string(k)}"]
        body = [*(f"  {n}" for n in self.nodes), "connections:", *(f"  - {w}" for w in self.wires)]
        return "\n".join([*head, *body, policies])

    def add(self, name: str, params: str, *ports: str, feeds: Sequence[str]) -> None:
        self.nodes.append(f"{name}: {{{params}}}")
        self.wires += [f"{port} -> {name}" for port in feeds]
        self.ports += [f"{name}.{port}" for port in ports]

    def take(self) -> str:
        """A port that rows leave by; now and then it stays for others, too."""
        port = self.choose.choice(self.ports)
        if self.choose.random() < 0.85:
            self.ports.remove(port)
        return port


@dataclass
class Found(Drawn):
    """A workflow that was drawn once and failed: it is to stay mended whatever is drawn now. `written`: its text."""

    written: str = ""

    def text(self) -> str:
        return self.written

    @classmethod
    def read(cls, file: Path) -> Found:
        written = file.read_text()
        within = re.search(r"timeout: (\d+)s, .*executions: all", written)
        return cls(
            random.Random(0), written=written, compensates="compensate: " in written, recovers="recovery:" in written,
            timeout_s=int(within[1]) if within else 0,
        )  # fmt: skip


def draw(seed: int) -> Drawn:
    """A graph of up to eight nodes, and a sink behind every port."""
    drawn = Drawn(random.Random(seed))
    choose = drawn.choose
    drawn.compensates = choose.random() < 0.3
    # Drawn apart: what a seed gave without these stays.
    other = random.Random(seed + 7)
    drawn.recovers = other.random() < 0.5
    drawn.by_command = drawn.recovers and other.random() < 0.6
    drawn.compensates = drawn.compensates or drawn.by_command
    drawn.timeout_s = random.Random(seed + 3).choice((0, 0, 0, 1, 3, 6))
    for number in range(choose.randint(1, 8)):
        _node(drawn, number)
    _gathering(drawn, random.Random(seed + 2))  # draws by itself: what a seed gave without it stays
    for number, port in enumerate(dict.fromkeys(drawn.ports)):
        drawn.add(f"sink{number}", f"type: publish, topic: out.{number}, format: json", feeds=[port])
    if drawn.recovers and other.random() < 0.6:
        plain = [n.partition(":")[0] for n in drawn.nodes if n.startswith(("set", "if", "switch", "filter", "sink"))]
        drawn.recorded = other.sample(plain, min(len(plain), 2))
    return drawn


def _node(drawn: Drawn, number: int) -> None:
    choose, source = drawn.choose, drawn.take()
    kind = choose.choice(KINDS)
    name, a, b = f"{kind}{number}", choose.randint(2, 5), choose.randint(0, 2)
    match kind:
        case "set":
            _failing(drawn, name, source, a, b)
        case "if":
            drawn.add(name, f"type: if, when: long(n) % {a} == {b}", "true", "false", feeds=[source])
        case "switch":
            cases = ", ".join(f"{{port: r{i}, when: long(n) % 3 == {i}}}" for i in range(2))
            drawn.add(name, f"type: switch, cases: [{cases}], default: rest", "r0", "r1", "rest", feeds=[source])
        case "split":
            drawn.add(name, "type: split, field: tags, keep: true", "out", feeds=[source])
        case "filter":
            drawn.add(name, f"type: filter, when: long(n) % {a} != {b}", "out", feeds=[source])
        case "repartition":
            params = f"type: repartition, key: string(long(n) % {a}), partition_count: {PARTITIONS}"
            drawn.add(name, params, "out", feeds=[source])
        case "wait":
            drawn.add(name, f"type: wait, for: 'long(n) % {a} * 1000'", "out", feeds=[source])
        case "signal":
            drawn.add(name, f"type: wait, signal: go, key: string(k), timeout: {a}s", "out", "timeout", feeds=[source])
        case "merge":
            more = [drawn.take()] if len(drawn.ports) > 1 else []
            drawn.add(name, "type: merge, mode: append", "out", feeds=list(dict.fromkeys([source, *more])))
        case "loop":
            _loop(drawn, name, source, depth=0)


def _loop(drawn: Drawn, name: str, source: str, *, depth: int) -> None:
    """A loop; what its body holds decides whether it goes round within a step or across topics."""
    choose = drawn.choose
    a = choose.randint(2, 4)
    mode = choose.choice(
        [
            f"mode: for, times: long(n) % {a}, collect: long(n)",
            f"mode: do-while, when: long(n) % {a} != 0, limit: 4, break_if: loop.index == {a}",
            "mode: for-each, each: tags, collect: loop.item",
        ]
    )
    own = ", commit_rounds: true" if choose.random() < 0.2 else ""
    drawn.add(name, f"type: loop, {mode}{own}", feeds=[source])
    at, body = f"{name}.body", "type: set, fields: {n: long(n) + 1 + loop.index, odd: 10 // (long(n) % 7)}"
    for i in range(choose.randint(0, 3)):
        step = f"{name}s{i}"
        match choose.choice(("wait", "repartition", "filter", "branch", "parked", "loop" if depth < 1 else "wait")):
            case "wait":
                drawn.add(step, "type: wait, for: 'long(n) % 3 * 700'", feeds=[at])
            case "repartition":
                drawn.add(step, f"type: repartition, key: string(long(n) % {a})", feeds=[at])
            case "filter":
                drawn.add(step, "type: filter, when: long(n) % 5 != 4", feeds=[at])
            case "branch":  # some leave the loop in the middle of a round
                drawn.add(step, "type: if, when: long(n) % 6 != 5", feeds=[at])
                drawn.ports.append(f"{step}.false")
                step += ".true"
            case "parked":
                retry = "retry: {attempts: 2, delay: 500ms, mode: park}"
                drawn.add(step, f"type: set, fields: {{m: 100 // (long(n) % 5 + loop.index)}}, {retry}", feeds=[at])
            case "loop":
                _loop(drawn, step, at, depth=depth + 1)
                step += ".done"
                drawn.ports.remove(step)
        at = step
    drawn.add(f"{name}b", body, feeds=[at])
    drawn.wires.append(f"{name}b -> {name}.back")
    drawn.ports.append(f"{name}.done")


WHOLE = (
    "sort, by: [{value: long(n)}]",
    "limit, count: 1",
    "batch",
    "aggregate, fields: {count: {function: count}}",
)
MERGES = ("combine_by_key, keys: [string(k)]", "combine_by_position", "combine_all", "choose", "first")


def _gathering(drawn: Drawn, choose: random.Random) -> None:
    """Up to two nodes that need all rows of an execution, behind whatever took them apart."""
    late: list[str] = []
    for number in range(choose.choice([0, 1, 1, 2])):
        port = choose.choice(drawn.ports)
        drawn.ports.remove(port)
        if choose.random() < 0.3 or not drawn.ports:
            drawn.add(f"whole{number}", f"type: {choose.choice(WHOLE)}", "out", feeds=[port])
            break  # what stands behind it may be of another schema
        other = choose.choice(drawn.ports)
        mode = choose.choice(MERGES)
        params, ports = f"type: merge, mode: {mode}", ["out"]
        if mode.startswith("combine_by"):
            params += f", join: {choose.choice(['inner', 'left', 'outer'])}"
        if mode != "first" and choose.random() < 0.3:
            params += f", timeout: {choose.randint(1, 3)}s"
            ports += [p for p in ("timeout",) if choose.random() < 0.7]
            if choose.random() < 0.7:
                late.append(f"gathered{number}.late")  # of another schema
        drawn.add(f"gathered{number}", params, *ports, feeds=())
        for side, source in (("left", port), ("right", other)):
            drawn.wires.append(f"{source} -> gathered{number}.{side}")
    drawn.ports += late


def _failing(drawn: Drawn, name: str, source: str, a: int, b: int) -> None:
    """A node that fails for some items, for some of them whatever is tried."""
    policy = drawn.choose.choice(POLICIES)
    if drawn.compensates and drawn.choose.random() < 0.6:
        policy = f"compensate: undo_{name}"
        drawn.add(f"undo_{name}", f"type: publish, topic: undone.{name}, format: json", feeds=())
    params = f"type: set, fields: {{got: 100 // (long(n) % {a} - {b})}}"
    if policy == "error":
        drawn.ports.append(f"{name}.error")
    elif policy == "breaker":
        drawn.add(f"rescue_{name}", "type: no-op", "out", feeds=())
        breaker = "breaker: {failures: 2, within: 1s, probe_after: 500ms}"
        params += f", on_error: {{fallback: rescue_{name}, {breaker}}}"
    elif policy:
        params += f", {policy}"
    drawn.add(name, params, "out", feeds=[source])


@dataclass
class Outcome:
    """What came of a seed. `history`: rows by execution, node and counter, and how each execution stands. `digest`: of
    all records of all topics.
    """

    executions: int
    dead: int
    faults: int
    crashes: int
    history: dict[str, object]
    resumed: int = 0
    retried: int = 0
    refused: int = 0
    compensated: int = 0
    cancelled: int = 0
    timed_out: int = 0
    digest: str = ""


def play(seed: int, folder: Path, drawn: Drawn | None = None) -> Outcome:
    """Run a seed to its end and judge it. `drawn`: another workflow than the seed's. Raises AssertionError."""
    return in_one_thread(lambda: _play(seed, folder, drawn or draw(seed)))


class Refused(Exception):
    """The compiler does not take the graph: it would read what it writes, or an execution is one row."""


def _compiled(drawn: Drawn) -> Topology:
    document, findings = load_text(drawn.text())
    assert document is not None, findings
    topology, more = compile_document(document, registry())
    errors = {f.code for f in more if f.severity == "error"}
    # A compensation may name a step that not all that is combined has passed; nothing is recorded within a loop.
    accepted = {STAGE_CYCLE, ONE_ROW_EXECUTION, CHECKPOINTS, *(["SF211"] if drawn.compensates else [])}
    if topology is None and errors <= accepted:
        raise Refused(more)
    assert topology is not None, [str(f) for f in more]
    return topology


async def _play(seed: int, folder: Path, drawn: Drawn) -> Outcome:
    choose = random.Random(seed + 1)
    topology = _compiled(drawn)
    inner = EmbeddedLog(folder / "log", incarnations=incarnations(seed))
    await inner.open()
    in_turn(inner)
    items = [
        {"n": choose.randint(0, 11), "k": choose.randint(0, 4), "tags": ["a", "b", "c"][: choose.randint(0, 3)], "i": i}
        for i in range(choose.randint(5, 25))
    ]
    await send(inner, "in", items, partitions=PARTITIONS, batch=4)
    log = FaultyLog(inner, seeded_faults(seed, count=choose.randint(0, 4), nth_max=40))
    with Inline(1) as executor:
        bench = Bench(topology, log, executor)
        cancels = Cancels(random.Random(seed + 4), topology, inner, len(items))
        crashes = await _drive(bench, topology, log, choose, cancels)
        again = Recovered()
        for _ in range(choose.randint(1, 4) if drawn.recovers else 0):
            await _recover(topology, inner, choose, again)
            crashes += await _drive(bench, topology, log, choose, cancels)
        await bench.close()
    outcome = await _judge(topology, inner, len(items), again, cancels.ordered if not drawn.timeout_s else None)
    outcome.digest = await _digest(inner)
    await inner.close()
    outcome.faults, outcome.crashes = len(log.fired), crashes
    return outcome


COUNTED = (
    "executions", "dead", "faults", "crashes", "resumed", "retried", "refused", "compensated", "cancelled", "timed_out",
)  # fmt: skip


@dataclass
class Recovered:
    """What commands gave again: retries, and dead letters by number."""

    retries: int = 0
    letters: list[int] = field(default_factory=list)
    compensated: list[int] = field(default_factory=list)
    refused: int = 0


async def _recover(topology: Topology, log: EmbeddedLog, choose: random.Random, again: Recovered) -> None:
    """Retry or resume some of what has failed; now and then a call takes over from one that stands still."""
    await ensure_topics(topology, log)
    async with Recover(log, topology, dry_run=False) as work:
        way = choose.random()
        if way < 0.2:
            wanted = await rollbacks(work, None, registry())
            wanted = choose.sample(wanted, choose.randint(0, len(wanted)))
            again.letters += [record.letter for _, record in wanted]
        elif way < 0.45:
            wanted = await compensations(work, [], all_failed=True)
            again.compensated += [record.letter for _, record in wanted]
        elif way < 0.6:
            letters = [letter.execution async for letter in work.letters() if letter.execution]
            chosen = choose.sample(sorted(set(letters)), min(2, len(set(letters))))
            wanted = await retries(work, chosen, again=True)
            again.retries += len(wanted)
        else:
            fields = {} if choose.random() < 0.3 else {"n": str(choose.randint(0, 11))}
            wanted = await resumptions(work, None, registry(), fields=fields)
            wanted = choose.sample(wanted, choose.randint(0, len(wanted)))
            again.letters += [record.letter for _, record in wanted]
        again.refused += len(work.refused)
        if choose.random() < 0.2 and wanted:
            async with Recover(log, topology, dry_run=False) as other:
                await other.write(wanted)
            try:
                await work.write(wanted)
            except Fenced:
                return
            raise AssertionError("two calls at once have written")
        await work.write(wanted)


@dataclass
class Cancels:
    """Cancels some executions at some moments, in two of three seeds."""

    choose: random.Random
    topology: Topology
    log: EmbeddedLog
    items: int
    ordered: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._left = self.choose.choice((0, 2, 4))

    async def perhaps(self, now_ms: int) -> None:
        if not self._left or self.choose.random() > 0.03:
            return
        self._left -= 1
        of = (await self.log.topics())["in"].incarnation
        numbers = self.choose.sample(range(self.items), self.choose.randint(1, 3))
        ids = [f"in#{of}/{n % PARTITIONS}:{n // PARTITIONS}" for n in numbers]
        self.ordered.update(ids)
        producer = await self.log.producer("cancel")
        cancels = [ControlRecord(execution=one, reason="by chance") for one in ids]
        await write_cancels(self.log, producer, self.topology, cancels, now_ms=now_ms)
        await producer.close()


async def _drive(
    bench: Bench, topology: Topology, log: FaultyLog, choose: random.Random, cancels: Cancels | None = None
) -> int:
    """Tasks work in turn until nothing is left and nothing waits for the clock; how often one was begun anew."""
    topics = await ensure_topics(topology, log.inner)
    widths = {name: info.partitions for name, info in topics.items()}
    everything = [(s.id, p) for s in topology.stages for p in range(stage_width(s, widths))]
    crashes, quiet = 0, 0
    for _ in range(ROUNDS_MAX):
        at = choose.choice(everything) if quiet < len(everything) else everything[quiet % len(everything)]
        try:
            if at not in bench.tasks or (quiet == 0 and choose.random() < 0.04):
                crashes += at in bench.tasks
                await bench.start(*at)
            bench.now_ms += choose.randint(0, 30)
            if cancels is not None:
                await cancels.perhaps(bench.now_ms)
            moved = False
            for _ in range(choose.randint(1, 3)):
                moved = await bench.tasks[at].advance() or moved
            if choose.random() < 0.5 or not moved:
                await bench.tasks[at].settle()
        except (Fenced, LogFull):
            bench.tasks.pop(at, None)
            crashes, quiet = crashes + 1, 0
            continue
        quiet = 0 if moved else quiet + 1
        if quiet >= 3 * len(everything):
            due = [ms for task in bench.tasks.values() if (ms := task._program.graph.due_ms()) is not None]
            if not due:
                return crashes
            bench.now_ms, quiet = max(bench.now_ms, min(due)), 0
    raise AssertionError(f"no end after {ROUNDS_MAX} rounds")


async def _judge(
    topology: Topology, log: EmbeddedLog, items: int, again: Recovered, ordered: set[str] | None
) -> Outcome:
    """`ordered`: executions that were told to end; None: their time may have ended any."""
    report = await audited(log, topology)
    assert report.ok, report.text()
    records = await records_of(log, topology)
    await agree_with_ledger(log, topology, records)
    stands = stand(records, topology)  # raises where a change of status is none
    assert stands["execution"].is_unique().all()
    assert len(stands) == items + again.retries, f"{len(stands)} executions of {items} items, {again}"
    assert set(stands["status"]) <= {"completed", "failed", "cancelled", "timed_out"}, Counter(stands["status"])
    if ordered is not None:
        ended = set(stands.filter(pl.col("status").is_in(["cancelled", "timed_out"]))["execution"])
        assert ended <= ordered, f"executions ended that nobody ended: {sorted(ended - ordered)[:3]}"
        assert "timed_out" not in set(stands["status"])
    at = TopicPartition(f"{topology.workflow}.dead-letter", 0)
    letters = decode_dead_letters(await log.read(at, 0, size_bytes_max=1 << 24)) if (await log.offsets(at))[1] else []
    for letters_once in (again.letters, again.compensated):
        assert len(set(letters_once)) == len(letters_once)
    assert not set(again.letters) & set(again.compensated)
    assert records["resumed"].sum() == len(again.letters)
    outstanding = [letter for letter in letters if letter.position not in again.letters]
    failed = set(stands.filter(pl.col("status") == "failed")["execution"])
    blamed = {letter.execution for letter in outstanding if letter.execution}
    if topology.stages[0].again:
        assert blamed == failed, f"{blamed ^ failed}"
    assert blamed <= failed, f"dead letters of executions that did not fail: {sorted(blamed - failed)[:3]}"
    assert bool(failed) == bool(outstanding), f"{len(failed)} failed, {len(outstanding)} dead letters"
    await _nothing_is_gathered(topology, log)
    nodes = records.select("execution", "nodes").explode("nodes").unnest("nodes").drop_nulls("node").drop("status")
    sums = nodes.group_by("execution", "node").sum()
    history: dict[str, object] = {f"{_place(row[0])} {row[1]}": row[2:] for row in sums.iter_rows()}
    history |= {_place(e): s for e, s in stands.select("execution", "status").iter_rows()}
    ends = Counter(stands["status"].to_list())
    counted = (len(again.letters), again.retries, again.refused, len(again.compensated))
    return Outcome(len(stands), len(letters), 0, 0, history, *counted, ends["cancelled"], ends["timed_out"])


async def _digest(log: EmbeddedLog) -> str:
    found = hashlib.sha256()
    for topic in sorted(await log.topics()):
        found.update(f"{topic} {sorted((await contents(log, topic)).items())}".encode())
    return found.hexdigest()[:16]


async def _nothing_is_gathered(topology: Topology, log: EmbeddedLog) -> None:
    """No gather keeps anything of an execution that is over."""
    topics = await log.topics()
    for changelog in (s.changelog for stage in topology.stages for s in stage.stores if s.name == GATHERED):
        for p in range(topics[changelog].partitions):
            store = MemoryStore()
            await restore(store, log, TopicPartition(changelog, p))
            assert all(key == b"c" and not any(value) for key, value in store.scan()), (changelog, list(store.scan()))


def _place(execution: str) -> str:
    """An execution without the incarnation of its topic, which differs from log to log."""
    topic, _, rest = execution.partition("#")
    return f"{topic}/{rest.partition('/')[2]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--show", action="store_true", help="print the workflow")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.graphs) if given.seed is None else [given.seed]
    begun, failures = time.monotonic(), 0
    total: Counter[str] = Counter()
    digest = hashlib.sha256()
    for seed in seeds:
        if given.show:
            print(draw(seed).text())
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = play(seed, Path(folder))
            except Refused:
                total["refused"] += 1
                continue
            except Exception as error:
                failures += 1
                print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
                continue
        digest.update(outcome.digest.encode())
        for name in COUNTED:
            total[name] += getattr(outcome, name)
    seconds = round(time.monotonic() - begun, 1)
    told = {"graphs": len(seeds), "failures": failures, "seconds": seconds, **total}
    print(json.dumps({**told, "digest": digest.hexdigest()[:16]}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
