"""What a Whisper model is: dimensions, tensors, and the arithmetic of its encoder, decoder and caches. Exact.

The encoder sees windows of 30 s, whatever is said in them; the decoder writes at most `text_context` tokens for each.
Formats: FP32, FP16 and BF16 of PyTorch, INT8 of CTranslate2, and the types of ggml (F16, Q8_0, Q5_0 …). What an engine
adds is its own business; no other family of speech models is described yet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench.errors import UnsupportedModel, UsageError
from workbench.models.architecture import bytes_per_element
from workbench.models.model import Tensor

#: Seconds of sound in a window.
WINDOW_S = 30
ENGLISH_VOCABULARY = 51864
#: Bytes a weight takes; ggml's types are asked of the gguf library.
_PLAIN = {"FP32": 4.0, "FP16": 2.0, "BF16": 2.0, "INT8": 1.0}
#: Formats of whole models; in the others convolutions stay in 16 bits, norms, biases and positions in 32.
_WHOLE = frozenset({"FP32", "FP16", "BF16"})
#: CTranslate2 keeps a scale for each row of an INT8 matrix.
_SCALE_BYTES = 4


@dataclass(frozen=True)
class SpeechModel:
    """A Whisper model: OpenAI's own or one distilled from it.

    mels: bands of the spectrogram; audio_*: the encoder, *_context in frames; text_*: the decoder, text_context in
    tokens. heads are per layer; both stacks have feed-forward layers of four times their width.
    container: what its file is for (ctranslate2, ggml, whisper); made_from: the model in a file that this one can be
    made of.
    """

    name: str
    mels: int
    audio_context: int
    audio_state: int
    audio_heads: int
    audio_layers: int
    vocabulary: int
    text_context: int
    text_state: int
    text_heads: int
    text_layers: int
    source: str
    format: str = "FP16"
    licence: str | None = None
    path: Path | None = None
    container: str = ""
    made_from: SpeechModel | None = None

    @property
    def quantization(self) -> str:
        """The format, by the name that language models have for it."""
        return self.format

    @property
    def multilingual(self) -> bool:
        """Whether it knows other languages than English: the vocabulary of the English models lacks their tokens."""
        return self.vocabulary > ENGLISH_VOCABULARY

    # -- what it holds -----------------------------------------------------------------------------------------

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor under openai-whisper's names; the output is the token embedding once more and is no tensor."""
        shapes = {**_encoder_shapes(self), **_decoder_shapes(self)}
        return tuple(self._tensor(name, shape) for name, shape in shapes.items())

    @property
    def parameters(self) -> int:
        """Number of trained values; the encoder's table of positions is computed."""
        return sum(tensor.elements for tensor in self.tensors if tensor.name != _POSITIONS)

    @property
    def parameters_by_part(self) -> Mapping[str, int]:
        """Parameters of encoder, decoder and token embedding, which sum to all."""
        parts = {"encoder": 0, "decoder": 0, "embedding": 0}
        for tensor in self.tensors:
            if tensor.name != _POSITIONS:
                parts[_part(tensor.name)] += tensor.elements
        return parts

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all tensors in this format."""
        return sum(tensor.bytes for tensor in self.tensors)

    @cached_property
    def decode_read_bytes(self) -> int:
        """Bytes of weights that one step of the decoder reads: all but positions and what made the cross cache."""
        read = (t for t in self.tensors if _part(t.name) != "encoder" and not t.name.startswith("decoder.positional"))
        return sum(t.bytes for t in read if ".cross_attn.key" not in t.name and ".cross_attn.value" not in t.name)

    def _tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        kind = self.format
        if kind not in _WHOLE and (len(shape) != 2 or name in (_POSITIONS, _TEXT_POSITIONS)):
            kind = "FP16" if len(shape) == 3 else "FP32"  # only matrices are quantized
        elements = math.prod(shape)
        scales = shape[-1] * _SCALE_BYTES if kind == "INT8" else 0
        return Tensor(name, kind, shape, elements, round(elements * _bytes_per_weight(kind)) + scales)

    # -- what it caches ----------------------------------------------------------------------------------------

    def cross_cache_bytes(self, value_bytes: float = 2.0, frames: int | None = None) -> float:
        """Keys and values of one window's sound, in all layers of the decoder."""
        return 2 * self.text_layers * (frames or self.audio_context) * self.text_state * value_bytes

    def self_cache_bytes(self, tokens: int | None = None, value_bytes: float = 2.0) -> float:
        """Keys and values of one beam's tokens (all it can have, when not given), in all layers of the decoder."""
        return 2 * self.text_layers * (self.text_context if tokens is None else tokens) * self.text_state * value_bytes

    # -- what it computes --------------------------------------------------------------------------------------

    @cached_property
    def encoder_flops(self) -> float:
        """Operations for one window: convolutions, both stacks' share of it, and attention."""
        frames, width = self.audio_context, self.audio_state
        convolutions = 2 * 2 * frames * 3 * self.mels * width + 2 * frames * 3 * width**2
        layers = 2 * self.audio_layers * 12 * width**2 * frames
        cross_cache = 2 * self.text_layers * 2 * width * self.text_state * frames
        return convolutions + layers + cross_cache + 4 * frames**2 * width * self.audio_layers

    @property
    def encoder_scores(self) -> int:
        """Attention scores that one window asks for, in all layers of the encoder."""
        return self.audio_layers * self.audio_heads * self.audio_context**2

    @cached_property
    def decoder_flops(self) -> float:
        """Operations for one token of one beam, without attention to earlier tokens."""
        matrices = 14 * self.text_state**2 * self.text_layers + self.vocabulary * self.text_state
        return 2 * matrices + 4 * self.text_layers * self.audio_context * self.text_state


