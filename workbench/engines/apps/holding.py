"""Holding a model in an app: loaded with the context that was asked for, proven, and given back, proven too."""

from __future__ import annotations

import ctypes
import platform
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread

import psutil

from workbench.engines.apps.contract import UNLOAD_S, App, AppModel, Start, Wanted
from workbench.engines.apps.sharing import Share
from workbench.errors import EngineUnavailable, StartFailed, StopFailed, UnknownName, UsageError, WorkbenchError
from workbench.machine import exposed_addresses

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if platform.system() == "Linux" else None  # loaded before any fork


@dataclass(frozen=True, slots=True)
class Held:
    """A model that an app serves for us. served: what requests call it; context: in force, None where nobody can say;
    share: our part in it; None for what ends with the app that we started for it."""

    app: App
    served: str
    context: int | None
    share: Share | None = None

    def give_back(self, timeout_s: float = UNLOAD_S) -> None:
        """Use it no longer. Whoever is the last of us unloads what we loaded, and returns when the app no longer holds
        it; raises StopFailed if it still does. What somebody else loaded stays."""
        if self.share:
            with self.share.alone():
                _leave(self.app, self.share, timeout_s)


def hold(app: App, wanted: Wanted, say: Callable[[str], None], unload_s: float = UNLOAD_S) -> Held:
    """Have the app serve the model with at least the context asked for. say: told what a reader of a log should know;
    unload_s: how long to wait for what was loaded in vain.

    Raises UnknownName, UsageError (an app that would drop somebody's model), ContextTooShort, AppRefused; StopFailed
    when what was loaded in vain stays loaded. Nothing else of it is left behind, whoever interrupts it.
    """
    share = Share(app.name, app.client.address, "" if app.holds_one else app.full_name(wanted.model))
    with share.alone():
        share.enter()
        try:
            return _held(app, wanted, share, say, unload_s)
        except BaseException as error:
            try:
                _leave(app, share, unload_s)
            except WorkbenchError as stuck:
                if app.client.listens():  # one that is gone holds nothing
                    raise StopFailed(f"{error} {stuck.what}".strip(), fix=stuck.fix) from error
            raise


def _held(app: App, wanted: Wanted, share: Share, say: Callable[[str], None], unload_s: float) -> Held:
    model = _known(app, wanted, say)
    if model.loaded and model.context is not None:
        app.check_context(model.context, wanted, say)
    if not model.loaded:
        _check_room(app, wanted.model)
    share.note(changed=app.prepare(model, wanted, share.notes.changed))
    served = app.join(model, wanted) if model.loaded else _load(app, model, wanted, share, unload_s)
    if app.names_ours:
        _note_loaded(share, served)
    app.ask(served)
    context = app.context(served)
    app.check_context(context, wanted, say)
    return Held(app, served, context, share)


def _load(app: App, model: AppModel, wanted: Wanted, share: Share, unload_s: float) -> str:
    """What requests call the model once it is loaded. An app goes on loading when nobody waits for it any more: whoever
    interrupts this waits until it can be undone, and raises StopFailed if that takes too long."""
    _note_loaded(share, app.served_as(wanted))
    done: Future[str] = Future()
    Thread(target=lambda: _settle(done, lambda: app.load(model, wanted)), daemon=True).start()
    try:
        return done.result()
    except BaseException:
        if not wait([done], unload_s).done:
            raise StopFailed(
                f"{app.title} was still loading {model.name} when that was no longer wanted, and may go on.",
                fix=f"See in {app.title} whether it is loaded.",
            ) from None
        raise
    finally:
        if done.done() and not done.exception():
            _note_loaded(share, done.result())


def _settle(done: Future[str], work: Callable[[], str]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001 - for whoever waits
        done.set_exception(error)


def _note_loaded(share: Share, served: str) -> None:
    share.note(loaded=sorted({*share.notes.loaded, served}))


def _leave(app: App, share: Share, timeout_s: float) -> None:
    """The last one undoes what any of us did."""
    if not share.leave():
        return
    notes = share.notes
    try:
        for served in notes.loaded:
            _unload(app, served, timeout_s)
    finally:
        app.restore(notes.changed)
        share.forget()


def _unload(app: App, served: str, timeout_s: float) -> None:
    """Nothing, if the app does not hold it any more: what it holds in its place is somebody else's."""
    deadline = time.monotonic() + timeout_s
    if app.is_loaded(served):
        app.unload(served, timeout_s)
    while app.is_loaded(served):
        if time.monotonic() > deadline:
            raise StopFailed(
                f"{app.title} still holds {served} in memory {timeout_s:g} s after being told to unload.",
                fix=f"Unload it in {app.title}, or end {app.title}.",
            )
        time.sleep(0.05)


def started(app: App, start: Start, timeout_s: float) -> subprocess.Popen[bytes]:
    """Start the app, whose output is ours, and wait until it answers; raises StartFailed. It ends with us, also when we
    are killed (Linux), and must not listen to other computers."""
    child = subprocess.Popen(
        start.argv, cwd=start.folder, stdin=subprocess.DEVNULL,
        preexec_fn=end_with_parent if _LIBC else None,  # noqa: PLW1509 - one call into a library that is loaded
    )  # fmt: skip
    try:
        _wait_until_it_answers(app, child, timeout_s)
        if exposed := exposed_addresses(child.pid):
            raise StartFailed(
                f"{app.title} listens at {', '.join(exposed)}, where other computers reach it.",
                fix="Its own settings say so: have it listen at 127.0.0.1 only.",
            )
    except BaseException:
        _end(child)
        raise
    return child


def _wait_until_it_answers(app: App, child: subprocess.Popen[bytes], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise StartFailed(f"{app.title} ended while it was starting (exit code {child.returncode}).")
        with suppress(EngineUnavailable):  # it listens, and is not ready yet
            if app.running_version() is not None:
                return
        time.sleep(0.1)
    raise StartFailed(f"{app.title} did not answer within {timeout_s:g} s.")


def _end(child: subprocess.Popen[bytes]) -> None:
    """With everything it started: its own children may not notice that it is gone."""
    with suppress(psutil.Error):
        for process in psutil.Process(child.pid).children(recursive=True):
            with suppress(psutil.Error):
                process.kill()
    child.kill()
    child.wait()


def end_with_parent() -> None:
    """Have the system tell this process to end when the one that started it is gone (Linux); as an app does what is to
    be done at its end, it is told and not killed."""
    if _LIBC:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


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
