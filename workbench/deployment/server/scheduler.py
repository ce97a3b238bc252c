"""The one thread that runs a model: it advances up to `slots` requests in turns, a step each; others wait in line.

A request is a job: a function from the runtime to an iterator of events. The iterator lives in the engine's thread
alone; its events leave through `deliver`. Closing a job closes its iterator, and with that frees what it holds.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

MOST_WAITING = 64


class QueueFull(Exception):
    """As many requests wait as may."""


@dataclass(frozen=True, slots=True)
class End:
    """The last event of a job: it ran out, `error` ended it, or it was cancelled."""

    error: BaseException | None = None
    cancelled: bool = False


@dataclass(eq=False, slots=True)
class Job:
    """work: makes the events, in the engine's thread; deliver: takes each of them and then one `End`."""

    work: Callable[[Any], Generator[Any, None, None]]
    deliver: Callable[[Any], None]
    events: Generator[Any, None, None] | None = None
    cancelled: bool = False


class Scheduler:
    """Loads the runtime in its thread and gives every running job one step per round."""

    def __init__(self, load: Callable[[], Any], slots: int, most_waiting: int = MOST_WAITING) -> None:
        self.slots, self.most_waiting = slots, most_waiting
        self.ready = False
        self.failure: BaseException | None = None
        self.runtime: Any = None
        self._load = load
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._on_failure: Callable[[], None] = lambda: None

    @property
    def running(self) -> int:
        """Jobs that are being worked on."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Jobs in line."""
        return len(self._waiting)

    def start(self, on_failure: Callable[[], None] = lambda: None) -> None:
        """Load and run; `on_failure` is called when loading fails."""
        self._on_failure = on_failure
        self._thread.start()

    def close(self) -> None:
        """Cancel everything and wait for the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def submit(self, job: Job) -> None:
        """Put a job in line; raises QueueFull."""
        with self._changed:
            if len(self._waiting) >= self.most_waiting + max(0, self.slots - len(self._running)):
                raise QueueFull
            self._waiting.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """End a job: at once if it waits, after its step if it runs, not at all if it has ended."""
        with self._changed:
            job.cancelled = True
            with suppress(ValueError):
                self._waiting.remove(job)
                job.deliver(End(cancelled=True))

    # -- the engine's thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self.runtime = runtime = self._load()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is told and ends the server
            self.failure = error
            traceback.print_exc()
            print(f"error: the model cannot be loaded: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the log
            return self._on_failure()
        self.ready = True
        while self._admit(runtime):
            for job in tuple(self._running):
                self._step(job)
        for job in (*self._running, *self._waiting):
            job.cancelled = True
            self._step(job)
        return None

    def _admit(self, runtime: Any) -> bool:
        """Wait for work, then start what has a slot; False when all is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._running or self._waiting)
            while self._waiting and len(self._running) < self.slots:
                job = self._waiting.popleft()
                job.events = job.work(runtime)
                self._running.append(job)
            return not self._closing

    def _step(self, job: Job) -> None:
        """One event of this job, or its end. An error ends it alone."""
        try:
            if job.events and not job.cancelled:
                return job.deliver(next(job.events))
            end = End(cancelled=True)
        except StopIteration:
            end = End()
        except BaseException as error:  # noqa: BLE001 - of an engine anything may come, such as a panic of Rust
            end = End(error)
        with suppress(Exception):  # an iterator that fails to close has ended as well
            if job.events:
                job.events.close()
        with self._changed, suppress(ValueError):
            self._running.remove(job)
        return job.deliver(end)
