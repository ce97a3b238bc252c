"""Scoring predictions on tables: what is used, what is refused by name, and how well the published ones are met."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import UsageError
from workbench.planning.validation import Group, validate
from workbench.planning.validation.language_speed import COLUMNS

PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "published"
ROW = {
    "model": "Llama-3-8B",
    "params_b": "8.03",
    "quant": "Q4_K_M",
    "size_gib": "4.58",
    "device": "RTX 3090",
    "n_devices": "1",
    "backend": "CUDA",
    "engine": "llama.cpp",
    "engine_version": "b2824",
    "metric": "decode",
    "phase": "tg128",
    "n_prompt": "0",
    "n_gen": "128",
    "depth": "0",
    "batch": "1",
    "flash_attn": "0",
    "value": "110",
    "std": "",
    "unit": "tok/s",
    "source": "a test",
    "source_date": "2024-05",
    "confidence": "high",
    "notes": "",
}


def table(folder: Path, *changes: dict[str, str]) -> Path:
    path = folder / "measured.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ROW)
        writer.writeheader()
        writer.writerows({**ROW, **change} for change in changes)
    return path


def refused(folder: Path, **change: str) -> str:
    """Why a row is refused; it must be."""
    (group,) = validate(table(folder, change)).groups
    assert (group.rows_total, group.rows_used, group.mean_error) == (1, 0, None)
    (reason,) = group.refused
    return reason


def test_the_keys(tmp_path: Path) -> None:
    found = validate(
        table(tmp_path, {}, {"backend": "Metal", "device": "Apple M3 Max (40-core GPU, 64GB)", "value": "60"})
    )
    data = json.loads(json.dumps(found.to_dict()))
    assert list(data) == ["groups"]
    for group in data["groups"]:
        assert list(group) == [
            "file",
            "quantity",
            "engine",
            "backend",
            "scope",
            "rows_total",
            "rows_used",
            "devices",
            "refused",
            "mean_error",
            "mean_error_per_device",
            "median_error",
            "p95_error",
            "in_interval",
        ]
    assert [group["backend"] for group in data["groups"]] == ["CUDA+Metal", "CUDA", "Metal"]
    assert all(group["scope"] == "headline" and group["rows_used"] for group in data["groups"])


@pytest.mark.parametrize(
    ("change", "scope"),
    [
        ({}, "headline"),
        ({"engine": "llamacpp"}, "headline"),
        ({"engine": "Ollama / llama.cpp"}, "headline"),
        ({"batch": "8"}, "batch"),
        ({"depth": "4096"}, "depth"),
        ({"n_devices": "2"}, "devices"),
        ({"size_gib": ""}, "other"),
        ({"backend": ""}, "other"),
        ({"engine": "vLLM 0.6.3", "quant": "AWQ"}, "other"),
        ({"metric": "prefill", "phase": "pp512", "n_prompt": "512", "value": "3000"}, "other"),
    ],
)
def test_the_group_of_a_row(tmp_path: Path, change: dict[str, str], scope: str) -> None:
    if change.get("engine", "").startswith("vLLM"):
        change = {**change, "size_gib": ""}
    (group,) = validate(table(tmp_path, change)).groups
    assert (group.scope, group.rows_used) == (scope, 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"device": "RTX 4099"}, "device not in the catalog: RTX 4099"),
        ({"device": "Apple M4 Pro", "backend": "Metal"}, "ambiguous device: Apple M4 Pro"),
        ({"device": ""}, "no device is named"),
        ({"model": "Papyrus-7B"}, "model not in the catalog: Papyrus-7B"),
        ({"quant": "Q4_X"}, "format not known: Q4_X"),
        ({"quant": ""}, "format is not stated"),
        ({"size_gib": "9.1"}, "size differs: Llama-3-8B Q4_K_M says 9.1 GiB"),
        ({"value": "nan"}, "value cannot be nan"),
        ({"value": "-3"}, "value cannot be -3"),
        ({"value": "fast"}, "value is no number: 'fast'"),
        ({"value": "0"}, "value is 0"),
        ({"value": "100000"}, "broken row: faster than the device's memory can be read"),
        ({"engine": "papyrus"}, "no published coefficients for papyrus on CUDA"),
        ({"metric": "joy"}, "not predicted: joy"),
        ({"metric": "prefill", "n_prompt": ""}, "length of the prompt is not stated"),
        ({"backend": "CPU"}, "ran on the CPU"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_name(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    assert refused(tmp_path, **change).startswith(reason)


@pytest.mark.parametrize(
    "change",
    [
        {"device": "NVIDIA GeForce RTX 3090"},
        {"device": "nvidia geforce rtx 3090"},
        {"model": "meta-llama/Meta-Llama-3-8B"},
        {"quant": "Q4_K - Medium"},
        {"model": "Meta-Llama-3-8B-Instruct-Q4_K_M.gguf", "quant": ""},
        {"size_gib": "4.6"},
        {"device": "RTX 5060 Ti 16GB", "value": "60"},
        {"model": "Qwen3-14B", "size_gib": "8.38", "value": "60"},
    ],
)
def test_rows_that_nobody_saw_before(tmp_path: Path, change: dict[str, str]) -> None:
    (group,) = validate(table(tmp_path, change)).groups
    assert group.rows_used == 1, group.refused
    assert group.mean_error is not None
    assert group.mean_error < 0.5


def test_files_that_are_no_table(tmp_path: Path) -> None:
    empty = table(tmp_path)
    with pytest.raises(UsageError, match="has no rows"):
        validate(empty)
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="lacks the columns"):
        validate(other)
    other.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no CSV file"):
        validate(other)
    with pytest.raises(UsageError, match="cannot be read"):
        validate(tmp_path / "none.csv")
    assert set(ROW) > COLUMNS


# -- the published tables --------------------------------------------------------------------------------------


def groups(name: str) -> dict[tuple[str, str, str, str], Group]:
    found = validate(PUBLISHED / f"{name}.csv").groups
    return {(one.quantity, one.engine, one.backend, one.scope): one for one in found}


def test_the_published_speeds() -> None:
    found = groups("llm_speed")
    headline = found["decode", "llama.cpp", "CUDA+Metal", "headline"]
    assert headline.rows_used / headline.rows_total >= 0.95
    assert headline.devices >= 45
    assert below(headline.mean_error_per_device, 0.12)
    assert below(headline.median_error, 0.07)
    for scope in ("batch", "depth", "devices"):
        assert below(found["decode", "llama.cpp", "CUDA", scope].mean_error_per_device, 0.20)
    assert sum(one.rows_total for one in found.values()) - headline.rows_total == 3280


@pytest.mark.parametrize(
    ("component", "engine", "mean"),
    [
        ("bits_per_weight", "llama.cpp", 0.001),
        ("file_size", "llama.cpp", 0.003),
        ("weights_vram", "llama.cpp", 0.001),
        ("kv_cache", "llama.cpp", 0.0001),
        ("compute_buffer", "llama.cpp", 0.06),
        ("peak_vram", "Transformers", 0.03),
        ("total_vram_engine", "llama.cpp", 0.001),
    ],
)
def test_the_published_memory(component: str, engine: str, mean: float) -> None:
    one = groups("llm_memory")[component, engine, "", "other"]
    assert one.rows_used == one.rows_total
    assert below(one.mean_error, mean)


@pytest.mark.parametrize("name", ["diffusion_speed", "diffusion_memory", "whisper_speed", "whisper_memory"])
def test_the_published_images_and_speech(name: str) -> None:
    found = [one for one in groups(name).values() if one.rows_used]
    assert sum(one.rows_used for one in found) >= 20
    errors: list[Any] = [one.mean_error for one in found for _ in range(one.rows_used)]
    assert sum(errors) / len(errors) < 0.15


def below(value: float | None, bound: float) -> bool:
    return value is not None and value <= bound
