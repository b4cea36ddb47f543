"""A connection gets so much time for a request's head, on a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from streamflow.server import protocol
from streamflow.server.access import Access
from streamflow.server.serving import Binding, serve
from tests.simulation.running import compiled
from tests.unit.server.serving import BEARER, ORDER, WORKFLOW, ShakyLog

LIMIT_S = 1.0
LIVE = b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n"


def listening(folder: Path, work: Callable[[int, ShakyLog], Awaitable[None]]) -> None:
    """Run `work` with the port of a server, until it is done."""
    (folder / "order.avsc").write_text(ORDER)
    topology = compiled(WORKFLOW.replace("signed: true, ", ""), folder)

    async def run() -> None:
        log = ShakyLog(folder / "log")
        await log.open()
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        ends: list[Callable[[], None]] = []

        @contextmanager
        def stopping(end: Callable[[], None]) -> Iterator[None]:
            ends.append(end)
            yield

        serving = asyncio.create_task(
            serve(
                [topology], log, Access(token=BEARER), Binding(host="127.0.0.1", port=0),
                on_ready=ready.set_result, stopping=stopping,
            )
        )  # fmt: skip
        try:
            await work(int((await ready).rpartition(":")[2]), log)
        finally:
            ends[0]()
            await serving
            await log.close()

    asyncio.run(run())


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def gone_after(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drip: bytes = b"") -> float:
    """Seconds until the connection is dropped, while bytes come one by one."""
    began = time.monotonic()
    async with asyncio.timeout(20):
        for at in range(10_000):
            try:
                if drip:
                    writer.write(drip[at : at + 1] or b"x")
                async with asyncio.timeout(0.05):
                    assert await reader.read(1) == b""
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    return time.monotonic() - began


def test_connections_that_say_too_little_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S_MAX", LIMIT_S)

    async def work(port: int, log: ShakyLog) -> None:
        for drip in (b"", LIVE[:20] + b"y" * 9_000):
            async with connected(port) as streams:
                assert await gone_after(*streams, drip) >= LIMIT_S * 0.9
        async with connected(port) as (reader, writer):
            for _ in range(2):  # which may be used again
                await asyncio.sleep(LIMIT_S / 5)
                writer.write(LIVE)
                assert (await reader.readuntil(b'{"status":"live"}')).startswith(b"HTTP/1.1 200")
            assert await gone_after(reader, writer, LIVE[:20] + b"y" * 9_000) >= LIMIT_S * 0.9

    listening(tmp_path, work)


def test_an_answer_may_take_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S_MAX", LIMIT_S)
    body = b'{"key": "a"}'
    head = (
        f"POST /signals/shop/approval HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {BEARER}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )

    async def work(port: int, log: ShakyLog) -> None:
        log.hangs = {"shop.signals": asyncio.Event()}
        async with connected(port) as (reader, writer):
            writer.write(head.encode())
            await asyncio.sleep(LIMIT_S)  # nor is the body part of the head
            writer.write(body)
            await asyncio.sleep(2 * LIMIT_S)
            log.hangs["shop.signals"].set()
            async with asyncio.timeout(20):
                assert (await reader.readline()).startswith(b"HTTP/1.1 202")

    listening(tmp_path, work)
