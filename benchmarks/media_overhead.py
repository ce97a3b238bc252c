"""Recordings and pictures through a deployment against the library itself, driven in a process without a server.

The same weights, threads and request on both sides; runs alternate, and so does which is first; both begin anew in
every round. Figures are medians over all pairs, with the interval that holds the median 19 times of 20.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import workbench
from benchmarks.throughput import pair
from workbench import engines, models
from workbench.deployment import Deployment
from workbench.deployment.server.sound import decoded
from workbench.engines import ImageShape
from workbench.engines.runtime import Hosted, Imagining, Listening
from workbench.measurement.speech import sample
from workbench.planning import Plan

ROUNDS, PAIRS, PROMPT = 3, 12, "a red apple"
SHAPE = ImageShape(64, 64, 20, 4, 1.75)
#: Engine → the embedded model of its kind.
CASES = {
    "faster-whisper": "whisper-tiny.en", "whisper.cpp": "whisper-tiny.en", "openai-whisper": "whisper-tiny.en",
    "diffusers": "icons",
}  # fmt: skip


def run() -> dict[str, Any]:
    """Ratios above 1 mean that the deployment took longer."""
    return {engine: compared(engine, model) for engine, model in CASES.items()}


def compared(engine: str, model: str) -> dict[str, Any]:
    """One engine: how much longer one request takes through its deployment."""
    pairs = [one for _ in range(ROUNDS) for one in _round(engine, model)]
    ratios = sorted(a / b for a, b in pairs)
    ratio, interval = statistics.median(ratios), median_interval(ratios)
    told = f"{ratio:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
    print(f"  {engine}: {told} of the time of the library in process", flush=True)
    return {"model": model, "rounds": ROUNDS, "pairs": len(pairs), "median_ratio": ratio, "interval": interval,
            "deployment_s": [a for a, _ in pairs], "library_s": [b for _, b in pairs]}  # fmt: skip


def median_interval(ordered: Sequence[float]) -> tuple[float, float]:
    """What holds the median of the population 19 times of 20: values counted in from both ends."""
    at = max(0, math.floor(len(ordered) / 2 - 0.98 * math.sqrt(len(ordered))) - 1)
    return ordered[at], ordered[-1 - at]


def _round(engine: str, model: str) -> list[tuple[float, float]]:
    image = {"image": SHAPE} if model == "icons" else {}
    plan = workbench.plan(model, engine=engine, threads=2, **image)
    with workbench.deploy(plan, share=False) as deployment:
        hosted = json.dumps(asdict(Hosted(engine, _path(plan), model, plan.settings, 0)))
        command = [sys.executable, "-m", "benchmarks.media_overhead", hosted]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as alone:
            assert alone.stdin and alone.stdout  # noqa: S101 - asked for with PIPE

            def library() -> None:
                alone.stdin.write("go\n")  # type: ignore[union-attr]
                alone.stdin.flush()  # type: ignore[union-attr]
                alone.stdout.readline()  # type: ignore[union-attr]

            sides = partial(_seconds, partial(_through, deployment)), partial(_seconds, library)
            found = [pair(number, *sides) for number in range(PAIRS + 1)][1:]  # the first warms up
            alone.stdin.close()
    return found


def _path(plan: Plan) -> str:
    """What the engine opens: the model's own folder, or what was written of it."""
    stored = plan.engine.stored_format(plan.settings.format)
    return str(plan.model.path or models.convert(plan.model, plan.engine.container, stored))


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _through(deployment: Deployment) -> None:
    if deployment.plan_dict["engine"] == "diffusers":
        deployment.imagine(PROMPT, images=SHAPE.images)
    else:
        deployment.transcribe(sample())


def _directly(hosted: Hosted) -> Callable[[], object]:
    """One request, without HTTP, queue, files and events."""
    runtime: Any = engines.get(hosted.engine).runtime(Path(hosted.path), hosted.settings)
    if hosted.engine == "diffusers":
        return lambda: list(runtime.imagine(Imagining(PROMPT, SHAPE)))

    def listen() -> list[Any]:
        with sample().open("rb") as file:
            sound = decoded(file, "")
        with sound.file:
            return list(runtime.transcribe(sound.part(0, sound.seconds), Listening("en")))

    return listen


if __name__ == "__main__":
    once = _directly(Hosted.from_json(sys.argv[1]))
    for _ in sys.stdin:
        once()
        print("done", flush=True)
