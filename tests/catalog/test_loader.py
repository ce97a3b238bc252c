"""The catalog's loader is strict, and the catalog itself passes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from workbench import catalog
from workbench.catalog.loader import load
from workbench.errors import UnknownName, UsageError


@dataclass(frozen=True)
class Card:
    name: str
    memory_bytes: int
    source: str
    checked: date
    price_usd: Decimal | None = None
    tags: tuple[str, ...] = ()
    speed: float = 0.0


GOOD = {"memory_bytes": "1", "source": "a page", "checked": "2026-01-31"}


def write(folder: Path, text: str) -> Path:
    path = folder / "cards.yaml"
    path.write_text(text)
    return path


def record(**changes: str | None) -> str:
    fields = {key: value for key, value in (GOOD | changes).items() if value is not None}
    return "card:\n" + "".join(f"  {key}: {value}\n" for key, value in fields.items())


def test_loads_a_record(tmp_path: Path) -> None:
    text = record(price_usd="'1.10'", tags="[a, b]", speed="3")
    card = load(write(tmp_path, text), Card)["card"]
    assert card == Card("card", 1, "a page", date(2026, 1, 31), Decimal("1.10"), ("a", "b"), 3.0)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"source": None}, "missing key 'source'"),
        ({"checked": None}, "missing key 'checked'"),
        ({"checked": "yesterday"}, "expected a date"),
        ({"memory_bytes": None}, "missing key 'memory_bytes'"),
        ({"memory_byte": "1"}, "unknown key 'memory_byte'"),
        ({"memory_bytes": "many"}, "memory_bytes: expected int, got 'many'"),
        ({"memory_bytes": "true"}, "expected int, got True"),
        ({"memory_bytes": "1.5"}, "expected int, got 1.5"),
        ({"price_usd": "1.10"}, "quote it"),
        ({"price_usd": "cheap"}, "expected a decimal number, got 'cheap'"),
        ({"tags": "a"}, "tags: expected a list"),
    ],
)
def test_names_file_record_and_fault(tmp_path: Path, changes: dict[str, str | None], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(write(tmp_path, record(**changes)), Card)
    assert "cards.yaml, record 'card'" in str(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (record() + record(), "'card' appears twice"),
        (record() + "  source: b\n", "'source' appears twice"),
        ("- a\n", "expected records by name"),
        ("card: 1\n", "expected a mapping"),
        ("a: [", "not valid YAML"),
        ("a: !!python/object:os.system {}\n", "not valid YAML"),
    ],
)
def test_refuses_broken_files(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        load(write(tmp_path, text), Card)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "nowhere.yaml", Card)


ASSET = """a:
  file: {file}
  sources: [{{{source}}}]
  source: somebody
  checked: 2026-01-31
"""


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("../a.gguf", "path: a", "expected a plain file name"),
        ("a.gguf", "repo: o/r", "missing key 'file'"),
        ("a.gguf", "url: somewhere", "no known record has the keys url"),
        ("a.gguf", "distribution: d, version: '1', archive: d.whl, archive_bytes: 1, archive_sha256: a, member: m",
         "needs bytes and sha256"),
    ],
)  # fmt: skip
def test_refuses_unusable_assets(tmp_path: Path, file: str, source: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        load(write(tmp_path, ASSET.format(file=file, source=source)), catalog.Asset)


def test_every_model_has_a_name_of_its_own() -> None:
    names = [
        name.lower() for entry in catalog.models().values() for name in {entry.name, *map(str.lower, entry.aliases)}
    ]
    assert len(names) == len(set(names))
    files = [catalog.asset(entry.asset).file for entry in catalog.models().values() if entry.asset]
    assert len(files) == 4
    assert sum(file.endswith(".gguf") for file in files) == 3


def test_the_embedded_model_is_pinned() -> None:
    entry = catalog.find_model("SmolLM2")
    assert entry is not None
    assert entry.asset
    asset = catalog.asset(entry.asset)
    assert (entry.licence, asset.bytes, len(asset.sha256 or "")) == ("Apache-2.0", 98_362_432, 64)
    assert catalog.asset_of_file(asset.file, 98_362_432) is asset
    assert catalog.asset_of_file(asset.file, 1) is None


def test_unknown_names() -> None:
    assert catalog.find_model("nobody") is None
    with pytest.raises(UnknownName, match="smollm2-135m-instruct-q4_1"):
        catalog.asset("smollm2-135m-instruct-q4_2")
