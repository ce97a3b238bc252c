"""Which deployments there are; and clearing away what a watchdog that was killed left behind."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import psutil

from workbench.deployment import failures
from workbench.deployment import lease as leases
from workbench.deployment import state as states
from workbench.deployment.state import State
from workbench.errors import UnknownName, UsageError
from workbench.units import now

LOG_DAYS = 7
GIVE_BACK_S = 40.0


def deployments() -> list[State]:
    """Every deployment of this system that lives, or was to stay and died, oldest first. Strays of dead watchdogs are
    ended on the way.

    A home that several systems or containers share holds deployments of others too; they are left alone.
    """
    found = []
    for state in states.all_states():
        if state.host != states.this_host():
            continue
        if state.watchdog_lives() or (state.keep and state.status == states.DIED):
            found.append(state)
        elif record := sweep(state):
            found.append(record)
    _remove_old_logs()
    return found


def find(name: str) -> State:
    """The deployment with this id, or the only one of this model; raises UnknownName or UsageError."""
    known = deployments()
    found = [state for state in known if state.id == name] or [state for state in known if state.model == name]
    found = [state for state in found if not state.failure] or found  # one that lives before those that died
    if not found:
        raise UnknownName("running deployment", name, [s.id for s in known] + [s.model for s in known])
    if len(found) > 1:
        each = ", ".join(f"{state.id} ({state.engine}, {state.format}, port {state.port})" for state in found)
        what = "died" if found[0].failure else "run"
        raise UsageError(f"{len(found)} deployments of {name} {what}: {each}.", fix="Name one of them.")
    return found[0]


def stop(name: str) -> State:
    """End a deployment for all its users, by id or model name; returns once everything is gone."""
    state = find(name)
    leases.stop(state)
    return state


def stop_all() -> list[str]:
    """End every deployment; returns the ids of those that ran."""
    running = deployments()
    for state in running:
        leases.stop(state)
    return [state.id for state in running]


def logs(name: str, lines: int = 50) -> str:
    """The last lines a deployment's server wrote, by id or model name; also of one that failed within a week."""
    log = states.folder() / f"{Path(name).name}.log"
    return failures.log_tail(log if log.exists() else find(name).log_path, lines)


def forget_dead(share_key: str) -> None:
    """Remove what is kept of deployments that died and could have served the same users."""
    for state in deployments():
        if state.share_key == share_key and state.status == states.DIED and not state.control:
            state.remove()


def sweep(state: State) -> State | None:
    """End what is left of a deployment whose watchdog is gone, and remove its state; a record if it was to stay.

    What holds a model in an app has the time to give it back, and ends an app of ours itself.
    """
    left = states.marked_processes(state.id)
    holder = [process for process in left if process.pid == state.server_pid and state.app_port]
    for process in holder:
        with suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(holder, timeout=GIVE_BACK_S)
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    ended_well = states.load(state.path) is None  # since it was read
    if ended_well or not state.keep or state.status != states.READY:
        state.remove()
        return None
    failure = {"kind": "supervisor", "text": "its supervisor was killed", "exit_code": None, "at": now()}
    record = state.update(status=states.DIED, failure=failure)
    record.retire()
    return record.update(control="")


def _remove_old_logs() -> None:
    for log in states.folder().glob("*.log"):
        with suppress(OSError):
            if time.time() - log.stat().st_mtime > LOG_DAYS * 86_400 and not log.with_suffix(".json").exists():
                log.unlink()
