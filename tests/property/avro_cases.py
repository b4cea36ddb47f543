"""Random Avro schemas and values, and an encoder that shares nothing with the code under test but the format."""

from __future__ import annotations

import struct
import uuid
from random import Random
from typing import Any

LOGICAL = {
    "date": ("int", "date"),
    "time-millis": ("int", "time-millis"),
    "time-micros": ("long", "time-micros"),
    "ts-ms": ("long", "timestamp-millis"),
    "ts-us": ("long", "timestamp-micros"),
    "local-ms": ("long", "local-timestamp-millis"),
    "local-us": ("long", "local-timestamp-micros"),
    "uuid": ("string", "uuid"),
    "json": ("bytes", "json"),
}
PLAIN = ["null", "boolean", "int", "long", "float", "double", "string", "bytes"]
SIMPLE = [*PLAIN, *LOGICAL, "decimal", "decimal-fixed", "fixed", "uuid-fixed", "enum"]
NESTED = ["array", "map", "record", "nullable", "nullable-last", "union"]


class Cases:
    """A stream of cases from one seed."""

    def __init__(self, seed: int, *, unions: bool = True) -> None:
        self.random = Random(seed)
        self.unions = unions
        self.names = 0

    def name(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    def record(self, depth: int = 3) -> dict[str, Any]:
        count = self.random.choice([0, 1, 1, 2, 3, 4])
        fields = [{"name": f"f{i}", "type": self.type(depth)} for i in range(count)]
        return {"type": "record", "name": self.name("R"), "fields": fields}

    def type(self, depth: int, *, branch: bool = False) -> Any:
        random = self.random
        kind = random.choice(SIMPLE + (NESTED if depth else []))
        if branch and (kind in ("union", "nullable", "nullable-last", "null") or kind.startswith("time")):
            kind = "string"  # two time types would share a column name
        if kind in PLAIN:
            return kind
        if kind in LOGICAL:
            return {"type": LOGICAL[kind][0], "logicalType": LOGICAL[kind][1]}
        if kind == "decimal":
            precision = random.randint(1, 38)
            return {"type": "bytes", "logicalType": "decimal", "precision": precision,
                    "scale": random.randint(0, precision)}  # fmt: skip
        if kind == "decimal-fixed":
            size = random.randint(1, 20)
            precision = random.randint(1, min(38, int((8 * size - 1) * 0.30103)))
            return {"type": "fixed", "name": self.name("D"), "size": size, "logicalType": "decimal",
                    "precision": precision, "scale": random.randint(0, precision)}  # fmt: skip
        if kind == "fixed":
            return {"type": "fixed", "name": self.name("F"), "size": random.choice([0, 1, 3, 16, 70])}
        if kind == "uuid-fixed":
            return {"type": "fixed", "name": self.name("U"), "size": 16, "logicalType": "uuid"}
        if kind == "enum":
            return {
                "type": "enum",
                "name": self.name("E"),
                "symbols": [f"S{i}" for i in range(random.choice([1, 3, 99]))],
            }
        if kind == "array":
            return {"type": "array", "items": self.type(depth - 1)}
        if kind == "map":
            return {"type": "map", "values": self.type(depth - 1)}
        if kind == "record":
            return self.record(depth - 1)
        if kind == "union" and self.unions:
            return self.union(depth)
        inner = self.type(depth - 1, branch=True)
        return ["null", inner] if kind == "nullable" else [inner, "null"]

    def union(self, depth: int) -> list[Any]:
        branches: dict[str, Any] = {}
        for _ in range(self.random.randint(2, 4)):
            one = self.type(depth - 1, branch=True)
            branches.setdefault(one if isinstance(one, str) else one.get("name", one["type"]), one)
        found = list(branches.values())
        if self.random.random() < 0.5:
            found.insert(self.random.randint(0, len(found)), "null")
        return found

    def value(self, t: Any) -> Any:
        """A value; of a union: (branch, value)."""
        random = self.random
        if isinstance(t, list):
            branch = random.choice(t)
            return branch, self.value(branch)
        kind, logical = (t, None) if isinstance(t, str) else (t["type"], t.get("logicalType"))
        day = {"time-millis": 86_400_000, "time-micros": 86_400_000_000}.get(logical or "")
        if day:
            return random.choice([0, day - 1, random.randrange(day)])
        if logical == "decimal":
            limit = 10 ** t["precision"]
            number = random.randrange(1 - limit, limit) // 10 ** random.randrange(t["precision"] + 1)
            wide = (number.bit_length() + 8) // 8 + random.choice([0, 0, 1, 9])  # padded numbers are legal
            return number.to_bytes(t["size"] if kind == "fixed" else wide, "big", signed=True)
        if logical == "uuid" and kind == "string":
            return str(uuid.UUID(int=random.getrandbits(128)))
        if logical == "json":
            return random.choice([b'{"a":1}', b'"x"', b"[]"])
        match kind:
            case "null":
                return None
            case "boolean":
                return random.random() < 0.5
            case "int":
                return random.choice([0, -1, 63, 64, -64, -65, 2**31 - 1, -(2**31), random.randrange(-(2**31), 2**31)])
            case "long":
                return random.choice(
                    [0, -1, 2**63 - 1, -(2**63), random.randrange(-(2**63), 2**63) >> random.randrange(64)]
                )
            case "float" | "double":
                return random.choice([0.0, -0.0, 1.5, -2.25, float("inf"), float("nan")])
            case "string":
                return "".join(random.choice("aé漢😀\x00z") for _ in range(random.choice([0, 1, 5, 80])))
            case "bytes":
                return random.randbytes(random.choice([0, 1, 5, 80]))
            case "fixed":
                return random.randbytes(t["size"])
            case "enum":
                return random.choice(t["symbols"])
            case "array":
                return [self.value(t["items"]) for _ in range(random.choice([0, 0, 1, 2, 5]))]
            case "map":
                return {f"k{i}": self.value(t["values"]) for i in range(random.choice([0, 0, 1, 2, 5]))}
        return {f["name"]: self.value(f["type"]) for f in t["fields"]}

    def evolved(self, t: Any) -> Any:
        """A reader's schema for data of `t`: fields gone, added, renamed, moved, widened."""
        random = self.random
        if isinstance(t, list):
            return t
        if isinstance(t, str):
            wider = {"int": ["long", "float", "double"], "long": ["float", "double"], "float": ["double"],
                     "string": ["bytes"], "bytes": ["string"]}  # fmt: skip
            chance = random.random()
            if t in wider and chance < 0.5:
                return random.choice(wider[t])
            return random.choice([["null", t], [t, "null"]]) if t != "null" and chance < 0.7 else t
        t = dict(t)
        if "items" in t:
            t["items"] = self.evolved(t["items"])
        if "values" in t:
            t["values"] = self.evolved(t["values"])
        if t["type"] == "enum" and random.random() < 0.7:
            t["symbols"] = [*t["symbols"][: len(t["symbols"]) // 2], "NEW"]
            if random.random() < 0.7:
                t["default"] = "NEW"
        if t["type"] == "record":
            t["fields"] = self._evolved_fields(t["fields"])
        return t

    def _evolved_fields(self, fields: list[Any]) -> list[Any]:
        random = self.random
        found = []
        for field in fields:
            chance = random.random()
            if chance < 0.2:
                continue
            one = dict(field, type=self.evolved(field["type"]))
            if chance < 0.35:
                one |= {"name": f"new_{field['name']}", "aliases": [field["name"]]}
            found.append(one)
        if random.random() < 0.5:
            found.append(random.choice([
                {"name": "added", "type": "int", "default": 5},
                {"name": "added", "type": ["null", "string"], "default": None},
                {"name": "added", "type": ["string", "null"], "default": "x"},
                {"name": "added", "type": {"type": "array", "items": "long"}, "default": [1, 2]},
                {"name": "added", "type": {"type": "map", "values": "double"}, "default": {"a": 1.5}},
            ]))  # fmt: skip
        random.shuffle(found)
        return found


def zigzag(n: int) -> bytes:
    n = (n << 1) ^ (n >> 63)
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def encoded(t: Any, value: Any) -> bytes:
    """The Avro bytes of a value, one block an array."""
    if isinstance(t, list):
        return zigzag(t.index(value[0])) + encoded(value[0], value[1])
    kind = t if isinstance(t, str) else t["type"]
    match kind:
        case "null":
            return b""
        case "boolean":
            return b"\1" if value else b"\0"
        case "int" | "long":
            return zigzag(value)
        case "float" | "double":
            return struct.pack("<f" if kind == "float" else "<d", value)
        case "string":
            return zigzag(len(value.encode())) + value.encode()
        case "bytes":
            return zigzag(len(value)) + bytes(value)
        case "fixed":
            return bytes(value)
        case "enum":
            return zigzag(t["symbols"].index(value))
        case "array":
            return (zigzag(len(value)) + b"".join(encoded(t["items"], v) for v in value) if value else b"") + b"\0"
        case "map":
            items = b"".join(encoded("string", k) + encoded(t["values"], v) for k, v in value.items())
            return (zigzag(len(value)) + items if value else b"") + b"\0"
    return b"".join(encoded(f["type"], value[f["name"]]) for f in t["fields"])


def without_logical(t: Any) -> Any:
    """The schema as fastavro should read it to give back plain numbers and bytes."""
    if isinstance(t, list):
        return [without_logical(one) for one in t]
    if isinstance(t, dict):
        return {k: without_logical(v) for k, v in t.items() if k not in ("logicalType", "precision", "scale")}
    return t
