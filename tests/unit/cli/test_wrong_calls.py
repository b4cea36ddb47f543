"""Whatever is called wrongly or is not there: one clear message on stderr, the right exit code, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

USAGE = [
    ("", ""),
    ("bogus", "No such command"),
    ("run", "Missing argument"),
    ("run nope.yaml", "no file 'nope.yaml'"),
    ("run nope.py:flow", "no file 'nope.py'"),
    ("run shop", "is a folder. Name the file: shop/workflow.yaml"),
    ("check shop", "is a folder"),
    ("run shop/workflow.yaml --duration nan", "--duration"),
    ("run shop/workflow.yaml --duration -1", "--duration"),
    ("run shop/workflow.yaml --workers 0", "--workers"),
    ("run shop/workflow.yaml --guarantee twice", "'exactly_once', 'at_least_once'"),
    ("run shop/workflow.yaml --metrics nope/figures.json", "--metrics 'nope/figures.json' cannot be written"),
    ("run shop/workflow.yaml --standbys 17", "--standbys"),
    ("run shop/workflow.yaml --standbys 1", "--standbys are other workers, and on the embedded log there is one"),
    (
        "run shop/workflow.yaml --log kafka://localhost:1 --workers 2 --standbys 1 --state rocksdb",
        "2 workers of one run keep state in one folder",
    ),
    ("run shop/workflow.yaml shop/workflow.yaml", "'shop/workflow.yaml' and 'shop/workflow.yaml' are both workflow"),
    ("run shop/workflow.yaml nope.yaml", "no file 'nope.yaml'"),
    ("run shop/workflow.yaml --workers 3 --threads 2", "--workers 3 and --threads 2"),
    ("run shop/workflow.yaml --held-bytes-max 0", "--held-bytes-max"),
    ("run shop/workflow.yaml --held-executions-max many", "--held-executions-max"),
    ("worker a.yaml b.yaml --log kafka://localhost:1", "a worker under Faust runs one workflow, and 2 are named"),
    ("topics --log kafka://localhost:9092?no_such=1", "Kafka option no_such"),
    ("topics --log kafka://", "HOST:PORT"),
    ("topics --log http://localhost", "no log has such an address"),
    ("topics --log shop", "holds something else: 'order.avsc'"),
    ("send t shop/orders.jsonl --log shop", "holds something else"),
    ("topics --log shop/order.avsc", "is a file"),
    ("tail t --from bogus", "--from is earliest, latest"),
    ("tail t --from --5", "--from is earliest, latest"),
    ("tail t --from -99999999", "at most the last"),
    ("tail t --max -1", "--max"),
    ("send t nope.jsonl", "no file 'nope.jsonl'"),
    ("send t shop", "cannot be read"),
    ("send t shop/orders.jsonl --format xml", "'jsonl', 'csv', 'avro', 'parquet'"),
    ("send t shop/orders.jsonl --schema nope.avsc", "--schema 'nope.avsc' cannot be read"),
    ("send t shop/orders.jsonl --schema shop/workflow.yaml", "--schema 'shop/workflow.yaml'"),
    ("send t shop/orders.jsonl --schema shop/order.avsc --key customr", "no field 'customr'"),
    ("send a/b shop/orders.jsonl", "topic name 'a/b' is not allowed"),
    ("init 9", "'9' is no name"),
    ("plan shop/workflow.yaml --json --mermaid", "exclude each other"),
    ("plan shop/workflow.yaml --svg nope/x.svg", "--svg 'nope/x.svg' cannot be written"),
    ("dlq list shop/workflow.yaml --node larg", "Did you mean 'large'?"),
]
WRONG = [
    ("topics", "no log at '.streamflow/log' yet"),
    ("tail t", "no log at"),
    ("lag shop/workflow.yaml", "no log at"),
    ("audit shop/workflow.yaml", "no log at"),
    ("dlq list shop/workflow.yaml", "no log at"),
    ("check shop/order.avsc", "SF110"),
    ("run shop/order.avsc", "cannot run"),
    ("check garbage.yaml", "is not UTF-8"),
    ("check folder.yaml/x.yaml", "no file"),
    ("test quiet.yaml", "no test cases"),
    ("nodes sett", "Did you mean 'set'?"),
    ("init shop", "is not an empty folder"),
    ("init shop/order.avsc/x", "Not a directory"),
]


@pytest.mark.parametrize(("call", "said"), USAGE)
def test_called_wrongly(cli: Any, shop: str, call: str, said: str) -> None:
    result = cli(*call.split(), code=2)
    assert said in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("call", "said"), WRONG)
def test_something_is_wrong(cli: Any, shop: str, call: str, said: str) -> None:
    Path("garbage.yaml").write_bytes(bytes(range(256)) * 8)
    Path("quiet.yaml").write_text("workflow: quiet\nnodes: {a: {type: manual}}\n")
    code = 2 if call == "check folder.yaml/x.yaml" else 1
    result = cli(*call.split(), code=code)
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert not Path(".streamflow").exists(), "looking at a log never makes one"


@pytest.mark.parametrize(
    "call",
    [
        "run nope.yaml",
        "plan shop/order.avsc",
        "topics",
        "tail t",
        "lag shop/workflow.yaml",
        "topics --log kafka://",
        "send t nope.jsonl",
        "dlq show shop/workflow.yaml 7",
        "nodes sett",
    ],
)
def test_with_json_an_error_is_json_too(cli: Any, shop: str, call: str) -> None:
    result = cli(*call.split(), "--json", code=2 if "nope" in call or "kafka" in call else 1)
    told = json.loads(result.stdout)["error"]
    assert told["message"]
    assert told["message"] in result.stderr
    assert {"code", "message", "mend"} <= told.keys()


def test_the_findings_of_a_workflow_are_in_the_json(cli: Any, shop: str) -> None:
    assert cli.json("check", "shop/order.avsc", code=1)["diagnostics"][0]["code"] == "SF110"
    assert cli.json("plan", "shop/order.avsc", code=1)["error"]["diagnostics"][0]["code"] == "SF110"


def test_a_corrupt_log_is_told(cli: Any, sent: str) -> None:
    snapshot = sorted((cli.log_folder / "journal").glob("*.journal"))[-1]
    data = bytearray(snapshot.read_bytes())
    data[len(data) // 2] ^= 0xFF
    snapshot.write_bytes(data)
    for call in (["topics"], ["tail", "shop.orders"], ["run", sent, "--until-end"], ["audit", sent]):
        assert "SF507" in cli(*call, code=1).stderr
    findings = cli.json("doctor", sent, code=1)
    assert [f["what"] for f in findings if f["state"] == "wrong"] == ["log"]


def test_help_is_asked_for_with_h_too(cli: Any) -> None:
    assert cli("-h").stdout == cli("--help").stdout
    assert "--until-end" in cli("run", "-h").stdout
    assert cli("--version").stdout.startswith("streamflow ")


def test_the_commands_load_nothing_heavy_before_they_run() -> None:
    """What `--help` has to load decides how long it takes: typer, and nothing of what the work needs."""
    heavy = ["polars", "numpy", "fastavro", "aiokafka", "uvloop", "rich", "pydantic", "asyncio", "orjson", "httpx"]
    code = f"import sys, streamflow.cli.main; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
