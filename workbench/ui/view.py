"""What the views of all panels share: an alert above everything, guarded callbacks, the bar of a running step.

A view shows a `Stepwise` model and calls its steps; it computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import ipywidgets as widgets

from workbench.ui import front_end, pieces
from workbench.ui.guard import error_card, guarded
from workbench.ui.stepwise import Stepwise

State = TypeVar("State", bound=Stepwise)


class Working:
    """What a running step shows: a bar, a sentence, and a way out."""

    def __init__(self, states: tuple[str, ...], cancel: Callable[[], None]) -> None:
        self.states = states
        self._bar = widgets.FloatProgress(max=1.0)
        self._label = widgets.HTML()
        self._cancel = pieces.button("Cancel", icon="times", hint="End this step")
        self._cancel.on_click(lambda _: cancel())
        self.box = widgets.VBox([self._bar, pieces.actions(self._cancel, self._label)])
        self.box.add_class("wb-working")

    def draw(self, state: Stepwise) -> None:
        """Show how far the step is, if it is one of ours."""
        pieces.show(self.box, state.state in self.states)
        fraction = state.progress.fraction
        self._bar.value = fraction or 0.0
        pieces.mark(self._bar, "wb-unknown", fraction is None)
        self._label.value = f'<p class="wb-note" role="status">{pieces.text(state.progress.text or "working")}</p>'


class PanelView(Generic[State]):
    """The frame of a panel. A child makes its widgets, then calls `show`, then `watch`."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.state.foreground = not front_end.shows_updates_from_threads()
        self.alert = widgets.HTML()
        self.root = widgets.VBox()
        self.root.add_class("wb-panel")
        self._bars: list[Working] = []

    def show(self, *children: widgets.Widget) -> None:
        """What the panel is made of, from top to bottom."""
        self.root.children = (pieces.style(), *children)

    def start(self, action: Callable[[], Any]) -> None:
        """On a dashboard, do `action` as soon as the page has all widgets; elsewhere people click.

        The page presses a button that nobody sees (session.js). Done at once, what changes between the page's first
        look at the widgets and its last one would never reach it.
        """
        if front_end.is_dashboard():
            button = pieces.button("Start")
            pieces.mark(button, "wb-start", True)
            pieces.show(button, False)
            self.on_click(button, action)
            self.root.children += (button,)

    def show_error(self, card: str) -> None:
        """Show an error card where the alert is."""
        self.alert.value = card
        pieces.show(self.alert, bool(card))

    def working(self, *states: str) -> Working:
        """A bar for the steps that run in these states, with a way to cancel them."""
        self._bars.append(Working(states, guarded(self.state.cancel, self.show_error)))
        return self._bars[-1]

    def on_click(self, control: widgets.Button, action: Callable[[], Any]) -> None:
        """Do `action` when the button is pressed."""
        control.on_click(guarded(lambda _: action(), self.show_error))

    def bind(self, control: Any, choice: str) -> None:
        """Keep a choice of the state as its control has it."""
        control.observe(guarded(lambda change: setattr(self.state, choice, change["new"]), self.show_error), "value")

    def watch(self, **draws: Callable[[], None]) -> None:
        """Draw now, and whenever the trait of that name changes; bars and errors are drawn anyway."""
        for name, draw in draws.items():
            self.watch_any(name, draw=draw)
        self.watch_any("state", "progress", draw=self._draw_bars)
        self.watch_any("error", draw=self._draw_error)

    def watch_any(self, *names: str, draw: Callable[[], None]) -> None:
        """Draw now, and whenever one of these traits changes."""
        for name in names:
            self._observe(name, draw)
        draw()

    def _observe(self, name: str, draw: Callable[[], None]) -> None:
        self.state.observe(guarded(lambda _: draw(), self.show_error), name)

    def _draw_bars(self) -> None:
        for bar in self._bars:
            bar.draw(self.state)

    def _draw_error(self) -> None:
        self.show_error("" if self.state.error is None else error_card(self.state.error))
