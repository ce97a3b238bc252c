"""One configuration of a model anywhere: on this machine, on one that is described, in any format, on any engine.

Nothing is fetched or started. Where nobody says which devices, the fewest on which it fits are taken; an engine that
can lay some layers into main memory does so before the CPU does everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from workbench import engines, models
from workbench.engines import CHAT, Engine, ImageShape, Settings, Workload
from workbench.engines.device_memory import runtime
from workbench.errors import UnsupportedModel, UsageError
from workbench.machine import Machine, kept, probe
from workbench.models import AnyModel, Model, SpeechModel
from workbench.models.image import ImageModel
from workbench.planning.planner import DEFAULT_CONTEXT, check_concurrency, check_context
from workbench.planning.plans import Plan, Refusal, predict
from workbench.planning.shapes import can_take, model_format, shape


def estimate(
    model: str | AnyModel,
    *,
    machine: Machine | None = None,
    engine: str | Engine[Any] = "auto",
    format: str | None = None,  # noqa: A002 - the field's own word
    context: int | None = None,
    concurrency: int = 1,
    cache_type: str = "f16",
    image: ImageShape | None = None,
    beam: int = 1,
    devices: tuple[int, ...] | None = None,
    workload: Workload = CHAT,
) -> Plan:
    """The plan of one configuration, whether it fits or not: `Plan.verdict` says.

    machine: this one by default; see `machine.describe` for others. format: as `models.formats` names it; devices:
    places in `machine.accelerators`, () for the CPU, chosen when not given; the rest as in `Settings`.
    Raises UnknownName, UsageError, UnsupportedModel and what reading the model raises.
    """
    machine = machine or kept(probe())
    found = models.describe(model) if isinstance(model, str) else model
    chosen = engine if isinstance(engine, Engine) else _engine_for(found, engine, format)
    shaped = shape(found, chosen, format)
    settings = settings_for(shaped, context=context, concurrency=concurrency, image=image, machine=machine)
    settings = replace(settings, cache_type=cache_type, beam=beam)
    return place(shaped, chosen, settings, machine, workload.within(settings.context), devices=devices)


def _engine_for(model: AnyModel, wanted: str, format_name: str | None) -> Engine[Any]:
    if wanted != "auto":
        return engines.get(wanted)
    able = [one for one in candidates(model) if format_name is None or can_take(one, model, format_name)]
    if not able:
        raise UnsupportedModel(
            f"No engine here runs {model.name} in {format_name}.", fix="`workbench plan` lists what runs it."
        )
    return able[0]


def candidates(model: AnyModel) -> list[Engine[Any]]:
    """The engines for this kind of model, in the order of the registry; the fake one is for tests."""
    needed = capability(model)
    all_of_them = (engines.get(name) for name in engines.ENGINES if name != "fake")
    return [engine for engine in all_of_them if needed in engine.capabilities]


def capability(model: AnyModel) -> str:
    """What an engine must be capable of to run this model."""
    return "transcribe" if isinstance(model, SpeechModel) else "imagine" if isinstance(model, ImageModel) else "chat"


def settings_for(
    model: AnyModel, *, context: int | None = None, concurrency: int = 1, image: ImageShape | None = None,
    machine: Machine | None = None,
) -> Settings:  # fmt: skip
    """Settings with what was asked for checked against the model."""
    cores = max(1, int(min(machine.cpu.physical_cores, machine.cpu.usable_cores))) if machine else 1
    settings = Settings(
        model.name, model.format, DEFAULT_CONTEXT, check_concurrency(concurrency), max(1, cores - 1), cores
    )
    if isinstance(model, ImageModel):
        return replace(settings, image=image or ImageShape(model.width, model.height, model.steps))
    return replace(settings, context=check_context(model, context)) if isinstance(model, Model) else settings


# -- where it runs ---------------------------------------------------------------------------------------------


def place(
    model: AnyModel,
    engine: Engine[Any],
    settings: Settings,
    machine: Machine,
    workload: Workload,
    *,
    devices: tuple[int, ...] | None = None,
) -> Plan:
    """The plan on the first placement that fits, or, if none does, on the first that can run at all."""
    given = None if devices is None else [_on(settings, engine, devices, machine)]
    refused: dict[str, Refusal] = {}
    first = None
    for one in given or placements(model, engine, settings, machine):
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


def placements(model: AnyModel, engine: Engine[Any], settings: Settings, machine: Machine) -> Iterator[Settings]:
    """One device, all, parts of a pipeline or some layers on them, then the CPU, as far as the engine runs so."""
    able = [n for n, card in enumerate(machine.accelerators) if runtime(card) in engine.runtimes]
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
    if "cpu" in engine.runtimes or not able:
        yield settings


def _on(settings: Settings, engine: Engine[Any], devices: tuple[int, ...], machine: Machine) -> Settings:
    for place_ in devices:
        if not 0 <= place_ < len(machine.accelerators):
            raise UsageError(
                f"Device {place_} was asked for, and this machine has {len(machine.accelerators)} accelerators.",
                fix="They are counted from 0.",
            )
    return replace(settings, devices=devices, tensor_parallel=len(devices) > 1 and not engine.deals_layers)


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
