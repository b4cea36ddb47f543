"""An Avro schema as a tree of nodes: what the model's types leave out because only bytes know it.

A `Type` says that a value may be null; the bytes also depend on *where* null stands in the union. A node keeps that,
with the model type beside it, and everything that encodes or decodes walks nodes. Parsing is bounded: a schema from a
registry is as foreign as a record. Recursive schemas are refused: a column cannot hold a type of unbounded depth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

import orjson

from streamflow.model.types import Field, Kind, Type, branch_names
from streamflow.sdk.errors import SchemaError

DEPTH_MAX: Final = 64
NODES_MAX: Final = 10_000
SCHEMA_BYTES_MAX: Final = 1 << 20
DECIMAL_PRECISION_MAX: Final = 38
FIXED_BYTES_MAX: Final = 1 << 20
INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1
DAY_MS: Final = 86_400_000

AvroKind = Literal[
    "null", "boolean", "int", "long", "float", "double", "string", "bytes", "fixed", "enum",
    "array", "map", "record", "union",
]  # fmt: skip
_PRIMITIVES: Final[dict[str, Kind]] = {
    "null": "null", "boolean": "bool", "int": "int", "long": "long", "float": "float", "double": "double",
    "string": "string", "bytes": "bytes",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_FULL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")


@dataclass(frozen=True, eq=False)
class Node:
    """One place of a schema. `type` is the model's view of it, `null` included.

    `union_size`: 0 when no union stands here, 1 for `[T]`, 2 for `[null, T]` or `[T, null]`; a `union` node has its own
    branches. `null_at` is the position of null in that union, -1 when null is not allowed.
    """

    kind: AvroKind
    type: Type
    union_size: int = 0
    null_at: int = -1
    fields: tuple[tuple[str, Node], ...] = ()
    element: Node | None = None
    branches: tuple[Node, ...] = ()

    @property
    def value_tag(self) -> int:
        """The byte in front of a value that is not null (zigzag of its branch)."""
        return 2 if self.union_size == 2 and self.null_at == 0 else 0

    @property
    def null_tag(self) -> int:
        return 2 * self.null_at

    @cached_property
    def is_empty(self) -> bool:
        """True if no value of this type takes any byte."""
        if self.union_size or self.kind == "union":
            return False
        if self.kind == "fixed":
            return self.type.size_bytes == 0
        return self.kind == "null" or (self.kind == "record" and all(n.is_empty for _, n in self.fields))

    @cached_property
    def has_tags(self) -> bool:
        """True if a union stands here or below."""
        inner = [n for _, n in self.fields] + ([self.element] if self.element else [])
        return self.union_size > 0 or self.kind == "union" or any(n.has_tags for n in inner)

    @cached_property
    def is_columnar(self) -> bool:
        """True if polars can read the bytes. It reads no union of several types, and would unroll arrays of nothing."""
        if self.kind == "union" or self.union_size == 1 or (self.kind == "fixed" and not self.type.size_bytes):
            return False
        if self.kind == "null":
            return True
        if self.kind == "record" and self.is_empty:
            return False
        if self.element is not None:
            return self.element.is_columnar and (self.kind == "map" or not self.element.is_empty)
        return all(n.is_columnar for _, n in self.fields)

    @cached_property
    def limits(self) -> tuple[int, int] | None:
        """Smallest and largest number that may stand in the bytes, None where any may."""
        if self.kind == "boolean":
            return (-1, 0)  # a byte 1 read as a varint is -1
        if self.kind == "enum":
            return (0, len(self.type.symbols) - 1)
        if self.type.kind == "time":
            return (0, DAY_MS - 1) if self.type.unit == "ms" else (0, DAY_MS * 1000 - 1)
        return (INT_MIN, INT_MAX) if self.kind == "int" else None


MAP_KEY: Final = Node("string", Type(kind="string"))
"""The key of a map's entry."""


def parse(avro: object, *, what: str = "schema") -> Node:
    """The tree of an Avro schema given as JSON text or as parsed JSON. Raises SchemaError naming the place."""
    if isinstance(avro, bytes | bytearray | str):
        if len(avro) > SCHEMA_BYTES_MAX:
            raise SchemaError(f"{what}: {len(avro)} bytes of schema, at most {SCHEMA_BYTES_MAX} are read.")
        text = avro.strip()
        try:
            avro = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            if not (isinstance(text, str) and text in _PRIMITIVES):
                raise SchemaError(f"{what}: not JSON: {error}.") from error
            avro = text
    return _Parser(what).node(avro, what, "", 0)


