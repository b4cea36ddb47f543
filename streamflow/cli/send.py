"""`streamflow send`: put records on a topic, beside a running workflow or before it."""

from __future__ import annotations

import contextlib
import enum
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    JsonOption,
    LogOption,
    RegistryOption,
    run_async,
    schema_registry,
    writable_log,
)
from streamflow.cli.output import counted, fail, note, print_json
from streamflow.cli.progress import ProgressLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from streamflow.cli.rows import Rows
    from streamflow.codecs import CodecSpec, Encoder, SchemaRegistry
    from streamflow.codecs.framing import Framing
    from streamflow.connectors.files.formats import FileKind
    from streamflow.model.positions import TopicPartition
    from streamflow.model.types import Schema
    from streamflow.sdk.expression import Projection
    from streamflow.sdk.log import Log, Producer

_ERRORS_KEPT = 100
_ERRORS_SHOWN = 20


class _Format(enum.StrEnum):
    jsonl = "jsonl"
    csv = "csv"
    avro = "avro"
    parquet = "parquet"


class _Framing(enum.StrEnum):
    raw = "raw"
    confluent = "confluent"
    single_object = "single_object"


def send(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic; it is created if it does not exist.")],
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="What to send; - or nothing is standard input.")
    ] = None,
    *,
    log: LogOption = DEFAULT_LOG,
    schema: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Avro schema (.avsc): records are written as Avro.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FIELD", help="Field that becomes the record key.")] = None,
    format: Annotated[_Format | None, typer.Option(help="Default: by the end of the file's name, else jsonl.")] = None,
    framing: Annotated[
        _Framing, typer.Option(help="What stands in front of Avro values to say which schema wrote them.")
    ] = _Framing.raw,
    registry: RegistryOption = "",
    partitions: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Partitions of the topic if it has to be created; default 4.", min=1, max=10_000
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send a file or standard input to a topic, a record a row.

    JSON lines from a pipe are sent as they come. Rows that do not fit are named and left out; then the exit code is 1.
    """
    if topic.endswith((".yaml", ".yml")) and Path(topic).exists():
        fail(f"{topic!r} is a workflow file; the first argument is the topic to send to: one that it reads.", code=2)
    sending = _Sending(
        topic,
        log,
        schema=schema,
        key=key,
        framing=framing.value,
        registry=registry,
        partitions=partitions,
        as_json=json,
    )
    if file is None or file == "-":
        if file is None and sys.stdin.isatty():
            fail("nothing to send: name a FILE, or - to type records here.", code=2)
        if sys.stdin.isatty():
            note("one record a line; Ctrl-D ends.")
        kind = format or _Format.jsonl
        if kind is _Format.jsonl:
            run_async(sending.json_lines(cast(BinaryIO, sys.stdin.buffer)))
        else:
            with _spooled(sys.stdin.buffer, kind.value) as path:
                run_async(sending.file(path, kind.value))
        return
    path = Path(file)
    try:
        path.open("rb").close()
    except FileNotFoundError:
        fail(f"there is no file {file!r}.", code=2)
    except (OSError, ValueError) as error:
        fail(f"{file!r} cannot be read: {getattr(error, 'strerror', None) or error}.", code=2)
    run_async(sending.file(path, format.value if format else None))


@contextlib.contextmanager
def _spooled(stream: BinaryIO, format: str) -> Iterator[Path]:
    """A copy of the stream in a file, for formats that are not read from front to back."""
    import shutil
    import tempfile

    with tempfile.NamedTemporaryFile(prefix="streamflow-send-", suffix=f".{format}") as spool:
        shutil.copyfileobj(stream, spool, 1 << 20)
        spool.flush()
        yield Path(spool.name)


class _Sending:
    """One call of the command."""

    def __init__(
        self,
        topic: str,
        address: str,
        *,
        schema: Path | None,
        key: str | None,
        framing: str,
        registry: str,
        partitions: int | None,
        as_json: bool,
    ) -> None:
        self._topic, self._address, self._key, self._as_json = topic, address, key, as_json
        self._partitions, self._registry_name, self._framing = partitions, registry, framing
        self._schema_text = _read(schema) if schema is not None else ""
        self._schema_name = str(schema)
        self._sent = self._refused = self._keyless = 0
        self._errors: list[str] = []

    async def json_lines(self, stream: BinaryIO) -> None:
        from streamflow.cli.rows import json_lines
        from streamflow.model.types import ANY

        schema = self._given_schema() or ANY
        await self._send(json_lines(stream, schema), schema, avro=bool(self._schema_text))

    async def file(self, path: Path, format: str | None) -> None:
        from streamflow.cli.rows import file_rows, json_lines
        from streamflow.connectors.files.formats import open_file
        from streamflow.connectors.files.infer import infer_schema
        from streamflow.model.types import ANY

        kind = _kind(path, format)
        if kind.format == "jsonl":
            schema = self._given_schema() or ANY
            with open_file(path, kind) as stream:
                await self._send(json_lines(stream, schema), schema, avro=bool(self._schema_text))
            return
        with _file_errors(path, kind):
            schema = self._given_schema() or infer_schema(path, kind)
            avro = bool(self._schema_text) or kind.format in ("avro", "parquet")
            await self._send(file_rows(path, kind, schema), schema, avro=avro)

    def _given_schema(self) -> Schema | None:
        from streamflow.codecs.avrotypes import schema_from_avro
        from streamflow.sdk.errors import SchemaError

        if not self._schema_text:
            return None
        try:
            return schema_from_avro(self._schema_text, what=self._schema_name)
        except SchemaError as error:
            fail(f"--schema {self._schema_name!r}: {error.message}", mend=error.mend, code=2)

    async def _send(self, chunks: AsyncIterator[Rows], schema: Schema, *, avro: bool) -> None:
        from streamflow.codecs import encoder
        from streamflow.model.positions import TopicPartition

        started = time.monotonic()
        keys = _keys(self._key, schema)
        async with writable_log(self._address) as log:
            registry = schema_registry(self._address, self._registry_name)
            spec = self._spec(schema, registry, avro=avro)
            encode = encoder(spec, registry=registry)
            await self._ensure_topic(log)
            count = (await log.topics())[self._topic].partitions
            producer = await log.producer(f"streamflow.send.{os.getpid()}")
            line = ProgressLine()
            places = [TopicPartition(self._topic, p) for p in range(count)]
            try:
                async for rows in chunks:
                    await self._write(producer, rows, encode, keys, places)
                    line.show(f"{self._sent:,} records sent")
            finally:
                line.clear()
                await producer.close()
        self._report(time.monotonic() - started)

    def _spec(self, schema: Schema, registry: SchemaRegistry, *, avro: bool) -> CodecSpec:
        """How values are written; an Avro schema is registered, so that whoever reads the topic finds it."""
        import orjson

        from streamflow.codecs import CodecSpec
        from streamflow.codecs.avrotypes import schema_to_avro
        from streamflow.codecs.registry import UnknownSchema

        subject = f"{self._topic}-value"
        if not avro:
            with contextlib.suppress(UnknownSchema):
                registry.latest(subject)
                note(f"{self._topic} has an Avro schema, these records are JSON; --schema would write Avro.")
            return CodecSpec(format="json", schema=schema, name=schema.name or "Item")
        name = schema.name or "Item"
        text = self._schema_text or orjson.dumps(schema_to_avro(schema, name=name)).decode()
        text = orjson.dumps(orjson.loads(text)).decode()
        registry.register(subject, text)
        framing = cast("Framing", self._framing)
        return CodecSpec(format="avro", schema=schema, name=name, framing=framing, subject=subject, avro=text)

    async def _ensure_topic(self, log: Log) -> None:
        from streamflow.sdk.errors import TopicExists
        from streamflow.sdk.log import TopicSpec

        if self._topic not in await log.topics():
            with contextlib.suppress(TopicExists):  # somebody else was faster
                await log.create_topic(TopicSpec(name=self._topic, partitions=self._partitions or 4))
        count = (await log.topics())[self._topic].partitions
        if self._partitions not in (None, count):
            mend = "Leave --partitions out, or delete the topic first."
            fail(f"topic {self._topic!r} has {counted(count, 'partition')}, not {self._partitions}.", mend=mend)

    async def _write(
        self, producer: Producer, rows: Rows, encode: Encoder, keys: Projection | None, places: list[TopicPartition]
    ) -> None:
        """Send one chunk in one transaction: it is on the topic whole or not at all."""
        import numpy as np
        import polars as pl

        from streamflow.model.batch import KEY, TS
        from streamflow.operators.keys import key_bytes
        from streamflow.operators.partition import partition_for
        from streamflow.sdk.expression import ITEM_ERROR_CODES

        bad, numbers = list(rows.bad), np.asarray(rows.numbers, dtype=np.int64)
        now_ms = pl.lit(time.time_ns() // 1_000_000, dtype=pl.Int64)
        frame = rows.frame.with_columns(now_ms.alias(TS), pl.lit(None, dtype=pl.Binary).alias(KEY))
        if keys is not None and frame.height:
            found = keys.run(rows.frame)
            frame = frame.with_columns(key_bytes(found.values["key"], keys.types["key"]).alias(KEY))
            codes = found.errors.get("key")
            if codes is not None:
                wrong = (codes != 0).to_numpy()
                whys = codes.filter(codes != 0).to_list()
                bad += [
                    (int(n), f"--key {self._key}: {ITEM_ERROR_CODES[c]}")
                    for n, c in zip(numbers[wrong], whys, strict=True)
                ]
                frame, numbers = frame.filter(codes == 0), numbers[~wrong]
        if frame.height:
            self._keyless += frame[KEY].null_count() if keys is not None else 0
            # Rows without a key go round, so that each partition gets its share.
            target = partition_for(frame[KEY], len(places), default=numbers % len(places))
            await producer.begin()
            sent = 0
            for p in np.unique(target).tolist():
                mine = target == p
                encoded = encode.encode(frame.filter(pl.Series(mine)))
                own = numbers[mine]
                bad += [(int(own[b.row]), f"{b.message.rstrip('.')} ({b.code})") for b in encoded.bad]
                sent += sum(b.count for b in encoded.batches)
                await producer.append(places[p], encoded.batches)
            await producer.commit()
            self._sent += sent
        self._refused += len(bad)
        room = _ERRORS_KEPT - len(self._errors)
        self._errors += [f"line {number}: {why}" for number, why in sorted(bad)[: max(room, 0)]]

    def _report(self, seconds: float) -> None:
        if self._as_json:
            print_json(
                {"topic": self._topic, "sent": self._sent, "refused": self._refused, "errors": self._errors}
                | {"seconds": round(seconds, 3)}
            )
        else:
            rate = f", {self._sent / seconds:,.0f} records/s" if seconds >= 1 and self._sent >= 1_000 else ""
            print(f"{counted(self._sent, 'record')} sent to {self._topic}{rate}")
        if self._keyless:
            note(f"{counted(self._keyless, 'row')} had no {self._key!r}: sent without a key.")
        if self._refused:
            for text in self._errors[:_ERRORS_SHOWN]:
                print(f"error: {text}", file=sys.stderr)
            more = f"; the first {_ERRORS_SHOWN} are shown" if self._refused > _ERRORS_SHOWN else ""
            was = "was" if self._refused == 1 else "were"
            fail(f"{counted(self._refused, 'row')} did not fit and {was} not sent{more}.")


@contextlib.contextmanager
def _file_errors(path: Path, kind: FileKind) -> Iterator[None]:
    """A file that is not what its name says: one message instead of what the parser of the format raises."""
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, ValueError, EOFError) as error:
        fail(f"{path} is no readable {kind.format} file: {str(error).splitlines()[0] if str(error) else error!r}")


def _kind(file: Path, named: str | None) -> FileKind:
    from streamflow.connectors.files.formats import FileFormat, FileKind, kind_of
    from streamflow.sdk.errors import UsageError

    try:
        return kind_of(file, cast("FileFormat | None", named))
    except UsageError:
        if named is not None:
            raise
        return FileKind("jsonl")  # as for standard input


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        fail(f"--schema {str(file)!r} cannot be read: {getattr(error, 'strerror', None) or error}.", code=2)


def _keys(key: str | None, schema: Schema) -> Projection | None:
    from streamflow.expressions import compile_projection
    from streamflow.sdk.expression import Expression, Scope

    if key is None:
        return None
    projection, findings = compile_projection({"key": Expression(f"item[{key!r}]")}, Scope(item=schema))
    if projection is None:
        fail(f"--key {key!r}: {findings[0].message}", mend=findings[0].mend, code=2)
    return projection
