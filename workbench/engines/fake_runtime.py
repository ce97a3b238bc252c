"""The fake engine as a library: a runtime with scripted answers for tests of the server that hosts libraries.

Its tokens are words: deterministic, and as quick as the script says. It never backs a claim about an engine.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence

from workbench.engines.fake_server import Script
from workbench.engines.runtime import Sampling, TextRuntime, Token
from workbench.errors import UsageError


class FakeRuntime(TextRuntime):
    """Answers with the words of the script, over and over. open: iterators that hold something; served: all tokens.

    A token of a prompt is a word of it. With `die_after_tokens` an answer fails after that many tokens.
    """

    vocabulary = 1000

    def __init__(self, script: Script, context: int) -> None:
        self.script, self.context = script, context
        self.words = [f"{word} " for word in script.words.split()]
        self.open = self.served = 0
        time.sleep(script.load_s)

    def chat_tokens(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """As many tokens as there are words."""
        if messages[0]["role"] == "assistant":
            raise UsageError("The template wants the user to speak first.", fix="Begin with a user's message.")
        return self.text_tokens(" ".join(message["content"] for message in messages))

    def text_tokens(self, text: str) -> list[int]:
        """One token for each word."""
        return [len(word) % self.vocabulary for word in text.split()]

    def generate(
        self, prompt: Sequence[int], sampling: Sampling, max_tokens: int
    ) -> Generator[Token | None, None, None]:
        """The words of the script, once; again and again if the end is to be ignored. Then nothing more."""
        self.open += 1
        try:
            yield None
            for index in range(max_tokens):
                if index == self.script.die_after_tokens:
                    raise RuntimeError("the script says so")
                if index >= len(self.words) and not sampling.ignore_eos:
                    return
                time.sleep(self.script.token_s)
                self.served += 1
                yield Token(index % len(self.words), self.words[index % len(self.words)])
        finally:
            self.open -= 1
