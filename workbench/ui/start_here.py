"""The panel of chapter 0: this computer, a model, what to expect, and then the model itself.

    from workbench.ui import start_here
    start_here.panel()

The view only: what it shows and does is in `start_here_model`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import ipywidgets as widgets

from workbench import models
from workbench.measurement.answers import Answer
from workbench.planning import beside_bound
from workbench.report import MODEL, QUESTION, figures
from workbench.report.html import error_in_words
from workbench.ui import pieces
from workbench.ui.start_here_model import StartHere
from workbench.ui.view import PanelView
from workbench.units import format_bytes, format_usd, format_value

CONTEXT_STEP: Final = 128
LONGEST_CONTEXT: Final = 1_048_576  # until the model's own is known
STEPS: Final = ("Predict", "Deploy", "Ask", "Measure")
MEANING: Final = {
    "memory_peak": "Peak memory",
    "host_memory_peak": "Peak main memory",
    "prefill": "Reading the prompt",
    "decode": "Writing the answer",
    "ttft": "Wait for the first word",
}


def panel(
    model: str = MODEL,
    *,
    question: str = QUESTION,
    context: int = 2048,
    repeats: int = 5,
    engine: str = "auto",
) -> widgets.VBox:
    """The panel as a widget. On a dashboard it starts with its prediction; elsewhere it waits for a click."""
    state = StartHere(model=model, question=question, context=context, repeats=repeats, engine=engine)
    view = View(state)
    view.start(state.make_plan)
    return view.root


class View(PanelView[StartHere]):
    """The widgets, and what they do when the state changes."""

    def __init__(self, state: StartHere) -> None:
        super().__init__(state)
        self._make_controls()
        self._make_outputs()
        self.show(self._steps, self.alert, self._start_cards(), *self._later_cards())
        self._connect()

    def _make_controls(self) -> None:
        known = [(entry.title, entry.name) for entry in models.known() if entry.asset]
        names = {name for _, name in known}
        options = known if self.state.model in names else [(self.state.model, self.state.model), *known]
        self._model = pieces.field(widgets.Dropdown(options=options, value=self.state.model, description="Model"))
        self._context = pieces.field(
            widgets.BoundedIntText(
                self.state.context,
                min=CONTEXT_STEP,
                max=LONGEST_CONTEXT,
                step=CONTEXT_STEP,
                description="Context in tokens",
            )
        )
        self._question = pieces.field(widgets.Textarea(self.state.question, rows=2, description="Your question"))
        self._predict = pieces.button("Predict", icon="line-chart")
        self._deploy = pieces.button("Deploy", icon="play")
        self._stop = pieces.button("Stop and free its memory", icon="stop")
        self._ask = pieces.button("Ask", icon="comment")
        self._measure = pieces.button("Measure", icon="tachometer")
        groups = (("planning",), ("deploying", "stopping"), ("asking",), ("measuring",))
        self._working = [self.working(*states) for states in groups]

    def _make_outputs(self) -> None:
        self._steps = widgets.HTML()
        self._machine, self._expect, self._running = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._answer, self._measured, self._cost = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._memory_figure, self._measured_figure, self._cost_figure = (pieces.figure_area() for _ in range(3))

    def _start_cards(self) -> widgets.HBox:
        computer = pieces.card("This computer", self._machine)
        choice = pieces.card(
            "The model", self._model, self._context, pieces.actions(self._predict), self._working[0].box
        )
        return pieces.row(computer, choice)

    def _later_cards(self) -> list[widgets.Widget]:
        self._expect_card = pieces.card(
            "What to expect", self._memory_figure, self._expect,
            lead="Predicted from the file's header and this computer's speed, before the model ran.",
        )  # fmt: skip
        self._run_card = pieces.card(
            "Run it", self._running, pieces.actions(self._deploy, self._stop), self._working[1].box
        )
        self._ask_card = pieces.card(
            "Ask it", self._question, pieces.actions(self._ask), self._working[2].box, self._answer,
            lead="The answer comes from the process on this computer, token by token.",
        )  # fmt: skip
        self._measure_card = pieces.card(
            "Measure it", pieces.actions(self._measure), self._working[3].box, self._measured_figure, self._measured,
            lead="Equal requests, then the longest prompt that fits, while its memory is watched.",
        )  # fmt: skip
        self._cost_card = pieces.card(
            "What a million tokens cost", self._cost_figure, self._cost,
            lead="Electricity here, beside the list prices of proprietary APIs. Quality is not compared.",
        )  # fmt: skip
        return [self._expect_card, self._run_card, self._ask_card, self._measure_card, self._cost_card]

    def _connect(self) -> None:
        clicks: tuple[tuple[widgets.Button, Callable[[], None]], ...] = (
            (self._predict, self.state.make_plan), (self._deploy, self.state.deploy), (self._ask, self.state.ask),
            (self._measure, self.state.measure), (self._stop, self.state.stop),
        )  # fmt: skip
        for control, action in clicks:
            self.on_click(control, partial(self._act, action))
        for field, choice in ((self._model, "model"), (self._context, "context"), (self._question, "question")):
            self.bind(field, choice)
        self.watch(
            state=self._draw_state, machine=self._draw_machine, plan=self._draw_plan, answer=self._draw_answer,
            measurement=self._draw_measurement, question=self._draw_ask,
        )  # fmt: skip

    def _act(self, action: Callable[[], None]) -> None:
        self.show_error("")
        self.state.model, self.state.context = self._model.value, self._context.value
        self.state.question = self._question.value
        action()

    def _draw_state(self) -> None:
        state, running = self.state, self.state.deployment is not None
        self._steps.value = _steps(state)
        for card, shown in (
            (self._expect_card, state.plan), (self._run_card, state.plan), (self._ask_card, running),
            (self._measure_card, running or state.measurement), (self._cost_card, state.comparison),
        ):  # fmt: skip
            pieces.show(card, bool(shown))
        for control in (self._predict, self._model, self._context):
            control.disabled = state.busy or running
        for control in (self._deploy, self._stop, self._measure):
            control.disabled = state.busy
        self._draw_ask()
        for step, control in enumerate((self._predict, self._deploy, self._ask, self._measure)):
            pieces.mark(control, "wb-primary", step == _step_now(state))
        pieces.show(self._deploy, not running)
        pieces.show(self._stop, running)
        pieces.show(self._measure, running)
        self._running.value = _running(state)
        self._draw_answer()  # no longer in the making

    def _draw_ask(self) -> None:
        self._ask.disabled = self.state.busy or not self.state.question.strip()

    def _draw_machine(self) -> None:
        self._machine.value = _machine(self.state.machine)

    def _draw_plan(self) -> None:
        plan = self.state.plan
        self._context.max = LONGEST_CONTEXT
        if plan is not None:
            self._context.max = max(CONTEXT_STEP, plan.model.architecture.context_length)
            parts = plan.memory[0]
            pieces.figure(self._memory_figure, figures.memory_breakdown(parts), f"Predicted memory: {parts.total}")
            self._expect.value = _expectations(plan)

    def _draw_answer(self) -> None:
        self._answer.value = _answer(self.state.answer, self.state.state == "asking")

    def _draw_measurement(self) -> None:
        measurement, comparison = self.state.measurement, self.state.comparison
        pieces.show(self._measured_figure, measurement is not None)
        if measurement is None:
            self._measured.value, self._measured_figure.outputs = "", ()
            return
        drawn = figures.predicted_beside_measured(measurement.predictions, measurement.values, measurement.decode_bound)
        pieces.figure(self._measured_figure, drawn, "Predicted and measured; the table below has the same numbers")
        self._measured.value = _measurements(measurement)
        pieces.figure(self._cost_figure, figures.cost_of_tokens(comparison), "Cost of a million output tokens")
        self._cost.value = _costs(comparison, self.state.report)


def _step_now(state: StartHere) -> int:
    """The index of the step that is running or comes next."""
    if state.measurement is not None and not state.busy:
        return 4
    if state.state == "measuring":
        return 3
    if state.deployment is None:
        return 0 if state.plan is None or state.state == "planning" else 1
    return 3 if state.answer.finish_reason and state.state != "asking" else 2


def _steps(state: StartHere) -> str:
    items, now = [], _step_now(state)
    for index, name in enumerate(STEPS):
        done = index < now and (name != "Ask" or state.answer.finish_reason)  # one may measure without asking
        kind = "wb-done" if done else "wb-now" if index == now else ""
        current = ' aria-current="step"' if index == now else ""
        mark = '<b aria-label="done">✓</b>' if done else f"<b>{index + 1}</b>"
        items.append(f'<li class="{kind}"{current}>{mark}{name}</li>')
    return f'<ol class="wb-steps" aria-label="Steps">{"".join(items)}</ol>'


def _machine(machine: Any) -> str:
    if machine is None:
        return '<p class="wb-note">Its speed is measured once, in a few seconds, before the first prediction.</p>'
    cards = ", ".join(card.name for card in machine.accelerators) or "none found"
    calibration = machine.calibration
    speed = f"{calibration.read_bandwidth.value / 1e9:.1f} GB/s" if calibration else "not measured"
    return pieces.facts(
        (
            ("Processor", machine.cpu.name),
            ("Cores", _cores(machine.cpu)),
            ("Instructions", ", ".join(machine.cpu.instruction_sets) or "nothing special"),
            (
                "Memory",
                f"{format_bytes(machine.memory.available_bytes)} free of {format_bytes(machine.memory.total_bytes)}",
            ),
            ("Reads memory at", speed),
            ("Accelerators", cards),
            ("System", machine.system),
        )
    )


def _cores(cpu: Any) -> str:
    limited = cpu.usable_cores < cpu.physical_cores
    return f"{cpu.physical_cores}, of which {cpu.usable_cores:g} usable" if limited else f"{cpu.physical_cores}"


def _expectations(plan: Any) -> str:
    rows = [
        (label, format_value(e.value, e.unit), f"{format_value(e.low, e.unit)} to {format_value(e.high, e.unit)}")
        if e.value is not None
        else (label, "unknown", e.reason)
        for label, e in ((label, plan.predictions[name]) for name, label in MEANING.items() if name in plan.predictions)
    ]
    if (bound := plan.decode_bound).value is not None:
        rows.append(("Most that memory allows", format_value(bound.value, bound.unit), "no engine writes faster"))
    workload = plan.workload
    caption = (
        f"Memory for a context of {plan.settings.context:,} tokens; speed of a request with "
        f"{workload.prompt_tokens} tokens of prompt and {workload.answer_tokens} of answer"
    )
    refused = [f"{r.engine}: {r.reason} {r.fix}" for r in plan.refused]
    return pieces.table(("", "Expected", "Between (9 times in 10)"), rows, caption) + pieces.more(
        "Why this way", [*plan.reasons, *refused]
    )


def _running(state: StartHere) -> str:
    if state.deployment is None:
        return '<p class="wb-note">The model gets a process of its own, on a port that only this computer reaches.</p>'
    return pieces.facts(
        (
            ("Address", state.deployment.endpoint.base_url),
            ("Model name", state.deployment.endpoint.served_model),
            ("Speaks", "the OpenAI API, so your programs can use it too"),
        )
    )


def _answer(answer: Answer, streaming: bool) -> str:
    if not answer.text:
        return ""
    count, rate = answer.tokens or len(answer.pieces), answer.tok_per_s or answer.pieces_per_s
    speed = f"<span><strong>{rate:.0f}</strong> tokens/s</span>" if rate else ""
    wait = f"<span>first word after <strong>{format_value(answer.ttft_s, 's')}</strong></span>" if answer.ttft_s else ""
    return (
        f'<div class="wb-answer" aria-busy="{str(streaming).lower()}">{pieces.text(answer.text)}</div>'
        f'<div class="wb-answer-numbers"><span><strong>{count}</strong> tokens</span>{speed}{wait}</div>'
    )


def _measurements(measurement: Any) -> str:
    rows, bound = [], measurement.decode_bound
    for name, label in MEANING.items():
        if name not in measurement.values:
            continue
        estimate, measured = measurement.predictions[name], measurement.values[name]
        expected = format_value(estimate.value, estimate.unit) if estimate.value is not None else "unknown"
        allowed = beside_bound(measured.value, bound) if name == "decode" else ""
        rows.append((label, expected, measured, error_in_words(estimate, measured), allowed))
    head = ("", "Expected", "Measured (range)", "Error of the prediction", "What memory allows")
    shown = len(head) if bound.value is not None else len(head) - 1
    return pieces.table(head[:shown], [row[:shown] for row in rows], "Kept in the ledger of this computer")


def _costs(comparison: Any, report: Any) -> str:
    rows = [
        (
            "Here, electricity only",
            format_usd(comparison.input.usd_per_mtok),
            format_usd(comparison.output.usd_per_mtok),
        )
    ]
    rows += [(a.title, format_usd(a.input_usd_per_mtok), format_usd(a.output_usd_per_mtok)) for a in comparison.apis]
    saved = f'<p class="wb-note">The whole report is in {pieces.text(report)}</p>' if report else ""
    table = pieces.table(("", "Million input tokens", "Million output tokens"), rows, "USD")
    return table + pieces.more("What was assumed", comparison.assumed) + saved
