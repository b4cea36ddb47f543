"""Requests with an Idempotency-Key that this process has answered: a repeat gets the same answer.

That holds for the last ANSWERS_MAX of them, until the process ends. Beyond it the log has the word: the key is the `id`
of the signal, so that the wait node takes no notice of another record of it (`repeats`, `repeats_max`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

from streamflow.server.problems import Problem

ANSWERS_MAX: Final = 10_000
KEY_CHARS_MAX: Final = 255
Answer = dict[str, Any]


class Repeats:
    """Answers by key, those that are being made too."""

    def __init__(self, answers_max: int = ANSWERS_MAX) -> None:
        self._max = answers_max
        self._known: OrderedDict[tuple[str, ...], tuple[bytes, asyncio.Future[Answer]]] = OrderedDict()

    async def once(
        self, key: tuple[str, ...], content: bytes, make: Callable[[], Awaitable[Answer]]
    ) -> tuple[Answer, bool]:
        """The answer that `make` gives, or gave, and whether it is a repeat. One that failed is made again.

        Raises Problem 422 for the key of another request, and what `make` raises.
        """
        digest = hashlib.sha256(content).digest()
        while (found := self._known.get(key)) is not None:
            if found[0] != digest:
                raise Problem(
                    422,
                    "header Idempotency-Key",
                    "it stands for one request, and was used for another one.",
                    mend="Give each request a key of its own.",
                )
            try:
                return await asyncio.shield(found[1]), True
            except Problem:
                if self._known.get(key) is found:
                    del self._known[key]
        made: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._known[key] = digest, made
        while len(self._known) > self._max:
            self._known.popitem(last=False)
        try:
            answer = await make()
        except BaseException as error:
            if self._known.get(key, (b"", None))[1] is made:
                del self._known[key]
            made.set_exception(error if isinstance(error, Problem) else Problem(503, "server", "it was interrupted."))
            made.exception()  # nobody may have waited for it
            raise
        made.set_result(answer)
        return answer, False


def key_of(header: str | None) -> str | None:
    """An Idempotency-Key, checked. Raises Problem 400."""
    if header is None:
        return None
    text = header.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':  # as a structured field
        text = text[1:-1]
    if not 1 <= len(text) <= KEY_CHARS_MAX or not text.isascii() or not text.isprintable():
        raise Problem(
            400,
            "header Idempotency-Key",
            f"it is 1 to {KEY_CHARS_MAX} printable ASCII characters.",
            found=f"{len(text)} characters",
            mend="A UUID is fine.",
        )
    return text
