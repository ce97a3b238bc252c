"""Errors in the shape of OpenAI's API: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

SHOWN = 80  # characters of a value that was refused


class Refused(Exception):
    """A request that gets no answer, with its HTTP status. more: further fields of the error."""

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None,
        headers: Mapping[str, str] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code, **more}}

    def response(self) -> Response:
        """The error as an answer."""
        return as_json(self.body, self.status, self.headers)


def prompt_too_long(tokens: int, context: int) -> Refused:
    """A prompt that leaves no room for an answer; the counts are fields of their own."""
    return Refused(
        f"The prompt has {tokens} tokens; with an answer of at least one it does not fit the context of {context}.",
        param="messages", code="context_length_exceeded", n_prompt_tokens=tokens, n_ctx=context,
    )  # fmt: skip


def invalid(errors: list[Any]) -> Refused:
    """What is wrong with the body, from pydantic's list: the first fault, where it is and the value seen.

    Where a field may be of several types, that of the type which was meant: the others complain of the type itself.
    """
    same = [error for error in errors if error["loc"][:2] == errors[0]["loc"][:2]]
    first = max(same, key=lambda error: not error["type"].endswith("_type"))
    if first["type"] == "json_invalid":
        at = f" at character {first['loc'][-1]}" if isinstance(first["loc"][-1], int) else ""
        return Refused(f"The body is not valid JSON: {first['ctx']['error']}{at}.", code="invalid_json")
    if isinstance(first.get("input"), bytes):
        return Refused("The body is not said to be JSON: send the header Content-Type: application/json.")
    where = ".".join(str(part) for part in first["loc"] if _names_a_place(part))
    if first["type"] == "missing":
        return Refused(f"{where or 'The body'} is missing.", param=where or None, code="missing")
    # A validator of ours says all; pydantic's own messages lack the value.
    said = str(first["ctx"]["error"]) if first["type"] == "value_error" else f"{first['msg']}, got {_seen(first)}."
    return Refused(f"{where}: {said}" if where else said, param=where or None, code="invalid_value")


def of_status(status: int, detail: str, served: Sequence[str] = ()) -> Refused:
    """What the framework refuses: no such route (served: those there are), wrong method, a body too large."""
    phrase = HTTPStatus(status).phrase
    said = detail if detail and detail != phrase else f"{phrase}."
    return Refused(f"{said} Served here: {', '.join(served)}." if served else said, status=status)


def as_json(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON in ASCII: whatever a client sent can be told back."""
    return Response(json.dumps(body).encode(), status, dict(headers or {}), "application/json")


def _names_a_place(part: int | str) -> bool:
    """Whether a part of pydantic's path is a field or an index, not one of the types that were tried."""
    return isinstance(part, int) or (part.isidentifier() and part not in ("body", "str"))


def _seen(error: Any) -> str:
    text = repr(error.get("input"))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
