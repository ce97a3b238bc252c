"""JSON over HTTP to an app on this computer, with errors that say which app said what.

Proxies of the environment are ignored: what is meant for this computer stays on it.
"""

from __future__ import annotations

import socket
from functools import cached_property
from typing import Any

from workbench.errors import AppRefused, EngineUnavailable, PortTaken, UsageError

QUICK_S = 2.0
LOAD_S = 600.0  # large models take minutes to load
LOOPBACK = ("localhost", "::1")


class Client:
    """Requests to the app `title` at `address` ("host:port"). Its key is sent once it was asked for, and not before:
    what listens there need not be the app, and need not want one. wanted_key: the key, if it was asked for."""

    def __init__(self, title: str, address: str, api_key: str = "") -> None:
        self.title, self.address, self._api_key = title, address, api_key
        self.wanted_key = ""

    @cached_property
    def _http(self) -> Any:
        import httpx2  # a fifth of a second; not every look at an app gets this far

        return httpx2.Client(base_url=f"http://{self.address}", trust_env=False, timeout=QUICK_S)

    def listens(self) -> bool:
        """Whether anybody answers there; says nothing of who it is."""
        host, _, port = self.address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=0.3):
                return True
        except OSError:
            return False

    def get(self, path: str, **query: str) -> Any:
        """What the app says at this path."""
        return self._json("GET", path, params=query)

    def post(self, path: str, body: Any = None, timeout_s: float = LOAD_S) -> Any:
        """What the app says to this body; the default time suits the loading of models."""
        return self._json("POST", path, json={} if body is None else body, timeout=timeout_s)

    def patch(self, path: str, body: Any) -> Any:
        """What the app says to this change; LocalAI reads all its models again before it answers."""
        return self._json("PATCH", path, json=body, timeout=LOAD_S)

    def put(self, path: str, body: Any = None) -> Any:
        """What the app says to this."""
        return self._json("PUT", path, json=body)

    def bytes(self, path: str, **query: str) -> bytes:
        """A file as it is."""
        answer = self._send("GET", path, params=query, timeout=LOAD_S)
        if answer.status_code >= 400:
            raise self._refused(answer)
        return bytes(answer.content)

    def status(self, method: str, path: str) -> int:
        """The HTTP status alone."""
        return int(self._send(method, path).status_code)

    def _json(self, method: str, path: str, **options: Any) -> Any:
        answer = self._send(method, path, **options)
        if answer.status_code >= 400:
            raise self._refused(answer)
        try:
            return answer.json() if answer.content.strip() else None
        except ValueError as error:
            raise self.stranger() from error

    def _send(self, method: str, path: str, **options: Any) -> Any:
        import httpx2

        try:
            answer = self._http.request(method, path, **options)
            if answer.status_code == 401 and self._api_key and not self.wanted_key:
                self.wanted_key = self._api_key
                self._http.headers["Authorization"] = f"Bearer {self._api_key}"
                return self._http.request(method, path, **options)
            return answer
        except httpx2.HTTPError as error:
            raise EngineUnavailable(
                f"{self.title} does not answer at {self.address}: {error or type(error).__name__}.",
                fix=f"Is {self.title} still running?",
            ) from error

    def _refused(self, answer: Any) -> AppRefused:
        key = "It wants its API key." if answer.status_code == 401 else ""
        return AppRefused(
            f"{self.title} refused {answer.request.url.path}: {_reason(answer)}.", status=answer.status_code, fix=key
        )

    def stranger(self) -> PortTaken:
        """The error when something answers that is not this app."""
        return PortTaken(f"Something that is not {self.title} answers at {self.address}.")


def loopback(text: str, variable: str, default_port: int) -> str:
    """ "127.0.0.1:port" of an address as people write it; raises UsageError for another computer's."""
    bare = text.removeprefix("http://").rstrip("/")
    host, colon, port = bare.rpartition(":")
    host, port = (host, port) if colon and port.isdecimal() else (bare.removesuffix(":"), str(default_port))
    host = host.strip("[]")
    if host in ("", "0.0.0.0", "::", *LOOPBACK) or host.startswith("127."):  # noqa: S104 - where it listens, not we
        return f"127.0.0.1:{port}"
    raise UsageError(
        f"{variable} is {text!r}, which is another computer.", fix=f"Unset it, or set it to 127.0.0.1:{default_port}."
    )


def _reason(answer: Any) -> str:
    """What an app gives as the reason, in the forms that apps use, with the status."""
    try:
        said = answer.json()
    except ValueError:
        said = answer.text
    if isinstance(said, dict) and said.get("node_errors"):  # ComfyUI's: the first node that objects
        first = next(iter(said["node_errors"].values()))["errors"][0]
        said = f"{first['message']}: {first['details']}"
    for name in ("error", "detail", "message"):
        while isinstance(said, dict) and name in said:
            said = said[name]
    return f"{str(said)[:300].rstrip('.') or answer.reason_phrase} (HTTP {answer.status_code})"
