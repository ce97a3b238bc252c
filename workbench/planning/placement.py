"""Where a configuration runs: on one device, on several, partly in main memory, or on the CPU.

Where nobody says which devices, the fewest on which it fits are taken; an engine that can lay some layers into main
memory does so before the CPU does everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from workbench.engines import Engine, Settings, Workload
from workbench.engines.device_memory import runtime
from workbench.errors import UnsupportedModel, UsageError
from workbench.machine import Machine, hiding
from workbench.models import AnyModel, Model
from workbench.models.image import ImageModel
from workbench.planning.plans import Plan, Refusal, predict
from workbench.planning.shapes import model_format


class Usable(NamedTuple):
    """What may be taken where nobody says: accelerators, by their places in the machine, and the CPU."""

    cards: tuple[int, ...]
    cpu: bool


def known(engine: Engine[Any], machine: Machine) -> Usable:
    """What the engine runs on, wherever it is installed."""
    cards = (place for place, card in enumerate(machine.accelerators) if runtime(card) in engine.runtimes)
    return Usable(tuple(cards), "cpu" in engine.runtimes)


def usable(engine: Engine[Any], machine: Machine) -> Usable:
    """What the engine as it is installed here uses.

    None of what the environment hides from programs, and no card whose place is not the number that programs are told:
    beside cards of another maker, and a slice of a card.
    """
    cards = () if hiding(machine) else (
        place for place, card in enumerate(machine.accelerators)
        if card.index == place and not card.slice_profile and engine.uses(card, machine)
    )  # fmt: skip
    return Usable(tuple(cards), engine.uses(None, machine))


def place(
    model: AnyModel,
    engine: Engine[Any],
    settings: Settings,
    machine: Machine,
    workload: Workload,
    *,
    devices: tuple[int, ...] | None = None,
    among: Usable | None = None,
) -> Plan:
    """The plan on the first placement that fits, or, if none does, on the first that can run at all.

    devices and among: as in `placements`. Raises UnsupportedModel where none can run.
    """
    refused: dict[str, Refusal] = {}
    first = None
    for one in placements(model, engine, settings, machine, devices=devices, among=among):
        able = engine.runs_on(model, one, machine)
        if not able.ok:
            refused[able.reason] = Refusal(engine.name, able.reason, able.fix, model_format(model))
            continue
        plan = predict(model, engine, one, machine, workload, refused=tuple(refused.values()))
        plan = (_partly(plan) or plan) if one.device_layers else plan
        plan = replace(plan, devices_asked=devices is not None)
        if plan.verdict != "does not fit":
            return plan
        first = first or plan
    if first is None:
        raise UnsupportedModel(" ".join(refused), fix=next(iter(refused.values())).fix)
    return first


def here(
    model: AnyModel,
    engine: Engine[Any],
    settings: Settings,
    machine: Machine,
    workload: Workload,
    *,
    devices: tuple[int, ...] | None = None,
) -> Plan:
    """The same of what is installed here, on what that uses; says so where there is a choice."""
    if devices is not None and engine.keeps_models:
        raise UsageError(f"{engine.title} decides by itself which devices it uses.", fix="Leave them out.")
    among = usable(engine, machine)
    made = place(model, engine, settings, machine, workload, devices=devices, among=among)
    return replace(made, reasons=(*where(made, among), *made.reasons))


def where(made: Plan, among: Usable) -> tuple[str, ...]:
    """What it runs on, where that is not plain: on a machine with accelerators."""
    machine, engine = made.machine, made.engine
    if not machine.accelerators or engine.keeps_models:  # apps decide it by themselves
        return ()
    if cards := made.settings.accelerators(machine):
        return (f"it runs on {', '.join(card.name for card in cards)}",)
    if made.devices_asked:
        return ("it runs on the CPU, as asked for",)
    if among.cards:
        return ("it runs on the CPU: it does not fit on the accelerators",)
    if name := hiding(machine):
        return (f"it runs on the CPU: {name} hides accelerators; to use some, name them",)
    return (f"it runs on the CPU: {engine.title} as it is installed here is not known to use an accelerator of this "
            "machine",)  # fmt: skip


def placements(
    model: AnyModel,
    engine: Engine[Any],
    settings: Settings,
    machine: Machine,
    *,
    devices: tuple[int, ...] | None = None,
    among: Usable | None = None,
) -> Iterator[Settings]:
    """One device, all, parts of a pipeline or some layers on them, then the CPU, as far as the engine runs so.

    devices: these and no others, () for the CPU; among: what may be taken otherwise, by default all that the engine
    runs on. Raises UsageError for devices that are not there.
    """
    if devices is not None:
        yield _on(settings, engine, devices, machine)
        return
    able, cpu = known(engine, machine) if among is None else among
    if able:
        roomiest = max(able, key=lambda n: _room(machine, n))
        yield _on(settings, engine, (roomiest,), machine)
        alike = tuple(n for n in able if machine.accelerators[n].vendor == machine.accelerators[roomiest].vendor)
        whole = _on(settings, engine, alike if engine.spans_devices else (roomiest,), machine)
        if len(whole.devices) > 1:
            yield whole
        if isinstance(model, ImageModel):
            yield replace(whole, offload=True)
        if engine.deals_layers and isinstance(model, Model):
            yield replace(whole, device_layers=model.architecture.layers)
    if cpu or not able:
        yield settings


def _room(machine: Machine, device: int) -> int:
    """Bytes that are free on a device, all of them where nobody says."""
    card = machine.accelerators[device]
    return (card.memory_total_bytes if card.memory_free_bytes is None else card.memory_free_bytes) or 0


def _on(settings: Settings, engine: Engine[Any], devices: tuple[int, ...], machine: Machine) -> Settings:
    count = len(machine.accelerators)
    for device in devices:
        if not isinstance(device, int) or isinstance(device, bool) or not 0 <= device < count:
            raise UsageError(
                f"Device {device!r} was asked for, and this machine has {count} accelerators.",
                fix="They are counted from 0.",
            )
    if len(set(devices)) < len(devices):
        raise UsageError(f"Devices {devices} were asked for, one of them twice.", fix="Name each once.")
    return replace(settings, devices=devices, tensor_parallel=len(devices) > 1 and engine.splits_layers)


def _partly(plan: Plan) -> Plan | None:
    """The plan with as many layers on the devices as fit; None where not one does."""
    least, most = 0, plan.model.architecture.layers
    best: Plan | None = None
    while least < most:
        middle = (least + most + 1) // 2
        one = replace(plan.settings, device_layers=middle)
        tried = predict(plan.model, plan.engine, one, plan.machine, plan.workload, refused=plan.refused)
        if "does not fit" in [fit.verdict for fit in tried.fits[: len(one.devices)]]:
            most = middle - 1
        else:
            least, best = middle, tried
    return best
