"""The memory llama.cpp takes, on a CPU and on accelerators.

On a CPU, read from llama.cpp's own log (build of October 2026) and from the kernel's count of touched pages: weights
are mapped from the file; the KV cache is zeroed at the start, so all of it is resident; the compute buffer holds one
batch of `n_ubatch` tokens, and beside it lies what a matrix is multiplied with in the matrix's own precision; models
with sliding windows keep checkpoints of a prompt; the vocabulary is kept in hash maps; the rest is the program itself.

On accelerators whole layers are dealt out, the last ones first, then the output; the token embedding stays in main
memory. A layer's cache lies with it. Each device has a compute buffer of its own, reserved for the largest step, and
the driver's context beside it, which no counter of the engine sees.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate

from workbench.engines.contract import PEAK_ANSWER_TOKENS, Settings
from workbench.engines.device_memory import driver_context
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine
from workbench.models import Architecture, Model
from workbench.models.architecture import (
    bytes_per_element,
    kv_bytes,
    kv_bytes_per_token,
    kv_heads_by_layer,
    recurrent_bytes,
)
from workbench.units import MIB

UBATCH_TOKENS = 512  # llama.cpp's n_ubatch, left at its default
CACHE_BLOCK_TOKENS = 256
REPACKED_TYPES = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
RECORD = "records of the embedded model at contexts 512, 2,048 and 8,192 (x86-64 Linux, xllamacpp 2026.10)"
RECURRENT = "the state of recurrent layers is not modelled yet"
UNSTATED = "the state of recurrent layers is not modelled for a file that does not state it"
#: Bytes per value to which a matrix of this type converts its input; 8 bits and scales for all that are quantized.
CONVERTED_BYTES = {"F32": 0.0, "F16": 2.0, "BF16": 2.0}
TOKEN_BYTES, MERGE_BYTES = 236, 197
PROGRAM_BYTES = {"xllamacpp": int(32.25 * MIB), "llama-server": int(14.25 * MIB)}


def on_cpu(model: Model, settings: Settings, machine: Machine, form: str) -> tuple[Breakdown, ...]:
    """Everything in main memory. form: which build runs, see PROGRAM_BYTES."""
    parts = {
        "weights": _weights(model),
        "repacked weights": _repacked(model, machine),
        "KV cache": _kv_cache(model.architecture, settings),
        "compute buffer": _compute_buffer(model, settings),
        "prompt cache": _prompt_cache(settings),
        "vocabulary": _vocabulary(model.architecture),
        "engine": _program(form),
    }
    if any(model.architecture.windowed):
        parts["checkpoints"] = _checkpoints(model.architecture, settings)
    return (Breakdown("RAM", parts),)


def on_devices(model: Model, settings: Settings, machine: Machine, form: str) -> tuple[Breakdown, ...]:
    """One breakdown per device, in their order, then main memory; a device that shares main memory has all of it."""
    cards, dealt = settings.accelerators(machine), deal_layers(model, settings, machine)
    host = {
        "weights": _layers(model, dealt, None, embedding=True),
        "KV cache": _kv_cache(model.architecture, settings, _share(dealt, None)),
        "compute buffer": _host_buffer(model.architecture, settings),
        "prompt cache": _prompt_cache(settings),
        "vocabulary": _vocabulary(model.architecture),
        "engine": _program(form),
    }
    found = [
        {
            "weights": _layers(model, dealt, place),
            "KV cache": _kv_cache(model.architecture, settings, _share(dealt, place)),
            "compute buffer": _device_buffer(model.architecture, settings, has_output=dealt[-1] == place),
            "driver": driver_context(card),
        }
        for place, card in enumerate(cards)
    ]
    if cards[0].unified:
        return (Breakdown(cards[0].name, {name: _add(found[0].get(name), host.get(name)) for name in _UNIFIED}),)
    labels = [f"GPU {card.index}: {card.name}" if len(cards) > 1 else card.name for card in cards]
    return (*(Breakdown(label, parts) for label, parts in zip(labels, found, strict=True)), Breakdown("RAM", host))


def deal_layers(model: Model, settings: Settings, machine: Machine) -> tuple[int | None, ...]:
    """The place of each layer among `settings.devices`, None for the CPU; the output counts as one more, the last.

    llama.cpp's rule: the last `device_layers` go to the devices, in shares of their free memory.
    """
    cards, count = settings.accelerators(machine), model.architecture.layers + 1
    dealt = count if settings.device_layers is None else min(settings.device_layers, count)
    ends = list(accumulate(card.memory_free_bytes or card.memory_total_bytes or 1 for card in cards))
    places = [bisect_right(ends, ends[-1] * layer / dealt) for layer in range(dealt)]
    return (*((None,) * (count - dealt)), *places)


def _weights(model: Model) -> Estimate:
    source = "the file's own header" if model.path else "llama.cpp's rules for each tensor"
    basis = Basis("bytes of all tensors in the file, mapped", {"file": str(model.path or model.name)}, source)
    return Estimate.within(model.weight_bytes, "B", basis, 0.001, 0.01)


def _repacked(model: Model, machine: Machine) -> Estimate:
    """Copies of matrices in an order that suits the processor's vector instructions; the mapped ones stay as well."""
    tensors = [t for t in model.tensors if len(t.shape) > 1 and t.type in REPACKED_TYPES]
    read_as_matrix = [t for t in tensors if not t.is_looked_up or model.architecture.tied_embeddings]
    count = sum(tensor.bytes for tensor in read_as_matrix)
    known = "AVX2" in machine.cpu.instruction_sets
    basis = Basis(
        "bytes of all matrices of the types that are repacked" + ("" if known else "; other processors may not"),
        {"types": ", ".join(sorted(REPACKED_TYPES))},
        "llama.cpp's own log for sixteen types on x86-64 with AVX2, 2026-11-23",
    )
    return Estimate(count, 0.97 * count if known else 0, count, "B", basis)


