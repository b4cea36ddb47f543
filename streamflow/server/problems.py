"""What a refused request is answered with: problem details (RFC 9457) that tell place, rule, found and mend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson
from fastapi import Response

PROBLEM_TYPE: Final = "application/problem+json"
_TITLES: Final = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Too slow",
    413: "Too large",
    415: "Wrong content type",
    422: "Contradiction",
    500: "Internal error",
    503: "Not available",
}


class Problem(Exception):
    """A request is refused. `place`: which part of it; `mend`: what to do about it."""

    def __init__(
        self,
        status: int,
        place: str,
        rule: str,
        *,
        found: str = "",
        mend: str = "",
        code: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status, self.place, self.rule, self.found, self.mend = status, place, rule, found, mend
        self.code, self.headers = code, dict(headers or {})
        super().__init__(f"{place}: {rule}")

    @property
    def title(self) -> str:
        return _TITLES.get(self.status, "Refused")

    @property
    def detail(self) -> str:
        """All of it as sentences."""
        said = f"{self.place}: {self.rule}{f' Found: {self.found}.' if self.found else ''}"
        return f"{said} {self.mend}".strip()

    def response(self) -> Response:
        """The answer; `type` is about:blank, as the status says what kind of problem it is."""
        facts = {"place": self.place, "rule": self.rule, "found": self.found, "mend": self.mend, "code": self.code}
        body = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **{name: value for name, value in facts.items() if value},
        }
        return Response(orjson.dumps(body), self.status, self.headers, media_type=PROBLEM_TYPE)


def unavailable(why: str, *, retry_after_s: int = 2, code: str = "", mend: str = "") -> Problem:
    """The log cannot take it now."""
    return Problem(
        503,
        "log",
        "a signal is answered when it is committed, and now it cannot be.",
        found=why,
        mend=mend or "Send it again later, with the same Idempotency-Key.",
        code=code,
        headers={"Retry-After": str(retry_after_s)},
    )
