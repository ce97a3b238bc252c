"""An answer as it comes from a server, piece by piece, and how to end it: at any moment, from any thread.

Each stream has a connection of its own. Ending one hangs up, and the server, which sees that, gives up its work and
keeps its slot for the next request.

The official client takes 6 to 17 ms longer to the first token than this (and half a second to import); it is there for
everything else, as `Deployment.client`. What is sent and read here is the part of OpenAI's API that it speaks.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from workbench.deployment import failures, limits
from workbench.deployment import state as states
from workbench.deployment.state import State
from workbench.engines.runtime import Sampling

_OK: Final = 200
_USUAL: Final = Sampling()
_ERROR: Final = b'{"error": "'


@dataclass(frozen=True, slots=True)
class Usage:
    """The server's own count of tokens; cached_tokens: those of the prompt that it still had from before."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class Stream:
    """The pieces of one answer, in the order they come. Nothing is sent before the first one is asked for.

    fields: what is sent: `messages` for a chat, `prompt` for a text to be continued, and the options;
    finish_reason: 'stop' when the model ended its answer, 'length' when it was cut at the most tokens or at the end of
    the context, None as long as the answer grows or when it was closed; usage: the server's own count of tokens, None
    until it says so; warning: what is to be said of a whole answer, such as that its prompt was probably cut.
    Raises UsageError for what no server should be sent (see `limits`) and for a prompt that does not fit the context,
    ServerBusy and RequestFailed for what the server answers instead, ServerDied when it goes away.
    """

    def __init__(self, state: State, fields: Mapping[str, Any]) -> None:
        limits.check(fields)
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.closed, self.warning = False, ""
        self._state, self.fields = state, fields
        self._body = _sent(state, fields)
        self._line = _Line(state.base_url)
        self._pieces = self._read()

    def __iter__(self) -> Generator[str, None, None]:
        return self._pieces

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the answer, if it has not ended yet. Whoever waits for its next piece, waits no longer."""
        self.closed = True
        self._line.hang_up()
        with suppress(ValueError):  # another thread is just reading; it ends by itself now
            self._pieces.close()

    def _read(self) -> Generator[str, None, None]:
        _check_alive(self._state)
        continues = "prompt" in self.fields
        path = "completions" if continues else "chat/completions"
        try:
            for chunk in _answered(self._state, self._line, path, self._body):
                for choice in chunk.get("choices") or ():
                    if piece := choice.get("text") if continues else _said(choice.get("delta") or {}):
                        yield piece
                    self.finish_reason = choice.get("finish_reason") or self.finish_reason
                self.usage = _usage(chunk.get("usage")) or self.usage
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not self.closed:
                raise failures.unanswered(self._state, str(error) or type(error).__name__) from error
        finally:
            self._line.close()
        if self.finish_reason is None and not self.closed:
            raise failures.cut_short(self._state)  # a server that dies may close its connection as if all were said
        if self._state.app_port and self.usage:
            self.warning = limits.probably_cut(self.fields, self.usage.prompt_tokens, self._state.context)


def _sent(state: State, fields: Mapping[str, Any]) -> bytes:
    """The body of a request, held to the context here where the server would not; tokens are counted of no text that
    is too large anyway."""
    body = _body(state, _whole(state, fields))
    if not state.tokenizer:
        return body
    return _body(state, _whole(state, limits.held_to(state.context, Path(state.tokenizer), fields)))


def _whole(state: State, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with those that the API lacks among them, the wish that tokens are counted, and the same sampling on
    every engine where none is asked for. An app has what its user has set there."""
    asked = {name: value for name, value in fields.items() if name != "extra_body"}
    usual = {} if state.app_port else {"temperature": _USUAL.temperature, "top_p": _USUAL.top_p}
    return {"stream_options": {"include_usage": True}, **usual, **asked, **(fields.get("extra_body") or {})}


def _body(state: State, fields: Mapping[str, Any]) -> bytes:
    return limits.body({"model": state.served_model, "stream": True, **fields}, state.context)


def events_of(state: State, path: str, fields: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
    """The events of any other streamed answer, until whoever asks closes it; path: such as 'images/generations'.

    Raises what `Stream` raises.
    """
    line = _Line(state.base_url)
    try:
        yield from _answered(state, line, path, _body(state, fields))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise failures.unanswered(state, str(error) or type(error).__name__) from error
    finally:
        line.close()


def _answered(state: State, line: _Line, path: str, body: bytes) -> Iterator[dict[str, Any]]:
    """The events of an answer; raises what the server says instead of one."""
    response = line.ask(path, state.api_key, body)
    if response.status != _OK:
        raise failures.refused(state, response.status, response.read(), response.headers.get("Retry-After"))
    for data in _events(response):
        chunk = _chunk(data)
        if (error := chunk.get("error")) is not None:
            raise failures.broken_off(state, str(error.get("message") if isinstance(error, dict) else error))
        yield chunk


def _chunk(data: bytes) -> dict[str, Any]:
    """One event. `transformers serve` puts the text of an error between quotes as it is: then it is all that is left.

    Raises ValueError for what is no JSON.
    """
    try:
        chunk: dict[str, Any] = json.loads(data)
    except ValueError:
        if not data.startswith(_ERROR):
            raise
        chunk = {"error": data.removeprefix(_ERROR).removesuffix(b'"}').decode(errors="replace")}
    return chunk


class _Line:
    """A connection that can be hung up by another thread than the one that waits at it."""

    def __init__(self, base_url: str) -> None:
        address = urlsplit(base_url)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(str(address.hostname), address.port)
        self._path = address.path
        self._socket: socket.socket | None = None
        self._hung_up = False

    def ask(self, path: str, key: str, body: bytes) -> http.client.HTTPResponse:
        """Send a request and return its answer, of which nothing is read yet."""
        self._connection.connect()
        self._socket = self._connection.sock  # the connection forgets it once the answer begins
        if self._hung_up:
            self.hang_up()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Accept": "text/event-stream"}
        self._connection.request("POST", f"{self._path}/{path}", body, headers)
        return self._connection.getresponse()

    def hang_up(self) -> None:
        """Shut the connection down: closing it would not wake up a thread that reads from it."""
        self._hung_up = True
        if self._socket is not None:
            with suppress(OSError):  # the other side was faster
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Shut it down and let go of it: the answer, which nobody reads further, holds it open otherwise."""
        self.hang_up()
        self._connection.close()


def _events(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The data of server-sent events up to [DONE]. Every server here sends the data of an event in one line."""
    while line := response.readline():
        if line.startswith(b"data:"):
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            if data:
                yield data


def _said(delta: Mapping[str, Any]) -> str:
    """What came, or what some servers send of a model's reasoning, in a field of its own that the API lacks."""
    return delta.get("content") or delta.get("reasoning_content") or ""


def _usage(counted: Mapping[str, Any] | None) -> Usage | None:
    if not counted:
        return None
    details = counted.get("prompt_tokens_details") or {}
    return Usage(
        counted.get("prompt_tokens") or 0, counted.get("completion_tokens") or 0, details.get("cached_tokens") or 0
    )  # fmt: skip


def _check_alive(state: State) -> None:
    """Send nothing to a server that is gone: whoever has its port now must not get the prompt and the key."""
    current = states.load(state.path)
    if current is None or current.failure:
        raise failures.gone(state)
