"""The panel of chapter 5: a text in, pictures out, step by step, with what they took beside what was predicted.

    from workbench.ui import images
    images.panel()

The view only: what it shows and does is in `images_model`.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import ipywidgets as widgets

from workbench.measurement.images import Drawn
from workbench.report import answer_figures
from workbench.ui import chat_html, pieces
from workbench.ui.images_model import MODEL, ImagesModel, Shown
from workbench.ui.view import PanelView
from workbench.units import format_value

NAMED: Final = ("ddim", "dpm++", "euler", "euler-ancestral", "heun", "lcm", "pndm", "unipc")
SCHEDULERS: Final = (("the model's own", ""), *((name, name) for name in NAMED))
MOST_AT_ONCE: Final = 16


def panel(model: str = MODEL, *, prompt: str = "", **choices: Any) -> widgets.VBox:
    """The panel as a widget; choices: those of `ImagesModel`, such as steps, seed and images. Nothing starts before a
    click."""
    return View(ImagesModel(model=model, prompt=prompt, **choices)).root


class View(PanelView[ImagesModel]):
    """The widgets, and what they do when the state changes."""

    def __init__(self, state: ImagesModel) -> None:
        super().__init__(state)
        self._make_controls()
        self._gallery, self._note, self._table = (widgets.HTML() for _ in range(3))
        self._speed, self._memory = pieces.figure_area(), pieces.figure_area()
        self._pictures = pieces.card("The pictures", self._gallery, self._note)
        self._numbers = pieces.card("What they took", self._speed, self._memory, self._table)
        bar = self.working("drawing")
        self.show(
            pieces.card("The prompt", self._prompt, self._negative, pieces.actions(self._go), bar.box, self._refused,
                        lead="Say what is to be seen. The same seed makes the same picture."),
            self.alert, self._pictures, self._numbers,
            pieces.card("Settings", pieces.fields(*self._settings.values()), self._model,
                        lead="0, and -1 for the guidance, leave a setting to the model."),
        )  # fmt: skip
        self._connect()

    def _make_controls(self) -> None:
        state, field = self.state, pieces.field
        self._prompt = field(widgets.Textarea(state.prompt, rows=2, description="What is to be seen"))
        self._negative = field(widgets.Text(state.negative, description="What is not to be seen"))
        self._go = pieces.button("Make pictures", icon="image")
        pieces.mark(self._go, "wb-primary", True)
        self._refused = widgets.HTML(chat_html.refused(state.choices))
        self._model = field(widgets.Text(state.model, description="Model, or the folder of a pipeline"))
        count = widgets.BoundedIntText(state.images, min=1, max=MOST_AT_ONCE, description="Pictures, a seed each")
        self._settings = {
            "seed": field(widgets.BoundedIntText(state.seed, min=0, max=2**31 - 1, description="Seed of the first")),
            "images": field(count),
            "steps": field(widgets.IntText(state.steps, description="Steps")),
            "guidance": field(widgets.FloatText(state.guidance, description="Guidance")),
            "width": field(widgets.IntText(state.width, description="Width, pixels")),
            "height": field(widgets.IntText(state.height, description="Height, pixels")),
            "scheduler": field(widgets.Dropdown(options=SCHEDULERS, value=state.scheduler, description="Scheduler")),
        }

    def _connect(self) -> None:
        self.on_click(self._go, self.state.draw)
        for control, choice in ((self._prompt, "prompt"), (self._negative, "negative"), (self._model, "model")):
            self.bind(control, choice)
        for choice, control in self._settings.items():
            self.bind(control, choice)
        self.watch(state=self._draw_state, shown=self._draw_pictures, drawn=self._draw_numbers)

    # -- drawing -----------------------------------------------------------------------------------------------

    def _draw_state(self) -> None:
        for control in (self._go, self._prompt, self._negative, self._model, *self._settings.values()):
            control.disabled = self.state.busy

    def _draw_pictures(self) -> None:
        pieces.show(self._pictures, bool(self.state.shown))
        self._gallery.value = gallery(self.state.shown, self.state.prompt)

    def _draw_numbers(self) -> None:
        found = self.state.drawn
        pieces.show(self._numbers, found is not None)
        left_out = found.imagined.left_out if found else ""
        self._note.value = pieces.note(f"The model does not read so long a prompt. Left out: {left_out}") if (
            left_out) else ""  # fmt: skip
        if found is None:
            return
        pieces.figure(self._speed, answer_figures.step([found]), "Seconds of a denoising step")
        pieces.figure(self._memory, answer_figures.memory([found]), "Memory of the server")
        self._table.value = table(found)


def gallery(shown: list[Shown], prompt: str) -> str:
    """The pictures beside each other; each finished one can be saved, with what makes it again inside."""
    return f'<div class="wb-gallery">{"".join(_picture(one, prompt) for one in shown)}</div>' if shown else ""


def _picture(one: Shown, prompt: str) -> str:
    data = f"data:image/png;base64,{base64.b64encode(one.png).decode()}"
    says = pieces.text(prompt)
    caption = "on its way"
    if one.seed is not None:
        caption = f'seed {one.seed} · <a download="picture-{one.seed}.png" href="{data}">save</a>'
    return f'<figure><img src="{data}" alt="{says}"><figcaption>{caption}</figcaption></figure>'


def table(found: Drawn) -> str:
    """Every number of a request beside its prediction."""
    made, measured, predicted = found.imagined, found.measured, found.predicted
    first = "unknown" if made.first_step_s is None else format_value(made.first_step_s, "s")
    per_minute = f"{60 * len(made.pictures) / made.took_s:.3g}"
    step = format_value(measured["step"], "s") if "step" in measured else "only one"
    memory = found.memory_name
    rows = [
        ("first step done after", first, ""),
        ("a step", step, pieces.estimate(predicted["step"])),
        ("the request", format_value(measured["image"], "s"), pieces.estimate(predicted["image"])),
        ("pictures per minute", per_minute, ""),
        ("peak memory", format_value(measured[memory], "B"), pieces.estimate(predicted[memory])),
    ]
    return pieces.numbers(("", "Measured", "Predicted"), rows, f"{found.label}; previews on the way are part of it")
