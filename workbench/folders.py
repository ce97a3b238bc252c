"""Where the workbench keeps its files: the platform's own folders, or all below `WORKBENCH_HOME`.

cache: assets and environments, can be fetched again; state: running deployments and their logs;
data: the ledger and the reports, worth a backup.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import UsageError

WAITING_S = 0.5  # between two words to whoever waits, who may have lost patience


def cache() -> Path:
    """Folder for what can be fetched or computed again."""
    return _folder("cache")


def state() -> Path:
    """Folder for running deployments; readable by its owner only."""
    path = _folder("state")
    path.chmod(0o700)
    return path


def data() -> Path:
    """Folder for what cannot be recomputed: ledger and reports."""
    return _folder("data")


def file_name(text: str) -> str:
    """A part of a file's name that looks like `text`, which may hold anything."""
    return re.sub(r"[^\w.-]", "-", text)[:48]


@contextmanager
def alone(lock: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """One process or thread at a time; the system releases the lock of a process that dies.

    waiting: called again and again until it is our turn; whatever it raises ends the wait.
    """
    import filelock  # only for those who lock

    held, timeout_s = filelock.FileLock(lock), 0.0
    while not held.is_locked:
        try:
            held.acquire(timeout=timeout_s)
        except filelock.Timeout:
            waiting()
            timeout_s = WAITING_S
    try:
        yield
    finally:
        held.release()


def _folder(kind: str) -> Path:
    path = _root(kind)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The folder {path} cannot be created: {error.strerror}.",
            fix="Set WORKBENCH_HOME to a folder you can write to.",
        ) from error
    return path


def _root(kind: str) -> Path:
    if home := os.environ.get("WORKBENCH_HOME"):
        return Path(home).expanduser().absolute() / kind
    import platformdirs  # not needed when WORKBENCH_HOME is set; keeps the import of this package light

    directories = platformdirs.PlatformDirs("open-model-workbench", appauthor=False)
    return Path(
        {"cache": directories.user_cache_dir, "state": directories.user_state_dir, "data": directories.user_data_dir}[
            kind
        ]
    )
