"""Turns the header of a GGUF file into a Model. Whether an engine can run the model is not judged here.

Key names come from the `gguf` library, so that they are written down once, by the people who define them.
"""

from __future__ import annotations

import struct
from pathlib import Path

from workbench.errors import BadModelFile, UnsupportedModel
from workbench.models.gguf_header import Header, Skipped, Value, read_header
from workbench.models.model import Architecture, Model, Tensor

_MAX_LAYERS = 2**14
_ANOTHER = "Get another file of the model."

# Every n-th layer attends to everything, the others slide. For these architectures the number is in llama.cpp's code
# (src/llama-model.cpp, set_swa_pattern), not in the file.
_FULL_ATTENTION_EVERY = {"gemma2": 2, "gemma3": 6, "gpt-oss": 2, "cohere2": 4}


def read(path: Path, *, name: str | None = None, source: str = "", sha256: str | None = None) -> Model:
    """Read what the model at `path` is, from its header alone.

    Raises UsageError (no such file), BadModelFile (damaged, or no language model), UnsupportedModel (split files).
    """
    try:
        header = read_header(path)
        return _model(path, header, name, source or f"file {path}", sha256)
    except (struct.error, OverflowError) as error:  # should a check be missing: still one sentence
        raise BadModelFile(f"{path} is not a sound GGUF file: {error}.", fix=_ANOTHER) from error


def _model(path: Path, header: Header, name: str | None, source: str, sha256: str | None) -> Model:
    from gguf.constants import Keys

    facts = _Facts(path, header)
    facts.refuse_parts()
    return Model(
        name=name or facts.text(Keys.General.NAME) or path.stem,
        path=path,
        architecture=_architecture(facts),
        tensors=header.tensors,
        file_bytes=header.file_bytes,
        quantization=_quantization(facts),
        source=source,
        licence=facts.text(Keys.General.LICENSE),
        chat_template=facts.text(Keys.Tokenizer.CHAT_TEMPLATE),
        sha256=sha256,
    )


class _Facts:
    """The values of one header, asked for by key; `{arch}` in a key stands for the architecture."""

    def __init__(self, path: Path, header: Header) -> None:
        from gguf.constants import Keys

        self.path, self.header = path, header
        self.tensors = {tensor.name: tensor for tensor in header.tensors}
        name = self._value(Keys.General.ARCHITECTURE)
        if not isinstance(name, str) or not name:
            raise BadModelFile(f"{path} does not say which architecture it holds.", fix=_ANOTHER)
        self.architecture = name

    def _value(self, key: str) -> Value | None:
        return self.header.values.get(key.format(arch=getattr(self, "architecture", "")))

    def refuse_parts(self) -> None:
        """Refuse files that hold a part of a model."""
        parts = self._value("split.count")
        if isinstance(parts, int) and parts > 1:
            raise UnsupportedModel(f"{self.path} is one of {parts} files of a split model.",
                                   fix="Join them: llama-gguf-split --merge FIRST.gguf WHOLE.gguf")  # fmt: skip
        if all(tensor.is_computed for tensor in self.tensors.values()):
            raise BadModelFile(f"{self.path} holds no weights, only a header or a vocabulary.", fix=_ANOTHER)

    def text(self, key: str) -> str | None:
        value = self._value(key)
        return value if isinstance(value, str) else None

    def count(self, key: str) -> int | None:
        """Length of an array, kept or skipped."""
        value = self._value(key)
        if isinstance(value, Skipped):
            return value.count
        return len(value) if isinstance(value, tuple) else None

    def numbers(self, key: str) -> tuple[int, ...]:
        """One number, or one per layer; empty when the key is missing."""
        value = self._value(key)
        if value is None:
            return ()
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(one, float | str | Skipped) or not 0 <= one < 2**32 for one in numbers):
            self.bad(f"{key.format(arch=self.architecture)} is {value!r}")
        return tuple(int(one) for one in numbers if not isinstance(one, str | Skipped))

    def number(self, key: str, default: int | None = None) -> int:
        """One number, the largest where layers differ; required when there is no default."""
        numbers = self.numbers(key)
        if not numbers and default is None:
            self.bad(f"{key.format(arch=self.architecture)} is missing; it may hold an adapter or a projector instead")
        return max(numbers, default=default or 0)

    def per_layer(self, key: str, layers: int) -> tuple[int, ...]:
        """One number per layer where layers differ; empty where they are alike."""
        numbers = self.numbers(key)
        if len(set(numbers)) < 2:
            return ()
        if len(numbers) != layers:
            self.bad(f"{key.format(arch=self.architecture)} has {len(numbers)} numbers for {layers} layers")
        return numbers

    def bad(self, what: str) -> None:
        """Raise BadModelFile."""
        raise BadModelFile(f"{self.path} is not a sound language model: {what}.", fix=_ANOTHER)


