"""Captured outputs, and a home of its own for every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

CAPTURED = Path(__file__).with_name("captured")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def captured() -> Callable[[str], str]:
    return lambda name: (CAPTURED / f"{name}.txt").read_text(encoding="utf-8")
