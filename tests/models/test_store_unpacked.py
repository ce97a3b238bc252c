"""Folders out of wheels and sdists: the plain files of one folder, once, and nothing that climbs out of it."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from workbench.errors import BadModelFile
from workbench.models import store

FILES = {"pack/data/a.txt": b"a", "pack/data/deep/b.txt": b"b", "pack/data/../c.txt": b"c", "pack/other.txt": b"d"}


def wheel(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in FILES.items():
            made.writestr(name, content)
    return path


def sdist(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for name, content in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("pack/data/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
    return path


@pytest.mark.parametrize("make", [wheel, sdist])
def test_only_the_plain_files_of_the_folder_are_unpacked(tmp_path: Path, make: object) -> None:
    archive = make(tmp_path / ("p.whl" if make is wheel else "p.tar.gz"))  # type: ignore[operator]
    folder = store.unpacked(archive, "pack/data")
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == {"a.txt": b"a"}
    assert store.unpacked(archive, "pack/data") == folder
    assert not list(tmp_path.glob(".part-*"))


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match=r"no folder pack/none/"):
        store.unpacked(wheel(tmp_path / "p.whl"), "pack/none")
