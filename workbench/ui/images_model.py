"""What the panel of chapter 5 knows and does, without a widget: a text, and the pictures that a model makes of it.

Nothing is computed here: every number comes from the functions of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from traitlets import Any as AnyTrait
from traitlets import Enum, Float, Instance, Int, List, Unicode

import workbench
from workbench import models
from workbench.engines import ImageShape
from workbench.errors import UsageError
from workbench.measurement.images import Drawn, draw
from workbench.models import ImageModel
from workbench.ui import engine_choice, machine_choice
from workbench.ui.jobs import Context
from workbench.ui.stepwise import GRACE_S, Stepwise, checked, in_bytes

MODEL: Final = "icons"
#: Part of the work that comes before the first step: reading the model, planning, starting.
_STARTING = 0.1


@dataclass(frozen=True, slots=True)
class Steps:
    """The functions of the package that the steps call; tests put others in their place."""

    machine: Callable[..., Any] = machine_choice.calibrated
    get_model: Callable[..., Any] = models.get
    plan: Callable[..., Any] = workbench.plan
    deploy: Callable[..., Any] = workbench.deploy
    draw: Callable[..., Any] = draw


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on the page. seed: None while it is not finished."""

    png: bytes
    seed: int | None = None


class ImagesModel(Stepwise):
    """The state of the panel. Set the choices, call `draw`, watch the rest.

    width, height, steps: 0 for the model's own; guidance: below 0 for the model's own; shown: the pictures as they are
    now; drawn: the last request with its numbers.
    """

    BUSY = ("drawing",)

    state = Enum(("idle", *BUSY), default_value="idle")

    model = Unicode(MODEL)
    prompt = Unicode("")
    negative = Unicode("")
    width = Int(0)
    height = Int(0)
    steps = Int(0)
    guidance = Float(-1.0)
    seed = Int(0)
    images = Int(1)
    scheduler = Unicode("")
    choices = AnyTrait(())

    shown: Any = List()
    drawn = Instance(Drawn, allow_none=True)

    def __init__(self, functions: Steps | None = None, **choices: Any) -> None:
        super().__init__(**choices)
        self._functions = functions or Steps()
        self.choices = engine_choice.looked_at(engine_choice.listed("imagine"))

    def draw(self) -> None:
        """Make the pictures, and show each step on the way."""
        if not self.prompt.strip():
            raise UsageError("There is no prompt.", fix="Say what is to be seen.")
        name, prompt = self.model.strip(), self.prompt
        asked = {"negative_prompt": self.negative, "seed": self.seed, "scheduler": self.scheduler}
        wanted = (self.width, self.height, self.steps, self.images, self.guidance)

        def work(context: Context) -> Any:
            plan = self._planned(context, name, wanted)
            seen: dict[int, Shown] = {}

            def preview(place: int, png: bytes) -> None:
                seen[place] = Shown(png)
                context.partial([seen[one] for one in sorted(seen)])

            def progress(fraction: float | None, text: str) -> None:
                checked(context)(_STARTING + (1 - _STARTING) * (fraction or 0.0), text)

            with self._functions.deploy(plan, grace_s=GRACE_S, progress=checked(context)) as running:
                shape = plan.settings.image
                drawn = self._functions.draw(
                    running, plan, prompt, size=(shape.width, shape.height), steps=shape.steps, images=shape.images,
                    guidance=shape.guidance, on_preview=preview, progress=progress, **asked,
                )  # fmt: skip
            context.partial([Shown(one.png, one.seed) for one in drawn.imagined.pictures])
            return drawn

        self.shown, self.drawn = [], None
        self._begin("drawing", work, "idle", partial="shown", result="drawn")

    def _planned(self, context: Context, name: str, wanted: tuple[int, int, int, int, float]) -> Any:
        machine = self._functions.machine(progress=checked(context))
        model = self._functions.get_model(name, progress=in_bytes(context))
        if not isinstance(model, ImageModel):
            raise UsageError(f"{name} makes no pictures.", fix="Name an image model, or the folder of one.")
        width, height, steps, count, guidance = wanted
        shape = ImageShape(
            width or model.width, height or model.height, steps or model.steps, count,
            model.guidance if guidance < 0 else guidance,
        )  # fmt: skip
        return self._functions.plan(model, machine=machine, image=shape)
