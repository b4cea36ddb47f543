"""What Kafka Streams 4.3.1 gave for joins of two streams, case by case: `data/kstreams_cases.jsonl`.

Both sides come by one stream, so that time is the same for them as in the recording. Inner joins must give the same
rows after each input, left and outer joins the same rows over the run. Where ours differ, on purpose
(docs/decisions/0016), it is worked out here from the case alone which rows those are:

- Kafka Streams still finds a row that has waited long enough by our rule, for how long depends on the other rows of its
  side. So it may give a row alone, as final, and then in a pair. Here a pair needs a row that waits.
- With before + after + grace = 0 it forgets rows at once, and rows of one time never meet. Here they do.
- What comes too late and meets nobody leaves by `late`; there it comes out alone, where its side is kept.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streamflow.nodes import registry
from streamflow.testing.driver import TopologyDriver
from tests.conformance.test_kstreams import CASES, SCHEMA
from tests.simulation.running import compiled

JOINS = [c for c in CASES if c["op"] == "stream_stream_join"]
Rows = Counter[tuple[object, ...]]
EQUAL = ("00", "03", "09")  # to the row, and after the same inputs
KEPT = {"inner": (), "left": ("left",), "outer": ("left", "right")}
WORKFLOW = """
workflow: case
nodes:
  start: {{type: event, topic: in, schema: in.avsc}}
  keyed: {{type: repartition, key: k}}
  some: {{type: filter, when: v != null}}
  sides: {{type: switch, value: side, cases: [{{equals: left, port: a}}, {{equals: right, port: b}}]}}
  j: {{type: join, key: k, kind: {kind}, before_ms: {before}, after_ms: {after}, grace_ms: {grace}, right_prefix: r_}}
connections: [start -> keyed -> some -> sides, sides.a -> j.left, sides.b -> j.right]
"""


def given(case: dict[str, Any], folder: Path) -> list[tuple[object, ...]]:
    """(after which input, key, value, event time): rows that came out, and late ones where their side is kept."""
    schema = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "side", "type": "string"}]}  # type: ignore[misc]
    (folder / "in.avsc").write_text(json.dumps(schema))
    driver = TopologyDriver(compiled(WORKFLOW.format(**case["params"]), folder), nodes=registry())
    made: list[tuple[object, ...]] = []
    seen = {"out": 0, "late": 0}
    for i, record in enumerate(case["inputs"]):
        items = [{"k": record["key"], "v": record["value"], "side": record["side"]}]
        driver.feed("start", items, times_ms=[record["ts"]], end=False)
        for port in seen:
            batches = driver.outputs.get(("j", port), [])
            for row in (r for b in batches[seen[port] :] for r in b.frame.iter_rows(named=True)):
                if port == "out":
                    made.append((i, row["k"], text(row["v"], row["r_v"]), row["@ts"]))
                elif record["side"] in KEPT[case["params"]["kind"]]:
                    left, right = row["left"] or {}, row["right"] or {}
                    made.append((i, record["key"], text(left.get("v"), right.get("v")), row["@ts"]))
            seen[port] = len(batches)
    return made


def text(left: object, right: object) -> str:
    return f"{left or 'null'}+{right or 'null'}"


def wanted(case: dict[str, Any]) -> list[tuple[object, ...]]:
    return [(r["after"], r["key"], r["value"], r["ts"]) for r in case["expected"]]


class Rule:
    """Which rows of a case wait at which time, and so which pairs our rule leaves out or puts in."""

    def __init__(self, case: dict[str, Any]) -> None:
        p = case["params"]
        self.inputs = case["inputs"]
        self.size = p["before"] + p["after"] + p["grace"]
        self.ahead = {"left": max(p["after"], 0) + p["grace"], "right": max(p["before"], 0) + p["grace"]}
        self.at = {(r["side"], r["value"]): i for i, r in enumerate(self.inputs)}
        self.now = [max(r["ts"] for r in self.inputs[: i + 1]) for i in range(len(self.inputs))]

    def both(self, row: tuple[object, ...]) -> tuple[int, int] | None:
        """Numbers of the inputs of a pair, the earlier one first; None for a row alone."""
        left, right = str(row[2]).split("+")
        if "null" in (left, right):
            return None
        one, two = sorted((self.at["left", left], self.at["right", right]))
        return one, two

    def waits(self, row: int, at: int) -> bool:
        record = self.inputs[row]
        return bool(record["ts"] + self.ahead[record["side"]] >= self.now[at])

    def met(self, row: tuple[object, ...]) -> bool:
        """Whether a pair of theirs is one of ours."""
        pair = self.both(row)
        return pair is None or self.waits(*pair)


@pytest.mark.parametrize("case", JOINS, ids=lambda case: str(case["id"]))
def test_joins_are_those_of_kafka_streams(case: dict[str, Any], tmp_path: Path) -> None:
    rule, ours, theirs = Rule(case), given(case, tmp_path), wanted(case)
    assert (Counter(ours) == Counter(theirs)) == (case["id"][-2:] in EQUAL)
    pairs = [r for r in ours if rule.both(r)]
    assert all(rule.met(r) for r in pairs)
    their_pairs = [r for r in theirs if rule.both(r) and rule.met(r)]
    if rule.size:
        assert Counter(pairs) == Counter(their_pairs)
    else:
        assert not their_pairs
        assert all(one == two for one, two in ([rule.inputs[i]["ts"] for i in rule.both(r) or ()] for r in pairs))
    # Alone come those who did so there, but for who met somebody here; and who met only those there who waited no more.
    met = {i for r in pairs for i in rule.both(r) or ()}
    not_met = {i for r in theirs if not rule.met(r) for i in rule.both(r) or ()} - met
    alone, their_alone = (Counter(r[1:] for r in rows if not rule.both(r)) for rows in (ours, theirs))
    kept = KEPT[case["params"]["kind"]]
    missing = Counter(single(rule.inputs[i]) for i in not_met if rule.inputs[i]["side"] in kept)
    too_many = Counter(single(rule.inputs[i]) for i in met)
    assert alone == (their_alone | missing) - too_many


def single(record: dict[str, Any]) -> tuple[object, ...]:
    value = text(record["value"], None) if record["side"] == "left" else text(None, record["value"])
    return record["key"], value, record["ts"]


def test_there_are_cases() -> None:
    assert len(JOINS) == 19
