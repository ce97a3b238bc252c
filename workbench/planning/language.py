"""Planning a language model: which engine here, with which settings, and where it runs."""

from __future__ import annotations

from typing import Any

from workbench import models
from workbench.engines import Availability, Engine, Settings, Workload
from workbench.engines.llamacpp import CACHE_BLOCK_VALUES
from workbench.errors import EngineUnavailable, UnsupportedModel, UsageError
from workbench.machine import Machine, calibrate, probe
from workbench.models import Model
from workbench.planning import placement
from workbench.planning import threads as thread_choice
from workbench.planning.plans import Plan, Refusal
from workbench.planning.shapes import can_take, candidates, obtainable, settings_format, shape_text
from workbench.units import MIB, format_bytes

DEFAULT_CONTEXT = 2048
LEAST_CONTEXT = 128  # room for a chat template, a question and an answer
MOST_AT_ONCE = 256
#: Types of a KV cache that is not quantized, and that is: those that llama.cpp's server can be asked for.
PLAIN_CACHE_TYPES = ("f32", "f16", "bf16")
QUANTIZED_CACHE_TYPES = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")


def plan(
    model: Model,
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
    devices: tuple[int, ...] | None = None,
    workload: Workload,
) -> Plan:
    """A deployment of `model` here; the arguments and errors are those of `workbench.plan`."""
    machine = machine or calibrate(probe())
    chosen, version, refused = _choose_engine(model, machine, engine, format)
    check_llamacpp_settings(chosen, cache_type, flash_attention)
    model = shape_text(model, chosen, format)
    count = thread_choice.counted(threads, machine)
    settings = Settings(
        model=model.name, format=settings_format(model), context=check_context(model, context),
        concurrency=check_concurrency(concurrency), threads=count.decode, prefill_threads=count.prefill,
        cache_type=check_cache_type(model, cache_type, flash_attention=flash_attention),
        flash_attention=flash_attention, prompt_cache_bytes=_check_prompt_cache(prompt_cache_bytes),
    )  # fmt: skip
    reasons = f"{chosen.title} runs {model.format} files here ({version})", *_written(model, chosen), count.reason
    made = placement.here(model, chosen, settings, machine, workload.within(settings.context), devices=devices)
    return made.found_here(version, reasons, refused)


def _written(model: Model, engine: Engine[Any]) -> tuple[str, ...]:
    """That the weights are written anew for this engine, where they are."""
    if model.path or model.made_from is None:
        return ()
    stored = models.formats.in_format(model, engine.stored_format(model.quantization))
    size = format_bytes(stored.weight_bytes)
    return (f"its weights are written as {engine.container} once, {stored.quantization}, {size} on disk",)


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


# -- what can be asked for -------------------------------------------------------------------------------------


def check_context(model: Model, context: int | None) -> int:
    """Tokens of context: what was asked for, or DEFAULT_CONTEXT, or all the model has if that is less."""
    most = model.architecture.context_length
    if most < LEAST_CONTEXT:
        raise UnsupportedModel(
            f"{model.name} has a context of {most} tokens.", fix=f"At least {LEAST_CONTEXT} are needed."
        )
    if context is None:
        return min(DEFAULT_CONTEXT, most)
    if not LEAST_CONTEXT <= check_whole("context", context) <= most:
        wrong = "small" if context < LEAST_CONTEXT else "large"
        raise UsageError(
            f"A context of {context} tokens is too {wrong}; {model.name} was trained for {most}.",
            fix=f"Ask for {LEAST_CONTEXT} to {most} tokens." if most > LEAST_CONTEXT else f"Ask for {most}.",
        )
    return context


def check_concurrency(concurrency: int) -> int:
    """Requests served at once, if that many can be."""
    if not 1 <= check_whole("concurrency", concurrency) <= MOST_AT_ONCE:
        raise UsageError(
            f"A concurrency of {concurrency} was asked for.", fix=f"Ask for 1 to {MOST_AT_ONCE} requests at once."
        )
    return concurrency


def check_whole(name: str, value: int) -> int:
    """The value, if it is a whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}.", fix="Give a whole number.")
    return value


def check_llamacpp_settings(engine: Engine[Any], cache_type: str, flash_attention: bool) -> None:
    """Raise UsageError where another engine would not hear of them."""
    if engine.name != "llama.cpp" and (cache_type != "f16" or not flash_attention):
        raise UsageError(
            f"The type of the cache and flash attention are settings of llama.cpp, and {engine.title} was chosen.",
            fix="Leave them out, or choose the engine llama.cpp.",
        )


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
