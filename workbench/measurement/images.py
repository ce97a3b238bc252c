"""Pictures beside what was predicted of them: one request to look at, several for the ledger.

What a request costs does not depend on its words, so all of them ask for the same thing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.deployment import Deployment
from workbench.deployment.pictures import Imagined
from workbench.evidence import Measured
from workbench.machine import PeakSampler
from workbench.measurement.compared import OfPlan
from workbench.planning import Plan

PROMPT = "a red apple on a table"
Progress = Callable[[float | None, str], None]


@dataclass(frozen=True, slots=True)
class Drawn(OfPlan):
    """One request's pictures. peak_bytes: of the server's memory meanwhile, None where nobody may look."""

    imagined: Imagined
    peak_bytes: int | None

    @property
    def measured(self) -> Mapping[str, float]:
        """The same quantities as they came out; without a step, where there was only one."""
        found = {"step": self.imagined.step_s, "image": self.imagined.took_s, self.memory_name: self.peak_bytes}
        return {name: float(value) for name, value in found.items() if value is not None}


def draw(deployment: Deployment, plan: Plan, prompt: str, **asked: Any) -> Drawn:
    """Make the pictures of one request and count; asked: as `Deployment.imagine` takes it."""
    with PeakSampler(deployment.state.root_pid()) as sampler:
        found = deployment.imagine(prompt, **asked)
    return Drawn(plan, found, sampler.peak_bytes)


@dataclass(frozen=True, slots=True)
class Sitting:
    """One measured request: seconds to its first step, of a step (None where nobody tells), of all of it, and how many
    pictures it made."""

    first_step_s: float | None
    step_s: float | None
    took_s: float
    images: int


def sittings(deployment: Deployment, repeats: int, report: Progress) -> list[Sitting]:
    """After one warm-up, `repeats` requests as the deployment was planned for."""
    report(0.0, "warm-up")
    asked = planned(deployment)
    deployment.imagine(PROMPT, seed=_new_seed(), **asked)
    found = []
    for index in range(repeats):
        report(0.1 + 0.7 * index / repeats, f"request {index + 1} of {repeats}")
        made = deployment.imagine(PROMPT, seed=_new_seed(), **asked)
        first = made.first_step_s
        found.append(Sitting(first, first if made.step_s is None else made.step_s, made.took_s, len(made.pictures)))
    return found


def _new_seed() -> int:
    """One that nobody used: apps keep what they have made, and give it again without any work."""
    return secrets.randbelow(2**31)


def planned(deployment: Deployment) -> dict[str, Any]:
    """The request that a deployment was planned for."""
    image = deployment.plan_dict["settings"]["image"]
    return {"size": (image["width"], image["height"]), "steps": image["steps"], "images": image["images"]}


def values(found: list[Sitting]) -> dict[str, Measured]:
    """first_step and step (s) where the engine tells of steps, image (s), and images per minute."""

    def each(read: Callable[[Sitting], float | None], unit: str, method: str) -> Measured | None:
        samples = tuple(value for one in found if (value := read(one)) is not None)
        return Measured(samples, unit, method) if samples else None

    made = {
        "first_step": each(lambda one: one.first_step_s, "s", "request sent to first step done, at the client"),
        "step": each(lambda one: one.step_s, "s", "mean time of a step after the first, at the client"),
        "image": each(lambda one: one.took_s, "s", "request sent to last picture received, at the client"),
        "images_per_min": each(
            lambda one: 60 * one.images / one.took_s, "images/min", "pictures ÷ time of the request"
        ),
    }
    return {name: one for name, one in made.items() if one}


def peak_memory(deployment: Deployment) -> Measured | None:
    """The peak while the pictures that were planned for are made; None where nobody may look at the server."""
    with PeakSampler(deployment.state.root_pid()) as sampler:
        deployment.imagine(PROMPT, seed=_new_seed(), **planned(deployment))
    method = f"peak {sampler.method} of the server's process tree over one request, {sampler.samples} readings"
    return None if sampler.peak_bytes is None else Measured((float(sampler.peak_bytes),), "B", method)
