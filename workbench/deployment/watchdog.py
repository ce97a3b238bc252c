"""The watchdog: one small process per deployment that starts the server, proves that it answers, and ends it.

It reads its orders (`Orders`, one JSON line) from standard input, which stays open as the lease of the process that
started it; further leases are connections to its control socket, in a folder that only its user may enter. A lease ends
when the system closes it, also after kill -9. When the last one is gone and the grace time is over, the whole process
tree is terminated, then killed. Nothing that a client sends or that a full disk refuses may get in the way of that.

Single-threaded on purpose: PR_SET_PDEATHSIG is tied to the thread that starts the server. POSIX only. Imports nothing
but the standard library, psutil and the state file's module, so that it starts fast and stays small.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import platform
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import psutil

from workbench.deployment import state as states
from workbench.deployment.state import State
from workbench.secrets import private_environment
from workbench.units import now

LOG_LIMIT_BYTES = 1_000_000
TERMINATE_S = 1.0  # from SIGTERM to SIGKILL: leaves a second within the two that a kill may take
NOT_GIVEN_BACK = 75  # how a server ends that could not give back what it held: its last line says what
KILLED = -signal.SIGKILL
KILL_S = 30.0  # a process that waits for a broken disk does not even hear SIGKILL
TICK_S = 0.05
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SUBREAPER = platform.system() == "Linux"
_LIBC = ctypes.CDLL(None)  # loaded before any fork


@dataclass(frozen=True, slots=True)
class Orders:
    """What the watchdog is told: the state to keep, the command to run, and how long things may take (seconds)."""

    state: dict[str, Any]
    argv: list[str]
    env: dict[str, str]
    port: int
    health_path: str
    start_timeout_s: float
    grace_s: float
    terminate_s: float = TERMINATE_S

    def to_line(self) -> bytes:
        """One JSON line, as read from standard input."""
        return json.dumps(asdict(self)).encode() + b"\n"


class Watchdog:
    """Starts one server, guards it, and ends it with everything it started."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.state = State(**orders.state)
        self.grace_s = orders.grace_s
        self.selector = selectors.DefaultSelector()
        self.leases: set[Any] = set()
        self.leaving: list[socket.socket] = []
        self.granted = False  # whether anybody but the starter ever held a lease; before that nothing is kept
        self.empty_since = time.monotonic()
        self.exit_code: int | None = None
        self.stopping = self.killed_beside_app = False
        self.server_pid = 0
        self.last_line = b""

    def run(self) -> None:
        """Live as long as the deployment, then leave nothing behind."""
        _become_subreaper()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        try:
            self._open_control()
            self._start_server()
            self._watch()
        except Exception:  # noqa: BLE001 - whatever it is, the log keeps it and the tree still ends
            self._log(traceback.format_exc().encode())
            status = states.DIED if self.state.status == states.READY else states.FAILED
            failure = {"kind": "supervisor", "text": "its supervisor failed", "exit_code": None, "at": now()}
            self.state = self.state.update(status=status, failure=failure)
        finally:
            self._end()

    # -- starting ----------------------------------------------------------------------------------------------

    def _open_control(self) -> None:
        control = Path(tempfile.mkdtemp(prefix="workbench-")) / "control"  # short: such a path has 104 bytes at most
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(control))
        listener.listen()
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ, self._on_connection)
        os.set_blocking(sys.stdin.fileno(), False)
        self.leases.add(sys.stdin)
        self.selector.register(sys.stdin, selectors.EVENT_READ, self._on_starter)
        pid = os.getpid()
        self._save(control=str(control), watchdog_pid=pid, watchdog_started=states.start_of(pid) or 0.0)

    def _start_server(self) -> None:
        if _listens_somewhere(self.orders.port):
            return self._fail("port_taken", f"Port {self.orders.port} is in use by another program")
        env = {**private_environment(os.environ), **self.orders.env, states.MARKER: self.state.id}
        try:
            server = subprocess.Popen(
                self.orders.argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - safe: this process has one thread
            )  # fmt: skip
        except OSError as error:
            return self._fail("exited", f"{self.orders.argv[0]} cannot be started: {error.strerror}")
        self.server_pid = server.pid
        server.returncode = 0  # this process reaps every child itself, adopted ones too
        assert server.stdout is not None  # noqa: S101 - asked for with PIPE, one line above
        os.set_blocking(server.stdout.fileno(), False)
        self.selector.register(server.stdout, selectors.EVENT_READ, self._on_output)
        return self._save(server_pid=server.pid)

    # -- watching ----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        deadline = time.monotonic() + self.orders.start_timeout_s
        while not self.stopping:
            self._dispatch(TICK_S)
            self._reap()
            if self.state.status == states.STARTING:
                self._check_start(deadline)
            elif self.state.status == states.READY and self.exit_code is not None:
                self._fail("exited", "The server ended by itself", status=states.DIED)
            self._check_leases()

    def _dispatch(self, wait_s: float) -> None:
        for key, _ in self.selector.select(wait_s):
            handle: Callable[[Any], None] = key.data
            try:
                handle(key.fileobj)
            except Exception:  # noqa: BLE001 - a client that sends nonsense or goes away ends nothing but itself
                if isinstance(key.fileobj, socket.socket) and key.data == self._on_request:
                    self._drop(key.fileobj)

    def _check_start(self, deadline: float) -> None:
        if self.exit_code is not None:
            kind = "port_taken" if _listens_somewhere(self.orders.port) else "exited"
            return self._fail(kind, "The server ended while it was starting")
        if self._answers():
            return self._save(status=states.READY)
        if time.monotonic() > deadline:
            return self._fail("timeout", f"The server did not answer within {self.orders.start_timeout_s:.0f} s")
        return None

    def _answers(self) -> bool:
        """Whether the server says that it is healthy, and the listening socket is our own child's."""
        connection = http.client.HTTPConnection("127.0.0.1", self.orders.port, timeout=0.3)
        try:
            connection.request("GET", self.orders.health_path)
            healthy = connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return healthy and any(_listens(process, self.orders.port) for process in self._tree())

    def _check_leases(self) -> None:
        lasting = self.granted and not self.state.failure  # an interrupted start and a dead server end at once
        if self.leases or (self.state.keep and lasting):
            self.empty_since = time.monotonic()
            self._let_go()
        elif time.monotonic() - self.empty_since >= (self.grace_s if lasting else 0):
            self.stopping = True
        else:
            self._let_go()

    def _let_go(self) -> None:
        """Tell those who left that the deployment stays."""
        while self.leaving and not self.stopping:
            self.leaving.pop().close()

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self.server_pid:
                    self.exit_code = os.waitstatus_to_exitcode(status)

    # -- leases ------------------------------------------------------------------------------------------------

    def _on_starter(self, stdin: Any) -> None:
        if not os.read(stdin.fileno(), 4096):
            self._drop(stdin)

    def _on_connection(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setblocking(False)
        self.selector.register(connection, selectors.EVENT_READ, self._on_request)

    def _on_request(self, connection: socket.socket) -> None:
        """A client's first line says what it wants; of a lease, only its end matters afterwards."""
        line = connection.recv(4096)
        if connection in self.leases or not line:
            return self._leave(connection) if line == b"leave\n" else self._drop(connection)
        request = json.loads(line)
        if request["op"] == "stop":
            self.leaving.append(connection)  # closed when everything is gone: the client waits for that
            self.selector.unregister(connection)
            self.stopping = True
            return None
        self._grant(connection, keep=bool(request["keep"]), grace_s=float(request["grace_s"]))
        return None

    def _grant(self, connection: socket.socket, *, keep: bool, grace_s: float) -> None:
        """A lease; whoever asks for more lasting terms than those before gets them for all."""
        connection.sendall(b"leased\n")
        self.leases.add(connection)
        self.granted = True
        self.grace_s = max(self.grace_s, grace_s)
        if keep and not self.state.keep:
            self._save(keep=True)

    def _leave(self, connection: socket.socket) -> None:
        """Give a lease up in order. If it was the last one, the client hears when everything is gone."""
        self.selector.unregister(connection)
        self.leases.discard(connection)
        self.leaving.append(connection)

    def _drop(self, lease: Any) -> None:
        with suppress(KeyError):  # gone already
            self.selector.unregister(lease)
        self.leases.discard(lease)
        lease.close()

    # -- the log -----------------------------------------------------------------------------------------------

    def _on_output(self, pipe: BinaryIO) -> None:
        chunk = os.read(pipe.fileno(), 65536)
        if not chunk:
            self.selector.unregister(pipe)
            pipe.close()
            return
        self.last_line = (chunk.strip().splitlines() or [self.last_line])[-1]
        self._log(chunk)

    def _log(self, chunk: bytes) -> None:
        path = self.state.log_path
        with suppress(OSError):  # a line that a full disk refuses is no reason to end a server
            if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
                tail = path.read_bytes()[-LOG_LIMIT_BYTES // 2 :]
                path.write_bytes(b"[earlier lines dropped]\n" + tail)
            with path.open("ab") as log:
                log.write(chunk)

    # -- ending ------------------------------------------------------------------------------------------------

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _fail(self, kind: str, text: str, status: str = states.FAILED) -> None:
        """Record what went wrong and end the tree; the state stays until those who hold a lease have seen it."""
        self._end_tree()
        self._dispatch(0)  # the last words of the server
        self._save(status=status, failure={"kind": kind, "text": text, "exit_code": self.exit_code, "at": now()})

    def _end(self) -> None:
        self._end_tree()  # before anything that a disk could refuse
        self._dispatch(0)  # the last words of the server
        stays = self.exit_code == NOT_GIVEN_BACK or self.killed_beside_app
        if stays and not self.state.failure:  # so that the log is kept
            self.state = self.state.update(failure={"kind": "not_given_back", "text": "", "exit_code": self.exit_code})
        with suppress(OSError):
            if self.state.keep and self.state.status == states.DIED:  # nobody may have been there to see it
                self.state.retire()
            else:
                self.state.remove()
        for connection in self.leaving:
            if stays:
                with suppress(OSError):
                    connection.sendall(self.last_line[-1000:])
            connection.close()

    def _end_tree(self) -> None:
        """SIGTERM, then SIGKILL until nobody is left. As a subreaper this process is the parent of every orphan."""
        deadline = time.monotonic() + self.orders.terminate_s
        if self.state.app_port:  # it ends an app of ours itself, when that has set back what it changed
            self._end_server(deadline)
            deadline = time.monotonic() + TERMINATE_S
        _signal_all(self._tree(), signal.SIGTERM)
        while self._tree() and time.monotonic() < deadline:
            time.sleep(0.01)
        while (remaining := self._tree()) and time.monotonic() < deadline + KILL_S:
            _signal_all(remaining, signal.SIGKILL)
            time.sleep(0.01)
        self._reap()  # one that ended since the last look still has an exit status to read
        if self.exit_code == KILLED and self.state.app_port and _listens_somewhere(self.state.app_port):
            self._note_kept()

    def _end_server(self, deadline: float) -> None:
        _signal_all([process for process in self._tree() if process.pid == self.server_pid], signal.SIGTERM)
        while self.server_pid and self.exit_code is None and time.monotonic() < deadline:
            self._dispatch(0.01)
            self._reap()

    def _note_kept(self) -> None:
        """What was killed gave nothing back to an app that goes on, and says nothing of it."""
        self.killed_beside_app = True
        model, engine = self.state.served_model, self.state.engine
        line = f"error: what held {model} was killed: see in {engine} whether it is still loaded, and unload it there."
        self._dispatch(0)
        self.last_line = line.encode()
        self._log(self.last_line + b"\n")

    def _tree(self) -> list[psutil.Process]:
        self._reap()
        alive = [p for p in psutil.Process().children(recursive=True) if _is_running(p)]
        if SUBREAPER:
            return alive
        return list({p.pid: p for p in alive + states.marked_processes(self.state.id)}.values())

    def _save(self, **changes: Any) -> None:
        self.state = self.state.update(**changes)
        with suppress(OSError):  # a full disk: those who look see an older state
            self.state.save()


def _become_subreaper() -> None:
    """Adopt orphans of the tree, so that a double fork cannot get away (Linux)."""
    if SUBREAPER:
        _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _die_with_parent() -> None:
    """In the server, before exec: die with the watchdog, even when that is killed with -9, and be the first to go when
    memory runs out: a server can be started again, what a notebook holds is lost (Linux)."""
    if SUBREAPER:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")


def _signal_all(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)


def _is_running(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _listens(process: psutil.Process, port: int) -> bool:
    with suppress(psutil.Error):
        return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections("tcp"))
    return False


def _listens_somewhere(port: int) -> bool:
    """Whether anybody answers on this port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(0.3)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    """Read the orders and carry them out."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(sys.stdin.fileno(), 65536)
        if not chunk:
            return
        line += chunk
    Watchdog(Orders(**json.loads(line))).run()


if __name__ == "__main__":
    main()
