"""`POST /signals/{workflow}/{signal or node}`: a signal of whoever has the server's token."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from streamflow.server.bodies import json_object, need_type, read_body
from streamflow.server.repeats import key_of
from streamflow.server.services import Services
from streamflow.server.targets import named_nodes, signal_of


def signal_routes(services: Services) -> APIRouter:
    """The body: `key`, `execution`, `node`, `payload`, as `streamflow signal` takes them."""
    router = APIRouter()

    @router.post("/signals/{workflow}/{target}")
    async def send(workflow: str, target: str, request: Request) -> Response:
        services.access.check(request)
        topology = services.workflows.need(workflow)
        named_nodes(topology, target)  # before the body, which may be large
        need_type(request, "application/json")
        given = key_of(request.headers.get("idempotency-key"))
        data = await read_body(request)
        signal = signal_of(topology, target, json_object(data), given)
        return await services.answer(topology, signal, given)

    return router
