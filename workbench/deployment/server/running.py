"""A request on its way through the scheduler, seen from the loop that speaks HTTP: its events, its end, its client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from workbench.deployment.server.refusals import Refused
from workbench.deployment.server.scheduler import End, Job, QueueFull, Scheduler
from workbench.errors import UsageError

RETRY_AFTER_S = 1


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def events_of(request: Request, work: Callable[[Any], Generator[Any, None, None]]) -> AsyncGenerator[Any, None]:
    """What `work` yields in the engine's thread. Cancelled when the client goes or the iterator is closed.

    Raises Refused for a full queue, for a request that the engine cannot take, and when the engine fails.
    """
    scheduler: Scheduler = request.app.state.scheduler
    inbox: asyncio.Queue[Any] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def deliver(event: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server ends
            loop.call_soon_threadsafe(inbox.put_nowait, event)

    job = Job(work, deliver)
    watcher = None
    outcome = "cancelled"
    try:
        _submit(scheduler, job)
        watcher = asyncio.create_task(_cancel_when_gone(request, scheduler, job))
        while not isinstance(event := await inbox.get(), End):
            yield event
        outcome = _outcome(event)
        _check(event)
    except Refused as refused:
        outcome = {400: "refused", 429: "rejected"}.get(refused.status, "failed")
        raise
    finally:
        if watcher:
            watcher.cancel()
        scheduler.cancel(job)
        request.app.state.metrics.ended(outcome)


def _submit(scheduler: Scheduler, job: Job) -> None:
    if not scheduler.ready:
        raise Refused("The model is still being loaded.", status=503, code="loading", headers=_LATER)
    try:
        scheduler.submit(job)
    except QueueFull:
        raise Refused(
            f"{scheduler.most_waiting} requests wait already.", status=429, code="queue_full", headers=_LATER
        ) from None


_LATER = {"Retry-After": str(RETRY_AFTER_S)}


def _outcome(end: End) -> str:
    return "cancelled" if end.cancelled else "failed" if end.error else "completed"


def _check(end: End) -> None:
    """Raise what ended the job, as what the client is told."""
    if end.cancelled:
        raise ClientGone
    if isinstance(end.error, Refused):
        raise end.error
    if isinstance(end.error, UsageError):
        raise Refused(str(end.error))
    if end.error:
        raise Refused(f"The engine failed: {end.error}", status=500, code="engine_failed") from end.error


async def _cancel_when_gone(request: Request, scheduler: Scheduler, job: Job) -> None:
    """The body has been read: what comes next is that the client went."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scheduler.cancel(job)


class EventStream(Response):
    """Server-sent events. Nothing is sent before the first one: what fails until then is a plain error."""

    def __init__(self, lines: AsyncGenerator[bytes, None]) -> None:
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self.lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        async with aclosing(self.lines):
            async for line in self.lines:
                if not started:
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    started = True
                await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
