"""Hugging Face Transformers in this process: a folder of safetensors, loaded and asked for tokens one step at a time.

The library's own `generate` owns its loop; here each step is one call, so that several answers can be advanced in turns
and any of them ended between two tokens. Choosing a token is greedy, or sampled from the likeliest (top-k, top-p).
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as _transformers
from tokenizers.decoders import DecodeStream

from workbench.engines.contract import Settings
from workbench.engines.runtime import Sampling, TextRuntime, Token
from workbench.engines.torch_device import torch_device
from workbench.engines.transformers_memory import PART_TOKENS
from workbench.errors import UsageError

transformers: Any = _transformers  # its types name less than it has


class TransformersRuntime(TextRuntime):
    """One model; each answer has a cache of its own."""

    def __init__(self, path: Path, settings: Settings) -> None:
        transformers.utils.logging.set_verbosity_error()
        self.context, self._settings = settings.context, settings
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        self._model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            path, dtype="auto", device_map=_device(settings), quantization_config=quantization(settings.format),
            attn_implementation="sdpa", trust_remote_code=False,
        )  # fmt: skip
        self.vocabulary = int(self._model.get_input_embeddings().num_embeddings)
        self._ends = _ends(self._model, self._tokenizer)

    def chat_tokens(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """By the template that lies beside the model."""
        if not self._tokenizer.chat_template:
            raise UsageError("The model has no chat template.", fix="Ask for a completion of a text instead.")
        try:
            text = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        except Exception as error:
            raise UsageError(f"The model's chat template refuses these messages: {error}.") from error
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens

    def text_tokens(self, text: str) -> list[int]:
        """With what the tokenizer puts before a text."""
        tokens: list[int] = self._tokenizer(text)["input_ids"]
        return tokens

    def generate(
        self, prompt: Sequence[int], sampling: Sampling, max_tokens: int
    ) -> Generator[Token | None, None, None]:
        """The cache grows with the answer."""
        cache = transformers.DynamicCache(config=self._model.config)
        chooser = _Chooser(sampling, without=self._ends if sampling.ignore_eos else ())
        text = _Text(self._tokenizer.backend_tokenizer, prompt)
        logits = None
        for begin in range(0, len(prompt), PART_TOKENS):
            logits = self._step(prompt[begin : begin + PART_TOKENS], cache, self._settings.prefill_threads)
            yield None
        for number in range(max_tokens):
            token = chooser.next(logits)
            if token in self._ends:
                return
            yield Token(token, text.push(token))
            if number + 1 < max_tokens:
                logits = self._step([token], cache, self._settings.threads)

    def _step(self, tokens: Sequence[int], cache: Any, threads: int) -> Any:
        """Logits after these tokens, shape (vocabulary,), in 32 bits."""
        torch.set_num_threads(threads)  # of this thread, and only OpenMP's own number: it costs nothing
        with torch.inference_mode():
            ids = torch.tensor([list(tokens)], device=self._model.device)
            found = self._model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            return found.logits[0, -1].float()


class _Text:
    """The text of tokens as they come. The end of the prompt tells whether a first word begins with a space."""

    def __init__(self, tokenizer: Any, prompt: Sequence[int]) -> None:
        self._tokenizer, self._stream = tokenizer, DecodeStream(ids=list(prompt[-16:]), skip_special_tokens=True)

    def push(self, token: int) -> str:
        """What became certain with this token."""
        try:
            return self._stream.step(self._tokenizer, token) or ""
        except Exception:  # noqa: BLE001 - the library gives up at bytes that are no character; the answer goes on
            self._stream = DecodeStream(skip_special_tokens=True)
            return self._stream.step(self._tokenizer, token) or ""


class _Chooser:
    """Takes the next token of one answer, never one of `without`; the same seed takes the same ones."""

    def __init__(self, sampling: Sampling, without: Collection[int] = ()) -> None:
        self._without = torch.tensor(sorted(without), dtype=torch.long)
        self._sampling, self._random = sampling, torch.Generator()
        self._random.manual_seed(sampling.seed) if sampling.seed is not None else self._random.seed()

    def next(self, logits: Any) -> int:
        """One token from logits of shape (vocabulary,)."""
        wanted = self._sampling
        if len(self._without):
            logits = logits.index_fill(0, self._without.to(logits.device), -torch.inf)
        if wanted.temperature == 0:
            return int(logits.argmax())
        chances = torch.softmax(logits.cpu() / wanted.temperature, dim=-1)
        if wanted.top_k == 0 and wanted.top_p >= 1:
            return int(torch.multinomial(chances, 1, generator=self._random))
        likeliest, ids = chances.topk(min(wanted.top_k or chances.numel(), chances.numel()))
        before = likeliest.cumsum(-1) - likeliest  # the first one always stays
        kept = likeliest.where(before < wanted.top_p, 0.0)
        return int(ids[torch.multinomial(kept, 1, generator=self._random)])


def quantization(format_name: str) -> Any:
    """How bitsandbytes quantizes while the model is loaded; None for weights that stay as they lie."""
    configured = transformers.BitsAndBytesConfig
    kinds = {"NF4": ("nf4", False), "NF4-DQ": ("nf4", True), "FP4": ("fp4", False)}
    if format_name == "LLM.int8":
        return configured(load_in_8bit=True)
    if format_name not in kinds:
        return None
    kind, twice = kinds[format_name]
    return configured(
        load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=twice,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip


def _device(settings: Settings) -> str:
    """accelerate's word for where the model goes."""
    return "auto" if len(settings.devices) > 1 else torch_device(settings)


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer, as model and tokenizer name them."""
    named = [model.generation_config.eos_token_id, tokenizer.eos_token_id]
    return frozenset(one for name in named for one in (name if isinstance(name, list) else [name]) if one is not None)
