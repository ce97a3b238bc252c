"""Planning a model of which an app tells little more than its name: settings and reasons, and no invented numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workbench import engines
from workbench.engines import Engine, ImageShape, Settings, Workload
from workbench.engines.apps.engine import Listed
from workbench.errors import EngineUnavailable, UsageError
from workbench.machine import Machine, calibrate, probe
from workbench.planning import threads as thread_choice
from workbench.planning.language import (
    DEFAULT_CONTEXT,
    check_concurrency,
    check_llamacpp_settings,
    check_whole,
)
from workbench.planning.plans import Plan, predict

#: What is made where nobody says, with a model of which nobody says what it was made for.
USUAL_IMAGE = ImageShape(512, 512, 20)


def plan(
    model: Listed, engine: str | Engine[Any], machine: Machine | None, *,
    context: int | None, concurrency: int, cache_type: str, flash_attention: bool, devices: tuple[int, ...] | None,
    workload: Workload, image: ImageShape | None = None,
) -> Plan:  # fmt: skip
    """The plan of exactly this; raises EngineUnavailable, and UsageError for what the app does not hear of and for more
    context than it says the model has."""
    chosen = engines.get(engine) if isinstance(engine, str) else engine
    check_llamacpp_settings(chosen, cache_type, flash_attention)
    if devices is not None:
        raise UsageError(f"{chosen.title} decides by itself which devices it uses.", fix="Leave them out.")
    context, concurrency = check_whole("context", context or DEFAULT_CONTEXT), check_concurrency(concurrency)
    if not (available := chosen.available(machine)).ok:
        raise EngineUnavailable(available.reason, fix=available.fix)
    if model.most_context is not None and context > model.most_context:
        raise UsageError(
            f"A context of {context} tokens is too large; {model.name} was trained for {model.most_context}.",
            fix=f"Ask for at most {model.most_context}.",
        )
    machine = machine or calibrate(probe())
    count = thread_choice.choose(machine)
    settings = Settings(
        model=model.name, format=model.format, context=context, concurrency=concurrency,
        threads=count.decode, prefill_threads=count.prefill,
    )  # fmt: skip
    if "imagine" in chosen.capabilities:  # one at a time, and no context
        settings = replace(settings, context=0, concurrency=1, image=image or USUAL_IMAGE)
    reasons = (f"{chosen.title} has it ({available.version})", count.reason)
    version = available.version or ""
    return predict(model, chosen, settings, machine, workload.within(context), version=version, reasons=reasons)
