"""A plan: how a model would run here, what that takes and how fast it is, and why the other ways were refused."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from workbench import engines, models
from workbench.engines import Engine, Settings
from workbench.errors import DoesNotFit, EngineUnavailable, UnsupportedModel, UsageError
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Machine, calibrate, probe
from workbench.models import Model
from workbench.planning import threads as thread_choice
from workbench.planning.workload import CHAT, Workload
from workbench.units import MIB, format_bytes, now

DEFAULT_CONTEXT = 2048
LEAST_CONTEXT = 128  # room for a chat template, a question and an answer


@dataclass(frozen=True, slots=True)
class Refusal:
    """An engine that was not chosen, why, and the smallest change that would make it possible."""

    engine: str
    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings, predictions and reasons.

    prefill, decode: tok/s, for one request of `workload` alone; ttft: s.
    """

    model: Model
    engine: Engine
    engine_version: str
    settings: Settings
    machine: Machine
    workload: Workload
    memory: tuple[Breakdown, ...]
    prefill: Estimate
    decode: Estimate
    ttft: Estimate
    reasons: tuple[str, ...]
    refused: tuple[Refusal, ...]
    created: str = field(default_factory=now)
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def predictions(self) -> Mapping[str, Estimate]:
        """Every predicted quantity under the name its measurement has."""
        memory = self.memory[0].total
        return {"memory_peak": memory, "prefill": self.prefill, "decode": self.decode, "ttft": self.ttft}

    def check_fits(self) -> None:
        """Raise DoesNotFit if the predicted memory is more than what is available now."""
        need, free = self.memory[0].total, self.machine.memory.available_bytes
        if need.value is not None and need.value > free:
            raise DoesNotFit(
                f"{self.model.name} needs about {format_bytes(need.value)} with a context of {self.settings.context} "
                f"tokens; {format_bytes(free)} of memory are available.",
                fix="Close other programs, ask for a smaller context, or choose a smaller model.",
            )

    def to_dict(self) -> dict[str, Any]:
        """Stable keys with units in their names, for --json, the ledger and the report."""
        return {
            "id": self.id,
            "created": self.created,
            "model": self.model.name,
            "model_path": str(self.model.path),
            "engine": self.engine.name,
            "engine_version": self.engine_version,
            "hardware": self.machine.hardware_class,
            "machine": self.machine.fingerprint(),
            "settings": asdict(self.settings),
            "workload": asdict(self.workload),
            "memory": [
                {"device": b.device, "parts": {name: asdict(part) for name, part in b.parts.items()}}
                for b in self.memory
            ],
            "predictions": {name: asdict(estimate) for name, estimate in self.predictions.items()},
            "reasons": list(self.reasons),
            "refused": [asdict(refusal) for refusal in self.refused],
        }  # fmt: skip


def plan(
    model: str | Model,
    *,
    machine: Machine | None = None,
    engine: str | Engine = "auto",
    context: int | None = None,
    concurrency: int = 1,
    threads: int | None = None,
    flash_attention: bool = True,
    prompt_cache_bytes: int = 0,
    workload: Workload = CHAT,
) -> Plan:
    """Plan a deployment of `model` on `machine` (this one by default, calibrated once).

    context: tokens of prompt and answer together; DEFAULT_CONTEXT, or all the model has if that is less;
    the other settings are those of `Settings`.
    Raises UnknownName, BadModelFile, UnsupportedModel, EngineUnavailable or UsageError.
    """
    model = models.get(model) if isinstance(model, str) else model
    here = probe()
    machine = machine or calibrate(here)
    chosen, version, refused = _choose_engine(model, machine, engine)
    if threads is None:  # a machine that is only described has nothing else to do
        busy = None if machine.fingerprint() == here.fingerprint() else 0.0
        count = thread_choice.choose(machine, busy)
    else:
        count = thread_choice.fixed(machine, threads)
    settings = Settings(
        model=model.name, format=model.format, context=_check_context(model, context),
        concurrency=_check_concurrency(concurrency), threads=count.decode, prefill_threads=count.prefill,
        flash_attention=flash_attention, prompt_cache_bytes=_check_prompt_cache(prompt_cache_bytes),
    )  # fmt: skip
    workload = workload.within(settings.context)
    prefill_s = chosen.prefill(model, settings, machine, workload.prompt_tokens)
    decode_s = chosen.decode(model, settings, machine, workload.decode_depth)
    return Plan(
        model, chosen, version, settings, machine, workload,
        memory=chosen.memory(model, settings, machine),
        prefill=prefill_s.rate(workload.prompt_tokens),
        decode=decode_s.rate(1),
        ttft=prefill_s,
        reasons=(f"{chosen.title} runs {model.format} files here ({version})", count.reason),
        refused=refused,
    )  # fmt: skip


def _choose_engine(model: Model, machine: Machine, wanted: str | Engine) -> tuple[Engine, str, tuple[Refusal, ...]]:
    """The first engine that is available and supports the model; the fake one only when asked for by name."""
    if isinstance(wanted, Engine):
        candidates = [wanted]
    elif wanted == "auto":
        candidates = [engines.get(name) for name in engines.ENGINES if name != "fake"]
    else:
        candidates = [engines.get(wanted)]
    refused: list[Refusal] = []
    for candidate in candidates:
        supported, available = candidate.supports(model), candidate.available(machine)
        if supported.ok and available.ok:
            return candidate, available.version or "", tuple(refused)
        obstacle, error = (supported, UnsupportedModel) if not supported.ok else (available, EngineUnavailable)
        refused.append(Refusal(candidate.name, obstacle.reason, obstacle.fix))
    raise error(" ".join(r.reason for r in refused), fix=refused[-1].fix)


def _check_context(model: Model, context: int | None) -> int:
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


def _check_concurrency(concurrency: int) -> int:
    if not 1 <= concurrency <= 256:
        raise UsageError(f"A concurrency of {concurrency} was asked for.", fix="Ask for 1 to 256 requests at once.")
    return concurrency


def _check_prompt_cache(count: int) -> int:
    if count != 0 and count < MIB:
        raise UsageError(f"A prompt cache of {count} bytes was asked for.", fix="Ask for 0, or for a MiB or more.")
    return count
