"""Planning a model that makes pictures: which engine here, how much memory, and what to do where that is short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from workbench.engines import Engine, ImageShape, Settings
from workbench.engines.contract import Tricks
from workbench.engines.workload import CHAT
from workbench.errors import EngineUnavailable, UnsupportedModel, UsageError
from workbench.machine import Machine, calibrate, probe
from workbench.models import ImageModel
from workbench.planning import placement
from workbench.planning import threads as thread_choice
from workbench.planning.plans import Plan, Refusal, predict
from workbench.planning.shapes import candidates, shape

#: What a CPU computes pictures in when nobody names a format: 16 bits are slower on most.
ON_CPU = "FP32"


def plan(
    model: ImageModel,
    *,
    machine: Machine | None = None,
    engine: str | Engine[Any] = "auto",
    format: str | None = None,  # noqa: A002 - the field's own word
    image: ImageShape | None = None,
    threads: int | thread_choice.Threads | None = None,
    devices: tuple[int, ...] | None = None,
) -> Plan:
    """A deployment of `model` here; image: the largest request it is to serve, one picture of the model's own size when
    not given.

    Requests are served one after the other. Where the whole does not fit, pictures are decoded one by one, then in
    tiles; then parts are moved to the device while they work, then the CPU does it. devices: as in `workbench.plan`.
    Raises EngineUnavailable, UnsupportedModel or UsageError.
    """
    machine = machine or calibrate(probe())
    chosen, refused = _choose(model, engine, format or ON_CPU, machine)
    count, among = thread_choice.counted(threads, machine), placement.usable(chosen, machine)
    wanted = image or ImageShape(model.width, model.height, model.steps, guidance=model.guidance)
    settings = Settings(
        model.name, format or ON_CPU, context=0, threads=count.decode, prefill_threads=count.prefill, image=wanted
    )
    version = chosen.available(machine).version or ""
    found = None
    for one, why in _ways(placement.placements(model, chosen, settings, machine, devices=devices, among=among)):
        shaped = _shaped(model, chosen, format, one)
        found = predict(shaped, chosen, replace(one, format=shaped.format), machine, CHAT)
        found = replace(found, devices_asked=devices is not None)
        reasons = f"{chosen.title} makes pictures in {shaped.format} here ({version})", *placement.where(found, among)
        found = found.found_here(version, (*reasons, *why, count.reason), refused)
        if found.verdict != "does not fit":
            return found
    assert found is not None  # noqa: S101 - there is always a first way
    return found


def _ways(places: Iterable[Settings]) -> Iterator[tuple[Settings, tuple[str, ...]]]:
    """As asked, and then with less memory for the same pictures, in one place after the other."""
    for one in places:
        moved = ("its parts are moved to the card while they work, to fit",) if one.offload else ()
        yield one, moved
        if one.image and one.image.images > 1:
            yield replace(one, tricks=Tricks(sliced=True)), (*moved, "pictures are decoded one by one, to fit")
        yield replace(one, tricks=Tricks(sliced=True, tiled=True)), (*moved, "pictures are decoded in tiles, to fit")


def _shaped(model: ImageModel, engine: Engine[Any], format_name: str | None, settings: Settings) -> ImageModel:
    """In the format asked for; else on an accelerator in that of the files."""
    usual = model.format if settings.devices and model.format in engine.formats else ON_CPU
    made = shape(model, engine, format_name or usual)
    assert isinstance(made, ImageModel)  # noqa: S101 - a model stays of its kind
    return made


def _choose(
    model: ImageModel, engine: str | Engine[Any], format_name: str, machine: Machine
) -> tuple[Engine[Any], tuple[Refusal, ...]]:
    refused: list[Refusal] = []
    for one in candidates(engine, "imagine"):
        obstacle = _obstacle(model, one, format_name, machine)
        if obstacle is None:
            return one, tuple(refused)
        refused.append(obstacle)
    wrong_kind = all("imagine" not in one.capabilities for one in candidates(engine, "imagine"))
    error = UsageError if wrong_kind else EngineUnavailable if model.path else UnsupportedModel
    raise error(" ".join(one.reason for one in refused), fix=refused[-1].fix)


def _obstacle(model: ImageModel, engine: Engine[Any], format_name: str, machine: Machine) -> Refusal | None:
    """Why this engine does not run this model here; None where it does."""
    if "imagine" not in engine.capabilities:
        reason = f"{model.name} is a model for images, and {engine.title} makes none."
        return Refusal(engine.name, reason, "Leave the engine out, or name one that makes pictures.")
    if format_name not in engine.formats:
        return Refusal(engine.name, f"{engine.title} does not run {format_name}.", "Choose FP32 or BF16.")
    if model.path is None:
        return Refusal(engine.name, f"{model.name} is only described: no folder holds it.", "Name its folder.")
    for one in (engine.supports(model), engine.available(machine)):
        if not one.ok:
            return Refusal(engine.name, one.reason, one.fix)
    return None
