"""The same facts in a terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.evidence import Basis, Estimate
from workbench.machine import Accelerator, Machine
from workbench.models import Model
from workbench.planning import Refusal, choices, pick
from workbench.planning.bound import CALIBRATED
from workbench.report import Tour, text
from workbench.report import walkthrough as guidance

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
    assert lines[0].split() == ["predicted", "(90", "%", "interval)", "measured", "error", "what", "memory", "allows"]
    starts = [lines[0].index(head) for head in ("predicted", "measured", "error")]
    assert all(line[start - 2 : start] == "  " and line[start] != " " for line in lines[1:] for start in starts)
    assert lines[3].startswith("decode")
    assert "2,000 tok/s (1,500 tok/s to 2,512 tok/s, n=3)" in lines[3]
    assert lines[3].endswith("  25% of the bound, 8,000 tok/s")
    assert sum("of the bound" in line for line in lines) == 1


def test_where_nobody_knows_the_bound_nothing_is_said_of_it(story: Tell, machine: Machine) -> None:
    made, measurement, _ = story(bound=Estimate.unknown("tok/s", "not calibrated"))
    assert text.comparison_table(measurement).splitlines()[0].endswith("error")
    assert "memory allows" not in text.plan(replace(made, machine=replace(machine, calibration=None)))


def test_a_speed_above_the_bound_is_no_share(story: Tell) -> None:
    _, measurement, _ = story(bound=Estimate(1_000, 1_000, 1_000, "tok/s", Basis("", {CALIBRATED: "5 GB/s"})))
    shown = text.comparison_table(measurement)
    assert "above an unreliable bound, 1,000 tok/s: the calibration was too slow" in shown
    assert "200%" not in shown


def test_a_plan_says_what_memory_allows_below_decode(story: Tell) -> None:
    made, _, _ = story()
    lines = text.plan(made).splitlines()
    below = next(number for number, line in enumerate(lines) if line.startswith("  decode")) + 1
    assert lines[below] == f"    memory allows     {made.decode_bound}"


def test_ranked_plans_have_a_column_for_what_memory_allows(machine: Machine) -> None:
    found = choices("qwen2.5-0.5b", machine=machine, engine="llama.cpp")
    head, first = text.choices(found).split("\n\n")[2].splitlines()[:2]
    assert head.endswith("  memory allows")
    assert first.endswith(f"  {found.best.decode_bound}")
    unmeasured = choices("qwen2.5-0.5b", machine=replace(machine, calibration=None), engine="llama.cpp")
    assert "memory allows" not in text.choices(unmeasured)


def test_a_walk_through_says_what_memory_allows(machine: Machine) -> None:
    found = guidance(1, machine=machine)
    assert f"Bound    {found.plan.decode_bound}, what memory allows" in text.walkthrough(found)


def test_the_end_of_a_tour(story: Tell) -> None:
    made, measurement, comparison = story()
    shown = text.result(Tour(made, "Why?", "Because.", measurement, comparison, Path("r.html")))
    assert "OpenAI GPT-4o mini, 2026-11" in shown or "OpenAI GPT-4o mini, date unknown" in shown
    assert "assumed electricity" in shown
    assert shown.endswith(f"Report      r.html\nDashboards  {text.command('dashboards')}")


def test_a_pick_says_each_reason_once_and_how_to_start_the_first(machine: Machine, embedded_model: Model) -> None:
    found = pick(embedded_model, machine=machine, engines=["llama.cpp", "transformers", "onnx-runtime"])
    lines = text.pick(found).splitlines()
    assert lines[2].endswith("memory                           threads for prompt, answer")
    assert [line for line in lines if line.startswith("Refused")] == [
        "Refused transformers LLM.int8, NF4-DQ; onnx-runtime ONNX-int4: This would round the file once more, and "
        "losses add up. `--lossy` allows it; compare the answers first."
    ]
    assert lines[-1].startswith("Start the first: ") and lines[-1].endswith(found.command)


def test_a_pick_for_memory_has_one_column_of_it(machine: Machine, embedded_model: Model) -> None:
    shown = text.pick(pick(embedded_model, "memory", machine=machine, engines=["llama.cpp"]))
    assert shown.splitlines()[2].endswith("  threads for prompt, answer")
    assert shown.splitlines()[2].count("memory") == 1
