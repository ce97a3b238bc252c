"""The layout of Transformers: accelerate's own map, what it puts on each device, and how long a token takes.

Layers in main memory or on the disk do not work there: for each token their weights are copied to the first
accelerator. accelerate counts weights only; room for cache and activations is left by lowering the limits it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.catalog.links import Link
from workbench.engines import TextEngine
from workbench.engines.device_memory import driver_context
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Machine
from workbench.models import Model, Tensor
from workbench.planning import layouts
from workbench.planning.device_map import CPU, DeviceMap, device_map
from workbench.planning.layouts import DISK, RAM, DeviceShare, Layout
from workbench.units import format_bytes

NAME, TITLE = "device map", "Transformers: accelerate's device map"
#: Bytes of a weight in a matrix of a layer → how accelerate counts it.
_COUNTED = ((3.0, "float32", 4.0), (1.5, "bfloat16", 2.0), (0.8, "int8", 1.0), (0.0, "int4", 0.5))


def layout(
    model: Model,
    config: Mapping[str, Any] | None,
    machine: Machine,
    engine: TextEngine,
    *,
    context: int,
    link: Link | None = None,
    host_link: Link | None = None,
    disk_bytes_per_s: float | None = None,
) -> Layout:
    """Where Transformers puts `model`, balanced over the accelerators, and how fast that is.

    config: the model's config.json; link, host_link: between accelerators, and between them and main memory.
    """
    if config is None:
        return _refused(f"Transformers needs the config.json of {model.name}, and nobody gave it.")
    if any(_is_packed(tensor.type) for tensor in model.tensors):
        return _refused(
            f"Transformers unpacks {model.quantization} weights when it loads them: choose BF16, FP8, LLM.int8 or NF4."
        )
    if reason := layouts.unknown_memory(machine):
        return _refused(reason)
    limits, counting = _limits(model, machine, context)
    a = model.architecture
    cache = [layouts.cache(a, context, [layer]).value or 0 for layer in range(a.layers)]
    found = device_map(
        config, limits, dtype=counting.dtype, other_dtype=counting.other_dtype, balanced=True,
        cache_bytes=[int(count * counting.share) for count in cache],
    )  # fmt: skip
    if len(found.layers) != a.layers:
        return _refused(f"The config.json has {len(found.layers)} layers and {model.name} has {a.layers}.")
    placed = _Placed(model, found, machine, context)
    parts = _times(placed, engine, link, host_link, disk_bytes_per_s)
    return _judged(placed, counting, layouts.seconds(parts))


def _refused(reason: str) -> Layout:
    return Layout(NAME, TITLE, False, reason)


def _is_packed(kind: str) -> bool:
    """Whether it is one of llama.cpp's block formats."""
    from gguf.constants import GGML_QUANT_SIZES

    return any(one.name == kind and elements > 1 for one, (elements, _) in GGML_QUANT_SIZES.items())


@dataclass(frozen=True, slots=True)
class _Counting:
    """How accelerate counts a format; share: its count as a share of the bytes the weights really take."""

    dtype: str
    other_dtype: str
    share: float


def _counting(model: Model) -> _Counting:
    matrices = [t for t in model.tensors if layouts.layer_of(t) is not None and len(t.shape) > 1]
    elements = sum(t.elements for t in matrices)
    a_weight = sum(t.bytes for t in matrices) / elements if elements else 2.0
    dtype, size = next((name, size) for least, name, size in _COUNTED if a_weight >= least)
    if size >= 2:
        return _Counting(dtype, "", 1.0)
    counted = size * elements + 2 * (sum(t.elements for t in model.tensors) - elements)
    return _Counting(dtype, "bfloat16", min(1.0, counted / model.weight_bytes))


def _limits(model: Model, machine: Machine, context: int) -> tuple[dict[str, int], _Counting]:
    """What accelerate may fill with weights and cache, in the bytes it counts."""
    counting, limits = _counting(model), {}
    for place, card in enumerate(machine.accelerators):
        beside = layouts.activations(model.architecture, context).known() + driver_context(card).known()
        limits[_key(machine, place)] = max(0, int(((layouts.free_bytes(card) or 0) - beside) * counting.share))
    if not any(card.unified for card in machine.accelerators):  # else it would be counted twice
        limits[CPU] = int(machine.memory.available_bytes * counting.share)
    return limits, counting


def _key(machine: Machine, place: int) -> str:
    return "mps" if machine.accelerators[place].vendor == "Apple" else str(place)


