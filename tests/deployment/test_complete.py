"""Completing a text through a deployment: with a gap, without one, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import workbench
from tests.models.test_infill import QWEN, model
from workbench.errors import ServerDied, UsageError
from workbench.planning import Plan

MakePlan = Callable[..., Plan]


def test_a_text_is_continued_piece_by_piece(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        assert list(deployment.complete("def f(x):", max_tokens=3, temperature=0)) == ["The ", "quick ", "brown "]


def test_a_gap_needs_a_model_that_can_fill_it(fake_plan: MakePlan, tmp_path: Path) -> None:
    plan = fake_plan()
    plan = replace(plan, model=replace(plan.model, path=model(tmp_path / "plain.gguf")))
    with workbench.deploy(plan) as deployment:
        assert deployment.infill is None
        with pytest.raises(UsageError, match="cannot fill in the middle"):
            next(deployment.complete("a", "b"))


def test_a_gap_is_asked_for_in_the_model_s_own_tokens(fake_plan: MakePlan, tmp_path: Path) -> None:
    plan = fake_plan()
    file = model(tmp_path / "coder.gguf", QWEN.before, QWEN.after, QWEN.gap)
    sent: list[str] = []
    with workbench.deploy(replace(plan, model=replace(plan.model, path=file))) as deployment:
        assert deployment.infill == QWEN
        for suffix, answer in (("b", "The quick "), ("", "The ")):
            stream = deployment.completion("a", suffix, max_tokens=len(answer.split()))
            assert "".join(stream) == answer
            sent.append(stream.fields["prompt"])
    assert sent == [QWEN.prompt("a", "b"), QWEN.prompt("a", "")]


def test_leaving_in_the_middle_frees_the_server(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan(token_s=0.01)) as deployment:
        pieces = deployment.complete("def f(x):", max_tokens=500)
        assert next(pieces) == "The "
        pieces.close()
        assert len(list(deployment.complete("def g(x):", max_tokens=2))) == 2


def test_a_server_that_dies_in_the_middle(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan(die_after_tokens=2)) as deployment, pytest.raises(ServerDied, match="exit code 3"):
        list(deployment.complete("def f(x):", max_tokens=8))


@pytest.mark.engine
def test_the_embedded_model_goes_on_counting(embedded_model_path: Path) -> None:
    with workbench.deploy(workbench.plan(str(embedded_model_path), context=256)) as deployment:
        text = "".join(deployment.complete("1, 2, 3, 4, 5, 6, 7,", max_tokens=12, temperature=0))
    assert text.startswith(" 8, 9, 10")
