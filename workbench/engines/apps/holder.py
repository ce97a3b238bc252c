"""The process that a deployment of an app consists of: it holds one model in the app, and answers for it.

It starts the app if that does not run, has it load the model, proves the context in force, and from then on answers
`/health` on a port of its own. It ends with an error when the app goes away, and on SIGTERM it gives the model back:
exit status NOT_GIVEN_BACK says that the app still held it. Requests for the model go to the app, never through here.

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
from workbench.engines.apps.holding import Held, hold, started
from workbench.errors import EngineUnavailable, StartFailed, WorkbenchError

NOT_GIVEN_BACK = 75  # EX_TEMPFAIL
LOOK_S, KEEP_S = 1.0, 60.0
START_S = 120.0


class _Stop(BaseException):
    """SIGTERM or SIGINT arrived."""


def main() -> int:
    """Hold the model named in the orders until told to stop; the exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _on_signal)
    orders, child, held = Orders.from_json(sys.argv[1]), None, None  # what there is to undo grows as it is done
    try:
        engine = engines.get(orders.app)
        assert isinstance(engine, AppEngine)  # noqa: S101 - the orders come from one
        app = type(engine.app)(orders.address, os.environ.pop(API_KEY, ""))
        child = started(app, orders.start, START_S) if orders.start else None
        held = _hold(app, orders)
        _say(f"{app.title} serves {held.served} at {orders.address}, context {held.context or 'unknown'}")
        _watch(app, held, child, _answer_health(orders.port))
        return 1
    except _Stop:
        return _give_back(held, child, orders.unload_s)
    except Exception as error:  # noqa: BLE001 - an answer of another form than known is no reason to leave things loaded
        _say(f"error: {error}" if isinstance(error, WorkbenchError) else f"error: unexpected answer, {error!r}")
        return _give_back(held, child, orders.unload_s) or 1


def _hold(app: App, orders: Orders) -> Held:
    if orders.start and orders.start.serves_one:  # it was started with the model: nothing to load, and nothing to join
        app.ask(orders.served)
        held = Held(app, orders.served, app.context(orders.served), ours=False)
        app.check_context(held.context, orders.wanted, _say)
        return held
    held = hold(app, orders.wanted, _say)
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


def _watch(app: App, held: Held, child: subprocess.Popen[bytes] | None, _health: ThreadingHTTPServer) -> None:
    """Return when the app is gone."""
    kept = time.monotonic()
    while app.client.listens() and (child is None or child.poll() is None):
        time.sleep(LOOK_S)
        if time.monotonic() - kept > KEEP_S:
            kept = time.monotonic()
            with suppress(EngineUnavailable):  # busy; the next look tells whether it is gone
                app.keep(held.served)
    _say(f"error: {app.title} is gone from {app.client.address}.")


def _give_back(held: Held | None, child: subprocess.Popen[bytes] | None, timeout_s: float) -> int:
    """Undo everything; an app of ours takes its models with it when it ends."""
    with suppress(_Stop):
        if child:
            child.terminate()
            child.wait()
        elif held:
            try:
                held.give_back(timeout_s)
            except WorkbenchError as error:
                _say(f"error: {error}")
                return NOT_GIVEN_BACK
    return 0


def _on_signal(_number: int, _frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough; what ends us for good is SIGKILL
    raise _Stop


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the deployment's log


if __name__ == "__main__":
    sys.exit(main())
