"""The layout of vLLM and its like: every layer is split over all devices, which add up their results twice a layer.

The rules are Megatron's: query heads, KV heads, feed-forward columns and the vocabulary are divided; norms, routers and
biases of what is added up lie on every device, and so do KV heads once there are fewer of them than devices. Nothing
can lie in main memory.
"""

from __future__ import annotations

from dataclasses import replace

from workbench.catalog.links import Link
from workbench.engines import TextEngine
from workbench.engines.device_memory import driver_context
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Accelerator, Machine
from workbench.models import Architecture, Model, Tensor
from workbench.models.architecture import kv_heads_by_layer
from workbench.planning import layouts
from workbench.planning.layouts import ACTIVATION_BYTES, DeviceShare, Layout
from workbench.units import format_bytes

NAME, TITLE = "tensor parallel", "vLLM: tensor parallel"
MOST_DEVICES = 64
VOCABULARY_BLOCK = 64  # vLLM pads the vocabulary to a multiple of this
PROMPT_TOKENS = 2048  # of a prompt that are processed at once: vLLM's default for most cards
#: Matrices of a layer (the word after its number) that are divided.
_DIVIDED = frozenset({
    "attn_q", "attn_q_b", "attn_kv_b", "attn_k_b", "attn_v_b", "attn_output",
    "ffn_gate", "ffn_up", "ffn_down", "ffn_gate_up", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps",
    "ffn_gate_up_exps", "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp",
})  # fmt: skip
#: Those whose results are added up: their biases are added once, by every device alike.
_ADDED_UP = frozenset({"attn_output", "ffn_down", "ffn_down_exps", "ffn_down_shexp"})
#: How much longer or shorter a collective may take than its library's own constants say.
# Longer: 42 µs for eight RTX 4090 without peer access against 21 (NVIDIA/nccl issue 1530). Shorter: vLLM's own kernels.
COLLECTIVE_SPREAD = (0.4, 1.2)


def refusal(architecture: Architecture, devices: int) -> str:
    """Why this model cannot be split over so many devices, with the nearest numbers that work; empty when it can."""
    if not (reason := _uneven(architecture, devices)):
        return ""
    works = _workable(architecture)
    fewer = [count for count in works if 1 < count < devices][-1:]
    more = [count for count in works if count > devices][:1]
    near = " or ".join(map(str, [*fewer, *more]))
    return f"{reason} {f'Use {near} devices.' if near else 'No number of devices works.'}"


def _workable(architecture: Architecture) -> list[int]:
    return [count for count in range(1, MOST_DEVICES + 1) if not _uneven(architecture, count)]


def _uneven(a: Architecture, devices: int) -> str:
    kv_heads = {count for count in kv_heads_by_layer(a) if count}
    if 0 in kv_heads_by_layer(a):
        return "Layers without attention are not modelled here."
    if a.heads % devices:
        return f"{a.heads} attention heads cannot be divided by {devices}."
    for count in () if a.latent_cache else kv_heads:
        if count % devices and devices % count:
            return f"{count} KV heads can neither be divided by {devices} nor copied to {devices} evenly."
    for width in {*(a.feed_forward_per_layer or (a.feed_forward,)), a.expert_feed_forward}:
        if width % devices:
            return f"A feed-forward width of {width} cannot be divided by {devices}."
    if padded_vocabulary(a) % devices:
        return f"A vocabulary of {padded_vocabulary(a)} cannot be divided by {devices}."
    return ""


