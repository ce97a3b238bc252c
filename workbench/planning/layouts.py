"""How a model lies on several devices: the record of it, and the arithmetic that every layout shares.

A layout is worked out part by part: a part is the model with only some of its tensors, so that the engine that
predicts a whole model predicts its parts. Nothing here knows how layers are dealt out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, pairwise
from typing import Any

from workbench.catalog.links import Link
from workbench.engines import CHAT, Settings, TextEngine
from workbench.engines.llamacpp_memory import RECURRENT, is_recurrent
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Accelerator, Machine
from workbench.models import Architecture, Model, Tensor
from workbench.models.architecture import kv_bytes
from workbench.planning.plans import Fit

RAM, DISK = "RAM", "disk"
#: What copies from ordinary memory reach of what copies from pinned memory do: least, usual, most.
# Published runs of Transformers with weights in main memory, 2022 and 2023: 12 to 16 GB/s into an RTX 3090 (PCIe 4.0
# x16; OPT and CodeGen), 5.5 into a Titan RTX (PCIe 3.0 x16; accelerate's own benchmark), 5.0 into a T4 (PCIe 3.0 x16).
PAGEABLE = (0.40, 0.55, 0.65)
NO_LINK = "name the link between the accelerators: `workbench.catalog.links` has PCIe, NVLink and others"
#: Bytes of an activation that one device hands to the next: 16 bits each.
ACTIVATION_BYTES = 2


@dataclass(frozen=True, slots=True)
class DeviceShare:
    """What lies on one device: an accelerator, main memory ('RAM') or the 'disk'.

    memory: 'weights' and what they need beside them; capacity_bytes: what is free there, None where nobody can say;
    layers: in words; spilled_bytes: the part of the weights that lies here only because the accelerators are full.
    """

    memory: Breakdown
    capacity_bytes: int | None
    layers: str = ""
    spilled_bytes: int = 0

    @property
    def device(self) -> str:
        """Its name."""
        return self.memory.device

    @property
    def weights_bytes(self) -> int:
        """Bytes of weights on it."""
        return int(self.memory.parts["weights"].value or 0)

    @property
    def fit(self) -> Fit:
        """Need beside room."""
        return Fit(self.device, self.memory.total, self.capacity_bytes)

    @property
    def over_bytes(self) -> int:
        """What is too much for it; 0 where that is unknown."""
        need = self.memory.total.value
        return 0 if need is None or self.capacity_bytes is None else max(0, round(need - self.capacity_bytes))


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to lay a model out: whether it can run and why not, what lies where, and how long a token takes.

    Without devices nothing could be laid out, and `reason` says why.
    """

    name: str
    title: str
    possible: bool
    reason: str
    devices: tuple[DeviceShare, ...] = ()
    seconds_per_token: Estimate = field(default_factory=lambda: Estimate.unknown("s", "it cannot run"))
    notes: tuple[str, ...] = ()

    @property
    def spilled_bytes(self) -> Mapping[str, int]:
        """Bytes of weights that the accelerators could not hold, by where they lie instead."""
        return {share.device: share.spilled_bytes for share in self.devices if share.spilled_bytes}

    def to_dict(self) -> dict[str, Any]:
        """One stacked bar per device, JSON-ready: what 'spilled_bytes' and 'over_bytes' say is drawn in red."""
        return {
            "name": self.name,
            "title": self.title,
            "possible": self.possible,
            "reason": self.reason,
            "devices": [_bar(share) for share in self.devices],
            "spilled_bytes": dict(self.spilled_bytes),
            "seconds_per_token": asdict(self.seconds_per_token),
            "notes": list(self.notes),
        }


def _bar(share: DeviceShare) -> dict[str, Any]:
    return {
        "device": share.device,
        "layers": share.layers,
        "capacity_bytes": share.capacity_bytes,
        "parts_bytes": {name: part.value for name, part in share.memory.parts.items()},
        "spilled_bytes": share.spilled_bytes,
        "over_bytes": share.over_bytes,
        "verdict": share.fit.verdict,
    }


# -- devices ---------------------------------------------------------------------------------------------------


def label(machine: Machine, card: Accelerator) -> str:
    """The name of a device beside others."""
    return f"GPU {card.index}: {card.name}" if len(machine.accelerators) > 1 else card.name


def free_bytes(card: Accelerator) -> int | None:
    """What a process may take of a device; a device that is only described has all of it free."""
    return card.memory_total_bytes if card.memory_free_bytes is None else card.memory_free_bytes


def unknown_memory(machine: Machine) -> str:
    """Why nothing can be laid out on this machine's accelerators; empty when their memory is known."""
    unknown = [card.name for card in machine.accelerators if free_bytes(card) is None]
    return f"The memory of {unknown[0]} is not known." if unknown else ""


def settings_for(model: Model, machine: Machine, context: int, devices: tuple[int, ...]) -> Settings:
    """The settings under which layouts are compared: one request, every core."""
    cores = max(1, int(min(machine.cpu.physical_cores, machine.cpu.usable_cores)))
    return Settings(model.name, model.format, context, threads=cores, prefill_threads=cores, devices=devices)


# -- parts of a model ------------------------------------------------------------------------------------------


def layer_of(tensor: Tensor) -> int | None:
    """The layer a tensor belongs to; None for embeddings, the output and their norms."""
    return int(tensor.name.split(".", 2)[1]) if tensor.name.startswith("blk.") else None


