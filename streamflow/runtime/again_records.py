"""Records of topic `<workflow>.again`, written and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from streamflow.codecs import CodecSpec, decoder, encoder
from streamflow.codecs.rows import RowCodec
from streamflow.model.again import AGAIN, Action
from streamflow.model.batch import HEADERS_DTYPE, KEY, POSITION, TS
from streamflow.model.types import frame_schema
from streamflow.operators.entered import Entered
from streamflow.sdk.errors import CodecError
from streamflow.sdk.log import NewBatch, RecordBatch

SPEC: Final = CodecSpec(format="avro", framing="raw", schema=AGAIN, name=AGAIN.name)
_ENCODER, _DECODER = encoder(SPEC), decoder(SPEC, reserved=())
_ROWS: Final = RowCodec(AGAIN, name=AGAIN.name)
_DTYPES: Final[Mapping[str, pl.DataType]] = frame_schema(AGAIN) | {"headers": HEADERS_DTYPE}
_ACTIONS: Final[Mapping[str, Action]] = {
    "retry": "retry", "resume": "resume", "compensate": "compensate", "rollback": "rollback",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """An item that is given again; fields as `model.again.AGAIN` says. `position`: its offset, once it was read."""

    action: Action
    stage: str
    node: str
    execution: str
    timestamp_ms: int
    letter: int = -1
    steps: tuple[str, ...] = ()
    topic: str = ""
    partition: int = -1
    offset: int = -1
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    entered: Entered | None = None
    error_code: str | None = None
    error_message: str | None = None
    then: bytes | None = None
    then_partition: int = -1
    position: int = -1


def encode_again(records: Sequence[Again]) -> list[NewBatch]:
    """Record batches, in order; a record's key is its execution.

    Raises CodecError for one that no record can hold.
    """
    frame = _frame(records)
    times = pl.Series(TS, [max(0, r.timestamp_ms) for r in records], dtype=pl.Int64)
    encoded = _ENCODER.encode(frame.with_columns(pl.col("execution").cast(pl.Binary).alias(KEY), times))
    if encoded.bad:
        bad = encoded.bad[0]
        raise CodecError(f"execution {records[bad.row].execution!r} cannot be given again: {bad.code}: {bad.message}")
    return encoded.batches


def encode_one(record: Again) -> bytes:
    """The value of one record."""
    return _ROWS.encode(_frame([record]))[0]


def decode_one(value: bytes) -> Again:
    """What `encode_one` was given. Raises CodecError."""
    return _again(_ROWS.decode([value]).row(0, named=True), -1)


def decode_again(batches: Sequence[RecordBatch], *, first_offset: int = 0) -> list[Again]:
    """Records at or past `first_offset`, in order.

    Raises:
        CodecError: a record that is none; only streamflow may write to that topic.
    """
    decoded = _DECODER.decode(batches, first_offset=first_offset)
    if decoded.bad:
        bad = decoded.bad[0]
        raise CodecError(f"record at offset {bad.offset} gives no item again: {bad.message}")
    return [_again(row, row[POSITION]) for row in decoded.frame.iter_rows(named=True)]


def _frame(records: Sequence[Again]) -> pl.DataFrame:
    columns: dict[str, pl.Series] = {}
    for name, dtype in _DTYPES.items():
        match name:
            case "timestamp":
                values: list[Any] = [r.timestamp_ms for r in records]
                columns[name] = pl.Series(name, values, dtype=pl.Int64()).cast(dtype)
                continue
            case "headers":
                values = [[{"key": k, "value": v} for k, v in r.headers] for r in records]
            case "steps":
                values = [list(r.steps) for r in records]
            case "entered":
                values = [r.entered.value if r.entered else None for r in records]
            case "entered_schema":
                values = [r.entered.schema if r.entered else None for r in records]
            case _:
                values = [getattr(r, name) for r in records]
        columns[name] = pl.Series(name, values, dtype=dtype)
    return pl.DataFrame(columns)


def _again(row: Mapping[str, Any], position: int) -> Again:
    action = _ACTIONS.get(row["action"])
    if action is None:
        raise CodecError(f"record at offset {position} asks for {row['action']!r}, which this version does not know.")
    fields = {name: row[name] for name in Again.__dataclass_fields__ if name in row and name != "action"}
    entered = None
    if row["entered"] is not None and row["entered_schema"] is not None:
        entered = Entered(row["entered"], row["entered_schema"])
    fields |= {
        "entered": entered,
        "steps": tuple(row["steps"]),
        "headers": tuple((h["key"], h["value"]) for h in row["headers"]),
    }
    time = row["timestamp"]
    return Again(action=action, timestamp_ms=round(time.timestamp() * 1000), position=position, **fields)
