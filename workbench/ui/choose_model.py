"""What the panel of chapter 2 knows and does, without a widget: one machine, one model, everything that could run.

Nothing is computed here: every number comes from `workbench.planning`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from traitlets import Any as AnyTrait
from traitlets import Enum, Float, Int, List, Unicode, observe

from workbench import catalog, models, planning
from workbench.errors import UsageError
from workbench.planning.table import best, ladder, table
from workbench.ui import machine_choice
from workbench.ui.jobs import Context
from workbench.ui.stepwise import Stepwise, checked

#: What people want to do, and the model that is looked at first.
TASKS: Final = {
    "chat": "llama-3.1-8b", "code": "qwen2.5-coder-7b", "imagine": "sdxl-base-1.0", "transcribe": "whisper-large-v3",
}  # fmt: skip
TASK_TITLES: Final = {"chat": "Chat", "code": "Code", "imagine": "Make images", "transcribe": "Transcribe speech"}


@dataclass(frozen=True, slots=True)
class Steps:
    """The functions of the package that the steps call; tests put others in their place."""

    machine: Callable[..., Any] = machine_choice.here
    calibrate: Callable[..., Any] = machine_choice.calibrated
    describe: Callable[..., Any] = models.describe
    choices: Callable[..., Any] = planning.choices
    table: Callable[..., Any] = table


class Choose(Stepwise):
    """The state of the panel. Set the choices, call `rank`, watch the rest.

    choices: the ranked plans; picked: the number of the one whose memory is shown; rows: the best format that fits on
    each accelerator of the catalog.
    """

    BUSY = ("ranking", "measuring")

    state = Enum(("idle", "ranking", "measuring", "ranked"), default_value="idle")

    device = Unicode("")
    count = Int(1)
    memory_gib = Float(0.0)
    task = Enum(tuple(TASKS), default_value="chat")
    model = Unicode(TASKS["chat"])
    context = Int(2048)
    concurrency = Int(1)

    choices = AnyTrait(None)
    picked = Int(0)
    rows: Any = List()

    def __init__(self, steps: Steps | None = None, **wanted: Any) -> None:
        super().__init__(**wanted)
        self._steps = steps or Steps()

    @property
    def needs_measuring(self) -> bool:
        """Whether the processor at hand was never measured, so that nobody knows how fast it is."""
        return machine_choice.needs_measuring(self.choices.machine if self.choices else None)

    def known_models(self) -> list[str]:
        """The names of the catalog's models for the chosen task."""
        return [entry.name for entry in catalog.models().values() if entry.task == self.task and entry.config]

    def choose_task(self, task: str) -> None:
        """Another task, and the model that is looked at first for it."""
        self.task, self.model = task, TASKS[task]

    def rank(self) -> None:
        """Predict every engine and format on the machine, then the model on every accelerator."""
        self._begin("ranking", self._rank, "ranked", partial="choices", result="rows")

    def measure(self) -> None:
        """Measure this computer's processor and memory, then rank again."""

        def work(context: Context) -> Any:
            self._steps.calibrate(progress=checked(context))
            return self._rank(context)

        self._begin("measuring", work, "ranked", partial="choices", result="rows")

    def _rank(self, context: Context) -> list[Any]:
        context.progress(None, "looking at the machine")
        chosen = machine_choice.chosen(self.device, self.count, self.memory_gib, self._steps.machine())
        if not self.model.strip():
            raise UsageError("No model is named.", fix="Choose one of the list, or give a path or a name on the Hub.")
        context.progress(None, f"reading {self.model}")
        model = self._steps.describe(self.model.strip())
        context.check()
        context.progress(None, "predicting every engine and format")
        wanted = self._wanted(model)
        context.partial(self._steps.choices(model, machine=chosen, **wanted))
        context.check()
        context.progress(None, "predicting every accelerator")
        return best(self._steps.table(model, formats=ladder(model), **wanted))

    def _wanted(self, model: Any) -> dict[str, int]:
        """Context and concurrency where the model has such a thing."""
        if not isinstance(model, models.Model):
            return {}
        return {"context": self.context, "concurrency": self.concurrency}

    @observe("choices")
    def _other_choices(self, _: Any) -> None:
        self.picked = 0
