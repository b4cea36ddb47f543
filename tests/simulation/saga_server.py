"""A real HTTP server that reserves, charges and ships, and the workflow that asks it.

Every effect is made once for its key, however often it is asked for, as a payment provider does it; every request
counts. Shipping fails now and then, by chance, and says so without remembering: asked again it may succeed.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORKFLOW = """\
workflow: saga
nodes:
  orders:  {type: event, topic: orders, format: json}
  reserve: {type: code, function: "saga_steps:reserve", compensate: release}
  charge:  {type: code, function: "saga_steps:charge", compensate: refund, retry: {attempts: 3}}
  ship:    {type: code, function: "saga_steps:ship"}
  shipped: {type: publish, topic: shipped, format: json}
  refund:  {type: code, function: "saga_steps:refund", retry: {attempts: 3}}
  release: {type: code, function: "saga_steps:release"}
connections:
  - orders -> reserve -> charge -> ship -> shipped
policies: {on_error: compensate, commit_interval: 20ms, step_bytes_max: 512}
"""
STEPS = """\
import os
import urllib.request


def ask(step, order):
    key = f"{order['id']}.{step}"
    url = f"http://127.0.0.1:{os.environ['SAGA_PORT']}/{step}/{order['id']}"
    request = urllib.request.Request(url, method="POST", headers={"Idempotency-Key": key})
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def reserve(order):
    ask("reserve", order)
    return {**order, "reserved": True}


def charge(order):
    ask("charge", order)
    return {**order, "charged": True}


def ship(order):
    ask("ship", order)
    return {**order, "shipped": True}


def refund(order):
    ask("refund", order)
    return order


def release(order):
    ask("release", order)
    return order
"""


@dataclass
class Shop:
    """What the server has done. `effects`: step and order, in order of time; once each, whoever asks again."""

    seed: int
    requests: Counter[str] = field(default_factory=Counter)
    effects: list[tuple[str, str]] = field(default_factory=list)
    failures: int = 0
    port: int = 0
    _known: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def asked(self, step: str, order: str, key: str) -> int:
        """The status of the answer."""
        with self._lock:
            self.requests[key] += 1
            if key in self._known:
                return 200
            if step == "ship" and self._chance.random() < 0.4:
                self.failures += 1
                return 503
            self._known.add(key)
            self.effects.append((step, order))
            return 200


@contextmanager
def serving(shop: Shop, *, seconds: float) -> Iterator[Shop]:
    """Serve until the end of the block; each answer takes so long."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            _, step, order = self.path.split("/")
            time.sleep(seconds)
            self.send_response(shop.asked(step, order, self.headers["Idempotency-Key"]))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is said."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shop.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield shop
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
