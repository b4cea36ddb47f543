"""Servers for tests of the proxies: one that gives bytes back, one that answers frames as a broker does."""

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while read := self.request.recv(1 << 16):
            self.request.sendall(read)


class Broker(socketserver.StreamRequestHandler):
    """Answers each frame with its correlation id and what followed it; keeps what it was asked, in order."""

    asked: list[bytes]

    def handle(self) -> None:
        while len(size := self.rfile.read(4)) == 4:
            frame = self.rfile.read(struct.unpack(">i", size)[0])
            self.server.asked.append(frame)  # type: ignore[attr-defined]
            if frame[:2] != b"\0\0":  # produce without acknowledgement has no answer
                self.wfile.write(struct.pack(">i", len(frame) - 4) + frame[4:])


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    asked: list[bytes]

    @property
    def at(self) -> tuple[str, int]:
        return ("127.0.0.1", self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that was reset is what these tests are about."""


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
