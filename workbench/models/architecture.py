"""Arithmetic on an architecture: bytes of KV cache and of recurrent state. Exact, and free of any engine's habits.

What an engine adds (padding, pages, compute buffers) is the engine's own business. Formula: the attention cache of
grouped-query models is layers × KV heads × (key + value length) × bytes.
"""

from __future__ import annotations

from collections.abc import Collection

from workbench.errors import UsageError
from workbench.models.model import Architecture


def bytes_per_element(type_name: str) -> float:
    """Bytes one value takes in a ggml type such as f16 (2) or q8_0 (34/32); raises UsageError for an unknown type."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        elements, size_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[type_name.upper()]]
    except KeyError:
        known = ", ".join(sorted(kind.name.lower() for kind in GGML_QUANT_SIZES))
        raise UsageError(f"There is no tensor type called {type_name!r}.", fix=f"Known: {known}.") from None
    return size_bytes / elements


def kv_heads_by_layer(architecture: Architecture) -> tuple[int, ...]:
    """KV heads of each layer, first layer first; 0 for layers without attention."""
    return architecture.kv_heads_per_layer or (architecture.kv_heads,) * architecture.layers


def kv_bytes_per_token_by_layer(
    architecture: Architecture, key_bytes: float = 2.0, value_bytes: float | None = None
) -> tuple[float, ...]:
    """Bytes one token takes in the cache of each layer.

    key_bytes, value_bytes: bytes per cached value (see `bytes_per_element`); values as keys when not given.
    """
    key = architecture.key_length * key_bytes
    value = architecture.value_length * (key_bytes if value_bytes is None else value_bytes)
    per_head = key if architecture.latent_cache else key + value
    return tuple(heads * per_head for heads in kv_heads_by_layer(architecture))


def kv_bytes_per_token(architecture: Architecture, key_bytes: float = 2.0, value_bytes: float | None = None) -> float:
    """Bytes one token takes in the cache of all layers, as long as no layer has reached its sliding window."""
    return sum(kv_bytes_per_token_by_layer(architecture, key_bytes, value_bytes))


def kv_bytes(
    architecture: Architecture,
    tokens: int,
    key_bytes: float = 2.0,
    value_bytes: float | None = None,
    *,
    window_tokens: int | None = None,
    layers: Collection[int] | None = None,
) -> float:
    """Bytes of cache for one sequence of `tokens` tokens, in these layers or in all.

    Layers known to slide keep `window_tokens` at most (the model's own window when not given; engines keep a little
    more). Where the file does not say which layers slide, all are counted in full: an upper bound.
    """
    window = architecture.sliding_window if window_tokens is None else window_tokens
    kept = tokens if window is None else min(tokens, window)
    windowed = architecture.windowed or (False,) * architecture.layers
    per_layer = kv_bytes_per_token_by_layer(architecture, key_bytes, value_bytes)
    sizes = [size * (kept if slides else tokens) for size, slides in zip(per_layer, windowed, strict=True)]
    return sum(sizes) if layers is None else sum(sizes[layer] for layer in layers)


def recurrent_bytes(
    architecture: Architecture, value_bytes: float = 4.0, layers: Collection[int] | None = None
) -> float:
    """Bytes that the recurrent layers keep for one sequence of any length, in these layers or in all."""
    per_layer = architecture.recurrent_values_per_layer
    return value_bytes * sum(count for layer, count in enumerate(per_layer) if layers is None or layer in layers)
