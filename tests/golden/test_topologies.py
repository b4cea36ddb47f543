"""Every folder in topologies/ is an example that must do what its expected output says.

`golden.yaml` (optional) names what to send before the run, and what to send `then`, before one more; the `workflow`
that takes the place of the file from then on, and `commands` before that run, as [command, subcommand, options …] of
which the file is put behind the first two (`refuses`: they exit with 1); whether the run `halts`; which other workflows
of the folder it `runs` behind that; and topics of which only the `latest` record of each key is told, since what came
before it depends on how tasks take turns.
`expected/<topic>.jsonl` holds the topic's records, key after key, each key's in their order: what several tasks write
to one partition has no other. Times of dead letters are those of sending and left out.
`expected.executions.json` holds what executions did, where they leave records: how many came to which end through
which nodes. Ids and times are left out. STREAMFLOW_UPDATE_GOLDEN=1 writes the files anew; then read the difference.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from streamflow.cli.common import compile_file, existing_log
from streamflow.cli.execution_tree import facts_of
from streamflow.cli.main import app
from streamflow.runtime.execution_detail import detail
from streamflow.runtime.execution_log import records_of

ROOT = Path(__file__).parents[2] / "topologies"
FOLDERS = sorted(p.parent.name for p in ROOT.glob("*/workflow.yaml"))
UPDATE = bool(os.environ.get("STREAMFLOW_UPDATE_GOLDEN"))


def call(*args: object, ok: bool = True) -> str:
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert (result.exit_code == 0) is ok, (
        f"streamflow {args}: exit {result.exit_code}\n{result.output}\n{result.exception!r}"
    )
    return result.stdout


def records(topic: str, log: str) -> list[dict[str, object]]:
    lines = call("tail", topic, "--from", "earliest", "--no-follow", "--json", "--log", log).splitlines()
    found = sorted((json.loads(line) for line in lines), key=lambda r: (r["partition"], r["offset"]))
    if topic.endswith(".dead-letter"):
        for record in found:
            record["value"].pop("timestamp")
            if record["value"]["topic"].endswith(".repartition"):  # its bytes hold the incarnation of a topic
                record["value"].pop("value")
            if (execution := record["value"]["execution"]) is not None:  # less what a topic was made as
                record["value"]["execution"] = re.sub("#[^/]+/", "#/", execution)
        found.sort(key=lambda r: (r["value"]["topic"], r["value"]["partition"], r["value"]["offset"]))
    else:
        found.sort(key=lambda r: r["key"] or "")  # stable
    return [{"key": r["key"], "value": r["value"]} for r in found]


def settings(folder: Path) -> dict[str, Any]:
    file = folder / "golden.yaml"
    return dict(YAML(typ="safe").load(file.read_text())) if file.exists() else {}


def history(workflow: Path, log: str) -> list[dict[str, Any]]:
    """What executions did, each distinct history once, with how many had it."""
    listed = json.loads(call("executions", "list", workflow, "--max", 100_000, "--json", "--log", log))
    first = listed["executions"][0]["execution"]
    shown = json.loads(call("executions", "show", workflow, first, "--json", "--log", log))
    told: dict[str, int] = {}
    for execution, one in asyncio.run(_details(workflow, log, [e["execution"] for e in listed["executions"]])).items():
        assert execution != first or one.items() <= shown.items()  # which says more of what commands did
        kept = {name: one[name] for name in ("trigger", "status", "error") if one[name] is not None}
        kept["nodes"] = [_of_node(node) for node in one["nodes"]]
        text = json.dumps(kept)
        told[text] = told.get(text, 0) + 1
    return sorted(({"executions": n, **json.loads(text)} for text, n in told.items()), key=json.dumps)


async def _details(workflow: Path, log: str, executions: list[str]) -> dict[str, dict[str, Any]]:
    """What `executions show` tells, of many at once."""
    _, topology = compile_file(workflow)
    found = {}
    async with existing_log(log) as opened:
        for execution in executions:
            records = await records_of(opened, topology, execution)
            assert records is not None
            found[execution] = facts_of(detail(records, topology), topology.workflow)
    return found


def _of_node(node: dict[str, Any]) -> str:
    """A node on one line: its status and the counts that are not zero."""
    gone = ("node", "kind", "stage", "status", "began_ms", "last_ms", "released")
    rows = [f"{name} {rows}" for name, rows in node.items() if name not in gone and rows]
    return ", ".join([f"{node['node']}: {node['status']}", *rows])


def without_offsets(lines: list[str]) -> list[object]:
    """Records less the places of dead letters: on Kafka, ends of transactions take offsets, too."""
    found = [json.loads(line) for line in lines]
    for record in found:
        if isinstance(record["value"], dict):
            record["value"].pop("offset", None)
            if isinstance(execution := record["value"].get("execution"), str):
                record["value"]["execution"] = execution.rpartition(":")[0]
    return found


def send_and_run(folder: Path, log: str) -> None:
    """Send and cancel what the golden.yaml in `folder` says and run to the end; the same of each `then` behind it."""
    plan: dict[str, Any] | None = settings(folder)
    while plan is not None:
        for sent in plan.get("send", []):
            options = [o for k in ("schema", "key", "format") if k in sent for o in (f"--{k}", sent[k])]
            options = [folder / o if str(o).endswith(".avsc") else o for o in options]
            for path in sorted(folder.glob(sent["file"])):
                call("send", sent["topic"], path, *options, "--log", log, ok=not sent.get("refuses", False))
        if "workflow" in plan:
            shutil.copy(folder / plan["workflow"], folder / "workflow.yaml")
        for command, what, *options in plan.get("commands", []):
            refused = "refuses" in options
            options = [o for o in options if o != "refuses"]
            call(command, what, folder / "workflow.yaml", *options, "--log", log, ok=not refused)
        call("run", folder / "workflow.yaml", "--until-end", "--log", log, ok=not plan.get("halts", False))
        plan = plan.get("then")


def run_example(name: str, folder: Path, log: str) -> None:
    """Send what the example's golden.yaml says, run it to its end, compare every topic that it writes, audit."""
    shutil.copytree(ROOT / name, folder)
    workflow = folder / "workflow.yaml"
    send_and_run(folder, log)
    others = [folder / file for file in settings(folder).get("runs", ())]
    for other in others:
        call("check", other)
        call("test", other)
        call("run", other, "--until-end", "--log", log)
    topics = [t for file in (workflow, *others) for t in json.loads(call("plan", file, "--json"))["topics"]]
    wanted = [t["name"] for t in topics if t["kind"] in ("sink", "dead_letter")]
    assert wanted
    for topic in wanted:
        kept = records(topic, log)
        if topic in settings(folder).get("latest", ()):
            kept = list({r["key"]: r for r in kept}.values())
        got = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in kept)
        got = re.sub(r"#[\w-]{16,40}/", "#/", got)  # executions, less what a topic was made as
        golden = ROOT / name / "expected" / f"{topic}.jsonl"
        if UPDATE:
            golden.parent.mkdir(exist_ok=True)
            golden.write_text(got)
        found, expected = got.splitlines(), golden.read_text().splitlines()
        if log.startswith("kafka://") and topic.endswith(".dead-letter"):
            assert without_offsets(found) == without_offsets(expected), f"{topic} differs from {golden.name}"
        else:
            assert found == expected, f"{topic} differs from {golden.name}"
    if (golden := ROOT / name / "expected.executions.json").exists():
        found_history = history(workflow, log)
        if UPDATE:
            golden.write_text(json.dumps(found_history, indent=1, ensure_ascii=False) + "\n")
        assert found_history == json.loads(golden.read_text()), f"{golden} differs"
    audit = json.loads(call("audit", workflow, "--log", log, "--json"))
    assert audit["ok"], audit


@pytest.mark.parametrize("name", FOLDERS)
def test_an_example_gives_its_expected_output(name: str, tmp_path: Path) -> None:
    run_example(name, tmp_path / name, str(tmp_path / "log"))


@pytest.mark.parametrize("name", FOLDERS)
def test_an_example_passes_its_own_cases(name: str) -> None:
    document = YAML(typ="safe").load((ROOT / name / "workflow.yaml").read_text())
    if "tests" not in document:
        pytest.skip("this example has no cases")
    call("test", ROOT / name / "workflow.yaml")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_second_run_adds_nothing(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / name, tmp_path / name)
    log, workflow = tmp_path / "log", folder / "workflow.yaml"
    call("run", workflow, "--until-end", "--log", log)
    before = call("topics", "--json", "--log", log)
    call("run", workflow, "--until-end", "--log", log)
    kept = [t for t in json.loads(before) if not t["topic"].endswith((".ledger", ".journal"))]
    after = [
        t
        for t in json.loads(call("topics", "--json", "--log", log))
        if not t["topic"].endswith((".ledger", ".journal"))
    ]
    assert kept == after
