"""How tensor parallelism divides a model: every layer is split over all devices, which add up their results.

The rules are Megatron's: query heads, KV heads, feed-forward columns and the vocabulary are divided; norms, routers and
biases of what is added up lie on every device, and so do KV heads once there are fewer of them than devices.
"""

from __future__ import annotations

from dataclasses import replace

from workbench.models import Architecture, Model, Tensor
from workbench.models.architecture import kv_heads_by_layer

MOST_DEVICES = 64
VOCABULARY_BLOCK = 64  # vLLM pads the vocabulary to a multiple of this
#: Matrices of a layer (the word after its number) that are divided.
_DIVIDED = frozenset({
    "attn_q", "attn_q_b", "attn_kv_b", "attn_k_b", "attn_v_b", "attn_output",
    "ffn_gate", "ffn_up", "ffn_down", "ffn_gate_up", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps",
    "ffn_gate_up_exps", "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp",
})  # fmt: skip
#: Those whose results are added up: their biases are added once, by every device alike.
_ADDED_UP = frozenset({"attn_output", "ffn_down", "ffn_down_exps", "ffn_down_shexp"})


def refusal(architecture: Architecture, devices: int) -> str:
    """Why this model cannot be split over so many devices, with the nearest numbers that work; empty when it can."""
    if not (reason := _uneven(architecture, devices)):
        return ""
    works = workable(architecture)
    fewer = [count for count in works if 1 < count < devices][-1:]
    more = [count for count in works if count > devices][:1]
    near = " or ".join(map(str, [*fewer, *more]))
    return f"{reason} {f'Use {near} devices.' if near else 'No number of devices works.'}"


def workable(architecture: Architecture) -> list[int]:
    """Numbers of devices, up to MOST_DEVICES, that this model can be split over."""
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
    """What each of `devices` devices holds, as a model of its own. Its widths are those of the whole."""
    if devices == 1:
        return model
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
    if not tensor.name.startswith("blk."):
        return 1.0
    _, number, rest = tensor.name.split(".", 2)
    name, _, kind = rest.partition(".")
    if kind == "bias" and name in _ADDED_UP:
        return 1.0
    count = kv_heads_by_layer(a)[int(number)] if int(number) < a.layers else a.kv_heads
    here = _kv_heads(a, count, devices)
    if name in ("attn_k", "attn_v"):
        return here / count
    if name == "attn_qkv":
        return (a.heads / devices + 2 * here) / (a.heads + 2 * count)
    return 1 / devices if name in _DIVIDED else 1.0
