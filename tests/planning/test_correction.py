"""Plans moved by what was measured here: whose measurements count, and how much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from workbench.evidence import Estimate
from workbench.machine import BUSY_CORES
from workbench.planning import Plan, calibrated
from workbench.planning.correction import peak


@pytest.fixture
def made(fake_plan: Any) -> Plan:
    return fake_plan()  # type: ignore[no-any-return]


def pair(plan: Plan, quantity: str = "decode", factor: float = 0.5, **differs: Any) -> dict[str, Any]:
    """A pair of the ledger of the same variant; differs: but for this."""
    predicted = plan.predictions[quantity].known()
    settings = plan.to_dict()["settings"]
    return {**settings, "engine": plan.engine.name, "machine": plan.machine.fingerprint(), "calibrated_by_ledger": 0,
            "quantization": plan.model.quantization, "quantity": quantity, "predicted": predicted,
            "measured": predicted * factor, "others_busy_cores": 0.0, **differs}  # fmt: skip


def test_measurements_here_move_the_prediction_and_narrow_it(made: Plan) -> None:
    value = made.decode.known()
    moved = calibrated(made, [pair(made)] * 5)
    assert moved.calibrated
    assert moved.to_dict()["calibrated_by_ledger"]
    assert value * 0.45 < moved.decode.known() < value * 0.75
    assert moved.prefill == made.prefill
    assert "calibrated by 5 measurements here of this variant" in moved.decode.basis.inputs["correction"]
    assert not made.calibrated


@pytest.mark.parametrize(
    "differs",
    [{"machine": "another"}, {"engine": "another"}, {"calibrated_by_ledger": 1}, {"predicted": None},
     {"others_busy_cores": BUSY_CORES + 0.01}, {"devices": "[0]"}],
    ids=lambda differs: next(iter(differs)),
)  # fmt: skip
def test_what_does_not_count(made: Plan, differs: dict[str, Any]) -> None:
    """Measured elsewhere, on another engine or device, predicted by the ledger or not at all, disturbed by others."""
    assert calibrated(made, [pair(made, **differs)]) is made


def test_how_far_former_coefficients_were_off_says_nothing_of_those_of_now(made: Plan) -> None:
    assert not calibrated(made, [pair(made, source="fitted to another machine")]).calibrated
    assert calibrated(made, [pair(made, source=made.decode.basis.source)]).calibrated
    assert peak(made, [pair(made, "memory_peak", source="counted otherwise")]) != made.memory[0].total


def test_a_measurement_of_which_nobody_knows_whether_it_was_disturbed_counts(made: Plan) -> None:
    assert calibrated(made, [pair(made, others_busy_cores=None)]).calibrated


@pytest.mark.parametrize(
    ("differs", "whose"),
    [({"threads": 7}, "this format"), ({"prefill_threads": 7}, "this format"), ({"flash_attention": 0}, "this format"),
     ({"cache_type": "q8_0"}, "this format"), ({"model": "another"}, "this format"),
     ({"quantization": "Q2_K"}, "this engine"), ({"quantization": None}, "this engine"),
     ({"context": 1}, "this variant")],
    ids=str,
)  # fmt: skip
def test_the_closest_measurements_count_alone_and_the_farther_ones_less(
    made: Plan, differs: dict[str, Any], whose: str
) -> None:
    far = [pair(made, factor=0.8, **differs)] * 2
    moved = calibrated(made, far).decode
    assert f"of {whose}" in moved.basis.inputs["correction"]
    if whose != "this variant":
        near = [pair(made, factor=0.8)] * 2
        assert calibrated(made, [*near, *far]).decode == calibrated(made, near).decode
        assert _width(moved) > _width(calibrated(made, near).decode)


def test_farther_groups_are_less_sure(made: Plan) -> None:
    wide = replace(made, speed={"decode": Estimate(1.0, 0.3, 3.0, "tok/s", made.decode.basis)})
    variants = ({}, {"threads": 7}, {"quantization": "Q2_K"})
    widths = [_width(calibrated(wide, [pair(wide, **differs)] * 3).decode) for differs in variants]
    assert widths == sorted(widths) and len(set(widths)) == 3


def test_memory_is_corrected_by_measurements_of_the_same_size(made: Plan) -> None:
    """A cache of another size is another peak: it says less."""
    total = made.memory[0].total
    moved, other = (peak(made, [pair(made, "memory_peak", 1.2, **differs)] * 3) for differs in ({}, {"context": 1}))
    assert total.known() < other.known() < moved.known() < 1.2 * total.known()
    assert peak(made, [pair(made)]) == total


def _width(estimate: Estimate) -> float:
    return (estimate.high or 0) / (estimate.low or 1)
