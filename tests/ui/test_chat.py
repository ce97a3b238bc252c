"""Chapter 3's panel: as widgets, and in a browser from the choice of engines to a stopped answer."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import fake_engine
from tests.engines.apps.conftest import Serve
from tests.engines.apps.replay import fixture
from tests.ui.looks import FIGURES, look
from tests.ui.test_chat_model import Deployment as Scripted
from tests.ui.test_chat_model import ask, dies, endless, panel, run
from tests.ui.test_start_here import strays
from workbench import planning
from workbench.engines import Availability
from workbench.machine import Machine
from workbench.measurement import Answer, Compared
from workbench.models import Model
from workbench.report import same_text
from workbench.ui import chat, chat_html, dashboards, front_end
from workbench.ui.chat_model import Chat, Steps
from workbench.ui.conversation import Reply, Turn
from workbench.ui.engine_choice import Choice

EVIL = "<img src=x onerror=alert(1)>"


def hidden(widget: Any) -> bool:
    return "wb-hidden" in widget._dom_classes


@pytest.fixture
def real(machine: Machine, little_model: Model) -> Callable[..., chat.View]:
    """A view whose engines are the fake one, in processes of their own."""

    def make(engines: tuple[str, ...] = ("fake",), **script: Any) -> chat.View:
        def plan(model: Any, *, engine: str, **options: Any) -> Any:
            return planning.plan(model, engine=fake_engine(**script), threads=1, **options)

        steps = Steps(machine=lambda progress: machine, get_model=lambda name, progress: little_model, plan=plan)
        return chat.View(Chat(steps, engines=list(engines), context=512, question="Why?"))

    return make


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., chat.View]:
    """A view on a scripted model, whose plans are no plans that could be drawn."""
    monkeypatch.setattr(chat.View, "_draw_numbers", lambda _: None)
    return lambda *arguments, **named: chat.View(panel(*arguments, **named))


# -- as widgets --------------------------------------------------------------------------------------------------


def test_in_a_notebook_the_panel_waits_for_a_click() -> None:
    assert not front_end.is_dashboard()
    assert chat.panel().children


def test_that_no_engine_is_named_is_called_what_it_is(drawn: Callable[..., chat.View]) -> None:
    """The first of the table that runs here: speed decides elsewhere, and that is said."""
    rows = drawn(engines=["auto"])._engines
    engine = rows._rows.children[0].children[0]
    assert engine.options[0] == ("the first engine that runs here", "auto")
    assert "workbench plan MODEL --for chat" in rows._note.value
    engine.value = "llama.cpp"
    assert rows._note.value == ""


def test_a_real_answer_from_the_choice_to_the_numbers(real: Callable[..., chat.View]) -> None:
    shown = real(token_s=0.001)
    assert hidden(shown._chat_card)
    assert hidden(shown._same_card)
    run(shown.state, "deploy")
    try:
        assert not hidden(shown._chat_card)
        assert shown._deploy.disabled
        assert "127.0.0.1" in shown._status.value
        shown._question.value = "What is a <b>fox</b>?"
        shown._send.click()
        assert shown.state.join(20)
        assert "&lt;b&gt;fox" in shown._past.value
        assert "The quick brown fox" in shown._past.value
        assert "tokens/s" in shown._past.value
        assert shown._question.value == ""
        assert "of 512 tokens of context are used" in shown._hint.value
        for area in shown._figures.values():
            names = [trace["name"] for trace in area.outputs[0]["data"]["application/vnd.plotly.v1+json"]["data"]]
            assert "measured" in names
        assert "MiB" in shown._numbers.value
        assert not hidden(shown._same_card)
        (same,) = shown._same.outputs
        bars = same["data"]["application/vnd.plotly.v1+json"]["data"]
        assert sum(len(trace["y"]) for trace in bars) == len(same_text.record().rows)
        assert same_text.record().date in shown._same_table.value
    finally:
        run(shown.state, "stop")
    assert hidden(shown._stop)
    assert not hidden(shown._chat_card)  # what was said stays


def test_a_real_answer_is_stopped_and_its_connection_closed(real: Callable[..., chat.View]) -> None:
    shown = real(token_s=0.01)
    shown.state.max_tokens = 100_000
    run(shown.state, "deploy")
    (deployment,) = shown.state.running.values()
    grew = threading.Event()
    shown.state.observe(lambda _: shown.state.turns and shown.state.turns[-1].said and grew.set(), "turns")
    try:
        shown._send.click()
        assert grew.wait(10)
        assert not hidden(shown._halt)
        assert 'aria-busy="true"' in shown._now.value
        shown._halt.click()
        assert shown.state.join(10)
        assert "stopped" in shown._past.value
        assert shown._now.value == ""
        connections = psutil.Process(deployment.state.server_pid).net_connections("tcp")
        assert not [one for one in connections if one.status == psutil.CONN_ESTABLISHED]
        assert "pieces" in shown._past.value  # nobody counted tokens
    finally:
        run(shown.state, "stop")


def test_a_real_server_that_dies_is_explained(real: Callable[..., chat.View]) -> None:
    shown = real(die_after_tokens=3)
    run(shown.state, "deploy")
    ask(shown.state, "Why?")
    assert "The quick brown" in shown._past.value
    assert "exit code 3" in shown._past.value
    assert "exit code 3" in shown.alert.value
    assert not shown._deploy.disabled
    assert shown.state.running == {}


@pytest.mark.parametrize("name", ["ollama", "lm-studio"])
def test_a_model_of_an_app_is_talked_with(
    name: str, serve: Serve, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the app's own name, for which the workbench has no file; recorded exchanges of the app, and real steps."""
    monkeypatch.setattr("workbench.planning.threads.busy_cores", lambda *_: 0.0)
    app, recorded = serve(name)[0], fixture(name)
    steps = Steps(machine=lambda progress: machine)
    shown = chat.View(Chat(steps, model=recorded["model"], engines=[name], context=recorded["context"]))
    assert (app.title, name) in shown._engines._rows.children[0].children[0].options
    run(shown.state, "deploy")
    assert shown.state.error is None
    try:
        ask(shown.state, "Why?")
        assert "Because" in shown._past.value
        assert "unknown" in shown._numbers.value
        assert shown.alert.value == ""
    finally:
        run(shown.state, "stop")
    assert shown.state.running == {}