class _Parser:
    """State of one parse: names seen, names open (to find recursion), and how many nodes there are."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.known: dict[str, Node] = {}
        self.open: set[str] = set()
        self.nodes = 0

    def node(self, avro: object, at: str, namespace: str, depth: int) -> Node:
        self.count(1, at)
        if depth > DEPTH_MAX:
            raise SchemaError(f"{at}: nested deeper than {DEPTH_MAX}.")
        if isinstance(avro, str):
            return self.named(avro, at, namespace)
        if isinstance(avro, list):
            return self.union(avro, at, namespace, depth)
        if not isinstance(avro, dict):
            raise SchemaError(f"{at}: a type is a name, an object or a list, not {_show(avro)}.")
        kind = avro.get("type")
        if not isinstance(kind, str):
            return self.node(kind, at, namespace, depth + 1)
        if kind in _PRIMITIVES:
            return self.primitive(kind, avro, at)
        if kind in ("record", "error"):
            return self.record(avro, at, namespace, depth)
        if kind == "enum":
            return self.enum(avro, at, namespace)
        if kind == "fixed":
            return self.fixed(avro, at, namespace)
        if kind in ("array", "map"):
            key = "items" if kind == "array" else "values"
            if key not in avro:
                raise SchemaError(f"{at}: {kind} without `{key}`.")
            element = self.node(avro[key], f"{at}.{key}", namespace, depth + 1)
            t = Type(kind="array" if kind == "array" else "map", element=element.type)
            return Node("array" if kind == "array" else "map", t, element=element)
        return self.named(kind, at, namespace)

    def count(self, nodes: int, at: str) -> None:
        self.nodes += nodes
        if self.nodes > NODES_MAX:
            raise SchemaError(f"{at}: more than {NODES_MAX} types, references counted each time.")

    def named(self, name: str, at: str, namespace: str) -> Node:
        if name in _PRIMITIVES:
            return self.primitive(name, {}, at)
        for full in [name] if "." in name else [f"{namespace}.{name}", name] if namespace else [name]:
            if full in self.open:
                raise SchemaError(
                    f"{at}: {full} contains itself; recursive types have no columnar form.",
                    mend="Carry the recursive part as JSON text: type `bytes` with logicalType `json`.",
                )
            if full in self.known:
                found = self.known[full]
                self.count(_weight(found), at)
                return found
        raise SchemaError(f"{at}: unknown type {name!r}.")

    def primitive(self, kind: str, avro: Mapping[str, object], at: str) -> Node:
        avro_kind: AvroKind = kind  # type: ignore[assignment]
        plain = Type(kind=_PRIMITIVES[kind], nullable=kind == "null")
        logical = avro.get("logicalType")
        if kind in ("string", "bytes") and logical is None:
            return Node(avro_kind, plain)
        match kind, logical:
            case "string", "uuid":
                return Node(avro_kind, Type(kind="uuid"))
            case "bytes", "json":
                return Node(avro_kind, Type(kind="any"))
            case "bytes", "decimal":
                return Node(avro_kind, self.decimal(avro, at, 0) or plain)
            case "int", "date":
                return Node(avro_kind, Type(kind="date"))
            case ("int", "time-millis") | ("long", "time-micros"):
                return Node(avro_kind, Type(kind="time", unit="ms" if kind == "int" else "us"))
            case "long", "timestamp-millis" | "timestamp-micros":
                return Node(avro_kind, Type(kind="timestamp", unit="ms" if logical == "timestamp-millis" else "us"))
            case "long", "local-timestamp-millis" | "local-timestamp-micros":
                return Node(avro_kind, Type(kind="local", unit="ms" if logical == "local-timestamp-millis" else "us"))
        return Node(avro_kind, plain)  # Avro: a logical type that is unknown or does not fit is ignored

    def decimal(self, avro: Mapping[str, object], at: str, size_bytes: int) -> Type | None:
        precision, scale = avro.get("precision"), avro.get("scale", 0)
        if not isinstance(precision, int) or not isinstance(scale, int) or precision < 1 or not 0 <= scale <= precision:
            return None
        if precision > DECIMAL_PRECISION_MAX:
            raise SchemaError(f"{at}: decimal({precision}, {scale}): precision is at most {DECIMAL_PRECISION_MAX}.")
        if size_bytes and precision > int((8 * size_bytes - 1) * 0.30103):
            return None  # does not fit: ignored, as Avro says
        return Type(kind="decimal", precision=precision, scale=scale)

    def union(self, avro: Sequence[object], at: str, namespace: str, depth: int) -> Node:
        if not avro:
            raise SchemaError(f"{at}: an empty union has no value.")
        nodes = [self.node(one, f"{at}[{i}]", namespace, depth + 1) for i, one in enumerate(avro)]
        if any(isinstance(one, list) for one in avro):
            raise SchemaError(f"{at}: a union directly inside a union.")
        seen: set[str] = set()
        for n in nodes:
            identity = n.type.name if n.kind in ("record", "enum", "fixed") else n.kind
            if identity in seen:
                raise SchemaError(f"{at}: union holds {identity} twice.")
            seen.add(identity)
        null_at = next((i for i, n in enumerate(nodes) if n.kind == "null"), -1)
        values = [n for n in nodes if n.kind != "null"]
        if len(nodes) == 1:
            return replace(nodes[0], union_size=1, null_at=null_at)
        if len(values) == 1:
            return replace(values[0], type=values[0].type.optional(), union_size=2, null_at=null_at)
        t = Type(kind="union", nullable=null_at >= 0, branches=tuple(n.type for n in values))
        if len(set(branch_names(t))) != len(values):
            raise SchemaError(f"{at}: two branches of this union have the name of one column: {branch_names(t)}.")
        return Node("union", t, null_at=null_at, branches=tuple(values))

    def define(self, avro: Mapping[str, object], at: str, namespace: str) -> tuple[str, str, tuple[str, ...], str]:
        """(full name, namespace for what is inside, aliases, doc) of a named type."""
        name, space = avro.get("name"), avro.get("namespace", namespace)
        if not isinstance(name, str) or not isinstance(space, str) or not _FULL_NAME.match(name):
            raise SchemaError(f"{at}: {_show(name)} is no name; letters, digits and _ with dots between.")
        full = name if "." in name or not space else f"{space}.{name}"
        if not _FULL_NAME.match(full):
            raise SchemaError(f"{at}: {_show(full)} is no name.")
        if full in self.known or full in self.open:
            raise SchemaError(f"{at}: {full} is defined twice.")
        inside = full.rpartition(".")[0]
        aliases = tuple(a if "." in a or not inside else f"{inside}.{a}" for a in _strings(avro.get("aliases"), at))
        return full, inside, aliases, str(avro.get("doc") or "")

    def record(self, avro: Mapping[str, object], at: str, namespace: str, depth: int) -> Node:
        full, inside, aliases, doc = self.define(avro, at, namespace)
        listed = avro.get("fields")
        if not isinstance(listed, list):
            raise SchemaError(f"{at}: record {full} has no list of fields.")
        self.open.add(full)
        nodes: list[tuple[str, Node]] = []
        fields: list[Field] = []
        for one in listed:
            name = one.get("name") if isinstance(one, dict) else None
            if not isinstance(name, str) or not _NAME.match(name):
                raise SchemaError(f"{at}: record {full}: {_show(name)} is no field name.")
            if any(name == other for other, _ in nodes):
                raise SchemaError(f"{at}: record {full} has two fields {name!r}.")
            if "type" not in one:
                raise SchemaError(f"{at}.{name}: a field without a type.")
            node = self.node(one["type"], f"{at}.{name}", inside, depth + 1)
            nodes.append((name, node))
            fields.append(
                Field(
                    name=name, type=node.type, default=one.get("default"), has_default="default" in one,
                    doc=str(one.get("doc") or ""), aliases=_strings(one.get("aliases"), f"{at}.{name}"),
                )
            )  # fmt: skip
        self.open.discard(full)
        t = Type(kind="record", name=full, fields=tuple(fields), aliases=aliases, doc=doc)
        self.known[full] = node = Node("record", t, fields=tuple(nodes))
        return node

    def enum(self, avro: Mapping[str, object], at: str, namespace: str) -> Node:
        full, _, aliases, doc = self.define(avro, at, namespace)
        symbols = _strings(avro.get("symbols"), at)
        if not symbols or len(set(symbols)) != len(symbols) or not all(_NAME.match(s) for s in symbols):
            raise SchemaError(f"{at}: enum {full} needs symbols, all names, none twice.")
        default = avro.get("default")
        if default is not None and default not in symbols:
            raise SchemaError(f"{at}: enum {full}: default {_show(default)} is none of its symbols.")
        t = Type(kind="enum", name=full, symbols=symbols, aliases=aliases, doc=doc)
        # An enum's default serves readers only; a Type has no place for it, so it travels as a field's would.
        if default is not None:
            t = replace(t, fields=(Field(name="default", type=Type(kind="string"), default=default, has_default=True),))
        self.known[full] = node = Node("enum", t)
        return node

    def fixed(self, avro: Mapping[str, object], at: str, namespace: str) -> Node:
        full, _, aliases, doc = self.define(avro, at, namespace)
        size = avro.get("size")
        if not isinstance(size, int) or not 0 <= size <= FIXED_BYTES_MAX:
            raise SchemaError(f"{at}: fixed {full}: size is 0 to {FIXED_BYTES_MAX} bytes, not {_show(size)}.")
        t = Type(kind="fixed", name=full, size_bytes=size, aliases=aliases, doc=doc)
        if avro.get("logicalType") == "decimal" and (decimal := self.decimal(avro, at, size)):
            t = replace(t, kind="decimal", precision=decimal.precision, scale=decimal.scale)
        elif avro.get("logicalType") == "uuid" and size == 16:
            t = replace(t, kind="uuid")
        self.known[full] = node = Node("fixed", t)
        return node


def _weight(node: Node) -> int:
    inner = [n for _, n in node.fields] + list(node.branches) + ([node.element] if node.element else [])
    return 1 + sum(_weight(n) for n in inner)


def _strings(value: object, at: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise SchemaError(f"{at}: expected a list of names, found {_show(value)}.")
    return tuple(value)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
