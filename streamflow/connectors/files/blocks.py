"""A file of lines in bounded pieces of whole records, each with its byte offset, so that reading can be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from streamflow.sdk.errors import CodecError

BLOCK_BYTES = 4 << 20
RECORD_BYTES_MAX = 64 << 20
_NEWLINE, _QUOTE = 0x0A, 0x22
_SKIP_BYTES = 1 << 20


class Piece(NamedTuple):
    """Whole records. `ends[i]` is where record i ends in `data`, its newline included."""

    data: bytes
    ends: npt.NDArray[np.int64]


class RecordBlocks:
    """Cuts a stream into records at newlines; with `quoted`, newlines inside double quotes are text."""

    def __init__(self, stream: BinaryIO, path: Path, offset: int, *, quoted: bool) -> None:
        self._stream, self._path, self._quoted = stream, path, quoted
        self.offset = offset  # of the next record that `take` returns
        self._buffer = b""
        self._ends: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._at = 0  # next record in _ends
        self._eof = False
        self._seek(offset)
        self._fill()

    @property
    def done(self) -> bool:
        """Nothing is left."""
        return self._eof and self._at == len(self._ends)

    def take(self, records_max: int) -> Piece:
        """Up to `records_max` records; none only at the end."""
        first, last = self._at, min(self._at + records_max, len(self._ends))
        start = int(self._ends[first - 1]) if first else 0
        if last == first:
            return Piece(b"", np.empty(0, np.int64))
        end = int(self._ends[last - 1])
        piece = Piece(self._buffer[start:end], self._ends[first:last] - start)
        self._at = last
        self.offset += end - start
        if last == len(self._ends) and not self._eof:
            self._fill()
        return piece

    def close(self) -> None:
        self._stream.close()

    def _seek(self, offset: int) -> None:
        if offset and self._stream.seekable():
            self._stream.seek(offset)

    def _fill(self) -> None:
        """Read until at least one more record is whole."""
        rest = self._buffer[int(self._ends[-1]) if len(self._ends) else 0 :]
        pieces = [rest]
        size = len(rest)
        while True:
            read = self._stream.read(BLOCK_BYTES)
            pieces.append(read)
            size += len(read)
            self._eof = not read
            self._buffer = b"".join(pieces)
            self._ends = record_ends(self._buffer, quoted=self._quoted)
            if self._eof:
                closed = int(self._ends[-1]) if len(self._ends) else 0
                if closed < len(self._buffer):  # the last line has no newline
                    self._ends = np.append(self._ends, len(self._buffer))
            if self._eof or len(self._ends):
                break
            if size > RECORD_BYTES_MAX:
                raise CodecError(
                    f"{self._path}: the record at byte {self.offset:,} is longer than {RECORD_BYTES_MAX:,} bytes.",
                    mend="A quote that is never closed does this in CSV." if self._quoted else "",
                )
            pieces = [self._buffer]
        self._at = 0


def record_ends(data: bytes, *, quoted: bool) -> npt.NDArray[np.int64]:
    """Where records end: one past each newline that is not inside quotes. `data` starts outside quotes."""
    raw = np.frombuffer(data, np.uint8)
    ends = raw == _NEWLINE
    if quoted and b'"' in data:
        ends &= ~inside_quotes(raw)
    return np.flatnonzero(ends).astype(np.int64) + 1


def inside_quotes(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """True for bytes inside double quotes. A doubled quote closes and opens at once, which comes to the same."""
    # Only parity counts, so that the sum may wrap around at 256.
    parity = np.cumsum(raw == _QUOTE, dtype=np.uint8)
    return (parity & 1).astype(np.bool_)


def record(piece: Piece, at: int) -> bytes:
    """The bytes of one record, without its newline."""
    start = int(piece.ends[at - 1]) if at else 0
    return piece.data[start : int(piece.ends[at])].rstrip(b"\r\n")
