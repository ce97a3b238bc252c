"""Which deployments of ours use a model that an app holds: the first loads it, and only the last gives it back.

Each has a lock on one file, shared, for as long as it uses the model; the system takes it away when the process ends,
also by kill -9. The file says what the last one undoes. Deployments of another user have files of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from filelock import FileLock

from workbench import folders


@dataclass(frozen=True, slots=True)
class Notes:
    """What whoever uses the model last undoes. loaded: what requests call that which we had the app load; changed: what
    else was changed in the app, in the app's own terms (see `App.prepare`)."""

    loaded: tuple[str, ...] = ()
    changed: Mapping[str, Any] = field(default_factory=dict)


class Share:
    """One deployment's part in the model that the app called `app` at `address` holds as `model`."""

    def __init__(self, app: str, address: str, model: str) -> None:
        name = hashlib.sha256(json.dumps([app, address, model]).encode()).hexdigest()[:16]
        folder = folders.state() / "held"
        folder.mkdir(exist_ok=True)
        self._path, self._door = folder / f"{name}.json", FileLock(folder / f"{name}.lock")
        self._file = -1

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else of us loads, joins or leaves the model meanwhile; waits for whoever does. The rest needs it."""
        with self._door:
            yield

    def enter(self) -> None:
        """Use the model from now on. What somebody noted as loaded who is gone without undoing it is forgotten: the app
        may have loaded it again since, for somebody else."""
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if _lock(self._file, shared=False):
            self.note(loaded=())
        _lock(self._file, shared=True)

    def leave(self) -> bool:
        """Use it no longer; whether nobody else does."""
        last = _lock(self._file, shared=False)
        os.close(self._file)
        return last

    @property
    def notes(self) -> Notes:
        """What has been noted so far, by whomever."""
        try:
            written = json.loads(self._path.read_text())
            return Notes(tuple(written["loaded"]), written["changed"])
        except (OSError, ValueError, KeyError, TypeError):  # nothing yet, or cut short by kill -9
            return Notes()

    def note(self, **changes: Any) -> None:
        """Change the notes, before what they are about is done."""
        self._path.write_text(json.dumps({**asdict(self.notes), **changes}))

    def forget(self) -> None:
        """Everything is undone."""
        self._path.unlink(missing_ok=True)


def _lock(file: int, *, shared: bool) -> bool:
    """Have this lock in place of the one before; whether that can be had at once."""
    import fcntl  # POSIX only, as deployments are; planning is not

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
