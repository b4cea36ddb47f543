"""The child of test_codec_hostile: decodes the corpus under a memory limit and prints what became of it."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from streamflow.codecs import CodecSpec, decoder
from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.codecs.recordbatch import Record, as_read, from_records
from streamflow.codecs.varints import varint
from streamflow.model.types import ANY
from streamflow.sdk.log import RecordBatch

HEADROOM_BYTES = 200 << 20


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


EMPTY = {"type": "record", "name": "E", "fields": []}
NULLS = {"type": "record", "name": "N", "fields": [{"name": f"n{i}", "type": "null"} for i in range(5)]}
FLAGS = {"type": "record", "name": "G", "fields": [{"name": f"x{i}", "type": ["null", "int"]} for i in range(3)]}
BILLION = varint(10**9)
AVRO: dict[str, tuple[Any, bytes]] = {
    "billion nulls": (array("null"), BILLION + b"\0"),
    "billion empty records": (array(EMPTY), BILLION + b"\0"),
    "billion records of nulls": (array(NULLS), BILLION + b"\0"),
    "billion fixed(0)": (array({"type": "fixed", "name": "Z", "size": 0}), BILLION + b"\0"),
    "billion longs announced": (array("long"), BILLION + b"\2\2\2"),
    "blocks of nulls": (array("null"), (varint(9_000) * 200) + b"\0"),
    "negative block of a billion": (array("null"), varint(-(10**9)) + varint(0) + b"\0"),
    "smallest block count": (array("long"), varint(-(2**63)) + varint(1) + b"\2\0"),
    "map of a billion": ({"type": "map", "values": "null"}, BILLION + b"\2a"),
    "string of 2^62": ("string", varint(2**62) + b"abc"),
    "string of 2^40": ("string", varint(2**40) + b"abc"),
    "string of -1": ("string", varint(-1)),
    "bytes of 2^34": ("bytes", varint(2**34)),
    "no utf-8": ("string", b"\6\xff\xfe\xfd"),
    "endless varint": ("long", b"\xff" * 1_000),
    "union branch 1000": (["null", "long"], varint(1_000) + b"\2"),
    "union branch -1": (["null", "long"], varint(-1) + b"\2"),
    "wide union branch -1": (["int", "string"], varint(-1) + b"\2"),
    "enum 77": ({"type": "enum", "name": "K", "symbols": ["A"]}, varint(77)),
    "huge int": ("int", varint(2**40)),
    "decimal of 1 MB": (
        {"type": "bytes", "logicalType": "decimal", "precision": 9},
        varint(1 << 20) + b"\x7f" * (1 << 20),
    ),
    "nothing": ("long", b""),
    "too much": ("long", b"\2" + bytes(1 << 20)),
    "200 KB of array starts": (array(array(array(array("long")))), b"\2" * 200_000),
    "half a MB of small records": (array(FLAGS), varint(160_000) + bytes(480_000)),  # cut: the end marker is missing
}


def outcome(spec: CodecSpec, value: bytes, expected: int = 1) -> dict[str, Any]:
    good = Record(0, 0, b"k", value, [])
    batch = as_read(from_records([good]))
    started = time.perf_counter()
    found = decoder(spec).decode([batch], first_offset=0)
    seconds = time.perf_counter() - started
    assert found.frame.height + len(found.bad) == 1
    return {"bad": len(found.bad), "expected": expected, "seconds": seconds}


def main() -> None:
    results: dict[str, Any] = {}
    warm = schema_from_avro({"type": "record", "name": "R", "fields": [{"name": "v", "type": "string"}]})
    outcome(CodecSpec(format="avro", schema=warm), b"\2")  # loads symbols and starts threads before the limit is set
    outcome(CodecSpec(format="avro", schema=warm), varint(2**40))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM_BYTES, used + HEADROOM_BYTES))
    for name, (avro, value) in AVRO.items():
        whole = {"type": "record", "name": "R", "fields": [{"name": "v", "type": avro}]}
        spec = CodecSpec(format="avro", schema=schema_from_avro(whole), avro=json.dumps(whole))
        results[name] = outcome(spec, value)
    results["200 KB of JSON nesting"] = outcome(CodecSpec(format="json", schema=ANY), b"[" * 200_000)
    results["JSON number of 1 MB"] = outcome(CodecSpec(format="json", schema=ANY), b"1" * (1 << 20) + b"x")
    record = CodecSpec(format="avro", schema=warm)
    damaged = {
        "a million headers": b"\0\0\0\1\1" + varint(1_000_000),
        "a key of 2^40": b"\0\0\0" + varint(2**40),
        "a record of 2^60": b"",
    }
    for name, content in damaged.items():
        size = varint(2**60) if name == "a record of 2^60" else varint(len(content))
        batch = RecordBatch(
            base_offset=0,
            last_offset=0,
            count=1,
            base_timestamp_ms=0,
            max_timestamp_ms=0,
            body=size + content + bytes(7),
        )
        started = time.perf_counter()
        found = decoder(record).decode([batch], first_offset=0)
        results[name] = {"bad": len(found.bad), "expected": 1, "seconds": time.perf_counter() - started}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
