"""Produce, Fetch and ListOffsets requests by hand: the broker's own bytes, with no client between them and the test."""

import socket
import struct

PRODUCE, FETCH, LIST_OFFSETS = 0, 1, 2
PRODUCE_VERSION, FETCH_VERSION = 7, 10  # the first that take zstd
LIST_OFFSETS_VERSION = 2


def produce(bootstrap: str, topic: str, stored: bytes) -> tuple[int, int]:
    """Append stored record batches to partition 0. Returns (Kafka's error code, base offset)."""
    body = struct.pack(">hhi", -1, -1, 30_000)  # no transactional id, acks of all, timeout
    body += struct.pack(">i", 1) + _text(topic) + struct.pack(">iii", 1, 0, len(stored)) + stored
    answer = _call(bootstrap, PRODUCE, PRODUCE_VERSION, body)
    at = 4 + 2 + len(topic.encode()) + 4 + 4  # one topic, its name, one partition, its number
    error, base_offset = struct.unpack_from(">hq", answer, at)
    return error, base_offset


def fetch(bootstrap: str, topic: str, offset: int = 0) -> bytes:
    """What the broker stores of partition 0 from `offset` on, at most 16 MiB."""
    size_max = 16 << 20
    body = struct.pack(">iiiibii", -1, 500, 1, size_max, 0, 0, -1)  # read_uncommitted, no session
    body += struct.pack(">i", 1) + _text(topic)
    body += struct.pack(">iiiqqi", 1, 0, -1, offset, -1, size_max)
    body += struct.pack(">i", 0)
    answer = _call(bootstrap, FETCH, FETCH_VERSION, body)
    at = 4 + 2 + 4 + 4 + 2 + len(topic.encode()) + 4 + 4  # throttle, error, session, one topic, name, one partition
    error, _, _, _, aborted, size = struct.unpack_from(">hqqqii", answer, at)
    if error or aborted > 0:
        raise AssertionError(f"fetch of {topic}: error {error}, {aborted} aborted transactions")
    start = at + struct.calcsize(">hqqqii")
    return answer[start : start + size]


def end_offset(bootstrap: str, topic: str, partition: int) -> tuple[int, int]:
    """(Kafka's error code, next offset to be written)."""
    body = struct.pack(">ibi", -1, 0, 1) + _text(topic) + struct.pack(">iiq", 1, partition, -1)
    answer = _call(bootstrap, LIST_OFFSETS, LIST_OFFSETS_VERSION, body)
    error, _, offset = struct.unpack_from(">hqq", answer, 4 + 4 + 2 + len(topic.encode()) + 4 + 4)
    return error, offset


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">h", len(raw)) + raw


def _call(bootstrap: str, key: int, version: int, body: bytes) -> bytes:
    host, _, port = bootstrap.rpartition(":")
    request = struct.pack(">hhi", key, version, 1) + _text("wire-test") + body
    with socket.create_connection((host, int(port)), timeout=60) as connection, connection.makefile("rb") as answers:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", answers.read(4))
        return answers.read(size)[4:]
