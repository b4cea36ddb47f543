"""Journal files: a short header, then frames to the end."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

import google_crc32c
import orjson

from streamflow.logs.embedded.files import Handle, read_at, replace_file
from streamflow.logs.embedded.frame import (
    HEADER_BYTES,
    MAGIC,
    VERSION,
    Change,
    FrameHeader,
    body_is_sound,
    decode_header,
    is_sealed,
    size_of,
    version_of,
)
from streamflow.logs.embedded.layout import FRAME_BYTES_MAX, Layout
from streamflow.sdk.errors import LogCorrupt

_FILE_HEADER = struct.Struct("<8sHHIQI")  # magic, version, flags, salt, first frame, CRC of the frame before it; CRC
_FILE_MAGIC = b"SFjournl"
FIRST_FRAME_AT = _FILE_HEADER.size + 4
_PEEK_BYTES = 4096  # a header with its meta is mostly smaller


class TornError(Exception):
    """No whole, sound frame is at `position`."""

    def __init__(self, position: int, found: str) -> None:
        self.position, self.found = position, found
        super().__init__(f"{found} at byte {position}")


class Frame(NamedTuple):
    header: FrameHeader
    change: Change
    data_at: int
    end: int


class Journal:
    """One open journal file."""

    def __init__(self, layout: Layout, first: int) -> None:
        """Open the journal whose first frame is number `first`. Raises FileNotFoundError, LogCorrupt."""
        self.path = layout.journal(first)
        self.first = first
        self._handle = Handle(self.path, os.O_RDWR)
        self.fd = self._handle.fd
        head = read_at(self.fd, 0, FIRST_FRAME_AT)
        sound = len(head) == FIRST_FRAME_AT and google_crc32c.value(head[:-4]) == int.from_bytes(head[-4:], "little")
        if not sound or head[:8] != _FILE_MAGIC:
            raise LogCorrupt(
                f"{self.path}: the first {FIRST_FRAME_AT} bytes are no journal header.",
                mend="Restore this file from a copy of the log's folder.",
            )
        _, version, _, self.salt, named, self.chain = _FILE_HEADER.unpack_from(head)
        if version != VERSION or named != first:
            raise LogCorrupt(
                f"{self.path}: journal of format {version} that begins with frame {named}; this program reads format "
                f"{VERSION} and expects frame {first}.",
                mend="Open the log with the version that wrote it, or restore this file from a copy.",
            )

    @classmethod
    def create(cls, layout: Layout, *, first: int, chain: int, salt: int, durable: bool) -> Journal:
        """Make an empty journal that continues after the frame with CRC `chain`."""
        head = _FILE_HEADER.pack(_FILE_MAGIC, VERSION, 0, salt, first, chain)
        replace_file(layout.journal(first), head + google_crc32c.value(head).to_bytes(4, "little"), durable=durable)
        return cls(layout, first)

    def size_bytes(self) -> int:
        return os.fstat(self.fd).st_size

    def frames(self, position: int, end: int, *, seq: int, chain: int, verify: bool) -> Iterator[Frame]:
        """The frames from `position` to `end`, which follow frame `seq` with CRC `chain`.

        With `verify` the record batches are checked too. Raises TornError at the first place that is no sound frame.
        """
        while position < end:
            frame = self._frame(position, end, seq=seq + 1, chain=chain, verify=verify)
            yield frame
            position, seq, chain = frame.end, frame.header.seq, frame.header.crc

    def _frame(self, position: int, end: int, *, seq: int, chain: int, verify: bool) -> Frame:
        head = read_at(self.fd, position, min(_PEEK_BYTES, end - position))
        header = decode_header(head, 0, salt=self.salt)
        if header is None:
            raise TornError(position, "no frame header")
        if version_of(head, 0) != VERSION:
            raise LogCorrupt(
                f"{self.path}: frame {header.seq} has format {version_of(head, 0)}.", mend="Use a newer program."
            )
        if header.seq != seq or header.previous != chain:
            raise TornError(position, f"frame {header.seq} where frame {seq} follows")
        if header.size_bytes > min(end - position, FRAME_BYTES_MAX):
            raise TornError(position, f"a frame of {header.size_bytes} bytes of which {end - position} are there")
        meta = head[HEADER_BYTES : HEADER_BYTES + header.meta_bytes]
        if len(meta) < header.meta_bytes:
            meta = read_at(self.fd, position + HEADER_BYTES, header.meta_bytes)
        if google_crc32c.value(meta) != header.meta_crc:
            raise TornError(position, "a frame whose description fails its check")
        try:
            change = Change.decode(meta)
        except (orjson.JSONDecodeError, TypeError, AttributeError) as error:  # sound by CRC, so written wrongly
            raise TornError(position, f"a frame whose description is not understood ({error})") from error
        data_at = position + HEADER_BYTES + header.meta_bytes
        if size_of(change.batches) != header.data_bytes:
            raise TornError(position, "a frame whose record batches do not fill it")
        if verify:
            self._check_batches(position, change, data_at)
        return Frame(header, change, data_at, position + header.size_bytes)

    def _check_batches(self, position: int, change: Change, at: int) -> None:
        for ref in change.batches:
            batch = read_at(self.fd, at, ref.size_bytes)
            if len(batch) < ref.size_bytes or not is_sealed(batch, 0) or not body_is_sound(batch):
                raise TornError(position, f"a frame whose record batch at byte {at} fails its check")
            if int.from_bytes(batch[:8], "big") != ref.base:
                raise TornError(position, f"a frame whose record batch at byte {at} has other offsets than described")
            at += ref.size_bytes

    def frame_after(self, position: int, *, seq: int) -> int | None:
        """Where, behind `position`, a header of a frame later than `seq` stands; None if nowhere."""
        at, end = position + 1, self.size_bytes()
        while at < end:
            chunk = read_at(self.fd, at, 1 << 20)
            found = chunk.find(MAGIC)
            while found >= 0:
                header = decode_header(read_at(self.fd, at + found, HEADER_BYTES), 0, salt=self.salt)
                if header is not None and header.seq > seq:
                    return at + found
                found = chunk.find(MAGIC, found + 1)
            at += max(len(chunk) - len(MAGIC) + 1, 1)
        return None
