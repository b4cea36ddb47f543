"""Kafka record batch v2, as one import: stored batches (`envelope`) and the records in them (`records`)."""

from __future__ import annotations

from streamflow.codecs.envelope import (
    HEADER_SIZE,
    Header,
    as_read,
    build,
    check_crc,
    open_batch,
    parse_header,
    rebase,
)
from streamflow.codecs.records import Damaged, Headers, Record, from_records, records, scan

__all__ = [
    "HEADER_SIZE",
    "Damaged",
    "Header",
    "Headers",
    "Record",
    "as_read",
    "build",
    "check_crc",
    "from_records",
    "open_batch",
    "parse_header",
    "rebase",
    "records",
    "scan",
]
