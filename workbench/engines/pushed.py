"""A generator over a library that calls back instead of yielding: it runs in a thread, and its calls become events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from queue import Queue
from typing import Any


class Stopped(Exception):
    """Nobody wants the rest: raised out of a callback to end the library's work."""


class Push:
    """What the work calls with each event; `stopped` says that nobody listens any more."""

    def __init__(self) -> None:
        self.stopped = False
        self.events: Queue[Any] = Queue()

    def __call__(self, event: Any) -> None:
        """Hand over an event; raises Stopped when nobody wants it."""
        if self.stopped:
            raise Stopped
        self.events.put(event)


def pushed(work: Callable[[Push], None]) -> Generator[Any, None, None]:
    """The events of `work`, which runs in a thread of its own; its exception is raised here.

    Closing the generator waits until the work has seen that it is stopped.
    """
    push, end = Push(), object()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            work(push)
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
            failure.append(error)
        finally:
            push.events.put(end)

    thread = threading.Thread(target=run, name="pushed", daemon=True)
    thread.start()
    try:
        while (event := push.events.get()) is not end:
            yield event
    finally:
        push.stopped = True
        thread.join()
    if failure:
        raise failure.pop()  # nothing keeps what the failed work held
