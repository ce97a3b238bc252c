"""Plan what can be started here and now: a model in a file, an engine that is installed, this machine.

What could run elsewhere, or after a download, is `configuration` and `choices`.
"""

from __future__ import annotations

from typing import Any, cast

from workbench import engines, models
from workbench.engines import CHAT, Availability, Engine, ImageShape, Settings, Workload
from workbench.engines.apps.engine import Listed
from workbench.engines.llamacpp import CACHE_BLOCK_VALUES
from workbench.errors import EngineUnavailable, UnsupportedModel, UsageError
from workbench.machine import Machine, calibrate, probe
from workbench.models import ImageModel, Model, SpeechModel
from workbench.planning import image as images
from workbench.planning import listed, speech
from workbench.planning import threads as thread_choice
from workbench.planning.plans import Plan, Refusal, predict
from workbench.planning.shapes import can_take, candidates, obtainable, settings_format, shape_text
from workbench.units import MIB, format_bytes

DEFAULT_CONTEXT = 2048
LEAST_CONTEXT = 128  # room for a chat template, a question and an answer
#: Types of a KV cache that is not quantized, and that is: those that llama.cpp's server can be asked for.
PLAIN_CACHE_TYPES = ("f32", "f16", "bf16")
QUANTIZED_CACHE_TYPES = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")


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
    workload: Workload = CHAT,
) -> Plan:
    """Plan a deployment of `model` on `machine` (this one by default, calibrated once).

    engine: 'auto' for the first of the table that runs here, whatever its speed; `pick` compares them for a use;
    format: of the weights, as `models.formats` names it; the file's own, or the engine's usual one, when not given;
    context: tokens of prompt and answer together; DEFAULT_CONTEXT, or all the model has if that is less;
    cache_type: element type of the KV cache, see `check_cache_type`; beam: of models that transcribe, image: of those
    that make pictures, neither of which has a context; the other settings are those of `Settings`.
    Raises UnknownName, BadModelFile, UnsupportedModel, EngineUnavailable or UsageError.
    """
    if isinstance(model, str):
        model = cast("Model | SpeechModel | ImageModel", _named(model, engine) or models.get(model))
    common: dict[str, Any] = {"machine": machine, "engine": engine, "format": format, "threads": threads}
    if isinstance(model, ImageModel):
        return images.plan(model, **common, image=image)
    if isinstance(model, SpeechModel):
        return speech.plan(model, **common, concurrency=check_concurrency(concurrency), beam=beam)
    if isinstance(model, Listed):
        asked = {"context": context or DEFAULT_CONTEXT, "concurrency": check_concurrency(concurrency)}
        return listed.plan(model, engine, machine, **asked, workload=workload, image=image)
    machine = machine or calibrate(probe())
    chosen, version, refused = _choose_engine(model, machine, engine, format)
    model = shape_text(model, chosen, format)
    count = thread_choice.counted(threads, machine)
    settings = Settings(
        model=model.name, format=settings_format(model), context=check_context(model, context),
        concurrency=check_concurrency(concurrency), threads=count.decode, prefill_threads=count.prefill,
        cache_type=check_cache_type(model, cache_type, flash_attention=flash_attention),
        flash_attention=flash_attention, prompt_cache_bytes=_check_prompt_cache(prompt_cache_bytes),
    )  # fmt: skip
    return predict(
        model, chosen, settings, machine, workload.within(settings.context), version=version,
        reasons=(f"{chosen.title} runs {model.format} files here ({version})", *_written(model, chosen), count.reason),
        refused=refused,
    )  # fmt: skip


def _written(model: Model, engine: Engine[Any]) -> tuple[str, ...]:
    """That the weights are written anew for this engine, where they are."""
    if model.path or model.made_from is None:
        return ()
    stored = models.formats.in_format(model, engine.stored_format(model.quantization))
    size = format_bytes(stored.weight_bytes)
    return (f"its weights are written as {engine.container} once, {stored.quantization}, {size} on disk",)


