"""Bounded retries: an operation goes on by itself while brokers come and go, and ends with an error that names them."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final

from streamflow.sdk.errors import LogUnavailable

_FIRST_S: Final = 0.02
_MAX_S: Final = 1.0


class Unanswered(Exception):
    """A request has no answer. `sent` tells whether the broker may have done it all the same."""

    def __init__(self, why: str, *, sent: bool) -> None:
        self.why, self.sent = why, sent
        super().__init__(why)


class Patience:
    """Pauses between tries, growing from `first_s` to 1 s with jitter, until `limit_ms` are over."""

    def __init__(self, what: str, limit_ms: int, *, first_s: float = _FIRST_S, option: str = "retry_ms") -> None:
        """`option`: what sets the limit, for the error."""
        self._what, self._limit_s, self._option = what, limit_ms / 1000, option
        self._since = time.monotonic()
        self._pause_s = first_s

    @property
    def left_s(self) -> float:
        return max(0.0, self._since + self._limit_s - time.monotonic())

    async def pause(self, why: str) -> None:
        """Wait before the next try. Raises LogUnavailable, with `why`, when there is to be none."""
        left_s = self.left_s
        if left_s <= 0:
            raise self.over(why)
        await asyncio.sleep(min(left_s, self._pause_s * random.uniform(0.8, 1.2)))  # noqa: S311 - no secret
        self._pause_s = min(self._pause_s * 1.6, _MAX_S)

    def over(self, why: str) -> LogUnavailable:
        return LogUnavailable(
            f"{self._what}: given up after {time.monotonic() - self._since:.1f} s: {why}.",
            mend=f"Check the brokers and the address; raise STREAMFLOW_KAFKA_{self._option.upper()} to wait longer.",
        )
