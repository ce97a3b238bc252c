"""Arithmetic on an architecture: bytes of KV cache, numbers of parameters. Exact, and free of any engine's habits.

What an engine adds (padding, pages, compute buffers) is the engine's own business. Formulas: the attention cache of
grouped-query models is layers × KV heads × (key + value length) × bytes; parameters follow from the matrix shapes of a
gated (LLaMA-like) transformer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

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


def parameters_by_part(architecture: Architecture) -> Mapping[str, int]:
    """Parameters of a gated (LLaMA-like) transformer in parts that sum to the total.

    Exact for llama, mistral, qwen3, mixtral and their like; models with biases, extra norms or shared experts hold a
    little more. For a model in a file use `Model.parameters`, which counts the tensors.
    """
    a, hidden = architecture, architecture.hidden
    embedding = a.vocabulary * hidden
    feed_forward = a.feed_forward_per_layer or (a.feed_forward,) * a.layers
    if a.experts:
        feed_forward = (a.experts * (a.expert_feed_forward or a.feed_forward),) * a.layers
    return {
        "embedding": embedding,
        "attention": sum(_attention_parameters(a, heads) for heads in kv_heads_by_layer(a)),
        "feed_forward": 3 * hidden * sum(feed_forward),
        "router": a.layers * hidden * a.experts,
        "norms": (2 * a.layers + 1) * hidden,
        "head": 0 if a.tied_embeddings else embedding,
    }


def _attention_parameters(a: Architecture, kv_heads: int) -> int:
    query, output = a.heads * a.key_length, a.heads * a.value_length
    return a.hidden * (query + output + kv_heads * (a.key_length + a.value_length))