_POSITIONS, _TEXT_POSITIONS = "encoder.positional_embedding", "decoder.positional_embedding"


def _part(name: str) -> str:
    return "embedding" if name == "decoder.token_embedding.weight" else name.split(".", 1)[0]


def _bytes_per_weight(kind: str) -> float:
    return _PLAIN[kind] if kind in _PLAIN else bytes_per_element(kind)


def _encoder_shapes(m: SpeechModel) -> dict[str, tuple[int, ...]]:
    """Names and shapes, fastest dimension first."""
    width = m.audio_state
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (3, m.mels, width), "encoder.conv1.bias": (width,),
        "encoder.conv2.weight": (3, width, width), "encoder.conv2.bias": (width,),
        _POSITIONS: (width, m.audio_context),
    }  # fmt: skip
    for layer in range(m.audio_layers):
        shapes |= _block_shapes(f"encoder.blocks.{layer}", width, ("attn",))
    return shapes | _norm_shapes("encoder.ln_post", width)


def _decoder_shapes(m: SpeechModel) -> dict[str, tuple[int, ...]]:
    width = m.text_state
    shapes: dict[str, tuple[int, ...]] = {
        "decoder.token_embedding.weight": (width, m.vocabulary), _TEXT_POSITIONS: (width, m.text_context),
    }  # fmt: skip
    for layer in range(m.text_layers):
        shapes |= _block_shapes(f"decoder.blocks.{layer}", width, ("attn", "cross_attn"))
    return shapes | _norm_shapes("decoder.ln", width)


def _block_shapes(prefix: str, width: int, attentions: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for attention in attentions:
        for role in ("query", "key", "value", "out"):
            shapes[f"{prefix}.{attention}.{role}.weight"] = (width, width)
            if role != "key":  # Whisper's keys have no bias
                shapes[f"{prefix}.{attention}.{role}.bias"] = (width,)
        shapes |= _norm_shapes(f"{prefix}.{attention}_ln", width)
    inner = 4 * width
    shapes |= {
        f"{prefix}.mlp.0.weight": (width, inner), f"{prefix}.mlp.0.bias": (inner,),
        f"{prefix}.mlp.2.weight": (inner, width), f"{prefix}.mlp.2.bias": (width,),
    }  # fmt: skip
    return shapes | _norm_shapes(f"{prefix}.mlp_ln", width)


def _norm_shapes(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.weight": (width,), f"{prefix}.bias": (width,)}


# -- from a configuration --------------------------------------------------------------------------------------

#: Field of SpeechModel → key of a config.json on the Hub.
_KEYS = {
    "mels": "num_mel_bins", "audio_context": "max_source_positions", "audio_state": "d_model",
    "audio_heads": "encoder_attention_heads", "audio_layers": "encoder_layers", "vocabulary": "vocab_size",
    "text_context": "max_target_positions", "text_state": "d_model", "text_heads": "decoder_attention_heads",
    "text_layers": "decoder_layers",
}  # fmt: skip


def from_config(config: Mapping[str, Any], name: str, source: str, *, licence: str | None = None) -> SpeechModel:
    """The model of a config.json; raises UnsupportedModel when it is no Whisper model or lacks a dimension."""
    if config.get("model_type") != "whisper":
        raise UnsupportedModel(
            f"{name} is a {config.get('model_type')!r} model; only Whisper models are described.",
            fix="Choose a Whisper model, or one distilled from it.",
        )
    values: dict[str, Any] = {field: config.get(key) for field, key in _KEYS.items()}
    for field, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UnsupportedModel(f"{name}: {_KEYS[field]} is {value!r}, expected a whole number above 0.")
    inner = {key: config.get(key) for key in ("encoder_ffn_dim", "decoder_ffn_dim")}
    if any(width != 4 * config["d_model"] for width in inner.values() if width is not None):
        raise UnsupportedModel(f"{name}: its feed-forward layers are {inner}, not four times {config['d_model']} wide.")
    return SpeechModel(name=name, source=source, licence=licence, **values)


def in_format(model: SpeechModel, format_name: str) -> SpeechModel:
    """The same model in another format, described; raises UsageError for a format nobody knows."""
    known = format_name.upper()
    if known == model.format:
        return model
    try:
        _bytes_per_weight(known)
    except UsageError as error:
        raise UsageError(
            f"There is no format called {format_name!r} for speech models.",
            fix=f"Known: {', '.join(_PLAIN)} and the types of ggml, such as F16, Q8_0 and Q5_0.",
        ) from error
    return replace(model, format=known, path=None, made_from=model if model.path else model.made_from)
