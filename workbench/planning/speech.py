"""Planning a model that transcribes: which engine here, and how; the rest is as for language."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workbench.engines import Engine, Settings
from workbench.engines.workload import CHAT
from workbench.errors import EngineUnavailable, UnsupportedModel, UsageError
from workbench.machine import Machine, calibrate, probe
from workbench.models import SpeechModel
from workbench.planning import placement
from workbench.planning import threads as thread_choice
from workbench.planning.plans import Plan, Refusal
from workbench.planning.shapes import candidates, obtainable, shape


def plan(
    model: SpeechModel,
    *,
    machine: Machine | None = None,
    engine: str | Engine[Any] = "auto",
    format: str | None = None,  # noqa: A002 - the field's own word
    concurrency: int = 1,
    threads: int | thread_choice.Threads | None = None,
    beam: int = 1,
    devices: tuple[int, ...] | None = None,
) -> Plan:
    """A deployment of `model` here; beam: how many ways a search follows at once, 1 takes the likeliest word.

    concurrency: 1, since recordings are transcribed one after the other.
    Raises EngineUnavailable, UnsupportedModel or UsageError.
    """
    if concurrency != 1:
        raise UsageError(
            f"{concurrency} recordings at once were asked for; they are transcribed one after the other.",
            fix="Leave it out; `workbench estimate` predicts several windows at once.",
        )
    machine = machine or calibrate(probe())
    refused: list[Refusal] = []
    for candidate in candidates(engine, "transcribe"):
        made, obstacle = _shaped(model, candidate, format, machine)
        if obstacle is None:
            break
        refused.append(obstacle)
    else:
        wrong_kind = all("transcribe" not in one.capabilities for one in candidates(engine, "transcribe"))
        error = UsageError if wrong_kind else UnsupportedModel if format else EngineUnavailable
        raise error(" ".join(one.reason for one in refused), fix=refused[-1].fix)
    count = thread_choice.counted(threads, machine)
    settings = Settings(
        model.name, made.format, context=made.text_context, beam=beam,
        threads=count.decode, prefill_threads=count.prefill,
    )  # fmt: skip
    version = candidate.available(machine).version or ""
    reasons = (f"{candidate.title} transcribes with {made.format} weights here ({version})", count.reason)
    placed = placement.here(made, candidate, settings, machine, CHAT, devices=devices)
    return placed.found_here(version, reasons, tuple(refused))


def _shaped(
    model: SpeechModel, engine: Engine[Any], format_name: str | None, machine: Machine
) -> tuple[Any, Refusal | None]:
    """The model as this engine runs it, or why it does not."""
    if "transcribe" not in engine.capabilities:
        reason = f"{model.name} is a model for speech, and {engine.title} does not transcribe."
        return None, Refusal(engine.name, reason, "Leave the engine out, or name one that transcribes.")
    own = engine.stored_format(model.format)
    made = shape(model, engine, format_name or (own if own in engine.formats else None))
    assert isinstance(made, SpeechModel)  # noqa: S101 - a model stays of its kind
    if made.path and made.container != engine.container:  # the same format, to be written in another one
        made = replace(made, path=None, made_from=model)
    for obstacle in (engine.supports(made), obtainable(made, engine), engine.available(machine)):
        if not obstacle.ok:
            return None, Refusal(engine.name, obstacle.reason, obstacle.fix)
    return made, None
