"""What any engine meets on an accelerator, whatever it runs: its runtime, its abilities, the driver's context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from workbench.engines.contract import Availability
from workbench.evidence import Basis, Estimate
from workbench.machine import Accelerator, Machine, torch_uses
from workbench.machine.description import RUNTIMES
from workbench.models import Model
from workbench.units import MIB

#: What to do about a plan for the CPU that was to run on a card.
ON_A_CARD = "Plan for a card of this machine, counted from 0: --devices 0, or devices=(0,)."
CONTEXT_BYTES = {"NVIDIA": 400 * MIB}
CONTEXT_SOURCE = "300 to 500 MB with CUDA 11.7 and later (pytorch issues 107667 and 109888), 200 to 1,000 MB overall"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a format of weights needs in an engine: one of these runtimes, and on NVIDIA's cards this much."""

    runtimes: frozenset[str]
    compute_capability: float = 0.0


def driver_context(card: Accelerator) -> Estimate:
    """What the driver keeps per process; no engine's own counter sees it."""
    usual = CONTEXT_BYTES.get(card.vendor, 300 * MIB)
    basis = Basis("the driver's context of one process", {"vendor": card.vendor}, CONTEXT_SOURCE)
    return Estimate(usual, 200 * MIB, 1000 * MIB, "B", basis)


def weight_format(model: Model) -> str:
    """The format of a model's weights as `workbench.models.formats` names it; 'gguf' for a file as it is."""
    return model.quantization if model.format == "safetensors" else model.format


def runtime(card: Accelerator) -> str:
    """The runtime that drives a card, by its maker's name when nobody here knows one."""
    return RUNTIMES.get(card.vendor, card.vendor)


def pytorch_uses(card: Accelerator | None, machine: Machine) -> bool:
    """What `Engine.uses` says of an engine on PyTorch."""
    return card is None or torch_uses(card, machine)


def compute_capability(card: Accelerator) -> float | None:
    """NVIDIA's number for what a card can do, such as 8.9; None for other makers and where nobody says."""
    if card.vendor != "NVIDIA" or card.spec is None or not card.spec.compute_capability:
        return None
    return float(card.spec.compute_capability)


def label(card: Accelerator, count: int) -> str:
    """The name of a card beside `count` − 1 others."""
    return f"GPU {card.index}: {card.name}" if count > 1 else card.name


def visible(devices: Sequence[int]) -> dict[str, str]:
    """What shows a program these of NVIDIA's and AMD's cards alone, in this order and counted from 0; none at all for a
    plan without devices."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, devices))}


def capacity_bytes(card: Accelerator) -> int | None:
    """All of a card's memory as its driver reports it; None where nobody says."""
    return card.memory_total_bytes or (card.spec.memory_bytes if card.spec else None)


def meets(title: str, format_: str, needs: Needs, cards: Sequence[Accelerator]) -> Availability:
    """Say whether an engine runs a format on these devices, or on the CPU when there are none."""
    for kind in {runtime(card) for card in cards} or {"cpu"}:
        if kind not in needs.runtimes:
            return Availability(
                False, f"{title} does not run {format_} on {'the CPU' if kind == 'cpu' else kind}.",
                f"It does on {', '.join(sorted(needs.runtimes))}; or choose another format.",
            )  # fmt: skip
    for card in cards:
        able = compute_capability(card)
        if able is not None and able < needs.compute_capability:
            return Availability(
                False,
                f"{title} needs compute capability {needs.compute_capability} for {format_}; {card.name} has {able}.",
                "Choose another format, or a newer card.",
            )  # fmt: skip
    return Availability(True)


def prediction_only(title: str, package: str = "") -> Availability:
    """What `available` answers for an engine that the workbench cannot start yet, with the version installed here."""
    version = None
    if package:
        try:
            version = f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            version = None
    return Availability(
        False,
        f"The workbench cannot start {title} yet; it only predicts what it would take.",
        "Start it yourself, or choose an engine that `workbench engines` lists as available.",
        version,
    )
