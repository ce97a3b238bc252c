"""A server in this process, around the scripted runtime, so that what it holds can be looked at."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
import uvicorn

from tests.deployment.conftest import wait_until
from workbench.deployment.server.app import make_app
from workbench.deployment.server.scheduler import Scheduler
from workbench.engines import Settings
from workbench.engines.fake_runtime import FakeRuntime
from workbench.engines.fake_server import Script

KEY, MODEL = "sk-test", "little"
USER = [{"role": "user", "content": "hello there"}]


@dataclass
class Running:
    """A server, the runtime inside it, and a client of it."""

    runtime: FakeRuntime
    scheduler: Scheduler
    url: str
    http: httpx2.Client

    def chat(self, **fields: Any) -> httpx2.Response:
        return self.http.post("/v1/chat/completions", json={"model": MODEL, "messages": USER, **fields})

    def complete(self, **fields: Any) -> httpx2.Response:
        return self.http.post("/v1/completions", json={"model": MODEL, "prompt": "hello there", **fields})

    def counted(self, metric: str) -> float:
        """A number of /metrics; 0 where it has not been counted yet."""
        lines = self.http.get("/metrics").text.splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{metric} ")), 0.0)

    def is_idle(self) -> bool:
        """Whether nothing is held for anybody."""
        return not (self.runtime.open or self.scheduler.running or self.scheduler.waiting)


@contextmanager
def serving(slots: int = 2, most_waiting: int = 8, context: int = 512, **script: Any) -> Iterator[Running]:
    """A server whose runtime follows this script, until the block is left."""
    runtime = FakeRuntime(replace(Script(), **script), context)
    scheduler = Scheduler(lambda: runtime, slots, most_waiting)
    app = make_app(scheduler, MODEL, KEY, {"chat"}, Settings(MODEL, "FP32", context))
    with answering(app, scheduler) as (url, client):
        yield Running(runtime, scheduler, url, client)


@contextmanager
def answering(app: Any, scheduler: Scheduler) -> Iterator[tuple[str, httpx2.Client]]:
    """The application on a port of its own, with a client that has the key, until the block is left."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listening],))
        scheduler.start()
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            assert wait_until(lambda: server.started and scheduler.ready, 10)
            with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
                yield url, client
        finally:
            server.should_exit = True
            thread.join(10)
            scheduler.close()
    assert not thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """serve(slots=…, most_waiting=…, context=…, Script fields…) → a running server."""
    with ExitStack() as running:
        yield lambda **options: running.enter_context(serving(**options))


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Running]:
    """One server for the tests of a module, which must leave it idle."""
    with serving() as one:
        yield one


@pytest.fixture
def server(shared_server: Running) -> Iterator[Running]:
    """The module's server; it still answers after the test, and holds nothing."""
    yield shared_server
    assert shared_server.chat(max_tokens=1).status_code == 200
    assert wait_until(shared_server.is_idle, 5)


def events(response: httpx2.Response) -> list[Any]:
    """The data of server-sent events, read by the standard's rules: blank lines end them; '[DONE]' stays a text."""
    datas = [block.removeprefix("data: ") for block in response.text.split("\n\n") if block]
    return [data if data == "[DONE]" else json.loads(data) for data in datas]
