"""Records of the runtime's own on internal topics: progress of an upstream task, not items.

A marker stands alone in its record batch, has no key, and one header that names its type. Batches of more than one
record are never looked into, so markers cost nothing where there are none. They are looked for on internal topics only:
on a topic of users, such a record is whatever its owner meant.
"""

from __future__ import annotations

from typing import Final

from streamflow.codecs.api import Marker
from streamflow.codecs.records import Damaged, Record, from_records, scan
from streamflow.sdk.log import NewBatch, RecordBatch

MARKER_HEADER: Final = "streamflow.marker"
_NAME: Final = MARKER_HEADER.encode()


def encode_marker(type: str, value: bytes, timestamp_ms: int) -> NewBatch:
    """The record batch of one marker; `value` is JSON."""
    return from_records([Record(0, timestamp_ms, None, value, [(MARKER_HEADER, type.encode())])])


def find_marker(batch: RecordBatch) -> Marker | None:
    """The marker that this batch is, if it is one."""
    if batch.count != 1 or _NAME not in batch.body:
        return None
    one = scan(batch)[0]
    if isinstance(one, Damaged) or not (type := marker_type(one)):
        return None
    return Marker(one.offset, one.timestamp_ms, type, one.value or b"")


def marker_type(record: Record) -> str:
    """What kind of marker a record of an internal topic is; "" for an item."""
    if record.key is not None or len(record.headers) != 1 or record.headers[0][0] != MARKER_HEADER:
        return ""
    return (record.headers[0][1] or b"").decode(errors="replace")
