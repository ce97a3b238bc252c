"""Chat and text completions over a `TextRuntime`."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from workbench.deployment.server.refusals import Refused, as_json, prompt_too_long
from workbench.deployment.server.requests import Asked, ChatAsked, CompletionAsked
from workbench.deployment.server.running import ClientGone, EventStream, events_of
from workbench.deployment.server.served import check_model, event
from workbench.deployment.server.stops import StopCutter
from workbench.engines.runtime import TextRuntime

router = APIRouter(prefix="/v1")
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Piece:
    """A step of an answer: its text, and the counts of tokens so far. finish: why it ended, with the last one."""

    text: str
    prompt_tokens: int
    tokens: int
    finish: str | None = None


@router.post("/chat/completions")
async def chat(asked: ChatAsked, request: Request) -> Response:
    """Answer a conversation."""
    messages = [message.plain() for message in asked.messages]
    return await _answer(request, asked, _Chat(asked.model), lambda runtime: runtime.chat_tokens(messages))


@router.post("/completions")
async def complete(asked: CompletionAsked, request: Request) -> Response:
    """Continue a text."""

    def tokens(runtime: TextRuntime) -> Sequence[int]:
        prompt = asked.prompt
        return runtime.text_tokens(prompt) if isinstance(prompt, str) else _known(prompt, runtime.vocabulary)

    return await _answer(request, asked, _Completion(asked.model), tokens)


async def _answer(
    request: Request, asked: Asked, shape: _Shape, tokens: Callable[[TextRuntime], Sequence[int]]
) -> Response:
    check_model(request, asked.model)
    pieces = _measured(request, events_of(request, lambda runtime: pieces_of(runtime, asked, tokens)))
    if asked.stream:
        return EventStream(_lines(pieces, shape, wants_usage=asked.wants_usage))
    text: list[str] = []
    async with aclosing(pieces):
        async for piece in pieces:
            text.append(piece.text)
    return as_json(shape.whole("".join(text), piece))


# -- in the engine's thread ------------------------------------------------------------------------------------


def pieces_of(
    runtime: TextRuntime, asked: Asked, tokens: Callable[[TextRuntime], Sequence[int]]
) -> Generator[Piece | None, None, None]:
    """The answer piece by piece, one for each token and a last one; None while the prompt is being worked on."""
    prompt = tokens(runtime)
    if len(prompt) >= runtime.context:
        raise prompt_too_long(len(prompt), runtime.context)
    most = min(asked.most_tokens, runtime.context - len(prompt))
    cutter, count, finish = StopCutter(asked.stops), 0, "stop"
    with closing(runtime.generate(prompt, asked.sampling(), most)) as generated:
        for token in generated:
            if token is None:
                yield None
                continue
            count += 1
            yield Piece(cutter.push(token.text), len(prompt), count)
            if cutter.stopped:
                break
            if count == most:
                finish = "length"
                break
    yield Piece(cutter.rest(), len(prompt), count, finish)


def _known(tokens: Sequence[int], vocabulary: int) -> Sequence[int]:
    if (largest := max(tokens)) >= vocabulary:
        raise Refused(f"There is no token {largest}: the vocabulary has {vocabulary}.", param="prompt")
    return tokens


# -- in the loop -----------------------------------------------------------------------------------------------


async def _measured(request: Request, pieces: AsyncGenerator[Piece | None, None]) -> AsyncGenerator[Piece, None]:
    """The pieces, counted and timed on their way."""
    metrics, last, first = request.app.state.metrics, time.perf_counter(), True
    async with aclosing(pieces):
        async for piece in pieces:
            if piece is None:
                continue
            now = time.perf_counter()
            if first:
                metrics.prompt_tokens.inc(piece.prompt_tokens)
            if piece.finish is None:
                (metrics.ttft if first else metrics.per_token).observe(now - last)
                metrics.generated_tokens.inc()
            last, first = now, False
            yield piece


async def _lines(
    pieces: AsyncGenerator[Piece, None], shape: _Shape, *, wants_usage: bool
) -> AsyncGenerator[bytes, None]:
    """The answer as server-sent events. An error in mid-answer is an event too, and then there is no [DONE]."""
    usage = {"usage": None} if wants_usage else {}
    started = False
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                yield event(shape.chunk(piece, first=not started) | usage)
                started = True
    except ClientGone:
        return
    except Refused as refused:
        if not started:
            raise
        yield event(refused.body)
        return
    if wants_usage:
        yield event(shape.envelope | {"choices": [], "usage": _usage(piece)})
    yield DONE


def _usage(piece: Piece) -> dict[str, int]:
    return {
        "prompt_tokens": piece.prompt_tokens, "completion_tokens": piece.tokens,
        "total_tokens": piece.prompt_tokens + piece.tokens,
    }  # fmt: skip


class _Shape:
    """How an answer looks on the wire."""

    id_prefix: str
    object: str
    object_of_chunk: str

    def __init__(self, model: str) -> None:
        head = {"id": f"{self.id_prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}
        self.envelope = {**head, "object": self.object_of_chunk}
        self._head = {**head, "object": self.object}

    def whole(self, text: str, last: Piece) -> dict[str, Any]:
        """The answer in one."""
        choice = {"index": 0, **self._of_text(text), "logprobs": None, "finish_reason": last.finish}
        return {**self._head, "choices": [choice], "usage": _usage(last)}

    def chunk(self, piece: Piece, *, first: bool) -> dict[str, Any]:
        """One piece of it."""
        choice = {"index": 0, **self._of_piece(piece.text, first=first), "finish_reason": piece.finish}
        return {**self.envelope, "choices": [choice]}

    def _of_text(self, text: str) -> dict[str, Any]:
        raise NotImplementedError

    def _of_piece(self, text: str, *, first: bool) -> dict[str, Any]:
        raise NotImplementedError


class _Chat(_Shape):
    id_prefix, object, object_of_chunk = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def _of_text(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}

    def _of_piece(self, text: str, *, first: bool) -> dict[str, Any]:
        return {"delta": {"role": "assistant", "content": text} if first else {"content": text}}


class _Completion(_Shape):
    id_prefix, object, object_of_chunk = "cmpl", "text_completion", "text_completion"

    def _of_text(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def _of_piece(self, text: str, *, first: bool) -> dict[str, Any]:
        return {"text": text}
