"""How a process ended, in words: memory is named as the reason only where it may have been short."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from workbench.machine import how_it_ended
from workbench.units import GIB


@pytest.mark.parametrize(
    ("predicted", "free_before", "free_now", "said"),
    [
        (GIB, 22 * GIB, 22 * GIB, "ended by SIGKILL from outside; memory was not short: "),
        (GIB, None, 22 * GIB, "ended by SIGKILL from outside"),
        (8 * GIB, 10 * GIB, 22 * GIB, "which is what the system sends when memory runs out: "),
        (GIB, 22 * GIB, 2 * GIB, "memory runs out"),
        (None, None, 22 * GIB, "memory runs out"),
    ],
)
def test_killed(
    monkeypatch: pytest.MonkeyPatch, predicted: float | None, free_before: float | None, free_now: int, said: str
) -> None:
    now = SimpleNamespace(memory=SimpleNamespace(available_bytes=free_now))
    monkeypatch.setattr("workbench.machine.endings.probe", lambda: now)
    assert said in how_it_ended(-9, {"predicted": predicted, "free before": free_before})


def test_everything_else() -> None:
    assert how_it_ended(3, {}) == "exit code 3"
    assert how_it_ended(-11, {}) == "ended by SIGSEGV"
