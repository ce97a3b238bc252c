"""The state file of a deployment: who runs, where it answers, and how to reach its watchdog.

One JSON file per deployment in the state folder, readable by its owner only, replaced atomically. A process is named
by pid and start time, so that a reused pid is never mistaken for ours. Standard library and psutil only: the watchdog
imports this.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from workbench import folders

#: Set in the environment of every process of a deployment; how strays are recognized.
MARKER = "WORKBENCH_DEPLOYMENT"

STARTING, READY, FAILED, DIED = "starting", "ready", "failed", "died"


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one deployment. `share_key` is equal for deployments that can serve each other's users.

    host: the system and pid namespace whose process numbers these are; control: the watchdog's socket.
    app_port: of the app that serves the model, whose processes count as the deployment's; 0 for a server of our own;
    tokenizer: the file by which requests are held to the context before they are sent, "" for a server that does so
    itself.
    `failure` is set when `status` is failed or died: kind (port_taken, exited, timeout, supervisor), text, exit_code,
    at (when).
    """

    id: str
    model: str
    engine: str
    status: str
    created: str
    host: str
    share_key: str
    keep: bool
    base_url: str
    api_key: str
    served_model: str
    plan: dict[str, Any]
    watchdog_pid: int = 0
    watchdog_started: float = 0.0
    control: str = ""
    server_pid: int = 0
    app_port: int = 0
    tokenizer: str = ""
    failure: dict[str, Any] = field(default_factory=dict)

    def update(self, **changes: Any) -> State:
        """A copy with these fields changed."""
        return replace(self, **changes)

    @property
    def path(self) -> Path:
        """The state file."""
        return folder() / f"{self.id}.json"

    @property
    def log_path(self) -> Path:
        """What the server wrote."""
        return folder() / f"{self.id}.log"

    @property
    def format(self) -> str:
        """Of the weights, as the plan names it."""
        return str(self.plan.get("quantization") or "")

    @property
    def port(self) -> int:
        """Where it answers."""
        return urlsplit(self.base_url).port or 0

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together; 0 for a model that has no context."""
        return int(self.plan["settings"]["context"])

    def save(self) -> None:
        """Replace the state file atomically: a reader sees the old or the new one, never half of it."""
        handle, temporary = tempfile.mkstemp(dir=folder(), prefix=f".{self.id}.")
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(self), file)
        Path(temporary).replace(self.path)

    def remove(self) -> None:
        """Delete the state file; the log goes too unless something failed."""
        self._close_control()
        self.path.unlink(missing_ok=True)
        if not self.failure:
            self.log_path.unlink(missing_ok=True)

    def retire(self) -> None:
        """Leave the state file as a record of a deployment that was to stay and died; `remove` forgets it."""
        self._close_control()
        self.update(control="").save()

    def _close_control(self) -> None:
        if self.control:
            shutil.rmtree(Path(self.control).parent, ignore_errors=True)

    def __repr__(self) -> str:
        """Without the key: what a notebook shows is often passed on."""
        return f"<State of {self.id}: {self.engine}, {self.format}, {self.status} at {self.base_url}>"

    def root_pid(self) -> int:
        """The server, or the app that serves; 0 before it was started, after it died, and for an app of another user:
        the system tells whose port it is to nobody else.
        """
        if self.failure:
            return 0
        if not self.app_port:
            return self.server_pid
        from workbench.machine import listener  # for those who look at a deployment; the watchdog never does

        return listener(self.app_port) or 0

    def server_pids(self) -> list[int]:
        """The server and everything below it; none before it was started, and where it is not known."""
        try:
            server = psutil.Process(pid) if (pid := self.root_pid()) else None
            return [process.pid for process in [server, *server.children(recursive=True)]] if server else []
        except psutil.Error:
            return []

    def watchdog_lives(self) -> bool:
        """Whether the watchdog that wrote this is still the process behind its pid."""
        return same_process(self.watchdog_pid, self.watchdog_started)


def folder() -> Path:
    """The folder of all state files, private to the user."""
    path = folders.state() / "deployments"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def load(path: Path) -> State | None:
    """Read a state file, also of another version of the workbench; None when it is gone or is not one."""
    try:
        known = {field.name for field in fields(State)}
        return State(**{name: value for name, value in json.loads(path.read_text()).items() if name in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def all_states() -> Iterator[State]:
    """Every deployment with a state file, oldest first."""
    found = (load(path) for path in folder().glob("*.json"))
    yield from sorted((state for state in found if state), key=lambda state: (state.created, state.id))


def this_host() -> str:
    """This boot of this system, and this pid namespace: elsewhere the same process number is another process."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return platform.node()


def start_of(pid: int) -> float | None:
    """When process `pid` started, None if it is gone: the same number whoever asks and whenever.

    On Linux in ticks since boot: psutil's time of creation moves when the system's clock is set.
    """
    try:
        if Path("/proc/self/stat").exists():
            return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        return psutil.Process(pid).create_time()
    except (OSError, psutil.Error):
        return None


def same_process(pid: int, started: float) -> bool:
    """Whether process `pid` is the one that started at `started` (see `start_of`), and more than a zombie."""
    try:
        return start_of(pid) == started and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def marked_processes(deployment_id: str) -> list[psutil.Process]:
    """Every process of this user that carries the deployment's marker, wherever it hangs in the process tree."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == deployment_id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue  # gone, or another user's
    return found
