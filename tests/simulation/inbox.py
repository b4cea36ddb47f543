"""A real HTTP server that takes notifications as JSON; it refuses some, a number of times."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Inbox:
    """`refuses`: by title, how many more times it is refused. `asked`: all requests; `taken`: those that were not."""

    port: int = 0
    refuses: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.taken]

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/secret-path"


@contextmanager
def inbox() -> Iterator[Inbox]:
    found, lock = Inbox(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                title = message["title"]
                found.asked.append(title)
                refused = found.refuses.get(title, 0)
                found.refuses[title] = max(refused - 1, 0)
                if not refused:
                    found.taken.append(message)
            self.send_response(503 if refused else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
