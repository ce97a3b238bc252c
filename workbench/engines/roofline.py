"""How long a decode step and a prompt take on an accelerator: a roofline with overheads, fitted to published runs.

One step streams the weights at an efficiency that depends on the memory and the architecture, decodes quantized
weights, reads each sequence's cache, multiplies once more per further sequence, and pays for every kernel it starts.
`duration_s` and `prompt_s` are this arithmetic on plain numbers; `python -m benchmarks fit_speed` fits the coefficients
by the same two functions, with arrays for numbers. Nothing here knows an engine: what differs between engines is in
`workbench.catalog.coefficients`.
"""

from __future__ import annotations

import math
import statistics
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace

from workbench.catalog.accelerators import AcceleratorSpec
from workbench.catalog.coefficients import INLINE_ECC, Family, Formats, SpeedCoefficients, family, is_two_dies
from workbench.evidence import Basis, Estimate
from workbench.models import Model
from workbench.models.architecture import bytes_per_element, kv_bytes, recurrent_bytes
from workbench.models.model import Tensor

#: Kernels of a layer with experts that no tensor stands for: choosing, sorting, gathering, adding up.
EXPERT_KERNELS = 8
#: How many times as long a byte of recurrent state takes as one of weights: of the first sequence, and of further ones.
# Two hybrids on a GB10 in batches of 1 to 32 (llama.cpp of 2026-02): 7.4 and 16.5 ms a sequence for 164 and 336 MB.
STATE_COST, STATE_COST_MORE = 8.0, 11.0
#: A cache this large beside the weights makes a prediction of its own kind.
DEEP = 0.25
#: Chunks of a prompt that llama.cpp and its like send through several devices before they wait for all.
PIPELINE_CHUNKS = 4

