"""How fast llama.cpp is, on a CPU, on accelerators, and with some layers on each.

On a CPU the machine's own calibration says how fast it reads and multiplies; the coefficients below say what share of
that llama.cpp reaches. On accelerators the coefficients are fitted to published runs (`device_speed`). Layers dealt to
unlike places work one after the other: their times add up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import TypeVar

from workbench.engines import cpu_speed, device_speed
from workbench.engines.contract import Settings
from workbench.engines.llamacpp_memory import UNSTATED, deal_layers, has_unknown_state
from workbench.evidence import Basis, Estimate
from workbench.machine import Machine
from workbench.models import Architecture, Model, Tensor
from workbench.models.architecture import bytes_per_element, kv_bytes, recurrent_bytes

#: Shares of a CPU's matrix throughput by the type of most weights, each of which has kernels of its own: in prompts,
#: and with one vector.
# The embedded model in each type with xllamacpp 2026.10: a Xeon (2026-11-28) and an EPYC of Zen 4 (2026-11-29).
CPU_SHARES = {
    "Q4_0": (0.73, 1.1), "Q4_1": (0.36, 0.4), "Q5_0": (0.44, 0.38), "Q8_0": (0.64, 0.85), "F16": (0.46, 2.1),
    "F32": (0.43, 1.1),
}  # fmt: skip
#: Of a type that was not measured.
UNMEASURED_SHARES = (0.5, 0.6)
CPU_SOURCE = "fitted to the embedded model on two x86-64 machines (2 cores each), 2026-11-29"
ENGINE = "llama.cpp"
T = TypeVar("T")


def prefill(model: Model, settings: Settings, machine: Machine, tokens: int, batch: int) -> Estimate:
    """Seconds to process `batch` prompts of `tokens` tokens each."""
    if not settings.devices:
        return _prefill_on_cpu(model, settings, machine, tokens, batch)
    if _is_uniform(settings, machine):
        found = device_speed.known(ENGINE, ENGINE, settings.accelerators(machine))
        devices, split = len(settings.devices), _split(settings)
        return device_speed.prefill(found, model, tokens, batch, devices=devices, split=split)
    return _one_after_the_other(
        model, settings, machine,
        lambda part, found: device_speed.prefill(found, part, tokens, batch),
        lambda part: _prefill_on_cpu(part, settings, machine, tokens, batch),
    )  # fmt: skip


def decode(model: Model, settings: Settings, machine: Machine, depth: int, batch: int) -> Estimate:
    """Seconds of one step: a token for each of `batch` requests, each `depth` tokens deep."""
    if has_unknown_state(model.architecture):
        return Estimate.unknown("s", UNSTATED)
    if not settings.devices:
        return _decode_on_cpu(model, settings, machine, depth, batch)
    kind = settings.cache_type
    if _is_uniform(settings, machine):
        found = device_speed.known(ENGINE, ENGINE, settings.accelerators(machine))
        devices, split = len(settings.devices), _split(settings)
        return device_speed.decode(found, model, kind, depth, batch=batch, devices=devices, split=split)
    return _one_after_the_other(
        model, settings, machine,
        lambda part, found: device_speed.decode(found, part, kind, depth, batch=batch),
        lambda part: _decode_on_cpu(part, settings, machine, depth, batch),
    )  # fmt: skip


def _split(settings: Settings) -> str:
    return "tensor" if settings.tensor_parallel else "layer"


def _is_uniform(settings: Settings, machine: Machine) -> bool:
    """Whether all layers lie on devices of one kind."""
    names = {card.name for card in settings.accelerators(machine)}
    return settings.device_layers is None and len(names) == 1


def _one_after_the_other(
    model: Model,
    settings: Settings,
    machine: Machine,
    on_device: Callable[[Model, device_speed.Known | str], Estimate],
    on_cpu: Callable[[Model], Estimate],
) -> Estimate:
    """The sum over the places where layers lie; what passes from one to the next is small beside it."""
    dealt = deal_layers(model, settings, machine)
    cards = settings.accelerators(machine)
    times = [
        on_cpu(part) if place is None else on_device(part, device_speed.known(ENGINE, ENGINE, [cards[place]]))
        for place, part in _parts(model, dealt).items()
    ]
    return reduce(_plus, times)


def _parts(model: Model, dealt: tuple[int | None, ...]) -> dict[int | None, Model]:
    """The model cut into what lies in each place. The output goes with the last layer's place."""
    parts: dict[int | None, Model] = {}
    for place in dict.fromkeys(dealt):
        layers = [layer for layer, at in enumerate(dealt[:-1]) if at == place]
        here = {f"blk.{layer}" for layer in layers}
        tensors = tuple(tensor for tensor in model.tensors if _block(tensor) in here or (
            not tensor.name.startswith("blk.") and dealt[-1] == place))  # fmt: skip
        parts[place] = replace(model, tensors=tensors, architecture=_cut(model, layers))
    return parts


