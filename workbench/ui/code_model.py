"""What the panel of chapter 4 knows and does, without a widget: complete code, and evaluate the models at hand.

Nothing is computed here: every number comes from the functions of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from traitlets import Any as AnyTrait
from traitlets import Bool, Enum, Int, List, Unicode, observe

import workbench
from workbench import engines, models
from workbench.errors import ServerDied, StopFailed, UsageError
from workbench.measurement import code
from workbench.report import MODEL
from workbench.ui import engine_choice, machine_choice
from workbench.ui.engine_choice import AUTO
from workbench.ui.jobs import Context
from workbench.ui.stepwise import GRACE_S, Stepwise, checked, in_bytes, part

COMPLETION_TOKENS: Final = 160
PREFIX: Final = 'def mean(numbers):\n    """Return the mean of a list of numbers, or None if it is empty."""'


@dataclass(frozen=True, slots=True)
class Target:
    """A model on an engine, which is a choice as `engine_choice` writes it; deployment: the one that runs already."""

    model: str
    engine: str = AUTO
    deployment: str = ""

    def __str__(self) -> str:
        runs = " (runs already)" if self.deployment else ""
        return f"{self.model} on {self.engine}{runs}" if self.engine != AUTO else self.model

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read 'model' or 'model on engine' or 'model on engine:format'."""
        model, on, engine = text.strip().rpartition(" on ")
        return cls(model.strip(), engine.strip()) if on else cls(text.strip())


def at_hand() -> list[Target]:
    """Models that can be evaluated here without being named: those that run, and those of the catalog whose file the
    workbench can get, on every engine here that completes text and opens such files."""
    there = workbench.deployments()
    running = [Target(state.model, state.engine, state.id) for state in there if not state.failure]
    able = [name for name in engines.ENGINES if name != engine_choice.TEST_ONLY and _completes(engines.get(name))]
    known = [entry.name for entry in models.known() if entry.asset and entry.task in ("chat", "code")]
    known.sort(key=lambda name: name != MODEL)  # the embedded one first: it is small
    return [*running, *(Target(model, engine) for model in known for engine in able)]


def _completes(engine: engines.Engine[Any]) -> bool:
    usable = engine.starts and "complete" in engine.capabilities and not engine.keeps_models
    return usable and engine.available().ok


@dataclass(frozen=True, slots=True)
class Steps:
    """The functions of the package that the steps call; tests put others in their place."""

    at_hand: Callable[..., Any] = at_hand
    machine: Callable[..., Any] = machine_choice.calibrated
    get_model: Callable[..., Any] = models.get
    plan: Callable[..., Any] = workbench.plan
    deploy: Callable[..., Any] = workbench.deploy
    attach: Callable[..., Any] = workbench.attach
    evaluate: Callable[..., Any] = code.evaluate
    protections: Callable[..., Any] = code.protections


