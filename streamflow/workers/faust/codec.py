"""Avro topics for a Faust user's own agents: `app.topic("orders", value_serializer=AvroCodec(schema))`."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import orjson
from faust.serializers.codecs import Codec

from streamflow.codecs.avro_bounds import check
from streamflow.codecs.avronodes import parse
from streamflow.codecs.framing import PREFIX_SIZE, Framing, confluent_prefix, split
from streamflow.sdk.errors import CodecError, UsageError


class AvroCodec(Codec):
    """Values of one Avro schema, one at a time, as plain Python values.

    `framing`: `raw` (the value's bytes alone) or `confluent` (00 and the schema's id in front). Reading takes any id:
    values are read by `schema`, the one that wrote them. Hostile bytes are refused before they are decoded.
    """

    def __init__(self, schema: str, *, framing: Framing = "raw", schema_id: int | None = None) -> None:
        """`schema`: Avro JSON. `schema_id`: what to write in front of values with framing `confluent`."""
        super().__init__()
        if framing == "single_object":
            raise UsageError("AvroCodec knows the framings raw and confluent.")
        self._node = parse(orjson.loads(schema))
        self._schema = fastavro.parse_schema(orjson.loads(schema))
        self._framing, self._id = framing, schema_id

    def _loads(self, s: bytes) -> Any:
        split(s, self._framing)
        start = PREFIX_SIZE[self._framing]
        try:
            check(s, self._node, start)
        except ValueError as error:
            raise CodecError(f"not a value of the schema: {error}") from error
        return fastavro.schemaless_reader(io.BytesIO(s[start:]), self._schema, None)

    def _dumps(self, obj: Any) -> bytes:
        out = io.BytesIO()
        if self._framing == "confluent":
            if self._id is None:
                raise UsageError("writing with framing confluent needs the schema's id.", mend="Give schema_id.")
            out.write(confluent_prefix(self._id))
        try:
            fastavro.schemaless_writer(out, self._schema, obj)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CodecError(f"the value does not fit the schema: {error}.") from error
        return out.getvalue()
