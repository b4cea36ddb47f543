"""init, check, test, plan, lag, audit, reset, doctor, nodes: what they say."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from streamflow.cli.output import table
from streamflow.codecs.records import Record, from_records
from streamflow.codecs.registry import FileRegistry, IncompatibleSchema, UnknownSchema
from streamflow.model.positions import Committed, TopicPartition
from streamflow.sdk.log import TopicSpec


@pytest.mark.parametrize("name", ["shop", "a/b/my-shop", "."])
def test_what_init_makes_checks_tests_and_runs(cli: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == ".":
        Path("here").mkdir()
        monkeypatch.chdir("here")
    told = cli("init", name).stdout.splitlines()
    assert told[0].endswith("Try:")
    for line in told[1:]:
        words = line.split()
        assert words[0] == "streamflow"
        result = cli(*words[1:])
    assert '"total":600.0' in result.stdout


def test_check_tells_what_there_is(cli: Any, shop: str) -> None:
    assert cli("check", shop).stdout == f"{shop}: fine: 5 nodes, 1 stage, 6 topics\n"
    assert cli.json("check", shop) == {"file": shop, "ok": True, "diagnostics": []}


def test_a_misspelt_field_has_a_place(cli: Any, shop: str) -> None:
    Path(shop).write_text(Path(shop).read_text().replace("amount * qty}", "amuont * qty}"))
    stderr = cli("check", shop, code=1).stderr
    assert f"{shop}:5:" in stderr
    assert "amount" in stderr
    assert "\x1b" not in stderr, "colors are for terminals"
    assert cli.json("check", shop, code=1)["diagnostics"][0]["line"] == 5


def test_cases_beside_the_workflow_count(cli: Any, shop: str) -> None:
    Path("shop/workflow.test.yaml").write_text(
        "- name: small ones are passed on\n"
        "  input: {placed: [{id: o-2, customer: ben, country: US, amount: 9.0, qty: 1}]}\n"
        "  expect: {rest: [{id: o-2, customer: ben, country: US, amount: 9.0, qty: 1, total: 10.0}]}\n"
    )
    result = cli("test", shop, code=1)
    assert "ok    a large order from Germany raises an alert" in result.stdout
    assert "FAIL  small ones are passed on   (shop/workflow.test.yaml:1:3)" in result.stdout
    assert "total: 10.0 expected, 9.0 got" in result.stdout
    assert result.stdout.endswith("1 passed, 1 failed\n")
    facts = cli.json("test", shop, code=1)
    assert (facts["passed"], facts["failed"], facts["cases"][1]["ok"]) == (1, 1, False)


def test_a_case_about_nodes_that_are_not_there_is_found_by_check(cli: Any, shop: str) -> None:
    Path("shop/workflow.test.yaml").write_text("- {name: x, input: {plcaed: []}, expect: {rest: []}}\n")
    assert "SF144" in cli("check", shop, code=1).stderr
    assert "SF144" in cli("test", shop, code=1).stderr


def test_plan_in_all_forms(cli: Any, shop: str) -> None:
    assert cli("plan", shop).stdout.startswith("workflow shop\n")
    assert cli("plan", shop, "--mermaid").stdout.startswith("flowchart")
    assert cli("plan", shop, "--svg", "-").stdout.startswith("<svg")
    assert cli("plan", shop, "--svg", "p.svg").stdout == "wrote p.svg\n"
    assert Path("p.svg").read_text().startswith("<svg")
    assert cli.json("plan", shop)["workflow"] == "shop"


def test_lag_before_between_and_after(cli: Any, shop: str) -> None:
    cli("send", "shop.orders", "shop/orders.jsonl", "--schema", "shop/order.avsc")
    assert cli.json("lag", shop)["lag"] == 3
    cli("run", shop, "--until-end")
    assert cli.json("lag", shop)["lag"] == 0
    cli("send", "shop.orders", "shop/orders.jsonl", "--schema", "shop/order.avsc")
    facts = cli.json("lag", shop)
    assert facts["lag"] == sum(t["end"] - t["position"] for t in facts["tasks"]) == 3
    assert cli("lag", shop).stdout.splitlines()[-1] == "lag 3"


def test_audit_of_nothing(cli: Any, shop: str) -> None:
    cli("send", "shop.orders", "shop/orders.jsonl", "--schema", "shop/order.avsc")
    assert "has committed nothing" in cli("audit", shop).stdout
    assert cli.json("audit", shop)["ok"] is True


def test_audit_finds_what_was_skipped(cli: Any, sent: str) -> None:
    """Method: positions are moved behind the workflow's back, as if records had been read and forgotten."""
    cli("send", "shop.orders", "shop/orders.jsonl", "--schema", "shop/order.avsc")

    async def skip(log: Any) -> None:
        places = [TopicPartition("shop.orders", p) for p in range(4)]
        ends = {at: Committed((await log.offsets(at))[1]) for at in places}
        await log.set_offsets("shop.placed", ends)

    cli.on_log(skip)
    assert cli.json("audit", sent, code=1)["ok"] is False
    assert ": end: expected commits up to offset" in cli("audit", sent, code=1).stdout


