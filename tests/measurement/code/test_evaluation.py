"""An evaluation from the question to the ledger, on the fake engine with answers that are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

import workbench
from workbench.errors import ServerDied, UsageError
from workbench.evidence.ledger import Ledger
from workbench.measurement.code import Evaluation, evaluate, first, problems
from workbench.planning import Plan

MakePlan = Callable[..., Plan]
EASY = next(problem for problem in problems() if problem.name == "clamp")
OTHER = next(problem for problem in problems() if problem.name == "count-spaces")
RIGHT = f"Here_it_is:\n```python\n{EASY.solution}```\n"


def answering(fake_plan: MakePlan, words: str) -> Plan:
    """A plan whose server says this, word by word, and then begins again where it is cut."""
    return fake_plan(words=words)


def judged(plan: Plan, *chosen: str, **options: object) -> Evaluation:
    wanted = [problem for problem in problems() if problem.name in (chosen or ("clamp", "count-spaces"))]
    with workbench.deploy(plan) as deployment:
        return evaluate(deployment, wanted, run_generated_code=True, **options)  # type: ignore[arg-type]


def test_a_right_answer_counts_and_a_wrong_one_does_not(fake_plan: MakePlan) -> None:
    found = judged(answering(fake_plan, RIGHT))
    (clamp, spaces) = found.results
    assert (clamp.problem, clamp.passed, spaces.passed) == ("clamp", 1, 0)
    assert spaces.attempts[0].outcome.kind == "failed"
    assert found.pass_at(1)[0] == 0.5
    assert found.tokens == 2 * 256  # half of the context is for the answer
    assert found.seconds > 0


def test_in_a_completion_the_text_goes_on_where_the_prompt_ends(fake_plan: MakePlan) -> None:
    plan = answering(fake_plan, "\n" + EASY.solution.partition("\n")[2] + "\n\ndef main():\n    pass\n")
    assert judged(plan, "clamp", mode="complete").results[0].passed == 1
    assert judged(plan, "clamp", mode="chat").results[0].passed == 0


def test_everything_is_kept(fake_plan: MakePlan) -> None:
    plan = answering(fake_plan, RIGHT)
    found = judged(plan)
    kept = json.loads(found.path.read_text())
    assert kept == json.loads(json.dumps(found.to_dict()))
    assert [*kept] == [
        "id", "prediction", "number", "model", "engine", "format", "mode", "samples", "temperature", "created",
        "pass_at_1", "tokens", "seconds", "protections", "problems", "environment",
    ]  # fmt: skip
    assert kept["problems"][0]["attempts"][0]["answer"].startswith("Here_it_is:")
    assert kept["prediction"] == plan.id
    with Ledger()._transaction("DEFERRED") as database:
        (row,) = database.execute("SELECT * FROM measured WHERE measurement = ?", (found.number,))
    assert (row["quantity"], row["value"], row["unit"]) == ("pass_at_1", 0.5, "ratio")
    assert Ledger().pairs() == []  # nothing was predicted for it


def test_several_answers_are_shares(fake_plan: MakePlan) -> None:
    found = judged(answering(fake_plan, RIGHT), samples=2, temperature=0.8)
    assert [len(result.attempts) for result in found.results] == [2, 2]
    assert [result.pass_at(2) for result in found.results] == [1.0, 0.0]


def test_nothing_runs_unless_it_is_said(fake_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.measurement.code.sandbox._start", lambda *_, **__: pytest.fail("code ran"))
    with workbench.deploy(fake_plan()) as deployment, pytest.raises(UsageError, match="runs code that the model"):
        evaluate(deployment, first(1))


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"samples": 0, "temperature": 1.0}, "0 answers"),
        ({"samples": 3}, "all 3 answers are the same"),
        ({"temperature": -1.0}, "temperature -1"),
        ({"mode": "guess"}, "no mode 'guess'"),
        ({"chosen": ()}, "no problem"),
    ],
)
def test_wrong_use_is_said_before_the_model_works(fake_plan: MakePlan, wrong: dict[str, object], match: str) -> None:
    with workbench.deploy(fake_plan(die_after_tokens=0)) as deployment, pytest.raises(UsageError, match=match):
        evaluate(deployment, **{"chosen": first(1), "run_generated_code": True, **wrong})  # type: ignore[arg-type]


def test_a_context_without_room_is_said(fake_plan: MakePlan) -> None:
    plan = fake_plan()
    small = replace(plan, settings=replace(plan.settings, context=100))
    with workbench.deploy(small) as deployment, pytest.raises(UsageError, match="context of 100 tokens"):
        evaluate(deployment, first(1), run_generated_code=True)


def test_it_can_be_cancelled_in_the_middle_of_an_answer(fake_plan: MakePlan) -> None:
    class Enough(BaseException):
        pass

    heard: list[str] = []

    def cancel(_: float | None, text: str) -> None:
        heard.append(text)
        if len(heard) == 20:
            raise Enough

    with workbench.deploy(fake_plan(token_s=0.01)) as deployment:
        with pytest.raises(Enough):
            evaluate(deployment, first(3), run_generated_code=True, progress=cancel)
        assert len(heard) == 20
        assert next(deployment.chat("still there?"))


def test_progress_rises_and_tells_how_many_are_solved(fake_plan: MakePlan) -> None:
    seen: list[tuple[float | None, str]] = []
    judged(answering(fake_plan, RIGHT), progress=lambda fraction, text: seen.append((fraction, text)))
    fractions = [fraction for fraction, _ in seen if fraction is not None]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert "count-spaces: its tests run (2 of 2, 1 solved so far)" in [text for _, text in seen]


def test_a_server_that_dies_meanwhile(fake_plan: MakePlan) -> None:
    with pytest.raises(ServerDied, match="exit code 3"):
        judged(fake_plan(die_after_tokens=5))
    assert workbench.deployments() == []
