"""Holding a deployment alive: a lease is a connection to its watchdog that the system closes when its holder dies."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from weakref import WeakSet

from workbench.deployment import state as states
from workbench.deployment.state import State
from workbench.errors import ServerDied, StopFailed

STOP_TIMEOUT_S = 45.0

_held: WeakSet[Lease] = WeakSet()


class Lease:
    """One user's hold on a deployment. Neither programs that the holder starts nor its forks inherit it.

    keep, grace_s: terms that the deployment gets if they are more lasting than those it has.
    """

    def __init__(self, state: State, *, keep: bool = False, grace_s: float = 0.0) -> None:
        self._state = state
        self._connection = _request(state, {"op": "lease", "keep": keep, "grace_s": grace_s})
        _held.add(self)
        if not _answer(self._connection):
            self.drop()
            raise ServerDied(f"The deployment {state.id} is ending.", fix="Deploy again.")

    def leave(self) -> None:
        """Give the lease up; if it was the last one, wait until the deployment is gone."""
        if self._connection.fileno() < 0:
            return
        try:
            self._connection.sendall(b"leave\n")
        except OSError:
            pass  # the watchdog is gone already
        else:
            _wait_closed(self._connection, self._state)
        finally:
            self.drop()

    def drop(self) -> None:
        """Give the lease up and wait for nothing."""
        self._connection.close()


def stop(state: State) -> None:
    """End a deployment for all its users and wait until it is gone; raises StopFailed if that takes too long.

    Of one that died and was kept as a record, the record goes.
    """
    with suppress(ServerDied), _request(state, {"op": "stop"}) as connection:
        _wait_closed(connection, state)
    if (left := states.load(state.path)) and left.status == states.DIED:
        left.remove()


def _drop_in_child() -> None:
    for lease in list(_held):
        lease.drop()


os.register_at_fork(after_in_child=_drop_in_child)


def _request(state: State, request: dict[str, object]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(STOP_TIMEOUT_S)
    try:
        connection.connect(state.control)
        connection.sendall(json.dumps(request).encode() + b"\n")
    except OSError as error:
        connection.close()
        raise ServerDied(f"The deployment {state.id} is gone.", fix="Deploy again.") from error
    return connection


def _answer(connection: socket.socket) -> bytes:
    """What the watchdog says; nothing when it closed the connection, in order or by a reset."""
    try:
        return connection.recv(64)
    except TimeoutError:
        raise
    except OSError:
        return b""


def _wait_closed(connection: socket.socket, state: State) -> None:
    said = b""
    try:
        while part := _answer(connection):
            said += part
    except TimeoutError as error:
        raise StopFailed(
            f"The deployment {state.id} has not ended within {STOP_TIMEOUT_S:.0f} s.",
            fix=f"Its supervisor is process {state.watchdog_pid}, its server {state.server_pid}: kill them.",
        ) from error
    if said:  # what the server could not give back
        raise StopFailed(f"The deployment {state.id} has ended. {said.decode(errors='replace')}")
