"""Files from a Hugging Face Hub that runs here and can misbehave."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from workbench.catalog import Asset, HubSource
from workbench.errors import AssetUnavailable, NoSpace
from workbench.models import assets, download, hub, verification

SOURCE = HubSource("owner/repo", "sub/model.gguf")
BRING = f"""
import sys
from workbench.catalog import HubSource
from workbench.models import hub
print(hub.bring({SOURCE!r}, None, lambda *now: print(*now, file=sys.stderr))[0])
"""


def start_bring() -> subprocess.Popen[str]:
    """Fetch the file in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", BRING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def part_of(sha256: str, home: Path) -> Path:
    return home / "cache" / "assets" / "parts" / f"{sha256}.part"


def start_of(asked: str) -> int:
    return int(asked.removeprefix("bytes=").removesuffix("-") or 0)


def put_into_hub_cache(served: Any, content: bytes, cache: Path) -> Path:
    """The file as the Hub's own tools leave it."""
    repo = cache / "models--owner--repo"
    blob, link = repo / "blobs" / served.sha256, repo / "snapshots" / served.commit / SOURCE.file
    for path in (blob, link, repo / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link.symlink_to(blob)
    (repo / "refs" / "main").write_text(served.commit)
    return link


def damaged(content: bytes) -> bytes:
    return content[:-1] + b"x"


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    return tmp_path / "hf" / "hub"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda: monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_downloads_once_at_the_commit_that_was_looked_at(served: Any, home: Path, hub_cache: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    path, sha256 = hub.bring(SOURCE, None, lambda *now: seen.append(now))
    assert (path.read_bytes(), sha256) == (served.content, served.sha256)
    assert path == home / "cache" / "assets" / served.sha256[:16] / "model.gguf"
    assert [(one.path, one.authorization) for one in served.downloads] == [
        (f"/owner/repo/resolve/{served.commit}/sub/model.gguf", None)
    ]
    assert {what for _, _, what in seen} == {"Downloading model.gguf", "Checking model.gguf"}
    assert all(0 < done <= total == len(served.content) for done, total, _ in seen)
    assert seen.count((len(served.content), len(served.content), "Checking model.gguf")) == 1
    assert hub.bring(SOURCE, None, None)[0] == path
    assert len(served.downloads) == 1
    assert not hub_cache.exists()
    assert not list((home / "cache" / "assets" / "parts").iterdir())


def test_a_flipped_byte_is_fetched_again(served: Any) -> None:
    served.bodies = [damaged(served.content)]
    assert hub.bring(SOURCE, None, None)[0].read_bytes() == served.content
    assert len(served.downloads) == 2


def test_a_hub_that_stays_damaged_is_refused(served: Any) -> None:
    served.bodies = [damaged(served.content)] * 2
    with pytest.raises(AssetUnavailable, match="The Hub delivers a damaged owner/repo:sub/model"):
        hub.bring(SOURCE, None, None)
    assert hub.bring(SOURCE, None, None)[0].read_bytes() == served.content


def test_a_file_damaged_later_is_replaced(served: Any) -> None:
    path, _ = hub.bring(SOURCE, None, None)
    path.write_bytes(damaged(served.content))
    assert hub.bring(SOURCE, None, None)[0].read_bytes() == served.content


def test_another_file_than_the_recorded_one_is_refused_before_it_is_fetched(served: Any) -> None:
    with pytest.raises(AssetUnavailable, match=f"has another file under the name .* {served.sha256[:12]}"):
        hub.bring(SOURCE, "0" * 64, None)
    assert served.downloads == []


def test_a_recorded_file_needs_no_look_at_the_hub(served: Any, offline: Any) -> None:
    asset = Asset("tiny", "tiny.gguf", (SOURCE,), "made for this test", date(2026, 1, 1), sha256=served.sha256)
    path = assets.fetch(asset)
    assert (path.name, path.read_bytes()) == ("tiny.gguf", served.content)
    assert assets.fetch(asset) == assets.cached(asset) == path
    assert served.lookups == 1
    offline()
    assert assets.fetch(asset) == path


def test_resumes_after_a_cut_connection(served: Any) -> None:
    served.cut_after = [1_000_000, 500_000]
    assert hub.bring(SOURCE, None, None)[0].read_bytes() == served.content
    assert [start_of(one.range) // 100_000 for one in served.downloads] in ([0, 10, 15], [0, 9, 14])


@pytest.mark.parametrize("elsewhere", [False, True], ids=["hub", "cdn"])
def test_resumes_after_the_process_was_killed(served: Any, home: Path, elsewhere: bool) -> None:
    served.cdn = served.url.replace("127.0.0.1", "localhost") if elsewhere else ""
    served.stall_after = 1_000_000
    killed, part = start_bring(), part_of(served.sha256, home)
    while not part.exists() or part.stat().st_size < 900_000:
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    served.go_on.set()
    assert hub.bring(SOURCE, None, None)[0].read_bytes() == served.content
    first, second = (len(served.content) - start_of(one.range) for one in served.downloads)
    assert (first, second <= len(served.content) - 900_000) == (len(served.content), True)


def test_four_processes_share_one_download(served: Any) -> None:
    served.stall_after = 1_000_000
    processes = [start_bring() for _ in range(4)]
    while served.lookups < 4 or not served.downloads:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    served.go_on.set()
    answers = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    (path,) = {out.strip() for out, _ in answers}
    assert Path(path).read_bytes() == served.content
    assert [one.range for one in served.downloads] == [""]
    assert sum("Downloading model.gguf" in said for _, said in answers) == 1


def test_no_other_host_is_told_who_asks(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    served.cdn, served.cut_after = served.url.replace("127.0.0.1", "localhost"), [1_000_000]
    assert hub.bring(SOURCE, None, None)[0].read_bytes() == served.content
    at_cdn = [one.path.startswith("/cdn/") for one in served.requests]
    assert at_cdn == [False, False, True, False, True]  # HEAD; then each attempt by way of the Hub
    assert {one.authorization for one in served.downloads} == {None}
    assert {one.authorization for one in served.requests if one not in served.downloads} == {"Bearer hf_secret"}


def test_a_file_that_is_here_is_used_offline(served: Any, offline: Any) -> None:
    path, _ = hub.bring(SOURCE, None, None)
    asked = len(served.requests)
    offline()
    assert hub.bring(SOURCE, None, None) == (path, served.sha256)
    path.write_bytes(damaged(served.content))
    with pytest.raises(AssetUnavailable, match="offline mode is enabled"):
        hub.bring(SOURCE, None, None)
    assert len(served.requests) == asked


def test_a_file_in_the_hubs_cache_is_used_as_it_is(served: Any, home: Path, hub_cache: Path, offline: Any) -> None:
    link = put_into_hub_cache(served, served.content, hub_cache)
    assert hub.bring(SOURCE, None, None) == (link, served.sha256)
    offline()
    assert hub.bring(SOURCE, None, None) == (link, served.sha256)
    assert served.downloads == []
    assert not list((home / "cache").rglob("*.gguf"))


def test_the_hubs_cache_is_enough_where_the_hub_was_never_reached(served: Any, hub_cache: Path, offline: Any) -> None:
    link = put_into_hub_cache(served, served.content, hub_cache)
    offline()
    assert hub.bring(SOURCE, None, None) == (link, served.sha256)
    link.resolve().write_bytes(damaged(served.content))
    with pytest.raises(AssetUnavailable):
        hub.bring(SOURCE, None, None)


@pytest.mark.parametrize("left_over", [b"x" * 1000, None], ids=["cut", "flipped"])
def test_a_damaged_file_in_the_hubs_cache_is_left_alone(served: Any, hub_cache: Path, left_over: bytes | None) -> None:
    left_over = left_over or damaged(served.content)
    link = put_into_hub_cache(served, left_over, hub_cache)
    path, _ = hub.bring(SOURCE, None, None)
    assert path != link
    assert (path.read_bytes(), link.read_bytes()) == (served.content, left_over)


def test_a_file_without_sha256_is_kept_by_commit_and_tag(served: Any, offline: Any) -> None:
    served.tag = "e" * 40
    first, sha256 = hub.bring(SOURCE, None, None)
    assert sha256 is None
    served.commit, served.content = "d" * 40, served.content[:-9]
    second, _ = hub.bring(SOURCE, None, None)
    assert len(first.read_bytes()) == len(second.read_bytes()) + 9
    offline()
    assert hub.bring(SOURCE, None, None) == (second, None)
    with pytest.raises(AssetUnavailable):
        hub.bring(dataclasses.replace(SOURCE, revision="other"), None, None)


def test_a_branch_that_moved_is_followed_only_once_its_file_is_here(served: Any, offline: Any) -> None:
    path, sha256 = hub.bring(SOURCE, None, None)
    served.commit, served.content, served.error = "d" * 40, served.content[:-9], 403
    with pytest.raises(AssetUnavailable, match=r"cannot deliver owner/repo:sub/model\.gguf: .*: it answers 403"):
        hub.bring(SOURCE, None, None)
    offline()
    assert hub.bring(SOURCE, None, None) == (path, sha256)


def test_a_missing_file_is_named(served: Any) -> None:
    served.missing = True
    with pytest.raises(AssetUnavailable, match="repository has no such file"):
        hub.bring(SOURCE, None, None)


def test_a_hub_out_of_reach(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    with pytest.raises(AssetUnavailable, match="The Hugging Face Hub cannot deliver owner/repo"):
        hub.bring(SOURCE, None, None)


def test_a_server_that_is_no_hub(served: Any) -> None:
    served.commit = ""
    with pytest.raises(AssetUnavailable, match="lacks the file's commit, tag or size"):
        hub.bring(SOURCE, None, None)


def test_a_full_disk_is_noticed_before(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(NoSpace, match=r"owner/repo:sub/model\.gguf needs 2,000,004 bytes"):
        hub.bring(SOURCE, None, None)
    assert served.downloads == []


def test_only_what_is_missing_needs_space(served: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = part_of(served.sha256, home)
    part.parent.mkdir(parents=True)
    part.write_bytes(served.content[:-50])
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    assert hub.bring(SOURCE, None, None)[0].read_bytes() == served.content


def test_a_fetched_file_is_hashed_once(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    sha256_of = verification.sha256_of
    monkeypatch.setattr(verification, "sha256_of", lambda path, *rest: hashed.append(path) or sha256_of(path, *rest))
    for _ in range(2):
        hub.bring(SOURCE, None, None)
    assert [path.suffix for path in hashed] == [".part"]
