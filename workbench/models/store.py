"""The workbench's own cache: files named by their content, each brought by one process while the others wait.

Knows nothing of where a file comes from; `keep` is given what brings it.
"""

from __future__ import annotations

import glob
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial as partial_
from pathlib import Path
from typing import IO

from filelock import FileLock

from workbench import folders
from workbench.errors import AssetUnavailable, BadModelFile
from workbench.models.download import is_disk_full, no_space, require_space, size_of
from workbench.models.verification import Progress, Wanted


def place(wanted: Wanted) -> Path:
    """Where the cache keeps a file: by its content, so that a new version never replaces one in use."""
    return folders.cache() / "assets" / wanted.key[:16] / wanted.file


def kept(wanted: Wanted) -> Path | None:
    """The file, if it lies verified in the cache."""
    path = place(wanted)
    return path if wanted.is_at(path) else None


def keep(wanted: Wanted, bring: Callable[[Path], None], progress: Progress | None) -> Path:
    """The file in the cache, verified; `bring` puts it at a path, whole or not at all, where it is not there yet."""
    if path := kept(wanted):
        return path
    path = place(wanted)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path, wanted, progress):
            if not kept(wanted):  # nobody was faster
                path.unlink(missing_ok=True)  # damaged, if it is there at all
                bring(path)
    except OSError as error:
        raise AssetUnavailable(f"{path} cannot be written: {error.strerror}.") from error
    if not wanted.is_at(path, progress):
        raise BadModelFile(f"{path} was written and reads back differently.", fix="Check the disk it lies on.")
    return path


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """The file or folder `target`, which `make` writes at the path it is given where nobody did yet.

    That is beside the place, and moved there when whole: what lies at the place is never half of it. What is left of
    attempts that were killed is deleted.
    """
    with FileLock(target.with_name(f".{target.name}.lock")):
        if not target.exists():
            attempt = f".part-{target.name}-"
            for left in target.parent.glob(f"{glob.escape(attempt)}*"):
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=attempt) as part:
                make(Path(part) / target.name)
                (Path(part) / target.name).replace(target)
    return target


def unpacked(archive: Path, folder: str) -> Path:
    """The files of a folder inside a verified archive, beside it; written once. Raises BadModelFile without them."""
    target = archive.with_name(f"{archive.name}.unpacked")
    return made_once(target, partial_(_unpack, archive, f"{folder.rstrip('/')}/"))


def _unpack(archive: Path, prefix: str, target: Path) -> None:
    """Plain files alone, not those of folders below."""
    with _opened(archive) as stored:
        files = {name.removeprefix(prefix): one for name, one in stored.items() if name.startswith(prefix)}
        files = {name: one for name, one in files.items() if name and "/" not in name and "\\" not in name}
        if not files:
            raise BadModelFile(f"There is no folder {prefix} in {archive}.", fix="Report it: the record is wrong.")
        require_space(archive.parent, archive.stat().st_size, archive.name)
        target.mkdir()
        for name, read in files.items():
            with read() as source, (target / name).open("wb") as made:
                shutil.copyfileobj(source, made)


@contextmanager
def _opened(archive: Path) -> Iterator[dict[str, Callable[[], IO[bytes]]]]:
    """The plain files in a wheel or an sdist, by their paths, each with what opens it."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as stored:
            yield {one.filename: partial_(stored.open, one) for one in stored.infolist() if not one.is_dir()}
        return
    with tarfile.open(archive) as packed:
        files = [one for one in packed.getmembers() if one.isfile()]
        yield {one.name: partial_(_member, packed, one) for one in files}


def _member(packed: tarfile.TarFile, one: tarfile.TarInfo) -> IO[bytes]:
    found = packed.extractfile(one)
    assert found is not None  # noqa: S101 - it is a plain file
    return found


@contextmanager
def partial(wanted: Wanted, what: str, *, more_bytes: int = 0) -> Iterator[Path]:
    """Where the download of this very file goes on; kept when it is cut short, removed when it is done.

    more_bytes: what is written beside it. Raises NoSpace, before or once the disk is full; then nothing is left of it.
    """
    folder = folders.cache() / "assets" / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{wanted.key}.part"
    needed_bytes = (wanted.bytes or 0) - size_of(part) + more_bytes
    require_space(folder, needed_bytes, what)
    try:
        yield part
    except OSError as error:
        if not is_disk_full(error):
            raise
        part.unlink(missing_ok=True)
        raise no_space(folder, needed_bytes, what) from error
    part.unlink(missing_ok=True)


def _alone(path: Path, wanted: Wanted, progress: Progress | None) -> AbstractContextManager[None]:
    """Only one process at a time."""

    def waiting() -> None:
        if progress:
            progress(0, wanted.bytes or 0, f"Waiting for another process that fetches {wanted.file}")

    return folders.alone(path.parent / ".lock", waiting)
