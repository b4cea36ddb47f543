"""`streamflow tail`: where it begins and ends, and how anything at all is shown."""

from __future__ import annotations

import base64
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from streamflow.codecs.records import Record

DAY_MS = 86_400_000


def record(time_ms: int, value: bytes | None, key: bytes | None = None, headers: Any = ()) -> Record:
    return Record(0, time_ms, key, value, list(headers))


def shown(cli: Any, *args: str) -> list[str]:
    out: str = cli("tail", "t", "--no-follow", *args).stdout
    return out.splitlines()


@pytest.fixture
def days(cli: Any) -> Any:
    """Nine records, one a day from 1970-01-02 on, going round three partitions."""
    for p in range(3):
        own = [record(DAY_MS * day, str(day).encode()) for day in range(1, 10) if day % 3 == p]
        cli.append("t", own, partition=p, partitions=3)
    return cli


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("earliest", "1 2 3 4 5 6 7 8 9"),
        ("latest", ""),
        ("-1", "9"),
        ("-4", "6 7 8 9"),
        ("-100", "1 2 3 4 5 6 7 8 9"),
        ("-0", ""),
        ("2", "7 8 9"),
        ("99", ""),
        ("1970-01-06", "5 6 7 8 9"),
        ("1970-01-06T00:00:00.001Z", "6 7 8 9"),
        ("1970-01-06T02:00:00+02:00", "5 6 7 8 9"),
        ("0001-01-01", "1 2 3 4 5 6 7 8 9"),
        ("9999-12-31", ""),
    ],
)
def test_where_it_begins_and_in_which_order(days: Any, start: str, expected: str) -> None:
    assert " ".join(str(r["value"]) for r in days.tail("t", "--from", start)) == expected


@pytest.mark.parametrize("count", [0, 1, 4, 9, 20])
def test_where_it_ends(days: Any, count: int) -> None:
    assert [r["value"] for r in days.tail("t", "--max", count)] == list(range(1, min(count, 9) + 1))


ANYTHING: list[tuple[bytes | None, Any]] = [
    (None, None),
    (b"", ""),
    (b"plain text", "plain text"),
    (b'{"a": [1, 2.5, null, "\xc3\xa4"]}', {"a": [1, 2.5, None, "ä"]}),
    (b'{\n\t"a": 1\r\n}', {"a": 1}),
    (b"12345678901234567890123", 12345678901234567890123),
    (b"\xff\xfe\x00", {"base64": base64.b64encode(b"\xff\xfe\x00").decode()}),
    (b"\x1b[31mred", {"base64": base64.b64encode(b"\x1b[31mred").decode()}),
    (b"two\nlines", "two\nlines"),
    (b"\x00\x00\x00\x00\x07abc", {"base64": base64.b64encode(b"\x00\x00\x00\x00\x07abc").decode()}),
    (b"\xc3\x01" + b"\1" * 12, {"base64": base64.b64encode(b"\xc3\x01" + b"\1" * 12).decode()}),
]


def test_values_of_any_kind(cli: Any) -> None:
    cli.append("t", [record(i, value) for i, (value, _) in enumerate(ANYTHING)])
    assert [r["value"] for r in cli.tail("t")] == [expected for _, expected in ANYTHING]
    text = shown(cli, "--from", "earliest")
    assert len(text) == len(ANYTHING), "a record is a line, whatever it holds"
    assert all(line.isprintable() for line in text)
    assert text[0].endswith("(no value)")
    assert text[2].endswith("  plain text")
    assert text[8].endswith('"two\\nlines"')


def test_keys_headers_and_times(cli: Any) -> None:
    headers = [("a", b"1"), ("a", None), ("b", b"\xff")]
    cli.append("t", [record(1, b"1", b"k\xc3\xa9", headers), record(1 << 62, b"2", b"\xff"), record(-5, b"3")])
    first, second, third = cli.tail("t")
    assert first["headers"] == [["a", "1"], ["a", None], ["b", {"base64": "/w=="}]]
    assert (first["key"], second["key"], third["key"]) == ("ké", {"base64": "/w=="}, None)
    assert "headers" not in second
    assert [r["timestamp"] for r in (first, second, third)] == [1, 1 << 62, -5]
    text = shown(cli, "--from", "earliest")
    assert text[0] == '0/0  1970-01-01T00:00:00.001Z  ké  1  headers [["a","1"],["a",null],["b",{"base64":"/w=="}]]'
    assert text[1] == f'0/1  {1 << 62} ms  {{"base64":"/w=="}}  2'
    assert text[2] == "0/2  1969-12-31T23:59:59.995Z  -  3"


def test_a_schema_can_be_given(cli: Any) -> None:
    Path("s.avsc").write_text('{"type": "record", "name": "S", "fields": [{"name": "s", "type": "string"}]}')
    hostile = b"\xfe\xff\xff\xff\x0f"  # a string of two thousand million bytes
    cli.append("t", [record(0, b"\x04hi"), record(0, hostile), record(0, b"\x04hi and more")])
    values = [r["value"] for r in cli.tail("t", "--schema", "s.avsc")]
    assert values[0] == {"s": "hi"}
    assert values[1] == {"base64": base64.b64encode(hostile).decode()}
    assert values[2] == {"base64": base64.b64encode(b"\x04hi and more").decode()}, "more bytes than the schema explains"


def test_our_own_topics_are_readable(cli: Any, sent: str) -> None:
    ledger = cli.tail("shop.placed.ledger")[0]["value"]
    assert ledger["stage"] == "placed"
    assert ledger["sources"][0]["topic"] == "shop.orders"
    assert cli.tail("shop.placed.journal")[0]["value"]["steps"][0]["count"] >= 1


def test_markers_between_items_are_shown(cli: Any) -> None:
    Path("n.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    Path("w.yaml").write_text(
        "workflow: w\nnodes:\n"
        "  read: {type: file, path: n.jsonl}\n  out: {type: publish, topic: t, format: json}\n"
        "connections: [read -> out]\n"
    )
    cli("run", "w.yaml", "--until-end")
    found = cli.tail("w.read.trigger")
    assert [r["value"] for r in cli.tail("t")] == [{"a": 1}, {"a": 2}]
    assert [r["headers"][0][0] for r in found if "headers" in r] == ["streamflow.marker"] * 2


def test_the_nearest_topic_is_named(cli: Any, sent: str) -> None:
    assert "Did you mean 'shop.orders'?" in cli("tail", "shop.order", code=1).stderr


def test_it_follows_until_ctrl_c(cli: Any, sent: str) -> None:
    process = cli.start("tail", "shop.large-orders", "--from", "earliest", "--json")
    assert json.loads(process.stdout.readline())["value"]["id"] == "o-1"
    cli.append("shop.large-orders", [record(0, b'{"id": "o-9"}')])
    assert json.loads(process.stdout.readline())["value"]["id"] == "o-9"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_the_end_of_a_pipe_is_no_error(cli: Any) -> None:
    """Method: far more output than a pipe holds, and a reader that leaves after the first line."""
    Path("x.jsonl").write_text("".join(f'{{"i": {i}, "pad": "{"x" * 100}"}}\n' for i in range(20_000)))
    cli("send", "t", "x.jsonl")
    process = cli.start("tail", "t", "--from", "earliest")
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