class CodeModel(Stepwise):
    """The state of the panel. Set the choices, call the steps, watch the rest.

    known: the targets to choose from, once somebody looked; chosen: those to evaluate, of which the first completes;
    deployment: the model that completes, while it runs; completion: the text so far; evaluations: one for each target,
    the last one counts.
    """

    BUSY = ("completing", "evaluating", "stopping", "looking")

    state = Enum(("idle", *BUSY), default_value="idle")

    known: Any = List()
    chosen: Any = List()
    prefix = Unicode(PREFIX)
    suffix = Unicode("")
    problems = Int(6)
    mode = Enum(("chat", "complete"), default_value="chat")
    allowed = Bool(False)

    deployment = AnyTrait(None)
    completion = Unicode("")
    evaluations: Any = List()
    protections = AnyTrait(None)

    def __init__(self, steps: Steps | None = None, **choices: Any) -> None:
        super().__init__(**choices)
        self._steps = steps or Steps()
        self._completes: Target | None = None

    @property
    def can_fill(self) -> bool | None:
        """Whether the vocabulary of the model that completes has tokens for filling a gap; None until it runs."""
        return None if self.deployment is None else self.deployment.infill is not None

    def look(self) -> None:
        """See which models are at hand, and ask the sandbox what it guards against here."""

        def work(context: Context) -> Any:
            context.partial(self._steps.at_hand())
            return self._steps.protections()

        self._begin("looking", work, "idle", partial="known", result="protections")

    def complete(self) -> None:
        """Let the first chosen model go on where the text ends, or fill the gap before the suffix."""
        target = self._targets()[0]
        if not self.prefix.strip():
            raise UsageError("There is no code to go on from.", fix="Write the beginning of something.")
        self.completion = ""
        self._begin("completing", lambda context: self._complete(context, target), "idle", partial="completion")

    def evaluate(self) -> None:
        """Let every chosen model solve the problems, one model after the other, and run what it wrote."""
        targets, chosen = self._targets(), code.first(self.problems)
        options = {"mode": self.mode, "run_generated_code": self.allowed}
        code.check(chosen, samples=1, temperature=0.0, **options)  # type: ignore[arg-type]

        def work(context: Context) -> None:
            shown = list(self.evaluations)
            for number, target in enumerate(targets):
                with self._open(context, target, grace_s=0.0) as deployment:
                    report = part(context, number, len(targets), str(target))
                    found = self._steps.evaluate(deployment, chosen, **options, progress=report)
                shown = [*(one for one in shown if _identity(one) != _identity(found)), found]
                context.partial(shown)

        self._begin("evaluating", work, "idle", partial="evaluations")

    def stop(self) -> None:
        """Stop the model that completes, for every page that uses it, and give its memory back."""
        self._begin("stopping", self._stop, "idle", result="deployment")

    def _targets(self) -> list[Target]:
        if not self.chosen:
            raise UsageError("No model is chosen.", fix="Choose one from the list, or name one.")
        return list(self.chosen)

    def _open(self, context: Context, target: Target, *, grace_s: float) -> Any:
        if target.deployment:
            return self._steps.attach(target.deployment)
        machine = self._steps.machine(progress=checked(context))
        plan = self._steps.plan(self._model(context, target), machine=machine, **engine_choice.options(target.engine))
        return self._steps.deploy(plan, grace_s=grace_s, progress=checked(context))

    def _model(self, context: Context, target: Target) -> Any:
        """The model in its file, or its name alone."""
        if engine_choice.has_own_models(target.engine):
            return target.model
        return self._steps.get_model(target.model, progress=in_bytes(context))

    def _complete(self, context: Context, target: Target) -> None:
        if self.deployment is None or self._completes != target:
            self._let_go()
            self.deployment, self._completes = self._open(context, target, grace_s=GRACE_S), target
        context.progress(None, "the model is writing")
        suffix, text = (self.suffix or None) if self.can_fill else None, ""
        with self.deployment.completion(self.prefix, suffix, max_tokens=COMPLETION_TOKENS, temperature=0) as stream:
            context.on_cancel(stream.close)
            for piece in stream:
                text += piece
                context.partial(text)
        context.check()

    def _stop(self, context: Context) -> None:
        context.progress(None, "stopping the model")
        if self.deployment is not None:
            self.deployment.stop()

    def _let_go(self) -> None:
        """Release the model that completed so far; it stays for the others who use it."""
        before, self.deployment = self.deployment, None
        if before is not None:
            before.release()

    def _end(self, state: str, values: dict[str, Any]) -> None:
        if isinstance(values.get("error"), ServerDied):
            with suppress(StopFailed):  # why it died is what the page says
                self._let_go()
        super()._end(state, values)

    @observe("known")
    def _settle(self, _: Any) -> None:
        """A model whose engine was left open is the first of its name."""
        first = {target.model: target for target in reversed(self.known)}
        self.chosen = [first.get(one.model, one) if one.engine == AUTO else one for one in self.chosen]


def _identity(one: Any) -> tuple[Any, ...]:
    """What must be equal for a later evaluation to take the place of an earlier one."""
    return one.model, one.engine, one.format, one.mode