def _block(tensor: Tensor) -> str:
    """'blk.7' of 'blk.7.attn_q.weight'."""
    return ".".join(tensor.name.split(".", 2)[:2])


def _cut(model: Model, layers: list[int]) -> Architecture:
    a = model.architecture

    def chosen(values: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(values[layer] for layer in layers) if values else ()

    return replace(
        a, layers=len(layers), windowed=chosen(a.windowed), kv_heads_per_layer=chosen(a.kv_heads_per_layer),
        feed_forward_per_layer=chosen(a.feed_forward_per_layer),
        recurrent_values_per_layer=chosen(a.recurrent_values_per_layer),
    )  # fmt: skip


def _plus(one: Estimate, other: Estimate) -> Estimate:
    """Both times; unknown if either is. Bounds add up: they err together."""
    if one.value is None or other.value is None:
        return one if one.value is None else other
    value, low, high = ((getattr(one, name) or 0) + (getattr(other, name) or 0) for name in ("value", "low", "high"))
    inputs = {"here": str(one), "and there": str(other)}
    basis = Basis("places one after the other", inputs, f"{one.basis.source}; {other.basis.source}")
    return Estimate(value, low, high, "s", basis)


def _prefill_on_cpu(model: Model, settings: Settings, machine: Machine, tokens: int, batch: int) -> Estimate:
    return cpu_speed.prefill(_shares(model, machine), model, settings, machine, tokens=tokens, batch=batch)


def _decode_on_cpu(model: Model, settings: Settings, machine: Machine, depth: int, batch: int) -> Estimate:
    a = model.architecture
    # Flash attention on a CPU reads the keys and values once per query head, not once per KV head.
    heads = a.heads / max(a.kv_heads, 1) if settings.flash_attention else 1.0
    cache = batch * (kv_bytes(a, depth, bytes_per_element(settings.cache_type)) * heads + 2 * recurrent_bytes(a))
    if batch > 1:  # several tokens at once are a batch to llama.cpp, which has the threads of prompts
        settings = replace(settings, threads=settings.prefill_threads)
    shares = _shares(model, machine)
    return cpu_speed.decode(shares, model, settings, machine, depth=depth, batch=batch, cache_bytes=cache)


def _shares(model: Model, machine: Machine) -> cpu_speed.Shares:
    count: Counter[str] = Counter()
    for tensor in model.tensors:
        count[tensor.type] += tensor.elements
    kind = count.most_common(1)[0][0] if count else ""
    prompts, vector = CPU_SHARES.get(kind, UNMEASURED_SHARES)
    prompts = cpu_speed.narrowed(prompts, machine)  # the packaged build has kernels of 256 bits
    return cpu_speed.Shares(
        prefill=prompts, decode=0.85, vector=vector, attention=0.19, layer_s=20e-6, source=CPU_SOURCE
    )
