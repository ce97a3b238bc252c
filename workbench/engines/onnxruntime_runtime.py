"""ONNX Runtime GenAI in this process: a folder of its model builder, loaded and asked for tokens.

A prompt is taken in parts, so that others get their turn. Facts about its search options: onnxruntime-genai 0.18.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime_genai as og

from workbench.engines.contract import Settings
from workbench.engines.onnxruntime_library import Generator as Computed
from workbench.engines.onnxruntime_library import Model
from workbench.engines.onnxruntime_memory import PART_TOKENS
from workbench.engines.runtime import Sampling, TextRuntime, Token
from workbench.errors import BadModelFile, UsageError

_SEEDS = 2**31


class OnnxTextRuntime(TextRuntime):
    """One model; each answer has a generator, and so a cache, of its own."""

    def __init__(self, path: Path, settings: Settings) -> None:
        described = _described(path)
        self.vocabulary = int(described["vocab_size"])
        self.context = settings.context
        self._model = Model(path, _overlay(settings))
        self._tokenizer = og.Tokenizer(str(path))
        self._ends = frozenset(int(token) for token in self._tokenizer.eos_token_ids)
        self._reserve(settings.concurrency)

    def chat_tokens(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """By the template that lies beside the model."""
        try:
            text = self._tokenizer.apply_chat_template(json.dumps(list(messages)), add_generation_prompt=True)
        except Exception as error:
            raise UsageError(f"The model's chat template refuses these messages: {error}.") from error
        return self._tokens(text, begins=False)

    def text_tokens(self, text: str) -> list[int]:
        """With what the tokenizer puts before a text; a chat template says that itself."""
        return self._tokens(text, begins=True)

    def _tokens(self, text: str, *, begins: bool) -> list[int]:
        """The tokenizer takes a text up to its first NUL: one that has any is refused, not cut."""
        if "\0" in text:
            raise UsageError(
                f"The text has a NUL character at {text.index(chr(0))}; this engine would read no further.",
                fix="Take it out.",
            )
        self._tokenizer.update_options(add_special_tokens=str(begins).lower())  # a second tokenizer takes 30 MiB
        tokens: list[int] = self._tokenizer.encode(text).tolist()
        return tokens

    def generate(
        self, prompt: Sequence[int], sampling: Sampling, max_tokens: int
    ) -> Generator[Token | None, None, None]:
        """The cache is as long as prompt and answer may get."""
        computed = Computed(self._model, _search(sampling, len(prompt) + max_tokens))
        text = self._tokenizer.create_stream()
        for begin in range(0, len(prompt), PART_TOKENS):
            if begin:
                yield None
            computed.append(prompt[begin : begin + PART_TOKENS])
        for _ in range(max_tokens):
            token = computed.next()
            if computed.is_done and token in self._ends:
                return
            yield Token(token, text.decode(token))

    def _reserve(self, count: int) -> None:
        """Take the memory of that many full caches now, not in mid-service; ONNX Runtime keeps what it was given."""
        held = [Computed(self._model, {"max_length": self.context}) for _ in range(count)]
        for computed in held:
            computed.append([0])


def _described(path: Path) -> dict[str, Any]:
    """What the builder wrote about the model; raises BadModelFile."""
    try:
        found: dict[str, Any] = json.loads((path / "genai_config.json").read_text())["model"]
    except (OSError, ValueError, KeyError) as error:
        raise BadModelFile(
            f"{path} is no folder of ONNX Runtime GenAI's model builder: {error}.", fix="Convert the model again."
        ) from error
    return found


def _overlay(settings: Settings) -> dict[str, Any]:
    """What the settings change of the folder's own configuration."""
    return {"model": {"decoder": {"session_options": {"intra_op_num_threads": settings.threads}}}}


def _search(sampling: Sampling, length: int) -> dict[str, Any]:
    """Search options. The end of text is ignored by asking for the whole length."""
    options: dict[str, Any] = {"max_length": length, "min_length": length if sampling.ignore_eos else 0}
    if sampling.temperature == 0:
        return {**options, "do_sample": False}
    seed = secrets.randbelow(_SEEDS) if sampling.seed is None else sampling.seed % _SEEDS
    return {
        **options, "do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p,
        "top_k": sampling.top_k, "random_seed": seed,
    }  # fmt: skip