def _cells(settings: Settings) -> int:
    """Tokens the cache has room for: llama.cpp rounds the context of each request up to whole blocks."""
    return _blocks(settings.context) * settings.concurrency


def is_recurrent(architecture: Architecture) -> bool:
    """Whether some layer keeps a state instead of keys and values (Mamba, RWKV and hybrids of them)."""
    return 0 in kv_heads_by_layer(architecture)


def has_unknown_state(architecture: Architecture) -> bool:
    """Whether some layer keeps a state of a size that nobody said."""
    return is_recurrent(architecture) and not architecture.recurrent_values_per_layer


def _kv_cache(architecture: Architecture, settings: Settings, layers: Collection[int] | None = None) -> Estimate:
    """The cache of these layers, or of all."""
    if has_unknown_state(architecture):
        return Estimate.unknown("B", UNSTATED)
    element_bytes = bytes_per_element(settings.cache_type)
    # A sliding layer keeps its window and the batch that is being worked on.
    window = architecture.sliding_window and architecture.sliding_window + UBATCH_TOKENS
    cells = _cells(settings)
    one = kv_bytes(architecture, cells // settings.concurrency, element_bytes, window_tokens=window, layers=layers)
    state = recurrent_bytes(architecture, layers=layers)
    basis = Basis(
        "2 × layers × KV heads × head length × bytes per element × tokens" + (" + recurrent state" if state else ""),
        {
            "a token": f"{kv_bytes_per_token(architecture, element_bytes):.0f} B",
            "tokens": f"{cells}",
            "type": settings.cache_type,
        },
        "exact by architecture",
    )
    return Estimate.within((one + state) * settings.concurrency, "B", basis, 0.001, 0.01)


def _prompt_cache(settings: Settings) -> Estimate:
    most = settings.prompt_cache_bytes
    basis = Basis("the most it may take; nothing until prompts have been answered", {"limit": f"{most} B"}, "a setting")
    return Estimate(most, 0, most, "B", basis)


def _compute_buffer(model: Model, settings: Settings) -> Estimate:
    """One batch of activations and masks, without flash attention also the scores of every head, and the work buffer.

    The buffer is reserved for a full batch at the end of the context; only what the longest prompt touches takes
    memory. Embeddings handed in instead of tokens have a place of their own that no prompt touches.
    """
    a, batch, cells = model.architecture, min(UBATCH_TOKENS, _longest_prompt(settings)), _attended(model, settings)
    masked = cells + (batch * min(_blocks(_longest_prompt(settings)), _window_cells(a)) if a.sliding_window else 0)
    queries, keys = a.heads * a.key_length, a.kv_heads * a.key_length
    hidden = batch * 4 * (_feed_forward(model) + 4 * a.hidden + 8)
    if settings.flash_attention:
        buffer = hidden + 2 * masked
    else:
        projections = batch * 4 * (2 * a.hidden + 3 * queries + 2 * keys + 5)
        buffer = max(hidden + 4 * masked + batch * 8 * keys, 4 * (a.heads * cells + masked) + projections)
    basis = Basis(
        "batch × 4 B × (3 feed-forward + 4 hidden) + mask; without flash attention the scores of all heads; and the "
        "input of the widest matrix in the matrix's own precision",
        {"batch": f"{batch} tokens", "batch × cells": f"{cells}"},
        "llama.cpp's own log for models of eighteen shapes, and its touched pages for seven of them, 2026-11-24",
    )
    return Estimate.within(buffer + _work_buffer(model, settings, batch, cells), "B", basis, 0.1, 0.1)


def _longest_prompt(settings: Settings) -> int:
    """Tokens of the prompt that memory is predicted for; one request at a time has it."""
    return settings.context - PEAK_ANSWER_TOKENS


def _blocks(tokens: int) -> int:
    """Cells that are read for this many tokens: whole blocks."""
    return -(-tokens // CACHE_BLOCK_TOKENS) * CACHE_BLOCK_TOKENS


def _attended(model: Model, settings: Settings) -> int:
    """The most that tokens of a batch × cells they may attend to comes to over the batches of the longest prompt."""
    prompt = _longest_prompt(settings)
    whole, rest = divmod(prompt, UBATCH_TOKENS)
    if model.architecture.sliding_window:  # cut so that a whole batch ends just before the prompt does
        return min(UBATCH_TOKENS, prompt) * _blocks(prompt)
    return max(UBATCH_TOKENS * UBATCH_TOKENS * whole, rest * _blocks(prompt))


def _feed_forward(model: Model) -> int:
    """Values per token in a feed-forward layer: in, gate and out, or the answers of all chosen experts twice."""
    a = model.architecture
    experts = max(3 * a.experts_used * a.expert_feed_forward, 2 * a.experts_used * a.hidden) if a.experts else 0
    is_dense = not a.experts or any(tensor.name.endswith("ffn_down.weight") for tensor in model.tensors)
    return max(experts, 3 * a.feed_forward if is_dense else 0)


def _work_buffer(model: Model, settings: Settings, batch: int, cells: int) -> float:
    """A multiplication first converts its input: to 16 bits, or to 8 where the matrix is quantized."""
    used = model.architecture.experts_used
    matrices = (t for t in model.tensors if len(t.shape) > 1 and t.name.startswith("blk."))
    widest = max(
        (t.shape[0] * (used if "down_exps" in t.name else 1) * CONVERTED_BYTES.get(t.type, 1.125) for t in matrices),
        default=0.0,
    )
    is_converted = not settings.flash_attention and settings.cache_type != "f32"
    return max(batch * widest, 2 * model.architecture.heads * cells if is_converted else 0)


def _window_cells(architecture: Architecture) -> int:
    """Cells of a layer that slides: its window and the batch that is being worked on."""
    return _blocks((architecture.sliding_window or 0) + UBATCH_TOKENS)


def _checkpoints(architecture: Architecture, settings: Settings) -> Estimate:
    """Copies of the window, so that the prompt can be answered again: four tokens, and a batch more, before its end."""
    prompt, element_bytes = _longest_prompt(settings), bytes_per_element(settings.cache_type)
    window = architecture.sliding_window or 0
    slides = frozenset(layer for layer, is_windowed in enumerate(architecture.windowed) if is_windowed)
    at = [max(0, prompt - 4), max(0, prompt - 4 - UBATCH_TOKENS)]
    one, other = (kv_bytes(architecture, min(tokens, window), element_bytes, layers=slides) for tokens in at)
    basis = Basis(
        "KV cache of a window, twice per prompt; up to as much for every request served at once",
        {"window": f"{window} tokens", "requests at once": f"{settings.concurrency}"},
        "touched pages of one model at seven settings, 2026-11-24",
    )
    count = one + other
    return Estimate(count, 0.9 * count, 1.1 * count * settings.concurrency, "B", basis)


def _device_buffer(architecture: Architecture, settings: Settings, *, has_output: bool) -> Estimate:
    """The largest of attention, feed-forward and logits for one batch: a device reserves all of it at the start."""
    a, cells = architecture, _cells(settings)
    batch = min(UBATCH_TOKENS, cells)
    feed_forward = max(a.feed_forward, a.experts_used * a.expert_feed_forward)
    mask = 2 * cells if settings.flash_attention else 4 * cells
    scores = 0 if settings.flash_attention else 4 * cells * a.heads
    largest = max(
        scores + mask + 16 * a.hidden,
        mask + 8 * (feed_forward + a.hidden),
        4 * (a.vocabulary + a.hidden) if has_output else 0,
    )
    basis = Basis(
        "batch × the largest of attention (scores, mask, 4 hidden), feed-forward (2 + 2 hidden) and logits, 4 B each",
        {"batch": f"{batch} tokens", "cells": f"{cells}"},
        "formula equal to 16 published logs of llama.cpp (2023-12 to 2024-05)",
    )
    return Estimate.within(batch * largest, "B", basis, 0.05, 0.25)


def _host_buffer(architecture: Architecture, settings: Settings) -> Estimate:
    """What is handed to the devices for one batch: embeddings and the mask."""
    cells = _cells(settings)
    mask = (2 if settings.flash_attention else 4) * cells
    basis = Basis("batch × (4 B × hidden + mask)", {"batch": f"{UBATCH_TOKENS} tokens", "cells": f"{cells}"},
                  "published logs of llama.cpp (2024)")  # fmt: skip
    return Estimate.within(min(UBATCH_TOKENS, cells) * (4 * architecture.hidden + mask), "B", basis, 0.2, 0.5)


def _vocabulary(architecture: Architecture) -> Estimate:
    tokens, merges = architecture.vocabulary, architecture.merges
    basis = Basis(
        f"tokens × {TOKEN_BYTES} B + merges × {MERGE_BYTES} B", {"tokens": f"{tokens}", "merges": f"{merges}"},
        "fitted to five vocabularies, 2026-11-23",
    )  # fmt: skip
    return Estimate.within(tokens * TOKEN_BYTES + merges * MERGE_BYTES, "B", basis, 0.1, 0.1)


def _program(form: str) -> Estimate:
    """The two forms differ: one carries a Python interpreter."""
    basis = Basis("program, libraries and the server's own buffers", {"form": form}, f"measured; {RECORD}")
    return Estimate.within(PROGRAM_BYTES[form], "B", basis, 0.25, 0.25)


#: The parts of a device that shares main memory, in the order in which they are shown.
_UNIFIED = ("weights", "KV cache", "compute buffer", "prompt cache", "vocabulary", "driver", "engine")


def _add(one: Estimate | None, other: Estimate | None) -> Estimate:
    """The sum of the two, or the one there is."""
    if one is None or other is None:
        return one or other or Estimate.unknown("B", "nobody predicts it")
    return Breakdown("", {"device": one, "host": other}).total


def _share(dealt: Sequence[int | None], place: int | None) -> frozenset[int]:
    """The layers that lie in this place; the output has no cache."""
    return frozenset(layer for layer, at in enumerate(dealt[:-1]) if at == place)


def _layers(model: Model, dealt: Sequence[int | None], place: int | None, *, embedding: bool = False) -> Estimate:
    """Weights of the layers in this place. The token embedding stays in main memory; tied to the output it is there
    and on the device."""
    of_layer = model.bytes_by_layer
    count = sum(size for size, at in zip(of_layer, dealt, strict=True) if at == place)
    count += model.lookup_bytes if embedding else 0
    basis = Basis("bytes of the layers that lie here", {"layers": f"{sum(at == place for at in dealt)}"},
                  "the file's own header" if model.path else "llama.cpp's rules for each tensor")  # fmt: skip
    return Estimate.within(count, "B", basis, 0.001, 0.01)
