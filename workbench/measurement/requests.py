"""One measured request: a prompt of a known number of tokens, an answer of a fixed length, timed at the client.

The prompt is a row of random single letters: each is one token in the tokenizers of today's language models, so that
a prompt of any length can be made without the tokenizer. The server's own count is read back and corrects it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from workbench.deployment import Deployment
from workbench.errors import NotMeasurable
from workbench.measurement.answers import ask

LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: Of an answer that the model ended itself; the rate of fewer tokens is that of the network as much as of the engine.
LEAST_TOKENS: Final = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """One request as the client saw it: seconds to the first token and from the first to the last, and token counts."""

    ttft_s: float
    decode_s: float
    prompt_tokens: int
    answer_tokens: int

    @property
    def prefill_tok_per_s(self) -> float:
        """Prompt tokens per second until the first token came."""
        return self.prompt_tokens / self.ttft_s

    @property
    def tpot_s(self) -> float:
        """Seconds per output token after the first."""
        return self.decode_s / (self.answer_tokens - 1)


def run_request(
    deployment: Deployment, prompt_tokens: int, answer_tokens: int, *, seed: int, options: Mapping[str, object]
) -> Sample:
    """Send one prompt of about `prompt_tokens` tokens and time the answer of `answer_tokens`.

    options: what the engine needs so that the same prompt costs the same twice and the answer has full length.
    """
    chooser = random.Random(seed)  # noqa: S311 - a prompt, not a secret
    prompt = " ".join(chooser.choices(LETTERS, k=max(1, prompt_tokens)))
    answer = ask(deployment, prompt, max_tokens=answer_tokens, temperature=0, extra_body=dict(options))
    if answer.tokens is None or answer.prompt_tokens is None:
        raise NotMeasurable("The server does not say how many tokens there were.", fix="Measure another engine.")
    if answer.ttft_s is None:  # ends of text and the like, one after the other
        raise NotMeasurable(
            f"The model answered with {answer.tokens} tokens that have no text: nothing can be timed.",
            fix="Measure it on another engine, or in another format.",
        )
    if answer.tokens < 2 or len(answer.pieces) < 2 or answer.decode_s <= 0:
        raise NotMeasurable(
            f"The server sent {answer.tokens} tokens of its answer at once: decode cannot be timed.",
            fix="Turn off whatever buffers its stream.",
        )
    return Sample(answer.ttft_s, answer.decode_s, answer.prompt_tokens, answer.tokens)


def long_enough(sample: Sample, asked: int) -> Sample:
    """The sample; raises NotMeasurable where the model ended its answer too soon. asked: tokens that it should have."""
    if sample.answer_tokens < min(asked, LEAST_TOKENS):
        raise NotMeasurable(
            f"The model ended its answer after {sample.answer_tokens} of {asked} tokens: too few to time.",
            fix="Measure it on an engine that can be told to go on, such as llama.cpp.",
        )
    return sample


def template_overhead(deployment: Deployment) -> int:
    """Tokens that the chat template adds around a prompt, by the server's own count."""
    letters = LETTERS[:16]
    tokens = ask(deployment, " ".join(letters), max_tokens=1).prompt_tokens
    if tokens is None:
        raise NotMeasurable("The server does not say how many tokens a prompt has.", fix="Measure another engine.")
    return tokens - len(letters)
