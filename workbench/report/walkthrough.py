"""The guide's step-by-step examples for this system: which model fits, what to type today, and what of it is there.

What each command of the guide has become is data (catalog/walkthroughs.yaml); here words in braces are filled in.
Nothing is installed, fetched or started.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from typing import Any

from workbench import catalog, planning
from workbench.catalog import Walkthrough, WalkthroughModel, WalkthroughStep
from workbench.machine import Machine, kept, probe
from workbench.planning import Plan
from workbench.planning.ranking import FAST_ENOUGH
from workbench.report import text

WINDOWS, MACOS = "Windows", "macOS"
CHAT_CONTEXT = 8192
KEEPS_UP = 1.0  # seconds of work for a second of sound
A_PICTURE_S = 60.0
#: What a model must do to be fast enough, by task.
GOALS = {
    "chat": f"answer with at least {FAST_ENOUGH:g} tok/s", "transcribe": "keep up with a speaker",
    "imagine": "make a picture within a minute",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the guide ("" for a step it lacks), its status, and what to type; installed: where it is."""

    guide: str
    status: str
    commands: tuple[str, ...]
    why: str
    source: str
    installed: str = ""


@dataclass(frozen=True, slots=True)
class Guidance:
    """A walk-through for one system. model: what the app calls the one that was chosen, and why; plan: its memory and
    speed by the terms of the engine that the app runs."""

    number: str
    title: str
    about: str
    system: str
    model: str
    format: str
    plan: Plan
    why: str
    steps: tuple[Step, ...]
    checked: str

    def to_dict(self) -> dict[str, Any]:
        """Stable keys for --json."""
        plan = self.plan.to_dict()
        return {
            "number": self.number, "title": self.title, "about": self.about, "system": self.system,
            "model": self.model, "format": self.format, "why": self.why, "verdict": self.plan.verdict,
            "predictions": plan["predictions"], "steps": [asdict(step) for step in self.steps],
            "checked": self.checked,
        }  # fmt: skip


def walkthrough(number: int | str, *, machine: Machine | None = None, context: int | None = None) -> Guidance:
    """The walk-through of this number of the guide for `machine` (this one by default); raises UnknownName.

    context: tokens to plan for, by default what a conversation of some length needs.
    """
    recorded, system = catalog.walkthrough(number), catalog.this_platform()
    model, plan, why = _choose(recorded, machine or kept(probe()), context)
    chosen_format = plan.model.quantization
    words = {
        "model": model.names[chosen_format], "repository": model.repository, "format": chosen_format,
        "context": str(plan.settings.context), "size": _size(plan), "workbench": text.command("").rstrip(),
        **{_word(f"install_{name}"): _install(name, system) for name in recorded.tools},
    }  # fmt: skip
    steps = tuple(_step(step, recorded, system, words) for step in recorded.steps)
    return Guidance(
        recorded.name, recorded.title, recorded.about, system, words["model"], chosen_format, plan, why, steps,
        recorded.checked.isoformat(),
    )  # fmt: skip


def _choose(recorded: Walkthrough, machine: Machine, context: int | None) -> tuple[WalkthroughModel, Plan, str]:
    """The first model, in the format of most bits, that fits and is fast enough; else the smallest, whatever it is."""
    asked: dict[str, Any] = {"context": context or CHAT_CONTEXT} if recorded.task == "chat" else {}
    tried = [
        (model, planning.estimate(model.describe, machine=machine, engine=recorded.engine, format=name, **asked))
        for model in recorded.models
        for name in model.names
    ]
    fitting = [(model, plan) for model, plan in tried if plan.verdict == "fits"]
    fast = [(model, plan) for model, plan in fitting if _is_fast(plan)]
    goal = GOALS[recorded.task]
    if fast:
        return *fast[0], f"the first that fits and is predicted to {goal}"
    if fitting:
        return *fitting[-1], f"nothing that fits is predicted to {goal}; this one needs least"
    return *tried[-1], "nothing of this family is sure to fit here; this one needs least"


def _is_fast(plan: Plan) -> bool:
    if factor := plan.speed.get("real_time_factor"):
        return factor.value is not None and factor.value <= KEEPS_UP
    if image := plan.speed.get("image"):
        return image.value is not None and image.value <= A_PICTURE_S
    return (plan.decode.value or 0) >= FAST_ENOUGH


def _step(step: WalkthroughStep, recorded: Walkthrough, system: str, words: dict[str, str]) -> Step:
    written = {WINDOWS: step.now_windows, MACOS: step.now_macos}.get(system) or step.now
    program = recorded.tools.get(step.tool, "")
    return Step(
        step.guide, step.status, tuple(line.format_map(words) for line in written), step.why.format_map(words),
        step.source, (shutil.which(program) or "") if program else "",
    )  # fmt: skip


def _install(name: str, system: str) -> str:
    """The command that installs a tool on this system, or where to read about it."""
    entry = catalog.apps().get(name) or catalog.engines()[name]
    return entry.install.get(system, f"see {entry.homepage}")


def _size(plan: Plan) -> str:
    """Of the pictures of a model that makes some."""
    image = plan.settings.image
    return f"{image.width}x{image.height}" if image else ""


def _word(name: str) -> str:
    return name.replace("-", "_").replace(".", "_")
