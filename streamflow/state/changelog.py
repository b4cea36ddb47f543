"""A store's changes as records of its changelog topic, and back.

Key and value of a record are the entry's; a deletion is a record without value, which is what compaction understands.
Encoding works on columns of sizes and scatters the bytes into place: a task may commit a million entries at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamflow.codecs.avro_shape import column_name
from streamflow.codecs.envelope_columns import NATIVE_ERRORS, OPAQUE, Look, look, read, read_deletions
from streamflow.codecs.records import Damaged, scan
from streamflow.codecs.varints import encode_column, sizes_of
from streamflow.model.batch import KEY, POSITION
from streamflow.sdk.errors import StateError
from streamflow.sdk.log import NewBatch, RecordBatch

Entry = tuple[bytes, bytes | None]  # None: deleted
Int64s = NDArray[np.int64]

BATCH_BYTES_MAX = (1 << 20) - 1024  # Kafka's default for max.message.bytes is 1 MiB, batch header included
# Length (5), attributes (1), timestamp delta (1), offset delta (4), key length (5), value length (5), header count (1).
_RECORD_OVERHEAD_BYTES = 22
ENTRY_BYTES_MAX = BATCH_BYTES_MAX - _RECORD_OVERHEAD_BYTES  # key and value together
_KEPT = Look(null_keys=False, prefix=b"")


def encode_changes(changes: Sequence[Entry], *, timestamp_ms: int = 0) -> list[NewBatch]:
    """Record batches of at most BATCH_BYTES_MAX; `changes` are as a store gives them: each key once.

    Deletions come last, in batches of their own: batches without them are restored as columns.
    `timestamp_ms`: of all records; a task gives its step's clock reading, so that a replay writes the same.

    Raises:
        StateError: one entry alone exceeds a batch.
    """
    kept = [change for change in changes if change[1] is not None]
    gone = [change for change in changes if change[1] is None]
    return [*_batches(kept, timestamp_ms), *_batches(gone, timestamp_ms)]


def decode_columns(batches: Sequence[RecordBatch], *, from_offset: int = 0) -> tuple[pl.Series, pl.Series]:
    """(keys, values) of the records at or past `from_offset`, in order: columns of bytes, a deletion's value is null.

    Raises:
        StateError: a damaged record, or one without a key; state built without it would be wrong.
    """
    parts = [
        _columns(kind, list(alike), from_offset) for kind, alike in groupby((b for b in batches if b.count), _kind)
    ]
    if not parts:
        return pl.Series([], dtype=pl.Binary), pl.Series([], dtype=pl.Binary)
    return pl.concat([keys for keys, _ in parts]), pl.concat([values for _, values in parts])


def decode_changes(batch: RecordBatch, *, from_offset: int = 0) -> list[Entry]:
    """The same of one batch, as entries. Raises StateError."""
    keys, values = decode_columns([batch], from_offset=from_offset)
    return list(zip(keys.to_list(), values.to_list(), strict=True))


_Kind = Literal["kept", "gone", "mixed"]


def _kind(batch: RecordBatch) -> _Kind:
    """What the first record says that all of them are."""
    looks = look(batch, 0)
    if looks is None:
        return "gone"
    return "mixed" if looks.null_keys else "kept"


def _columns(kind: _Kind, batches: Sequence[RecordBatch], from_offset: int) -> tuple[pl.Series, pl.Series]:
    if kind == "mixed":
        return _one_by_one(batches, from_offset)
    try:
        frame = read(batches, OPAQUE, _KEPT) if kind == "kept" else read_deletions(batches)
    except NATIVE_ERRORS:
        return _one_by_one(batches, from_offset)  # not all alike, or damaged: it tells which
    if from_offset > batches[0].base_offset:
        frame = frame.filter(pl.col(POSITION) >= from_offset)
    if kind == "gone":
        return frame[KEY], pl.repeat(None, frame.height, dtype=pl.Binary, eager=True)
    return frame[KEY], frame[column_name(0)]


def _one_by_one(batches: Sequence[RecordBatch], from_offset: int) -> tuple[pl.Series, pl.Series]:
    entries: list[Entry] = []
    for record in chain.from_iterable(scan(batch) for batch in batches):
        if record.offset < from_offset:
            continue
        if isinstance(record, Damaged) or record.key is None:
            found = record.message if isinstance(record, Damaged) else "it has no key"
            raise StateError(
                f"changelog record at offset {record.offset}: {found}.",
                mend="Only streamflow may write to a changelog topic; reset the workflow's state.",
            )
        entries.append((record.key, record.value))
    keys = pl.Series([key for key, _ in entries], dtype=pl.Binary)
    return keys, pl.Series([value for _, value in entries], dtype=pl.Binary)


def _batches(changes: Sequence[Entry], timestamp_ms: int) -> list[NewBatch]:
    if not changes:
        return []
    key_sizes = np.fromiter((len(key) for key, _ in changes), np.int64, len(changes))
    value_sizes = np.fromiter((-1 if value is None else len(value) for _, value in changes), np.int64, len(changes))
    ends = np.cumsum(key_sizes + np.maximum(value_sizes, 0) + _RECORD_OVERHEAD_BYTES)
    batches, first = [], 0
    while first < len(changes):
        before = int(ends[first - 1]) if first else 0
        end = int(np.searchsorted(ends, before + BATCH_BYTES_MAX, side="right"))
        if end == first:
            raise StateError(
                f"the entry of key {changes[first][0][:60]!r} takes {int(ends[first]) - before} bytes, more than the "
                f"{BATCH_BYTES_MAX} that a changelog record may have.",
                mend="Keep less per key: a shorter window, fewer fields, or a finer key.",
            )
        body = _encode(changes[first:end], key_sizes[first:end], value_sizes[first:end])
        batches.append(
            NewBatch(count=end - first, body=body, base_timestamp_ms=timestamp_ms, max_timestamp_ms=timestamp_ms)
        )
        first = end
    return batches


def _encode(changes: Sequence[Entry], key_sizes: Int64s, value_sizes: Int64s) -> bytes:
    count = len(changes)
    offsets = np.arange(count, dtype=np.int64)
    held = np.maximum(value_sizes, 0)
    fixed = 3  # attributes, timestamp delta, header count
    lengths = (
        fixed + sizes_of(offsets) + sizes_of(key_sizes) + key_sizes + sizes_of(value_sizes) + held
    )  # of the record behind its own length
    zero = np.zeros(count, np.uint8)
    keys = np.frombuffer(b"".join(key for key, _ in changes), np.uint8)
    values = np.frombuffer(b"".join(value for _, value in changes if value), np.uint8)
    columns = [
        encode_column(lengths),
        (np.zeros(2 * count, np.uint8), 2),  # attributes, timestamp delta
        encode_column(offsets),
        encode_column(key_sizes),
        (keys, key_sizes),
        encode_column(value_sizes),
        (values, held),
        (zero, 1),  # header count
    ]
    return _interleave(columns, count)


def _interleave(columns: Sequence[tuple[NDArray[np.uint8], Int64s | int]], count: int) -> bytes:
    """Row after row out of columns; each column is its rows' bytes back to back and their sizes."""
    sizes = np.empty((count, len(columns)), np.int64)
    for i, (_, size) in enumerate(columns):
        sizes[:, i] = size
    ends = np.cumsum(sizes.reshape(-1)).reshape(sizes.shape)
    out = np.empty(int(ends[-1, -1]), np.uint8)
    for i, (content, _) in enumerate(columns):
        # Where each byte goes: its row's start in `out`, less its row's start in `content`, plus its own position.
        moved = ends[:, i] - np.cumsum(sizes[:, i])
        out[np.repeat(moved, sizes[:, i]) + np.arange(len(content))] = content
    return out.tobytes()
