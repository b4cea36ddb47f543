"""`streamflow run`: how it ends, what it says, and what others may do beside it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STOPS = """workflow: strict
nodes:
  numbers: {type: event, topic: numbers, format: json}
  inverse: {type: set, fields: {inverse: 100 // double(n)}}
  out: {type: publish, topic: inverses, format: json}
connections: [numbers -> inverse -> out]
policies: {on_error: stop}
"""
PYTHON = """from streamflow import Workflow

print("building")

def shout(item):
    print("working")
    return {"text": item["text"].upper()}

workflow = Workflow("loud")
said = workflow.event("said", topic="said", format="json")
said >> workflow.function("loud", shout) >> workflow.publish("out", topic="loud", format="json")
"""


def test_a_second_run_goes_on_where_the_first_ended(cli: Any, sent: str) -> None:
    assert len(cli.tail("shop.other-orders")) == 2
    assert cli.json("run", sent, "--until-end")["records_in"] == 0
    cli("send", "shop.orders", "shop/orders.jsonl", "--schema", "shop/order.avsc", "--key", "customer")
    facts = cli.json("run", sent, "--until-end", "--workers", "1")
    assert (facts["records_in"], facts["records_out"], facts["state"], facts["halted"]) == (3, 3, "ended", None)
    assert len(cli.tail("shop.other-orders")) == 4
    assert "nothing lost, nothing doubled" in cli("audit", sent).stdout


def test_the_summary(cli: Any, shop: str) -> None:
    cli("send", "shop.orders", "shop/orders.jsonl", "--schema", "shop/order.avsc")
    out = cli("run", shop, "--until-end").stdout
    assert re.fullmatch(r"3 records in, 3 out, 0 dead letters, [\d.]+ s, [\d,]+ records/s, \d commits?\n", out)


def test_metrics_are_a_file_that_is_whole(cli: Any, sent: str) -> None:
    cli("run", sent, "--until-end", "--metrics", "m.json")
    facts = json.loads(Path("m.json").read_text())
    assert facts["state"] == "ended"
    assert {"records_in", "records_out", "lag", "commits", "stages", "memory_peak_bytes"} <= facts.keys()
    assert sorted(p.name for p in Path().glob("m.json*")) == ["m.json"]


def test_a_duration_ends_it(cli: Any, sent: str) -> None:
    assert cli.json("run", sent, "--duration", "0")["state"] == "ended"


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_guarantees(cli: Any, shop: str, guarantee: str) -> None:
    cli("send", "shop.orders", "shop/orders.jsonl", "--schema", "shop/order.avsc")
    assert cli.json("run", shop, "--until-end", "--guarantee", guarantee)["records_out"] == 3


def test_policy_stop_says_where_and_commits_what_was_before(cli: Any) -> None:
    Path("strict.yaml").write_text(STOPS)
    cli("send", "numbers", "--partitions", "1", input=b'{"n": 1}\n{"n": 2}\n{"n": 0}\n{"n": 4}\n')
    result = cli("run", "strict.yaml", "--until-end", code=1)
    assert "numbers/0 offset 2" in result.stderr
    assert "everything before it is committed" in result.stderr
    assert [r["value"]["n"] for r in cli.tail("inverses")] == [1, 2]
    facts = cli.json("run", "strict.yaml", "--until-end", code=1)
    assert (facts["state"], facts["records_out"]) == ("halted", 0)
    assert "offset 2" in facts["halted"]


def test_an_input_file_that_is_not_there_is_wrong_data(cli: Any) -> None:
    Path("w.yaml").write_text(
        "workflow: w\nnodes: {read: {type: file, path: nope-*.jsonl, format: jsonl},"
        " out: {type: publish, topic: t, format: json}}\nconnections: [read -> out]\n"
    )
    assert "nope-*.jsonl" in cli("run", "w.yaml", "--until-end", code=1).stderr


def test_what_functions_print_does_not_mix_with_json(cli: Any) -> None:
    Path("flow.py").write_text(PYTHON)
    cli("send", "said", input=b'{"text": "hello"}\n')
    assert cli.json("check", "flow.py")["ok"] is True
    result = cli("run", "flow.py", "--until-end", "--json")
    assert json.loads(result.stdout)["records_out"] == 1
    assert "working" in result.stderr
    assert [r["value"] for r in cli.tail("loud")] == [{"text": "HELLO"}]


def test_outputs_are_registered_as_their_owner_wrote_the_schema(cli: Any) -> None:
    """Null stands second in the union: read by a schema that has it first, every value would be another."""
    fields = '[{"name": "a", "type": ["int", "null"]}]'
    Path("s.avsc").write_text('{"type": "record", "name": "S", "fields": %s}' % fields)  # noqa: UP031
    Path("w.yaml").write_text(
        "workflow: w\nnodes: {read: {type: event, topic: i, schema: s.avsc},"
        " out: {type: publish, topic: o, schema: s.avsc}}\nconnections: [read -> out]\n"
    )
    cli("send", "i", "--schema", "s.avsc", input=b'{"a": 1}\n{"a": null}\n')
    cli("run", "w.yaml", "--until-end")
    assert [r["value"] for r in cli.tail("o")] == [{"a": 1}, {"a": None}]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_gracefully_and_others_work_beside_it(cli: Any, sent: str, number: signal.Signals) -> None:
    """Method: real processes; the running workflow answers what is sent meanwhile, then is told to stop."""
    running = cli.start("run", sent)
    cli("send", "shop.orders", "shop/orders.jsonl", "--schema", "shop/order.avsc", "--key", "customer")
    cli.wait_for("shop.other-orders", 4)

    busy = cli("run", sent, "--until-end", code=1).stderr
    assert f"process {running.pid} holds" in busy
    assert f"process {running.pid} holds" in cli("reset", sent, "--yes", code=1).stderr
    assert [f["state"] for f in cli.json("doctor", sent) if f["what"] == "running"] == ["ok"]
    assert "nothing lost" in cli("audit", sent).stdout
    assert cli.json("lag", sent)["lag"] == 0

    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert out.startswith("3 records in, 3 out")
    assert "Traceback" not in err
    assert cli.json("run", sent, "--until-end")["records_in"] == 0


def test_two_workflows_run_on_one_log(cli: Any, sent: str) -> None:
    running = cli.start("run", sent)
    cli("send", "shop.orders", "shop/orders.jsonl", "--schema", "shop/order.avsc")
    cli.wait_for("shop.other-orders", 4)
    cli("init", "other")
    cli("send", "other.orders", "other/orders.jsonl", "--schema", "other/order.avsc")
    assert cli.json("run", "other/workflow.yaml", "--until-end")["records_out"] == 3
    running.terminate()
    running.communicate(timeout=60)
    assert running.returncode == 0


@pytest.mark.parametrize("call", ["send t many.jsonl", "run shop/workflow.yaml --until-end"])
def test_a_full_disk_is_told_and_what_was_committed_stays(cli: Any, sent: str, call: str) -> None:
    """Method: a limit on the size of files stands for the disk; the log's journal may not grow beyond it."""
    Path("many.jsonl").write_text("".join(f'{{"i": "{os.urandom(200).hex()}"}}\n' for _ in range(2_000)))
    Path("orders.jsonl").write_text(
        "".join(
            json.dumps({"id": os.urandom(200).hex(), "customer": "a", "country": "DE", "amount": 1.0, "qty": 1}) + "\n"
            for _ in range(2_000)
        )
    )
    cli("send", "shop.orders", "orders.jsonl", "--schema", "shop/order.avsc")
    size = max(p.stat().st_size for p in cli.log_folder.rglob("*") if p.is_file())
    limited = ["sh", "-c", f'ulimit -f {size // 512 + 100}; exec "$@"', "sh"]
    program = [*limited, sys.executable, "-m", "streamflow.cli.main", *call.split()]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=cli.folder)
    assert done.returncode == 1, done.stderr
    assert "no space" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(cli.tail("shop.orders")) == 2_003
    assert cli.json("run", sent, "--until-end")["lag"] == 0
    assert "nothing lost" in cli("audit", sent).stdout
