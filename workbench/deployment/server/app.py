"""What every kind of model shares: the key, limits on sizes, health, metrics, the list of models, and errors."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Collection
from importlib import import_module
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench.deployment.limits import most_body_bytes
from workbench.deployment.server.metrics import CONTENT_TYPE_LATEST, Metrics
from workbench.deployment.server.refusals import Refused, as_json, invalid, of_status
from workbench.deployment.server.running import ClientGone
from workbench.deployment.server.scheduler import Scheduler
from workbench.deployment.server.served import check_model
from workbench.engines.contract import Settings

#: The modules with the routes of each kind of model, by the capability that its engine names; a server of one kind
#: needs nothing of the others.
ROUTES = {
    "chat": "workbench.deployment.server.text",
    "imagine": "workbench.deployment.server.images",
    "transcribe": "workbench.deployment.server.speech",
}
#: A recording may have this many: hours of it, uncompressed. Bodies of that size lie on the disk, not in memory.
RECORDING_BYTES = 4 << 30


def make_app(
    scheduler: Scheduler, served_model: str, api_key: str, capabilities: Collection[str], settings: Settings
) -> FastAPI:
    """The server's application around a scheduler that somebody else starts."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    state = app.state
    state.scheduler, state.served_model, state.metrics = scheduler, served_model, Metrics(scheduler)
    state.image = settings.image
    routers = [_common] + [import_module(module).router for kind, module in ROUTES.items() if kind in capabilities]
    for router in routers:
        app.include_router(router)
    state.routes = sorted(route.path.replace(":path}", "}") for router in routers for route in router.routes)
    transcribes = "transcribe" in capabilities
    most_bytes = RECORDING_BYTES if transcribes else most_body_bytes(settings.context)
    app.add_middleware(Gate, api_key=api_key, most_bytes=most_bytes, metrics=state.metrics)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


_common = APIRouter()


@_common.get("/health")
async def health(request: Request) -> Response:
    """200 once the model is loaded."""
    ready = request.app.state.scheduler.ready
    return as_json({"status": "ok" if ready else "loading"}, 200 if ready else 503)


@_common.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    return Response(request.app.state.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


@_common.get("/v1/models")
async def models(request: Request) -> Response:
    """The one model."""
    return as_json({"object": "list", "data": [_model(request.app.state.served_model)]})


@_common.get("/v1/models/{name:path}")
async def model(name: str, request: Request) -> Response:
    """The one model, by its name."""
    check_model(request, name)
    return as_json(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "workbench"}


class Gate:
    """Lets through who has the key (all but /health need it) and bodies that are not too large."""

    def __init__(self, app: ASGIApp, api_key: str, most_bytes: int, metrics: Metrics) -> None:
        self.app, self.most_bytes, self.metrics = app, most_bytes, metrics
        self.expected = f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if scope["path"] != "/health" and not hmac.compare_digest(headers.get(b"authorization", b""), self.expected):
            self.metrics.ended("unauthorized")
            return await _UNAUTHORIZED.response()(scope, receive, send)
        if (said := int(headers.get(b"content-length", 0))) > self.most_bytes:
            self.metrics.ended("refused")
            return await _too_large(f"{said}", self.most_bytes).response()(scope, receive, send)
        return await self.app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        """A body that does not say how long it is is counted as it comes."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.most_bytes:
                raise HTTPException(413, str(_too_large(f"{seen} or more", self.most_bytes)))
            return message

        return counted


_UNAUTHORIZED = Refused(
    "The key is missing or wrong: send the one that `workbench deploy` said, as Authorization: Bearer KEY.",
    status=401, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"},
)  # fmt: skip


def _too_large(seen: str, most_bytes: int) -> Refused:
    return Refused(f"The body has {seen} bytes; {most_bytes} are taken at most. Shorten it.", status=413)


# -- errors ----------------------------------------------------------------------------------------------------


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 - registered for this class
    return error.response()


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    request.app.state.metrics.ended("refused")
    return invalid(list(error.errors())).response()


async def _of_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    request.app.state.metrics.ended("refused")
    served = request.app.state.routes if error.status_code == 404 else ()
    return of_status(error.status_code, str(error.detail), served).response()


async def _nobody_there(_: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


_HANDLERS: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
    Refused: _refused,
    RequestValidationError: _invalid,
    HTTPException: _of_framework,
    ClientGone: _nobody_there,
}
