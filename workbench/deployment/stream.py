"""An answer as it comes from a server, piece by piece, and how to end it: at any moment, from any thread.

Each stream has a connection of its own. Ending one hangs up, and the server, which sees that, gives up its work and
keeps its slot for the next request.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Generator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import httpx2
import openai

from workbench.deployment import failures
from workbench.deployment import state as states
from workbench.deployment.state import State
from workbench.errors import UsageError

if TYPE_CHECKING:
    from openai.types import CompletionUsage


class Stream:
    """The pieces of one answer, in the order they come. Nothing is sent before the first one is asked for.

    fields: what is sent: `messages` for a chat, `prompt` for a text to be continued, and the options;
    finish_reason: 'stop' when the model ended its answer, 'length' when it was cut at the most tokens or at the end of
    the context, None as long as the answer grows or when it was closed; usage: the server's own count of tokens, None
    until it says so. Raises UsageError when an option has a value that engines do not agree on, or the prompt does not
    fit the context, ServerDied when the server goes away.
    """

    def __init__(self, state: State, fields: Mapping[str, Any]) -> None:
        self.finish_reason: str | None = None
        self.usage: CompletionUsage | None = None
        self.closed = False
        _check_sampling(fields)
        self._state, self.fields = state, fields
        self._transport = _Transport()
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
        self._transport.hang_up()
        with suppress(ValueError):  # another thread is just reading; it ends by itself now
            self._pieces.close()

    def _read(self) -> Generator[str, None, None]:
        _check_alive(self._state)
        continues = "prompt" in self.fields
        with failures.explained(self._state), httpx2.Client(transport=self._transport, trust_env=False) as connection:
            try:
                with self._open(connection) as chunks:
                    for chunk in chunks:
                        for choice in chunk.choices:
                            said = None if continues else choice.delta  # no call of ours for a token: it would add up
                            if piece := choice.text if said is None else said.content or reasoning_in(said):
                                yield piece
                            self.finish_reason = choice.finish_reason or self.finish_reason
                        self.usage = chunk.usage or self.usage
            except (openai.APIError, httpx2.HTTPError):
                if not self.closed:
                    raise
        if self.finish_reason is None and not self.closed:
            raise failures.cut_short(self._state)  # a server that dies may close its connection as if all were said

    def _open(self, connection: httpx2.Client) -> Any:
        state = self._state
        client = openai.OpenAI(
            base_url=state.base_url, api_key=state.api_key, max_retries=0, http_client=connection
        )  # fmt: skip
        create: Any = client.completions.create if "prompt" in self.fields else client.chat.completions.create
        return create(
            model=state.served_model, stream=True, stream_options={"include_usage": True}, **self.fields
        )  # fmt: skip


class _Transport(httpx2.HTTPTransport):
    """A transport that can be hung up by another thread than the one that waits at it."""

    def __init__(self) -> None:
        # Servers are on this computer and speak plain HTTP; loading certificates would take longer than a first token.
        super().__init__(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False)
        self._socket: socket.socket | None = None
        self._hung_up = False

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.extensions["trace"] = self._trace
        return super().handle_request(request)

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._socket = info["return_value"].get_extra_info("socket")
            if self._hung_up:
                self.hang_up()

    def hang_up(self) -> None:
        """Shut the connection down: closing it would not wake up a thread that reads from it."""
        self._hung_up = True
        if self._socket is not None:
            with suppress(OSError):  # the other side was faster
                self._socket.shutdown(socket.SHUT_RDWR)


def reasoning_in(delta: Any) -> str:
    """What some servers send of a model's reasoning, in a field of its own that the API's official types lack."""
    return getattr(delta, "reasoning_content", None) or ""


#: The least and the most that OpenAI's API takes. Beyond them some engines refuse, others answer as if nothing were
#: wrong: a negative number of tokens is all that fit for one, an error for the next.
_LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "temperature": (0, 2), "top_p": (0, 1), "max_tokens": (1, math.inf), "max_completion_tokens": (1, math.inf),
}  # fmt: skip


def _check_sampling(fields: Mapping[str, Any]) -> None:
    for name, (least, most) in _LIMITS.items():
        value = fields.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            wanted = f"at least {least}" if most == math.inf else f"between {least} and {most}"
            raise UsageError(f"{name} is {value!r}.", fix=f"Choose a number {wanted}.")


def _check_alive(state: State) -> None:
    """Send nothing to a server that is gone: whoever has its port now must not get the prompt and the key."""
    current = states.load(state.path)
    if current is None or current.failure:
        raise failures.gone(state)
