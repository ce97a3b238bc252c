"""What went wrong with a server, in a sentence: from the watchdog's record, the exit code and the end of the log."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workbench.deployment import state as states
from workbench.deployment.state import State
from workbench.errors import PortTaken, ServerDied, StartFailed, StopFailed, UsageError, WorkbenchError

TAIL_LINES = 12
_BAD_REQUESTS = (400, 404, 413, 422)


def from_state(state: State) -> WorkbenchError:
    """The error behind a deployment that did not come up."""
    failure, tail = state.failure, log_tail(state.log_path, TAIL_LINES)
    if failure["kind"] == "port_taken":
        state.log_path.unlink(missing_ok=True)
        return PortTaken(f"{failure['text']}.", fix="Ask for another port, or leave it out to get a free one.")
    what = f"{state.engine} did not start {state.model}: {failure['text']}{_how(failure['exit_code'])}"
    return StartFailed(what + _last_words(tail), fix=f"The whole log: {state.log_path}", details=tail)


def watchdog_lost(state: State) -> StartFailed:
    """The error when even the watchdog is gone."""
    tail = log_tail(state.log_path, TAIL_LINES)
    return StartFailed(
        f"The supervisor of {state.model} ended before the server was up{_last_words(tail)}",
        fix=f"If nothing was said, something killed it. The whole log: {state.log_path}",
        details=tail,
    )


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
    except openai.BadRequestError as error:
        raise _bad_request(error.body, str(error)) from error
    except (openai.APIError, httpx2.HTTPError) as error:
        raise unanswered(state, str(error)) from error


def explained_events(state: State, ask: Callable[[], Any]) -> Iterator[Any]:
    """The events of a stream that `ask` opens with the official client; closed whoever ends it, errors as above."""
    with explained(state):
        found = ask()
        try:
            yield from found
        finally:
            with suppress(Exception):  # it is over, whatever the client says
                found.close()


def refused(state: State, status: int, answer: bytes) -> WorkbenchError:
    """The error behind an HTTP status that is none of success."""
    try:
        body = json.loads(answer)
    except ValueError:
        body = {}
    body = body.get("error", body) if isinstance(body, dict) else {}
    said = answer.decode(errors="replace").strip()[:300]
    if status in _BAD_REQUESTS:
        return _bad_request(body, said)
    return unanswered(state, f"status {status}, {body.get('message', said) if isinstance(body, dict) else body}")


def cut_short(state: State) -> WorkbenchError:
    """The error behind an answer that ended without its end."""
    return unanswered(state, "its answer was cut short")


def log_tail(log: Path, lines: int) -> str:
    """The last `lines` lines of a log; empty when there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:] if lines > 0 else [])


def _bad_request(body: object, said: str) -> UsageError:
    body = body if isinstance(body, dict) else {}
    if "n_prompt_tokens" in body:
        return UsageError(
            f"The prompt has {body['n_prompt_tokens']} tokens; the deployment was made for {body['n_ctx']}.",
            fix="Shorten it, begin a new conversation, or deploy with a larger context.",
        )
    return UsageError(f"The server refused the request: {body.get('message', said)}.")


def unanswered(state: State, error: str) -> WorkbenchError:
    """The error behind an answer that did not come, or broke off: the server's end, where it has ended."""
    current = _settled(state)
    if current is None or current.failure:
        return gone(state)
    return ServerDied(
        f"The server of {state.model} failed to answer: {error.rstrip('.')}.", fix=f"See `workbench logs {state.id}`."
    )


def gone(state: State) -> ServerDied:
    """The error for a server that was there: how it ended, as far as the watchdog knew, and its last words."""
    current = states.load(state.path)
    exit_code = current.failure.get("exit_code") if current else None
    tail = log_tail(state.log_path, TAIL_LINES)
    return ServerDied(
        f"The server of {state.model} is gone{_how(exit_code)}{_last_words(tail)}",
        fix="Deploy again. What you had received stays valid.",
        details=tail,
    )


def _settled(state: State) -> State | None:
    """The state once the watchdog has had a moment to notice that its server died."""
    import time

    for _ in range(30):
        current = states.load(state.path)
        if current is None or current.failure:
            return current
        time.sleep(0.05)
    return states.load(state.path)


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return ""
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = ", which is what the system sends when memory runs out" if name == "SIGKILL" else ""
        return f" (ended by {name}{hint})"
    return f" (exit code {exit_code})"


def _last_words(tail: str) -> str:
    """The log line most likely to name the cause: the last that speaks of an error, else the last of all."""
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    if not lines:
        return "."
    telling = [line for line in lines if "error" in line.lower() or "fail" in line.lower()]
    return f". It said: {(telling or lines)[-1]!r}."
