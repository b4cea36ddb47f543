"""Ports for servers that a test stops and starts again: free now, and likely still free then."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

# Below the ranges from which systems draw ports for outgoing connections. While a server is down its clients try to
# reach it all the time, and one of them could be given the very port that it is calling.
FIRST, LAST = 20_000, 30_000
TRIES_MAX = 200


def free_ports(host: str, count: int) -> list[int]:
    """`count` ports that nobody listens on, all different. Raises OSError when there are none."""
    draw = random.SystemRandom()  # tests that run at the same time, with the same seeds, must not draw the same
    with ExitStack() as held:
        return [_bound(held, host, draw) for _ in range(count)]


def _bound(held: ExitStack, host: str, draw: random.Random) -> int:
    for left in reversed(range(TRIES_MAX)):
        try:
            server = socket.create_server((host, draw.randint(FIRST, LAST)))
        except OSError:
            if not left:
                raise
            continue
        held.enter_context(server)
        return int(server.getsockname()[1])
    raise AssertionError  # the last try returns or raises
