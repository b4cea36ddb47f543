"""What people see in a browser: pages of a link, and problems with one."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Final

from fastapi import Request, Response

from streamflow.server.problems import Problem

LINKS: Final = "/resume/"
# The address is the secret: it goes nowhere else, and nothing keeps it.
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
}
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem}}
button{{font:inherit;padding:.5rem 1.5rem}}pre{{white-space:pre-wrap;overflow-wrap:anywhere}}</style></head>
<body><h1>{title}</h1>{body}</body></html>
"""


def page(title: str, body: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`body`: HTML. `headers`: more of them."""
    text = _PAGE.format(title=html.escape(title), body=body)
    return Response(text, status, {**HEADERS, **(headers or {})}, media_type="text/html; charset=utf-8")


def takes_html(request: Request) -> bool:
    """Whether a browser asks."""
    return "text/html" in request.headers.get("accept", "").lower()


def refused(request: Request, problem: Problem) -> Response:
    """The answer to a refused request. One to a link has the headers of its page, and is a page for a browser."""
    if not request.scope["path"].startswith(LINKS):
        return problem.response()
    if takes_html(request):
        return page(
            problem.title, f"<p>{html.escape(problem.detail)}</p>", status=problem.status, headers=problem.headers
        )
    answer = problem.response()
    answer.headers.update(HEADERS)
    return answer
