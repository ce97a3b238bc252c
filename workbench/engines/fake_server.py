"""The server of the fake engine: a real process with scripted answers, delays and failures.

Run as a program, by path, with nothing but the standard library: it starts in a blink and is the same everywhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Script:
    """What the fake server does.

    words: the answer, repeated to the length asked for; token_s: seconds between tokens; first_token_s: seconds before
    a stream says anything; load_s: seconds until healthy;
    exit_after_s: end this long after the start; die_after_tokens: end in the middle of a stream;
    end_after_tokens: say no more than that, as a model does that has nothing to add;
    listens: False = run without ever opening the port; tree_depth: processes below the server, each started by the
    one above, the last also by a double fork into a session of its own; ignore_sigterm: must be killed.
    """

    words: str = "The quick brown fox jumps over the lazy dog. "
    token_s: float = 0.0
    first_token_s: float = 0.0
    load_s: float = 0.0
    exit_after_s: float | None = None
    exit_code: int = 3
    die_after_tokens: int | None = None
    end_after_tokens: int | None = None
    listens: bool = True
    tree_depth: int = 0
    ignore_sigterm: bool = False

    def launch_argv(self, port: int) -> tuple[str, ...]:
        """The command line of a server that follows this script; a file, so that it starts without the package."""
        return (sys.executable, "-I", "-S", __file__, str(port), json.dumps(asdict(self)))


def serve(port: int, script: Script, api_key: str) -> None:
    """Be the fake server until killed."""
    started = time.monotonic()
    if script.ignore_sigterm:
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if script.tree_depth:
        _grow_tree(script)
    if script.exit_after_s is not None:
        threading.Timer(script.exit_after_s, os._exit, [script.exit_code]).start()
    print(f"fake engine: {script}", flush=True)  # noqa: T201 - this is the server's log
    if not script.listens:
        threading.Event().wait()
    handler = type("Handler", (_Handler,), {"script": script, "key": api_key, "ready_at": started + script.load_s})
    _Server(("127.0.0.1", port), handler).serve_forever()


def _grow_tree(script: Script) -> None:
    """Start the next process of the tree; the last one leaves an orphan in a session of its own."""
    code = "import time; time.sleep(600)"
    if script.tree_depth > 1:
        below = Script(tree_depth=script.tree_depth - 1, listens=False, ignore_sigterm=script.ignore_sigterm)
        subprocess.Popen(below.launch_argv(0))
        return
    subprocess.Popen([sys.executable, "-c", code])
    if os.fork() == 0:
        os.setsid()
        subprocess.Popen([sys.executable, "-c", code])
        os._exit(0)
    os.wait()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away: the log is for what the script says."""


class _Handler(BaseHTTPRequestHandler):
    script: Script
    key: str
    ready_at: float
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            loading = time.monotonic() < self.ready_at
            return self._json(503 if loading else 200, {"status": "loading" if loading else "ok"})
        if self.path == "/v1/models":
            return self._json(200, {"object": "list", "data": [{"id": "fake", "object": "model"}]})
        return self._json(404, {"error": {"message": f"no route {self.path}"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {self.key}":
            return self._json(401, {"error": {"message": "Invalid API key"}})
        chat = self.path.endswith("/chat/completions")
        text = "".join(m["content"] for m in body["messages"]) if chat else body["prompt"]
        prompt_tokens = len(text.split()) if isinstance(text, str) else len(text)
        count = body.get("max_tokens") or 16
        pieces = (self.script.words.split(" ") * count)[:count][: self.script.end_after_tokens]
        if not body.get("stream"):
            return self._json(200, _answer(chat, " ".join(pieces), prompt_tokens, count))
        return self._stream(chat, pieces, prompt_tokens)

    def _stream(self, chat: bool, pieces: list[str], prompt_tokens: int) -> None:
        time.sleep(self.script.first_token_s)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for index, piece in enumerate(pieces):
            if index == self.script.die_after_tokens:
                os._exit(self.script.exit_code)
            self._event({"choices": [_delta(chat, piece + " ")]})
            time.sleep(self.script.token_s)
        self._event({"choices": [{**_delta(chat, ""), "finish_reason": "length"}]})
        self._event({"choices": [], "usage": _usage(prompt_tokens, len(pieces))})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _event(self, fields: dict[str, Any]) -> None:
        body = {"id": "fake", "object": "chat.completion.chunk", "created": 0, "model": "fake", **fields}
        self.wfile.write(b"data: " + json.dumps(body).encode() + b"\n\n")
        self.wfile.flush()

    def _json(self, status: int, body: dict[str, Any]) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing per request."""


def _delta(chat: bool, text: str) -> dict[str, Any]:
    choice = {"delta": {"content": text}} if chat else {"text": text}
    return {"index": 0, "finish_reason": None, **choice}


def _answer(chat: bool, text: str, prompt_tokens: int, count: int) -> dict[str, Any]:
    choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    return {
        "id": "fake", "object": "chat.completion", "created": 0, "model": "fake",
        "choices": [{"index": 0, "finish_reason": "length", **choice}],
        "usage": _usage(prompt_tokens, count),
    }  # fmt: skip


def _usage(prompt_tokens: int, count: int) -> dict[str, int]:
    return {"prompt_tokens": prompt_tokens, "completion_tokens": count, "total_tokens": prompt_tokens + count}


if __name__ == "__main__":
    serve(int(sys.argv[1]), Script(**json.loads(sys.argv[2])), os.environ.get("WORKBENCH_API_KEY", ""))
