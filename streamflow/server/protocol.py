"""HTTP/1.1 as uvicorn speaks it, with a limit to how long a request's head may take.

uvicorn bounds how many connections there are, and gives those that say nothing, or little, all the time they want: so
many of them would be the end of all others.
"""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S_MAX: Final = 10.0


class HeadInTime(H11Protocol):
    """Drops a connection whose next request has no complete head HEAD_S_MAX after it was made, or after the response
    before. What comes meanwhile gives it no more time; a body that nobody waits for is no head either.
    """

    _over: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Time runs while no request is being answered."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._leave()
        elif self._over is None and not self.transport.is_closing():
            self._over = self.loop.call_later(HEAD_S_MAX, self.transport.abort)

    def _leave(self) -> None:
        if self._over is not None:
            self._over.cancel()
            self._over = None
