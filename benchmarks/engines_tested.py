"""The engines that run on this machine, each deployed, asked and measured; the newest runs of the others are kept.

`python -m benchmarks engines_tested` runs all that are available here. What `workbench engines` calls last tested is
the newest date of each.
"""

from __future__ import annotations

from typing import Any

import workbench
from benchmarks import record
from workbench import engines
from workbench.measurement.speech import sample
from workbench.units import now

MODEL, SPEECH_MODEL, CONTEXT, KEPT_RUNS = "smollm2-135m-instruct", "whisper-tiny.en", 512, 3
QUESTION = "Why is the sky blue? Answer in one sentence."


def run() -> dict[str, Any]:
    """Engine → its newest runs, newest first: date, version, what it answered, memory and speed, the machine."""
    try:
        known: dict[str, list[dict[str, Any]]] = record.read("engines_tested")["result"]
    except FileNotFoundError:
        known = {}
    for name in engines.ENGINES:
        engine = engines.get(name)
        able = {"chat", "transcribe"} & engine.capabilities
        if name != "fake" and engine.starts and able and engine.available().ok:
            known[name] = [tested(name, speech="transcribe" in able), *known.get(name, [])][:KEPT_RUNS]
            print(f"  {name} {known[name][0]['version']}", flush=True)
    return known


def tested(engine: str, *, speech: bool) -> dict[str, Any]:
    """Deploy the embedded model of its kind on this engine, ask it, and measure it."""
    plan = workbench.plan(SPEECH_MODEL if speech else MODEL, engine=engine, context=CONTEXT)
    with workbench.deploy(plan, share=False) as deployment:
        if speech:
            answer = deployment.transcribe(sample()).text
        else:
            answer = "".join(deployment.chat(QUESTION, max_tokens=32, temperature=0))
        measured = workbench.measure(deployment, repeats=3)
    return {
        "date": now(), "version": plan.engine_version, "model": plan.model.name, "format": plan.settings.format,
        "threads": plan.settings.threads, "context": CONTEXT, "hardware": plan.machine.hardware_class, "answer": answer,
        "measured": {name: {"value": one.value, "unit": one.unit} for name, one in measured.values.items()},
        "predicted": {name: {"value": one.value, "low": one.low, "high": one.high, "unit": one.unit}
                      for name, one in plan.predictions.items()},
    }  # fmt: skip
