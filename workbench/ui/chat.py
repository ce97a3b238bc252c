"""The panel of chapter 3: deploy a language model on one or several engines, and talk with it.

    from workbench.ui import chat
    chat.panel()

The view only: what it shows and does is in `chat_model`; what a conversation looks like is in `chat_html`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import ipywidgets as widgets

from workbench import models
from workbench.measurement import Compared
from workbench.report import answer_figures, same_text
from workbench.ui import chat_html, pieces
from workbench.ui.chat_model import MODEL, Chat
from workbench.ui.engine_rows import EngineRows
from workbench.ui.view import PanelView

FIGURES: Final = {
    "decode": (answer_figures.decode, "How fast each engine writes"),
    "ttft": (answer_figures.ttft, "How long each engine takes to the first token"),
    "memory_peak": (answer_figures.memory, "How much memory each engine takes"),
}
SAME: Final = (
    "Where answers of your chat differ, the reasons are below them. How often that happens was recorded: the same "
    "questions to several engines, whose texts are compared with those of the first."
)


def panel(
    model: str = MODEL, *, engines: Sequence[str] = ("auto",), context: int = 2048, concurrency: int = 1,
    system: str = "", question: str = "", temperature: float = 0.7, max_tokens: int = 256,
) -> widgets.VBox:  # fmt: skip
    """The panel as a widget; engines: 'llama.cpp', 'transformers:BF16', or 'auto' for the first that runs here.

    On a dashboard it begins by looking which engines can run here; elsewhere it waits for a click.
    """
    state = Chat(
        model=model, engines=list(engines), context=context, concurrency=concurrency, system=system,
        question=question, temperature=temperature, max_tokens=max_tokens,
    )  # fmt: skip
    view = View(state)
    view.start(state.look)
    return view.root


class View(PanelView[Chat]):
    """The widgets, and what they do when the state changes."""

    def __init__(self, state: Chat) -> None:
        super().__init__(state)
        self._make_choice()
        self._make_conversation()
        self._make_outputs()
        self.show(self._choice_card(), self.alert, *self._later_cards())
        self.watch(
            state=self._draw_state, choices=self._draw_choices, plans=self._draw_plans, running=self._draw_state,
            turns=self._draw_turns, question=self._draw_question,
        )  # fmt: skip

    # -- making ------------------------------------------------------------------------------------------------

    def _make_choice(self) -> None:
        state, field = self.state, pieces.field
        known = [entry.name for entry in models.known() if entry.asset and entry.task in ("chat", "code")]
        self._model = field(
            widgets.Combobox(value=state.model, options=known, continuous_update=False, ensure_option=False,
                             description="Model",
                             placeholder="a name (or an app's), a .gguf file, or hf:owner/name/file.gguf")
        )  # fmt: skip
        self._context = field(
            widgets.BoundedIntText(state.context, min=128, max=2**20, step=128, description="Context in tokens")
        )
        self._concurrency = field(
            widgets.BoundedIntText(state.concurrency, min=1, max=256, description="Requests at once")
        )
        self._engines = EngineRows(state, self.show_error)
        self._deploy = pieces.button("Deploy", icon="play")
        self._stop = pieces.button("Stop and free the memory", icon="stop")
        controls = {"model": self._model, "context": self._context, "concurrency": self._concurrency}
        for name, control in controls.items():
            self.bind(control, name)
        self.on_click(self._deploy, state.deploy)
        self.on_click(self._stop, state.stop)

    def _make_conversation(self) -> None:
        state, field = self.state, pieces.field
        self._question = field(widgets.Textarea(state.question, rows=2, description="Your message"))
        self._send = pieces.button("Send", icon="paper-plane")
        self._halt = pieces.button("Stop", icon="stop", hint="End this answer; what came of it stays")
        self._new = pieces.button("New chat", icon="trash")
        pieces.mark(self._send, "wb-primary", True)
        for control, action in ((self._send, self._ask), (self._halt, state.halt), (self._new, state.new_chat)):
            self.on_click(control, action)
        self._fields = {
            "system": widgets.Textarea(state.system, rows=2, description="System prompt (how it should answer)"),
            "temperature": widgets.BoundedFloatText(
                state.temperature, min=0, max=2, step=0.1, description="Temperature (0: likeliest words)"
            ),
            "top_p": widgets.BoundedFloatText(state.top_p, min=0.01, max=1, step=0.05, description="Top-p"),
            "max_tokens": widgets.BoundedIntText(
                state.max_tokens, min=1, max=2**20, step=64, description="Longest answer, tokens"
            ),
            "seed": widgets.BoundedIntText(
                state.seed, min=-1, max=2**31 - 1, description="Seed (-1: a new one each time)"
            ),
        }
        self.bind(self._question, "question")
        for name, control in self._fields.items():
            self.bind(field(control), name)

    def _make_outputs(self) -> None:
        self._refused, self._numbers, self._status = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._past, self._now, self._hint = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._figures = {name: pieces.figure_area() for name in FIGURES}
        self._drawn: list[Compared] = []
        self._same, self._same_table = pieces.figure_area(), widgets.HTML()

    def _choice_card(self) -> widgets.Widget:
        bar = self.working("looking", "deploying", "stopping")
        self._settings = pieces.fields(self._model, self._context, self._concurrency)
        return pieces.card(
            "The model and its engines", self._settings, self._engines.box, self._refused,
            pieces.actions(self._deploy, self._stop, self._status), bar.box,
            lead="Choose one engine, or several to compare them. Each gets a process of its own on this computer.",
        )  # fmt: skip

    def _later_cards(self) -> list[widgets.Widget]:
        sampling = pieces.fields(*(self._fields[name] for name in ("temperature", "top_p", "max_tokens", "seed")))
        buttons = pieces.actions(self._send, self._halt, self._new, self._hint)
        talk = widgets.VBox([self._now, self._past], tabbable=True)  # from the bottom to the top, where it scrolls
        talk.add_class("wb-talk")
        self._chat_card = pieces.card(
            "Chat", talk, self._question, buttons, self._fields["system"], sampling,
        )  # fmt: skip
        self._numbers_card = pieces.card(
            "Predicted beside measured", *self._figures.values(), self._numbers,
            lead="Bars hold the prediction 9 times in 10. Before an engine has answered, it is for the usual request; "
            "afterwards for the tokens of your last one.",
        )  # fmt: skip
        self._same_card = pieces.card("Do engines write the same?", self._same, self._same_table, lead=SAME)
        return [self._chat_card, self._numbers_card, self._same_card]

    # -- doing -------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        self.state.question = self._question.value
        self.state.send()

    # -- drawing -----------------------------------------------------------------------------------------------

    def _draw_state(self) -> None:
        state, running = self.state, bool(self.state.running)
        answering = state.state == "answering"
        for control in (self._model, self._context, self._concurrency, self._deploy):
            control.disabled = state.busy or running
        self._engines.lock(state.busy or running)
        self._stop.disabled = self._new.disabled = state.busy
        pieces.mark(self._deploy, "wb-primary", not running)
        for widget, shown in (
            (self._deploy, not running), (self._stop, running), (self._send, not answering), (self._halt, answering),
            (self._chat_card, running or bool(state.turns)), (self._numbers_card, bool(state.plans)),
            (self._same_card, bool(state.plans)),
        ):  # fmt: skip
            pieces.show(widget, shown)
        self._status.value = chat_html.addresses(state.running)
        self._draw_question()
        self._draw_turns()
        if not answering:
            self._draw_numbers()

    def _draw_choices(self) -> None:
        self._engines.draw()
        self._refused.value = chat_html.refused(self.state.choices)

    def _draw_question(self) -> None:
        state = self.state
        if self._question.value.strip() != state.question.strip():
            self._question.value = state.question
        self._send.disabled = state.busy or not state.running or not state.question.strip()

    def _draw_turns(self) -> None:
        """The turns that are over change seldom; the one that is growing is drawn ten times a second."""
        state = self.state
        growing = state.state == "answering" and len(state.turns) > 0
        over = state.turns[:-1] if growing else state.turns
        past = "".join(chat_html.turn(one) for one in over)
        if self._past.value != past:
            self._past.value = past
        self._now.value = chat_html.turn(state.turns[-1], growing=True) if growing else ""
        self._hint.value = chat_html.hint(state)
        pieces.show(self._chat_card, bool(state.running or state.turns))

    def _draw_plans(self) -> None:
        self._draw_numbers()
        pieces.show(self._same_card, bool(self.state.plans))
        if self.state.plans and not self._same.outputs:
            pieces.figure(self._same, same_text.figure(), "On how many prompts each engine wrote the same text")
            self._same_table.value = chat_html.same_text_table()

    def _draw_numbers(self) -> None:
        found = self.state.compared()
        pieces.show(self._numbers_card, bool(found))
        if not found or found == self._drawn:
            return
        self._drawn = found
        for name, (draw, description) in FIGURES.items():
            pieces.figure(self._figures[name], draw(found), f"{description}; the table below has the same numbers")
        self._numbers.value = chat_html.numbers(found)
