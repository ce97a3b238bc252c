"""The tour: the main job from end to end on one model — look, plan, deploy, ask, measure, compare, report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import costs, models, planning
from workbench.costs import Comparison
from workbench.deployment import deploy
from workbench.machine import calibrate, probe
from workbench.measurement import Measurement, check_repeats, measure
from workbench.planning import Plan
from workbench.report.html import write_report

MODEL = "smollm2-135m-instruct"
QUESTION = "Why is the sky blue?"
ANSWER_TOKENS = 96

Progress = Callable[[float | None, str], None]


@dataclass(frozen=True, slots=True)
class Tour:
    """Everything one tour brought to light."""

    plan: Plan
    question: str
    answer: str
    measurement: Measurement
    comparison: Comparison
    report: Path

    def to_dict(self) -> dict[str, Any]:
        """Stable keys for --json."""
        return {
            "machine": self.plan.machine.to_dict(),
            "plan": self.plan.to_dict(),
            "question": self.question,
            "answer": self.answer,
            "measurement": self.measurement.to_dict(),
            "cost": self.comparison.to_dict(),
            "report": str(self.report),
        }


def tour(
    model: str = MODEL,
    *,
    question: str = QUESTION,
    context: int | None = None,
    repeats: int = 5,
    engine: str = "auto",
    power_w: float | None = None,
    usd_per_kwh: float | None = None,
    progress: Progress | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    on_text: Callable[[str], None] | None = None,
) -> Tour:
    """Run the main job once. `on_plan` hears of the plan before it runs, `on_text` of each piece of the answer.

    power_w, usd_per_kwh: the draw of this machine under load and the price of electricity; assumed when not given.
    """
    costs.check(power_w, usd_per_kwh)  # before anything long is begun
    check_repeats(repeats)
    report = progress or (lambda fraction, text: None)
    report(None, "looking at this machine")
    machine = calibrate(probe(), progress=report)
    report(None, f"getting {model}")
    found = models.get_text(model, progress=lambda done, total, what: report(done / total if total else None, what))
    plan = planning.plan(found, machine=machine, engine=engine, context=context)
    if on_plan:
        on_plan(plan)
    with deploy(plan, share=False, progress=progress) as deployment:  # others' requests would spoil the numbers
        pieces = []
        for piece in deployment.chat(question, max_tokens=ANSWER_TOKENS, temperature=0):
            pieces.append(piece)
            if on_text:
                on_text(piece)
        measurement = measure(deployment, repeats=repeats, progress=progress)
    comparison = costs.compare(measurement.values, power_w=power_w, usd_per_kwh=usd_per_kwh)
    answer = "".join(pieces)
    written = write_report(plan, measurement, comparison, answer=answer)
    return Tour(plan, question, answer, measurement, comparison, written)
