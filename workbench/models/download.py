"""Downloads one file over HTTP into a partial file, continuing where an earlier attempt ended, also in another process.

The caller holds the lock on the partial file and says how the server is asked.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import AssetUnavailable, NoSpace
from workbench.models.verification import Progress, Wanted, reporter
from workbench.units import format_bytes

if TYPE_CHECKING:
    import httpx2

Ask = Callable[[dict[str, str]], AbstractContextManager["httpx2.Response"]]  # one GET with these headers, streamed

_CHUNK_BYTES = 2**16  # what a killed process may lose
_ATTEMPTS = 5  # in a row without a single new byte
_FIRST_PAUSE_S = 0.2


class Refused(Exception):
    """The server will not deliver; trying again is no use."""


def require_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise NoSpace unless the disk of `folder` has room for `needed_bytes` and a tenth more."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes * 1.1:
        raise no_space(folder, needed_bytes, what, free_bytes)


def no_space(folder: Path, needed_bytes: int, what: str, free_bytes: int | None = None) -> NoSpace:
    """The error for a disk that is too full for `what`."""
    free_bytes = shutil.disk_usage(folder).free if free_bytes is None else free_bytes
    return NoSpace(
        f"{what} needs {needed_bytes:,} bytes ({format_bytes(needed_bytes)}), "
        f"the disk of {folder} has {free_bytes:,} bytes ({format_bytes(free_bytes)}) free.",
        fix="Free some space, or set WORKBENCH_HOME to a folder on another disk.",
    )


def is_disk_full(error: OSError) -> bool:
    """True for errors that say that a disk or a quota is full."""
    return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def download_intact(ask: Ask, url: str, part: Path, wanted: Wanted, progress: Progress | None) -> bool:
    """Bring the whole of `wanted` to `part`; False if what arrives is damaged. Raises as `download` does."""
    total_bytes = wanted.bytes or 0
    for _ in range(2):  # a damaged partial file is thrown away and fetched once more
        download(ask, url, part, total_bytes, reporter(progress, total_bytes, f"Downloading {wanted.file}"))
        if wanted.is_at(part, progress):
            return True
        part.unlink(missing_ok=True)
    return False


def download(ask: Ask, url: str, part: Path, total_bytes: int, report: Callable[[int], None]) -> None:
    """Bring `part` to `total_bytes`, beginning with what is there; `ask` asks for `url`.

    Raises AssetUnavailable when the server refuses, is gone or sends more than that; OSError when the disk fails.
    """
    import httpx2  # what unearth and huggingface_hub speak HTTP with

    failures, reason = 0, ""
    while (have := size_of(part)) < total_bytes:
        try:
            _continue(ask, part, total_bytes, report)
        except (Refused, httpx2.InvalidURL) as error:
            raise AssetUnavailable(f"{_host(url)}: {error}.") from error
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
        failures = 0 if size_of(part) > have else failures + 1
        if failures >= _ATTEMPTS:
            raise AssetUnavailable(f"{_host(url)}: {reason or 'the connection ends early'}.")
        if failures:
            time.sleep(_FIRST_PAUSE_S * 2**failures)


def _continue(ask: Ask, part: Path, total_bytes: int, report: Callable[[int], None]) -> None:
    """One request for what is missing, appended to `part`."""
    have = size_of(part)
    # identity: bytes must arrive as they lie on the server, or they could not be continued.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with ask(headers) as response:
        have = _accepted_start(response, have)
        with part.open("r+b" if part.exists() else "wb") as file:
            file.truncate(have)
            file.seek(have)
            for chunk in response.iter_raw(_CHUNK_BYTES):
                have += len(chunk)
                if have > total_bytes:
                    raise Refused(f"it sends more than the {total_bytes:,} bytes recorded for the file")
                file.write(chunk)
                report(have)
            file.flush()
            os.fsync(file.fileno())


def _accepted_start(response: httpx2.Response, have: int) -> int:
    """Where the server's answer starts: `have` if it continues, 0 if it sends everything."""
    if response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        return have
    if response.status_code in (408, 425, 429) or response.status_code >= 500:
        response.raise_for_status()  # worth another attempt
    if response.status_code != 200:
        raise Refused(f"it answers {response.status_code} {response.reason_phrase}")
    return 0


def size_of(part: Path) -> int:
    """Bytes that are there already."""
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _host(url: str) -> str:
    """The host of an address, without the credentials it may carry."""
    import urllib.parse

    return urllib.parse.urlsplit(url).hostname or os.path.basename(url)  # noqa: PTH119 - an address
