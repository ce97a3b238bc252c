"""The figure of evaluations draws their numbers, best first, and takes no markup from strangers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.measurement.code import Attempt, Evaluation, Outcome, ProblemResult, Protections
from workbench.report import code_figures, text


def evaluated(*passed: bool, model: str = "tiny", samples: int = 1) -> Evaluation:
    """An evaluation on paper, a problem for each."""
    failure = Outcome("failed", "it gave <b>1</b>\x1b[2J", "f(1) == 2")
    results = tuple(
        ProblemResult(
            f"problem-{number}", "easy",
            (Attempt("a", "p", Outcome("passed") if good else failure, 7, 0.5),) * samples,
        )
        for number, good in enumerate(passed)
    )  # fmt: skip
    guards = Protections(("time: 4 s",), ("flaws of the kernel",))
    return Evaluation("plan", model, "fake", "gguf", "chat", samples, 0.0, results, guards, {}, "2026-01-01", "id")


def test_each_model_is_a_point_with_its_interval_best_first() -> None:
    figure = code_figures.pass_at_1([evaluated(False, False), evaluated(True, False, model="big")])
    (points,) = figure.data
    assert list(points.x) == [50.0, 0.0]
    assert [label.startswith(name) for label, name in zip(figure.layout.yaxis.ticktext, ("big", "tiny"), strict=True)]
    _, low, high = evaluated(True, False).pass_at()
    assert points.error_x.array[0] == pytest.approx(100 * high - 50)
    assert points.error_x.arrayminus[0] == pytest.approx(50 - 100 * low)
    assert "<b>1 of 2</b>" in figure.layout.yaxis.ticktext[0]


def test_names_of_strangers_are_text() -> None:
    figure = code_figures.pass_at_1([evaluated(True, model="<script>alert(1)</script>")])
    assert "<script" not in figure.to_json()


def test_several_answers_are_a_share() -> None:
    assert code_figures.solved(evaluated(True, False, samples=2)) == "50.0% of 2"


def test_as_text_for_a_terminal() -> None:
    shown = text.evaluation(evaluated(True, False))
    _, low, high = evaluated(True, False).pass_at()
    assert f"50.0% of 2 problems (90 % interval {low:.1%} to {high:.1%})" in shown
    assert "\x1b" not in shown
    assert "f(1) == 2: it gave <b>1</b> [2J" in shown
    assert "14 tokens in 1 s" in shown
    assert "Open      flaws of the kernel" in shown
    unknown = replace(evaluated(True).results[0].attempts[0], tokens=None)
    assert replace(evaluated(True), results=(ProblemResult("p", "easy", (unknown,)),)).tokens is None
