"""Every accelerator of a computer, from all that was read there, each with what the catalog knows of it.

Pure, like `parse`. What the makers' tools say is read in `nvidia`, `amd`, `intel`, `apple` and `windows`.
"""

from __future__ import annotations

import re
from dataclasses import replace

from workbench.catalog.accelerators import AcceleratorSpec, accelerator
from workbench.errors import UsageError
from workbench.machine import amd, apple, intel, nvidia, pci, windows
from workbench.machine.description import Accelerator, Memory
from workbench.machine.parse import Texts

DEVICES, HOST_DRIVER = "devices", "/proc/driver/nvidia/version"

_NEAR = 0.15  # drivers keep some memory for themselves, and error correction takes an eighth of it
_PERMISSION = (
    "/dev/kfd is closed to this user, so ROCm finds no card: sudo usermod -aG render,video $USER, and log in again."
)


def accelerators(
    texts: Texts, memory: Memory, *, cpu_name: str, system: str, container: bool
) -> tuple[tuple[Accelerator, ...], list[str]]:
    """The accelerators, NVIDIA's first, and notes on what keeps one from being used."""
    on_bus = pci.cards(texts)
    of_nvidia, notes = nvidia.cards(texts, memory)
    on_mac, trouble_on_mac = apple.cards(texts, memory, cpu_name) if system == "Darwin" else ([], [])
    of_amd, trouble = amd.cards(texts, memory, cpu_name, on_bus)
    of_intel, trouble_of_intel = intel.cards(texts, memory, on_bus)
    trouble += trouble_of_intel + trouble_on_mac
    found = [*of_nvidia, *on_mac, *of_amd, *of_intel]
    listed = {card.vendor for card in found}
    for card in windows.cards(texts):
        if card.vendor == "NVIDIA" and system != "Windows":  # nvidia-smi would list it here if it could be used
            on_bus.append(pci.PciCard("", card.vendor, card.name))
        elif card.vendor not in listed:
            found.append(replace(card, runtime="cuda") if card.vendor == "NVIDIA" else card)
    if not of_nvidia and not notes:
        notes += _unusable(texts, [card.name for card in on_bus if card.vendor == "NVIDIA"], container)
    if any(card.runtime == "rocm" for card in found) and "/dev/kfd denied" in texts.get(DEVICES, ""):
        trouble.append(_PERMISSION)
    return tuple(_with_spec(card) for card in found), notes + trouble


def _unusable(texts: Texts, seen: list[str], container: bool) -> list[str]:
    """Why an NVIDIA card that is there cannot be used."""
    if HOST_DRIVER in texts and container:
        return ["The NVIDIA driver runs on the host, but this container was given no card: start it with --gpus all."]
    if HOST_DRIVER in texts:
        return ["The NVIDIA driver runs, but nvidia-smi is not installed: install it (on Ubuntu: nvidia-utils)."]
    return [f"There is an NVIDIA card ({seen[0]}) but no NVIDIA driver: install the driver to use it."] if seen else []


def _with_spec(card: Accelerator) -> Accelerator:
    """The card with the catalog's record of it; of a MIG slice, its share of that."""
    name = card.name.partition(" MIG ")[0] if card.slice_profile else card.name
    spec = _spec(replace(card, name=name, memory_total_bytes=None if card.slice_profile else card.memory_total_bytes))
    if spec is None:
        return card
    capability = card.compute_capability or spec.compute_capability or None
    if card.slice_profile:
        return replace(card, spec=nvidia.share(spec, card.slice_profile), compute_capability=capability)
    name = spec.title if "/" in card.name else card.name  # a list of what it can be has become one of them
    return replace(card, name=name, spec=spec, compute_capability=capability, unified=card.unified or spec.unified)


def _spec(card: Accelerator) -> AcceleratorSpec | None:
    """The one record that name, memory and architecture leave possible."""
    possible: dict[str, AcceleratorSpec] = {}
    for name in _names(card.name):
        try:
            spec = accelerator(name, card.memory_total_bytes)
        except UsageError:  # nobody knows it, or it may be several
            continue
        if _agrees(spec, card):
            possible[spec.key] = spec
    return next(iter(possible.values())) if len(possible) == 1 else None


def _agrees(spec: AcceleratorSpec, card: Accelerator) -> bool:
    if spec.vendor != card.vendor:
        return False
    if spec.compute_capability and card.compute_capability and spec.compute_capability != card.compute_capability:
        return False
    if not (spec.memory_bytes and card.memory_total_bytes) or spec.unified:
        return True
    return abs(spec.memory_bytes - card.memory_total_bytes) <= _NEAR * spec.memory_bytes


def _names(name: str) -> list[str]:
    """What 'Navi 31 [Radeon RX 7900 XT/7900 XTX]' can be: each in the list, with the words the first begins with."""
    listed = re.search(r"\[(.+)\]", name)
    if not listed or "/" not in listed[1]:
        return [listed[1] if listed else name]
    first, *others = (part.strip() for part in listed[1].split("/"))
    family = re.match(r"(?:[A-Za-z]+ )*", first)
    return [first, *(other if other.startswith("Radeon") or not family else family[0] + other for other in others)]
