"""Topic names and those of Kafka's topic settings that mean something here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast, get_args

from streamflow.logs.embedded.layout import PARTITIONS_MAX
from streamflow.sdk.errors import UsageError
from streamflow.sdk.log import Compression, TopicSpec

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicConfig:
    """Settings of a topic; -1 means without limit. Unlike a broker's, the default retention is unlimited: event times
    may be years old, and a log must not lose what it was just given."""

    compact: bool = False
    delete: bool = True
    retention_ms: int = -1
    retention_bytes: int = -1
    segment_bytes: int = 256 << 20
    delete_retention_ms: int = _DAY_MS
    message_bytes_max: int | None = None  # of a record batch as it is stored; None: what the log takes
    compression: Compression | None = None  # None: what the log was opened with


def check_spec(spec: TopicSpec) -> TopicConfig:
    """The settings of a topic to create. Raises UsageError for a bad name, count or setting."""
    if not _NAME.fullmatch(spec.name) or spec.name in (".", ".."):
        raise UsageError(
            f"topic name {spec.name!r} is not allowed.",
            mend="Use 1 to 249 letters, digits, dots, underscores and hyphens; not '.' or '..'.",
        )
    if not 1 <= spec.partitions <= PARTITIONS_MAX:
        raise UsageError(
            f"topic {spec.name}: {spec.partitions} partitions.", mend=f"Give it 1 to {PARTITIONS_MAX} partitions."
        )
    return read_config(spec.name, spec.config)


def read_config(topic: str, config: Mapping[str, str]) -> TopicConfig:
    """Kafka's names to our settings; names that mean nothing here are kept by the log and not looked at."""
    known = TopicConfig()
    policies = {p.strip() for p in config.get("cleanup.policy", "delete").split(",")}
    if not policies or not policies <= {"compact", "delete"}:
        raise _bad(topic, "cleanup.policy", config["cleanup.policy"], "delete, compact, or compact,delete")
    compression = config.get("compression.type", "producer")
    if compression not in (*get_args(Compression), "producer", "uncompressed"):
        raise _bad(topic, "compression.type", compression, "none, gzip, snappy, lz4, zstd or producer")
    if compression == "uncompressed":
        compression = "none"
    return TopicConfig(
        compact="compact" in policies,
        delete="delete" in policies,
        retention_ms=_number(topic, config, "retention.ms", known.retention_ms, -1),
        retention_bytes=_number(topic, config, "retention.bytes", known.retention_bytes, -1),
        segment_bytes=_number(topic, config, "segment.bytes", known.segment_bytes, 1),
        delete_retention_ms=_number(topic, config, "delete.retention.ms", known.delete_retention_ms, 0),
        message_bytes_max=_number(topic, config, "max.message.bytes", 0, 0) or None,
        compression=None if compression == "producer" else cast("Compression", compression),
    )


def _number(topic: str, config: Mapping[str, str], name: str, default: int, least: int) -> int:
    text = config.get(name)
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number < 1 << 63:
        raise _bad(topic, name, text, f"a whole number from {least}")
    return number


def _bad(topic: str, name: str, found: str, right: str) -> UsageError:
    return UsageError(f"topic {topic}: setting {name} is {found!r}.", mend=f"Use {right}.")