def part(model: Model, tensors: Collection[Tensor], layers: Collection[int]) -> Model:
    """The part of `model` that has these tensors and these layers, as a model of its own, its layers counted anew."""
    a = model.architecture
    kept = {layer: place for place, layer in enumerate(sorted(layers))}

    def of(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[layer] for layer in kept) if values else ()

    shape = replace(
        a, layers=len(kept), windowed=of(a.windowed), kv_heads_per_layer=of(a.kv_heads_per_layer),
        feed_forward_per_layer=of(a.feed_forward_per_layer),
    )  # fmt: skip
    return replace(model, tensors=tuple(_moved(tensor, kept) for tensor in tensors), architecture=shape)


def _moved(tensor: Tensor, layers: Mapping[int, int]) -> Tensor:
    layer = layer_of(tensor)
    if layer is None:
        return tensor
    return replace(tensor, name=f"blk.{layers[layer]}.{tensor.name.split('.', 2)[2]}")


def cache(architecture: Architecture, context: int, layers: Collection[int] | None = None) -> Estimate:
    """Bytes of keys and values of one request in these layers, or in all, at 16 bits."""
    if is_recurrent(architecture):
        return Estimate.unknown("B", RECURRENT)
    method = "2 × KV heads × head length × 2 B × tokens of the layers that work here"
    return exactly(round(kv_bytes(architecture, context, layers=layers)), method)


def exactly(count: int, method: str, **inputs: str) -> Estimate:
    """Bytes that follow from the model alone."""
    return Estimate.within(count, "B", Basis(method, inputs, "exact by architecture"), 0.0, 0.0)


def activations(architecture: Architecture, tokens: int, devices: int = 1) -> Estimate:
    """The largest activations of one prompt, split over `devices`."""
    a = architecture
    feed_forward = max(a.feed_forward, a.experts_used * a.expert_feed_forward)
    count = ACTIVATION_BYTES * tokens * (3 * feed_forward / devices + 4 * a.hidden)
    basis = Basis("prompt × 2 B × (3 feed-forward + 4 hidden)", {"prompt": f"{tokens} tokens"},
                  "256 published peaks of Transformers: mean error 2 % of the whole peak")  # fmt: skip
    return Estimate.within(count, "B", basis, 0.5, 0.5)


def in_words(layers: Collection[int], *names: str) -> str:
    """Layers as people write them: 'embedding, 0–26, output'. names: what lies here beside layers."""
    runs = [
        [layer for _, layer in run] for _, run in groupby(enumerate(sorted(layers)), lambda pair: pair[1] - pair[0])
    ]
    texts = [f"{run[0]}–{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    before = [name for name in names if name == "embedding"]
    return ", ".join([*before, *texts, *(name for name in names if name != "embedding")])


# -- time ------------------------------------------------------------------------------------------------------


def decode_s(engine: TextEngine, model: Model, machine: Machine, context: int, device: int | None) -> Estimate:
    """Seconds that `model`, whole or a part, takes for one token on one device; None is the CPU."""
    settings = settings_for(model, machine, context, () if device is None else (device,))
    return engine.decode(model, settings, machine, CHAT.within(context).decode_depth)


def seconds(parts: Mapping[str, Estimate]) -> Estimate:
    """The sum of times that follow one another; unknown if one is. Bounds add up: the parts err together."""
    missing = [f"{name}: {part.reason}" for name, part in parts.items() if part.value is None]
    if missing:
        return Estimate.unknown("s", "; ".join(missing))
    total = Breakdown("", parts).total
    basis = Basis("sum of the parts", {name: str(part) for name, part in parts.items()})
    return replace(total, unit="s", basis=basis)


def from_memory(count: float, link: Link | None) -> Estimate:
    """Seconds to copy `count` bytes of weights from main memory to an accelerator."""
    if link is None:
        return Estimate.unknown("s", "name the link to main memory: `workbench.catalog.links` has PCIe and others")
    least, usual, most = (count / (link.bytes_per_s * share) for share in PAGEABLE)
    inputs = {"bytes": f"{count / 1e6:.4g} MB", "link": f"{link.title}: {link.bytes_per_s / 1e9:.3g} GB/s usable"}
    inputs["reached"] = f"{PAGEABLE[1]:.0%} of it from memory that is not pinned"
    return Estimate(usual, most, least, "s", Basis("bytes ÷ (bandwidth × share reached)", inputs, link.source))


def from_disk(count: float, bytes_per_s: float | None, at_least: float | None = None) -> Estimate:
    """Seconds to read `count` bytes from a disk, or only `at_least` where the rest may still be in memory."""
    if bytes_per_s is None:
        return Estimate.unknown("s", "say how fast the disk reads")
    value, least = count / bytes_per_s, (count if at_least is None else at_least) / bytes_per_s
    inputs = {"bytes": f"{count / 1e6:.4g} MB", "rate": f"{bytes_per_s / 1e9:.3g} GB/s"}
    return Estimate(value, 0.8 * least, 2 * value, "s", Basis("bytes ÷ read rate", inputs, "a setting"))


def hand_overs(architecture: Architecture, places: Sequence[object], link: Link | None) -> Estimate:
    """Seconds to hand the activations of one token on, wherever one place of `places` follows another."""
    changes = sum(one != other for one, other in pairwise(places))
    if not changes:
        return Estimate.within(0.0, "s", Basis("one device: nothing is handed on"), 0.0, 0.0)
    if link is None:
        return Estimate.unknown("s", NO_LINK)
    one = ACTIVATION_BYTES * architecture.hidden / link.bytes_per_s + (link.hop_us or 0) * 1e-6
    inputs = {
        "hand-overs": f"{changes} × {ACTIVATION_BYTES * architecture.hidden} B over {link.title}",
        "latency": "unknown, not counted" if link.hop_us is None else f"{link.hop_us} µs",
    }
    basis = Basis("hand-overs × (bytes ÷ bandwidth + latency)", inputs, link.source)
    return Estimate(changes * one, changes * one / 2, changes * one * 20, "s", basis)
