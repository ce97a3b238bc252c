"""Models of an all-in-one app on the command line, from recorded exchanges."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Command
from tests.engines.apps.replay import load, serving


def test_the_models_of_an_app_are_listed_and_one_is_pulled_first(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(load("ollama")) as replay:
        monkeypatch.setenv("OLLAMA_HOST", replay.address)
        done = command("models", "--app", "ollama", "--pull", "llama3.2")
        listed = command("models", "--app", "ollama", "--json").json
    assert done.status == 0
    assert "llama3.2:latest" in done.out
    assert "1.88 GiB" in done.out
    assert "verifying sha256 digest" in done.err
    assert [(one["name"], one["bytes"], one["loaded"]) for one in listed] == [
        ("deepseek-r1:latest", 4683075271, False), ("llama3.2:latest", 2019393189, False),
    ]  # fmt: skip


def test_what_cannot_be_listed_is_said(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("PATH", "/nowhere")
    assert command("models", "--pull", "llama3.2").status == 2
    assert "is no app" in command("models", "--app", "llama.cpp").err
    absent = command("models", "--app", "ollama")
    assert (absent.status, absent.out) == (1, "")
    assert "ollama.com/install.sh" in absent.err
