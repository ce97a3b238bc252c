"""Files from the Hugging Face Hub: its own library says where a file lies and what it is, the bytes come our way.

`huggingface_hub` begins again at byte 0 after a kill and compares sizes, not contents. Here the download continues,
and the SHA-256 the Hub records for the file is compared before the file is used. Addresses, accounts, mirrors, the
offline switch and the Hub's cache (looked into, never written) are the library's own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from workbench import folders
from workbench.catalog import HubSource
from workbench.errors import AssetUnavailable, UsageError
from workbench.models import notes, store
from workbench.models.download import download_intact
from workbench.models.verification import Progress, Wanted

if TYPE_CHECKING:
    import httpx2

ANSWER_S = 10.0
_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Record:
    """What the Hub says of a file."""

    commit: str
    etag: str
    size_bytes: int

    @property
    def sha256(self) -> str | None:
        """Large files are tagged with their SHA-256; small ones with a git hash, which is of no use here."""
        return self.etag if _SHA256.fullmatch(self.etag) else None


def check_names(source: HubSource) -> HubSource:
    """Refuse names that are no repository or file name; a file name must not lead out of its folder."""
    parts = source.file.split("/")
    odd = {"\\", "\0", ":"} & set(source.file) or any(part in ("", ".", "..") for part in parts)
    if odd or not _REPO.fullmatch(source.repo) or ".." in source.repo:
        raise UsageError(
            f"{source.repo}:{source.file} is not a file on the Hub.", fix="Write hf:owner/repository/file.gguf."
        )
    return source


def bring(
    source: HubSource, sha256: str | None, progress: Progress | None, *, file: str | None = None
) -> tuple[Path, str | None]:
    """The file, verified, in the workbench's cache or in the Hub's, and its SHA-256 where one is recorded.

    sha256: what the catalog recorded; the Hub's own record counts when it is None. file: its name in the cache.
    Raises AssetUnavailable, or NoSpace when the disk cannot hold the file.
    """
    check_names(source)
    file = file or source.file.rpartition("/")[2]
    try:
        record = _ask(source)
    except AssetUnavailable:
        for record in _remembered(source):
            wanted = _wanted(source, record, sha256, file)
            if path := _local(source, record, wanted, progress):
                return path, wanted.sha256
        raise
    wanted = _wanted(source, record, sha256, file)
    path = _local(source, record, wanted, progress) or store.keep(
        wanted, lambda path: _download(source, record, wanted, path, progress), progress
    )
    notes.write(_note(source), dataclasses.asdict(record))
    return path, wanted.sha256


def files(repo: str) -> list[str]:
    """The names of all files of a repository; raises AssetUnavailable."""
    import huggingface_hub

    source = check_names(HubSource(repo, "model_index.json"))
    with _plain_errors(source):
        said = huggingface_hub.HfApi().model_info(repo, timeout=ANSWER_S)
        return sorted(one.rfilename for one in said.siblings or ())


def _wanted(source: HubSource, record: _Record, sha256: str | None, file: str) -> Wanted:
    tag = hashlib.sha256(f"{_url(source, record.commit)} {record.etag}".encode()).hexdigest()
    return Wanted(file, record.size_bytes, sha256 or record.sha256, tag)


def _local(source: HubSource, record: _Record, wanted: Wanted, progress: Progress | None) -> Path | None:
    """The file, if it lies intact on this computer: in the workbench's cache, or else in the Hub's."""
    if path := store.kept(wanted):
        return path
    path = _in_hub_cache(source, record.commit)
    return path if path and wanted.is_at(path, progress) else None


def _in_hub_cache(source: HubSource, revision: str) -> Path | None:
    import huggingface_hub

    found = huggingface_hub.try_to_load_from_cache(source.repo, source.file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _remembered(source: HubSource) -> Iterator[_Record]:
    """What the Hub said when the file was fetched, by the workbench and by the Hub's own tools."""
    match notes.read(_note(source)):
        case {"commit": str(commit), "etag": str(etag), "size_bytes": int(size_bytes)}:
            yield _Record(commit, etag, size_bytes)
    if path := _in_hub_cache(source, source.revision):
        commit, blob = path.parents[source.file.count("/")].name, path.resolve()  # blobs are named by their etag
        yield _Record(commit, blob.name, blob.stat().st_size)


def _note(source: HubSource) -> Path:
    name = hashlib.sha256(_url(source, source.revision).encode()).hexdigest()[:32]
    return folders.cache() / "assets" / "hub" / f"{name}.json"


def _url(source: HubSource, revision: str) -> str:
    import huggingface_hub

    return huggingface_hub.hf_hub_url(source.repo, source.file, revision=revision)


def _ask(source: HubSource) -> _Record:
    import huggingface_hub

    with _plain_errors(source):
        said = huggingface_hub.get_hf_file_metadata(_url(source, source.revision))
        if not (said.commit_hash and said.etag and said.size):
            raise ValueError("its answer lacks the file's commit, tag or size")
        return _Record(said.commit_hash, said.etag, said.size)


def _download(source: HubSource, record: _Record, wanted: Wanted, target: Path, progress: Progress | None) -> None:
    """Download at the commit that was looked at: a branch may move in between."""
    url, name = _url(source, record.commit), f"{source.repo}:{source.file}"
    if record.sha256 not in (None, wanted.sha256):
        raise AssetUnavailable(f"The Hub has another file under the name {name} (SHA-256 {record.etag[:12]}…).")

    def ask(headers: dict[str, str]) -> AbstractContextManager[httpx2.Response]:
        """A redirect to another host is followed without the authorization: the client drops it."""
        from huggingface_hub import constants, get_session
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        headers, timeout = build_hf_headers(headers=headers), constants.HF_HUB_DOWNLOAD_TIMEOUT
        return get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True)

    with store.partial(wanted, name) as part:
        try:
            intact = download_intact(ask, url, part, wanted, progress)
        except AssetUnavailable as error:
            raise AssetUnavailable(f"The Hugging Face Hub cannot deliver {name}: {error.what}") from error
        if not intact:
            raise AssetUnavailable(f"The Hub delivers a damaged {name}: its SHA-256 is not as recorded.")
        part.replace(target)


@contextmanager
def _plain_errors(source: HubSource) -> Iterator[None]:
    """Turns the many errors of the library into AssetUnavailable, in one sentence."""
    import httpx2  # what huggingface_hub speaks HTTP with
    from huggingface_hub import errors as hub

    name = f"{source.repo}:{source.file}"
    known = ((hub.GatedRepoError, "needs you to accept its terms on the Hub and to log in (`hf auth login`)"),
             (hub.RepositoryNotFoundError, "is not there: no such repository, or a private one"),
             (hub.EntryNotFoundError, "is not there: the repository has no such file"),
             (hub.RevisionNotFoundError, f"has no revision {source.revision}"))  # fmt: skip
    try:
        yield
    except (httpx2.HTTPError, OSError, ValueError) as error:  # the library's own are among these
        if said := next((said for kind, said in known if isinstance(error, kind)), None):
            raise AssetUnavailable(f"{name} {said}.") from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if isinstance(error, httpx2.TransportError):
            reason = f"it cannot be reached ({reason})"
        raise AssetUnavailable(f"The Hugging Face Hub cannot deliver {name}: {reason}.") from error
