"""The same facts in a terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.evidence import Estimate
from workbench.machine import Accelerator, Machine
from workbench.planning import Refusal
from workbench.report import Tour, text

Tell = Callable[..., Any]


def test_a_machine(machine: Machine) -> None:
    shown = text.machine(machine)
    assert "Test CPU: 2 cores, 2 usable (x86-64)" in shown
    assert "16 GiB, 12 GiB available" in shown
    assert "GPU      none found" in shown
    assert "40 GB/s, 100 GFLOP/s a core, 2026-01-01" in shown


def test_what_is_not_known_of_a_machine(machine: Machine) -> None:
    card = Accelerator("NVIDIA", "H200", 0, note="its driver does not answer")
    shown = text.machine(replace(machine, calibration=None, accelerators=(card,), notes=("No swap could be read.",)))
    assert "GPU      NVIDIA H200, memory unknown its driver does not answer" in shown
    assert "Measured not yet: workbench machine --calibrate" in shown
    assert shown.endswith("Note     No swap could be read.")


def test_a_plan_shows_predictions_reasons_and_refusals(story: Tell) -> None:
    made, _, _ = story()
    made = replace(made, speed={**made.speed, "decode": Estimate.unknown("tok/s", "not calibrated")},
                   refused=(Refusal("llama.cpp", "Not installed.", "Install it."),))  # fmt: skip
    shown = text.plan(made)
    assert f"memory              {made.memory[0].total}" in shown
    assert "decode              unknown (not calibrated)" in shown
    assert "Refused llama.cpp: Not installed. Install it." in shown
    assert all(f"Because {reason}." in shown for reason in made.reasons)


def test_the_comparison_has_a_line_per_quantity(story: Tell) -> None:
    _, measurement, _ = story()
    lines = text.comparison_table(measurement).splitlines()
    assert len(lines) == 5
    assert lines[0].split() == ["predicted", "(90", "%", "interval)", "measured", "error"]
    starts = [lines[0].index(head) for head in ("predicted", "measured", "error")]
    assert all(line[start - 2 : start] == "  " and line[start] != " " for line in lines[1:] for start in starts)
    assert lines[3].startswith("decode")
    assert "2,000 tok/s (1,500 tok/s to 2,512 tok/s, n=3)" in lines[3]


def test_the_end_of_a_tour(story: Tell) -> None:
    made, measurement, comparison = story()
    shown = text.result(Tour(made, "Why?", "Because.", measurement, comparison, Path("r.html")))
    assert "OpenAI GPT-4o mini, 2026-11" in shown or "OpenAI GPT-4o mini, date unknown" in shown
    assert "assumed electricity" in shown
    assert shown.endswith(f"Report      r.html\nDashboards  {text.command('dashboards')}")
