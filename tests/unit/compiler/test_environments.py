"""Environments and the context of executions: settled when a workflow is compiled, told by headers when it runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamflow.cli.main import app
from streamflow.codecs.recordbatch import from_records
from streamflow.codecs.records import Record
from streamflow.expressions.context import header_of, trace_of
from streamflow.logs.embedded import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.nodes import registry
from streamflow.replay.follow import follow
from streamflow.runtime.execution_states import decode_records
from streamflow.sdk.log import TopicSpec
from tests.simulation.running import compiled, contents, run, values, with_log

WORKFLOW = """
workflow: orders
vars: {limit: 10, currency: EUR}
environments:
  production: {vars: {limit: 1000}}
  staging: {vars: {}}
nodes:
  start: {type: event, topic: in, format: json}
  priced:
    type: set
    keep: []
    fields: {limit: vars.limit, currency: vars.currency, where: 'coalesce(meta.environment, "none")'}
  out: {type: publish, topic: out, format: json}
connections: [start -> priced -> out]
policies: {POLICIES}
tests:
  - {name: one, input: {start: [{n: 1}]}, expect: {out: [{limit: LIMIT, currency: EUR, where: WHERE}]}}
"""


@pytest.mark.parametrize(
    ("policies", "options", "variable", "limit", "where"),
    [
        ("", [], "", 10, "none"),
        ("environment: production", [], "", 1000, "production"),
        ("environment: production", [], "staging", 10, "staging"),
        ("environment: staging", ["--env", "production"], "staging", 1000, "production"),
    ],
)
def test_the_environment_that_is_asked_for_holds(
    policies: str, options: list[str], variable: str, limit: int, where: str, tmp_path: Path
) -> None:
    text = WORKFLOW.replace("POLICIES", policies).replace("LIMIT", str(limit)).replace("WHERE", where)
    (tmp_path / "workflow.yaml").write_text(text)
    environment = {"STREAMFLOW_ENVIRONMENT": variable} if variable else {}
    told = CliRunner().invoke(app, ["test", str(tmp_path / "workflow.yaml"), *options], env=environment)
    assert told.exit_code == 0, told.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WORKFLOW.replace("POLICIES", "environment: producton"), "Did you mean 'production'?"),
        (WORKFLOW.replace("POLICIES", "").replace("{limit: 1000}", "{limt: 1}"), "Did you mean 'limit'?"),
    ],
)
def test_what_is_misspelt_is_an_error(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "workflow.yaml").write_text(text.replace("LIMIT", "1").replace("WHERE", "x"))
    told = CliRunner().invoke(app, ["check", str(tmp_path / "workflow.yaml")])
    assert told.exit_code == 1
    assert "SF263" in told.output
    assert said in told.output


def test_a_sub_flow_is_in_the_environment_of_its_user(tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text(
        "workflow: inner\nvars: {by: 2}\nenvironments: {production: {vars: {by: 5}}}\nnodes:\n"
        "  given: {type: sub-flow-trigger}\n  times: {type: set, fields: {n: long(n) * vars.by}}\n"
        "  result: {type: return}\nconnections: [given -> times -> result]\n"
    )
    (tmp_path / "workflow.yaml").write_text(
        "workflow: outer\nnodes:\n  start: {type: event, topic: in, format: json}\n"
        "  sub: {type: sub-flow, workflow: inner.yaml}\n  out: {type: publish, topic: out, format: json}\n"
        "connections: [start -> sub -> out]\npolicies: {environment: production}\n"
        "tests: [{name: one, input: {start: [{n: 1}]}, expect: {out: [{n: 5}]}}]\n"
    )
    told = CliRunner().invoke(app, ["test", str(tmp_path / "workflow.yaml")])
    assert told.exit_code == 0, told.output


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CONTEXT = """
workflow: traced
nodes:
  start: {type: event, topic: in, format: json}
  keyed: {type: repartition, key: string(n), partition_count: 2}
  told: {type: set, fields: {user: meta.user, session: meta.session, trace: meta.trace}}
  out: {type: publish, topic: out, format: json, headers: {traceparent: meta.traceparent}}
