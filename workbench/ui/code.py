"""The panel of chapter 4: models at hand complete code, and are evaluated on problems whose tests run in a sandbox.

    from workbench.ui import code
    code.panel()

The view only: what it shows and does is in `code_model`. What a model wrote is text of a stranger and is shown as text.
"""

from __future__ import annotations

import json
from typing import Any, Final

import ipywidgets as widgets

from workbench.catalog.loader import FOLDER
from workbench.measurement.code import Attempt, Evaluation, problems
from workbench.report import MODEL, code_figures
from workbench.ui import front_end, pieces
from workbench.ui.code_model import CodeModel, Target
from workbench.ui.guard import guarded
from workbench.ui.view import PanelView

VERDICTS: Final = {
    "passed": "✓ passed", "failed": "✗ failed", "error": "✗ error", "timeout": "✗ too slow",
    "memory": "✗ too much memory", "refused": "✗ refused",
}  # fmt: skip
GAP_UNKNOWN: Final = "Whether a model can also fill a gap in the middle is known as soon as it runs."
GAP_NONE: Final = "This model only goes on at the end: its vocabulary has no tokens for filling a gap in the middle."
GAP: Final = (
    "This model's vocabulary has the tokens {tokens} for filling a gap. Whether it was trained to use them, "
    "only what it writes can tell."
)


def panel(
    model: str = MODEL, *, engine: str = "auto", count: int = 6, mode: str = "chat", allowed: bool = False
) -> widgets.VBox:
    """The panel as a widget. count: problems of an evaluation; allowed: whether the box that allows running what a
    model writes is ticked. No model starts before somebody clicks."""
    state = CodeModel(chosen=[Target(model, engine)], problems=count, mode=mode, allowed=allowed)
    view = View(state)
    view.start(state.look)
    if not front_end.is_dashboard():
        state.look()
    return view.root


class View(PanelView[CodeModel]):
    """The widgets, and what they do when the state changes."""

    def __init__(self, state: CodeModel) -> None:
        super().__init__(state)
        self._listing = False
        self._make_controls()
        self._make_outputs()
        self.show(self._models_card(), self.alert, self._completion_card(), *self._evaluation_cards())
        self._connect()

    def _make_controls(self) -> None:
        state, field = self.state, pieces.field
        self._chosen = field(widgets.SelectMultiple(rows=5, description="At hand"))
        self._named = field(
            widgets.Text(description="Another one", placeholder="a name or a .gguf file, such as my.gguf on llama.cpp",
                         continuous_update=False)
        )  # fmt: skip
        self._prefix = field(widgets.Textarea(state.prefix, rows=6, description="Code before"))
        self._suffix = field(widgets.Textarea(state.suffix, rows=3, description="Code after the gap"))
        for code_box in (self._prefix, self._suffix):
            code_box.add_class("wb-code")
        self._problems = field(
            widgets.BoundedIntText(state.problems, min=1, max=len(problems()), description="Problems")
        )
        modes = [("Ask in the chat", "chat"), ("Let the text go on", "complete")]
        self._mode = field(widgets.Dropdown(options=modes, value=state.mode, description="How"))
        self._allowed = widgets.Checkbox(
            state.allowed, indent=False, description="Run what the model writes on this computer, in the sandbox below"
        )
        self._allowed.add_class("wb-check")
        self._complete = pieces.button("Complete", icon="pencil")
        self._stop = pieces.button("Stop and free its memory", icon="stop")
        self._evaluate = pieces.button("Evaluate", icon="check-square-o")

    def _make_outputs(self) -> None:
        self._gap, self._text, self._table, self._details, self._guards = (widgets.HTML() for _ in range(5))
        self._figure = pieces.figure_area()

    def _models_card(self) -> widgets.Widget:
        return pieces.card(
            "The models", self._chosen, self._named, self.working("looking").box,
            lead="One, or several with Ctrl or Shift to compare; the first completes. What is not here is fetched.",
        )  # fmt: skip

    def _completion_card(self) -> widgets.Widget:
        bar = self.working("completing", "stopping")
        return pieces.card(
            "Complete code", self._prefix, self._suffix, self._gap, pieces.actions(self._complete, self._stop),
            bar.box, self._text,
            lead="The text goes to the model as it stands, and it goes on from there.",
        )  # fmt: skip

    def _evaluation_cards(self) -> list[widgets.Widget]:
        bar = self.working("evaluating")
        controls, note = pieces.fields(self._problems, self._mode), widgets.HTML(pieces.note(embedded()))
        evaluate = pieces.card(
            "How much of its code works?", controls, note, self._allowed, pieces.actions(self._evaluate), bar.box,
            self._figure, self._table, self._details,
            lead="Small problems of this project's own. A problem is solved when the first answer passes every test.",
        )  # fmt: skip
        self._guard_card = pieces.card("What the sandbox guards against", self._guards)
        return [evaluate, self._guard_card]

    def _connect(self) -> None:
        state = self.state
        for button, action in ((self._complete, state.complete), (self._stop, state.stop),
                               (self._evaluate, state.evaluate)):  # fmt: skip
            self.on_click(button, action)
        for control, choice in ((self._prefix, "prefix"), (self._suffix, "suffix"), (self._problems, "problems"),
                                (self._mode, "mode"), (self._allowed, "allowed")):  # fmt: skip
            self.bind(control, choice)
        self._chosen.observe(guarded(lambda change: self._choose(change["new"]), self.show_error), "value")
        self._named.observe(guarded(lambda change: self._add(change["new"]), self.show_error), "value")
        self.watch(
            state=self._draw_state, deployment=self._draw_gap, completion=self._draw_completion,
            evaluations=self._draw_evaluations, protections=self._draw_guards, allowed=self._draw_state,
            known=self._draw_models, chosen=self._draw_models,
        )  # fmt: skip

    def _choose(self, chosen: tuple[Target, ...]) -> None:
        if not self._listing:  # a list that changes forgets for a moment what was chosen
            self.state.chosen = list(chosen)

    def _add(self, text: str) -> None:
        """Put a model that was named into the list, chosen beside the others."""
        if text.strip():
            target = Target.parse(text)
            self._named.value = ""
            self.state.chosen = list(dict.fromkeys([*self.state.chosen, target]))
            self.state.known = list(dict.fromkeys([*self.state.known, target]))

    # -- drawing -----------------------------------------------------------------------------------------------

    def _draw_models(self) -> None:
        known = list(dict.fromkeys([*self.state.known, *self.state.chosen]))
        self._listing = True
        if [one for _, one in self._chosen.options] != known:
            self._chosen.options = [(str(one), one) for one in known]
        self._chosen.value = tuple(self.state.chosen)
        self._listing = False

    def _draw_state(self) -> None:
        state = self.state
        for control in (self._chosen, self._named, self._complete, self._stop):
            control.disabled = state.busy
        self._evaluate.disabled = state.busy or not state.allowed
        pieces.mark(self._evaluate, "wb-primary", state.allowed)
        pieces.mark(self._complete, "wb-primary", not state.allowed)
        self._draw_completion()

    def _draw_gap(self) -> None:
        able = self.state.can_fill
        pieces.show(self._suffix, bool(able))
        pieces.show(self._stop, self.state.deployment is not None)
        if able:
            infill = self.state.deployment.infill
            sentence = GAP.format(tokens=" ".join((infill.before, infill.after, infill.gap)))
        else:
            sentence = GAP_UNKNOWN if able is None else GAP_NONE
        self._gap.value = pieces.note(sentence)

    def _draw_completion(self) -> None:
        writes = self.state.state == "completing"
        self._text.value = _completion(self.state.prefix, self.state.completion, self._shown_suffix(), writes=writes)

    def _shown_suffix(self) -> str:
        return self.state.suffix if self.state.can_fill else ""

    def _draw_evaluations(self) -> None:
        found = self.state.evaluations
        pieces.show(self._figure, bool(found))
        if not found:
            return
        pieces.figure(self._figure, code_figures.pass_at_1(found), "Share of problems solved by each model")
        self._table.value = _table(found)
        self._details.value = "".join(_answers(one) for one in found)

    def _draw_guards(self) -> None:
        pieces.show(self._guard_card, self.state.protections is not None)
        if self.state.protections is not None:
            self._guards.value = guards(self.state.protections)


