"""The engines that run on this machine, each deployed, asked and measured; the newest runs of the others are kept.

`python -m benchmarks engines_tested` runs all that are available here. What `workbench engines` calls last tested is
the newest date of each.
"""

from __future__ import annotations

import hashlib
from typing import Any

import workbench
from benchmarks import record
from workbench import engines
from workbench.deployment import Deployment
from workbench.measurement.speech import sample
from workbench.units import now

#: The embedded model of each kind, by what its engines can do.
MODELS = {"chat": "smollm2-135m-instruct", "transcribe": "whisper-tiny.en", "imagine": "icons"}
CONTEXT, KEPT_RUNS, PICTURE = 512, 3, "a red apple"
QUESTION = "Why is the sky blue? Answer in one sentence."


def run() -> dict[str, Any]:
    """Engine → its newest runs, newest first: date, version, what it answered, memory and speed, the machine."""
    try:
        known: dict[str, list[dict[str, Any]]] = record.read("engines_tested")["result"]
    except FileNotFoundError:
        known = {}
    for name in engines.ENGINES:
        engine = engines.get(name)
        able = next((one for one in MODELS if one in engine.capabilities), None)
        if name != "fake" and engine.starts and able and engine.available().ok:
            known[name] = [tested(name, able), *known.get(name, [])][:KEPT_RUNS]
            print(f"  {name} {known[name][0]['version']}", flush=True)
    return known


def tested(engine: str, task: str) -> dict[str, Any]:
    """Deploy the embedded model of its kind on this engine, ask it, and measure it."""
    plan = workbench.plan(MODELS[task], engine=engine, context=CONTEXT)
    with workbench.deploy(plan, share=False) as deployment:
        answer = asked(deployment, task)
        measured = workbench.measure(deployment, repeats=3)
    return {
        "date": now(), "version": plan.engine_version, "model": plan.model.name, "format": plan.settings.format,
        "threads": plan.settings.threads, "context": CONTEXT, "hardware": plan.machine.hardware_class, "answer": answer,
        "measured": {name: {"value": one.value, "unit": one.unit} for name, one in measured.values.items()},
        "predicted": {name: {"value": one.value, "low": one.low, "high": one.high, "unit": one.unit}
                      for name, one in plan.predictions.items()},
    }  # fmt: skip


def asked(deployment: Deployment, task: str) -> str:
    """Its answer; of a picture the SHA-256 of its file."""
    if task == "transcribe":
        return deployment.transcribe(sample()).text
    if task == "imagine":
        return hashlib.sha256(deployment.imagine(PICTURE).pictures[0].png).hexdigest()
    return "".join(deployment.chat(QUESTION, max_tokens=32, temperature=0))
