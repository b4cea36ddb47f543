"""`/health/live`: the process answers. `/health/ready`: it can write, as far as the log tells."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import orjson
from fastapi import APIRouter, Response

from streamflow.sdk.errors import StreamflowError
from streamflow.server.services import Services

ASK_S_MAX: Final = 2.0
_HOLDS_S: Final = 1.0  # an answer, so that many who ask are one question to the log


def health_routes(services: Services) -> APIRouter:
    """No authentication: they tell nothing but that."""
    router = APIRouter()
    lock = asyncio.Lock()
    asked_s, fine = -_HOLDS_S, False

    @router.get("/health/live")
    async def live() -> Response:
        return _told(200, "live")

    @router.get("/health/ready")
    async def ready() -> Response:
        nonlocal asked_s, fine
        async with lock:
            if time.monotonic() - asked_s >= _HOLDS_S:
                try:
                    async with asyncio.timeout(ASK_S_MAX):
                        await services.log.topics()
                    fine = True
                except (StreamflowError, TimeoutError, OSError):
                    fine = False
                asked_s = time.monotonic()
        return _told(200, "ready") if fine else _told(503, "the log does not answer")

    return router


def _told(status: int, text: str) -> Response:
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": "2"} if status == 503 else {})
    return Response(orjson.dumps({"status": text}), status, headers, media_type="application/json")
