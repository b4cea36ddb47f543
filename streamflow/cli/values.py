"""Shows what is on a topic: keys, headers and values as JSON, whatever they are.

A value is shown by the Avro schema that wrote it if that is known (named in front of the value, given by the user, or
registered for the topic), else as the JSON or text that it is, else as base64. Bytes on a topic are anybody's: Avro is
decoded by the bounded decoder of the workflows, never by another.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from streamflow.codecs.avro_fallback import decode_values
from streamflow.codecs.avrocodec import record_node
from streamflow.codecs.avronodes import Node
from streamflow.codecs.avrotypes import schema_from_avro
from streamflow.codecs.framing import PREFIX_SIZE, schema_id
from streamflow.codecs.json_write import json_texts
from streamflow.codecs.registry import RegistryUnavailable, UnknownSchema
from streamflow.model.types import PAYLOAD
from streamflow.sdk.errors import CodecError

if TYPE_CHECKING:
    from streamflow.codecs import SchemaRegistry

_WRITERS_MAX = 1_000


class Values:
    """Shows values of one topic as JSON texts. `schema`: Avro JSON from the user, in place of the registered one."""

    def __init__(self, topic: str, registry: SchemaRegistry, schema: str = "") -> None:
        self._registry = registry
        self._nodes: dict[bytes, Node | None] = {}
        self._raw = node_of(schema) if schema else self._registered(f"{topic}-value")
        self._own = _own_records(topic)

    def show(self, values: Sequence[bytes | None]) -> list[bytes]:
        """The JSON text of each value; `null` for a tombstone."""
        shown: list[bytes | None] = [b"null" if value is None else None for value in values]
        if self._own is not None:
            for i, value in enumerate(values):
                shown[i] = shown[i] or self._own(value)
        for prefix_size in (PREFIX_SIZE["single_object"], PREFIX_SIZE["confluent"]):
            groups: dict[bytes, list[int]] = {}
            for i, value in enumerate(values):
                if shown[i] is None and value is not None and value.startswith(_MAGIC[prefix_size]):
                    groups.setdefault(value[:prefix_size], []).append(i)
            for prefix, rows in groups.items():
                if (node := self._writer(prefix)) is not None:
                    _decode(values, rows, node, prefix_size, shown)
        if self._raw is not None:
            _decode(values, [i for i, text in enumerate(shown) if text is None], self._raw, 0, shown)
        return [text if text is not None else as_json(value) for text, value in zip(shown, values, strict=True)]

    def _registered(self, subject: str) -> Node | None:
        try:
            return node_of(self._registry.latest(subject)[2])
        except UnknownSchema:
            return None

    def _writer(self, prefix: bytes) -> Node | None:
        """The schema that a prefix names, if the registry has it."""
        if prefix not in self._nodes:
            if len(self._nodes) >= _WRITERS_MAX:
                self._nodes.clear()
            try:
                confluent = len(prefix) == PREFIX_SIZE["confluent"]
                known = self._registry
                text = known.by_id(schema_id(prefix)) if confluent else known.by_fingerprint(prefix[2:])
                self._nodes[prefix] = node_of(text)
            except (UnknownSchema, RegistryUnavailable):
                self._nodes[prefix] = None
        return self._nodes[prefix]


_MAGIC = {PREFIX_SIZE["single_object"]: b"\xc3\x01", PREFIX_SIZE["confluent"]: b"\x00"}


def node_of(avro: str) -> Node:
    """A schema's Avro JSON ready to decode by. Raises SchemaError."""
    from streamflow.codecs import CodecSpec

    schema = schema_from_avro(avro)
    return record_node(CodecSpec(format="avro", schema=schema, name=schema.name or "Item", avro=avro))


def _decode(
    values: Sequence[bytes | None], rows: Sequence[int], node: Node, start: int, shown: list[bytes | None]
) -> None:
    """Fill in the rows that are values of the schema."""
    if not rows:
        return
    decoded = decode_values([values[i] or b"" for i in rows], node, start=start)
    if node.type.fields and node.type.fields[0].name == PAYLOAD:
        texts = [as_json(item) for item in decoded.frame[PAYLOAD].to_list()]
    else:
        texts = json_texts(decoded.frame, node.type).to_list()
    good = [i for at, i in enumerate(rows) if at not in decoded.errors]
    for i, text in zip(good, texts, strict=True):
        shown[i] = text


def as_json(value: bytes | None) -> bytes:
    """Bytes as the JSON that they are, else as text, else as {"base64": …}. A line feed in JSON becomes a space."""
    if value is None:
        return b"null"
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return orjson.dumps(text_or_base64(value))
    return value.translate(_ONE_LINE)


_ONE_LINE = bytes.maketrans(b"\n\r\t", b"   ")  # inside JSON strings these are always escaped


def text_or_base64(value: bytes | None) -> object:
    """Bytes as text where they are text, else as {"base64": …}: exactly, either way."""
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
    plain = text.isprintable() or all(c.isprintable() or c in "\n\r\t" for c in text)
    return text if plain else {"base64": base64.b64encode(value).decode()}


def _own_records(topic: str) -> Callable[[bytes | None], bytes | None] | None:
    """Decodes records of our own bookkeeping: ledgers and journals."""
    from streamflow.runtime import journal, ledger
    from streamflow.runtime.avro_values import AvroValue

    kind = {"ledger": ledger, "journal": journal}.get(topic.rpartition(".")[2])
    if kind is None:
        return None
    codec = AvroValue(kind.SCHEMA, version=kind.VERSION)

    def show(value: bytes | None) -> bytes | None:
        try:
            fields: Any = codec.decode(value or b"")
        except CodecError:
            return None  # a topic of that name that is not ours
        return orjson.dumps(fields)

    return show
