"""Bodies of requests, read within bounds."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import orjson
from fastapi import Request

from streamflow.server.problems import Problem

BODY_BYTES_MAX: Final = 262_144
DEPTH_MAX: Final = 64
READ_S_MAX: Final = 10.0


async def read_body(request: Request, *, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The whole body. Raises Problem 413 as soon as it is too large, 408 if it does not come in time."""
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > bytes_max:
        raise _too_large(bytes_max, f"{told} bytes")
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(READ_S_MAX):
            async for piece in request.stream():
                size += len(piece)
                if size > bytes_max:
                    raise _too_large(bytes_max, "more")
                pieces.append(piece)
    except TimeoutError:
        raise Problem(
            408, "body", f"a body comes within {READ_S_MAX:.0f} s.", headers={"Connection": "close"}
        ) from None
    return b"".join(pieces)


def content_type(request: Request) -> str:
    """The media type of the body, without parameters; empty if none is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def need_type(request: Request, *allowed: str) -> str:
    """The media type, which must be one of these. Raises Problem 415."""
    found = content_type(request)
    if found not in allowed:
        raise Problem(
            415,
            "header Content-Type",
            f"the body is {' or '.join(allowed)}.",
            found=found[:100] or "none",
            mend="Say so, and send that.",
        )
    return found


def json_text(data: bytes, place: str = "body") -> str:
    """JSON text as it is, checked: it is UTF-8, and no deeper than DEPTH_MAX. Raises Problem 400."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Problem(400, place, "it is JSON.", found=str(error), mend="Text needs quotes of its own.") from None
    if _deeper(value, DEPTH_MAX):
        raise Problem(400, place, f"arrays and objects are at most {DEPTH_MAX} deep.", mend="Send it flatter.")
    return data.decode()


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object with numbers as they are written. Raises Problem 400."""
    text = json_text(data)
    try:
        value = json.loads(text)  # which keeps whole numbers of any size, as orjson does not
    except ValueError as error:
        raise Problem(400, "body", "its numbers are no longer than 4,300 digits.", found=str(error)) from None
    if not isinstance(value, dict):
        raise Problem(400, "body", "it is a JSON object.", found=_kind(value), mend='Send {"key": …, "payload": …}.')
    return value


def _too_large(bytes_max: int, found: str) -> Problem:
    return Problem(
        413,
        "body",
        f"it has at most {bytes_max:,} bytes.",
        found=found,
        mend="Put what is large elsewhere and send where it lies.",
        headers={"Connection": "close"},
    )


def _deeper(value: object, depth_max: int) -> bool:
    level: list[object] = [value]
    for _ in range(depth_max):
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        if not inner:
            return False
        level = inner
    return any(isinstance(one, dict | list) for one in level)


def _kind(value: object) -> str:
    kinds = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
