"""The rows in which engines are chosen: one engine and its format each, as many as are to be compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import ipywidgets as widgets

from workbench.ui import engine_choice, pieces
from workbench.ui.engine_choice import AUTO
from workbench.ui.guard import guarded

MOST: Final = 6  # engines side by side; more are no comparison that anybody reads
AS_IT_IS: Final = ("the engine's own choice", "")
FIRST: Final = ("the first engine that runs here", AUTO)
COMPARE: Final = (
    "The first engine that runs here need not be the fastest: `workbench plan MODEL --for chat` compares them."
)


class EngineRows:
    """Rows bound to `state.engines`, with the engines of `state.choices`."""

    def __init__(self, state: Any, show_error: Callable[[str], object]) -> None:
        self._state, self._show_error = state, show_error
        self._rows, self._note, self._locked = widgets.VBox(), widgets.HTML(), False
        self._rows.add_class("wb-rows")
        self._add = pieces.button("Add an engine to compare", icon="plus")
        self._add.on_click(self._guard(lambda _: self._change([*state.engines, self._next()])))
        self.box = widgets.VBox([self._rows, self._note, pieces.actions(self._add)])
        self.box.add_class("wb-rows")
        self.draw()

    def draw(self) -> None:
        """Show the choices anew."""
        several = len(self._state.engines) > 1
        self._rows.children = [self._row(number, choice, several) for number, choice in enumerate(self._state.engines)]
        self._note.value = pieces.note(COMPARE if AUTO in self._state.engines else "")
        self.lock(self._locked)

    def lock(self, locked: bool) -> None:
        """Whether nothing can be chosen now."""
        self._locked = locked
        self._add.disabled = locked or len(self._state.engines) >= MOST
        for row in self._rows.children:
            for control in row.children:
                control.disabled = locked

    def _guard(self, action: Callable[[Any], object]) -> Callable[..., None]:
        return guarded(action, self._show_error)

    def _row(self, number: int, choice: str, several: bool) -> widgets.Widget:
        name, _, wanted = choice.partition(":")
        engine = pieces.field(
            widgets.Dropdown(options=self._engines(name), value=name, description=_counted("Engine", number, several))
        )
        formats = pieces.field(
            widgets.Dropdown(options=self._formats(name, wanted), value=wanted,
                             description=_counted("Format", number, several))
        )  # fmt: skip
        engine.observe(self._guard(lambda change: self._set(number, change["new"])), "value")
        formats.observe(self._guard(lambda change: self._set(number, f"{name}:{change['new']}".rstrip(":"))), "value")
        remove = pieces.button("Remove", icon="times", hint=f"Remove engine {number + 1}")
        remove.on_click(self._guard(lambda _: self._remove(number)))
        return pieces.fields(engine, formats, *([remove] if several else []))

    def _engines(self, chosen: str) -> list[tuple[str, str]]:
        known = [
            (f"{one.title} (cannot run here)" if one.refused else one.title, one.name) for one in self._state.choices
        ]
        unknown = [] if chosen in (AUTO, *(name for _, name in known)) else [(chosen, chosen)]
        return [FIRST, *known, *unknown]

    def _formats(self, name: str, wanted: str) -> list[tuple[str, str]]:
        known = next((one.formats for one in self._state.choices if one.name == name), ())
        return [AS_IT_IS, *((one, one) for one in dict.fromkeys((*known, *filter(None, [wanted]))))]

    def _next(self) -> str:
        """An engine that is not chosen yet, one that can run here if there is one."""
        chosen = {engine_choice.engine_of(one) for one in self._state.engines}
        left = [one for one in self._state.choices if one.name not in chosen]
        able = [one for one in left if not one.refused]
        return next((one.name for one in (*able, *left)), AUTO)

    def _set(self, number: int, choice: str) -> None:
        self._change([choice if at == number else one for at, one in enumerate(self._state.engines)])

    def _remove(self, number: int) -> None:
        self._change([one for at, one in enumerate(self._state.engines) if at != number])

    def _change(self, choices: list[str]) -> None:
        self._state.engines = choices
        self.draw()


def _counted(name: str, number: int, several: bool) -> str:
    return f"{name} {number + 1}" if several else name
