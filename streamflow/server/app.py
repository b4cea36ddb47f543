"""The application: routes, and problems for whatever they refuse."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from streamflow.sdk.events import Logger
from streamflow.server.health import health_routes
from streamflow.server.pages import refused
from streamflow.server.problems import Problem
from streamflow.server.resume import resume_routes
from streamflow.server.services import Services
from streamflow.server.signals import signal_routes

_log = Logger(__name__)


def make_app(services: Services) -> FastAPI:
    """An ASGI application. It has no pages that describe it: what it may be asked is in docs/operations/serve.md."""
    app = FastAPI(title="streamflow", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    for routes in (health_routes, signal_routes, resume_routes):
        app.include_router(routes(services))

    @app.exception_handler(Problem)
    async def told(request: Request, problem: Problem) -> Response:
        return refused(request, problem)

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> Response:
        rule = "it is one of this server." if error.status_code == 404 else str(error.detail)
        return refused(request, Problem(error.status_code, "path", rule, headers=error.headers))

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        # Not the path: it may hold a token.
        _log.error("request_failed", method=request.method, error=type(error).__name__)
        problem = Problem(500, "server", "it answers.", found=type(error).__name__, mend="See its log.")
        return refused(request, problem)

    return app
