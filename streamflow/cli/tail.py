"""`streamflow tail`: read a topic, now and as it grows."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from streamflow.cli.common import DEFAULT_LOG, LogOption, fail, open_log_at, run_async

if TYPE_CHECKING:
    from streamflow.codecs import SchemaRegistry
    from streamflow.codecs.records import Record
    from streamflow.sdk.log import Log


def tail(
    topic: Annotated[str, typer.Argument(help="The topic.")],
    log: LogOption = DEFAULT_LOG,
    start: Annotated[
        str,
        typer.Option(
            "--from", help="earliest, latest, an offset, a time (2026-01-31T12:00:00Z), or -N for the last N."
        ),
    ] = "latest",
    max_records: Annotated[int | None, typer.Option("--max", help="Stop after this many records.", min=0)] = None,
    schema: Annotated[
        str | None, typer.Option(help="Avro schema of the values; default: the one that wrote them.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: topic, partition, offset, time, key, value.")
    ] = False,
    follow: Annotated[bool, typer.Option(help="Wait for more; --no-follow stops at the end.")] = True,
) -> None:
    """Print the records of a topic. Without --max or --no-follow it waits for more until Ctrl-C."""
    run_async(_tail(topic, log, start, max_records, schema, json, follow))


async def _tail(
    topic: str, address: str, start: str, max_records: int | None, schema: str | None, as_json: bool, follow: bool
) -> None:
    from streamflow.codecs.recordbatch import records
    from streamflow.model.positions import TopicPartition

    log = open_log_at(address)
    await log.open()
    try:
        existing = await log.topics()
        if topic not in existing:
            import difflib

            near = difflib.get_close_matches(topic, existing, 1)
            fail(f"there is no topic {topic!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        show = value_reader(topic, address, schema)
        positions = {
            at: await _start(log, at, start)
            for at in (TopicPartition(topic, p) for p in range(existing[topic].partitions))
        }
        left = max_records if max_records is not None else -1
        while left:
            moved = False
            for at, position in list(positions.items()):
                for batch in await log.read(at, position, size_bytes_max=1 << 20):
                    moved = True
                    for record in records(batch):
                        if record.offset < position or not left:
                            continue
                        _print(at.topic, at.partition, record, show(record.value), as_json)
                        left -= 1
                    positions[at] = batch.last_offset + 1
                    if not left:
                        break
            if not moved:
                if not follow:
                    break
                await log.wait(positions, timeout_ms=1000)
    finally:
        await log.close()


async def _start(log: Log, at: object, start: str) -> int:
    from streamflow.model.positions import TopicPartition

    assert isinstance(at, TopicPartition)
    first, end = await log.offsets(at)
    if start == "earliest":
        return first
    if start == "latest":
        return end
    if start.lstrip("-").isdigit():
        n = int(start)
        return min(max(first, end + n if n < 0 else n), end)
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        fail(f"--from is earliest, latest, an offset, -N or an ISO time, not {start!r}.", code=2)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    found = await log.offset_for_time(at, int(moment.timestamp() * 1000))
    return end if found is None else found


class value_reader:  # noqa: N801 - used as a function with a memory
    """Shows a value: by its Avro schema if one is known, as JSON or text if it is that, else as base64."""

    def __init__(self, topic: str, address: str, schema: str | None) -> None:
        from pathlib import Path

        import fastavro

        from streamflow.cli.common import schema_registry

        text: object = None
        if schema is not None:
            try:
                text = orjson.loads(Path(schema).read_bytes())
            except (OSError, orjson.JSONDecodeError) as error:
                fail(f"--schema {schema!r} cannot be read: {error}", code=2)
        else:
            text = known_schema(schema_registry(address), topic)
        self._schema = fastavro.parse_schema(text) if isinstance(text, dict | list) else None

    def __call__(self, value: bytes | None) -> object:
        import io

        import fastavro

        if value is None:
            return None
        if self._schema is not None:
            start = 5 if value[:1] == b"\0" and len(value) > 5 else 0
            for skip in dict.fromkeys((0, start, 10 if value[:2] == b"\xc3\x01" else 0)):
                try:
                    stream = io.BytesIO(value[skip:])
                    found = fastavro.schemaless_reader(stream, self._schema, None)
                except (EOFError, ValueError, IndexError, UnicodeDecodeError, OverflowError, MemoryError):
                    continue
                if stream.tell() == len(value) - skip:
                    return found
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            pass
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}


def known_schema(registry: SchemaRegistry, topic: str) -> object:
    """The Avro schema registered for a topic's values, or None."""
    from streamflow.codecs.registry import UnknownSchema

    try:
        _, _, text = registry.latest(f"{topic}-value")
    except UnknownSchema:
        return None
    return orjson.loads(text)


def _print(topic: str, partition: int, record: Record, value: object, as_json: bool) -> None:
    when = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds")
    key = None if record.key is None else record.key.decode(errors="backslashreplace")
    if as_json:
        fact = {
            "topic": topic, "partition": partition, "offset": record.offset, "timestamp": record.timestamp_ms,
            "key": key, "value": value,
        }  # fmt: skip
        if record.headers:
            fact["headers"] = dict(_headers(record))
        print(orjson.dumps(fact, default=_plain).decode(), flush=True)
        return
    text = value if isinstance(value, str) else orjson.dumps(value, default=_plain).decode()
    print(f"{partition}/{record.offset}  {when}  {key if key is not None else '-'}  {text}", flush=True)


def _headers(record: Record) -> Iterator[tuple[str, str | None]]:
    for name, value in record.headers:
        yield name, None if value is None else value.decode(errors="backslashreplace")


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    return str(value)
