"""Holding a model in an app: loaded with the context that was asked for, proven, and given back, proven too."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from workbench.engines.apps.contract import App, AppModel, Start, Wanted
from workbench.errors import EngineUnavailable, StartFailed, StopFailed, UnknownName, UsageError

#: Time (s) for an app to let go of a model.
UNLOAD_S = 15.0


@dataclass(frozen=True, slots=True)
class Held:
    """A model that an app serves for us. served: what requests call it; context: in force, None where nobody can say;
    ours: we loaded it, and unload it; what somebody else loaded stays."""

    app: App
    served: str
    context: int | None
    ours: bool

    def give_back(self, timeout_s: float = UNLOAD_S) -> None:
        """Unload what we loaded and return when the app no longer holds it; raises StopFailed if it still does."""
        if not self.ours:
            return self.app.leave(self.served)
        self.app.unload(self.served)
        deadline = time.monotonic() + timeout_s
        while self.app.is_loaded(self.served):
            if time.monotonic() > deadline:
                raise StopFailed(
                    f"{self.app.title} still holds {self.served} in memory {timeout_s:g} s after being told to unload.",
                    fix=f"Unload it in {self.app.title}, or end {self.app.title}.",
                )
            time.sleep(0.05)
        return None


def hold(app: App, wanted: Wanted, say: Callable[[str], None]) -> Held:
    """Have the app serve the model with at least the context asked for. say: told what a reader of a log should know.

    Raises UnknownName, UsageError (an app that would drop somebody's model), ContextTooShort, AppRefused.
    """
    model = _known(app, wanted, say)
    if model.loaded and model.context is not None:
        app.check_context(model.context, wanted, say)
    if not model.loaded:
        _check_room(app, wanted.model)
    served = app.join(model, wanted) if model.loaded else app.load(model, wanted)
    held = Held(app, served, None, ours=not model.loaded)
    try:
        app.ask(served)
        context = app.context(served)
        app.check_context(context, wanted, say)
    except BaseException:
        held.give_back(UNLOAD_S)
        raise
    return Held(app, served, context, held.ours)


def started(app: App, start: Start, timeout_s: float) -> subprocess.Popen[bytes]:
    """Start the app, whose output is ours, and wait until it answers; raises StartFailed."""
    child = subprocess.Popen(start.argv, cwd=start.folder, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise StartFailed(f"{app.title} ended while it was starting (exit code {child.returncode}).")
        with suppress(EngineUnavailable):  # it listens, and is not ready yet
            if app.running_version() is not None:
                return child
        time.sleep(0.1)
    child.kill()
    raise StartFailed(f"{app.title} did not answer within {timeout_s:g} s.")


def _known(app: App, wanted: Wanted, say: Callable[[str], None]) -> AppModel:
    try:
        return app.find(wanted.model)
    except UnknownName:
        if wanted.path is None:
            raise
    say(f"giving {wanted.path.name} to {app.title}")
    return app.add(wanted.model, wanted.path)


def _check_room(app: App, name: str) -> None:
    """An app with room for one model would drop the one somebody else is using."""
    others = [model.name for model in app.models() if model.loaded and model.name != name] if app.holds_one else []
    if others:
        raise UsageError(
            f"{app.title} keeps one model at a time and has {others[0]} loaded.",
            fix=f"Unload that in {app.title} first, or deploy it.",
        )
