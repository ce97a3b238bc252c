"""Proves that a file is the one that was recorded: by its size and SHA-256, computed once per state of the file.

The result is remembered in a stamp (size, time of modification, inode), so that a file of many gigabytes is not hashed
at every start, nor again once it is renamed. A stamp guards against accidents (cut downloads, bad disks that return
errors, overwritten files), not against somebody who can write into the cache and forge times.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from workbench import folders
from workbench.models import notes

Progress = Callable[[int, int, str], None]  # bytes done, bytes in total, what is going on

_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file as it was recorded: its plain name, and its size and SHA-256 where they are known."""

    file: str
    bytes: int | None
    sha256: str | None
    tag: str = ""  # stands for the content where no SHA-256 is known

    @property
    def key(self) -> str:
        """What names the content: two contents never share it."""
        return self.sha256 or self.tag

    def is_at(self, path: Path, progress: Progress | None = None) -> bool:
        """True if the file at `path` is this one, as far as it was recorded."""
        return is_intact(path, self.sha256, self.bytes, progress=progress, name=self.file)


def is_intact(
    path: Path,
    sha256: str | None,
    size_bytes: int | None = None,
    *,
    progress: Progress | None = None,
    name: str | None = None,
) -> bool:
    """True if `path` is a file with this SHA-256 and size, where known; `progress` hears of it as `name`."""
    if not path.is_file() or (size_bytes is not None and path.stat().st_size != size_bytes):
        return False
    if sha256 is None:
        return True
    state = _state(path.stat(), sha256)
    stamp = folders.cache() / "verified" / f"{sha256[:16]}-{state['inode']}.json"
    if notes.read(stamp) == state:
        return True
    if sha256_of(path, reporter(progress, path.stat().st_size, f"Checking {name or path.name}")) != sha256:
        return False
    # Only what was hashed is stamped: a file replaced meanwhile has another state and is hashed at its next use.
    notes.write(stamp, state)
    return True


def reporter(progress: Progress | None, total_bytes: int, what: str) -> Callable[[int], None]:
    """Tells `progress`, if there is one, how many bytes are done."""
    return (lambda done: progress(done, total_bytes, what)) if progress else (lambda _: None)


def sha256_of(path: Path, report: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            report(done)
    return digest.hexdigest()


def copy_hashed(source: BinaryIO, target: BinaryIO, limit_bytes: int, report: Callable[[int], None]) -> str:
    """Copy at most `limit_bytes` (and one more, to be noticed) and return the SHA-256 of what was copied."""
    digest, done = hashlib.sha256(), 0
    while done <= limit_bytes and (chunk := source.read(min(_CHUNK_BYTES, limit_bytes + 1 - done))):
        target.write(chunk)
        digest.update(chunk)
        done += len(chunk)
        report(done)
    return digest.hexdigest()


def _state(status: os.stat_result, sha256: str) -> dict[str, int | str]:
    return {"sha256": sha256, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}


def identity(path: Path) -> list[list[str | int]]:
    """What tells one state of a model's file or folder from another: names, sizes and times of its files."""
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    states = [(str(file.relative_to(path)), file.stat()) for file in files]
    return [[name, state.st_size, state.st_mtime_ns] for name, state in states]