connections: [start -> keyed -> told -> out]
policies: {executions: all, context: {user: "header:x-user", session: x-session}}
"""


def test_headers_tell_the_context_behind_a_topic_as_well(tmp_path: Path) -> None:
    """Method: records with and without headers, through a repartition; the trace goes on in what is published."""
    (tmp_path / "workflow.yaml").write_text(CONTEXT)
    topology = compiled(CONTEXT, tmp_path)
    traceparent = f"00-{TRACE}-00f067aa0ba902b7-01".encode()
    headers: list[list[tuple[str, bytes | None]]] = [
        [("X-User", b"ada"), ("x-session", b"s-1"), ("traceparent", traceparent)],
        [],
        [("x-user", b"\xff"), ("x-session", b"x" * 900), ("traceparent", b"nonsense")],
    ]

    async def work(log: EmbeddedLog) -> tuple[list[Any], list[Any]]:
        await log.create_topic(TopicSpec(name="in", partitions=1))
        producer = await log.producer("send")
        await producer.begin()
        found = [Record(0, n, None, json.dumps({"n": n}).encode(), own) for n, own in enumerate(headers)]
        await producer.append(TopicPartition("in", 0), [from_records(found)])
        await producer.commit()
        await producer.close()
        await run(topology, log)
        return await values(log, "out"), [r for rows in (await contents(log, "out")).values() for r in rows]

    items, records = asyncio.run(with_log(tmp_path / "log", work))
    nothing = {"user": None, "session": None, "trace": None}
    assert sorted(items, key=lambda i: int(i["n"])) == [
        {"n": 0, "user": "ada", "session": "s-1", "trace": TRACE}, {"n": 1, **nothing}, {"n": 2, **nothing},
    ]  # fmt: skip
    assert traceparent.decode() in repr(records)

    at = [str(tmp_path / "workflow.yaml"), "--log", str(tmp_path / "log")]
    listed = json.loads(CliRunner().invoke(app, ["executions", "list", *at, "--json"]).stdout)["executions"]
    shown = [
        json.loads(CliRunner().invoke(app, ["executions", "show", at[0], e["execution"], *at[1:], "--json"]).stdout)
        for e in sorted(listed, key=lambda e: e["execution"])
    ]
    context = {"user": "ada", "session": "s-1", "trace": TRACE}
    assert [one.get("context") for one in shown] == [context, None, None]
    told = CliRunner().invoke(app, ["executions", "show", at[0], shown[0]["execution"], *at[1:]]).stdout
    assert f"user ada, session s-1, trace {TRACE}" in told
    for option, value, count in (
        ("--user", "ada", 1),
        ("--session", "s-1", 1),
        ("--trace", TRACE, 1),
        ("--user", "x", 0),
    ):
        found = json.loads(CliRunner().invoke(app, ["executions", "list", *at, option, value, "--json"]).stdout)
        assert [e["context"] for e in found["executions"]] == [context] * count, option
        assert sum(found["totals"].values()) == count
    assert "ada" in CliRunner().invoke(app, ["executions", "list", *at]).stdout


MANY = """\
workflow: many
nodes:
  start: {type: event, topic: in, format: json}
  check: {type: set, fields: {half: 1 // (n % 7)}}
  out: {type: publish, topic: out, format: json}
connections: [start -> check -> out]
policies: {executions: EXECUTIONS, environment: staging, context: {user: x-user, session: x-session}, redact: [session]}
"""


@pytest.mark.parametrize("executions", ["all", "errors"])
def test_records_of_executions_hold_it_however_many_differ(executions: str, tmp_path: Path) -> None:
    """Method: a step of 300 items, each of a user of its own, a seventh of which fail; the records, and a replay's."""
    text = MANY.replace("EXECUTIONS", executions)
    topology = compiled(text, tmp_path)
    assert "@headers" in topology.stages[0].needs

    async def work(log: EmbeddedLog) -> None:
        await log.create_topic(TopicSpec(name="in", partitions=1))
        producer = await log.producer("send")
        await producer.begin()
        found = [
            Record(0, n, None, json.dumps({"n": n}).encode(), [("x-user", f"u-{n}".encode()), ("x-session", b"s")])
            for n in range(300)
        ]
        await producer.append(TopicPartition("in", 0), [from_records(found)])
        await producer.commit()
        await producer.close()
        await run(topology, log)
        told = {}
        for p in range((await log.topics())["many.executions"].partitions):
            at = TopicPartition("many.executions", p)
            start, end = await log.offsets(at)
            if start < end:
                for row in decode_records(await log.read(at, start, size_bytes_max=1 << 22)).iter_rows(named=True):
                    told[int(row["execution"].rpartition(":")[2])] = row
        numbers = [n for n in range(300) if executions == "all" or n % 7 == 0]
        assert sorted(told) == numbers
        for n, row in told.items():
            assert (row["user"], row["session"], row["trace"]) == (f"u-{n}", "(redacted)", None)
            assert row["environment"] == "staging"
            assert (row["error_code"] is not None) is (n % 7 == 0)
        again = EmbeddedLog(tmp_path / "replayed")
        await again.open()
        await follow(topology, log, again, nodes=registry())
        assert await contents(again, "many.executions") == await contents(log, "many.executions")
        await again.close()

    asyncio.run(with_log(tmp_path / "log", work))
    (tmp_path / "workflow.yaml").write_text(text)
    at = [str(tmp_path / "workflow.yaml"), "--log", str(tmp_path / "log")]
    refused = CliRunner().invoke(app, ["executions", "list", *at, "--session", "s"])
    assert refused.exit_code == 1
    assert "redact" in refused.output


def test_a_workflow_without_context_asks_for_no_headers(tmp_path: Path) -> None:
    text = MANY.replace("EXECUTIONS", "all").replace(", context: {user: x-user, session: x-session}", "")
    assert "@headers" not in compiled(text, tmp_path).stages[0].needs


def test_what_no_header_tells_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "workflow.yaml").write_text(CONTEXT.replace('user: "header:x-user", ', ""))
    told = CliRunner().invoke(app, ["check", str(tmp_path / "workflow.yaml")])
    assert told.exit_code == 1
    assert "nothing tells `meta.user` here" in told.output


@pytest.mark.parametrize(
    ("value", "trace"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01".encode(), TRACE),
        (f"01-{TRACE}-00f067aa0ba902b7-01-more".encode(), TRACE),
        (f"ff-{TRACE}-00f067aa0ba902b7-01".encode(), None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01".encode(), None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01".encode(), None),
        (b"\xff", None),
        (None, None),
    ],
)
def test_a_traceparent_is_read_as_w3c_has_it(value: bytes | None, trace: str | None) -> None:
    assert trace_of([{"key": "Traceparent", "value": value}], "traceparent") == trace
    assert header_of([], "traceparent") is None
