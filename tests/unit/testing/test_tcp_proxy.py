"""The proxy's faults, with real sockets and a server that gives bytes back."""

import random
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from streamflow.sdk.errors import UsageError
from streamflow.testing.tcp_link import CHUNK_BYTES_MAX, QUEUE_CHUNKS_MAX
from streamflow.testing.tcp_proxy import TcpProxy
from tests.unit.testing.servers import Echo, Server, serving

TIMEOUT_S = 30  # an upper bound that a sound proxy never needs
SILENCE_S = 0.2  # how long is listened for what must not come: too short can only miss a fault, not make one up


@pytest.fixture
def echo() -> Iterator[Server]:
    with serving(Echo) as server:
        yield server


@pytest.fixture
def proxy(echo: Server) -> Iterator[TcpProxy]:
    with TcpProxy(echo.at, seed=7) as proxy:
        yield proxy


def call(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=TIMEOUT_S)


def exactly(connection: socket.socket, size: int) -> bytes:
    connection.settimeout(TIMEOUT_S)
    with connection.makefile("rb") as file:
        return file.read(size)


def says_nothing(connection: socket.socket) -> bool:
    connection.settimeout(SILENCE_S)
    try:
        return connection.recv(1) == b"?"
    except TimeoutError:
        return True


def test_bytes_pass_unchanged_and_ends_are_passed_on(proxy: TcpProxy) -> None:
    sent = random.Random(1).randbytes(300_000)
    with call(proxy) as one, call(proxy) as other:
        one.sendall(sent[:100_000])
        assert exactly(one, 100_000) == sent[:100_000]
        other.sendall(b"other")
        assert exactly(other, 5) == b"other"
        one.shutdown(socket.SHUT_WR)
        assert one.recv(1) == b""
    assert proxy.accepted == 2


def test_delay_and_limit_keep_the_order(proxy: TcpProxy) -> None:
    proxy.delay(1, jitter_ms=5)
    proxy.limit(2_000_000)
    sent = [bytes([i]) * random.Random(i).randint(1, 999) for i in range(200)]
    with call(proxy) as connection:
        for piece in sent:
            connection.sendall(piece)
        assert exactly(connection, sum(map(len, sent))) == b"".join(sent)


@pytest.mark.parametrize("direction", ["to_server", "to_client", None])
def test_what_is_frozen_arrives_after_the_thaw(proxy: TcpProxy, direction: str | None) -> None:
    with call(proxy) as before:
        before.sendall(b"1")
        assert exactly(before, 1) == b"1"
        proxy.freeze(direction)  # type: ignore[arg-type]
        with call(proxy) as new:  # is taken all the same: half-open
            for connection in (before, new):
                connection.sendall(b"2")
            assert says_nothing(before)
            assert says_nothing(new)
            proxy.thaw(direction)  # type: ignore[arg-type]
            assert (exactly(before, 1), exactly(new, 1)) == (b"2", b"2")


def test_what_waits_is_bounded(proxy: TcpProxy) -> None:
    proxy.freeze()
    with call(proxy) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        connection.settimeout(SILENCE_S)
        sent = 0
        with suppress(TimeoutError):
            while sent < 1 << 30:
                sent += connection.send(bytes(1 << 20))
        kernel = 32 << 20  # its buffers of two sockets grow to some MiB
        assert sent < CHUNK_BYTES_MAX * QUEUE_CHUNKS_MAX + kernel


def test_a_cut_resets_both_ends(proxy: TcpProxy) -> None:
    with call(proxy) as connection:
        connection.sendall(b"1")
        assert exactly(connection, 1) == b"1"
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with call(proxy) as connection:
        connection.sendall(b"2")
        assert exactly(connection, 1) == b"2"


def test_who_is_refused_is_told_at_once(proxy: TcpProxy) -> None:
    with call(proxy) as before:
        port = proxy.port
        proxy.refuse()
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            call(proxy)
        before.sendall(b"1")
        assert exactly(before, 1) == b"1"
    proxy.heal()
    assert proxy.port == port
    with call(proxy) as after:
        after.sendall(b"2")
        assert exactly(after, 1) == b"2"


def test_a_server_that_is_not_there_is_a_reset(proxy: TcpProxy, echo: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nowhere = gone.getsockname()[1]
    proxy.forward_to("127.0.0.1", nowhere)
    with pytest.raises(ConnectionResetError), call(proxy) as connection:
        connection.recv(1)
    proxy.forward_to(*echo.at)
    with call(proxy) as connection:
        connection.sendall(b"1")
        assert exactly(connection, 1) == b"1"


def test_what_was_sent_before_a_client_left_still_arrives() -> None:
    """Method: a server that does not answer; the client sends into a frozen link, goes away, and the link thaws."""
    with socket.create_server(("127.0.0.1", 0)) as server, TcpProxy(server.getsockname()) as proxy:
        server.settimeout(TIMEOUT_S)
        proxy.freeze()
        with call(proxy) as connection:
            connection.sendall(b"last words")
        taken, _ = server.accept()
        with taken:
            assert says_nothing(taken)
            proxy.thaw()
            assert exactly(taken, 11) == b"last words"  # and then the end


def test_after_stop_nobody_listens(echo: Server) -> None:
    proxy = TcpProxy(echo.at)
    with pytest.raises(UsageError, match="does not run"):
        proxy.cut()
    with proxy, call(proxy) as connection:
        connection.sendall(b"1")
        assert exactly(connection, 1) == b"1"
        proxy.freeze()
        connection.sendall(b"2")
    with pytest.raises(ConnectionRefusedError):
        call(proxy)
    proxy.stop()
