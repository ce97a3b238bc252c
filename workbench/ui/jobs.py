"""Long work that a panel can follow and cancel.

A job runs one function in a thread and tells one listener what happens. It suits work that waits: for a server,
a stream, a child process. Work that computes in Python belongs in a process of its own, which a job then waits for.
Nothing here knows widgets, so jobs are tested without a browser, and `run_in_foreground` serves front ends that do
not show updates from threads (Colab).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

Kind = Literal["progress", "log", "partial", "done", "error", "cancelled"]
State = Literal["new", "running", "done", "error", "cancelled"]

INTERVAL_S: Final = 0.1
"""Shortest time between two events of a kind that is coalesced: a page redraws at most ten times a second."""

_log = logging.getLogger(__name__)


class Cancelled(BaseException):
    """The user cancelled the job. Not an `Exception`, so that no `except Exception` in the work can swallow it."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a listener is told.

    progress: `fraction` from 0 to 1, None while it is unknown, and `text`; log: `text`; partial: `value`, the result
    so far, which replaces the one before; done: `value`, the result; error: `error`; cancelled: nothing.
    """

    kind: Kind
    text: str = ""
    fraction: float | None = None
    value: Any = None
    error: Exception | None = None


Listener = Callable[[Event], None]


class Context:
    """What the work sees of its job: it tells how far it is and asks whether to go on."""

    def __init__(self, emit: Listener) -> None:
        self._emit = emit
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._on_cancel: list[Callable[[], object]] = []

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for the end of the job."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise Cancelled if somebody asked for the end of the job. Call it between steps."""
        if self.cancelled:
            raise Cancelled

    def progress(self, fraction: float | None, text: str = "") -> None:
        """Tell how far the work is: a fraction from 0 to 1, or None while nobody knows."""
        bounded = None if fraction is None else min(1.0, max(0.0, fraction))
        self._emit(Event("progress", text=text, fraction=bounded))

    def log(self, text: str) -> None:
        """Tell something worth reading; never coalesced."""
        self._emit(Event("log", text=text))

    def partial(self, value: Any) -> None:
        """Show the result so far, as a whole: an answer as long as it is by now."""
        self._emit(Event("partial", value=value))

    def on_cancel(self, action: Callable[[], object]) -> None:
        """Run `action` when the job is cancelled: close the stream the work waits on. At once if it already is."""
        with self._lock:
            if not self.cancelled:
                self._on_cancel.append(action)
                return
        action()

    def _cancel(self) -> None:
        with self._lock:
            self._cancelled.set()
            actions, self._on_cancel = self._on_cancel, []
        for action in actions:
            try:
                action()
            except Exception:  # noqa: BLE001  the other actions must still run
                _log.exception("an action for the end of a job failed")


class _Coalescer:
    """Passes events on; of progress and of partial results at most one each interval, and never loses the last."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._lock = threading.RLock()  # one event at a time reaches the listener, which may cancel its own job
        self._waiting: dict[Kind, Event] = {}
        self._sent_s: dict[Kind, float] = {}
        self._timer: threading.Timer | None = None

    def __call__(self, event: Event) -> None:
        with self._lock:
            if event.kind not in ("progress", "partial"):
                self._flush()
                self._tell(event)
            elif time.monotonic() - self._sent_s.get(event.kind, float("-inf")) >= INTERVAL_S:
                self._waiting.pop(event.kind, None)
                self._tell(event)
            else:
                self._waiting[event.kind] = event
                self._wake_later()

    def _wake_later(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(INTERVAL_S, self._flush)
            self._timer.daemon = True
            self._timer.start()

    def _flush(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            waiting, self._waiting = self._waiting, {}
            for event in waiting.values():
                self._tell(event)

    def _tell(self, event: Event) -> None:
        self._sent_s[event.kind] = time.monotonic()
        try:
            self._listener(event)
        except Exception:  # noqa: BLE001  a view that cannot draw must not end the work
            _log.exception("a listener failed on %s", event.kind)


class ThreadJob:
    """One run of `work(context)`; `listener` hears of it, always ending in done, error or cancelled."""

    def __init__(self, work: Callable[[Context], Any], listener: Listener) -> None:
        self.state: State = "new"
        self._work = work
        self._emit = _Coalescer(listener)
        self._context = Context(self._emit)
        self._thread = threading.Thread(target=self._run, name="workbench-job", daemon=True)

    def start(self) -> ThreadJob:
        """Start the work in a thread of its own."""
        self.state = "running"
        self._thread.start()
        return self

    def run_in_foreground(self) -> ThreadJob:
        """Do the work here and now; interrupting the kernel cancels it."""
        self.state = "running"
        self._run()
        return self

    def cancel(self) -> None:
        """Ask the work to end. It ends at its next `check`, or when what it waits on is closed."""
        self._context._cancel()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; False if the work is still running then."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        event = self._outcome()
        self.state = cast(State, event.kind)
        self._emit(event)

    def _outcome(self) -> Event:
        try:
            return Event("done", value=self._work(self._context))
        except (Cancelled, KeyboardInterrupt):
            self._context._cancel()
            return Event("cancelled")
        except Exception as error:  # noqa: BLE001  any failure of the work is the listener's to show
            return Event("cancelled") if self._context.cancelled else Event("error", error=error)
