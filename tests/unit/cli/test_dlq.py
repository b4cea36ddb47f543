"""`streamflow dlq`: what failed, byte for byte, and sent again at most once, whoever asks how often."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streamflow.cli.redrive import HEADER, Redrive
from streamflow.codecs.records import Record
from streamflow.logs import EmbeddedLog
from streamflow.model.positions import TopicPartition
from streamflow.sdk.errors import Fenced
from streamflow.sdk.log import TopicSpec

WORKFLOW = """workflow: inverses
nodes:
  numbers: {type: event, topic: numbers, format: json}
  inverse: {type: set, fields: {inverse: 100 // long(n)}}
  small: {type: set, fields: {root: 100 // (inverse - 10)}}
  out: {type: publish, topic: inverses, format: json}
connections: [numbers -> inverse -> small -> out]
"""
RECORDS = [
    Record(0, 1_000, b"k0", b'{"n": 0}', [("trace", b"\x01\xff"), ("trace", None)]),
    Record(0, 2_000, None, b'{"n": 5}', []),  # 100 // 5 - 10 = 10: fine
    Record(0, 3_000, b"\xff", b'{"n": 10}', []),  # 100 // 10 - 10 = 0: fails in the second node
    Record(0, 4_000, b"k3", b"no json", [("h", b"x")]),
]


@pytest.fixture
def failed(cli: Any) -> str:
    """Three dead letters: one of each node, and one that does not decode."""
    Path("w.yaml").write_text(WORKFLOW)
    cli.append("numbers", RECORDS)
    facts = cli.json("run", "w.yaml", "--until-end")
    assert (facts["dead_letters"], facts["records_out"]) == (3, 1)
    return "w.yaml"


def redriven(cli: Any) -> list[dict[str, Any]]:
    return [r for r in cli.tail("numbers") if HEADER in dict(r.get("headers", []))]


def test_list(cli: Any, failed: str) -> None:
    told = cli.json("dlq", "list", failed)
    assert told["total"] == 3
    by_node = {d["node"]: d for d in told["dead_letters"]}
    assert by_node["inverse"]["code"] == "division_by_zero"
    assert by_node["numbers"]["value"] == "no json"
    assert by_node["small"]["key"] == {"base64": "/w=="}
    lines = cli("dlq", "list", failed).stdout.splitlines()
    assert lines[0].split() == ["number", "node", "code", "record", "message"]
    assert len(lines) == 4
    assert cli.json("dlq", "list", failed, "--node", "small")["total"] == 1
    newest = cli("dlq", "list", failed, "--max", "1").stdout.splitlines()
    assert len(newest) == 3
    assert newest[2] == "(the newest 1 of 3; --max shows more)"


def test_show(cli: Any, failed: str) -> None:
    letters = cli.json("dlq", "list", failed)["dead_letters"]
    number = next(d["number"] for d in letters if d["node"] == "inverse")
    one = cli.json("dlq", "show", failed, number)
    assert one["headers"] == [["trace", {"base64": "Af8="}], ["trace", None]]
    assert (one["key"], one["value"], one["topic"], one["offset"]) == ("k0", '{"n": 0}', "numbers", 0)
    assert one in letters
    assert 'value      {"n": 0}' in cli("dlq", "show", failed, number).stdout
    assert "no dead letter 3" in cli("dlq", "show", failed, 3, code=1).stderr


def test_a_value_in_avro_is_shown_decoded_too(cli: Any, shop: str) -> None:
    text = Path(shop).read_text().replace("amount * qty}", "100 // (qty - 2)}")
    Path(shop).write_text(text)
    cli("send", "shop.orders", "shop/orders.jsonl", "--schema", "shop/order.avsc")
    cli("run", shop, "--until-end")
    one = cli.json("dlq", "show", shop, 0)
    assert one["decoded"]["id"] == "o-1"
    assert "base64" in one["value"]


def test_none(cli: Any, sent: str) -> None:
    assert cli("dlq", "list", sent).stdout == "no dead letters\n"
    assert cli.json("dlq", "list", sent) == {"total": 0, "dead_letters": []}
    assert cli("dlq", "redrive", sent).stdout == "0 records sent again\n"


def test_redrive_sends_the_originals_once(cli: Any, failed: str) -> None:
    assert cli.json("dlq", "redrive", failed, "--dry-run") == {
        "sent": 0,
        "would_send": 3,
        "without_record": 0,
        "undone": 0,
    }
    assert redriven(cli) == []
    assert cli.json("dlq", "redrive", failed)["sent"] == 3
    assert cli.json("dlq", "redrive", failed)["sent"] == 0
    originals = {
        r["value"] if isinstance(r["value"], str) else json.dumps(r["value"]): r for r in cli.tail("numbers")[:4]
    }
    again = redriven(cli)
    assert len(again) == 3
    for record in again:
        original = originals[record["value"] if isinstance(record["value"], str) else json.dumps(record["value"])]
        assert [h for h in record["headers"] if h[0] != HEADER] == original.get("headers", [])
        assert (record["key"], record["timestamp"]) == (original["key"], original["timestamp"])


def test_what_fails_again_can_be_redriven_again_without_old_headers(cli: Any, failed: str) -> None:
    cli("dlq", "redrive", failed)
    assert cli.json("run", failed, "--until-end")["dead_letters"] == 3
    assert cli.json("dlq", "redrive", failed)["sent"] == 3
    assert all([h[0] for h in r["headers"]].count(HEADER) == 1 for r in redriven(cli))
    assert sorted(dict(r["headers"])[HEADER] for r in redriven(cli)) == list("012345")


def test_nodes_can_be_redriven_one_by_one_in_any_order(cli: Any, failed: str) -> None:
    def sent(*args: str) -> int:
        return int(cli.json("dlq", "redrive", failed, *args)["sent"])

    assert sent("--node", "small") == 1
    assert sent("--node", "small") == 0
    cli.append("numbers", RECORDS)
    cli("run", failed, "--until-end")  # 3 new letters, and the redriven record failed again
    assert sent("--node", "small") == 2
    assert sent() == 4
    assert sent() == sent("--node", "small") == sent("--node", "inverse") == 0
    assert max(Counter(dict(r["headers"])[HEADER] for r in redriven(cli)).values()) == 1


def test_redrives_at_once_send_nothing_twice(cli: Any, failed: str) -> None:
    """Method: real processes at the same time; the later one takes over from the earlier, or goes on behind it."""
    processes = [cli.start("dlq", "redrive", failed, "--json") for _ in range(3)]
    total = 0
    for process in processes:
        out, err = process.communicate(timeout=60)
        told = json.loads(out)
        assert process.returncode == (1 if "error" in told else 0), err
        total += told.get("error", told)["sent"]
    assert total == 3
    assert sorted(dict(r["headers"])[HEADER] for r in redriven(cli)) == ["0", "1", "2"]


def test_an_older_redrive_is_fenced(cli: Any, failed: str) -> None:
    """Method: the second one runs whole while the first stands between reading and sending."""
    from streamflow.cli.common import compile_file

    _, topology = compile_file(Path(failed))

    async def run() -> tuple[int, int]:
        log = EmbeddedLog(cli.log_folder)
        await log.open()
        first, second = Redrive(log, topology, None), Redrive(log, topology, None)
        send, waits, goes = first._send, asyncio.Event(), asyncio.Event()

        async def held(*args: Any, **more: Any) -> None:
            waits.set()
            await goes.wait()
            await send(*args, **more)

        first._send = held  # type: ignore[method-assign]
        running = asyncio.create_task(first.run(dry_run=False))
        await waits.wait()
        await second.run(dry_run=False)
        goes.set()
        with pytest.raises(Fenced):
            await running
        await log.close()
        return first.sent, second.sent

    assert asyncio.run(run()) == (0, 3)
    assert len(redriven(cli)) == 3


def test_a_letter_that_was_cut_is_redriven_whole(cli: Any, failed: str) -> None:
    """A record that is larger than a dead letter may be: its bytes come from the topic it stood on."""
    value = b'{"pad": "' + b"x" * 1_100_000 + b'", "n": 0}'
    cli.append("numbers", [Record(0, 5_000, b"big", value, [("h", b"y" * 20_000)])])
    cli("run", failed, "--until-end")
    letter = cli.json("dlq", "list", failed)["dead_letters"][-1]
    assert "cut to fit" in letter["message"]
    assert cli.json("dlq", "redrive", failed)["sent"] == 4
    big = next(r for r in redriven(cli) if r["key"] == "big")
    assert big["value"]["pad"] == "x" * 1_100_000
    assert dict(big["headers"])["h"] == "y" * 20_000


def test_a_topic_that_is_gone_stops_it(cli: Any, failed: str) -> None:
    async def gone(log: EmbeddedLog) -> None:
        await log.delete_topic("numbers")

    cli.on_log(gone)
    assert "there is no numbers/0 any more" in cli("dlq", "redrive", failed, code=1).stderr

    async def back(log: EmbeddedLog) -> None:
        await log.create_topic(TopicSpec(name="numbers"))

    cli.on_log(back)
    assert cli.json("dlq", "redrive", failed)["sent"] == 3


def test_letters_of_items_without_a_record_are_counted(cli: Any) -> None:
    Path("rows.jsonl").write_text('{"a": 1}\nno json\n')
    Path("f.yaml").write_text(
        "workflow: f\nnodes: {read: {type: file, path: rows.jsonl}, out: {type: publish, topic: t, format: json}}\n"
        "connections: [read -> out]\n"
    )
    cli("run", "f.yaml", "--until-end")
    told = cli.json("dlq", "redrive", "f.yaml")
    assert (told["sent"], told["without_record"]) == (0, 1)
    assert cli.json("dlq", "show", "f.yaml", 0)["value"] == "no json"
    assert TopicPartition("f.dead-letter", 0).partition == 0


SAGA = """workflow: saga
nodes:
  numbers: {type: event, topic: numbers, format: json}
  take: {type: set, fields: {taken: "1"}, compensate: give}
  ship: {type: set, fields: {each: 100 // long(n)}}
  out: {type: publish, topic: shipped, format: json}
  give: {type: set, fields: {taken: "0"}}
connections: [numbers -> take -> ship -> out]
policies: {on_error: compensate}
"""


def test_redrive_says_which_items_had_been_undone(cli: Any) -> None:
    Path("w.yaml").write_text(SAGA)
    cli.append("numbers", [Record(0, 1_000, b"k", b'{"n": 0}', []), Record(0, 2_000, b"k", b"no json", [])])
    assert cli.json("run", "w.yaml", "--until-end")["dead_letters"] == 2
    assert "1 of them had been undone" in cli("dlq", "redrive", "w.yaml", "--dry-run").stdout
    told = cli.json("dlq", "redrive", "w.yaml", "--dry-run")
    assert (told["would_send"], told["undone"]) == (2, 1)
    assert "1 of them had been undone" in cli("dlq", "redrive", "w.yaml").stdout
    assert "undone" not in cli("dlq", "redrive", "w.yaml").stdout