def test_answers_stand_side_by_side_and_where_they_part_is_marked(drawn: Callable[..., chat.View]) -> None:
    two = {"a Q4": Scripted(lambda _: ["The ", "sky"]), "b Q4": Scripted(lambda _: ["The ", EVIL])}
    shown = drawn(two, engines=("a", "b"))
    ask(run(shown.state, "deploy"), "Colour?")
    assert shown._past.value.count("<article") == 2
    assert f'<mark title="Here the answers part.">{chat_html.pieces.text(EVIL)}</mark>' in shown._past.value


def why(shown: chat.View) -> list[str]:
    """The reasons below each turn."""
    return re.findall("Why .*?(?=</p>)", shown._past.value)


def test_why_answers_differ_is_said_for_each_turn_as_it_was_asked(drawn: Callable[..., chat.View]) -> None:
    """At temperature 0 without a word of drawing; in the second turn with what each engine had read; and what a field
    says by now changes nothing of what was."""
    two = {"a Q4_1": Scripted(lambda _: ["The ", "sky"]), "b BF16": Scripted(lambda _: ["The ", "sea"])}
    shown = drawn(two, engines=("a:Q4_1", "b:BF16"), temperature=0.0)
    ask(run(shown.state, "deploy"), "Colour?")
    (first,) = why(shown)
    assert first.startswith("Why a Q4_1 and b BF16 differ: The weights are not the same numbers: a Q4_1 has 5 bits")
    assert "8 bits and keeps keys and values as f16; b BF16 computes in BF16" in first
    assert "drawn" not in first
    assert "earlier answers" not in first
    shown._fields["temperature"].value = 0.7
    assert why(shown) == [first]
    ask(shown.state, "And at night?")
    before, second = why(shown)
    assert before == first
    assert "drawn, at temperature 0.7" in second
    assert "each was sent its own earlier answers" in second
    shown._fields["temperature"].value = 0.0
    ask(shown.state, "And?")
    assert why(shown)[:2] == [first, second]
    assert "drawn" not in why(shown)[2]
    assert "earlier answers" in why(shown)[2]


def test_the_same_answer_needs_no_reason(drawn: Callable[..., chat.View]) -> None:
    shown = drawn(engines=("a", "b"))
    ask(run(shown.state, "deploy"), "Colour?", "And?")
    assert why(shown) == []


def test_one_answer_has_no_mark(drawn: Callable[..., chat.View]) -> None:
    shown = drawn()
    ask(run(shown.state, "deploy"), "Colour?")
    assert "<mark" not in shown._past.value


def test_a_question_that_failed_is_written_again(drawn: Callable[..., chat.View]) -> None:
    shown = drawn({"a Q4": Scripted(dies())})
    run(shown.state, "deploy")
    shown._question.value = "Who?"
    shown._send.click()
    assert shown.state.join(10)
    assert shown._question.value == "Who?"
    assert "SIGKILL" in shown.alert.value


def test_what_is_typed_during_an_answer_stays(drawn: Callable[..., chat.View]) -> None:
    came, go_on = threading.Event(), threading.Event()
    shown = drawn({"a Q4": Scripted(endless(came, go_on, "Once"))})
    run(shown.state, "deploy")
    shown._question.value = "Tell me a story."
    shown._send.click()
    assert came.wait(10)
    shown._question.value = "And then?"
    assert shown._send.disabled
    go_on.set()
    assert shown.state.join(10)
    assert shown._question.value == "And then?"
    assert not shown._send.disabled


