"""The head: a small memory-mapped page that says how far the journal is committed.

Readers of all processes look here, without a lock, to learn that something new was committed. Two slots are written in
turn, each with a CRC, so a process killed while writing one leaves the other. The head is a fact only as long as the
machine was not restarted (or when every commit was synced): after a power loss the kernel may have kept this page and
lost the journal's, so each slot also holds the boot it was written in.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from streamflow.logs.embedded.files import write_all

_SIZE_BYTES = 4096
_SLOT = struct.Struct("<QQQQIIQ")  # generation, journal, end, seq, chain, flags, boot; then a CRC
_SLOT_AT = (64, 192)
_GENERATION = struct.Struct("<Q")
_DURABLE = 1


def _boot() -> int:
    """A number that changes when the machine restarts; 0 where the system tells none (then never trusted)."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return 0
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """`journal` (by its first frame number) is committed up to byte `end`, where frame `seq` with CRC `chain` ends."""

    generation: int
    journal: int
    end: int
    seq: int
    chain: int
    trusted: bool = False  # read in the same boot, or every commit was synced


class HeadFile:
    """The mapped page."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if os.fstat(self._fd).st_size < _SIZE_BYTES:
            # Real bytes, no hole: storing into a hole of a full disk would kill the process with SIGBUS.
            write_all(self._fd, [bytes(_SIZE_BYTES)], 0)
        self._map = mmap.mmap(self._fd, _SIZE_BYTES)
        self._boot = _boot()

    def close(self) -> None:
        self._map.close()
        os.close(self._fd)

    def generation(self) -> int:
        """The number of the newest slot, checked by nothing: the cheap way to ask for news."""
        return max(int(_GENERATION.unpack_from(self._map, at)[0]) for at in _SLOT_AT)

    def read(self) -> Head | None:
        """The newest whole slot; None when there is none."""
        newest = None
        for at in _SLOT_AT:
            slot = self._map[at : at + _SLOT.size + 4]
            if google_crc32c.value(slot[: _SLOT.size]) != int.from_bytes(slot[_SLOT.size :], "little"):
                continue
            generation, journal, end, seq, chain, flags, boot = _SLOT.unpack_from(slot)
            if generation and (newest is None or generation > newest.generation):
                trusted = bool(flags & _DURABLE) or (boot == self._boot and boot != 0)
                newest = Head(generation=generation, journal=journal, end=end, seq=seq, chain=chain, trusted=trusted)
        return newest

    def write(self, head: Head, *, durable: bool) -> None:
        """Publish `head`; the caller holds the lock."""
        flags = _DURABLE if durable else 0
        slot = _SLOT.pack(head.generation, head.journal, head.end, head.seq, head.chain, flags, self._boot)
        at = _SLOT_AT[head.generation % 2]
        self._map[at : at + len(slot) + 4] = slot + google_crc32c.value(slot).to_bytes(4, "little")
