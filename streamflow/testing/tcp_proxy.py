"""A network that is bad on purpose: a proxy between a client and a server, on this machine.

    with TcpProxy(("127.0.0.1", server_port), seed=7) as proxy:
        client = connect(proxy.host, proxy.port)
        proxy.delay(20, jitter_ms=10)    # each way; bytes stay in order
        proxy.freeze("to_client")        # half-open: requests arrive, answers do not
        proxy.thaw()
        proxy.cut()                      # every connection is reset
        proxy.refuse()                   # and no new one is taken

It has a thread and an event loop of its own, so that it goes on while a test blocks. All methods may be called from any
thread; what they ask for is in force when they return. Nothing is kept but a bounded queue per direction: behind it the
kernel's buffers fill, and the sender has to wait, as on a slow network.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from streamflow.sdk.errors import UsageError
from streamflow.testing.tcp_link import Cut, Link, Source, pump, reset

Direction = Literal["to_server", "to_client"]
BOTH: Sequence[Direction] = ("to_server", "to_client")
CONNECTIONS_MAX = 1_000
CONTROL_TIMEOUT_S = 30
_T = TypeVar("_T")


class Conversation:
    """One connection, as far as its proxy understands it: this one does not look at what it passes on.

    Both methods give what goes on in one direction, piece by piece. They may wait, leave something out, or raise Cut.
    """

    def to_server(self, source: Source) -> AsyncGenerator[bytes]:
        return source.pieces()

    def to_client(self, source: Source) -> AsyncGenerator[bytes]:
        return source.pieces()


class TcpProxy:
    """Listens on `port` (a free one) from `start` on, and passes connections on to `target`, (host, port).

    `target` may be given later, by `forward_to`: a server that must be told the proxy's port starts after it.
    `accepted` counts connections. `seed` draws jitter: the same seed, the same sequence of delays.
    """

    def __init__(self, target: tuple[str, int] | None = None, *, host: str = "127.0.0.1", seed: int = 0) -> None:
        self.host, self.port, self.accepted = host, 0, 0
        self._target, self._random = target, random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._links: dict[Direction, Link] = {direction: Link(self._random) for direction in BOTH}
        self._connections: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._listener: socket.socket  # from `start` on
        self._accepts = False

    def start(self) -> None:
        """Listen. Once only: a proxy that was stopped stays stopped."""
        self._listener = _bound(self.host, 0)
        self.port = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()
        self.accept()

    def stop(self) -> None:
        """Reset every connection and listen no more. Harmless when it does not run."""
        if self._loop is None or self._thread is None:
            return
        self._do(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def forward_to(self, host: str, port: int) -> None:
        """Where connections made from now on go."""
        self._target = (host, port)

    def delay(self, delay_ms: float, *, jitter_ms: float = 0, direction: Direction | None = None) -> None:
        """Every byte arrives `delay_ms` to `delay_ms + jitter_ms` later, in order; 0 is no delay."""
        self._set(direction, lambda link: link.set_delay(delay_ms, jitter_ms))

    def limit(self, bytes_per_s: int | None, *, direction: Direction | None = None) -> None:
        """No connection passes on more than this in one direction; None is no limit."""
        self._set(direction, lambda link: link.set_limit(bytes_per_s))

    def freeze(self, direction: Direction | None = None) -> None:
        """Pass nothing on, in one direction or both. Connections stay open and new ones are taken: half-open ones."""
        self._set(direction, Link.freeze)

    def thaw(self, direction: Direction | None = None) -> None:
        """Go on after `freeze`; what waited arrives now."""
        self._set(direction, Link.thaw)

    def cut(self) -> int:
        """Reset every connection, both ends, with what was on its way. Returns how many there were."""
        return self._do(self._cut)

    def refuse(self) -> None:
        """Refuse new connections, as a machine where nobody listens. Those that are open stay open."""
        self._do(self._refuse)

    def accept(self) -> None:
        """Take connections again after `refuse`."""
        self._do(self._accept)

    def heal(self) -> None:
        """No fault is left. Open connections stay open; what was held back arrives."""
        self.accept()
        self.delay(0)
        self.limit(None)
        self.thaw()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _conversation(self) -> Conversation:
        """What is to look at a new connection."""
        return Conversation()

    def _set(self, direction: Direction | None, change: Callable[[Link], None]) -> None:
        async def change_links() -> None:
            for one in BOTH if direction is None else (direction,):
                change(self._links[one])

        self._do(change_links)

    def _do(self, change: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run `change` on the proxy's own loop and wait for it."""
        if self._loop is None:
            raise UsageError("the proxy does not run.", mend="Start it first, or use it in a `with`.")
        return asyncio.run_coroutine_threadsafe(change(), self._loop).result(CONTROL_TIMEOUT_S)

    async def _accept(self) -> None:
        if not self._accepts:
            self._listener.listen()
            asyncio.get_running_loop().add_reader(self._listener, self._take)
            self._accepts = True

    async def _refuse(self) -> None:
        if self._accepts:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._take()  # who connected before is in
            self._listener.close()
            self._listener = _bound(self.host, self.port)  # the port stays ours: bound, but nobody listens
            self._accepts = False

    async def _close(self) -> None:
        await self._refuse()
        self._listener.close()
        await self._cut()

    async def _cut(self) -> int:
        open_now = list(self._connections)
        for connection in open_now:
            connection.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)
        return len(open_now)

    def _take(self) -> None:
        """Take all who have connected since."""
        while True:
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):  # all taken, or gone before it was
                return
            if len(self._connections) >= CONNECTIONS_MAX:
                reset(client)
                continue
            client.setblocking(False)
            self.accepted += 1
            connection = asyncio.create_task(self._serve(client))
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)

    async def _serve(self, client: socket.socket) -> None:
        """Pass a connection on until both directions have ended; reset both ends when it is cut."""
        host, port = self._target or ("", 0)
        server = _socket(host)
        close: Callable[[socket.socket], None] = reset
        try:
            if await _connected(server, host, port):
                await self._pass_on(client, server)
                close = socket.socket.close
        except* Cut:
            pass
        finally:
            close(client)
            close(server)

    async def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        talk = self._conversation()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pump(Source(client), server, self._links["to_server"], talk.to_server))
            tasks.create_task(pump(Source(server), client, self._links["to_client"], talk.to_client))


async def _connected(server: socket.socket, host: str, port: int) -> bool:
    """Whether the server took us. If not, the client learns it from a reset."""
    try:
        await asyncio.get_running_loop().sock_connect(server, (host, port))
    except OSError:
        return False
    return True


def _bound(host: str, port: int) -> socket.socket:
    listener = _socket(host)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def _socket(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # who is accepted inherits it
    return made
