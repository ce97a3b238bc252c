"""Answers with the times at which they came, as whoever reads them sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.deployment import Deployment

if TYPE_CHECKING:
    from workbench.deployment.stream import Stream


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as far as it came.

    pieces: the texts in which it came, most often one for each token; ttft_s: from the question to the first of them;
    decode_s: from the first to the last, or to the end; finish_reason: as the server says it, None where the answer
    has no end. The counts are the server's own, None where it did not say: tokens of the answer, of the prompt, and
    those of the prompt that it still had from an earlier request.
    """

    pieces: tuple[str, ...] = ()
    ttft_s: float | None = None
    decode_s: float = 0.0
    finish_reason: str | None = None
    tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int = 0

    @property
    def text(self) -> str:
        """All pieces together."""
        return "".join(self.pieces)

    @property
    def pieces_per_s(self) -> float | None:
        """Pieces per second after the first one."""
        return self._rate(len(self.pieces))

    @property
    def tok_per_s(self) -> float | None:
        """Tokens per second after the first one; None until the server said how many there were."""
        return self._rate(self.tokens)

    def _rate(self, count: int | None) -> float | None:
        return (count - 1) / self.decode_s if count and count > 1 and self.decode_s > 0 else None


def answers(stream: Stream, clock: Callable[[], float] = time.perf_counter) -> Iterator[Answer]:
    """The growing answer: once for each piece, and once more with what the server says of the whole."""
    begin, answer = clock(), Answer()
    first = begin
    for piece in stream:
        now = clock()
        first = first if answer.pieces else now
        answer = Answer((*answer.pieces, piece), first - begin, now - first)
        yield answer
    yield _ended(answer, stream, clock() - first)


def _ended(answer: Answer, stream: Stream, decode_s: float) -> Answer:
    """The whole answer. Its last token may have had no text: it ends when the server says so."""
    if stream.finish_reason is None:
        return answer
    answer = replace(answer, finish_reason=stream.finish_reason, decode_s=decode_s if answer.pieces else 0.0)
    if (usage := stream.usage) is None:
        return answer
    return replace(
        answer, tokens=usage.completion_tokens, prompt_tokens=usage.prompt_tokens, cached_tokens=usage.cached_tokens
    )  # fmt: skip


def ask(deployment: Deployment, prompt: str | Sequence[dict[str, str]], **options: Any) -> Answer:
    """The whole answer to a prompt; options: those of `Deployment.stream`."""
    with deployment.stream(prompt, **options) as stream:
        *_, answer = answers(stream)
    return answer
