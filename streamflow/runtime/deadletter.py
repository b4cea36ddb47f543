"""Dead letters: what failed, where and why, with the record it came from byte for byte, so that it can be redriven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl

from streamflow.codecs import CodecSpec, decoder, encoder
from streamflow.model.batch import HEADERS, HEADERS_DTYPE, KEY, POSITION, TS
from streamflow.model.dead_letter import DEAD_LETTER
from streamflow.model.types import frame_schema
from streamflow.operators.entered import Entered
from streamflow.sdk.errors import CodecError
from streamflow.sdk.log import NewBatch, RecordBatch

SPEC: Final = CodecSpec(format="avro", schema=DEAD_LETTER, name=DEAD_LETTER.name)
MESSAGE_CHARS_MAX: Final = 4_000
# Below Kafka's default for max.message.bytes, with room for what surrounds the value of a record that just fitted it.
RECORD_BYTES_MAX: Final = 1_040_000
CUT_SIZE: Final = 16 << 10  # of a key, value or item that has to be cut, in bytes or characters
# Headers of a dead letter in workflows whose executions can be recovered: the item as it entered the node.
_ENTERED, _ENTERED_SCHEMA, _TASK = "streamflow.entered", "streamflow.entered-schema", "streamflow.task"
_CUT_NOTE: Final = " (cut to fit a record: "

_ENCODER, _DECODER = encoder(SPEC), decoder(SPEC, reserved=(HEADERS,))
_DTYPES: Final[Mapping[str, pl.DataType]] = frame_schema(DEAD_LETTER) | {"headers": HEADERS_DTYPE}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One item or record that failed.

    `topic`, `partition`, `offset`, `key`, `value`, `headers` are those of the record it came from; without one `topic`
    is empty and `item` holds the item as JSON. An item that had waited in state has both: its record lies there, and
    `value` and `headers` are not repeated. `timestamp_ms` is event time. `position`: offset of the dead letter
    itself, once read from its topic. `entered`, `task`: the item as it entered the node, and the partition of the
    task; only in workflows whose executions can be recovered.
    """

    workflow: str
    stage: str
    node: str
    code: str
    message: str
    timestamp_ms: int
    attempt: int = 1
    execution: str | None = None
    topic: str = ""
    partition: int = -1
    offset: int = -1
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    item: str | None = None
    position: int = -1
    entered: Entered | None = None
    task: int = -1

    @property
    def cut(self) -> bool:
        """Whether key, value, headers or item are not whole, because no record could hold them."""
        return _CUT_NOTE in self.message and self.message.endswith(")")


