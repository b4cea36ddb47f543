"""A schema registry server in this process, with Confluent's REST API: for tests of what talks to one.

    with RegistryStub(username="ann", password="secret") as registry:
        client = HttpRegistry(registry.url, options=…)
        registry.fail("status", status=503, times=2)     # the next two requests fail
        assert registry.asked == ["GET /schemas/ids/1"]

It keeps schemas in memory, checks compatibility by Avro's rules (`codecs.evolution`) and has the API's own error codes.
Not there: deleting, modes, references, and schemas that are not Avro (`add_foreign` puts one in as it is).
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

import orjson

from streamflow.testing.kafka_security import ServerFiles
from streamflow.testing.registry_schemas import ApiError, Schemas

ASKED_MAX = 10_000
BODY_BYTES_MAX = 4 << 20
Kind = Literal["status", "garbage", "slow", "hang_up"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered; `encoding` as Content-Encoding has it."""

    status: int
    body: bytes
    encoding: str = ""


@dataclass(slots=True)
class _Failure:
    kind: Kind
    status: int
    times: int
    body: bytes
    encoding: str


class RegistryStub:
    """The server. Use it in a `with`, or call `start` and `stop`.

    username and password, or token: what requests must carry. certificates: serve https; with `client_certificate`
    to those alone who show one of the same authority. `asked` are the last requests, "METHOD /path" each; `headers`
    are what they carried.
    """

    def __init__(
        self,
        *,
        username: str = "",
        password: str = "",
        token: str = "",
        certificates: ServerFiles | None = None,
        client_certificate: bool = False,
    ) -> None:
        self.schemas = Schemas()
        self._asked: deque[tuple[str, dict[str, str]]] = deque(maxlen=ASKED_MAX)
        self._failures: deque[_Failure] = deque()
        self._lock = threading.Lock()
        self._wanted = _authorization(username, password, token)
        self._scheme = "https" if certificates else "http"
        self._server = _Server(self, certificates, client_certificate=client_certificate)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._go_on = threading.Event()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def asked(self) -> list[str]:
        with self._lock:
            return [line for line, _ in self._asked]

    @property
    def headers(self) -> list[dict[str, str]]:
        with self._lock:
            return [headers for _, headers in self._asked]

    def fail(self, kind: Kind, *, status: int = 500, times: int = 1, body: bytes = b"", encoding: str = "") -> None:
        """The next `times` requests fail, after the failures that were asked for before.

        status: an error of that status, with an error code or with `body`. garbage: status 200, and `body` or what is
        no JSON; `encoding` is said of it (Content-Encoding). slow: no answer until `go_on` or `stop`. hang_up: the
        connection ends without an answer.
        """
        self._go_on.clear()
        with self._lock:
            self._failures.append(_Failure(kind, status, times, body, encoding))

    def go_on(self) -> None:
        """Let slow answers go."""
        self._go_on.set()

    def heal(self) -> None:
        """No request fails any more."""
        with self._lock:
            self._failures.clear()
        self.go_on()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.heal()
        self._server.shutdown()
        self._server.hang_up()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def reply(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply | None:
        """The reply to a request; None to hang up. For the server's threads."""
        with self._lock:
            self._asked.append((f"{method} {path}", headers))
            failure = self._failures[0] if self._failures else None
            if failure is not None:
                failure.times -= 1
                if failure.times <= 0:
                    self._failures.popleft()
        if failure is not None and failure.kind == "hang_up":
            return None
        if failure is not None and failure.kind == "garbage":
            return Reply(200, failure.body or b"<html>it works</html>", failure.encoding)
        if failure is not None and failure.kind == "status":
            said = _error(failure.status * 100 + 1, "injected failure")
            return Reply(failure.status, failure.body or said, failure.encoding)
        if failure is not None:
            self._go_on.wait()
        return self._reply_well(method, path, headers, body)

    def _reply_well(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        if self._wanted and headers.get("Authorization") != self._wanted:
            return Reply(401, _error(40101, "Unauthorized"))
        try:
            return Reply(200, orjson.dumps(self.schemas.ask(method, path, body)))
        except ApiError as error:
            return Reply(error.status, _error(error.code, error.message))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, stub: RegistryStub, certificates: ServerFiles | None, *, client_certificate: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stub = stub
        self._open: set[socket.socket] = set()
        self.tls: ssl.SSLContext | None = None
        if certificates is not None:
            self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
            self.tls.load_cert_chain(certificates.server)
            self.tls.verify_mode = ssl.CERT_REQUIRED if client_certificate else ssl.CERT_NONE

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is None:
            self._serve(request, client_address)
        else:  # here, in the connection's own thread: a handshake may take its time, or fail
            with self.tls.wrap_socket(request, server_side=True) as secured:
                self._serve(secured, client_address)

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        self._open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self._open.discard(request)

    def hang_up(self) -> None:
        """End all connections: clients keep theirs open as long as they live."""
        for request in list(self._open):
            with suppress(OSError):  # ended by itself meanwhile
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away, or do not trust us, are what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._reply(b"")

    def do_POST(self) -> None:
        self._reply(self.rfile.read(min(int(self.headers["Content-Length"]), BODY_BYTES_MAX)))

    def do_PUT(self) -> None:
        self.do_POST()

    def _reply(self, body: bytes) -> None:
        reply = self.server.stub.reply(self.command, self.path, dict(self.headers), body)
        if reply is None:
            self.close_connection = True
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(reply.body)))
        if reply.encoding:
            self.send_header("Content-Encoding", reply.encoding)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        """Tests look at `asked`."""


def _authorization(username: str, password: str, token: str) -> str:
    if token:
        return f"Bearer {token}"
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}" if username else ""


def _error(code: int, message: str) -> bytes:
    return orjson.dumps({"error_code": code, "message": message})
