"""Machines that are not here: a card one might buy, in this computer, or an instance one might rent.

What is not stated is unknown: the processor of an instance has no measured speed, so that what runs on it has none.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

from workbench import catalog
from workbench.catalog.accelerators import AcceleratorSpec
from workbench.errors import UnknownName, UsageError
from workbench.machine.apple import working_set_bytes
from workbench.machine.description import RUNTIMES, Accelerator, Cpu, Disk, Machine, Memory
from workbench.units import GIB

MOST_DEVICES = 64
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*GI?B", re.IGNORECASE)


def describe(device: str, *, count: int = 1, memory_bytes: int | None = None, host: Machine | None = None) -> Machine:
    """The machine with `count` accelerators of the catalog, or the cloud instance of that name.

    memory_bytes: its main memory; for chips that share it, their memory, which may stand in the name as well ('Apple M3
    Max (40-core GPU, 64GB)'). host: the computer that the cards are put into; without one its processor is unknown.
    Raises UnknownName, AmbiguousName or UsageError.
    """
    if not 1 <= count <= MOST_DEVICES:
        raise UsageError(f"{count} devices were asked for.", fix=f"Ask for 1 to {MOST_DEVICES}.")
    if memory_bytes is not None and memory_bytes <= 0:
        raise UsageError(f"A memory of {memory_bytes} bytes was asked for.", fix="Ask for more than nothing.")
    found = _find(device)
    if isinstance(found, catalog.Instance):
        spec = catalog.accelerators()[found.accelerator]
        return _with_cards(_instance_host(found), spec, found.count * count)
    spec = found
    if spec.unified:
        return _unified(spec, count, memory_bytes or _stated_bytes(device) or spec.memory_bytes, device)
    base = host or _unknown_host(memory_bytes)
    if memory_bytes:
        base = replace(base, memory=replace(base.memory, total_bytes=memory_bytes, available_bytes=memory_bytes))
    return _with_cards(base, spec, count)


def _find(text: str) -> AcceleratorSpec | catalog.Instance:
    if text in catalog.accelerators():  # for thousands of plans: to look for the nearest names takes longer than a plan
        return catalog.accelerators()[text]
    with suppress(UnknownName):
        return catalog.instance(text)
    try:
        return catalog.accelerator(text)
    except UnknownName:
        raise UnknownName("device or instance", text, [*catalog.accelerators(), *catalog.instances()]) from None


def _with_cards(host: Machine, spec: AcceleratorSpec, count: int) -> Machine:
    cards = tuple(
        Accelerator(
            spec.vendor, spec.title, index, spec.memory_bytes, spec.memory_bytes, spec=spec,
            compute_capability=spec.compute_capability or None, runtime=RUNTIMES.get(spec.vendor, ""),
        )
        for index in range(count)
    )  # fmt: skip
    return replace(host, accelerators=cards)


def _unified(spec: AcceleratorSpec, count: int, memory_bytes: int | None, text: str) -> Machine:
    if memory_bytes is None:
        raise UsageError(
            f"{spec.title} shares the main memory, and {text!r} does not say how much that is.",
            fix=f'Say it: --memory-gib 32, or "{spec.title}, 32GB".',
        )
    if count != 1:
        raise UsageError(f"{count} × {spec.title} were asked for, and a computer has one.", fix="Ask for one.")
    share = working_set_bytes(memory_bytes) if spec.vendor == "Apple" else memory_bytes
    card = Accelerator(
        spec.vendor, spec.title, 0, share, share, spec=spec, unified=True,
        compute_capability=spec.compute_capability or None, runtime=RUNTIMES.get(spec.vendor, ""),
    )  # fmt: skip
    host = _unknown_host(memory_bytes)
    return replace(host, accelerators=(card,))


def _stated_bytes(text: str) -> int | None:
    match = _SIZE.search(text)
    return int(float(match[1]) * GIB) if match else None


def _unknown_host(memory_bytes: int | None) -> Machine:
    """A computer of which nothing is stated but, perhaps, its memory."""
    cpu = Cpu("processor not stated", "", "unknown", physical_cores=1, logical_cores=1, usable_cores=1.0)
    return Machine(cpu, Memory(memory_bytes or 0, memory_bytes or 0), Disk("", 0, 0), system="described")


def _instance_host(instance: catalog.Instance) -> Machine:
    host = _unknown_host(instance.memory_bytes)
    cores = instance.vcpus or 1
    cpu = replace(host.cpu, name=f"{cores} vCPUs of {instance.provider}", physical_cores=cores, logical_cores=cores,
                  usable_cores=float(cores))  # fmt: skip
    return replace(host, cpu=cpu, system=f"described: {instance.provider} {instance.name}")
