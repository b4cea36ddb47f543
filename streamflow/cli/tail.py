"""`streamflow tail`: read a topic, now and as it grows."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    LogOption,
    RegistryOption,
    existing_log,
    need_topic,
    run_async,
    schema_registry,
)
from streamflow.cli.output import fail, note_json

if TYPE_CHECKING:
    from streamflow.cli.reading import Entry
    from streamflow.model.positions import TopicPartition
    from streamflow.sdk.log import Log

_LAST_MAX = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def tail(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic.")],
    *,
    log: LogOption = DEFAULT_LOG,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="WHERE",
            help="earliest, latest, an offset (of each partition), a time such as 2026-01-31T12:00:00Z (UTC unless it "
            "says otherwise), or -N for the last N records.",
        ),
    ] = "latest",
    max_records: Annotated[
        int | None, typer.Option("--max", metavar="N", help="Stop after this many records.", min=0)
    ] = None,
    schema: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Avro schema of the values; default: the registered one.")
    ] = None,
    registry: RegistryOption = "",
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            callback=note_json,
            help="One JSON object a line: topic, partition, offset, timestamp (ms), key, value, and headers if any.",
        ),
    ] = False,
    follow: Annotated[bool, typer.Option(help="Wait for more, or stop at the end of the topic.")] = True,
) -> None:
    """Print the records of a topic, the oldest first.

    Waits for more until Ctrl-C, unless --max or --no-follow end it.
    """
    try:
        run_async(
            _tail(
                topic,
                log,
                start=_Start(start),
                max_records=max_records,
                schema=schema,
                registry=registry,
                as_json=json,
                follow=follow,
            )
        )
    except KeyboardInterrupt:
        raise typer.Exit(0) from None  # the usual end of a tail


class _Start:
    """Where to begin, as the user said it."""

    def __init__(self, text: str) -> None:
        self.text, self.last, self.offset = text, 0, -1
        self.time_ms: int | None = None
        if re.fullmatch(r"-[0-9]{1,15}", text):
            self.last = int(text[1:])
            if self.last > _LAST_MAX:
                fail(f"--from {text}: at most the last {_LAST_MAX:,} records.", mend="Give an offset instead.", code=2)
            if not self.last:
                self.text = "latest"
        elif re.fullmatch(r"[0-9]{1,18}", text):
            self.offset = int(text)
        elif text not in ("earliest", "latest"):
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                fail(f"--from is earliest, latest, an offset, -N or an ISO time, not {text!r}.", code=2)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            self.time_ms = (moment - _EPOCH) // timedelta(milliseconds=1)

    async def positions(self, log: Log, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        from streamflow.cli.reading import last

        ranges = {at: await log.offsets(at) for at in places}
        if self.last:
            return await last(log, ranges, self.last)
        positions = {}
        for at, (first, end) in ranges.items():
            if self.time_ms is not None:
                found = await log.offset_for_time(at, self.time_ms)
                positions[at] = end if found is None else found
            elif self.offset >= 0:
                positions[at] = min(max(first, self.offset), end)
            else:
                positions[at] = first if self.text == "earliest" else end
        return positions


async def _tail(
    topic: str,
    address: str,
    *,
    start: _Start,
    max_records: int | None,
    schema: Path | None,
    registry: str,
    as_json: bool,
    follow: bool,
) -> None:
    from streamflow.cli.lines import as_json as as_json_line
    from streamflow.cli.lines import as_text
    from streamflow.cli.reading import TopicReader
    from streamflow.cli.values import Values
    from streamflow.model.positions import TopicPartition

    given = _schema_text(schema) if schema is not None else ""
    async with existing_log(address) as log:
        existing = dict(await log.topics())
        need_topic(topic, existing)
        values = Values(topic, schema_registry(address, registry), given)
        places = [TopicPartition(topic, p) for p in range(existing[topic].partitions)]
        reader = TopicReader(log, await start.positions(log, places), values.show)
        line = as_json_line if as_json else as_text
        left = -1 if max_records is None else max_records
        while left:
            entries = await reader.next()
            if entries:
                wanted = [e for e in entries if start.time_ms is None or _is_at(e, start.time_ms)]
                wanted = wanted if left < 0 else wanted[:left]
                sys.stdout.write("".join(f"{line(entry)}\n" for entry in wanted))
                left -= len(wanted) if left > 0 else 0
                continue
            sys.stdout.flush()
            if not follow:
                break
            await log.wait(reader.positions, timeout_ms=1000)


def _is_at(entry: Entry, time_ms: int) -> bool:
    """The log finds the batch; the records before the time are inside it."""
    from streamflow.codecs.records import Record

    return not isinstance(entry.record, Record) or entry.record.timestamp_ms >= time_ms


def _schema_text(file: Path) -> str:
    from streamflow.cli.values import node_of
    from streamflow.sdk.errors import SchemaError

    try:
        text = file.read_text(encoding="utf-8")
        node_of(text)
    except SchemaError as error:
        fail(f"--schema {str(file)!r}: {error.message}", mend=error.mend, code=2)
    except (OSError, ValueError) as error:
        fail(f"--schema {str(file)!r} cannot be read: {getattr(error, 'strerror', None) or error}.", code=2)
    return text
