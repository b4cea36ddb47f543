"""Frames and record batches notice every flipped bit."""

from __future__ import annotations

from streamflow.codecs.recordbatch import build, open_batch
from streamflow.logs.embedded.frame import (
    HEADER_BYTES,
    BatchRef,
    Change,
    body_is_sound,
    decode_header,
    encode_header,
    is_sealed,
    place,
)
from streamflow.testing.log_steps import batch


def flips(data: bytes) -> list[bytes]:
    out = []
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        out.append(bytes(changed))
    return out


def test_a_change_survives_encoding() -> None:
    change = Change(
        batches=[BatchRef("t", 0, 5, 9, 100, -1)],
        offsets=[("g", "t", 0, 5, "ä"), ("g", "t", 1, None, "")],
        producers=[("p", 7)],
        created=[("t", 2, "abc", {"cleanup.policy": "compact"})],
        deleted=["old"],
        starts=[("t", 0, 3)],
    )
    assert Change.decode(change.encode()) == change
    assert Change.decode(Change().encode()) == Change()


def test_a_header_with_any_bit_flipped_is_none() -> None:
    header, crc = encode_header(seq=3, previous=17, meta=b"{}", data_bytes=5, salt=99)
    good = decode_header(header, 0, salt=99)
    assert good is not None
    assert (good.seq, good.previous, good.meta_bytes, good.data_bytes, good.crc) == (3, 17, 2, 5, crc)
    assert good.size_bytes == HEADER_BYTES + 7
    assert [decode_header(h, 0, salt=99) for h in flips(header)] == [None] * len(header) * 8
    assert decode_header(header, 0, salt=98) is None  # a frame of another log
    assert decode_header(header[:-1], 0, salt=99) is None


def test_a_placed_batch_notices_every_flip_and_reads_as_usual() -> None:
    stored = b"".join(place(build(batch("a", "b"), base_offset=0, compression="none"), 42))
    assert is_sealed(stored, 0)
    assert body_is_sound(stored)
    assert (open_batch(stored).base_offset, open_batch(stored).last_offset) == (42, 43)
    assert not [f for f in flips(stored) if is_sealed(f, 0) and body_is_sound(f)]
