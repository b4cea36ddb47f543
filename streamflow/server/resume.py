"""`/resume/{token}`: whoever holds a token ends the wait that it is for.

GET shows a page with a button: those who check links in mails follow them, and must end nothing. POST resumes.
"""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response

from streamflow.operators.signing import Claim
from streamflow.runtime.signals import Signal
from streamflow.server.bodies import json_text, need_type, read_body
from streamflow.server.pages import HEADERS, page, takes_html
from streamflow.server.problems import Problem
from streamflow.server.repeats import key_of
from streamflow.server.services import Services
from streamflow.server.targets import Resumed, resumed

FORM: Final = "application/x-www-form-urlencoded"
PAYLOAD_CHARS_MAX: Final = 2_048  # of one that stands in a link


def resume_routes(services: Services) -> APIRouter:
    """A token is what it takes; no other authentication is asked for."""
    router = APIRouter()

    @router.get("/resume/{token}")
    async def show(token: str, request: Request) -> Response:
        found = resumed(services.workflows, token, services.signing_key)
        payload = _payload_in(dict(request.query_params))
        return page("Confirm", _form(found, payload))

    @router.post("/resume/{token}")
    async def resume(token: str, request: Request) -> Response:
        found = resumed(services.workflows, token, services.signing_key)
        by_form = (
            request.headers.get("content-type") is not None and need_type(request, "application/json", FORM) == FORM
        )
        data = await read_body(request)
        payload = _payload_in(_fields(data)) if by_form else json_text(data) if data else None
        payload = _agreed(payload, _payload_in(dict(request.query_params)))
        if data and "content-type" not in request.headers:
            need_type(request, "application/json", FORM)
        claim = found.claim
        id = _id(claim, key_of(request.headers.get("idempotency-key")))
        signal = Signal(
            name=found.signal, key=claim.key, execution=claim.execution, node=claim.node, payload=payload, token=token,
            id=id,
        )  # fmt: skip
        if by_form and takes_html(request):
            await services.written(found.topology, signal, id)
            return page("Thank you", "<p>Your answer was taken in. You can close this page.</p>")
        answer = await services.answer(found.topology, signal, id)
        answer.headers.update(HEADERS)
        return answer

    return router


def _id(claim: Claim, given: str | None) -> str:
    """The id of a link's signal. A link counts once, however often its button is pressed; who wants more says so by
    keys, which are the link's own: whoever holds another one, or the server's token, does not share them.

    It is of the claim, as one claim has tokens of several spellings.
    """
    own = f"resume.{hashlib.sha256(claim.encode()).hexdigest()[:32]}"
    return own if given is None else f"{own}.{given}"


def _agreed(sent: str | None, linked: str | None) -> str | None:
    """The payload of a body and of the link. Raises Problem 400 where they say two things."""
    if sent is None or linked is None:
        return linked if sent is None else sent
    if sent != linked and len({json.dumps(json.loads(text), sort_keys=True) for text in (sent, linked)}) > 1:
        raise Problem(
            400,
            "body",
            "it is the payload of the link, where that has one.",
            mend="Leave `?payload=` out, or the body.",
        )
    return sent


def _form(found: Resumed, payload: str | None) -> str:
    hidden = shown = ""
    if payload is not None:
        safe = html.escape(payload)
        hidden = f'<input type="hidden" name="payload" value="{safe}">'
        shown = f"<p>It is answered with:</p><pre>{safe}</pre>"
    workflow, signal = html.escape(found.topology.workflow), html.escape(found.signal)
    return (
        f"<p>Workflow <b>{workflow}</b> waits for <b>{signal}</b>.</p>{shown}"
        f'<form method="post">{hidden}<button type="submit">Go on</button></form>'
    )


def _fields(data: bytes) -> Mapping[str, str]:
    try:
        found = parse_qs(data.decode(), keep_blank_values=True, max_num_fields=10, errors="strict")
    except ValueError as error:  # of its encodings as well
        raise Problem(400, "body", "it is a form of at most 10 fields.", found=str(error)) from None
    return {name: values[-1] for name, values in found.items()}


def _payload_in(fields: Mapping[str, str]) -> str | None:
    """Field `payload` as JSON text. Raises Problem 400 for others, so that no answer gets lost."""
    if odd := [name for name in fields if name != "payload"]:
        raise Problem(
            400, f"field {odd[0][:100]!r}", "there is `payload`, with JSON, and no other.", mend="Leave it out."
        )
    payload = fields.get("payload")
    if not payload:
        return None
    if len(payload) > PAYLOAD_CHARS_MAX:
        raise Problem(413, "field payload", f"it has at most {PAYLOAD_CHARS_MAX:,} characters.", mend="Send JSON.")
    return json_text(payload.encode("utf-8", "replace"), "field payload")
