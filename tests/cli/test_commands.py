"""The commands that run something, on the fake engine."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.conftest import Command
from tests.deployment.conftest import wait_until
from workbench import deployment
from workbench.cli.output import Status
from workbench.errors import ServerDied
from workbench.evidence.ledger import Ledger
from workbench.machine import Machine

pytestmark = pytest.mark.usefixtures("calm")
FAKE = ("--engine", "fake")


# -- run -------------------------------------------------------------------------------------------------------


def test_run_answers_once(command: Command, tiny: Path) -> None:
    done = command("run", tiny, "hello", *FAKE, "--max-tokens", 4)
    assert (done.status, done.out) == (0, "The quick brown fox \n")
    assert command("run", tiny, "hello", *FAKE, "--max-tokens", 2, "--json").json == {"answer": "The quick "}
    assert command("ps", "--json").json == []


def test_run_talks_until_the_questions_end(command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\n\n  \nand then?\n"))
    done = command("run", tiny, *FAKE, "--max-tokens", 1)
    assert (done.status, done.out) == (0, "The \nThe \n")
    assert "Ctrl-D ends" in done.err


@pytest.mark.parametrize("name", ["a/bc", "../x", "A B:", "naï"])
def test_any_name_can_be_run_and_stays_inside(command: Command, tiny: Path, home: Path, name: str) -> None:
    """A model's name comes from its file, that is, from a stranger, and some hold a path."""
    tiny.write_bytes(tiny.read_bytes().replace(b"Tiny", name.encode()))
    assert command("run", tiny, "hello", *FAKE, "--max-tokens", 1).out == "The \n"
    done = command("tour", tiny, *FAKE, "--repeats", 1, "--json")
    assert Path(done.json["report"]).parent.resolve() == home / "data" / "reports"


# -- deploy, ps, logs, stop ------------------------------------------------------------------------------------


