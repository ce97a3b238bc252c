"""One measured request: a prompt of a known number of tokens, an answer of a fixed length, timed at the client.

The prompt is a row of random single letters: each is one token in the tokenizers of today's language models, so that
a prompt of any length can be made without the tokenizer. The server's own count is read back and corrects it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.deployment import Deployment, failures
from workbench.errors import NotMeasurable

LETTERS = "abcdefghijklmnopqrstuvwxyz"


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
    from workbench.deployment.stream import reasoning_in  # it loads the client

    chooser = random.Random(seed)  # noqa: S311 - a prompt, not a secret
    prompt = " ".join(chooser.choices(LETTERS, k=max(1, prompt_tokens)))
    create: Any = deployment.client.chat.completions.create
    begin = time.perf_counter()
    first = last = usage = None
    stream = create(
        model=deployment.endpoint.served_model, messages=[{"role": "user", "content": prompt}], stream=True,
        max_tokens=answer_tokens, temperature=0, stream_options={"include_usage": True}, extra_body=dict(options),
    )  # fmt: skip
    with stream:
        for chunk in stream:
            if chunk.choices:
                last = time.perf_counter()  # a token without visible text counts too
                delta = chunk.choices[0].delta
                first = first or (last if delta.content or reasoning_in(delta) else None)
            usage = chunk.usage or usage
    if first is None or last is None or usage is None:
        raise failures.cut_short(deployment.state)
    if last == first or usage.completion_tokens < 2:
        raise NotMeasurable(
            f"The server sent {usage.completion_tokens} tokens of its answer at once: decode cannot be timed.",
            fix="Turn off whatever buffers its stream.",
        )
    return Sample(first - begin, last - first, usage.prompt_tokens, usage.completion_tokens)


def template_overhead(deployment: Deployment) -> int:
    """Tokens that the chat template adds around a prompt, by the server's own count."""
    letters = LETTERS[:16]
    answer = deployment.client.chat.completions.create(
        model=deployment.endpoint.served_model, messages=[{"role": "user", "content": " ".join(letters)}], max_tokens=1
    )
    if answer.usage is None:
        raise NotMeasurable("The server does not say how many tokens a prompt has.", fix="Measure another engine.")
    return answer.usage.prompt_tokens - len(letters)
