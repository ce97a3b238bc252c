"""The arithmetic, against published numbers and against its own laws."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import UsageError
from workbench.models.architecture import (
    bytes_per_element,
    kv_bytes,
    kv_bytes_per_token,
    kv_bytes_per_token_by_layer,
)
from workbench.models.model import Architecture

KIB = 1024


def shape(*numbers: int, **more: int) -> Architecture:
    """Layers, hidden, heads, KV heads, feed-forward, vocabulary."""
    layers, hidden, heads, kv_heads, ffn, vocabulary = numbers
    length = hidden // heads
    base = Architecture("llama", layers, hidden, heads, kv_heads, length, length, ffn, vocabulary, 4096, False)
    return dataclasses.replace(base, **more)


LLAMA_2_7B = shape(32, 4096, 32, 32, 11008, 32000)
LLAMA_3_8B = shape(32, 4096, 32, 8, 14336, 128256)
MIXTRAL = shape(32, 4096, 32, 8, 14336, 32000, experts=8, experts_used=2)
SMOLLM2 = shape(30, 576, 9, 3, 1536, 49152, tied_embeddings=True)


@pytest.mark.parametrize(
    ("architecture", "kib"),
    [(LLAMA_2_7B, 512), (shape(40, 5120, 40, 40, 13824, 32000), 800), (shape(80, 8192, 64, 8, 28672, 32000), 320),
     (LLAMA_3_8B, 128), (MIXTRAL, 128), (shape(28, 3584, 28, 4, 18944, 152064), 56), (SMOLLM2, 22.5)],
)  # fmt: skip
def test_published_cache_sizes(architecture: Architecture, kib: float) -> None:
    assert kv_bytes_per_token(architecture) == kib * KIB


def test_published_cache_of_latent_attention() -> None:
    deepseek = dataclasses.replace(shape(61, 7168, 128, 1, 18432, 129280), key_length=576, value_length=512)
    assert kv_bytes_per_token(dataclasses.replace(deepseek, latent_cache=True)) == 70_272


def test_bytes_per_element() -> None:
    assert bytes_per_element("f16") == 2
    assert bytes_per_element("q8_0") == 34 / 32
    with pytest.raises(UsageError, match="q9"):
        bytes_per_element("q9")


def test_sliding_layers_stop_growing() -> None:
    sliding = dataclasses.replace(LLAMA_3_8B, sliding_window=1024, windowed=(True, False) * 16)
    full, half = kv_bytes(LLAMA_3_8B, 4096), kv_bytes(sliding, 4096)
    assert half == full / 2 + full / 8
    assert kv_bytes(sliding, 4096, window_tokens=4096) == full
    unknown = dataclasses.replace(LLAMA_3_8B, sliding_window=1024)
    assert kv_bytes(unknown, 4096) == full


sizes = st.integers(1, 64)


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    layers = draw(st.integers(1, 12))
    window = draw(st.none() | st.integers(1, 5000))
    windowed = tuple(draw(st.lists(st.booleans(), min_size=layers, max_size=layers))) if window else ()
    per_layer = tuple(draw(st.lists(st.integers(0, 8), min_size=layers, max_size=layers)))
    return Architecture(
        "llama", layers, draw(sizes), draw(sizes), draw(sizes), draw(sizes), draw(sizes), draw(sizes), draw(sizes),
        4096, draw(st.booleans()), experts=draw(st.integers(0, 8)), sliding_window=window, windowed=windowed,
        kv_heads_per_layer=draw(st.sampled_from([(), per_layer])), latent_cache=draw(st.booleans()),
    )  # fmt: skip


tokens, widths = st.integers(0, 10_000), st.sampled_from([0.5, 18 / 32, 1.0, 34 / 32, 2.0, 4.0])


@given(architectures(), tokens, tokens, widths)
def test_cache_grows_with_the_context(a: Architecture, one: int, other: int, width: float) -> None:
    fewer, more = sorted((one, other))
    assert kv_bytes(a, fewer, width) <= kv_bytes(a, more, width) <= more * kv_bytes_per_token(a, width)


@given(architectures(), tokens, widths, widths)
def test_cache_grows_with_the_width(a: Architecture, count: int, one: float, other: float) -> None:
    narrow, wide = sorted((one, other))
    assert kv_bytes(a, count, narrow) <= kv_bytes(a, count, wide)


@given(architectures(), widths, widths)
def test_layers_sum_to_the_total(a: Architecture, keys: float, values: float) -> None:
    per_layer = kv_bytes_per_token_by_layer(a, keys, values)
    assert len(per_layer) == a.layers
    assert sum(per_layer) == pytest.approx(kv_bytes_per_token(a, keys, values))
