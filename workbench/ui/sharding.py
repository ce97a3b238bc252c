"""The panel of chapter 8: one model over several devices, laid out in three ways, side by side.

    from workbench.ui import sharding
    sharding.panel()

The view only: what it shows and does is in `sharding_model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from workbench import catalog
from workbench.catalog.links import links
from workbench.planning.layouts import Layout
from workbench.planning.ranking import GGUF_FORMATS, TORCH_FORMATS
from workbench.report import sharding_figures
from workbench.ui import machine_fields, pieces
from workbench.ui.sharding_model import Sharding
from workbench.ui.view import PanelView
from workbench.units import format_bytes


def panel(**choices: Any) -> widgets.VBox:
    """The panel as a widget; choices: as in `Sharding`. On a dashboard it compares at once; elsewhere it waits."""
    state = Sharding(**choices)
    view = View(state)
    view.start(state.compare)
    return view.root


class View(PanelView[Sharding]):
    """The widgets, and what they do when the state changes."""

    def __init__(self, state: Sharding) -> None:
        super().__init__(state)
        self._make_controls()
        self._layout_figure, self._time_figure = pieces.figure_area(), pieces.figure_area()
        self._times, self._devices = widgets.HTML(), widgets.HTML()
        self.show(self._choice_card(), self.alert, *self._result_cards())
        self.watch(state=self._draw_state, comparison=self._draw_comparison)

    def _make_controls(self) -> None:
        state = self.state
        names = [one.name for one in catalog.models().values() if one.task in ("chat", "code") and one.config]
        every = [(one.title, name) for name, one in links().items()]
        to_host = [(one.title, name) for name, one in links().items() if one.host]
        torch = tuple(dict.fromkeys((*TORCH_FORMATS, state.weight_format)))
        gguf = tuple(dict.fromkeys((*GGUF_FORMATS, state.gguf_format)))
        context = widgets.BoundedIntText(state.context, min=128, max=2**24, step=128, description="Context in tokens")
        controls = {
            "model": widgets.Combobox(value=state.model, options=names, continuous_update=False, ensure_option=False,
                                      description="Model", placeholder="a name, or the path of a config.json"),
            "context": context,
            "weight_format": widgets.Dropdown(options=torch, value=state.weight_format,
                                              description="Format of Transformers, vLLM"),
            "gguf_format": widgets.Dropdown(options=gguf, value=state.gguf_format, description="Format of llama.cpp"),
            "free_gib": widgets.BoundedFloatText(state.free_gib, max=1024, description="Free on each, GiB (0: all)"),
            "link": widgets.Dropdown(options=every, value=state.link, description="Link between accelerators"),
            "host_link": widgets.Dropdown(options=to_host, value=state.host_link, description="Link to main memory"),
            "disk_gb_per_s": widgets.BoundedFloatText(state.disk_gb_per_s, max=100, step=0.5,
                                                      description="Disk reads, GB/s (0: unknown)"),
        }  # fmt: skip
        for name, control in controls.items():
            self.bind(pieces.field(control), name)
        self._fields = controls
        self._compare = pieces.button("Lay out", icon="columns")
        self._measure = pieces.button("Measure", icon="tachometer")
        self.on_click(self._measure, state.measure)
        pieces.mark(self._compare, "wb-primary", True)
        self.on_click(self._compare, state.compare)

    def _choice_card(self) -> widgets.Widget:
        machine = pieces.fields(*machine_fields.add_to(self), self._fields["free_gib"])
        model = pieces.fields(*(self._fields[name] for name in ("model", "context", "weight_format", "gguf_format")))
        carriers = pieces.fields(*(self._fields[name] for name in ("link", "host_link", "disk_gb_per_s")))
        bar = self.working("comparing", "measuring")
        return pieces.card("Model and devices", machine, model, carriers, pieces.actions(self._compare), bar.box)

    def _result_cards(self) -> list[widgets.Widget]:
        self._layout_card = pieces.card(
            "What lies where", self._layout_figure, self._devices,
            lead="The line across a bar is what is free there. Red had to go elsewhere, or is too much.",
        )  # fmt: skip
        unmeasured = widgets.HTML(pieces.note(machine_fields.UNMEASURED))
        self._measure_box = pieces.actions(self._measure, unmeasured)
        self._time_card = pieces.card(
            "How long a token takes", self._time_figure, self._measure_box, self._times,
            lead="Predicted, with the interval that holds 9 times in 10; a log scale.",
        )  # fmt: skip
        return [self._layout_card, self._time_card]

    def _draw_state(self) -> None:
        for control in (self._compare, self._measure):
            control.disabled = self.state.busy
        pieces.show(self._measure_box, self.state.needs_measuring)
        for card in (self._layout_card, self._time_card):
            pieces.show(card, self.state.comparison is not None)

    def _draw_comparison(self) -> None:
        found = self.state.comparison
        self._draw_state()
        if found is None:
            return
        drawn = sharding_figures.layouts(found.layouts)
        pieces.figure(self._layout_figure, drawn, "Memory of each device in three layouts; the tables have the numbers")
        known = any(one.seconds_per_token.value for one in found.layouts)
        pieces.show(self._time_figure, known)
        if known:
            drawn = sharding_figures.seconds_per_token(found.layouts)
            pieces.figure(self._time_figure, drawn, "Seconds for a token; the table below has the numbers")
        self._devices.value = "".join(_devices(one) for one in found.layouts if one.devices)
        self._times.value = _times(found.model, found.layouts)


def _devices(one: Layout) -> str:
    rows = [
        (share.device, share.layers, format_bytes(share.weights_bytes), pieces.estimate(share.memory.total),
         "unknown" if share.capacity_bytes is None else format_bytes(share.capacity_bytes), share.fit.verdict)
        for share in one.devices
    ]  # fmt: skip
    return pieces.numbers(("", "Layers", "Weights", "In all", "Free", "Verdict"), rows, one.title)


def _times(model: str, found: Sequence[Layout]) -> str:
    rows = [(one.title, *_pace(one), " ".join(f"{note}." for note in one.notes)) for one in found]
    return pieces.sentences(("", "A token", "Tokens per second", "Notes"), rows, model)


def _pace(one: Layout) -> tuple[str, str]:
    time = one.seconds_per_token
    if not one.possible:
        return f"cannot run: {one.reason}", ""
    if time.value is None:
        return f"unknown: {time.reason}", ""
    return pieces.estimate(time), pieces.estimate(time.rate(1))
