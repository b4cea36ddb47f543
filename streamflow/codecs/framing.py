"""What stands in front of an Avro value to say by which schema it was written.

| framing         | bytes                                                              |
|-----------------|--------------------------------------------------------------------|
| `raw`           | none: reader and writer agree beforehand                           |
| `confluent`     | 00, then the schema's id in a registry, 4 bytes big-endian         |
| `single_object` | C3 01, then the schema's CRC-64-AVRO fingerprint, 8 bytes little-endian |
"""

from __future__ import annotations

import struct
from typing import Final, Literal

from streamflow.sdk.errors import CodecError

Framing = Literal["raw", "confluent", "single_object"]
PREFIX_SIZE: Final[dict[Framing, int]] = {"raw": 0, "confluent": 5, "single_object": 10}


def confluent_prefix(schema_id: int) -> bytes:
    return b"\x00" + struct.pack(">I", schema_id)


def single_object_prefix(fingerprint: bytes) -> bytes:
    return b"\xc3\x01" + fingerprint


def split(value: bytes, framing: Framing) -> bytes:
    """The prefix of a value. Raises CodecError when it is not there."""
    size = PREFIX_SIZE[framing]
    prefix = value[:size]
    magic = b"\x00" if framing == "confluent" else b"\xc3\x01"
    if size and (len(prefix) < size or not prefix.startswith(magic)):
        found = prefix[:10].hex(" ") or "nothing"
        raise CodecError(f"value does not begin with the {size}-byte {framing} prefix; found {found}.")
    return prefix


def schema_id(prefix: bytes) -> int:
    """The registry's id in a Confluent prefix."""
    return int(struct.unpack(">I", prefix[1:5])[0])
