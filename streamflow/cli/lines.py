"""Records as lines: JSON for programs, columns for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson

from streamflow.cli.output import one_line
from streamflow.cli.reading import Entry
from streamflow.cli.values import text_or_base64
from streamflow.codecs.records import Damaged, Headers

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_json(entry: Entry) -> str:
    at, record, shown = entry
    fact: dict[str, object] = {"topic": at.topic, "partition": at.partition, "offset": record.offset}
    if isinstance(record, Damaged):
        return orjson.dumps(fact | {"damaged": record.message, "raw": text_or_base64(record.raw)}).decode()
    fact |= {"timestamp": record.timestamp_ms, "key": text_or_base64(record.key), "value": orjson.Fragment(shown)}
    if record.headers:
        fact["headers"] = _headers(record.headers)
    return orjson.dumps(fact).decode()


def as_text(entry: Entry) -> str:
    at, record, shown = entry
    place = f"{at.partition}/{record.offset}"
    if isinstance(record, Damaged):
        return one_line(f"{place}  damaged: {record.message}")
    key = text_or_base64(record.key)
    parts = [place, when(record.timestamp_ms), "-" if key is None else key if isinstance(key, str) else _dump(key)]
    if record.value is None:
        parts.append("(no value)")
    else:
        value = shown.decode()
        plain = orjson.loads(shown) if value.startswith('"') else None
        parts.append(plain if isinstance(plain, str) and plain.isprintable() else value)
    if record.headers:
        parts.append(f"headers {_dump(_headers(record.headers))}")
    return one_line("  ".join(parts))


def _headers(headers: Headers) -> list[list[object]]:
    """[name, value] in order: a name may occur more than once."""
    return [[name, text_or_base64(value)] for name, value in headers]


def _dump(value: object) -> str:
    return orjson.dumps(value).decode()


def when(timestamp_ms: int) -> str:
    """A record's time in UTC; as a plain number of milliseconds where no calendar reaches it."""
    try:
        moment = _EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return f"{timestamp_ms} ms"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
