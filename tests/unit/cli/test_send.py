"""`streamflow send`: formats, keys, wrong rows by line, pipes."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest

from streamflow.model.positions import TopicPartition

# Null second, a logical type, a default: what a schema's owner wrote decides the bytes.
SCHEMA = """{"type": "record", "name": "O", "namespace": "n", "fields": [
  {"name": "id", "type": "string"}, {"name": "n", "type": ["int", "null"]},
  {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
  {"name": "note", "type": ["null", "string"], "default": null}]}"""
ROWS = [
    {"id": "a", "n": 1, "at": "2023-11-14T22:13:20.000Z", "note": None},
    {"id": "b", "n": None, "at": "2024-01-01T00:00:00.000Z", "note": "ä"},
]


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def values(cli: Any, topic: str) -> list[Any]:
    return sorted((r["value"] for r in cli.tail(topic)), key=str)


@pytest.mark.parametrize("framing", ["raw", "confluent", "single_object"])
def test_avro_is_written_as_its_owner_wrote_the_schema(cli: Any, framing: str) -> None:
    Path("o.avsc").write_text(SCHEMA)
    Path("o.jsonl").write_text(lines(*ROWS))
    cli("send", "t", "o.jsonl", "--schema", "o.avsc", "--framing", framing, "--partitions", "1")
    assert values(cli, "t") == ROWS

    async def body(log: Any) -> bytes:
        (batch,) = await log.read(TopicPartition("t", 0), 0, size_bytes_max=1 << 20)
        return bytes(batch.body)

    prefix = {"raw": b"", "confluent": b"\0\0\0\0\1", "single_object": b"\xc3\x01"}[framing]
    a_and_branch_0 = b"\x02a\x00\x02"
    assert prefix in cli.on_log(body)
    assert a_and_branch_0 in cli.on_log(body)
    written = Path(cli.log_folder / "schemas" / "t-value.avsc").read_text()
    assert json.loads(written) == json.loads(SCHEMA)


def test_json_lines_as_they_are(cli: Any) -> None:
    rows = [{"a": 1}, [1, 2], "text", None, 10**15, {"ü": "\u2028"}]
    Path("x.jsonl").write_text(lines(*rows), encoding="utf-8")
    cli("send", "t", "x.jsonl")
    assert sorted(map(str, values(cli, "t"))) == sorted(map(str, rows))


def test_a_row_that_does_not_fit_is_named_by_its_line_and_the_others_are_sent(cli: Any) -> None:
    Path("o.avsc").write_text(SCHEMA)
    Path("o.jsonl").write_text(lines(ROWS[0]) + "\n  \nno json\n" + lines({"id": 5}, ROWS[1]).rstrip())
    result = cli("send", "t", "o.jsonl", "--schema", "o.avsc", code=1)
    assert "error: line 4: " in result.stderr
    assert "error: line 5: field 'id'" in result.stderr
    assert "2 rows did not fit" in result.stderr
    assert values(cli, "t") == ROWS
    facts = cli.json("send", "t", "o.jsonl", "--schema", "o.avsc", code=1)
    assert (facts["sent"], facts["refused"], len(facts["errors"])) == (2, 2, 2)


CSV = 'id,n,txt\n1,2,"a\nb"\n3,x\n\n4,5,"c"\n6,7,8,9\né,1,2\n'
CSV_SCHEMA = """{"type": "record", "name": "C", "fields": [{"name": "id", "type": "int"},
  {"name": "n", "type": ["null", "int"], "default": null}, {"name": "txt", "type": "string"}]}"""


@pytest.mark.parametrize("how", ["file", "pipe", "gzip"])
def test_csv_with_lines_counted_through_quotes_and_blank_lines(cli: Any, how: str) -> None:
    Path("c.avsc").write_text(CSV_SCHEMA)
    Path("c.csv").write_text(CSV)
    Path("c.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    source = {"file": ["c.csv"], "gzip": ["c.csv.gz"], "pipe": ["-", "--format", "csv"]}[how]
    result = cli("send", "t", *source, "--schema", "c.avsc", "--key", "id", code=1, input=CSV)
    assert [line.split(":")[1] for line in result.stderr.splitlines()[:-1]] == [" line 4", " line 7", " line 8"]
    assert values(cli, "t") == [{"id": 1, "n": 2, "txt": "a\nb"}, {"id": 4, "n": 5, "txt": "c"}]
    assert {r["key"] for r in cli.tail("t")} == {"1", "4"}


def test_csv_without_a_schema_becomes_json_of_inferred_types(cli: Any) -> None:
    Path("c.csv").write_text("a,b\n1,x\n2,\n")
    cli("send", "t", "c.csv")
    assert values(cli, "t") == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


def test_avro_and_parquet_bring_their_schema(cli: Any) -> None:
    rows = [{"id": "a", "n": 1}, {"id": "b", "n": 2}]
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "id", "type": "string"}, {"name": "n", "type": "long"}],
    }
    with Path("r.avro").open("wb") as file:
        fastavro.writer(file, schema, rows)
    pl.DataFrame(rows).write_parquet("r.parquet")
    cli("send", "avro", "r.avro", "--key", "id")
    cli("send", "parquet", "r.parquet")
    assert values(cli, "avro") == values(cli, "parquet") == rows


@pytest.mark.parametrize("name", ["x.avro", "x.parquet"])
def test_a_file_that_is_not_what_its_name_says(cli: Any, name: str) -> None:
    Path(name).write_text("nothing of the kind")
    assert f"{name} is no readable" in cli("send", "t", name, code=1).stderr


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_an_empty_file_is_no_rows(cli: Any, name: str) -> None:
    Path(name).write_text("")
    assert "0 records sent to t" in cli("send", "t", name).stdout
    assert cli("send", "t", input=b"").stdout == "0 records sent to t\n"


def test_keys_place_records(cli: Any) -> None:
    Path("x.jsonl").write_text(lines(*({"k": f"k{i % 7}", "i": i} for i in range(70)), {"i": 1}))
    result = cli("send", "t", "x.jsonl", "--key", "k", "--partitions", "3")
    assert "1 row had no 'k': sent without a key" in result.stderr
    places: dict[str, set[int]] = {}
    for r in cli.tail("t"):
        places.setdefault(r["key"], set()).add(r["partition"])
    assert all(len(p) == 1 for key, p in places.items() if key)
    assert {p for ps in places.values() for p in ps} == {0, 1, 2}


def test_a_topic_keeps_its_partitions(cli: Any) -> None:
    cli("send", "t", "--partitions", "2", input=b"1\n")
    assert "has 2 partitions, not 3" in cli("send", "t", "--partitions", "3", input=b"1\n", code=1).stderr
    cli("send", "t", "--partitions", "2", input=b"1\n")
    cli("send", "t", input=b"1\n")
    assert [(t["partitions"], t["records"]) for t in cli.json("topics")] == [(2, 3)]


def test_json_on_a_topic_of_avro_is_remarked_on(cli: Any, sent: str) -> None:
    assert "has an Avro schema" in cli("send", "shop.orders", input=b'{"id": "o-4"}\n').stderr


def test_a_schema_that_cannot_follow_is_refused_and_nothing_sent(cli: Any, sent: str) -> None:
    Path("n.avsc").write_text('{"type": "record", "name": "Order", "fields": [{"name": "x", "type": "int"}]}')
    assert "SF404" in cli("send", "shop.orders", "--schema", "n.avsc", input=b'{"x": 1}\n', code=1).stderr
    assert len(cli.tail("shop.orders")) == 3


def test_lines_of_any_length(cli: Any) -> None:
    data = b'"' + b"a" * 2_000_000 + b'"\n1\n' + b"b" * (22 << 20) + b"\n2\n"
    Path("long.jsonl").write_bytes(data)
    stderr = cli("send", "t", "long.jsonl", code=1).stderr
    assert "line 1: the record takes 2000082 bytes with its batch, more than the 900000 bytes" in stderr
    assert "line 3: the line is longer than 16,777,216 bytes" in stderr
    assert values(cli, "t") == [1, 2]


def test_errors_are_counted_and_the_first_ones_shown(cli: Any) -> None:
    result = cli("send", "t", input=b"?\n" * 1000, code=1)
    assert result.stderr.count("error: line ") == 20
    assert "1,000 rows did not fit and were not sent; the first 20 are shown" in result.stderr


def test_a_pipe_is_sent_while_it_is_still_open(cli: Any) -> None:
    """Method: the record is on the log before the other end of the pipe is closed."""
    cli("send", "t", input=b"0\n")
    process = cli.start("send", "t", stdin=subprocess.PIPE)
    assert process.stdin is not None
    for count in (2, 3):
        process.stdin.write(f"{count}\n")
        process.stdin.flush()
        cli.wait_for("t", count)
    process.stdin.write("4")  # the last line needs no newline
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "3 records sent to t\n", "")
    assert values(cli, "t") == [0, 2, 3, 4]


def test_many_rows(cli: Any) -> None:
    Path("many.jsonl").write_text(lines(*({"i": i} for i in range(45_000))))
    assert cli.json("send", "t", "many.jsonl")["sent"] == 45_000
    assert sum(t["records"] for t in cli.json("topics")) == 45_000


def test_a_terminal_is_not_waited_for_in_silence(cli: Any) -> None:
    """Method: a terminal of its own as standard input."""
    ours, theirs = pty.openpty()
    process = cli.start("send", "t", stdin=theirs)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "name a FILE, or - to type records here" in err
    os.close(ours)
    os.close(theirs)


def test_a_workflow_file_is_no_topic(cli: Any) -> None:
    Path("orders.yaml").write_text("workflow: orders")
    result = cli("send", "orders.yaml", "rows.jsonl", code=2)
    assert "'orders.yaml' is a workflow file; the first argument is the topic" in result.stderr