Four = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Work:
    """What one token of one sequence asks of a device.

    dense_*, expert_*: weights every token uses, and those of the experts one token uses, by class of format (see
    `Formats`); head_weights: the part of dense_weights that a prompt uses for its last token only; kernels: started;
    attention: multiplications per pair of tokens; cache_bytes: keys and values read at this depth; state_bytes: of
    recurrent layers, read and written.
    """

    dense_bytes: float
    expert_bytes: float
    dense_weights: Four
    expert_weights: Four
    head_weights: Four
    experts: float
    experts_used: float
    expert_layers: float
    layers: float
    kernels: float
    attention: float
    state_bytes: float = 0.0
    cache_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device gives to an engine, in bytes and multiplications per second and in seconds.

    share: the part of a layer that each device works on; stages: devices that layers were dealt out to, through which
    the chunks of a prompt go like through a pipeline.
    """

    dense_bytes_per_s: float
    expert_bytes_per_s: float
    cache_bytes_per_s: float
    decode_weight_s: Four
    multiply_s: Four
    attention_s: float
    kernel_s: float
    step_s: float
    expert_batch_s: float
    expert_overlap: float
    chunk_tokens: float
    share: float = 1.0
    stages: float = 1.0
    split_s: float = 0.0


def duration_s(work: Work, rates: Rates, batch: float) -> float:
    """Seconds of one decode step of `batch` sequences."""
    used = _experts_read(work, batch**rates.expert_overlap)
    stream = work.dense_bytes / rates.dense_bytes_per_s + used * work.expert_bytes / rates.expert_bytes_per_s
    decode = _dot(rates.decode_weight_s, work.dense_weights) + used * _dot(rates.decode_weight_s, work.expert_weights)
    multiply = _dot(rates.multiply_s, work.dense_weights) + _dot(rates.multiply_s, work.expert_weights)
    shared = stream + decode + batch * work.cache_bytes / rates.cache_bytes_per_s + (batch - 1) * multiply
    together = (batch > 1) * work.expert_layers * rates.expert_batch_s
    shared += (STATE_COST + STATE_COST_MORE * (batch - 1)) * work.state_bytes / rates.dense_bytes_per_s
    launches = work.kernels * rates.kernel_s + rates.step_s
    return shared * rates.share + launches + together + rates.split_s


def prompt_s(work: Work, rates: Rates, tokens: float, batch: float = 1, start: float = 0) -> float:
    """Seconds to process `batch` prompts of `tokens` tokens each, with `start` tokens in the cache before.

    A prompt goes in chunks, each of which streams the weights while it multiplies.
    """
    together = tokens * batch
    multiply = _dot(rates.multiply_s, work.dense_weights) + _dot(rates.multiply_s, work.expert_weights)
    head = _dot(rates.multiply_s, work.head_weights)
    attention = rates.attention_s * work.attention * tokens * (tokens / 2 + start) * batch
    chunks = (together + rates.chunk_tokens - 1) // rates.chunk_tokens
    used = _experts_read(work, together / chunks)
    stream = work.dense_bytes / rates.dense_bytes_per_s + used * work.expert_bytes / rates.expert_bytes_per_s
    compute = together * (multiply - head) + batch * head
    shared = (compute**2 + (chunks * stream) ** 2) ** 0.5 + attention
    in_flight = 1 / (1 / chunks + 1 / PIPELINE_CHUNKS)
    pipelined = (in_flight + rates.stages - 1) / (in_flight * rates.stages)
    launches = chunks * (work.kernels * rates.kernel_s + rates.split_s)
    seconds: float = shared * rates.share * pipelined + launches + rates.step_s
    return seconds


def _experts_read(work: Work, tokens: float) -> float:
    """Experts that `tokens` independent tokens use, in multiples of those that one token uses; 1 without experts."""
    fraction = work.experts_used / work.experts
    read: float = (1 - (1 - fraction) ** tokens) / fraction
    return read


def _dot(left: Four, right: Four) -> float:
    return left[0] * right[0] + left[1] * right[1] + left[2] * right[2] + left[3] * right[3]


# -- what a model asks -----------------------------------------------------------------------------------------


def work_of(model: Model, depth: int = 0, cache_type: str = "f16") -> Work:
    """What one token of `model` asks when `depth` tokens lie in its cache."""
    work = _work_without_cache(model)
    if not depth:
        return work
    per_value = bytes_per_element(cache_type)
    return replace(work, cache_bytes=kv_bytes(model.architecture, depth, per_value))


_seen: dict[int, tuple[weakref.ref[Model], Work]] = {}


def _work_without_cache(model: Model) -> Work:
    """The same for an empty cache, remembered: a model has up to a thousand tensors and is asked about often."""
    found = _seen.get(id(model))
    if found and found[0]() is model:
        return found[1]
    key, work = id(model), _summed(model)
    _seen[key] = (weakref.ref(model, lambda _: _seen.pop(key, None)), work)
    return work


def _summed(model: Model) -> Work:
    a = model.architecture
    tied = a.tied_embeddings
    read = [t for t in model.tensors if not t.is_looked_up or (tied and t.name == "token_embd.weight")]
    experts = [t for t in read if t.is_expert]
    dense = [t for t in read if not t.is_expert]
    used = a.experts_used / a.experts if experts and a.experts else 1.0
    windowed = sum(a.windowed) if a.sliding_window else 0
    expert_layers = len({t.name.split(".", 2)[1] for t in experts})
    return Work(
        dense_bytes=sum(t.bytes for t in dense),
        expert_bytes=used * sum(t.bytes for t in experts),
        dense_weights=_by_class(dense),
        expert_weights=_by_class(experts, used),
        head_weights=_by_class([t for t in dense if t.name in ("output.weight", "token_embd.weight")]),
        experts=a.experts if experts else 1,
        experts_used=a.experts_used if experts else 1,
        expert_layers=expert_layers,
        layers=a.layers,
        kernels=sum(t.name.startswith("blk.") for t in read) + EXPERT_KERNELS * expert_layers,
        attention=(a.layers - windowed) * a.heads * (a.key_length + a.value_length),
        state_bytes=2 * recurrent_bytes(a),
    )


def _by_class(tensors: Sequence[Tensor], used: float = 1.0) -> Four:
    sums = [0.0, 0.0, 0.0, 0.0]
    for tensor in tensors:
        sums[_class_of(tensor)] += tensor.elements * used
    return sums[0], sums[1], sums[2], sums[3]


def _class_of(tensor: Tensor) -> int:
    """The place of a tensor's format in `Formats`."""
    if tensor.type.endswith("_K") or tensor.type.startswith(("IQ", "TQ")):
        return 3
    bits = 8 * tensor.bytes / tensor.elements
    return 0 if bits > 12 else 1 if bits > 7 else 2


# -- what a device gives ---------------------------------------------------------------------------------------


