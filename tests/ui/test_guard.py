"""The guard: an exception of a callback becomes one card and one entry in the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.errors import StartFailed
from workbench.ui import guard
from workbench.ui.guard import error_card, guarded


def test_an_exception_becomes_a_card_instead_of_silence() -> None:
    shown: list[str] = []

    def callback(button: str) -> None:
        raise StartFailed("The server did not come up.", fix="Free some memory.", details="out of memory <b>")

    guarded(callback, shown.append)("button")
    assert len(shown) == 1
    assert 'role="alert"' in shown[0]
    assert "The server did not come up." in shown[0]
    assert "Free some memory." in shown[0]
    assert "out of memory &lt;b&gt;" in shown[0]


def test_a_callback_that_works_shows_nothing() -> None:
    shown: list[str] = []
    guarded(lambda: 1, shown.append)()
    assert not shown


def test_the_traceback_is_in_the_log_and_not_on_the_page(home: Path) -> None:
    def callback() -> None:
        raise ZeroDivisionError("surprise")

    shown: list[str] = []
    guarded(callback, shown.append)()
    assert "Traceback" not in shown[0]
    assert "did not foresee" in shown[0]
    assert "ZeroDivisionError: surprise" in guard.log_path().read_text()
    assert guard.log_path().is_relative_to(home)


@pytest.mark.parametrize("secret", ["sk-abcdefgh12345678", "hf_abcdefghijklmnop", "Bearer abcdefgh.12345678"])
def test_a_card_shows_no_secret_and_no_markup(secret: str) -> None:
    card = error_card(ValueError(f"<script>{secret}</script>"))
    assert "<script>" not in card
    assert secret not in card


def test_the_log_starts_over_before_it_fills_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LOG_LIMIT_BYTES", 10)
    for number in range(5):
        guard.write_log(ValueError(f"error {number}"))
    assert "error 4" in guard.log_path().read_text()
    assert "error 1" not in guard.log_path().read_text()
