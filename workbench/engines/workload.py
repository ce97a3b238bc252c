"""The requests that predictions and measurements speak of, so that both speak of the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of request: a prompt of `prompt_tokens` and an answer of `answer_tokens`."""

    prompt_tokens: int
    answer_tokens: int

    @property
    def decode_depth(self) -> int:
        """Tokens in the cache halfway through the answer."""
        return self.prompt_tokens + self.answer_tokens // 2

    def within(self, context: int) -> Workload:
        """The same request, cut to what a context of `context` tokens can hold."""
        answer = min(self.answer_tokens, context // 2)
        return Workload(min(self.prompt_tokens, context - answer), answer)


CHAT = Workload(prompt_tokens=256, answer_tokens=64)
