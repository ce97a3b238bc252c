"""The model of chapter 4's panel, without widgets, browser or engine: what is asked and what comes back."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import pytest

from tests.report.test_code_figures import evaluated
from workbench.errors import ServerDied, StopFailed, UsageError
from workbench.models.infill import FAMILIES
from workbench.ui.code_model import GRACE_S, CodeModel, Steps, Target, at_hand

TINY, BIG = Target("tiny", "fake"), Target("big", "fake")


class Stream(AbstractContextManager["Stream"]):
    """Stands for an answer: ends where it is closed."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self.pieces, self.closed = pieces, False

    def __iter__(self) -> Iterator[str]:
        return itertools.takewhile(lambda _: not self.closed, self.pieces)

    def close(self) -> None:
        self.closed = True

    def __exit__(self, *_: object) -> None:
        self.close()


class Deployment(AbstractContextManager["Deployment"]):
    """Stands for a deployment: writes, remembers what it was asked and how it ended."""

    def __init__(self, name: str, pieces: Callable[[], Iterator[str]], infill: Any = None) -> None:
        self.name, self.pieces, self.infill = name, pieces, infill
        self.asked: list[tuple[str, str | None]] = []
        self.ended = ""

    def completion(self, prefix: str, suffix: str | None, **_: Any) -> Stream:
        self.asked.append((prefix, suffix))
        return Stream(self.pieces())

    def stop(self) -> None:
        self.ended = "stopped"

    def release(self) -> None:
        self.ended = "released"

    def __exit__(self, *_: object) -> None:
        self.release()


class World:
    """The steps, and every deployment they made with its terms."""

    def __init__(self, pieces: Callable[[], Iterator[str]] = lambda: iter(["a", "b"]), infill: Any = None) -> None:
        self.made: list[tuple[Deployment, dict[str, Any]]] = []
        self.pieces, self.infill = pieces, infill
        self.evaluated: list[tuple[str, Any]] = []

    def steps(self, **others: Any) -> Steps:
        def deploy(plan: str, *, progress: Any, **options: Any) -> Deployment:
            self.made.append((Deployment(plan, self.pieces, self.infill), options))
            return self.made[-1][0]

        def evaluate(deployment: Deployment, chosen: Any, *, progress: Any, **options: Any) -> Any:
            progress(0.5, "half")
            self.evaluated.append((deployment.name, options))
            return evaluated(*[True] * len(chosen), model=deployment.name)

        usual: dict[str, Any] = {
            "at_hand": lambda: [TINY, BIG], "machine": lambda progress: "machine",
            "get_model": lambda name, progress: name, "plan": lambda model, **options: model, "deploy": deploy,
            "attach": lambda name: self.made.append((Deployment(name, self.pieces), {})) or self.made[-1][0],
            "evaluate": evaluate, "protections": lambda: SimpleNamespace(covered=("time: 4 s",), not_covered=()),
        }  # fmt: skip
        return Steps(**usual | others)


def panel(world: World, *chosen: Target, **choices: Any) -> CodeModel:
    return CodeModel(world.steps(), chosen=list(chosen or (TINY,)), **choices)


def run(state: CodeModel, *actions: str) -> CodeModel:
    for action in actions:
        getattr(state, action)()
        assert state.join(10)
    return state


def test_a_text_goes_on_and_the_model_stays_for_more() -> None:
    world = World()
    state = run(panel(world, prefix="def f"), "complete", "complete")
    assert state.completion == "ab"
    ((deployment, options),) = world.made
    assert deployment.asked == [("def f", None)] * 2
    assert options == {"grace_s": GRACE_S}
    assert (state.state, state.error, state.can_fill) == ("idle", None, False)


def test_a_gap_is_filled_by_a_model_that_can() -> None:
    world = World(infill=FAMILIES[0])
    state = run(panel(world, prefix="a", suffix="b"), "complete")
    assert state.can_fill
    assert world.made[0][0].asked == [("a", "b")]
    other = World()
    run(panel(other, prefix="a", suffix="b"), "complete")
    assert other.made[0][0].asked == [("a", None)]


def test_another_model_takes_the_place_of_the_first() -> None:
    world = World()
    state = run(panel(world), "complete")
    state.chosen = [BIG, TINY]
    run(state, "complete", "stop")
    (first, _), (second, _) = world.made
    assert (first.name, first.ended, second.name, second.ended) == ("tiny", "released", "big", "stopped")
    assert state.deployment is None


def test_models_are_evaluated_one_after_the_other() -> None:
    world = World()
    state = panel(world, TINY, BIG, Target("mine", "fake", "mine-1"), allowed=True, problems=2, mode="complete")
    run(state, "evaluate")
    assert [name for name, _ in world.evaluated] == ["tiny", "big", "mine-1"]
    assert all(options == {"mode": "complete", "run_generated_code": True} for _, options in world.evaluated)
    assert [deployment.ended for deployment, _ in world.made] == ["released"] * 3
    assert [one.model for one in state.evaluations] == ["tiny", "big", "mine-1"]
    assert len(state.evaluations[0].results) == 2