def rates(
    device: AcceleratorSpec, c: SpeedCoefficients, devices: int = 1, split: str = "", layers: float = 0
) -> Rates | str:
    """What `device` gives to the engine of `c`; a text says why nobody knows."""
    kind = family(device)
    if kind is None or device.fp32_flops is None:
        missing = "FP32 rate" if kind else f"architecture ({device.architecture} {device.compute_capability})".rstrip()
        return f"{device.title}: its {missing} is not in the catalog, and the speed of an accelerator depends on it"
    fp32_flops = device.fp32_flops
    bytes_per_s = _bytes_per_s(device, c)
    slots_per_s = fp32_flops / 2 / kind.lanes * 64
    matrix = matrix_flops(device, kind, fp32_flops) * power_of_compute(device, fp32_flops) ** c.matrix_power
    matrix *= c.architecture_utilisation.get(device.architecture, 1.0)
    matrix *= c.architecture_utilisation.get(device.compute_capability, 1.0)
    launch_s = c.launch_s if kind.graphs or device.vendor != "NVIDIA" else c.launch_without_graph_s
    by_tensor = (split or c.split) == "tensor"
    return Rates(
        dense_bytes_per_s=bytes_per_s,
        expert_bytes_per_s=bytes_per_s * c.expert_efficiency,
        cache_bytes_per_s=bytes_per_s * c.cache_efficiency,
        decode_weight_s=_scaled(c.slots, c.architecture_slots.get(device.architecture, 1.0) / slots_per_s),
        multiply_s=_inverse(c.utilisation, 2 / matrix),
        attention_s=2 / (matrix * c.attention_utilisation),
        kernel_s=launch_s * c.architecture_launch.get(device.architecture, 1.0),
        step_s=c.step_s,
        expert_batch_s=c.expert_batch_s,
        expert_overlap=c.expert_overlap,
        chunk_tokens=c.chunk_tokens,
        share=1 / devices if by_tensor else 1.0,
        stages=1.0 if by_tensor else devices,
        split_s=_split_s(c, devices, by_tensor, layers),
    )


def _bytes_per_s(device: AcceleratorSpec, c: SpeedCoefficients) -> float:
    """Bytes of weights that stream in a second."""
    reached = device.bandwidth_bytes_per_s * c.efficiency
    reached *= c.memory.get(device.memory_type, 1.0) * c.architecture.get(device.architecture, 1.0)
    reached *= c.memory.get("HBM", 1.0) if device.memory_type.startswith("HBM") else 1.0
    reached *= c.inline_ecc if device.key in INLINE_ECC else 1.0
    reached *= c.two_dies if is_two_dies(device) else 1.0
    held_back: float = power_of_memory(device) ** c.memory_power
    return reached * held_back


def power_of_memory(device: AcceleratorSpec) -> float:
    """The board's power over what is usual for the bandwidth of its GDDR; 1 where that says nothing."""
    if device.tdp_w is None or not device.memory_type.startswith("GDDR"):
        return 1.0
    return device.tdp_w / device.bandwidth_bytes_per_s / USUAL_W_PER_BYTE_PER_S


def power_of_compute(device: AcceleratorSpec, fp32_flops: float) -> float:
    """The board's power over what is usual for its FP32 rate; 1 where nobody states it."""
    return device.tdp_w / fp32_flops / USUAL_W_PER_FLOPS if device.tdp_w else 1.0


#: Medians of the discrete cards that were measured.
USUAL_W_PER_BYTE_PER_S, USUAL_W_PER_FLOPS = 0.37e-9, 8e-12


def matrix_flops(device: AcceleratorSpec, kind: Family, fp32_flops: float) -> float:
    """Dense 16-bit FLOP/s of the matrix units, from the FP32 rate: vendors state theirs in too many ways.

    Data-centre parts whose matrix units were cut down below their family's rate are taken by their own figure, and
    GeForce 16 has none.
    """
    ratio = kind.matrix_ratio
    if device.vendor == "NVIDIA" and device.fp16_tensor_flops is None:
        ratio = min(ratio, 2.0)
    if device.memory_type.startswith("HBM") and device.fp16_tensor_flops:
        return min(fp32_flops * ratio, device.fp16_tensor_flops)
    return fp32_flops * ratio


def _split_s(c: SpeedCoefficients, devices: int, by_tensor: bool, layers: float) -> float:
    if devices == 1:
        return 0.0
    if by_tensor:
        return layers * (c.tensor_split_s[0] + c.tensor_split_s[1] * devices)
    return c.layer_split_s[0] + c.layer_split_s[1] * (devices - 1)


def _scaled(formats: Formats, factor: float) -> Four:
    return formats.wide * factor, formats.byte * factor, formats.nibble * factor, formats.superblock * factor


def _inverse(formats: Formats, factor: float) -> Four:
    return factor / formats.wide, factor / formats.byte, factor / formats.nibble, factor / formats.superblock


# -- estimates -------------------------------------------------------------------------------------------------


def decode_step(
    work: Work, device: AcceleratorSpec, c: SpeedCoefficients, *, batch: int = 1, devices: int = 1, split: str = ""
) -> Estimate:
    """Seconds of one decode step of `batch` sequences on `devices` equal devices."""
    given = rates(device, c, devices, split, work.layers)
    if isinstance(given, str):
        return Estimate.unknown("s", given)
    value = duration_s(work, given, batch)
    reached = given.dense_bytes_per_s / device.bandwidth_bytes_per_s
    inputs = {
        "weights read": f"{(work.dense_bytes + work.expert_bytes) / 1e6:.4g} MB a token",
        "cache read": f"{batch * work.cache_bytes / 1e6:.4g} MB for {batch} sequences",
        "bandwidth": f"{device.bandwidth_bytes_per_s / 1e9:.4g} GB/s × {reached:.2f}",
        "kernels": f"{work.kernels:.0f} × {given.kernel_s * 1e6:.2g} µs + {given.step_s * 1e3:.2g} ms a step",
    }
    method = "weights ÷ bandwidth + decoding of weights + cache ÷ bandwidth + kernels × launch, smooth in the batch"
    return _estimate(value, device, c, _kind(work, batch, devices), Basis(method, inputs))


