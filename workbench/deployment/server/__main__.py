"""The process: read what to host, load it in the background, and serve until told to stop."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import uvicorn

from workbench import engines
from workbench.deployment.server.app import make_app
from workbench.deployment.server.scheduler import Scheduler
from workbench.engines.contract import Settings
from workbench.engines.runtime import API_KEY, Hosted

KEEP_ALIVE_S = 75  # longer than clients keep a connection they may use again
SHUTDOWN_S = 1  # what answers under way get to end


def main() -> None:
    """Serve the model named in the argument; end with status 1 when it cannot be loaded."""
    hosted, key = Hosted.from_json(sys.argv[1]), os.environ.pop(API_KEY)
    engine = engines.get(hosted.engine)
    slots = slots_of(engine.capabilities, hosted.settings)
    scheduler = Scheduler(lambda: engine.runtime(Path(hosted.path), hosted.settings), slots)
    app = make_app(scheduler, hosted.served_model, key, engine.capabilities, hosted.settings)
    server = _Server(
        scheduler,
        uvicorn.Config(
            app, host="127.0.0.1", port=hosted.port, log_level="warning", access_log=False, server_header=False,
            lifespan="off", timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=SHUTDOWN_S,
        ),
    )  # fmt: skip

    def give_up() -> None:
        server.should_exit = True

    scheduler.start(on_failure=give_up)
    server.run()  # after a signal this ends the process by that signal
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if scheduler.failure or not server.started else 0)  # the engine's thread has nothing to save


def slots_of(capabilities: frozenset[str], settings: Settings) -> int:
    """How many requests are advanced in turns: only language models keep them apart, others have one at a time."""
    return settings.concurrency if "complete" in capabilities else 1


class _Server(uvicorn.Server):
    """Lets the runtime give back what it holds elsewhere before a signal ends the process."""

    def __init__(self, scheduler: Scheduler, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.scheduler = scheduler

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, and then the runtime's."""
        await super().shutdown(sockets)
        if close := getattr(self.scheduler.runtime, "close", None):
            close()


if __name__ == "__main__":
    main()