def test_memory_that_nobody_may_look_at_is_unknown(
    command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = command("deploy", tiny, *FAKE, "--json").json
    monkeypatch.setattr("workbench.deployment.state.State.server_pids", lambda _: [])
    assert command("ps", "--json").json[0]["memory_bytes"] is None
    assert "unknown" in command("ps").out
    assert command("stop", made["id"]).status == 0


def test_a_deployment_from_start_to_stop(command: Command, tiny: Path) -> None:
    made = command("deploy", tiny, *FAKE, "--json").json
    assert list(made) == ["id", "base_url", "api_key", "model", "engine", "format"]
    assert made["base_url"].startswith("http://127.0.0.1:")
    (listed,) = command("ps", "--json").json
    assert list(listed) == [
        "id",
        "model",
        "engine",
        "format",
        "status",
        "base_url",
        "created",
        "keep",
        "memory_bytes",
        "reason",
    ]
    assert (listed["id"], listed["status"], listed["keep"]) == (made["id"], "ready", True)
    assert (listed["engine"], listed["format"]) == (made["engine"], made["format"]) == ("fake", "Q8_0")
    assert listed["memory_bytes"] > 0
    assert made["api_key"] not in command("ps").out
    assert "fake engine" in command("logs", made["id"]).out
    assert any("fake engine" in line for line in command("logs", "Tiny", "--json").json["lines"])
    assert command("stop", made["id"], "--json").json == {"stopped": [made["id"]]}
    assert command("ps", "--json").json == []


def test_deploy_says_how_to_use_and_to_end_it(command: Command, tiny: Path) -> None:
    done = command("deploy", tiny, *FAKE)
    assert " (fake, Q8_0) answers at http://127.0.0.1:" in done.out
    assert " (Q8_0) on fake" in done.err
    assert "export OPENAI_BASE_URL=http://127.0.0.1:" in done.out
    assert "export OPENAI_API_KEY=" in done.out
    assert "It runs until: " in done.out
    assert "workbench stop Tiny-" in done.out
    assert command("stop", "--all").out.endswith("stopped\n")
    assert command("stop", "--all").out == "nothing was running\n"


def test_of_several_deployments_of_a_model_none_is_taken_for_the_one_meant(command: Command, tiny: Path) -> None:
    made = [command("deploy", tiny, *FAKE, "--threads", 1, "--port", port, "--json").json for port in free_ports(2)]
    each = [f"{one['id']} (fake, Q8_0, port {urlsplit(one['base_url']).port})" for one in made]
    for name in ("stop", "logs"):
        done = command(name, "Tiny")
        assert (done.status, done.out) == (2, "")
        assert "2 deployments of Tiny run: " in done.err
        assert all(one in done.err for one in each)
    assert command("logs", made[0]["id"]).status == 0
    assert command("stop", made[0]["id"]).status == 0
    assert command("stop", "Tiny").out == f"{made[1]['id']} stopped\n"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def test_a_deployment_that_was_to_stay_and_died_is_there_until_it_is_stopped(command: Command, tiny: Path) -> None:
    made = command("deploy", tiny, *FAKE, "--json").json
    (state,) = deployment.deployments()
    os.kill(state.server_pid, signal.SIGKILL)
    assert wait_until(lambda: not state.watchdog_lives(), 5)
    (listed,) = command("ps", "--json").json
    assert (listed["id"], listed["status"], listed["memory_bytes"]) == (made["id"], "died", None)
    assert listed["reason"].startswith("ended by SIGKILL at 20")
    assert f"died: {listed['reason']}" in command("ps").out
    assert "fake engine" in command("logs", made["id"]).out
    assert "fake engine" in command("logs", "Tiny").out
    with pytest.raises(ServerDied, match="ended by SIGKILL"):
        deployment.attach("Tiny")
    again = command("deploy", tiny, *FAKE, "--threads", 1, "--port", free_ports(1)[0], "--json").json
    assert {one["status"] for one in command("ps", "--json").json} == {"died", "ready"}  # created within one second
    assert command("stop", "Tiny").out == f"{again['id']} stopped\n"  # the one that runs
    assert command("stop", "Tiny").out == f"{made['id']} stopped\n"
    assert command("ps", "--json").json == []


def test_no_lines_of_a_log_are_no_lines(command: Command, tiny: Path) -> None:
    name = command("deploy", tiny, *FAKE, "--json").json["id"]
    assert command("logs", name, "--lines", 0, "--json").json == {"lines": []}


# -- measure and ledger ----------------------------------------------------------------------------------------


def test_measure_and_what_the_ledger_says_then(command: Command, tiny: Path, tmp_path: Path) -> None:
    assert command("ledger", "--json").json == []
    assert "(none)" in command("ledger").out
    done = command("measure", tiny, *FAKE, "--repeats", 2, "--json")
    assert list(done.json) == ["plan", "measurement"]
    assert done.json["measurement"]["prediction"] == done.json["plan"]["id"]
    errors = command("ledger", "--json").json
    assert [error["quantity"] for error in errors] == ["decode", "memory_peak", "prefill", "ttft"]
    assert list(errors[0]) == ["engine", "hardware", "quantity", "count", "median_error", "worst_error", "in_interval"]
    exported = command("ledger", "--export", tmp_path / "pairs.json", "--json")
    assert "4 pairs written" in exported.err
    assert json.loads((tmp_path / "pairs.json").read_text()) == Ledger().pairs()
    assert "decode" in command("ledger").out


def test_measure_shows_a_line_per_quantity(command: Command, tiny: Path) -> None:
    done = command("measure", tiny, *FAKE, "--repeats", 1)
    titles = ("peak memory", "prefill", "decode", "time to first token")
    head, *lines = done.out.splitlines()
    assert head.split()[:6] == ["predicted", "(90", "%", "interval)", "measured", "error"]
    assert head.endswith("  what memory allows")
    assert "the bound, " in lines[2] or "an unreliable bound, " in lines[2]
    assert [line.startswith(title) for line, title in zip(lines, titles, strict=True)] == [True] * 4


def test_a_measurement_is_shown_beside_its_own_prediction(command: Command, tiny: Path) -> None:
    """Also while the same model runs already, with other threads: predictions for those do not speak of this one."""
    command("deploy", tiny, *FAKE, "--threads", 1, "--json")
    done = command("measure", tiny, *FAKE, "--threads", 2, "--repeats", 1, "--json").json
    assert done["measurement"]["prediction"] == done["plan"]["id"]


def test_a_measurement_has_a_deployment_of_its_own(command: Command, tiny: Path) -> None:
    """Others' requests to one that runs already would spoil the numbers."""
    running = command("deploy", tiny, *FAKE, "--threads", 1, "--json").json["id"]
    for name in ("measure", "tour"):
        done = command(name, tiny, *FAKE, *(["--threads", 1] if name == "measure" else []), "--repeats", 1, "--json")
        assert done.json["measurement"]["prediction"] == done.json["plan"]["id"]
    assert [listed["id"] for listed in command("ps", "--json").json] == [running]


@pytest.mark.parametrize("name", ["pairs.xlsx", "pairs"])
def test_an_export_nobody_can_write(command: Command, tmp_path: Path, name: str) -> None:
    done = command("ledger", "--export", tmp_path / name)
    assert done.status == 2
    assert "workbench: " in done.err


def test_an_export_to_nowhere(command: Command, tmp_path: Path) -> None:
    done = command("ledger", "--export", tmp_path / "nowhere" / "pairs.csv")
    assert done.status in (1, 2)
    assert "nowhere" in done.err


@pytest.mark.parametrize("name", ["measure", "tour"])
def test_no_repeats_are_refused_before_anything_starts(command: Command, tiny: Path, home: Path, name: str) -> None:
    done = command(name, tiny, *FAKE, "--repeats", 0)
    assert done.status == 2
    assert done.err.startswith("workbench: 0 repeats were asked for")  # no progress before it
    assert not (home / "data" / "ledger.sqlite").exists()


# -- tour ------------------------------------------------------------------------------------------------------


def test_the_tour_in_json(command: Command, tiny: Path) -> None:
    done = command("tour", tiny, *FAKE, "--repeats", 2, "--question", "Why?", "--power-w", 50, "--json")
    assert done.status == 0
    assert list(done.json) == ["machine", "plan", "question", "answer", "measurement", "cost", "report"]
    assert (done.json["question"], done.json["answer"][:20]) == ("Why?", "The quick brown fox ")
    assert len(done.json["measurement"]["requests"]) == 2
    assert [line.split(":")[0] for line in done.json["cost"]["assumed"]] == ["electricity"]
    assert Path(done.json["report"]).read_text().startswith("<!doctype html>")
    assert command("ps", "--json").json == []


def test_the_tour_to_read(command: Command, tiny: Path) -> None:
    done = command("tour", tiny, *FAKE, "--repeats", 1)
    order = [
        "Predicted (90 % interval)", "Asking for at most 96 tokens: Why is the sky blue?", "The quick brown fox",
        "peak memory", "here, electricity only", "OpenAI GPT-4o", "Report ",
    ]  # fmt: skip
    places = [done.out.index(words) for words in order]
    assert places == sorted(places)


@pytest.mark.parametrize("option", ["--power-w", "--usd-per-kwh"])
def test_a_price_that_cannot_be_is_refused_before_anything_starts(
    command: Command, tiny: Path, home: Path, option: str
) -> None:
    done = command("tour", tiny, *FAKE, "--repeats", 1, option, 0)
    assert done.status == 2
    assert "above zero" in done.err
    assert done.err.startswith("workbench: The ")  # no progress before it
    assert not (home / "data" / "ledger.sqlite").exists()


def test_a_server_that_dies_on_the_tour(
    command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    from workbench.engines import fake, fake_server

    monkeypatch.setattr(fake, "Script", lambda: fake_server.Script(die_after_tokens=5))
    done = command("tour", tiny, *FAKE)
    assert done.status == 1
    assert "exit code 3" in done.err
    assert command("ps", "--json").json == []
    assert not (home / "data" / "reports").exists()


def test_progress_goes_to_standard_error(command: Command, tiny: Path) -> None:
    steps: Callable[[str], bool] = command("tour", tiny, *FAKE, "--repeats", 1, "--json").err.__contains__
    assert steps("looking at this machine")
    assert steps("warm-up")


def test_an_answer_is_never_overwritten(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal progress goes to the start of its line and erases it: that must not be the answer's line."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Status() as status:
        status(0.5, "starting")
        status.stream("reaches the ")
        status.stream("Earth's")
        status(None, "warm-up")
        status.say("done")
    out, err = capsys.readouterr()
    assert out == "reaches the Earth's\ndone\n"
    between = err[err.index("starting") : err.index("warm-up")]
    assert between.count("\x1b[K") == 1  # before the answer; after it there was a new line instead


def test_a_walkthrough_as_text_and_as_json(command: Command, calm: Machine) -> None:
    shown = command("walkthrough", "1")
    assert shown.status == 0
    assert "convert_hf_to_gguf.py" in shown.out
    found = command("walkthrough", "1", "--device", "RTX 4090", "--context", "4096", "--json").json
    assert found["verdict"] == "fits"
    assert {"guide", "status", "commands", "why", "source", "installed"} == set(found["steps"][0])
    wrong = command("walkthrough", "x")
    assert (wrong.status, wrong.out) == (2, "")
    assert "Known: 1" in wrong.err