def test_engines_are_added_and_removed() -> None:
    shown = chat.View(Chat(engines=["llama.cpp"]))
    shown._engines._add.click()
    assert shown.state.engines[0] == "llama.cpp"
    assert len(shown.state.engines) == 2
    second = shown._engines._rows.children[1]
    second.children[0].value = "transformers"
    formats = shown._engines._rows.children[1].children[1]
    formats.value = "NF4"
    assert shown.state.engines == ["llama.cpp", "transformers:NF4"]
    shown._engines._rows.children[0].children[2].click()
    assert shown.state.engines == ["transformers:NF4"]
    assert len(shown._engines._rows.children[0].children) == 2  # the last one cannot be removed


def test_what_cannot_run_here_is_listed_with_reason_and_fix() -> None:
    shown = chat.View(
        Chat(Steps(look=lambda _: (Choice("a", "A", (), Availability(False, "no <b>GPU</b>", "buy one")),)))
    )
    run(shown.state, "look")
    for expected in ("1 of 1 engines", "no &lt;b&gt;GPU", "buy one"):
        assert expected in shown._refused.value
    assert ("A (cannot run here)", "a") in shown._engines._rows.children[0].children[0].options


def test_what_a_model_or_a_file_says_is_text_and_never_markup() -> None:
    turn = Turn(EVIL, {EVIL: Reply(Answer((EVIL,)), "failed", EVIL)})
    for html in (chat_html.turn(turn), chat_html.turn(turn, growing=True)):
        assert "<img" not in html
        assert html.count("&lt;img") == 4


def test_a_transcript_cannot_leave_its_link() -> None:
    state = panel(engines=("a",))
    state.turns = (Turn('"><script>', {"a": Reply(Answer(('"><script>',)))}),)
    assert "<script>" not in chat_html.hint(state)
    assert chat_html.hint(state).count('"') == 6


def test_numbers_of_engines_that_nobody_measured(machine: Machine, little_model: Model) -> None:
    plan = planning.plan(little_model, machine=machine, engine=fake_engine(), context=512, threads=1)
    html = chat_html.numbers([Compared(plan)])
    assert html.count("<tr>") == 4  # the head and three quantities
    assert "–" in html


# -- in a browser ------------------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.engine
def test_from_two_engines_to_a_stopped_answer(open_page: Callable[..., Any], home_with_model: Path) -> None:
    with dashboards.serve(
        two_engines(home_with_model), open_browser=False, block=False, announce=lambda _: None
    ) as server:
        page = open_page()
        page.set_default_timeout(60_000)
        page.goto(server.url)
        page.get_by_text("engines cannot run here").wait_for()
        page.get_by_role("button", name="Deploy").click()
        longest(page, 48)
        page.get_by_label("Your message").fill("What is <b>water</b>?")
        page.get_by_role("button", name="Send").click()
        page.locator(".wb-answer[aria-busy=true]").first.wait_for()  # seen while it grows
        page.get_by_role("link", name="Download it").wait_for()  # both have answered
        page.get_by_text("tokens of context are used").wait_for()
        assert page.locator(".wb-reply").count() == 2
        assert page.locator(".wb-reply mark").count() == 2
        assert page.locator(".wb-ending", has_text="cut").count() >= 1
        assert page.locator(".wb-asked").inner_text() == "What is <b>water</b>?"
        page.locator(FIGURES).nth(2).wait_for()
        longest(page, 1500)
        page.get_by_label("Your message").fill("Tell me a very long story about the sea.")
        page.get_by_role("button", name="Send").click()
        page.locator(".wb-turn", has_text="the sea").locator(".wb-answer-numbers").wait_for()
        page.get_by_role("button", name=re.compile("Stop$")).click()
        page.locator(".wb-ending", has_text="stopped").wait_for()
        look(page, "chat")
        page.get_by_role("button", name="Stop and free the memory").click()
        page.get_by_role("button", name="Deploy").wait_for()
        assert page.locator(".wb-reply").count() == 4  # what was said stays
        assert page.get_by_role("alert").count() == 0
        page.goto("about:blank")
        tree = psutil.Process(server.process.pid).children(recursive=True)
    _, there = psutil.wait_procs(tree, timeout=2)
    assert not [one for one in there if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert not strays(home_with_model)


def longest(page: Any, tokens: int) -> None:
    field = page.get_by_label("Longest answer, tokens")
    field.fill(str(tokens))
    field.press("Enter")


def two_engines(folder: Path) -> Path:
    """The page of chapter 3 with llama.cpp and the fake engine."""
    source = Path(__file__).parents[2] / "notebooks" / "03_language_model.ipynb"
    text = source.read_text("utf-8")
    assert '[\\"llama.cpp\\"]' in text
    path = folder / source.name
    path.write_text(text.replace('[\\"llama.cpp\\"]', '[\\"llama.cpp\\", \\"fake\\"]'), "utf-8")
    return path
