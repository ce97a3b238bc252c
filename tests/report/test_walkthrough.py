"""Walk-throughs generated for a system: the model that fits, the commands filled in, the outdated ones named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from workbench import catalog, report
from workbench.machine import Machine, Memory, describe
from workbench.report import text
from workbench.units import GIB


def commands(found: report.Guidance) -> str:
    return "\n".join(command for step in found.steps for command in step.commands)


def on(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr("platform.system", lambda: system)


def test_every_word_is_filled_in_on_every_system(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for system in ("Linux", "Darwin", "Windows"):
        on(monkeypatch, system)
        for number in catalog.walkthroughs():
            found = report.walkthrough(number, machine=machine)
            assert "{" not in commands(found).replace('{"', "").replace("{{", "")
            assert len(found.steps) == len(catalog.walkthrough(number).steps)


def test_commands_are_those_of_the_system(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "Windows")
    windows = commands(report.walkthrough(1, machine=machine))
    assert "irm https://ollama.com/install.ps1 | iex" in windows
    assert "winget install llama.cpp" in windows
    assert "setx OLLAMA_CONTEXT_LENGTH 8192" in windows
    assert "Invoke-RestMethod" in windows and "curl" not in windows, "a curl of this kind is no PowerShell"
    on(monkeypatch, "Darwin")
    mac = commands(report.walkthrough(1, machine=machine))
    assert "curl -fsSL https://ollama.com/install.sh | sh" in mac
    assert "launchctl setenv OLLAMA_CONTEXT_LENGTH 8192" in mac
    on(monkeypatch, "Linux")
    linux = commands(report.walkthrough(1, machine=machine))
    assert "sudo systemctl edit ollama\n[Service]\nEnvironment=OLLAMA_CONTEXT_LENGTH=8192\n" in linux
    assert "ollama serve" not in windows + mac + linux, "the installer has started it: the port is taken"


def test_no_context_is_shorter_than_the_default_that_is_complained_of(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for system in ("Linux", "Darwin", "Windows"):
        on(monkeypatch, system)
        shown = commands(report.walkthrough(1, machine=machine))
        given = re.findall(r"(?:num_ctx|CONTEXT_LENGTH|--context| -c)[ =](\d+)", shown)
        assert len(given) == 5
        assert all(int(one) > 4096 for one in given)


def test_the_model_is_the_first_that_fits_and_is_fast_enough(machine: Machine) -> None:
    found = report.walkthrough(1, machine=machine)
    assert found.plan.verdict == "fits"
    assert (found.plan.decode.value or 0) >= 10
    assert f"ollama pull {found.model}" in commands(found)
    assert f"-GGUF:{found.format}" in commands(found)
    more = report.walkthrough(1, machine=describe("RTX 4090", host=machine))
    assert more.plan.model.parameters > found.plan.model.parameters
    assert more.model.startswith("llama3.1:8b")


def test_where_nothing_fits_the_smallest_is_shown_and_that_is_said(machine: Machine) -> None:
    tiny = replace(machine, memory=Memory(GIB, GIB // 4))
    found = report.walkthrough(1, machine=tiny)
    assert found.plan.verdict == "does not fit"
    assert "nothing of this family is sure to fit" in found.why


def test_the_context_reaches_every_command_that_has_one(machine: Machine) -> None:
    assert commands(report.walkthrough(1, machine=machine, context=8192)).count("8192") == 5


def test_what_is_installed_is_said(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "ollama"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    installed = {step.installed for step in report.walkthrough(1, machine=machine).steps}
    assert installed == {"", str(program)}


def test_as_text_it_names_what_is_outdated_and_what_replaces_it(machine: Machine) -> None:
    shown = text.walkthrough(report.walkthrough(1, machine=machine))
    assert "ollama pull llama2:7b\n   outdated: Llama 2 is of July 2023" in shown
    assert "(not in the guide)\n   new: " in shown
    assert "90 %" not in shown


def test_speech_takes_the_best_model_that_keeps_up(machine: Machine) -> None:
    here = report.walkthrough(3, machine=machine)
    assert here.plan.speed["real_time_factor"].known() <= 1
    assert f"download-ggml-model.sh {here.model}" in commands(here) and f"ggml-{here.model}.bin" in commands(here)
    card = report.walkthrough(3, machine=describe("RTX 4090", host=machine))
    assert card.model == "large-v3" and card.plan.model.format == "F16"
    assert "Real time" in text.walkthrough(here) and "keep up with a speaker" in here.why


def test_pictures_are_planned_for_the_machine(machine: Machine) -> None:
    card = report.walkthrough(2, machine=describe("RTX 4090", host=machine))
    assert card.model == "sd_xl_base_1.0.safetensors" and "--size 1024x1024" in commands(card)
    small = report.walkthrough(2, machine=machine)
    assert small.model == "v1-5-pruned-emaonly.safetensors" and "--size 512x512" in commands(small)
    assert "runwayml" not in commands(small)
