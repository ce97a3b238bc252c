"""The model of chapter 3's panel, without widgets or a browser: deploying several, talking, stopping, failing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engines.apps.conftest import Serve
from workbench.deployment.stream import Usage
from workbench.errors import DoesNotFit, EngineUnavailable, ServerDied, StopFailed, UnknownName, UsageError
from workbench.machine import Machine
from workbench.measurement import Answer, Compared, Terms
from workbench.ui import conversation, engine_choice
from workbench.ui.chat_model import Chat, Steps
from workbench.ui.stepwise import GRACE_S

CONTEXT = 512


class Stream:
    """Stands for a stream: says its pieces until it is closed."""

    def __init__(self, pieces: Iterator[str], prompt: int, finish_reason: str = "stop") -> None:
        self.finish_reason: str | None = None
        self.usage: Any = None
        self.closed, self.warning = False, "" if prompt else "Probably cut."
        self._pieces, self._end, self._prompt = pieces, finish_reason, prompt

    def __iter__(self) -> Iterator[str]:
        count = 0
        for piece in self._pieces:
            if self.closed:
                return
            count += 1
            yield piece
        if not self.closed:
            self.finish_reason = self._end
            self.usage = Usage(self._prompt, count)

    def close(self) -> None:
        self.closed = True


class Deployment:
    """Stands for a deployment: answers as told, and remembers what it was asked."""

    def __init__(self, say: Callable[[str], Any], prompt: int = 20, finish_reason: str = "stop") -> None:
        self.say, self.prompt, self.finish_reason = say, prompt, finish_reason
        self.asked: list[dict[str, Any]] = []
        self.released = self.stopped = False
        self.endpoint = SimpleNamespace(base_url="http://127.0.0.1:1/v1")

    def stream(self, messages: Sequence[dict[str, str]], **options: Any) -> Stream:
        self.asked.append({"messages": list(messages), **options})
        return Stream(iter(self.say(messages[-1]["content"])), self.prompt, self.finish_reason)

    def memory(self) -> Any:
        return SimpleNamespace(bytes=1000)

    def release(self) -> None:
        self.released = True

    def stop(self) -> None:
        self.stopped = True


def plan(engine: str, **options: Any) -> Any:
    return SimpleNamespace(
        engine=SimpleNamespace(title=engine),
        model=SimpleNamespace(quantization=options.get("format", "Q4"), format="gguf"),
        settings=SimpleNamespace(context=options["context"], cache_type="f16"), options=options,
    )  # fmt: skip


def steps(deployments: dict[str, Any] | None = None, **others: Any) -> Steps:
    """Steps whose deployments are these, by name; any other says 'It is so.'"""
    known = deployments or {}

    def deploy(made: Any, **_: Any) -> Any:
        name = f"{made.engine.title} {made.model.quantization}"
        return known.setdefault(name, Deployment(lambda _: ["It ", "is ", "so."]))

    usual: dict[str, Any] = {
        "look": lambda choices: choices, "machine": lambda progress: "machine",
        "get_model": lambda name, progress: f"file of {name}",
        "plan": lambda model, engine, **options: plan(engine, **options), "check_room": lambda plans: None,
        "deploy": deploy,
    }  # fmt: skip
    return Steps(**usual | others)


def panel(deployments: dict[str, Any] | None = None, engines: Sequence[str] = ("a",), **others: Any) -> Chat:
    choices = {name: others.pop(name) for name in list(others) if name in Chat.class_trait_names()}
    return Chat(steps(deployments, **others), engines=list(engines), context=CONTEXT, **choices)


def run(state: Chat, *actions: str) -> Chat:
    for action in actions:
        getattr(state, action)()
        assert state.join(10)
    return state


def ask(state: Chat, *questions: str) -> Chat:
    for question in questions:
        state.question = question
        run(state, "send")
    return state


# -- deploying ---------------------------------------------------------------------------------------------------


def test_every_chosen_engine_is_planned_and_then_started() -> None:
    asked: dict[str, Any] = {}
    seen: list[str] = []

    def deploy(made: Any, **options: Any) -> Any:
        asked.update(options)
        seen.append(made.engine.title)
        return Deployment(lambda _: ["Yes."])

    state = panel(
        engines=("a", "b:BF16"), deploy=deploy, check_room=lambda plans: seen.append(f"room for {len(plans)}")
    )
    run(state, "deploy")
    assert seen == ["room for 2", "a", "b"]
    assert (list(state.plans), list(state.running)) == (["a Q4", "b BF16"], ["a Q4", "b BF16"])
    assert state.plans["b BF16"].options == {
        "machine": "machine", "context": CONTEXT, "concurrency": 1, "format": "BF16",
    }  # fmt: skip
    assert "format" not in state.plans["a Q4"].options
    assert asked["grace_s"] == GRACE_S
    assert state.state == "ready"


def test_predictions_are_there_before_anything_starts() -> None:
    seen: list[Any] = []
    state = panel(deploy=lambda made, **_: seen.append(dict(state.plans)))
    run(state, "deploy")
    assert list(seen[0]) == ["a Q4"]


@pytest.mark.parametrize("step", ["plan", "check_room"])
def test_what_cannot_be_starts_nothing(step: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise DoesNotFit("5 GiB are too much")

    started: list[Any] = []
    state = run(panel(engines=("a", "b"), deploy=lambda made, **_: started.append(made), **{step: refuse}), "deploy")
    assert (state.state, state.running, started) == ("idle", {}, [])
    assert isinstance(state.error, DoesNotFit)


def test_all_of_them_or_none() -> None:
    first = Deployment(lambda _: [])

    def deploy(made: Any, **_: Any) -> Any:
        if made.engine.title == "b":
            raise EngineUnavailable("not here", fix="pip install b")
        return first

    state = run(panel(engines=("a", "b"), deploy=deploy), "deploy")
    assert first.released
    assert (state.state, state.running) == ("idle", {})
    assert isinstance(state.error, EngineUnavailable)


def test_also_when_one_does_not_go_away() -> None:
    """The others are let go all the same, and the error is the one that ended it."""

    class Stubborn(Deployment):
        def release(self) -> None:
            raise StopFailed("still there")

    second = Deployment(lambda _: [])
    made = {"a": Stubborn(lambda _: []), "b": second}

    def deploy(plan: Any, **_: Any) -> Any:
        if plan.engine.title == "c":
            raise EngineUnavailable("not here", fix="pip install c")
        return made[plan.engine.title]

    state = run(panel(engines=("a", "b", "c"), deploy=deploy), "deploy")
    assert second.released
    assert isinstance(state.error, EngineUnavailable)


def test_the_same_engine_twice_is_a_mistake() -> None:
    state = run(panel(engines=("a", "a")), "deploy")
    assert "a Q4 was chosen twice" in str(state.error)


def test_other_choices_forget_the_predictions() -> None:
    state = run(panel(), "deploy", "stop")
    assert state.plans
    state.context = 1024
    assert state.plans == {}


def test_while_it_runs_nothing_else_is_deployed() -> None:
    state = run(panel(), "deploy")
    with pytest.raises(UsageError, match="running"):
        state.deploy()
    deployment = state.running["a Q4"]
    run(state, "stop")
    assert deployment.stopped
    assert (state.state, state.running) == ("idle", {})


@pytest.mark.parametrize(("wrong", "match"), [({"model": " "}, "No model"), ({"engines": [":BF16"]}, "No engine")])
def test_what_is_not_named(wrong: dict[str, Any], match: str) -> None:
    state = panel()
    for name, value in wrong.items():
        setattr(state, name, value)
    assert match in str(run(state, "deploy").error)


def test_an_app_gets_the_name_of_its_own_model_and_the_others_a_file() -> None:
    asked: list[tuple[str, Any]] = []

    def planned(model: Any, engine: str, **options: Any) -> Any:
        asked.append((engine, model))
        return plan(engine, **options)

    run(panel(engines=("ollama", "b"), model="llama3.2", plan=planned), "deploy")
    assert asked == [("ollama", "llama3.2"), ("b", "file of llama3.2")]


def test_for_apps_alone_no_file_is_fetched() -> None:
    def unknown(name: str, **_: Any) -> None:
        raise UnknownName("model", name, [])

    state = run(panel(engines=("ollama", "lm-studio"), model="llama3.2", get_model=unknown), "deploy")
    assert (state.state, state.error) == ("ready", None)


# -- talking -----------------------------------------------------------------------------------------------------


def test_a_conversation_is_sent_as_a_whole() -> None:
    one = Deployment(lambda question: [f"On {question}: ", "yes."])
    state = run(panel({"a Q4": one}, system="Be brief.", temperature=0.0, seed=7), "deploy")
    ask(state, "rain?", "snow?")
    assert one.asked[1] == {
        "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "rain?"},
            {"role": "assistant", "content": "On rain?: yes."}, {"role": "user", "content": "snow?"},
        ],
        "temperature": 0.0, "top_p": 0.95, "max_tokens": 256, "seed": 7,
    }  # fmt: skip
    assert [turn.question for turn in state.turns] == ["rain?", "snow?"]
    reply = state.turns[1].replies["a Q4"]
    assert (reply.answer.text, reply.ending, reply.memory_bytes) == ("On snow?: yes.", "complete", 1000)
    assert state.question == ""


def test_without_a_seed_or_a_system_prompt_none_is_sent() -> None:
    one = Deployment(lambda _: ["Yes."])
    ask(run(panel({"a Q4": one}, system="  "), "deploy"), "rain?")
    assert "seed" not in one.asked[0]
    assert one.asked[0]["messages"] == [{"role": "user", "content": "rain?"}]


def test_the_answer_grows() -> None:
    state = run(panel(), "deploy")
    seen: list[tuple[str, str]] = []

    def note(change: Any) -> None:
        if change["new"]:
            reply = change["new"][-1].replies["a Q4"]
            seen.append((reply.ending, reply.answer.text))

    state.observe(note, "turns")
    ask(state, "Why?")
    assert seen[0] == ("growing", "")
    assert seen[-1] == ("complete", "It is so.")


def test_engines_answer_in_turn_and_go_on_with_their_own_words() -> None:
    order: list[str] = []

    def saying(word: str) -> Callable[[str], Iterator[str]]:
        def say(question: str) -> Iterator[str]:
            order.append(f"{word} begins")
            yield word
            order.append(f"{word} ends")

        return say

    two = {"a Q4": Deployment(saying("one")), "b Q4": Deployment(saying("two"))}
    ask(run(panel(two, engines=("a", "b")), "deploy"), "1?", "2?")
    assert order[:4] == ["one begins", "one ends", "two begins", "two ends"]
    assert [one.asked[1]["messages"][1]["content"] for one in two.values()] == ["one", "two"]


def test_another_engine_goes_on_with_what_was_said() -> None:
    state = ask(run(panel(), "deploy"), "Why?")
    run(state, "stop")
    state.engines = ["b"]
    ask(run(state, "deploy"), "And then?")
    assert state.running["b Q4"].asked[0]["messages"][1] == {"role": "assistant", "content": "It is so."}


def test_a_new_chat_forgets() -> None:
    state = ask(run(panel(), "deploy"), "Why?")
    state.new_chat()
    ask(state, "Who?")
    assert len(state.running["a Q4"].asked[1]["messages"]) == 1


@pytest.mark.parametrize(
    ("prompt", "ending", "words"), [(20, "cut", "Cut after 256"), (510, "full", "510 of the conv")]
)
def test_an_answer_that_ran_out_of_room(prompt: int, ending: str, words: str) -> None:
    one = Deployment(lambda _: ["a ", "b ", "c"], prompt=prompt, finish_reason="length")
    reply = ask(run(panel({"a Q4": one}), "deploy"), "Why?").turns[0].replies["a Q4"]
    assert reply.ending == ending
    assert words in reply.note


def test_a_prompt_that_was_probably_cut() -> None:
    one = Deployment(lambda _: ["a"], prompt=0)
    assert "Probably cut." in ask(run(panel({"a Q4": one}), "deploy"), "Why?").turns[0].replies["a Q4"].note


def test_what_cannot_be_sent_is_said() -> None:
    state = panel()
    state.question = "Why?"
    with pytest.raises(UsageError, match="No model is running"):
        state.send()
    run(state, "deploy")
    state.question = "  "
    with pytest.raises(UsageError, match="empty"):
        state.send()


# -- stopping ----------------------------------------------------------------------------------------------------


def halted(state: Chat, came: threading.Event, go_on: threading.Event) -> Chat:
    """Ask, stop when a piece came (or nothing yet), and wait for the end."""
    state.question = "Tell me a story."
    state.send()
    assert came.wait(10)
    state.halt()
    go_on.set()
    assert state.join(10)
    return state


def endless(came: threading.Event, go_on: threading.Event, *before: str) -> Callable[[str], Iterator[str]]:
    def say(_: str) -> Iterator[str]:
        yield from before
        came.set()
        go_on.wait(10)
        yield " and so on"

    return say


def test_a_stopped_answer_stays_and_is_gone_on_from() -> None:
    came, go_on = threading.Event(), threading.Event()
    one = Deployment(endless(came, go_on, "Once"))
    two = {"a Q4": one, "b Q4": Deployment(lambda _: ["Never"])}
    state = halted(run(panel(two, engines=("a", "b")), "deploy"), came, go_on)
    replies = state.turns[0].replies
    assert (replies["a Q4"].answer.text, replies["a Q4"].ending) == ("Once", "stopped")
    assert replies["a Q4"].answer.tokens is None  # nobody counted
    assert (replies["b Q4"].ending, two["b Q4"].asked) == ("skipped", [])
    assert (state.state, state.error) == ("ready", None)
    one.say = lambda _: ["Then"]
    ask(state, "Go on.")
    assert one.asked[1]["messages"][1]["content"] == "Once"


def test_stopped_before_the_first_word_gives_the_question_back() -> None:
    came, go_on = threading.Event(), threading.Event()
    state = halted(run(panel({"a Q4": Deployment(endless(came, go_on))}), "deploy"), came, go_on)
    assert (state.turns, state.question, state.state) == ((), "Tell me a story.", "ready")


def test_in_the_foreground_an_interrupt_stops_the_answer() -> None:
    def say(_: str) -> Iterator[str]:
        yield "Once"
        raise KeyboardInterrupt

    state = panel({"a Q4": Deployment(say)})
    state.foreground = True
    ask(run(state, "deploy"), "Tell me a story.")
    assert (state.turns[0].replies["a Q4"].ending, state.state) == ("stopped", "ready")


def test_stopping_when_nothing_is_said_does_nothing() -> None:
    state = run(panel(), "deploy")
    state.halt()
    assert state.state == "ready"


# -- failing -----------------------------------------------------------------------------------------------------


def dies(*before: str) -> Callable[[str], Iterator[str]]:
    def say(_: str) -> Iterator[str]:
        yield from before
        raise ServerDied("The server is gone (ended by SIGKILL).")

    return say


def test_a_server_that_dies_keeps_its_words_and_is_let_go() -> None:
    two = {"a Q4": Deployment(dies("I ", "was")), "b Q4": Deployment(lambda _: ["I am"])}
    state = ask(run(panel(two, engines=("a", "b")), "deploy"), "Who are you?")
    replies = state.turns[0].replies
    assert (replies["a Q4"].answer.text, replies["a Q4"].ending) == ("I was", "failed")
    assert "SIGKILL" in replies["a Q4"].note
    assert replies["b Q4"].answer.text == "I am"
    assert two["a Q4"].released
    assert (list(state.running), state.state) == (["b Q4"], "ready")
    assert isinstance(state.error, ServerDied)


def test_when_the_only_server_dies_one_deploys_again() -> None:
    known = {"a Q4": Deployment(dies("I"))}
    state = ask(run(panel(known), "deploy"), "Who?")
    assert (state.state, state.running) == ("idle", {})
    known["a Q4"] = Deployment(lambda _: ["Here."])
    ask(run(state, "deploy"), "Still?")
    assert [turn.replies["a Q4"].answer.text for turn in state.turns] == ["I", "Here."]


def test_a_question_that_nobody_could_answer_comes_back() -> None:
    def refuse(question: str) -> list[str]:
        if "long" in question:
            raise UsageError("The prompt has 900 tokens; the deployment was made for 512.")
        return ["Fine."]

    def say(question: str) -> Iterator[str]:
        yield from refuse(question)

    state = ask(run(panel({"a Q4": Deployment(say)}), "deploy"), "short", "too long")
    assert "900 tokens" in str(state.error)
    assert ([turn.question for turn in state.turns], state.question) == (["short"], "too long")
    assert (state.state, list(state.running)) == ("ready", ["a Q4"])
    ask(state, "short again")
    assert state.error is None
    assert len(state.turns) == 2


# -- what came of it ---------------------------------------------------------------------------------------------


def test_the_last_counted_answer_of_each_engine_is_compared() -> None:
    state = ask(run(panel(engines=("a", "b")), "deploy"), "1?", "2?")
    found = state.compared()
    assert [(one.label, one.answer.tokens if one.answer else None) for one in found] == [("a Q4", 3), ("b Q4", 3)]
    state.new_chat()
    assert state.compared() == [Compared(made) for made in state.plans.values()]


def test_where_answers_part() -> None:
    two = {
        "a Q4": Deployment(lambda _: ["The ", "sky ", "is ", "blue."]),
        "b Q4": Deployment(lambda _: ["The sky", " was", " grey."]),
        "c Q4": Deployment(lambda _: ["The ", "sky ", "is ", "blue."]),
    }
    (turn,) = ask(run(panel(two, engines=("a", "b", "c")), "deploy"), "Colour?").turns
    assert turn.departures() == {"a Q4": 2, "b Q4": 1, "c Q4": None}


def test_an_answer_that_was_ended_early_is_no_other_answer() -> None:
    def said(text: str, ending: conversation.Ending) -> conversation.Reply:
        return conversation.Reply(Answer((text,)), ending)

    terms = {name: Terms(name, "Q4_1", 5.0) for name in ("a", "b")}
    for text, ending, differs in (
        ("It is", "complete", True), ("It is", "stopped", False), ("It is", "growing", False),
        ("It was", "growing", True), ("It is so.", "complete", False),
    ):  # fmt: skip
        for order in (("a", "b"), ("b", "a")):
            replies = {"a": said("It is so.", "complete"), "b": said(text, ending)}  # type: ignore[arg-type]
            turn = conversation.Turn("Why?", {name: replies[name] for name in order}, terms)
            assert list(turn.reasons()) == ([order] if differs else [])


def test_engines_that_said_the_same_go_on_from_the_same() -> None:
    said = {"a": "Yes.", "b": "Yes.", "c": "No."}
    turns = [conversation.Turn("Is it?", {name: conversation.Reply(Answer((text,))) for name, text in said.items()})]
    assert conversation.histories(turns, ["a", "b", "c"]) == {"a": 0, "b": 0, "c": 2}
    assert set(conversation.histories([], ["a", "b", "c"]).values()) == {0}


def test_a_transcript_has_everything() -> None:
    came, go_on = threading.Event(), threading.Event()
    state = halted(run(panel({"a Q4": Deployment(endless(came, go_on, "Once"))}), "deploy"), came, go_on)
    state.system = "Be brief."
    text = state.transcript()
    for expected in ("System: Be brief.", "Tell me a story.", "## a Q4 (stopped)", "Once"):
        assert expected in text


# -- which engines -----------------------------------------------------------------------------------------------


def test_every_engine_that_chats_is_listed_with_what_it_needs() -> None:
    found = {one.name: one for one in engine_choice.looked_at(engine_choice.listed())}
    assert {"llama.cpp", "transformers", "vllm", "ollama", "lm-studio"} <= set(found)
    assert not {"diffusers", "faster-whisper", "fake"} & set(found)
    assert not found["llama.cpp"].refused
    for one in found.values():
        assert one.available
        assert one.available.ok or (one.available.reason and one.available.fix), one.name
    assert found["llama.cpp"].formats == ()  # the file has its own
    assert found["transformers"].formats[0] == "FP32"


def test_the_fake_engine_is_listed_when_it_was_asked_for() -> None:
    assert "fake" in {one.name for one in engine_choice.listed(also=["fake"])}


def test_a_choice_becomes_options() -> None:
    assert engine_choice.options("auto") == {"engine": "auto"}
    assert engine_choice.options("transformers:NF4") == {"engine": "transformers", "format": "NF4"}
    with pytest.raises(UsageError, match="no engine"):
        engine_choice.options("auto:NF4")


def test_one_engine_gets_company_if_there_is_any(
    machine: Machine, embedded_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"machine": machine, "context": 512, "threads": 1}
    model = str(embedded_model_path)
    alone, other = engine_choice.plans(model, ["fake"], **settings)
    assert (alone.engine.name, other.engine.name) == ("fake", "llama.cpp")
    assert len(engine_choice.plans(model, ["fake", "llama.cpp"], **settings)) == 2
    monkeypatch.setattr(engine_choice, "listed", lambda: (engine_choice.Choice("tensorrt-llm", "needs a GPU"),))
    assert len(engine_choice.plans(model, ["fake"], **settings)) == 1  # nothing else can run here


def test_an_app_is_planned_by_the_name_it_has_for_its_model(
    serve: Serve, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that the workbench has no file of; no other engine could run it, and an app is no company."""
    monkeypatch.setattr("workbench.planning.threads.busy_cores", lambda *_: 0.0)
    serve("lm-studio")
    (alone,) = engine_choice.plans("deepseek-r1", ["lm-studio"], machine=machine, context=512)
    assert (alone.engine.name, alone.model.name) == ("lm-studio", "deepseek-r1")


def test_a_choice_that_cannot_run_is_refused(machine: Machine, embedded_model_path: Path) -> None:
    with pytest.raises(UsageError, match=r"llama\.ccp"):
        engine_choice.plans(str(embedded_model_path), ["llama.ccp"], machine=machine)


def test_messages_leave_out_what_nobody_answered() -> None:
    silent = conversation.Turn("Anyone?", {"a": conversation.Reply()})
    assert conversation.messages([silent], "a", "Hello?") == [{"role": "user", "content": "Hello?"}]