def prefill(
    work: Work, device: AcceleratorSpec, c: SpeedCoefficients, tokens: int, batch: int = 1, *, start: int = 0,
    devices: int = 1, split: str = "",
) -> Estimate:  # fmt: skip
    """Seconds to process `batch` prompts of `tokens` tokens each, `start` tokens deep in their caches."""
    given = rates(device, c, devices, split, work.layers)
    if isinstance(given, str):
        return Estimate.unknown("s", given)
    value = prompt_s(work, given, tokens, batch, start)
    multiply = sum(work.dense_weights) + sum(work.expert_weights) - sum(work.head_weights)
    inputs = {
        "operations": f"{2 * multiply * tokens * batch / 1e12:.4g} TFLOP and causal attention",
        "FP32": f"{(device.fp32_flops or 0) / 1e12:.4g} TFLOP/s",
    }
    method = "operations ÷ (matrix FLOP/s × utilisation by format) + attention + weights ÷ bandwidth per chunk"
    return _estimate(value, device, c, "prefill", Basis(method, inputs))


def _estimate(value: float, device: AcceleratorSpec, c: SpeedCoefficients, kind: str, basis: Basis) -> Estimate:
    """The estimate in the interval of its kind; wider for a kind or an architecture that was never measured."""
    spread = c.spreads.get(kind) or max(c.spreads.values(), key=lambda one: one.high / one.low)
    unseen = [f"no {kind}"] * (kind not in c.spreads)
    unseen += ["no device of this architecture"] * (device.architecture not in c.architecture)
    widening = UNSEEN ** len(unseen)
    source = (
        f"fitted to {c.rows} published rows of {c.fitted_devices} devices ({c.name}), {c.checked}; "
        f"mean error on {c.left_out} left out {c.error:.0%}{''.join('; ' + one for one in unseen)}"
    )
    low, high = value * spread.low**widening, value * spread.high**widening
    return Estimate(value, low, high, "s", replace(basis, source=source))


def _kind(work: Work, batch: int, devices: int) -> str:
    """The kind of prediction whose spread holds, the least certain one that applies."""
    if batch > 1 or devices > 1:
        return "batch" if batch > 1 else "devices"
    if work.expert_layers:
        return "experts"
    return "depth" if work.cache_bytes > DEEP * work.dense_bytes else "decode"


def corrected(estimate: Estimate, pairs: Sequence[tuple[float, float]], spread: float, whose: str = "") -> Estimate:
    """The estimate moved by the middle of what was (predicted, measured) on this machine, and its interval with it.

    spread: how far (log) two measurements of this kind lie apart at least; where these differ more, that counts. The
    interval says how far a prediction of this kind lies off on one machine; measurements there say how far this one
    does. It gets narrower, unless the measurements differ more than it is wide. whose: of what they are, for the basis.
    """
    logs = [math.log(measured / predicted) for predicted, measured in pairs if predicted > 0 and measured > 0]
    if estimate.value is None or estimate.low is None or estimate.high is None or not logs or estimate.low <= 0:
        return estimate
    before = math.log(estimate.high / estimate.low) / (2 * NORMAL_90) or 1e-9
    apart = statistics.stdev(logs) if len(logs) > 1 else 0.0
    trust = len(logs) * before**2 / (len(logs) * before**2 + max(spread, apart) ** 2)
    shift = math.exp(trust * statistics.median(logs))
    after = math.sqrt((1 - trust) * before**2 + max(spread, apart) ** 2)
    width = min(after, max(before, apart)) / before
    value = estimate.value * shift
    low = value * (estimate.low / estimate.value) ** width
    high = value * (estimate.high / estimate.value) ** width
    note = f"× {shift:.3f}, calibrated by {len(logs)} measurements here{whose and f' of {whose}'}"
    inputs = {**estimate.basis.inputs, "correction": note}
    return replace(estimate, value=value, low=low, high=high, basis=replace(estimate.basis, inputs=inputs))


#: How much wider (log) the errors lay where a whole architecture was left out instead of one device.
UNSEEN = 1.7
#: Standard deviations from the mean to the bounds of a 90 % interval.
NORMAL_90 = 1.645
