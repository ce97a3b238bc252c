"""The command that evaluates, on the fake engine: permission, results, wrong use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("calm")
FAKE = ("--engine", "fake")


def test_nothing_is_even_started_without_the_word(command: Command, tiny: Path) -> None:
    done = command("evaluate", tiny, *FAKE)
    assert done.status == 2
    assert "--run-generated-code" in done.err
    assert "starting" not in done.err


def test_a_table_and_the_number(command: Command, tiny: Path) -> None:
    done = command("evaluate", tiny, *FAKE, "--problems", 2, "--run-generated-code")
    assert done.status == 0
    assert "pass@1    0.0% of 2 problems (90 % interval 0.0% to " in done.out
    assert "rectangle-border" in done.out
    assert "Guarded   time:" in done.out
    assert "Open      flaws" in done.out


def test_everything_as_json(command: Command, tiny: Path) -> None:
    found = command(
        "evaluate", tiny, *FAKE, "--problems", 1, "--run-generated-code", "--mode", "complete", "--json"
    ).json
    assert found["pass_at_1"]["value"] == 0.0
    assert found["mode"] == "complete"
    assert [one["problem"] for one in found["problems"]] == ["rectangle-border"]
    assert command("ps", "--json").json == []


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--problems", 0), "0 problems"),
        (("--problems", 1000), "1000 problems"),
        (("--samples", 2), "all 2 answers are the same"),
        (("--mode", "guess"), "no mode 'guess'"),
        (("--temperature", 9), "temperature 9"),
    ],
)
def test_wrong_use(command: Command, tiny: Path, words: tuple[object, ...], match: str) -> None:
    done = command("evaluate", tiny, *FAKE, "--run-generated-code", *words)
    assert done.status == 2
    assert match in done.err
