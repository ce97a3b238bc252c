"""Watching what a deployment leaves behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.models.conftest import write_gguf  # noqa: F401 - a fixture
from workbench.deployment import state as states


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true within the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def survivors(deployment_id: str) -> list[psutil.Process]:
    """Processes of a deployment that still run, its watchdog's children and strays alike."""
    return states.marked_processes(deployment_id)


@pytest.fixture
def nothing_left(home: Path) -> Callable[[], list[str]]:
    """nothing_left() → what deployments left behind in the state folder; locks are files that stay."""
    return lambda: [path.name for path in (home / "state").rglob("*") if path.is_file() and path.suffix != ".lock"]
