"""Retention: which segments of a partition are past their time or beyond its size.

Whole segments only, judged by record times, as brokers do it. Partitions that are compacted only are left alone.
"""

from __future__ import annotations

from streamflow.logs.embedded.catalog import Partition
from streamflow.logs.embedded.topics import TopicConfig


def retained_start(partition: Partition, config: TopicConfig, now_ms: int) -> int:
    """Where the partition should begin: its start, or the end of the last segment that may go."""
    start = partition.start
    if not config.delete:
        return start
    total = sum(s.size_bytes for s in partition.segments)
    for number, segment in enumerate(partition.segments):
        too_old = config.retention_ms >= 0 and segment.max_timestamp_ms < now_ms - config.retention_ms
        # Bytes are counted so that what stays is never less than was asked for; the newest segment stays.
        too_much = config.retention_bytes >= 0 and total - segment.size_bytes >= config.retention_bytes
        if not too_old and not (too_much and number < len(partition.segments) - 1):
            break
        total -= segment.size_bytes
        start = max(start, segment.end)
    return start