def test_audit_beside_commits_sees_one_moment(cli: Any, sent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: a commit falls between reading the ledger's end and the group's position, then none does."""
    from streamflow.cli import audit
    from streamflow.cli.common import compile_file

    _, topology = compile_file(Path(sent))

    async def look(log: Any) -> int:
        looks, once = [], audit._look_once

        async def disturbed(*args: Any) -> Any:
            seen = await once(*args)
            looks.append(seen)
            if len(looks) == 1:
                producer = await log.producer("test")
                await producer.begin()
                ledger = TopicPartition("shop.placed.ledger", 0)
                await producer.append(ledger, [from_records([Record(0, 0, None, b"x", [])])])
                await producer.commit()
            return seen

        monkeypatch.setattr(audit, "_look_once", disturbed)
        await audit._look(log, topology)
        return len(looks)

    assert cli.on_log(look) == 2


def test_reset_starts_anew(cli: Any, sent: str) -> None:
    told = cli.json("reset", sent, "--yes")
    assert sorted(told["deleted"]) == ["shop.dead-letter", "shop.placed.journal", "shop.placed.ledger"]
    assert told["groups"] == ["shop.placed"]
    assert cli.json("run", sent, "--until-end")["records_in"] == 3
    assert len(cli.tail("shop.other-orders")) == 4, "outputs stay unless --outputs lets them go"
    assert cli.json("audit", sent)["ok"] is True
    assert "shop.other-orders" in cli.json("reset", sent, "--yes", "--outputs")["deleted"]
    assert [t["topic"] for t in cli.json("topics")] == ["shop.orders"]
    assert cli("reset", sent, "--yes").stdout == "shop: 0 topics deleted, positions of 0 stages forgotten\n"


def test_reset_asks(cli: Any, sent: str) -> None:
    before = cli.json("topics")
    for answer in ("n\n", ""):
        result = cli("reset", sent, code=1, input=answer)
        assert "delete topic shop.placed.ledger" in result.stderr
        assert "nothing was changed" in result.stderr
    assert cli.json("topics") == before
    assert "3 topics deleted, positions of 1 stage forgotten" in cli("reset", sent, input="y\n").stdout


def test_reset_of_what_never_ran(cli: Any, shop: str) -> None:
    cli("reset", shop, "--yes")
    assert not Path(".streamflow").exists()


def test_after_a_reset_of_outputs_another_schema_is_fine(cli: Any, sent: str) -> None:
    text = Path(sent).read_text().replace("fields: {total: amount * qty}", "keep: [], fields: {total: string(qty)}")
    text = text.replace('total > 500 and country in ["DE", "FR"]', 'total == "2"').partition("tests:")[0]
    Path(sent).write_text(text)
    assert "SF404" in cli("run", sent, "--until-end", code=1).stderr
    findings = [f for f in cli.json("doctor", sent, code=1) if f["state"] == "wrong"]
    assert {f["what"] for f in findings} == {"schema shop.large-orders-value", "schema shop.other-orders-value"}
    cli("reset", sent, "--yes", "--outputs")
    assert cli.json("run", sent, "--until-end")["records_out"] == 3
    assert cli.tail("shop.large-orders")[0]["value"] == {"total": "2"}


def test_a_forgotten_subject_keeps_what_its_ids_mean(tmp_path: Path) -> None:
    registry, other = FileRegistry(tmp_path), FileRegistry(tmp_path)
    first, second = (f'{{"type": "record", "name": "R", "fields": [{{"name": "{n}", "type": "int"}}]}}' for n in "ab")
    number = registry.register("s", first)
    with pytest.raises(IncompatibleSchema):
        registry.register("s", second)
    registry.forget("s")
    registry.forget("never there")
    with pytest.raises(UnknownSchema):
        other.latest("s")
    assert json.loads(other.by_id(number)) == json.loads(first)
    assert other.register("s", second) != number
    assert other.latest("s")[1] == 1
    assert other.register("t", first) == number


def test_doctor(cli: Any, shop: str) -> None:
    assert {f["state"] for f in cli.json("doctor", shop)} == {"ok"}
    assert "does not exist yet" in cli("doctor").stdout
    assert not Path(".streamflow").exists()

    async def make(log: Any) -> None:
        await log.create_topic(TopicSpec(name="shop.orders", partitions=2, config={"retention.ms": "60000"}))
        await log.create_topic(TopicSpec(name="shop.placed.ledger", partitions=3))

    cli.log_folder.mkdir(parents=True)
    cli.on_log(make)
    states = {f["what"]: (f["state"], f["found"]) for f in cli.json("doctor", shop, code=1)}
    assert states["topic shop.orders"][0] == "warning"
    assert "60000 ms" in states["topic shop.orders"][1]
    assert states["topic shop.placed.ledger"] == ("wrong", "3 partitions, but stage 'placed' has 2 tasks now")
    Path(shop).write_text("workflow: shop\nnodes: {a: {type: evnt}}\n")
    assert cli.json("doctor", shop, code=1)[3]["state"] == "wrong"


def test_nodes(cli: Any) -> None:
    kinds = {n["kind"]: n for n in cli.json("nodes")}
    assert {"event", "if", "set", "publish", "file", "function"} <= kinds.keys()
    assert all(n["description"].endswith((".", ")")) for n in kinds.values())
    assert len(cli("nodes").stdout.splitlines()) == len(kinds) + 1
    for kind in kinds:
        assert cli("nodes", kind).stdout.startswith(f"# {kind}\n")
        assert cli.json("nodes", kind)["type"] == "object"


def test_a_table_keeps_its_lines() -> None:
    shown = table([("a\nb\x1b", 1_000), ("c", 2)], ("name", "count"))
    assert shown.splitlines() == ["name      count", r"a\nb\x1b  1,000", "c             2"]
    assert table([], ("name", "count")) == "name  count"


def test_a_loop_of_its_own(cli: Any, sent: str) -> None:
    """Commands can be called where an event loop was used before, as in a notebook's cells one after the other."""
    asyncio.run(asyncio.sleep(0))
    cli("topics")