def test_a_later_evaluation_takes_the_place_of_the_same_model_s() -> None:
    state = run(panel(World(), allowed=True, problems=1), "evaluate")
    state.problems = 3
    run(state, "evaluate")
    (only,) = state.evaluations
    assert len(only.results) == 3


def test_nothing_starts_until_running_code_is_allowed() -> None:
    world = World()
    with pytest.raises(UsageError, match="runs code that the model writes"):
        panel(world).evaluate()
    assert world.made == []


@pytest.mark.parametrize(
    ("action", "choices", "match"),
    [
        ("complete", {"chosen": []}, "No model is chosen"),
        ("evaluate", {"chosen": [], "allowed": True}, "No model is chosen"),
        ("complete", {"prefix": " \n"}, "no code to go on from"),
        ("evaluate", {"problems": 0, "allowed": True}, "0 problems"),
    ],
)
def test_what_cannot_be_used_is_said(action: str, choices: dict[str, Any], match: str) -> None:
    state = CodeModel(World().steps(), **{"chosen": [TINY], **choices})
    with pytest.raises(UsageError, match=match):
        getattr(state, action)()


def test_a_cancelled_completion_keeps_what_came() -> None:
    came, go_on = threading.Event(), threading.Event()

    def pieces() -> Iterator[str]:
        yield "half"
        came.set()
        go_on.wait(10)
        yield " more"

    state = panel(World(pieces))
    state.complete()
    assert came.wait(10)
    state.cancel()
    go_on.set()
    assert state.join(10)
    assert (state.state, state.error) == ("idle", None)
    assert state.completion.startswith("half")


def test_a_cancelled_evaluation_lets_its_model_go_and_keeps_the_others() -> None:
    world, at_big, go_on = World(), threading.Event(), threading.Event()

    def evaluate(deployment: Deployment, chosen: Any, *, progress: Any, **_: Any) -> Any:
        if deployment.name == "big":
            at_big.set()
            go_on.wait(10)
            progress(0.5, "half")
        return evaluated(True, model=deployment.name)

    state = CodeModel(world.steps(evaluate=evaluate), chosen=[TINY, BIG], allowed=True)
    state.evaluate()
    assert at_big.wait(10)
    state.cancel()
    go_on.set()
    assert state.join(10)
    assert [one.model for one in state.evaluations] == ["tiny"]
    assert [deployment.ended for deployment, _ in world.made] == ["released", "released"]


def test_a_server_that_died_is_let_go() -> None:
    def pieces() -> Iterator[str]:
        yield "a"
        raise ServerDied("gone")

    world = World(pieces)
    state = run(panel(world), "complete")
    assert isinstance(state.error, ServerDied)
    assert state.deployment is None
    assert world.made[0][0].ended == "released"


def test_also_one_that_does_not_go_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says why it died, and its buttons come back."""

    def pieces() -> Iterator[str]:
        yield "a"
        raise ServerDied("gone")

    def release(_: Deployment) -> None:
        raise StopFailed("still there")

    monkeypatch.setattr(Deployment, "release", release)
    state = run(panel(World(pieces)), "complete")
    assert (state.state, state.deployment) == ("idle", None)
    assert isinstance(state.error, ServerDied)


def test_looking_finds_models_and_what_the_sandbox_covers() -> None:
    state = run(panel(World(), Target("big"), Target("other")), "look")
    assert state.protections.covered == ("time: 4 s",)
    assert state.known == [TINY, BIG]
    assert state.chosen == [BIG, Target("other")]  # the engine of the first was open


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("tiny", Target("tiny")),
        (" tiny on transformers:NF4 ", Target("tiny", "transformers:NF4")),
        ("/my models on disk/m.gguf on llama.cpp", Target("/my models on disk/m.gguf", "llama.cpp")),
    ],
)
def test_a_model_can_be_named_with_its_engine(text: str, target: Target) -> None:
    assert Target.parse(text) == target
    assert str(target) == text.strip()


def test_the_format_is_asked_for_and_an_app_gets_the_name() -> None:
    asked: list[tuple[Any, Any]] = []
    world = World()
    steps = world.steps(
        get_model=lambda name, progress: f"file of {name}",
        plan=lambda model, machine, **options: asked.append((model, options)) or "plan",
    )
    run(CodeModel(steps, chosen=[Target("tiny", "transformers:NF4")]), "complete")
    run(CodeModel(steps, chosen=[Target("llama3.2", "ollama")]), "complete")
    assert asked == [
        ("file of tiny", {"engine": "transformers", "format": "NF4"}),
        ("llama3.2", {"engine": "ollama"}),
    ]


def test_the_models_at_hand_can_be_told_apart() -> None:
    found = at_hand()
    assert found[0].model == "smollm2-135m-instruct"
    assert len({str(one) for one in found}) == len(found)
    assert not any(one.engine == "fake" for one in found)
