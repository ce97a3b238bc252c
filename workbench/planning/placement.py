"""Where a configuration runs: on one device, on several, partly in main memory, or on the CPU.

Where nobody says which devices, the fewest on which it fits are taken; an engine that can lay some layers into main
memory does so before the CPU does everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from workbench.engines import Engine, Settings, Workload
from workbench.engines.device_memory import runtime
from workbench.errors import UnsupportedModel, UsageError
from workbench.machine import Machine
from workbench.models import AnyModel, Model
from workbench.models.image import ImageModel
from workbench.planning.plans import Plan, Refusal, predict
from workbench.planning.shapes import model_format


def place(
    model: AnyModel,
    engine: Engine[Any],
    settings: Settings,
    machine: Machine,
    workload: Workload,
    *,
    devices: tuple[int, ...] | None = None,
    reach: frozenset[str] | None = None,
) -> Plan:
    """The plan on the first placement that fits, or, if none does, on the first that can run at all.

    devices and reach: as in `placements`. Raises UnsupportedModel where none can run.
    """
    refused: dict[str, Refusal] = {}
    first = None
    for one in placements(model, engine, settings, machine, devices=devices, reach=reach):
        able = engine.runs_on(model, one, machine)
        if not able.ok:
            refused[able.reason] = Refusal(engine.name, able.reason, able.fix, model_format(model))
            continue
        plan = predict(model, engine, one, machine, workload, refused=tuple(refused.values()))
        plan = (_partly(plan) or plan) if one.device_layers else plan
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
    made = place(model, engine, settings, machine, workload, devices=devices, reach=reach_of(engine, machine))
    return replace(made, reasons=(*where(made), *made.reasons))


def reach_of(engine: Engine[Any], machine: Machine) -> frozenset[str]:
    """The kinds of devices that the installed engine uses; nobody is asked on a machine with nothing but a CPU."""
    return engine.reach(machine) if machine.accelerators else frozenset({"cpu"})


def where(made: Plan) -> tuple[str, ...]:
    """What it runs on, where that is not plain: on a machine with accelerators."""
    if not made.machine.accelerators or made.engine.keeps_models:  # apps decide it by themselves
        return ()
    if cards := made.settings.accelerators(made.machine):
        return (f"it runs on {', '.join(card.name for card in cards)}",)
    kinds = {runtime(card) for card in made.machine.accelerators}
    unused = kinds.isdisjoint(reach_of(made.engine, made.machine))
    why = f": {made.engine.title} as it is installed here uses no accelerator of this machine" if unused else ""
    return (f"it runs on the CPU{why}",)


def placements(
    model: AnyModel,
    engine: Engine[Any],
    settings: Settings,
    machine: Machine,
    *,
    devices: tuple[int, ...] | None = None,
    reach: frozenset[str] | None = None,
) -> Iterator[Settings]:
    """One device, all, parts of a pipeline or some layers on them, then the CPU, as far as the engine runs so.

    devices: these and no others, () for the CPU; reach: the kinds of devices to be used, all that the engine knows by
    default. Raises UsageError for a device that is not there.
    """
    if devices is not None:
        yield _on(settings, engine, devices, machine)
        return
    kinds = engine.runtimes if reach is None else reach
    able = [n for n, card in enumerate(machine.accelerators) if runtime(card) in kinds]
    if able:
        biggest = max(able, key=lambda n: machine.accelerators[n].memory_total_bytes or 0)
        yield _on(settings, engine, (biggest,), machine)
        alike = tuple(n for n in able if machine.accelerators[n].vendor == machine.accelerators[biggest].vendor)
        whole = _on(settings, engine, alike if engine.spans_devices else (biggest,), machine)
        if len(whole.devices) > 1:
            yield whole
        if isinstance(model, ImageModel):
            yield replace(whole, offload=True)
        if engine.deals_layers and isinstance(model, Model):
            yield replace(whole, device_layers=model.architecture.layers)
    if "cpu" in kinds or not able:
        yield settings


def _on(settings: Settings, engine: Engine[Any], devices: tuple[int, ...], machine: Machine) -> Settings:
    for place_ in devices:
        if not 0 <= place_ < len(machine.accelerators):
            raise UsageError(
                f"Device {place_} was asked for, and this machine has {len(machine.accelerators)} accelerators.",
                fix="They are counted from 0.",
            )
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