def _named(name: str, engine: str | Engine[Any]) -> Any:
    """The model that the engine asked for knows by this name, for apps with models of their own."""
    if engine == "auto":
        return None
    return (engines.get(engine) if isinstance(engine, str) else engine).named(name)


def _choose_engine(
    model: Model, machine: Machine, wanted: str | Engine[Any], format_name: str | None
) -> tuple[Engine[Any], str, tuple[Refusal, ...]]:
    """The first engine that is available and supports the model; the fake one only when asked for by name."""
    refused: list[Refusal] = []
    for candidate in candidates(wanted, "chat"):
        supported, available = _supported(candidate, model, format_name), candidate.available(machine)
        if supported.ok and available.ok:
            return candidate, available.version or "", tuple(refused)
        obstacle, error = (supported, UnsupportedModel) if not supported.ok else (available, EngineUnavailable)
        refused.append(Refusal(candidate.name, obstacle.reason, obstacle.fix))
    raise error(" ".join(r.reason for r in refused), fix=refused[-1].fix)


def _supported(engine: Engine[Any], model: Model, format_name: str | None) -> Availability:
    if format_name is not None and not can_take(engine, model, format_name):
        return Availability(False, f"{engine.title} does not run {format_name}.", "Choose another format or engine.")
    shaped = shape_text(model, engine, format_name)
    there = obtainable(shaped, engine)
    if there.ok:
        return engine.supports(shaped)
    as_it_is = engine.supports(model)  # names the obstacle better, where it is one
    return there if as_it_is.ok else as_it_is


def check_context(model: Model, context: int | None) -> int:
    most = model.architecture.context_length
    if most < LEAST_CONTEXT:
        raise UnsupportedModel(
            f"{model.name} has a context of {most} tokens.", fix=f"At least {LEAST_CONTEXT} are needed."
        )
    if context is None:
        return min(DEFAULT_CONTEXT, most)
    if not LEAST_CONTEXT <= context <= most:
        wrong = "small" if context < LEAST_CONTEXT else "large"
        raise UsageError(
            f"A context of {context} tokens is too {wrong}; {model.name} was trained for {most}.",
            fix=f"Ask for {LEAST_CONTEXT} to {most} tokens." if most > LEAST_CONTEXT else f"Ask for {most}.",
        )
    return context


def check_concurrency(concurrency: int) -> int:
    if not 1 <= concurrency <= 256:
        raise UsageError(f"A concurrency of {concurrency} was asked for.", fix="Ask for 1 to 256 requests at once.")
    return concurrency


def check_cache_type(model: Model, name: str, *, flash_attention: bool) -> str:
    """The name, if llama.cpp accepts it: it quantizes whole blocks of a head, and only with flash attention."""
    known = (*PLAIN_CACHE_TYPES, *QUANTIZED_CACHE_TYPES)
    if name not in known:
        raise UsageError(f"There is no KV cache of type {name!r}.", fix=f"Known: {', '.join(known)}.")
    if name in QUANTIZED_CACHE_TYPES and not flash_attention:
        raise UsageError(
            f"A KV cache of type {name} was asked for without flash attention; llama.cpp refuses to quantize it then.",
            fix=f"Turn flash attention on, or ask for {' or '.join(PLAIN_CACHE_TYPES)}.",
        )
    lengths = {model.architecture.key_length, model.architecture.value_length}
    if name in QUANTIZED_CACHE_TYPES and any(length % CACHE_BLOCK_VALUES for length in lengths):
        raise UsageError(
            f"{model.name} has heads of {max(lengths)} values, which blocks of {CACHE_BLOCK_VALUES} do not divide: "
            f"llama.cpp refuses a KV cache of type {name}.",
            fix=f"Ask for {' or '.join(PLAIN_CACHE_TYPES)}.",
        )
    return name


def _check_prompt_cache(count: int) -> int:
    if count != 0 and count < MIB:
        raise UsageError(f"A prompt cache of {count} bytes was asked for.", fix="Ask for 0, or for a MiB or more.")
    return count