def _architecture(facts: _Facts) -> Architecture:
    from gguf.constants import Keys

    layers, hidden = facts.number(Keys.LLM.BLOCK_COUNT), facts.number(Keys.LLM.EMBEDDING_LENGTH)
    if not 0 < layers <= _MAX_LAYERS or not hidden:
        facts.bad(f"it claims {layers} layers of {hidden} values")
    heads = facts.number(Keys.Attention.HEAD_COUNT, default=0)  # 0: a recurrent model
    head_length = hidden // heads if heads else 0
    experts, used = (facts.number(key, default=0) for key in (Keys.LLM.EXPERT_COUNT, Keys.LLM.EXPERT_USED_COUNT))
    if used > experts:
        facts.bad(f"it claims to use {used} of {experts} experts")
    window = facts.number(Keys.Attention.SLIDING_WINDOW, default=0) or None
    return Architecture(
        name=facts.architecture,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=facts.number(Keys.Attention.HEAD_COUNT_KV, default=heads),
        key_length=facts.number(Keys.Attention.KEY_LENGTH, default=head_length),
        value_length=facts.number(Keys.Attention.VALUE_LENGTH, default=head_length),
        feed_forward=facts.number(Keys.LLM.FEED_FORWARD_LENGTH, default=_feed_forward_rows(facts)),
        vocabulary=_vocabulary(facts),
        context_length=facts.number(Keys.LLM.CONTEXT_LENGTH),
        tied_embeddings="output.weight" not in facts.tensors,
        merges=facts.count(Keys.Tokenizer.MERGES) or 0,
        experts=experts,
        experts_used=used,
        expert_feed_forward=facts.number(Keys.LLM.EXPERT_FEED_FORWARD_LENGTH, default=0),
        sliding_window=window,
        windowed=_windowed(facts, layers) if window else (),
        kv_heads_per_layer=facts.per_layer(Keys.Attention.HEAD_COUNT_KV, layers),
        feed_forward_per_layer=facts.per_layer(Keys.LLM.FEED_FORWARD_LENGTH, layers),
        # Newer files of such models store the length before compression too; older ones cache every head in full.
        latent_cache=bool(facts.numbers(Keys.Attention.KV_LORA_RANK) and facts.numbers(Keys.Attention.KEY_LENGTH_MLA)),
    )


def _feed_forward_rows(facts: _Facts) -> int:
    """Length of the inner feed-forward vector by the tensors; 0 where a model has no such layer."""
    sizes = (t.shape[1] for t in facts.header.tensors if t.name.endswith("ffn_up.weight") and len(t.shape) > 1)
    return max(sizes, default=0)


def _vocabulary(facts: _Facts) -> int:
    """Rows of the embedding table, which is what logits are computed for; tokenizers may name fewer tokens."""
    from gguf.constants import Keys

    table: Tensor | None = facts.tensors.get("token_embd.weight")
    if table is not None and len(table.shape) == 2:
        return table.shape[1]
    return facts.number(Keys.LLM.VOCAB_SIZE, default=facts.count(Keys.Tokenizer.LIST))


def _windowed(facts: _Facts, layers: int) -> tuple[bool, ...]:
    """Which layers slide, where the file or llama.cpp says so; empty when unknown."""
    from gguf.constants import Keys

    pattern = facts.numbers(Keys.Attention.SLIDING_WINDOW_PATTERN)
    if len(pattern) == layers and layers > 1:
        return tuple(map(bool, pattern))
    every = pattern[0] if len(pattern) == 1 else _FULL_ATTENTION_EVERY.get(facts.architecture, 0)
    return tuple(layer % every < every - 1 for layer in range(layers)) if every else ()


def _quantization(facts: _Facts) -> str:
    """The file's own name for its mix of types, or the type most of its bytes have."""
    from gguf.constants import Keys, LlamaFileType

    (number,) = facts.numbers(Keys.General.FILE_TYPE) or (LlamaFileType.GUESSED,)
    known = {int(kind): kind.name for kind in LlamaFileType if kind is not LlamaFileType.GUESSED}
    if number in known:
        return known[number].removeprefix("MOSTLY_").removeprefix("ALL_")
    return max(facts.header.tensors, key=lambda tensor: tensor.bytes).type
