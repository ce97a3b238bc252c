"""Files from the Hugging Face Hub, through its own library and in its own cache, plus the check the library leaves out.

`huggingface_hub` compares sizes, not contents: a file that was damaged on its way is accepted and then served from the
cache for ever. Here the SHA-256 the Hub records for the file is compared before the file is used.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.catalog import HubSource
from workbench.errors import AssetUnavailable, UsageError
from workbench.models.download import is_disk_full, no_space, require_space
from workbench.models.verification import Progress, is_intact

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_names(source: HubSource) -> HubSource:
    """Refuse names that are no repository or file name; a file name must not lead out of its folder."""
    parts = source.file.split("/")
    odd = {"\\", "\0", ":"} & set(source.file) or any(part in ("", ".", "..") for part in parts)
    if odd or not _REPO.fullmatch(source.repo) or ".." in source.repo:
        raise UsageError(f"{source.repo}:{source.file} is not a file on the Hub.", fix="Write owner/repo:file.gguf.")
    return source


def bring(source: HubSource, sha256: str | None, progress: Progress | None) -> tuple[Path, str | None]:
    """The file in the Hub's cache on this computer, and its SHA-256 where one is recorded.

    sha256: what the catalog recorded; the Hub's own record counts when it is None.
    Raises AssetUnavailable, or NoSpace when the disk cannot hold the file.
    """
    check_names(source)
    try:
        record = _record(source)
        expected = sha256 or _sha256(record.etag)
        _require_space(source, record)
        return _checked(source, record.commit_hash, expected, progress), expected
    except AssetUnavailable as error:
        path = _local(source)  # offline, and here already
        expected = sha256 or (_sha256(path.resolve().name) if path else None)
        if path is None or (expected and not is_intact(path, expected)):
            raise error
        return path, expected


def _checked(source: HubSource, commit: str | None, expected: str | None, progress: Progress | None) -> Path:
    for force in (False, True):  # a damaged file is fetched once more
        path = _download(source, commit, progress, force=force)
        if expected is None or is_intact(path, expected, progress=progress):
            return path
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    raise AssetUnavailable(f"The Hub delivers a damaged {source.repo}:{source.file}: its SHA-256 is not as recorded.")


def _record(source: HubSource) -> HfFileMetadata:
    import huggingface_hub

    url = huggingface_hub.hf_hub_url(source.repo, source.file, revision=source.revision)
    with _Translated(source):
        return huggingface_hub.get_hf_file_metadata(url)


def _download(source: HubSource, commit: str | None, progress: Progress | None, *, force: bool) -> Path:
    """Download at the commit that was looked at: a branch may move in between."""
    import huggingface_hub

    revision = commit or source.revision
    with _Translated(source):
        return Path(
            huggingface_hub.hf_hub_download(
                source.repo, source.file, revision=revision, force_download=force, tqdm_class=_bar(source, progress)
            )
        )


def _local(source: HubSource) -> Path | None:
    """The file where it lies in the Hub's cache: at its revision, or else (for a branch) at the commit seen last."""
    import huggingface_hub
    from huggingface_hub import constants, file_download

    found = huggingface_hub.try_to_load_from_cache(source.repo, source.file, revision=source.revision)
    if isinstance(found, str):
        return Path(found)
    folder = Path(constants.HF_HUB_CACHE) / file_download.repo_folder_name(repo_id=source.repo, repo_type="model")
    snapshots = [one / source.file for one in folder.glob("snapshots/*") if (one / source.file).is_file()]
    is_commit = _COMMIT.fullmatch(source.revision)
    return None if is_commit else max(snapshots, key=lambda path: path.stat().st_mtime_ns, default=None)


def _sha256(etag: str | None) -> str | None:
    """Large files are tagged with their SHA-256; small ones with a git hash, which is of no use here."""
    return etag if etag and _SHA256.fullmatch(etag) else None


def _require_space(source: HubSource, record: HfFileMetadata) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    here = huggingface_hub.try_to_load_from_cache(source.repo, source.file, revision=record.commit_hash)
    if record.size and not isinstance(here, str):
        folder.mkdir(parents=True, exist_ok=True)
        require_space(folder, record.size, f"{source.repo}:{source.file}")


def _bar(source: HubSource, progress: Progress | None) -> Any:
    """The library reports through a progress bar; this one draws nothing and calls `progress`."""
    from tqdm import tqdm

    class Silent(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)  # the library's own bars take it
            super().__init__(*args, **{**kwargs, "disable": True})
            self.done, self.whole = int(kwargs.get("initial") or 0), int(kwargs.get("total") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self.done += int(n or 0)
            if progress:
                progress(self.done, self.whole, f"Downloading {source.file}")
            return None

    return Silent


class _Translated:
    """Turns the many errors of the library into AssetUnavailable or NoSpace, in one sentence."""

    def __init__(self, source: HubSource) -> None:
        self._source = source

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        import httpx2  # what huggingface_hub speaks HTTP with
        from huggingface_hub import constants
        from huggingface_hub import errors as hub

        name = f"{self._source.repo}:{self._source.file}"
        if isinstance(error, OSError) and is_disk_full(error):
            raise no_space(Path(constants.HF_HUB_CACHE), 0, name) from error
        known = ((hub.GatedRepoError, "needs you to accept its terms on the Hub and to log in (`hf auth login`)"),
                 (hub.RepositoryNotFoundError, "is not there: no such repository, or a private one"),
                 (hub.EntryNotFoundError, "is not there: the repository has no such file"),
                 (hub.RevisionNotFoundError, f"has no revision {self._source.revision}"))  # fmt: skip
        for kind, reason in known:
            if isinstance(error, kind) and not isinstance(error, hub.LocalEntryNotFoundError):
                raise AssetUnavailable(f"{name} {reason}.") from error
        if isinstance(error, hub.HfHubHTTPError | hub.OfflineModeIsEnabled | httpx2.HTTPError | OSError | ValueError):
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise AssetUnavailable(f"The Hugging Face Hub cannot deliver {name}: {reason}.") from error
