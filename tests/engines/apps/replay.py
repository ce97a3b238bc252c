"""A server that gives the recorded answers of an app, and remembers what it was asked.

python replay.py FIXTURE PORT [TRAP]… [--everywhere]

serves them until told to stop: the stand-in for an app's own program.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

FIXTURES = Path(__file__).parent / "fixtures"


@dataclass
class Replay:
    """The exchanges of a fixture. state: what `when` is compared with; asked: every request as (method, path, body);
    keys: with each path, the Authorization that came with it."""

    exchanges: list[dict[str, Any]]
    state: str = "idle"
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    keys: list[tuple[str, str]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, method: str, path: str, body: Any, key: str) -> dict[str, Any]:
        """The first exchange that fits; 599 for a question that nobody recorded."""
        self.asked.append((method, path, body))
        self.keys.append((path, key))
        for exchange in self.exchanges:
            right_key = exchange.get("unless_key") != key
            if right_key and self._fits(exchange, method, path, body):
                if exchange.get("once"):
                    self.exchanges.remove(exchange)
                return exchange
        self.unknown.append(f"{method} {path} {body}")
        return {"status": 599}

    def _fits(self, exchange: dict[str, Any], method: str, path: str, body: Any) -> bool:
        written = exchange["path"]  # one that ends with a slash stands for all below it
        same_path = path == written or (written.endswith("/") and path.startswith(written))
        now = exchange.get("when", self.state) == self.state
        return method == exchange["method"] and same_path and now and _holds(body, exchange.get("body", {}))

    def bodies(self, method: str, path: str) -> list[Any]:
        """What was sent there."""
        return [body for asked, where, body in self.asked if (asked, where) == (method, path)]


def _holds(body: Any, part: Any) -> bool:
    """Whether everything of `part` is in `body`."""
    if isinstance(part, dict):
        return not part or (isinstance(body, dict) and all(_holds(body.get(k), v) for k, v in part.items()))
    return bool(body == part)


def load(app: str, *traps: str) -> Replay:
    """The recorded exchanges of an app, those of the traps first."""
    recorded = fixture(app)
    return Replay([one for trap in traps for one in recorded["traps"][trap]] + list(recorded["exchanges"]))


def fixture(app: str) -> dict[str, Any]:
    """A fixture as it is written."""
    read: dict[str, Any] = yaml.safe_load((FIXTURES / f"{app}.yaml").read_text())
    return read


@contextmanager
def serving(replay: Replay, port: int = 0, host: str = "127.0.0.1") -> Iterator[Replay]:
    """The replay behind a port of this computer."""
    server = ThreadingHTTPServer((host, port), _handler(replay))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    replay.address = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield replay
    finally:
        server.shutdown()
        server.server_close()


def _handler(replay: Replay) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self._body()
            exchange = replay.answer(
                self.command, self.path.partition("?")[0], body, self.headers.get("Authorization", "")
            )
            time.sleep(exchange.get("after_s", 0))
            replay.state = exchange.get("then", replay.state)
            if "messages" in exchange:
                self._talk(exchange)
                return
            text, kind = _written(exchange)
            self.send_response(exchange.get("status", 200))
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if self.command != "HEAD":
                with suppress(OSError):  # whoever asked has gone
                    self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _reply

        def _talk(self, exchange: dict[str, Any]) -> None:
            """A websocket: the handshake of RFC 6455, then its messages once something has been asked for."""
            key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header(
                "Sec-WebSocket-Accept",
                base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode(),
            )
            self.end_headers()
            while replay.state == "idle":
                time.sleep(0.005)
            with suppress(OSError):  # whoever listened has gone
                for message in exchange["messages"]:
                    text = json.dumps(message).encode()
                    size = bytes([len(text)]) if len(text) < 126 else b"\x7e" + len(text).to_bytes(2, "big")
                    self.wfile.write(b"\x81" + size + text)
                    time.sleep(exchange.get("pause_s", 0))
            self.close_connection = True

        def _body(self) -> Any:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                while size := int(self.rfile.readline(), 16):
                    self.rfile.read(size + 2)
                return None
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                return json.loads(raw)
            except ValueError:
                return None

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _written(exchange: dict[str, Any]) -> tuple[bytes, str]:
    if "lines" in exchange:
        return "".join(json.dumps(line) + "\n" for line in exchange["lines"]).encode(), "application/x-ndjson"
    if "events" in exchange:
        events = [f"data: {json.dumps(event)}\n\n" for event in exchange["events"]]
        return "".join([*events, "data: [DONE]\n\n"]).encode(), "text/event-stream"
    if "base64" in exchange:
        return base64.b64decode(exchange["base64"]), "image/png"
    if "json" in exchange:
        return json.dumps(exchange["json"]).encode(), "application/json"
    return exchange.get("text", "").encode(), "text/plain"


if __name__ == "__main__":
    traps = [word for word in sys.argv[3:] if word != "--everywhere"]
    host = "127.0.0.1" if traps == sys.argv[3:] else "0.0.0.0"  # noqa: S104 - what is to be found out
    with serving(load(sys.argv[1], *traps), int(sys.argv[2]), host):
        threading.Event().wait()