def encode_dead_letters(letters: Sequence[DeadLetter], *, size_bytes_max: int = RECORD_BYTES_MAX) -> list[NewBatch]:
    """Record batches of the letters, in order; the record's key and time are those of the letter.

    A letter that no record can hold is cut: its code stays, its message says what was cut and where the original is.
    `size_bytes_max`: what the topic takes; parts are cut to an eighth of it where that is less than CUT_SIZE.
    """
    size_bytes_max = min(size_bytes_max, RECORD_BYTES_MAX)
    encoded = _ENCODER.encode(_frame(letters), size_bytes_max=size_bytes_max)
    if not encoded.bad:
        return encoded.batches
    cut = list(letters)
    if any(letters[bad.row].entered for bad in encoded.bad):  # what is only for recovery has to give way first
        for bad in encoded.bad:
            cut[bad.row] = replace(cut[bad.row], entered=None)
        return encode_dead_letters(cut, size_bytes_max=size_bytes_max)
    for bad in encoded.bad:
        if bad.code != "too_large":
            raise CodecError(f"dead letter of node {letters[bad.row].node!r}: {bad.code}: {bad.message}")
        cut[bad.row] = _cut(letters[bad.row], min(CUT_SIZE, size_bytes_max // 8))
    again = _ENCODER.encode(_frame(cut), size_bytes_max=size_bytes_max)
    if again.bad:
        first = again.bad[0]
        raise CodecError(f"dead letter of node {cut[first.row].node!r}: {first.code}: {first.message}")
    return again.batches


def decode_dead_letters(batches: Sequence[RecordBatch], *, first_offset: int = 0) -> list[DeadLetter]:
    """Letters at or past `first_offset`, in order.

    Raises:
        CodecError: a record that is no dead letter; only streamflow may write to that topic.
    """
    decoded = _DECODER.decode(batches, first_offset=first_offset)
    if decoded.bad:
        first = decoded.bad[0]
        raise CodecError(f"record at offset {first.offset} is no dead letter: {first.message}")
    frame = decoded.frame.with_columns(pl.col("timestamp").dt.epoch("ms").cast(pl.Int64))
    return [_letter(row) for row in frame.iter_rows(named=True)]


def _frame(letters: Sequence[DeadLetter]) -> pl.DataFrame:
    columns: dict[str, pl.Series] = {}
    for name, dtype in _DTYPES.items():
        if name == "timestamp":
            values: list[Any] = [letter.timestamp_ms for letter in letters]
            columns[name] = pl.Series(name, values, dtype=pl.Int64()).cast(dtype)
        elif name == "headers":
            columns[name] = _headers(letters)
        else:
            values = [getattr(letter, name) for letter in letters]
            if dtype == pl.String:
                values = [None if value is None else _text(value) for value in values]
            if name == "message":
                values = [_shortened(value, MESSAGE_CHARS_MAX) for value in values]
            columns[name] = pl.Series(name, values, dtype=dtype)
    frame = pl.DataFrame(columns)
    # A record's time may not be negative; an event time may, and stays so in the letter itself.
    times = frame["timestamp"].dt.epoch("ms").cast(pl.Int64).clip(lower_bound=0)
    frame = frame.with_columns(pl.col("key").alias(KEY), times.alias(TS))
    if all(letter.task < 0 for letter in letters):
        return frame
    values = [[{"key": k, "value": v} for k, v in _own_headers(letter)] for letter in letters]
    return frame.with_columns(pl.Series(HEADERS, values, dtype=HEADERS_DTYPE))


def _own_headers(letter: DeadLetter) -> list[tuple[str, bytes]]:
    """Headers of the letter itself."""
    if letter.task < 0:
        return []
    made = [(_TASK, str(letter.task).encode())]
    if letter.entered is not None:
        made += [(_ENTERED, letter.entered.value), (_ENTERED_SCHEMA, letter.entered.schema.encode())]
    return made


def _headers(letters: Sequence[DeadLetter]) -> pl.Series:
    """Column `headers`. Grouped from flat columns: polars takes far longer to build nested values from Python's."""
    flat = [(row, _text(key), value) for row, letter in enumerate(letters) for key, value in letter.headers]
    frame = pl.DataFrame(flat, schema={"row": pl.UInt32(), "key": pl.String(), "value": pl.Binary()}, orient="row")
    present = frame.group_by("row", maintain_order=True).agg(pl.struct("key", "value").alias("headers"))
    rows = pl.DataFrame({"row": pl.arange(0, len(letters), dtype=pl.UInt32, eager=True)})
    column = rows.join(present, on="row", how="left", maintain_order="left")["headers"]
    return column.fill_null(pl.select(pl.lit([], dtype=HEADERS_DTYPE)).to_series()) if column.null_count() else column


def _letter(row: Mapping[str, Any]) -> DeadLetter:
    fields = {name: row[name] for name in _DTYPES if name not in ("timestamp", "headers")}
    own = {h["key"]: h["value"] for h in row[HEADERS] or ()}
    entered = None
    if own.get(_ENTERED) is not None and own.get(_ENTERED_SCHEMA) is not None:
        entered = Entered(own[_ENTERED], own[_ENTERED_SCHEMA].decode())
    return DeadLetter(
        **fields,
        timestamp_ms=row["timestamp"],
        headers=tuple((h["key"], h["value"]) for h in row["headers"]),
        position=row[POSITION],
        entered=entered,
        task=int(own.get(_TASK) or -1),
    )


def _cut(letter: DeadLetter, most: int) -> DeadLetter:
    """The letter with parts of more than `most` bytes (the item: characters) cut to that, and told so."""
    told = []
    parts: dict[str, Any] = {}
    for name in ("key", "value", "item"):
        content = getattr(letter, name)
        if content is not None and len(content) > most:
            parts[name] = content[:most]
            told.append(f"{name} of {len(content)} {'characters' if name == 'item' else 'bytes'}")
    headers = sum(len(k) + len(v or b"") for k, v in letter.headers)
    if headers > most:
        parts["headers"] = ()
        told.append(f"headers of {headers} bytes")
    origin = f"{letter.topic}/{letter.partition} offset {letter.offset}" if letter.topic else "not on a topic"
    note = f"{_CUT_NOTE}{', '.join(told)}; the original is {origin})"
    room = max(min(MESSAGE_CHARS_MAX, most) - len(note), most // 2)
    return replace(letter, message=_shortened(letter.message, room) + note, **parts)


def _shortened(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def _text(text: str) -> str:
    """Text as UTF-8 can hold it; messages of errors may quote halves of surrogate pairs."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
