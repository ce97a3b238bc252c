"""The panel of chapter 6: a recording, three engines, and what each of them wrote down.

    from workbench.ui import speech
    speech.panel()

The view only: what it shows and does is in `speech_model`. What an engine wrote is text of a stranger.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import ipywidgets as widgets

from workbench.catalog.recordings import recordings
from workbench.errors import UsageError
from workbench.measurement.listening import Listened
from workbench.report import answer_figures
from workbench.ui import chat_html, pieces
from workbench.ui.guard import guarded
from workbench.ui.microphone import Microphone
from workbench.ui.speech_model import MODEL, SpeechModel
from workbench.ui.view import PanelView
from workbench.units import format_value

OWN: Final = "A recording of your own"
MARKS: Final = {"same": "", "wrong": "wb-wrong", "missing": "wb-missing", "added": "wb-added"}


def panel(model: str = MODEL, *, recording: str = "librivox-0870", engines: tuple[str, ...] = ()) -> widgets.VBox:
    """The panel as a widget; recording: a name of the catalog or the path of a file. Nothing starts before a click."""
    known = recording in recordings()
    choices: dict[str, Any] = {"sample": recording if known else "", "path": "" if known else recording}
    if engines:
        choices["engines"] = list(engines)
    state = SpeechModel(model=model, **choices)
    return View(state).root


class View(PanelView[SpeechModel]):
    """The widgets, and what they do when the state changes."""

    def __init__(self, state: SpeechModel) -> None:
        super().__init__(state)
        self._make_controls()
        self._texts, self._table, self._files = (widgets.HTML() for _ in range(3))
        self._speed, self._memory = pieces.figure_area(), pieces.figure_area()
        self._results = pieces.card("What they heard", self._texts, self._speed, self._memory, self._table, self._files)
        bar = self.working("transcribing")
        self.show(
            pieces.card("The recording", self._sample, self._own, self._path, self._wanted,
                        lead="Choose one of LibriVox, upload or record your own, or name a file."),
            pieces.card("The engines", self._engines, self._refused, self._language, pieces.actions(self._go), bar.box,
                        lead="All of them run the same weights. Several: hold Ctrl or Shift."),
            self.alert, self._results,
        )  # fmt: skip
        self._connect()

    def _make_controls(self) -> None:
        state, field = self.state, pieces.field
        options = [(one.title, name) for name, one in recordings().items()]
        self._sample = field(
            widgets.Dropdown(options=[*options, (OWN, "")], value=state.sample, description="Recording")
        )
        self._upload = widgets.FileUpload(accept="audio/*,video/*", multiple=False, description="Upload")
        pieces.mark(self._upload, "wb-button", True)
        self._microphone = Microphone()
        self._own = pieces.actions(self._upload, self._microphone)
        self._path = field(widgets.Text(state.path, description="Path of a file", continuous_update=False))
        self._wanted = field(widgets.Textarea(state.wanted, rows=2, description="What is said in it, if you know"))
        names = [(_engine(one), one.name) for one in state.choices if not one.refused]
        able = {name for _, name in names}
        chosen = [one for one in state.engines if one in able]
        self._engines = field(
            widgets.SelectMultiple(options=names, value=chosen, rows=max(2, len(names)), description="Engines")
        )
        state.engines = chosen
        self._refused = widgets.HTML(chat_html.refused(state.choices))
        self._language = field(widgets.Text(state.language, description="Language, if the model knows several"))
        self._go = pieces.button("Transcribe", icon="microphone")
        pieces.mark(self._go, "wb-primary", True)

    def _connect(self) -> None:
        self.on_click(self._go, self.state.transcribe)
        for control, choice in ((self._sample, "sample"), (self._path, "path"), (self._wanted, "wanted"),
                                (self._language, "language")):  # fmt: skip
            self.bind(control, choice)
        self._engines.observe(
            guarded(lambda change: setattr(self.state, "engines", list(change["new"])), self.show_error), "value"
        )
        self._upload.observe(guarded(lambda change: self._keep(change["new"]), self.show_error), "value")
        self._microphone.observe(
            guarded(lambda change: self.state.keep("recording.webm", change["new"]), self.show_error), "recording"
        )
        self._microphone.observe(guarded(lambda change: _complain(change["new"]), self.show_error), "failure")
        self.watch(state=self._draw_state, sample=self._draw_recording, path=self._draw_recording, heard=self._draw)

    def _keep(self, files: tuple[dict[str, Any], ...]) -> None:
        for file in files:
            self.state.keep(file["name"], bytes(file["content"]))

    # -- drawing -----------------------------------------------------------------------------------------------

    def _draw_state(self) -> None:
        for control in (self._go, self._sample, self._engines, self._upload, self._path):
            control.disabled = self.state.busy

    def _draw_recording(self) -> None:
        self._sample.value, self._path.value = self.state.sample, self.state.path
        for control in (self._own, self._path, self._wanted):
            pieces.show(control, not self.state.sample)

    def _draw(self) -> None:
        found = self.state.heard
        pieces.show(self._results, bool(found))
        if not found:
            return
        self._texts.value = "".join(_text(one) for one in found)
        pieces.figure(self._speed, answer_figures.window(found), "Seconds of work for 30 s of sound")
        pieces.figure(self._memory, answer_figures.memory(found), "Memory of each engine")
        self._table.value = _table(found)
        self._files.value = "".join(_downloads(one) for one in found)


def _complain(failure: str) -> None:
    if failure:
        raise UsageError(f"The microphone cannot be used: {failure}.", fix="Allow it for this page, or upload a file.")


def _engine(choice: Any) -> str:
    return f"{choice.title} ({choice.available.version})" if choice.available else choice.title


def _text(one: Listened) -> str:
    """The transcript; words that differ from what is said are marked."""
    if one.errors is None:
        body = pieces.text(one.transcript.text or "nothing was heard")
    else:
        body = " ".join(_word(word) for word in one.errors.words)
    return f'<h3>{pieces.text(one.label)}</h3><p class="wb-answer wb-transcript">{body}</p>'


def _word(word: Any) -> str:
    if word.kind == "same":
        return pieces.text(word.said)
    shown = {"wrong": f"{word.said} (is: {word.wanted})", "missing": f"({word.wanted} is missing)",
             "added": f"{word.said} (is not there)"}[word.kind]  # fmt: skip
    return f'<mark class="{MARKS[word.kind]}">{pieces.text(shown)}</mark>'


def _table(found: list[Listened]) -> str:
    rows = [
        (
            one.label,
            "unknown" if one.errors is None else f"{one.errors.errors} of {one.errors.wanted}",
            format_value(one.took_s, "s"), f"{one.real_time_factor:.3f}",
            format_value(one.measured["window"], "s"), pieces.estimate(one.predicted["window"]),
            "unknown" if one.peak_bytes is None else format_value(one.peak_bytes, "B"),
            pieces.estimate(one.predicted[one.memory_name]),
        )
        for one in found
    ]  # fmt: skip
    head = ("", "Words wrong", "Took", "Real-time factor", "A window", "predicted", "Peak memory", "predicted")
    return pieces.numbers(
        head,
        rows,
        "Real-time factor: seconds of work for a second of sound; a window is 30 s of it, however little is said",
    )


def _downloads(one: Listened) -> str:
    """Links that hold the files themselves."""
    files = {"txt": one.transcript.text + "\n", "srt": one.transcript.srt, "vtt": one.transcript.vtt}
    links = (
        f'<a download="transcript.{kind}" href="data:text/plain;base64,{base64.b64encode(body.encode()).decode()}">'
        f"{kind}</a>"
        for kind, body in files.items()
    )
    return f'<p class="wb-note">{pieces.text(one.label)}: {" · ".join(links)}</p>'