@dataclass(frozen=True)
class _Placed:
    """A map together with what it places."""

    model: Model
    found: DeviceMap
    machine: Machine
    context: int

    @property
    def cards(self) -> dict[str, int]:
        """The accelerators by accelerate's names."""
        return {_key(self.machine, place): place for place in range(len(self.machine.accelerators))}

    @property
    def first(self) -> int | None:
        """The accelerator that works for layers in main memory; None where the CPU does."""
        return next((self.cards[device] for device in self.found.places.values() if device in self.cards), None)

    def works_on(self, device: str) -> int | None:
        """The accelerator on which what lies on `device` works."""
        return self.cards.get(device, self.first)

    def device_of(self, tensor: Tensor) -> str:
        """Where a tensor lies."""
        layer = layouts.layer_of(tensor)
        if layer is not None:
            return self.found.layers[layer] if layer < len(self.found.layers) else self.found.rest
        if tensor.is_looked_up:
            return self.found.embedding
        return self.found.output if tensor.name.startswith("output.") else self.found.rest

    def tensors(self, *devices: str) -> list[Tensor]:
        """What lies on these devices."""
        return [tensor for tensor in self.model.tensors if self.device_of(tensor) in devices]

    def layers(self, *devices: str) -> list[int]:
        """The layers on these devices."""
        return [layer for layer, device in enumerate(self.found.layers) if device in devices]

    def part(self, *devices: str) -> Model:
        """The model as far as it lies on these devices."""
        return layouts.part(self.model, self.tensors(*devices), self.layers(*devices))

    def share(self, device: str) -> DeviceShare:
        """What `device` holds."""
        count = sum(tensor.bytes for tensor in self.tensors(device))
        parts = {"weights": layouts.exactly(count, "tensors that accelerate's map puts here", map=self.found.call)}
        card = self.cards.get(device)
        working = [layer for layer, place in enumerate(self.found.layers) if self.works_on(place) == card]
        if device != DISK and (card is not None or self.first is None):
            parts["KV cache"] = layouts.cache(self.model.architecture, self.context, working)
            parts["activations"] = layouts.activations(self.model.architecture, self.context)
        if card is not None:
            parts["driver"] = driver_context(self.machine.accelerators[card])
        names = [name for name in ("embedding", "output") if getattr(self.found, name) == device]
        words = layouts.in_words(self.layers(device), *names)
        spilled = count if card is None and self.machine.accelerators else 0
        return DeviceShare(Breakdown(self.name(device), parts), self.room(device), words, spilled)

    def name(self, device: str) -> str:
        """Its name for people."""
        if device in self.cards:
            return layouts.label(self.machine, self.machine.accelerators[self.cards[device]])
        return RAM if device == CPU else DISK

    def room(self, device: str) -> int | None:
        """What is free on it."""
        if device in self.cards:
            return layouts.free_bytes(self.machine.accelerators[self.cards[device]])
        return self.machine.memory.available_bytes if device == CPU else self.machine.disk.room_bytes

    @property
    def shares(self) -> tuple[DeviceShare, ...]:
        """Every accelerator, then main memory and disk where something lies there."""
        used = [device for device in (CPU, DISK) if self.tensors(device)]
        return tuple(self.share(device) for device in (*self.cards, *used))


def _times(
    placed: _Placed, engine: TextEngine, link: Link | None, host_link: Link | None, disk_bytes_per_s: float | None
) -> dict[str, Estimate]:
    """What one token takes, step by step."""
    machine, context, model = placed.machine, placed.context, placed.model
    times = {
        placed.name(device): layouts.decode_s(engine, part, machine, context, placed.cards[device])
        for device in placed.cards if (part := placed.part(device)).tensors
    }  # fmt: skip
    away = placed.part(CPU, DISK)
    if away.tensors:
        worker = "the CPU" if placed.first is None else "layers that are copied"
        times[worker] = layouts.decode_s(engine, away, machine, context, placed.first)
    if away.tensors and placed.first is not None:
        times["copies"] = layouts.from_memory(away.weight_bytes, host_link)
    if on_disk := sum(tensor.bytes for tensor in placed.tensors(DISK)):
        times["reading from the disk"] = layouts.from_disk(on_disk, disk_bytes_per_s)
    found = placed.found
    way = [placed.works_on(device) for device in (found.embedding, *found.layers, found.output)]
    return {**times, "hand-overs": layouts.hand_overs(model.architecture, way, link)}


def _judged(placed: _Placed, counting: _Counting, seconds: Estimate) -> Layout:
    shares = placed.shares
    notes = (f"accelerate gives this map for {placed.found.call}", *_notes(placed, counting))
    if reason := _obstacle(shares, quantized=bool(counting.other_dtype)):
        return Layout(NAME, TITLE, False, reason, shares, notes=notes[:1])
    return Layout(NAME, TITLE, True, "", shares, seconds, notes)


def _notes(placed: _Placed, counting: _Counting) -> Iterator[str]:
    if counting.share < 1:
        yield f"accelerate counts {counting.share:.0%} of what these weights take: its limits are lowered to match"
    spilled = sum(share.spilled_bytes for share in placed.shares)
    if spilled and placed.first is not None:
        first = layouts.label(placed.machine, placed.machine.accelerators[placed.first])
        yield f"{format_bytes(spilled)} of weights are copied to {first} for every token"
    if DISK in placed.found.places.values():
        yield "Transformers asks for offload_folder, a folder for the weights on the disk"


def _obstacle(shares: Sequence[DeviceShare], *, quantized: bool) -> str:
    """Why this cannot run; empty when it can."""
    for share in shares:
        if share.over_bytes:
            return f"{share.device} lacks {format_bytes(share.over_bytes)} for weights, cache and activations."
        if quantized and share.spilled_bytes:
            return (
                f"{format_bytes(share.spilled_bytes)} of quantized weights would lie in {share.device}, and "
                "Transformers keeps quantized weights on accelerators."
            )
    return ""