def padded_vocabulary(a: Architecture) -> int:
    """The vocabulary as it is divided."""
    return -(-a.vocabulary // VOCABULARY_BLOCK) * VOCABULARY_BLOCK


def shard(model: Model, devices: int) -> Model:
    """What each of `devices` devices holds, as a model of its own."""
    a = model.architecture
    tensors = tuple(_cut(tensor, a, devices) for tensor in model.tensors)
    kv_heads = tuple(_kv_heads(a, count, devices) for count in kv_heads_by_layer(a))
    shape = replace(
        a, heads=a.heads // devices, kv_heads=max(kv_heads), kv_heads_per_layer=kv_heads,
        vocabulary=padded_vocabulary(a) // devices,
    )  # fmt: skip
    return replace(model, architecture=shape, tensors=tensors)


def _kv_heads(a: Architecture, count: int, devices: int) -> int:
    """KV heads on each device; a compressed cache cannot be divided."""
    return count if a.latent_cache else max(1, count // devices)


def _cut(tensor: Tensor, a: Architecture, devices: int) -> Tensor:
    share = _share(tensor, a, devices)
    return replace(tensor, elements=round(tensor.elements * share), bytes=-int(-tensor.bytes * share // 1))


def _share(tensor: Tensor, a: Architecture, devices: int) -> float:
    """The part of a tensor that each device holds."""
    if tensor.name in ("token_embd.weight", "output.weight", "output.bias"):
        return padded_vocabulary(a) / a.vocabulary / devices
    layer = layouts.layer_of(tensor)
    if layer is None:
        return 1.0
    name, _, kind = tensor.name.split(".", 2)[2].partition(".")
    if kind == "bias" and name in _ADDED_UP:
        return 1.0
    count = kv_heads_by_layer(a)[layer] if layer < a.layers else a.kv_heads
    here = _kv_heads(a, count, devices)
    if name in ("attn_k", "attn_v"):
        return here / count
    if name == "attn_qkv":
        return (a.heads / devices + 2 * here) / (a.heads + 2 * count)
    return 1 / devices if name in _DIVIDED else 1.0


def collectives(model: Model, devices: int, link: Link | None) -> Estimate:
    """Seconds a token waits for sums over all devices: twice a layer and once after the embedding, in a ring."""
    if link is None:
        return Estimate.unknown("s", layouts.NO_LINK)
    if link.hop_us is None or link.start_us is None:
        return Estimate.unknown("s", f"nobody says what a small collective costs over {link.title}")
    count, size = 2 * model.architecture.layers + 1, ACTIVATION_BYTES * model.architecture.hidden
    carried = size * 2 * (devices - 1) / devices / link.bytes_per_s
    latency = (link.start_us + 2 * (devices - 1) * link.hop_us) * 1e-6
    inputs = {
        "sums": f"{count} of {size} B over {devices} devices",
        "link": f"{link.title}: {link.bytes_per_s / 1e9:.3g} GB/s usable",
        "latency": f"{link.start_us} µs + {2 * (devices - 1)} hops × {link.hop_us} µs",
    }
    basis = Basis("sums × (bytes × 2 (n − 1) ÷ n ÷ bandwidth + start + 2 (n − 1) hops)", inputs, link.source)
    return Estimate.within(count * (carried + latency), "s", basis, *COLLECTIVE_SPREAD)


def layout(
    model: Model,
    machine: Machine,
    engine: TextEngine,
    *,
    context: int,
    devices: int | None = None,
    link: Link | None = None,
) -> Layout:
    """`model` over the first `devices` accelerators, all of them when not given."""
    cards = machine.accelerators[:devices]
    if reason := _obstacle(model, machine, len(cards) if devices is None else devices):
        return Layout(NAME, TITLE, False, reason)
    piece = shard(model, len(cards))
    shares = tuple(_held(piece, machine, card, context, len(cards)) for card in cards)
    if short := max(share.over_bytes for share in shares):
        fix = _enough(model, machine, cards[0], context, len(cards))
        return Layout(
            NAME, TITLE, False, f"Each device lacks up to {format_bytes(short)}; nothing can spill. {fix}", shares
        )
    times = [layouts.decode_s(engine, piece, machine, context, place) for place in range(len(cards))]
    slowest = max(times, key=lambda time: float("inf") if time.value is None else time.value)
    total = layouts.seconds(
        {"the slowest device": slowest, "sums over all devices": collectives(model, len(cards), link)}
    )
    repeated = sum(share.weights_bytes for share in shares) - model.weight_bytes
    note = f"{format_bytes(repeated)} of weights are held more than once (norms, KV heads, padding)"
    return Layout(NAME, TITLE, True, "", shares, total, (note,))


def _obstacle(model: Model, machine: Machine, devices: int) -> str:
    have = len(machine.accelerators)
    if reason := layouts.unknown_memory(machine):
        return reason
    if devices < 2:
        return "There is only one accelerator to split over." if have else "There is no accelerator."
    if devices > have:
        return f"{devices} accelerators were asked for, and the machine has {have}."
    return refusal(model.architecture, devices)


def _enough(model: Model, machine: Machine, card: Accelerator, context: int, devices: int) -> str:
    """How many devices of this kind would hold it."""
    for count in _workable(model.architecture):
        if count > devices and not _held(shard(model, count), machine, card, context, count).over_bytes:
            return f"{count} devices like {card.name} would hold it."
    return f"{MOST_DEVICES} devices like {card.name} would not hold it either."


def _held(piece: Model, machine: Machine, card: Accelerator, context: int, devices: int) -> DeviceShare:
    a = piece.architecture
    parts = {
        "weights": layouts.exactly(piece.weight_bytes, "each divided matrix ÷ devices, everything else whole"),
        "KV cache": layouts.cache(a, context),
        "activations": layouts.activations(a, min(context, PROMPT_TOKENS), devices),
        "driver": driver_context(card),
    }
    words = f"1/{devices} of all {a.layers}"
    return DeviceShare(Breakdown(layouts.label(machine, card), parts), layouts.free_bytes(card), words)
