"""Holding a deployment alive: a lease is a connection to its watchdog that the system closes when its holder dies."""

from __future__ import annotations

import json
import socket

from workbench.deployment.state import State
from workbench.errors import ServerDied

STOP_TIMEOUT_S = 15.0


class Lease:
    """One user's hold on a deployment. Not inherited by programs that the holder starts."""

    def __init__(self, state: State, grace_s: float = 0.0) -> None:
        self._connection = _request(state, "lease", grace_s=grace_s)
        if not _answer(self._connection):
            self._connection.close()
            raise ServerDied(f"The deployment {state.id} is ending.", fix="Deploy again.")

    def leave(self) -> None:
        """Give the lease up; if it was the last one, wait until the deployment is gone."""
        if self._connection.fileno() < 0:
            return
        try:
            self._connection.sendall(b"leave\n")
            _wait_closed(self._connection)
        except OSError:
            pass  # the watchdog is gone already
        finally:
            self._connection.close()


def stop(state: State) -> None:
    """End a deployment for all its users and wait until it is gone."""
    try:
        connection = _request(state, "stop")
    except ServerDied:
        return
    with connection:
        _wait_closed(connection)


def _request(state: State, operation: str, **fields: object) -> socket.socket:
    line = json.dumps({"op": operation, "nonce": state.nonce, **fields}).encode() + b"\n"
    try:
        connection = socket.create_connection(("127.0.0.1", state.control_port), timeout=STOP_TIMEOUT_S)
        connection.sendall(line)
    except OSError as error:
        raise ServerDied(f"The deployment {state.id} is gone.", fix="Deploy again.") from error
    return connection


def _answer(connection: socket.socket) -> bytes:
    """What the watchdog says; nothing when it closed the connection, in order or by a reset."""
    try:
        return connection.recv(64)
    except OSError:
        return b""


def _wait_closed(connection: socket.socket) -> None:
    while _answer(connection):
        pass
