"""Runs the application on a socket until it is told to stop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn

from streamflow.operators.signing import VARIABLE, signing_key
from streamflow.sdk.errors import UsageError
from streamflow.sdk.log import Log
from streamflow.server.access import Access
from streamflow.server.app import make_app
from streamflow.server.protocol import HeadInTime
from streamflow.server.services import Services
from streamflow.server.targets import Workflows, needs_signing_key
from streamflow.server.writer import SignalWriter
from streamflow.topology.plan import Topology

STOP_S_MAX: Final = 10
CONNECTIONS_MAX: Final = 1_000
HEAD_BYTES_MAX: Final = 32_768
BACKLOG: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Where to listen. `tls`: files of the certificate and its key."""

    host: str
    port: int
    tls: tuple[Path, Path] | None = None


def bound(binding: Binding) -> socket.socket:
    """A socket that listens. Raises UsageError."""
    family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
    try:
        return socket.create_server((binding.host.strip("[]"), binding.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UsageError(
            f"{binding.host}:{binding.port} cannot be listened on: {error.strerror or error}.",
            mend="Give another --port, or 0 for any that is free.",
        ) from None


def secret_of(topologies: Sequence[Topology]) -> bytes | None:
    """The key of resume tokens; None where there is none and none is needed. Raises UsageError."""
    import os

    return signing_key() if needs_signing_key(topologies) or os.environ.get(VARIABLE) else None


async def serve(
    topologies: Sequence[Topology],
    log: Log,
    access: Access,
    binding: Binding,
    *,
    on_ready: Callable[[str], None],
    stopping: Callable[[Callable[[], None]], contextlib.AbstractContextManager[None]],
) -> None:
    """Serve until `stopping` says so: it is given what asks for the end. `on_ready` is given the address."""
    signing = secret_of(topologies)
    with bound(binding) as listening:
        port = int(listening.getsockname()[1])
        writer = SignalWriter(log, port)
        workflows = Workflows({topology.workflow: topology for topology in topologies})
        services = Services(log, workflows, access, writer, signing)
        config = uvicorn.Config(
            make_app(services), log_config=None, access_log=False, lifespan="off", ws="none", server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=STOP_S_MAX, limit_concurrency=CONNECTIONS_MAX,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX, http=HeadInTime,
            ssl_certfile=binding.tls[0] if binding.tls else None, ssl_keyfile=binding.tls[1] if binding.tls else None,
        )  # fmt: skip
        try:
            config.load()
        except OSError as error:  # of TLS: ssl.SSLError is one
            raise UsageError(f"the certificate or its key cannot be used: {error}.") from None
        host = f"[{binding.host}]" if ":" in binding.host else binding.host
        server = _Server(config, lambda: on_ready(f"{'https' if binding.tls else 'http'}://{host}:{port}"))
        try:
            with stopping(server.ask_to_end):
                await server.serve(sockets=[listening])
        finally:
            await writer.close()


class _Server(uvicorn.Server):
    """uvicorn, which tells when it serves, and leaves signals to whoever runs it."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    def ask_to_end(self) -> None:
        """Requests under way are answered, for STOP_S_MAX at the most."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()
