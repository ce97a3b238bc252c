"""The panel of chapter 2: a machine, a task, a model, and everything that could run, ranked.

    from workbench.ui import choose
    choose.panel()

The view only: what it shows and does is in `choose_model`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import ipywidgets as widgets

from workbench import catalog
from workbench.report import plan_figures, text
from workbench.ui import machine_fields, pieces
from workbench.ui.choose_model import TASK_TITLES, TASKS, Choose
from workbench.ui.guard import guarded
from workbench.ui.view import PanelView
from workbench.units import format_bytes, format_usd

SHOWN: Final = 10  # plans and refusals in a table
DEVICES_SHOWN: Final = 15


def panel(
    device: str = "",
    *,
    count: int = 1,
    memory_gib: float = 0.0,
    task: str = "chat",
    model: str | None = None,
    context: int = 2048,
    concurrency: int = 1,
) -> widgets.VBox:
    """The panel as a widget. On a dashboard it starts with its first answer; elsewhere it waits for a click."""
    state = Choose(
        device=device, count=count, memory_gib=memory_gib, task=task, model=model or TASKS[task], context=context,
        concurrency=concurrency,
    )  # fmt: skip
    view = View(state)
    view.start(state.rank)
    return view.root


class View(PanelView[Choose]):
    """The widgets, and what they do when the state changes."""

    def __init__(self, state: Choose) -> None:
        super().__init__(state)
        self._make_controls()
        self._make_outputs()
        self.show(self._choice_card(), self.alert, *self._result_cards())
        self.watch(
            state=self._draw_state, task=self._draw_task, model=self._draw_model, choices=self._draw_choices,
            picked=self._draw_picked, rows=self._draw_rows,
        )  # fmt: skip

    def _make_controls(self) -> None:
        state, field = self.state, pieces.field
        tasks = [(title, name) for name, title in TASK_TITLES.items()]
        self._task = field(widgets.Dropdown(options=tasks, value=state.task, description="Task"))
        self._task.observe(guarded(lambda change: state.choose_task(change["new"]), self.show_error), "value")
        self._model = field(
            widgets.Combobox(
                value=state.model, continuous_update=False, ensure_option=False,
                description="Model", placeholder="a name, a path, or owner/name on the Hub",
            )
        )  # fmt: skip
        self._context = field(
            widgets.BoundedIntText(state.context, min=128, max=2**24, step=128, description="Context in tokens")
        )
        self._concurrency = field(
            widgets.BoundedIntText(state.concurrency, min=1, max=256, description="Requests at once")
        )
        for control, name in ((self._model, "model"), (self._context, "context"), (self._concurrency, "concurrency")):
            self.bind(control, name)
        self._rank, self._measure = pieces.button("Rank", icon="sort"), pieces.button("Measure", icon="tachometer")
        pieces.mark(self._rank, "wb-primary", True)
        self.on_click(self._rank, state.rank)
        self.on_click(self._measure, state.measure)
        self._picked = field(widgets.Dropdown(description="Plan"))
        self._picked.observe(guarded(self._pick, self.show_error), "value")
        self._filter = field(widgets.Text(description="Names with", placeholder="RTX", continuous_update=False))
        self._priced = field(widgets.Dropdown(options=[("with a known price", True), ("all", False)], description="Of"))
        for control in (self._filter, self._priced):
            control.observe(guarded(lambda _: self._draw_devices(), self.show_error), "value")

    def _make_outputs(self) -> None:
        self._ranked, self._refused, self._fit, self._devices = (widgets.HTML() for _ in range(4))
        self._unmeasured = widgets.HTML(pieces.note(machine_fields.UNMEASURED))
        self._choice_figure, self._memory_figure, self._device_figure = (pieces.figure_area() for _ in range(3))

    def _choice_card(self) -> widgets.Widget:
        bar = self.working("ranking", "measuring")
        machine = pieces.fields(*machine_fields.add_to(self))
        model = pieces.fields(self._task, self._model, self._context, self._concurrency)
        return pieces.card("The question", machine, model, pieces.actions(self._rank), bar.box)

    def _result_cards(self) -> list[widgets.Widget]:
        self._measure_box = pieces.actions(self._measure, self._unmeasured)
        self._ranked_card = pieces.card(
            "What could run", self._choice_figure, self._measure_box, self._ranked,
            lead="Each point is one engine with one format. Up is faster, left is smaller; bars: 9 times in 10.",
        )  # fmt: skip
        self._memory_card = pieces.card("Where the memory goes", self._picked, self._memory_figure, self._fit)
        self._refused_card = pieces.card(
            "What does not fit", self._refused, lead="With the smallest change that would make it fit."
        )
        self._device_card = pieces.card(
            "The same model on every accelerator", self._device_figure, pieces.fields(self._filter, self._priced),
            self._devices,
            lead="One of each, with the whole model on it, in the format of most bits that fits.",
        )  # fmt: skip
        return [self._ranked_card, self._memory_card, self._refused_card, self._device_card]

    # -- drawing -----------------------------------------------------------------------------------------------

    def _draw_state(self) -> None:
        for control in (self._rank, self._measure):
            control.disabled = self.state.busy
        self._draw_cards()

    def _draw_cards(self) -> None:
        found = self.state.choices
        pieces.show(self._ranked_card, bool(found))
        pieces.show(self._memory_card, bool(found and found.plans))
        pieces.show(self._refused_card, bool(found and found.refused))
        pieces.show(self._device_card, bool(self.state.rows))
        pieces.show(self._measure_box, self.state.needs_measuring)

    def _draw_task(self) -> None:
        self._task.value = self.state.task
        self._model.options = self.state.known_models()
        for control in (self._context, self._concurrency):
            pieces.show(control, self.state.task in ("chat", "code"))

    def _draw_model(self) -> None:
        self._model.value = self.state.model

    def _draw_choices(self) -> None:
        found = self.state.choices
        self._draw_cards()
        if found is None:
            return
        pieces.show(self._choice_figure, bool(found.plans))
        if found.plans:
            known = any(plan_figures.rate(plan.speed) for plan in found.plans)
            drawn = plan_figures.choices(found.plans) if known else plan_figures.needs(found.plans[:SHOWN])
            pieces.figure(self._choice_figure, drawn, "Every plan that fits; the table below has the best ones")
        self._ranked.value = _ranked(found)
        self._refused.value = _refused(found)
        labels = [(f"{n}. {plan_figures.plan_label(plan)}", n - 1) for n, plan in enumerate(found.plans, 1)]
        with self._picked.hold_sync():  # the page must not hear of a choice before its list
            self._picked.options = labels
            self._picked.value = 0 if labels else None
        self._draw_picked()

    def _draw_picked(self) -> None:
        found = self.state.choices
        if found is None or self.state.picked >= len(found.plans):
            return
        plan = found.plans[self.state.picked]
        drawn = plan_figures.memory_by_device(plan.memory, plan.fits)
        pieces.figure(self._memory_figure, drawn, "Memory by device; the table below has the totals")
        self._fit.value = _fit(plan)

    def _pick(self, change: Any) -> None:
        if change["new"] is not None:  # a list without plans has none
            self.state.picked = change["new"]

    def _draw_rows(self) -> None:
        self._draw_cards()
        if self.state.rows:
            titles = {key: spec.title for key, spec in catalog.accelerators().items()}
            drawn = plan_figures.every_accelerator(self.state.rows, titles)
            pieces.figure(self._device_figure, drawn, "Memory and speed of every accelerator")
            self._draw_devices()

    def _draw_devices(self) -> None:
        self._devices.value = _devices(self.state.rows, self._filter.value.strip(), priced=self._priced.value)


def _ranked(found: Any) -> str:
    if not found.plans:
        return pieces.note("Nothing fits.")
    names = text.SPEEDS[plan_figures.quantity(found.plans[0].speed)]
    head = ("", "Verdict", "Memory", *(text.TITLES[name] for name in names), "On")
    rows = [_plan_row(number, plan, names) for number, plan in enumerate(found.plans[:SHOWN], 1)]
    more = len(found.plans) - SHOWN
    rest = f"; the first {SHOWN} of {len(found.plans)}" if more > 0 else ""
    return pieces.numbers(head, rows, f"{found.model}{rest}") + pieces.more("The order", [found.rule])


def _plan_row(number: int, plan: Any, names: list[str]) -> tuple[object, ...]:
    name = f"{number}. {plan.engine.name} {text.format_of(plan.model)}"
    speeds = [pieces.estimate(plan.speed[quantity]) for quantity in names]
    where = text.where(plan) or "CPU"
    return (name, plan.verdict, pieces.estimate(plan.memory[0].total), *speeds, where)


def _refused(found: Any) -> str:
    rows = [(f"{one.engine} {one.format}", one.reason, one.fix) for one in found.refused[:SHOWN]]
    more = len(found.refused) - SHOWN
    rest = f"The first {SHOWN} of {len(found.refused)}" if more > 0 else "All that were refused"
    return pieces.sentences(("", "Why", "What would change that"), rows, rest)


def _fit(plan: Any) -> str:
    rows = [
        (
            fit.device,
            pieces.estimate(fit.need),
            "unknown" if fit.free_bytes is None else format_bytes(fit.free_bytes),
            fit.verdict,
        )
        for fit in plan.fits
    ]
    table = pieces.table(
        ("", "Needed", "Free", "Verdict"), rows, "Peak memory by device, and the interval that holds 9 times in 10"
    )
    parts = [f"{one.device}, {name}: {part}" for one in plan.memory for name, part in one.parts.items() if part.high]
    basis = [f"{name}: {e.basis.method}. {e.basis.source}" for name, e in plan.speed.items() if e.value is not None]
    return table + pieces.more("Every part", parts) + pieces.more("Where the speed comes from", basis)


def _devices(rows: list[Any], wanted: str, *, priced: bool) -> str:
    """The fastest accelerators whose name has `wanted` in it, with their price."""
    specs = catalog.accelerators()
    found = [
        row for row in rows
        if wanted.casefold() in specs[row.device].title.casefold() and (specs[row.device].price_usd or not priced)
    ]  # fmt: skip
    found.sort(key=lambda row: (plan_figures.rate(row.speed) or (0.0,))[0], reverse=True)
    lines = []
    for row in found[:DEVICES_SHOWN]:
        spec = specs[row.device]
        price = "unknown" if spec.price_usd is None else format_usd(Decimal(str(spec.price_usd)))
        room = "unknown" if row.room_bytes is None else format_bytes(row.room_bytes)
        lines.append((spec.title, room, row.format, pieces.estimate(row.main), row.verdict, price))
    head = ("", "Memory", "Best format", "Speed", "Verdict", "Price at launch")
    return pieces.numbers(head, lines, f"The fastest {len(lines)} of {len(found)} on which it fits")
