"""Record batches to frames: the native read where it holds, the slow path where it does not, one result.

Order of attempts: all batches that look alike in one native call; each of them alone; record by record. Whatever the
path, an offset ends in exactly one place: the frame, `bad`, or `markers`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import polars as pl

from streamflow.codecs.api import BadCode, BadRecord, Decoded
from streamflow.codecs.avronodes import Node
from streamflow.codecs.envelope_columns import NATIVE_ERRORS, Look, look, read
from streamflow.codecs.markers import find_marker
from streamflow.codecs.records import Damaged, Record, scan
from streamflow.model.batch import GONE, HEADERS, HEADERS_DTYPE, KEY, POSITION, TS
from streamflow.model.types import Schema, frame_schema
from streamflow.sdk.errors import CodecError
from streamflow.sdk.log import RecordBatch

JOINED_BYTES_MAX: Final = 32 << 20  # bodies read in one native call

Errors = Mapping[int, tuple[BadCode, str]]  # row -> (code, message)


class ValueReader(Protocol):
    """What a format has to know about values; prefixes are those of `framing`."""

    schema: Schema
    prefix_size: int

    def native(self, prefix: bytes) -> Node | None:
        """The record node as which the native reader can take values with this prefix; None if it cannot."""
        ...

    def finish(self, raw: pl.DataFrame, prefix: bytes) -> tuple[pl.DataFrame, Errors]:
        """Payload columns from natively read ones; columns that start with `@` stay. Rows with errors may hold
        anything.
        """
        ...

    def prefix(self, value: bytes) -> bytes:
        """The prefix of a value. Raises CodecError when it has none."""
        ...

    def values(self, values: Sequence[bytes], prefix: bytes) -> tuple[pl.DataFrame, Errors]:
        """Payload columns of single values; rows with errors are left out of the frame."""
        ...

    def null_item(self) -> bool:
        """Whether a record without value is an item."""
        ...


class BatchDecoder:
    """A `Decoder` (see `api`) over a format's `ValueReader`."""

    def __init__(
        self, reader: ValueReader, reserved: Collection[str], columns: Collection[str] | None, *, markers: bool = False
    ) -> None:
        self._reader, self._markers = reader, markers
        payload = frame_schema(reader.schema)
        names = list(payload) if columns is None else [c for c in payload if c in columns]
        self._empty = pl.DataFrame(
            schema={c: payload[c] for c in names}
            | {POSITION: pl.Int64()}
            | {c: t for c, t in _RESERVED.items() if c in reserved}
        )

    def decode(self, batches: Sequence[RecordBatch], *, first_offset: int) -> Decoded:
        result = Decoded(self._empty, end_offset=first_offset)
        frames: list[pl.DataFrame] = []
        wanted: list[RecordBatch] = []
        for batch in batches:
            result.end_offset = max(result.end_offset, batch.last_offset + 1)
            if batch.last_offset < first_offset or not batch.count:
                continue
            marker = find_marker(batch) if self._markers else None
            if marker is None:
                wanted.append(batch)
            elif marker.offset >= first_offset:
                result.markers.append(marker)
        for run, looks in self._runs(wanted):
            frames.extend(self._run(run, looks, result.bad))
        frames = [f for f in frames if f.height]
        if frames:
            whole = frames[0] if len(frames) == 1 else pl.concat(frames)
            result.frame = _from_offset(whole, first_offset)
        if any(b.offset < first_offset for b in result.bad):
            result.bad = [b for b in result.bad if b.offset >= first_offset]
        return result

    def _runs(self, batches: Sequence[RecordBatch]) -> Iterator[tuple[list[RecordBatch], Look | None]]:
        """Neighbours that look alike, bounded in bytes."""
        run: list[RecordBatch] = []
        looks: Look | None = None
        size = 0
        for batch in batches:
            this = look(batch, self._reader.prefix_size)
            if run and (this != looks or size + len(batch.body) > JOINED_BYTES_MAX):
                yield run, looks
                run, size = [], 0
            run.append(batch)
            looks, size = this, size + len(batch.body)
        if run:
            yield run, looks

    def _run(self, run: Sequence[RecordBatch], looks: Look | None, bad: list[BadRecord]) -> list[pl.DataFrame]:
        node = None if looks is None else self._native_node(looks)
        if node is None or looks is None:
            return [self._slow(batch, bad) for batch in run]
        try:
            raw = read(run, node, looks)
            frame, errors = self._reader.finish(raw, looks.prefix)
        except NATIVE_ERRORS:
            if len(run) == 1:
                return [self._slow(run[0], bad)]
            return [frame for batch in run for frame in self._run([batch], looks, bad)]
        frame = self._select(frame)
        if not errors:
            return [frame]
        rows = np.fromiter(errors, np.int64, len(errors))
        lost = dict(zip(frame[POSITION].gather(rows).to_list(), errors.values(), strict=True))
        self._explain(run, lost, bad)
        keep = np.ones(frame.height, np.bool_)
        keep[rows] = False
        return [frame.filter(pl.Series(keep))]

    def _native_node(self, looks: Look) -> Node | None:
        if looks.prefix and self._prefix_error(looks.prefix):
            return None
        return self._reader.native(looks.prefix)

    def _prefix_error(self, value: bytes) -> str:
        try:
            self._reader.prefix(value)
        except CodecError as error:
            return error.message
        return ""

    def _explain(
        self, run: Sequence[RecordBatch], lost: Mapping[int, tuple[BadCode, str]], bad: list[BadRecord]
    ) -> None:
        """Bad rows of a native read, with the bytes they came from."""
        for batch in run:
            if any(batch.base_offset <= offset <= batch.last_offset for offset in lost):
                found = (one for one in scan(batch) if isinstance(one, Record) and one.offset in lost)
                bad.extend(_bad(one, *lost[one.offset]) for one in found)

    def _slow(self, batch: RecordBatch, bad: list[BadRecord]) -> pl.DataFrame:
        """Record by record; values of one prefix together."""
        good: dict[bytes, list[Record]] = {}
        nulls: list[Record] = []
        for one in scan(batch):
            if isinstance(one, Damaged):
                bad.append(
                    BadRecord(one.offset, batch.base_timestamp_ms, None, one.raw, [], "undecodable", f"{one.message}.")
                )
            elif one.value is None:
                nulls.append(one)
            elif problem := self._prefix_error(one.value):
                bad.append(_bad(one, "undecodable", problem))
            else:
                good.setdefault(one.value[: self._reader.prefix_size], []).append(one)
        frames: list[pl.DataFrame] = []
        for prefix, found in good.items():
            payload, errors = self._reader.values([r.value or b"" for r in found], prefix)
            bad.extend(_bad(found[i], *why) for i, why in errors.items())
            frames.append(self._with_envelope(payload, [r for i, r in enumerate(found) if i not in errors]))
        if GONE in self._empty.columns:
            gone, nulls = [r for r in nulls if r.key is not None], [r for r in nulls if r.key is None]
            frames.append(self._with_envelope(self._nothing(len(gone)), gone, gone=True))
        if nulls and self._reader.null_item():
            frames.append(self._with_envelope(self._nothing(len(nulls)), nulls))
        else:
            bad.extend(_bad(r, "tombstone", "the record has no value, and its schema no null.") for r in nulls)
        bad.sort(key=lambda b: b.offset)
        whole = pl.concat(frames) if frames else self._empty
        return whole if len(frames) < 2 else whole.sort(POSITION)

    def _nothing(self, count: int) -> pl.DataFrame:
        return pl.DataFrame(schema=frame_schema(self._reader.schema)).clear(count)

    def _with_envelope(self, payload: pl.DataFrame, found: Sequence[Record], *, gone: bool = False) -> pl.DataFrame:
        columns: list[pl.Series] = [pl.Series(POSITION, [r.offset for r in found], dtype=pl.Int64)]
        if gone:
            columns.append(pl.Series(GONE, [r.key for r in found], dtype=pl.Binary))
        if KEY in self._empty.columns:
            columns.append(pl.Series(KEY, [r.key for r in found], dtype=pl.Binary))
        if TS in self._empty.columns:
            columns.append(pl.Series(TS, [r.timestamp_ms for r in found], dtype=pl.Int64))
        if HEADERS in self._empty.columns:
            headers = [[{"key": k, "value": v} for k, v in r.headers] for r in found]
            columns.append(pl.Series(HEADERS, headers, dtype=HEADERS_DTYPE))
        return self._select(pl.DataFrame([*payload, *columns]))

    def _select(self, frame: pl.DataFrame) -> pl.DataFrame:
        if HEADERS in self._empty.columns and HEADERS not in frame.columns:
            none = pl.Series(HEADERS, [[]], dtype=HEADERS_DTYPE).new_from_index(0, frame.height)
            frame = frame.with_columns(none)
        if GONE in self._empty.columns and GONE not in frame.columns:
            frame = frame.with_columns(pl.lit(None, dtype=pl.Binary).alias(GONE))
        columns = self._empty.columns
        return frame if frame.columns == columns else frame[columns]


_RESERVED: Final[dict[str, Any]] = {KEY: pl.Binary(), TS: pl.Int64(), HEADERS: HEADERS_DTYPE, GONE: pl.Binary()}


def _bad(record: Record, code: BadCode, message: str) -> BadRecord:
    return BadRecord(record.offset, record.timestamp_ms, record.key, record.value, record.headers, code, message)


def _from_offset(frame: pl.DataFrame, first_offset: int) -> pl.DataFrame:
    position = frame[POSITION].to_numpy()
    if position[0] >= first_offset:
        return frame
    return frame.slice(int(np.searchsorted(position, first_offset)))
