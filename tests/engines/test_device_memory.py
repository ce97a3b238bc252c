"""What any engine meets on an accelerator, and the parts of a device that is given away whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.catalog.accelerators import accelerator
from workbench.engines import kv_pool
from workbench.engines.device_memory import (
    Needs,
    capacity_bytes,
    compute_capability,
    meets,
    prediction_only,
    runtime,
    weight_format,
)
from workbench.evidence import Basis, Estimate
from workbench.machine import Accelerator
from workbench.models import Model
from workbench.units import GIB


def card(name: str) -> Accelerator:
    spec = accelerator(name)
    return Accelerator(spec.vendor, spec.title, 0, spec.memory_bytes, spec=spec)


@pytest.mark.parametrize(
    ("name", "kind", "able"),
    [("RTX 4090", "cuda", 8.9), ("MI300X", "rocm", None), ("Apple M3 Max (40-core GPU)", "metal", None)],
)
def test_makers_have_runtimes(name: str, kind: str, able: float | None) -> None:
    assert runtime(card(name)) == kind
    assert compute_capability(card(name)) == able


def test_a_maker_nobody_knows_is_its_own_runtime() -> None:
    assert runtime(Accelerator("Acme", "A1", 0)) == "Acme"


def test_what_the_driver_reports_counts_before_the_catalog() -> None:
    assert capacity_bytes(replace(card("RTX 4090"), memory_total_bytes=7)) == 7
    assert capacity_bytes(replace(card("RTX 4090"), memory_total_bytes=None)) == card("RTX 4090").memory_total_bytes
    assert capacity_bytes(Accelerator("Acme", "A1", 0)) is None


def test_needs_name_the_first_thing_missing() -> None:
    needs = Needs(frozenset({"cuda"}), 8.0)
    assert meets("E", "F", needs, [card("RTX 4090")]).ok
    assert "rocm" in meets("E", "F", needs, [card("MI300X")]).reason
    assert "7.5" in meets("E", "F", needs, [card("RTX 4090"), card("T4")]).reason
    assert "the CPU" in meets("E", "F", needs, []).reason


def test_an_unknown_ability_is_no_refusal() -> None:
    assert meets("E", "F", Needs(frozenset({"cuda"}), 8.0), [replace(card("T4"), spec=None)]).ok


def test_prediction_only_knows_what_is_installed() -> None:
    answer = prediction_only("E", "numpy")
    assert not answer.ok
    assert (answer.version or "").startswith("numpy ")
    assert prediction_only("E", "no-such-package").version is None
    assert "cannot start E yet" in answer.reason
    assert answer.fix


def test_formats_are_told_by_file_or_by_weights(little_model: Model) -> None:
    assert weight_format(little_model) == "gguf"
    assert weight_format(replace(little_model, format="safetensors", quantization="NF4")) == "NF4"


def test_a_pool_takes_the_rest_or_more_than_there_is() -> None:
    held = {"weights": Estimate.within(GIB, "B", Basis("test"), 0.0, 0.0)}
    pool = Estimate.within(2 * GIB, "B", Basis("test"), 0.5, 0.5)
    fits = kv_pool.parts(card("RTX 4090"), held, pool, GIB, GIB)
    assert set(fits) == {"weights", "KV pool", "driver"}
    assert fits["KV pool"].value == fits["KV pool"].low == 2 * GIB
    over = kv_pool.parts(card("RTX 4090"), held, pool, 3 * GIB, GIB)
    assert over["KV pool"].value == 3 * GIB
    assert over["left alone"].value == GIB
    unknown = kv_pool.parts(card("RTX 4090"), held, Estimate.unknown("B", "nobody knows"), GIB, GIB)
    assert unknown["KV pool"].value is None