def embedded() -> str:
    """What is to be expected of the embedded model, from the record of `benchmarks.code_models`."""
    record = json.loads((FOLDER / "records" / "code_models.json").read_text("utf-8"))["result"]
    chat, complete = (f"{one['counts'].get('passed', 0)} of {len(one['problems'])}" for one in
                      (record["chat"], record["complete"]))  # fmt: skip
    return (
        f"The embedded model is small and weak at code: asked in the chat it solved {chat} problems, "
        f"by letting the text go on {complete} ({record['chat']['created'][:10]})."
    )


def _completion(prefix: str, text: str, suffix: str, *, writes: bool) -> str:
    if not text:
        return ""
    parts = f"{pieces.text(prefix)}<mark>{pieces.text(text)}</mark>{pieces.text(suffix)}"
    return f'<pre class="wb-answer wb-listing" aria-busy="{str(writes).lower()}">{parts}</pre>'


def _table(found: list[Evaluation]) -> str:
    """Problems below each other, models beside each other."""
    heads = [f"{one.model} on {one.engine}, {one.mode}" for one in found]
    by_problem = [{result.problem: result for result in one.results} for one in found]
    names = dict.fromkeys(name for one in by_problem for name in one)
    difficulties = {problem.name: problem.difficulty for problem in problems()}
    rows = [
        (
            name,
            difficulties.get(name, ""),
            *(_verdict(one[name].attempts[0]) if name in one else "–" for one in by_problem),
        )
        for name in names
    ]
    summary = [f"{head}: {code_figures.solved(one)}, {_interval(one)}" for head, one in zip(heads, found, strict=True)]
    return pieces.sentences(("Problem", "", *heads), rows, "; ".join(summary))


def _verdict(attempt: Attempt) -> str:
    outcome = attempt.outcome
    return ": ".join(part for part in (VERDICTS[outcome.kind], outcome.test, outcome.message) if part)


def _interval(one: Evaluation) -> str:
    value, low, high = one.pass_at()
    return f"pass@1 {value:.0%} (9 times in 10 between {low:.0%} and {high:.0%})"


def _answers(one: Evaluation) -> str:
    """Everything a model wrote, to be unfolded."""
    listings = "".join(
        f"<h4>{pieces.text(result.problem)}: {pieces.text(VERDICTS[attempt.outcome.kind])}</h4>"
        f'<pre class="wb-answer wb-listing">{pieces.text(attempt.program)}</pre>'
        for result in one.results
        for attempt in result.attempts
    )
    title = f"What {one.model} on {one.engine} wrote"
    return f'<details class="wb-more"><summary>{pieces.text(title)}</summary>{listings}</details>'


def guards(found: Any) -> str:
    """What is covered and what is not."""
    rows = [(*line.partition(": ")[::2], "yes") for line in found.covered]
    rows += [(*line.partition(": ")[::2], "no") for line in found.not_covered]
    return pieces.sentences(("", "Against", "Covered"), rows, "As the sandbox itself reports it on this computer")
