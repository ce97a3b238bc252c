"""The model of the panel, without widgets, browser or engine: states, results, failures, cancelling."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from workbench.errors import DoesNotFit, ServerDied, UsageError
from workbench.ui.start_here_model import GRACE_S, StartHere, Steps


class Stream:
    """An answer that ends by itself, if it is read to its end."""

    usage, finish_reason = None, None

    def __init__(self, pieces: Callable[[], Iterator[str]]) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[str]:
        yield from self.pieces()
        self.finish_reason = "stop"

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Deployment:
    """Stands for a deployment: answers, remembers how it ended."""

    def __init__(self, pieces: Callable[[], Iterator[str]]) -> None:
        self.pieces, self.stopped, self.released = pieces, False, False

    def stream(self, question: str, **_: Any) -> Any:
        return Stream(self.pieces)

    def stop(self) -> None:
        self.stopped = True

    def release(self) -> None:
        self.released = True


def steps(**others: Any) -> Steps:
    usual: dict[str, Any] = {
        "machine": lambda progress: "machine",
        "get_model": lambda name, progress: f"file of {name}",
        "plan": lambda model, **options: ("plan", model, options),
        "deploy": lambda plan, **options: Deployment(lambda: iter(["It ", "is ", "so."])),
        "measure": lambda deployment, repeats, progress: SimpleNamespace(values={"decode": repeats}),
        "cost": lambda values: ("cost", values),
        "report": lambda plan, measurement, comparison, answer: f"report with {answer}",
    }
    return Steps(**usual | others)


def panel(**others: Any) -> StartHere:
    choices = {"model": "tiny", "question": "Why?", "context": 512, "repeats": 2}
    return StartHere(steps(**others), **choices)


def run(state: StartHere, *actions: str) -> StartHere:
    for action in actions:
        getattr(state, action)()
        assert state.join(10)
    return state


def test_the_whole_way() -> None:
    state = panel()
    seen: list[str] = []
    state.observe(lambda change: seen.append(change["new"]), "state")
    run(state, "make_plan", "deploy", "ask", "measure", "stop")
    assert seen == [
        "planning", "planned", "deploying", "ready", "asking", "ready", "measuring", "ready", "stopping", "stopped",
    ]  # fmt: skip
    assert state.plan == ("plan", "file of tiny", {"machine": "machine", "engine": "auto", "context": 512})
    assert (state.answer.pieces, state.answer.finish_reason) == (("It ", "is ", "so."), "stop")
    assert state.comparison == ("cost", {"decode": 2})
    assert state.report == "report with It is so."
    assert state.deployment is None
    assert state.error is None


@pytest.mark.parametrize(("choice", "other"), [("model", "big"), ("context", 1024), ("engine", "other")])
def test_other_choices_need_another_prediction(choice: str, other: Any) -> None:
    state = run(panel(), "make_plan", "deploy", "ask", "measure", "stop")
    setattr(state, choice, other)
    assert (state.state, state.plan, state.measurement, state.report) == ("idle", None, None, None)
    with pytest.raises(UsageError, match="no prediction"):
        state.deploy()
    run(state, "make_plan", "deploy")
    assert state.state == "ready"


def test_a_rejected_choice_leaves_nothing_to_deploy() -> None:
    def plan(model: str, *, context: int, **_: Any) -> str:
        if context > 1000:
            raise UsageError("too long")
        return "plan"

    state = run(panel(plan=plan), "make_plan")
    state.context = 2000
    run(state, "make_plan")
    assert (state.state, state.plan) == ("idle", None)
    assert isinstance(state.error, UsageError)


def test_a_choice_during_planning_does_not_count_as_planned() -> None:
    go_on = threading.Event()
    state = panel(machine=lambda progress: go_on.wait(10))
    state.make_plan()
    state.context = 1024
    go_on.set()
    assert state.join(10)
    assert state.plan[2]["context"] == 512
    with pytest.raises(UsageError, match="no prediction"):
        state.deploy()


def test_the_same_way_in_the_foreground() -> None:
    state = panel()
    state.foreground = True
    state.make_plan()
    state.deploy()
    state.ask()
    assert state.answer.finish_reason == "stop"


def test_a_deployment_waits_for_a_reloaded_page() -> None:
    asked: dict[str, Any] = {}
    run(panel(deploy=lambda plan, **options: asked.update(options)), "make_plan", "deploy")
    assert asked["grace_s"] == GRACE_S == 30


def test_a_step_that_fails_leaves_everything_as_it_was() -> None:
    def deploy(plan: Any, **_: Any) -> None:
        raise DoesNotFit("too big")

    state = run(panel(deploy=deploy), "make_plan", "deploy")
    assert state.state == "planned"
    assert isinstance(state.error, DoesNotFit)
    state.make_plan()
    assert state.error is None


def test_cancelling_a_start_takes_it_back() -> None:
    waiting = threading.Event()

    def deploy(plan: Any, progress: Callable[[float | None, str], None], **_: Any) -> None:
        while True:
            progress(None, "starting")
            waiting.set()

    state = run(panel(deploy=deploy), "make_plan")
    state.deploy()
    assert waiting.wait(10)
    state.cancel()
    assert state.join(10)
    assert (state.state, state.deployment, state.error) == ("planned", None, None)


def test_a_cancelled_answer_keeps_what_came() -> None:
    came, go_on = threading.Event(), threading.Event()

    def pieces() -> Iterator[str]:
        yield "Half"
        came.set()
        go_on.wait(10)
        yield " an answer"

    state = run(panel(deploy=lambda plan, **_: Deployment(pieces)), "make_plan", "deploy")
    state.ask()
    assert came.wait(10)
    state.cancel()
    go_on.set()
    assert state.join(10)
    assert state.state == "ready"
    assert state.answer.text.startswith("Half")
    assert state.answer.finish_reason is None


def test_a_server_that_died_is_let_go() -> None:
    def pieces() -> Iterator[str]:
        yield "I"
        raise ServerDied("gone")

    deployment = Deployment(pieces)
    state = run(panel(deploy=lambda plan, **_: deployment), "make_plan", "deploy", "ask")
    assert deployment.released
    assert (state.state, state.deployment) == ("planned", None)
    assert isinstance(state.error, ServerDied)


def test_one_step_at_a_time() -> None:
    go_on = threading.Event()
    state = panel(machine=lambda progress: go_on.wait(10))
    state.make_plan()
    state.measure()  # ignored: the buttons are disabled meanwhile
    assert state.state == "planning"
    go_on.set()
    assert state.join(10)
    assert state.state == "planned"


def test_what_cannot_be_asked_for_is_said() -> None:
    state = run(panel(), "make_plan", "deploy")
    state.question = "  "
    with pytest.raises(UsageError, match="empty"):
        state.ask()
    with pytest.raises(UsageError, match="running"):
        state.make_plan()


def test_a_listener_that_fails_does_not_leave_the_panel_busy() -> None:
    def broken(_: Any) -> None:
        raise ValueError("cannot draw")

    state = panel()
    state.observe(broken, "plan")
    run(state, "make_plan")
    assert not state.busy
