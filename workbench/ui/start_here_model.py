"""What the panel of chapter 0 knows and does, without a widget: plan, deploy, ask, measure, stop.

One step at a time, each as a job. A step that fails or is cancelled leaves everything as it was before it, and `error`
says why. Nothing is computed here: every number comes from the functions of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from traitlets import Any as AnyTrait
from traitlets import Enum, Instance, Int, Unicode, observe

import workbench
from workbench import models
from workbench.errors import ServerDied, UsageError
from workbench.measurement.answers import Answer, answers
from workbench.ui import machine_choice
from workbench.ui.jobs import Context
from workbench.ui.stepwise import GRACE_S, Stepwise, checked, in_bytes

BUSY: Final = ("planning", "deploying", "asking", "measuring", "stopping")
STATES: Final = ("idle", "planning", "planned", "deploying", "ready", "asking", "measuring", "stopping", "stopped")
ANSWER_TOKENS: Final = 256


@dataclass(frozen=True, slots=True)
class Steps:
    """The functions of the package that the steps call; tests put others in their place."""

    machine: Callable[..., Any]
    get_model: Callable[..., Any]
    plan: Callable[..., Any]
    deploy: Callable[..., Any]
    measure: Callable[..., Any]
    cost: Callable[..., Any]
    report: Callable[..., Any]


def _package() -> Steps:
    return Steps(
        machine=machine_choice.calibrated, get_model=models.get,
        plan=workbench.plan, deploy=workbench.deploy, measure=workbench.measure, cost=workbench.cost,
        report=workbench.write_report,
    )  # fmt: skip


class StartHere(Stepwise):
    """The state of the panel. Set the choices, call the steps, watch the rest."""

    BUSY = BUSY

    state = Enum(STATES, default_value="idle")

    model = Unicode()
    question = Unicode()
    context = Int()
    repeats = Int()
    engine = Unicode("auto")

    machine = AnyTrait(None)
    plan = AnyTrait(None)
    deployment = AnyTrait(None)
    answer = Instance(Answer, args=())
    measurement = AnyTrait(None)
    comparison = AnyTrait(None)
    report = AnyTrait(None)

    def __init__(self, steps: Steps | None = None, **choices: Any) -> None:
        super().__init__(**choices)
        self._steps = steps or _package()
        self._planned: tuple[str, str, int] | None = None

    def make_plan(self) -> None:
        """Look at the machine, get the model and predict."""
        if self.deployment is not None:
            raise UsageError("A model is running.", fix="Stop it before you plan another one.")
        if self.busy:
            return
        self._forget_results()
        choices = self._choices()

        def work(context: Context) -> Any:
            plan = self._plan(context, *choices)
            self._planned = choices
            return plan

        self._begin("planning", work, "planned", partial="machine", result="plan")

    def deploy(self) -> None:
        """Start the planned model, or join a running deployment of the same plan."""
        if self.plan is None or self._planned != self._choices():
            raise UsageError("There is no prediction for these choices.", fix="Predict first.")
        self._begin("deploying", self._deploy, "ready", result="deployment")

    def ask(self) -> None:
        """Ask the question; the answer grows while it comes."""
        if not self.question.strip():
            raise UsageError("The question is empty.", fix="Write one.")
        self.answer = Answer()
        self._begin("asking", self._ask, "ready", partial="answer", result="answer")

    def measure(self) -> None:
        """Measure the deployment, compare its cost and write the report."""
        self._begin("measuring", self._measure, "ready", partial="measurement")

    def stop(self) -> None:
        """Stop the model, for every page that uses it, and give its memory back."""
        self._begin("stopping", self._stop, "stopped", result="deployment")

    def _choices(self) -> tuple[str, str, int]:
        return self.model, self.engine, self.context

    @observe("model", "engine", "context")
    def _choose(self, _: Any) -> None:
        """Other choices: what was predicted and measured for the former ones no longer counts."""
        if self.plan is None or self.deployment is not None or self.busy:
            return
        self.plan = None
        self._forget_results()
        self.state = "idle"

    def _forget_results(self) -> None:
        self.answer, self.measurement, self.comparison, self.report = Answer(), None, None, None

    def _end(self, state: str, values: dict[str, Any]) -> None:
        died = self.deployment if isinstance(values.get("error"), ServerDied) else None
        if died is not None:
            state, values = "planned", {**values, "deployment": None}
        super()._end(state, values)
        if died is not None:
            died.release()

    def _plan(self, context: Context, name: str, engine: str, tokens: int) -> Any:
        machine = self._steps.machine(progress=checked(context))
        context.partial(machine)
        context.progress(None, f"getting {name}")
        model = self._steps.get_model(name, progress=in_bytes(context))
        context.progress(None, "predicting")
        return self._steps.plan(model, machine=machine, engine=engine, context=tokens)

    def _deploy(self, context: Context) -> Any:
        return self._steps.deploy(self.plan, grace_s=GRACE_S, progress=checked(context))

    def _ask(self, context: Context) -> Answer:
        answer = Answer()
        context.progress(None, "the model is answering")
        with self.deployment.stream(self.question, max_tokens=ANSWER_TOKENS, temperature=0) as stream:
            for answer in answers(stream):
                context.partial(answer)
                context.check()
        return answer

    def _measure(self, context: Context) -> None:
        measurement = self._steps.measure(self.deployment, repeats=self.repeats, progress=checked(context))
        comparison = self._steps.cost(measurement.values)
        report = self._steps.report(self.plan, measurement, comparison, answer=self.answer.text)
        self.comparison, self.report = comparison, report
        context.partial(measurement)

    def _stop(self, context: Context) -> None:
        context.progress(None, "stopping the model")
        self.deployment.stop()
