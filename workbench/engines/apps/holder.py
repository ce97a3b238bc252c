"""The process that a deployment of an app consists of: it holds one model in the app, and answers for it.

It starts the app if that does not run, has it load the model, proves the context in force, and from then on answers
`/health` on a port of its own, and proves the context again and again. It ends with an error when the app goes away or
no longer holds what was proven, and on SIGTERM it gives the model back: exit status NOT_GIVEN_BACK says that the app
still held it. Requests for the model go to the app, never through here.

    python -P -m workbench.engines.apps.holder ORDERS         (see `engine.Orders`; the app's key is in the environment)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from workbench import engines
from workbench.engines.apps.contract import App
from workbench.engines.apps.engine import API_KEY, AppEngine, Orders
from workbench.engines.apps.holding import Held, end_with_parent, hold, started
from workbench.errors import EngineUnavailable, ServerDied, StartFailed, StopFailed, WorkbenchError

NOT_GIVEN_BACK = 75  # EX_TEMPFAIL
LOOK_S, PROVE_S = 1.0, 5.0
LOOKS = 3  # an app that is busy may answer late, or with half of what it knows
START_S = 120.0


class _Stop(BaseException):
    """SIGTERM or SIGINT arrived."""


def main() -> int:
    """Hold the model named in the orders until told to stop; the exit status."""
    _on_end(_on_signal)
    end_with_parent()  # told, and not killed as the watchdog has it: there is a model to give back
    orders, child, held, status = Orders.from_json(sys.argv[1]), None, None, 1  # what is to be undone grows as we go
    try:
        engine = engines.get(orders.app)
        assert isinstance(engine, AppEngine)  # noqa: S101 - the orders come from one
        app = type(engine.app)(orders.address, os.environ.pop(API_KEY, ""))
        child = started(app, orders.start, START_S) if orders.start else None
        held = _hold(app, orders)
        _say(f"{app.title} serves {held.served} at {orders.address}, context {held.context or 'unknown'}")
        _watch(held, orders, child, _answer_health(orders.port))
        return 1
    except _Stop:
        status = 0
    except Exception as error:  # noqa: BLE001 - an answer of another form than known is no reason to leave things loaded
        _say(f"error: {error}" if isinstance(error, WorkbenchError) else f"error: unexpected answer, {error!r}")
        status = NOT_GIVEN_BACK if isinstance(error, StopFailed) else 1
    return _give_back(held, child, orders.unload_s) or status


def _hold(app: App, orders: Orders) -> Held:
    if orders.start and orders.start.serves_one:  # it was started with the model: nothing to load, and nothing to join
        app.ask(orders.served)
        held = Held(app, orders.served, app.context(orders.served))
        app.check_context(held.context, orders.wanted, _say)
        return held
    app.running_version()  # what else listens there is asked nothing, and told no key
    held = hold(app, orders.wanted, _say, orders.unload_s)
    if held.served != orders.served:
        held.give_back()
        raise StartFailed(f"{app.title} serves the model as {held.served}, expected {orders.served}.")
    return held


def _answer_health(port: int) -> ThreadingHTTPServer:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _watch(held: Held, orders: Orders, child: subprocess.Popen[bytes] | None, _health: ThreadingHTTPServer) -> None:
    """Return when the app is gone; raises ServerDied when it no longer serves what was proven."""
    app, proven, doubts = held.app, time.monotonic(), 0
    while app.client.listens() and (child is None or child.poll() is None):
        time.sleep(LOOK_S)
        if held.share and (doubts or time.monotonic() - proven >= PROVE_S):
            with suppress(EngineUnavailable):  # busy, or gone: the next look tells
                proven, lost = time.monotonic(), app.lost(held.served, orders.wanted)
                doubts = doubts + 1 if lost else 0
            if doubts == LOOKS:
                raise ServerDied(lost)
    _say(f"error: {app.title} is gone from {app.client.address}.")


def _give_back(held: Held | None, child: subprocess.Popen[bytes] | None, timeout_s: float) -> int:
    """Undo everything. An app of ours takes its models with it when it ends, and not what was changed in its files."""
    status = 0
    _on_end(signal.SIG_IGN)  # it ends already; what ends it before that is SIGKILL
    try:
        if held:
            held.give_back(timeout_s)
    except WorkbenchError as error:
        _say(f"error: {error}")
        status = 0 if child else NOT_GIVEN_BACK
    finally:
        if child:
            child.terminate()
            child.wait()
    return status


def _on_end(handler: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _on_signal(_number: int, _frame: Any) -> None:
    _on_end(signal.SIG_IGN)  # once is enough
    raise _Stop


def _say(text: str) -> None:
    with suppress(OSError):  # nobody listens where the watchdog was killed
        print(text, flush=True)  # noqa: T201 - the deployment's log


if __name__ == "__main__":
    sys.exit(main())
