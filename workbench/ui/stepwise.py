"""What the models of all panels share: one step at a time, each as a job that can be followed and cancelled.

A step that fails or is cancelled leaves everything as it was before it, and `error` says why. No widget is known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from traitlets import Bool, HasTraits, Instance, Unicode

from workbench.ui.jobs import Context, Event, ThreadJob

GRACE_S: Final = 30.0
"""How long a deployment waits for a reloaded page, or for the next one that wants the same model."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the running step is: a fraction, or None while nobody knows, and what it does."""

    fraction: float | None = None
    text: str = ""


class Stepwise(HasTraits):
    """The state of a panel. A child names its states, those in which a step runs in BUSY, and calls `_begin`."""

    BUSY: tuple[str, ...] = ()

    state = Unicode("idle")
    progress = Instance(Progress, args=())
    error = Instance(Exception, allow_none=True)
    foreground = Bool(False)

    def __init__(self, **choices: Any) -> None:
        super().__init__(**choices)
        self._job: ThreadJob | None = None

    @property
    def busy(self) -> bool:
        """Whether a step is running."""
        return self.state in self.BUSY

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the running step."""
        return self._job is None or self._job.join(timeout_s)

    def cancel(self) -> None:
        """End the running step at its next chance; what it started is taken back."""
        if self._job is not None:
            self._job.cancel()

    def _begin(
        self, state: str, work: Callable[[Context], Any], then: str, *, partial: str = "", result: str = ""
    ) -> None:
        """Run `work` in `state`, then go on to `then`; partial, result: the traits that hear what it says."""
        if self.busy:
            return
        before = self.state

        def hear(event: Event) -> None:
            match event.kind:
                case "progress":
                    self.progress = Progress(event.fraction, event.text)
                case "partial":
                    setattr(self, partial, event.value)
                case "done":
                    self._end(then, {result: event.value} if result else {})
                case "error":
                    self._end(before, {"error": event.error})
                case "cancelled":
                    self._end(before, {})

        self.set_trait("error", None)
        self.progress = Progress()
        self.state = state
        self._job = ThreadJob(work, hear)
        self._job.run_in_foreground() if self.foreground else self._job.start()

    def _end(self, state: str, values: dict[str, Any]) -> None:
        try:
            for name, value in values.items():
                setattr(self, name, value)
        finally:  # whatever a listener does, the buttons come back
            self.progress = Progress()
            self.state = state


def checked(context: Context) -> Callable[[float | None, str], None]:
    """A progress function for the package's own steps: each report is also a chance to cancel."""

    def report(fraction: float | None, text: str) -> None:
        context.check()
        context.progress(fraction, text)

    return report


def part(context: Context, number: int, total: int, name: str = "") -> Callable[[float | None, str], None]:
    """The same for one of several equal parts; name: of the part, said where there are others."""
    report, before = checked(context), f"{name}: " if name and total > 1 else ""
    return lambda fraction, text: report(((fraction or 0.0) + number) / total, f"{before}{text}")


def in_bytes(context: Context) -> Callable[[int, int | None, str], None]:
    """The same for a file that is fetched or checked, of which so many bytes are done."""
    report = checked(context)
    return lambda done, total, what: report(done / total if total else None, what)
