"""Plan what can be started here and now: a model in a file, an engine that is installed, this machine.

What could run elsewhere, or after a download, is `configuration` and `choices`.
"""

from __future__ import annotations

from typing import Any, cast

from workbench import engines, models
from workbench.engines import CHAT, Engine, ImageShape, Workload
from workbench.engines.apps.engine import Listed
from workbench.machine import Machine
from workbench.models import ImageModel, Model, SpeechModel
from workbench.planning import image as images
from workbench.planning import language, listed, speech
from workbench.planning import threads as thread_choice
from workbench.planning.plans import Plan


def plan(
    model: str | Model | SpeechModel | ImageModel,
    *,
    machine: Machine | None = None,
    engine: str | Engine[Any] = "auto",
    format: str | None = None,  # noqa: A002 - the field's own word
    context: int | None = None,
    concurrency: int = 1,
    threads: int | thread_choice.Threads | None = None,
    cache_type: str = "f16",
    flash_attention: bool = True,
    prompt_cache_bytes: int = 0,
    beam: int = 1,
    image: ImageShape | None = None,
    devices: tuple[int, ...] | None = None,
    workload: Workload = CHAT,
) -> Plan:
    """Plan a deployment of `model` on `machine` (this one by default, calibrated once).

    engine: 'auto' for the first of the table that runs here, whatever its speed; `pick` compares them for a use;
    format: of the weights, as `models.formats` names it; the file's own, or the engine's usual one, when not given;
    context: tokens of prompt and answer together; 2,048, or all the model has if that is less;
    cache_type: element type of the KV cache, see `check_cache_type`; beam: of models that transcribe, image: of those
    that make pictures, neither of which has a context; devices: places in `machine.accelerators`, () for the CPU; by
    default the fewest on which it fits, of those that the installed engine uses; the rest as in `Settings`.
    Raises UnknownName, BadModelFile, UnsupportedModel, EngineUnavailable or UsageError.
    """
    if isinstance(model, str):
        model = cast("Model | SpeechModel | ImageModel", _named(model, engine) or models.get(model))
    common: dict[str, Any] = {
        "machine": machine, "engine": engine, "format": format, "threads": threads, "devices": devices,
    }  # fmt: skip
    if isinstance(model, ImageModel):
        return images.plan(model, **common, image=image)
    if isinstance(model, SpeechModel):
        return speech.plan(model, **common, concurrency=language.check_concurrency(concurrency), beam=beam)
    of_text: dict[str, Any] = {"concurrency": concurrency, "cache_type": cache_type, "flash_attention": flash_attention}
    if isinstance(model, Listed):
        more: dict[str, Any] = {"context": context, "devices": devices, "workload": workload, "image": image}
        return listed.plan(model, engine, machine, **of_text, **more)
    return language.plan(
        model, **common, **of_text, context=context, prompt_cache_bytes=prompt_cache_bytes, workload=workload
    )


def _named(name: str, engine: str | Engine[Any]) -> Any:
    """The model that the engine asked for knows by this name, for apps with models of their own."""
    if engine == "auto":
        return None
    return (engines.get(engine) if isinstance(engine, str) else engine).named(name)
