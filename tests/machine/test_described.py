"""Machines that are not here."""

from __future__ import annotations

import pytest

from workbench import catalog
from workbench.errors import AmbiguousName, UnknownName, UsageError
from workbench.machine import describe, probe
from workbench.units import GIB


def test_cards_go_into_this_computer() -> None:
    machine = probe()
    made = describe("RTX 3090", count=2, host=machine)
    assert [card.index for card in made.accelerators] == [0, 1]
    assert made.cpu == machine.cpu
    assert made.calibration == machine.calibration
    assert made.fingerprint() != machine.fingerprint()
    assert made.accelerators[0].memory_total_bytes == 24 * GIB
    assert made.hardware_class == "cuda"


def test_a_machine_without_a_stated_host_has_no_stated_memory() -> None:
    assert describe("RTX 3090").memory.total_bytes == 0
    assert describe("RTX 3090", memory_bytes=64 * GIB).memory.available_bytes == 64 * GIB


def test_chips_that_share_memory_say_how_much() -> None:
    made = describe("Apple M3 Max (40-core GPU, 64GB)")
    (card,) = made.accelerators
    assert card.unified
    assert made.memory.total_bytes == 64 * GIB
    assert 0.6 * 64 * GIB < (card.memory_total_bytes or 0) < 0.85 * 64 * GIB
    assert describe("apple-m3-max-40-core", memory_bytes=64 * GIB).accelerators == made.accelerators


def test_an_instance_has_its_cards_cores_and_memory() -> None:
    made = describe("g5.12xlarge")
    assert len(made.accelerators) == 4
    assert (made.cpu.logical_cores, made.memory.total_bytes) == (48, 192 * GIB)


@pytest.mark.parametrize("name", sorted(catalog.instances()))
def test_every_instance_can_be_described(name: str) -> None:
    instance = catalog.instances()[name]
    assert len(describe(name).accelerators) == instance.count


@pytest.mark.parametrize(
    ("device", "wanted", "error", "said"),
    [
        ("RTX 4099", {}, UnknownName, "Did you mean"),
        ("A100", {}, AmbiguousName, "a100-sxm4-80gb"),
        ("RTX 3090", {"count": 0}, UsageError, "0 devices"),
        ("RTX 3090", {"count": -1}, UsageError, "-1 devices"),
        ("RTX 3090", {"memory_bytes": 0}, UsageError, "memory of 0 bytes"),
        ("apple-m3-max-40-core", {}, UsageError, "does not say how much"),
        ("apple-m3-max-40-core", {"count": 2, "memory_bytes": GIB}, UsageError, "a computer has one"),
    ],
)
def test_what_cannot_be_described(device: str, wanted: dict[str, int], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        describe(device, **wanted)  # type: ignore[arg-type]
