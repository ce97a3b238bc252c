"""What went wrong with a server, in a sentence: from the watchdog's record, the exit code and the end of the log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workbench.deployment import state as states
from workbench.deployment.limits import prompt_too_long
from workbench.deployment.state import State
from workbench.errors import (
    PortTaken,
    RequestFailed,
    ServerBusy,
    ServerDied,
    StartFailed,
    StopFailed,
    UsageError,
    WorkbenchError,
)
from workbench.machine import ending, how_it_ended

TAIL_LINES = 12
_BAD_REQUESTS, _BUSY = (400, 404, 413, 422), (429, 503)


def from_state(state: State) -> WorkbenchError:
    """The error behind a deployment that did not come up."""
    failure, tail = state.failure, log_tail(state.log_path, TAIL_LINES)
    if failure["kind"] == "port_taken":
        state.log_path.unlink(missing_ok=True)
        return PortTaken(f"{failure['text']}.", fix="Ask for another port, or leave it out to get a free one.")
    what = f"{state.engine} did not start {state.model}: {failure['text']}{_how(state, failure['exit_code'])}"
    return StartFailed(what + _last_words(tail), fix=f"The whole log: {state.log_path}", details=tail)


def watchdog_lost(state: State) -> StartFailed:
    """The error when even the watchdog is gone."""
    tail = log_tail(state.log_path, TAIL_LINES)
    return StartFailed(
        f"The supervisor of {state.model} ended before the server was up{_last_words(tail)}",
        fix=f"If nothing was said, something killed it. The whole log: {state.log_path}",
        details=tail,
    )


def death(state: State) -> str:
    """How a deployment that died ended, and when, in a few words; "" for one that lives."""
    if not state.failure:
        return ""
    code = state.failure["exit_code"]
    return f"{state.failure['text'] if code is None else ending(code)} at {state.failure['at']}"


def left_behind(state: State) -> StopFailed:
    """The error when a start was interrupted and not all of it could be undone."""
    tail = log_tail(state.log_path, TAIL_LINES)
    return StopFailed(f"The start of {state.model} was interrupted{_last_words(tail)}", details=tail)


@contextmanager
def explained(state: State) -> Iterator[None]:
    """Turn what the official client raises into what happened: a prompt too long, a server that died, a refusal."""
    import httpx2  # what the openai client is built on; an error in mid-stream reaches us unwrapped
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        answer = error.response
        raise refused(state, error.status_code, answer.content, answer.headers.get("Retry-After")) from error
    except (openai.APIConnectionError, httpx2.HTTPError) as error:
        raise unanswered(state, str(error)) from error
    except openai.APIError as error:
        raise broken_off(state, error.message) from error


def explained_events(state: State, ask: Callable[[], Any]) -> Iterator[Any]:
    """The events of a stream that `ask` opens with the official client; closed whoever ends it, errors as above."""
    with explained(state):
        found = ask()
        try:
            yield from found
        finally:
            with suppress(Exception):  # it is over, whatever the client says
                found.close()


def refused(state: State, status: int, answer: bytes, retry_after: str | None = None) -> WorkbenchError:
    """The error behind an HTTP status that is none of success: whoever answers has not died.

    retry_after: the server's own word for when to try again, in seconds.
    """
    try:
        body = json.loads(answer)
    except ValueError:
        body = {}
    body = body.get("error", body) if isinstance(body, dict) else {}
    said = answer.decode(errors="replace").strip()[:300]
    if status in _BAD_REQUESTS:
        return _bad_request(body, said)
    message = str(body.get("message", said) if isinstance(body, dict) else body).rstrip(".")
    if status in _BUSY:
        when = f"in {retry_after} s" if (retry_after or "").isdigit() else "when other requests have been answered"
        return ServerBusy(f"The server of {state.model} is busy: {message}.", fix=f"Try again {when}.")
    return RequestFailed(
        f"The server of {state.model} answered with an error, status {status}: {message}.", fix=_see_log(state)
    )


def broken_off(state: State, message: str) -> RequestFailed:
    """The error behind an answer that the server itself ended with one; what it says may be nothing."""
    said = f": {message.rstrip('.')}." if message else _last_words(log_tail(state.log_path, TAIL_LINES))
    return RequestFailed(f"The server of {state.model} ended its answer with an error{said}", fix=_see_log(state))


def cut_short(state: State) -> WorkbenchError:
    """The error behind an answer that ended without its end; a server that lives on wrote the reason into its log."""
    if not _lives(state):
        return gone(state)
    tail = log_tail(state.log_path, TAIL_LINES)
    what = f"The answer of {state.model}'s server was cut short{_last_words(tail)}"
    return RequestFailed(what, fix=_see_log(state), details=tail)


def log_tail(log: Path, lines: int) -> str:
    """The last `lines` lines of a log; empty when there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:] if lines > 0 else [])


def _bad_request(body: object, said: str) -> UsageError:
    body = body if isinstance(body, dict) else {}
    if "n_prompt_tokens" in body:
        return prompt_too_long(body["n_prompt_tokens"], body["n_ctx"])
    return UsageError(f"The server refused the request: {str(body.get('message', said)).rstrip('.')}.")


def unanswered(state: State, error: str) -> WorkbenchError:
    """The error behind an answer that did not come, or broke off: the server's end, where it has ended."""
    if not _lives(state):
        return gone(state)
    return ServerDied(f"The server of {state.model} failed to answer: {error.rstrip('.')}.", fix=_see_log(state))


def gone(state: State) -> ServerDied:
    """The error for a server that was there: how it ended, as far as the watchdog knew, and its last words."""
    current = states.load(state.path)
    failure = current.failure if current else {}
    tail, text = log_tail(state.log_path, TAIL_LINES), failure.get("text", "")
    how = f" ({text})" if failure.get("kind") == "supervisor" else _how(state, failure.get("exit_code"))
    return ServerDied(
        f"The server of {state.model} is gone{how}{_last_words(tail)}",
        fix="Deploy again. What you had received stays valid.",
        details=tail,
    )


def _lives(state: State) -> bool:
    """Whether the server is there, once the watchdog has had a moment to notice that it died."""
    for _ in range(30):
        current = states.load(state.path)
        if current is None or current.failure:
            return False
        time.sleep(0.05)
    return True


def _see_log(state: State) -> str:
    return f"See `workbench logs {state.id}`."


def _how(state: State, exit_code: int | None) -> str:
    """How the server ended, beside what was predicted of its main memory and what the plan found free."""
    if exit_code is None:
        return ""
    predicted, fits = state.plan["predictions"], state.plan["fits"]
    need = (predicted.get("host_memory_peak") or predicted["memory_peak"])["value"]
    free = fits[-1]["free_bytes"] if fits else None
    return f" ({how_it_ended(exit_code, {'predicted': need, 'free before': free})})"


def _last_words(tail: str) -> str:
    """The log line most likely to name the cause: the last that speaks of an error, else the last of all."""
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    if not lines:
        return "."
    telling = [line for line in lines if "error" in line.lower() or "fail" in line.lower()]
    return f". It said: {(telling or lines)[-1]!r}."
