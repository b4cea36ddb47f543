"""`streamflow send`: put records on a topic, beside a running workflow or before it."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamflow.cli.common import (
    DEFAULT_LOG,
    JsonOption,
    LogOption,
    fail,
    open_log_at,
    print_json,
    run_async,
    schema_registry,
)

if TYPE_CHECKING:
    from streamflow.codecs import Encoder
    from streamflow.connectors.files.formats import FileKind
    from streamflow.connectors.files.source import FileSource
    from streamflow.model.types import Schema
    from streamflow.sdk.expression import Projection
    from streamflow.sdk.log import Log

_ROWS = 20_000


def send(
    topic: Annotated[str, typer.Argument(help="The topic; it is created if it does not exist.")],
    file: Annotated[str, typer.Argument(help="What to send; - is standard input.")] = "-",
    log: LogOption = DEFAULT_LOG,
    schema: Annotated[Path | None, typer.Option(help="Avro schema (.avsc): records are written as Avro.")] = None,
    key: Annotated[str | None, typer.Option(help="Field that becomes the record key.")] = None,
    format: Annotated[
        str | None, typer.Option(help="jsonl, csv, avro or parquet; default: by the end of the name, else jsonl.")
    ] = None,
    partitions: Annotated[int, typer.Option(help="Partitions when the topic has to be created.", min=1)] = 4,
    json: JsonOption = False,
) -> None:
    """Send a file to a topic, one record a row. Rows that do not fit are named and left out; then the exit code is 1."""
    if format not in (None, "jsonl", "csv", "avro", "parquet"):
        fail(f"--format is jsonl, csv, avro or parquet, not {format!r}.", code=2)
    if file == "-":
        with tempfile.NamedTemporaryFile(prefix="streamflow-send-") as spool:
            while chunk := sys.stdin.buffer.read(1 << 20):
                spool.write(chunk)
            spool.flush()
            run_async(_send(topic, Path(spool.name), log, schema, key, format or "jsonl", partitions, json))
        return
    if not Path(file).is_file():
        fail(f"there is no file {file!r}.", code=2)
    run_async(_send(topic, Path(file), log, schema, key, format, partitions, json))


async def _send(
    topic: str,
    file: Path,
    address: str,
    schema_file: Path | None,
    key: str | None,
    format: str | None,
    partitions: int,
    as_json: bool,
) -> None:
    from streamflow.codecs import CodecSpec, encoder
    from streamflow.codecs.avrotypes import schema_to_avro
    from streamflow.connectors.files.infer import infer_schema
    from streamflow.connectors.files.source import FileReads, FileSource
    from streamflow.model.types import ANY
    from streamflow.sdk.log import TopicSpec

    kind = _kind(file, format)
    if schema_file is not None:
        schema = _read_schema(schema_file)
    else:
        schema = ANY if kind.format == "jsonl" else infer_schema(file, kind)
    source = FileSource(
        FileReads(path=str(file.absolute()), base_folder="", schema=schema, format=kind.format, per_file=False)
    )
    avro = schema_file is not None or kind.format in ("avro", "parquet")
    encode = encoder(CodecSpec(format="avro" if avro else "json", schema=schema, name=schema.name or "Item"))
    keys = _keys(key, schema)
    log = open_log_at(address)
    await log.open()
    try:
        if topic not in await log.topics():
            await log.create_topic(TopicSpec(name=topic, partitions=partitions))
        if avro:
            import orjson

            text = orjson.dumps(schema_to_avro(schema, name=schema.name or "Item")).decode()
            schema_registry(address).register(f"{topic}-value", text)
        started = time.monotonic()
        sent, bad = await _write(log, topic, source, encode, keys)
        seconds = time.monotonic() - started
    finally:
        source.close()
        await log.close()
    if as_json:
        print_json({"topic": topic, "sent": sent, "refused": len(bad), "errors": bad[:100]})
    else:
        print(f"{sent:,} records sent to {topic}, {sent / max(seconds, 1e-9):,.0f} records/s")
    if bad:
        for text in bad[:20]:
            print(f"error: {text}", file=sys.stderr)
        fail(
            f"{len(bad):,} rows did not fit and were not sent"
            + (" (the first 20 are shown)." if len(bad) > 20 else ".")
        )


async def _write(
    log: Log, topic: str, source: FileSource, encode: Encoder, keys: Projection | None
) -> tuple[int, list[str]]:
    """Send in transactions of some thousand rows: each is on the topic whole or not at all."""
    import os

    import polars as pl

    from streamflow.model.batch import KEY, TS
    from streamflow.model.positions import TopicPartition
    from streamflow.operators.keys import key_bytes
    from streamflow.operators.partition import partition_for
    from streamflow.sdk.expression import ITEM_ERROR_CODES

    count = (await log.topics())[topic].partitions
    producer = await log.producer(f"streamflow.send.{os.getpid()}")
    sent, row, bad, done = 0, 0, [], False
    source.open("")
    while not done:
        batch = source.read(rows_max=_ROWS, timeout_ms=1000)
        done = batch.done
        bad += [f"{message} ({code})" for _, code, message in batch.bad]
        frame = batch.frame.with_columns(
            pl.lit(int(time.time() * 1000), dtype=pl.Int64).alias(TS), pl.lit(None, dtype=pl.Binary).alias(KEY)
        )
        numbers = pl.int_range(row, row + frame.height, eager=True)
        if keys is not None and frame.height:
            found = keys.run(batch.frame)
            frame = frame.with_columns(key_bytes(found.values["key"], keys.types["key"]).alias(KEY))
            codes = found.errors.get("key")
            if codes is not None:
                failing = (codes != 0).to_list()
                bad += [
                    f"row {numbers[i] + 1}: key: {ITEM_ERROR_CODES[codes[i]]}"
                    for i, wrong in enumerate(failing)
                    if wrong
                ]
                frame, numbers = frame.filter(codes == 0), numbers.filter(codes == 0)
        row += batch.frame.height
        if not frame.height:
            continue
        # Rows without a key go round, so that each partition gets its share.
        target = partition_for(frame[KEY], count, default=(numbers % count).to_numpy())
        await producer.begin()
        for p in range(count):
            mine = pl.Series(target == p)
            encoded = encode.encode(frame.filter(mine))
            rows = numbers.filter(mine)
            bad += [f"row {rows[b.row] + 1}: {b.message} ({b.code})" for b in encoded.bad]
            sent += sum(b.count for b in encoded.batches)
            await producer.append(TopicPartition(topic, p), encoded.batches)
        await producer.commit()
    await producer.close()
    return sent, bad


def _kind(file: Path, named: str | None) -> FileKind:
    from streamflow.connectors.files.formats import FileKind, kind_of
    from streamflow.sdk.errors import UsageError

    try:
        return kind_of(file, named)  # type: ignore[arg-type]
    except UsageError as error:
        if named is not None:
            fail(str(error), code=2)
        return FileKind("jsonl")


def _read_schema(file: Path) -> Schema:
    from streamflow.codecs.avrotypes import schema_from_avro
    from streamflow.sdk.errors import StreamflowError

    try:
        return schema_from_avro(file.read_text())
    except (OSError, StreamflowError) as error:
        fail(f"--schema {str(file)!r} cannot be read: {error}", code=2)


def _keys(key: str | None, schema: Schema) -> Projection | None:
    from streamflow.expressions import compile_projection
    from streamflow.sdk.expression import Expression, Scope

    if key is None:
        return None
    projection, findings = compile_projection({"key": Expression(f"item[{key!r}]")}, Scope(item=schema))
    if projection is None:
        fail(f"--key {key!r}: {findings[0].message} {findings[0].mend}".rstrip(), code=2)
    return projection
