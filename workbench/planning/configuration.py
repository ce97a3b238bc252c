"""One configuration of a model anywhere: on this machine, on one that is described, in any format, on any engine.

Nothing is fetched or started. Where nobody says which devices, `placement` finds them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workbench import engines, models
from workbench.engines import CHAT, Engine, ImageShape, Settings, Workload
from workbench.errors import UnsupportedModel
from workbench.machine import Machine, kept, probe
from workbench.models import AnyModel, Model, SpeechModel
from workbench.models.image import ImageModel
from workbench.planning.language import DEFAULT_CONTEXT, check_concurrency, check_context
from workbench.planning.placement import place
from workbench.planning.plans import Plan
from workbench.planning.shapes import can_take, shape


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
