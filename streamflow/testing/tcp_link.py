"""One direction of a proxied connection: read, wait as the faults say, write. Plain sockets: nothing reads ahead."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

CHUNK_BYTES_MAX = 64 << 10
QUEUE_CHUNKS_MAX = 64  # with the above: at most 4 MiB on the way in one direction of one connection
SLICES_PER_S = 20  # a limited link passes on a twentieth of its bytes per second at a time


class Cut(Exception):
    """The connection is to be reset, after what was passed on before."""


class Link:
    """The faults of one direction, shared by all connections of a proxy. Only its loop's thread touches it."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._delay_ms = self._jitter_ms = 0.0
        self._bytes_per_s: int | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()

    def set_delay(self, delay_ms: float, jitter_ms: float) -> None:
        self._delay_ms, self._jitter_ms = delay_ms, jitter_ms

    def set_limit(self, bytes_per_s: int | None) -> None:
        self._bytes_per_s = bytes_per_s

    def freeze(self) -> None:
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def delay_s(self) -> float:
        """How long what was read now is to be on its way."""
        jitter_ms = self._draw.uniform(0, self._jitter_ms) if self._jitter_ms else 0
        return (self._delay_ms + jitter_ms) / 1000

    async def pass_on(self, sink: socket.socket, chunk: bytes) -> None:
        """Send a chunk as fast as the link is. Raises OSError when the other end is gone."""
        loop, sent = asyncio.get_running_loop(), 0
        while sent < len(chunk):
            await self._flowing.wait()
            rate = self._bytes_per_s
            size = len(chunk) - sent if rate is None else max(1, rate // SLICES_PER_S)
            await loop.sock_sendall(sink, chunk[sent : sent + size])
            sent += size
            if rate is not None:
                await asyncio.sleep(size / rate)
        # What follows the last chunk, the end of the stream too, has to wait as well.
        await self._flowing.wait()


class Source:
    """What one end sends. After a reset it just ends: what was sent before is still passed on."""

    def __init__(self, end: socket.socket) -> None:
        self._end, self._loop = end, asyncio.get_running_loop()

    async def some(self, size_max: int = CHUNK_BYTES_MAX) -> bytes:
        """1 to `size_max` bytes; none at the end."""
        try:
            return await self._loop.sock_recv(self._end, min(size_max, CHUNK_BYTES_MAX))
        except OSError:
            return b""

    async def exactly(self, size: int) -> bytes:
        """`size` bytes; fewer at the end."""
        read = b""
        while len(read) < size and (more := await self.some(size - len(read))):
            read += more
        return read

    async def pieces(self, size: int | None = None) -> AsyncGenerator[bytes]:
        """The next `size` bytes, or all until the end, as they come."""
        left = size
        while left is None or left > 0:
            piece = await self.some(CHUNK_BYTES_MAX if left is None else left)
            if not piece:
                return
            if left is not None:
                left -= len(piece)
            yield piece


Look = Callable[[Source], AsyncGenerator[bytes]]
# When a piece is due and what it is: bytes, none at the end of the stream, None where the connection is cut.
_Queue = asyncio.Queue[tuple[float, bytes | None]]


async def pump(source: Source, sink: socket.socket, link: Link, look: Look) -> None:
    """Pass one direction on until its end, which is then passed on too. Raises Cut, in an ExceptionGroup."""
    queue: _Queue = asyncio.Queue(QUEUE_CHUNKS_MAX)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_read(source, queue, link, look))
        tasks.create_task(_write(sink, queue, link))


async def _read(source: Source, queue: _Queue, link: Link, look: Look) -> None:
    loop, due = asyncio.get_running_loop(), 0.0
    end: bytes | None = b""
    async with aclosing(look(source)) as pieces:
        try:
            async for piece in pieces:
                due = max(due, loop.time() + link.delay_s())  # never before what was sent earlier
                await queue.put((due, piece))
        except Cut:
            end = None
    await queue.put((max(due, loop.time() + link.delay_s()), end))


async def _write(sink: socket.socket, queue: _Queue, link: Link) -> None:
    loop, listens = asyncio.get_running_loop(), True
    piece: bytes | None = None
    while piece != b"":
        due, piece = await queue.get()
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        if piece is None:
            raise Cut
        try:
            if listens:
                await link.pass_on(sink, piece)
                if not piece:
                    sink.shutdown(socket.SHUT_WR)
        except OSError:
            listens = False  # the rest is read all the same, so that its sender does not hang


def reset(end: socket.socket) -> None:
    """Close with RST: what was sent may be lost, and the other end learns that at once."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
