"""Running commands in this process, on a described machine and a tiny model file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.models.conftest import write_gguf  # noqa: F401 - a fixture
from workbench import cli, deployment
from workbench.machine import Machine


@dataclass(frozen=True)
class Done:
    """How a command ended and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """command("plan", path, "--json") → what came of it; wrong use of the parser is a status like any other."""

    def call(*argv: object) -> Done:
        capsys.readouterr()
        try:
            status = cli.main([str(word) for word in argv])
        except SystemExit as end:
            status = int(end.code or 0)
        written = capsys.readouterr()
        assert "Traceback" not in written.err
        return Done(status, written.out, written.err)

    return call


@pytest.fixture
def tiny(tmp_path: Path, write_gguf: Callable[..., Path]) -> Path:  # noqa: F811 - the fixture above
    """A sound model file of some kilobytes, with a context of 128 tokens; only the fake engine can run it."""
    return write_gguf(tmp_path / "tiny.gguf")


@pytest.fixture
def calm(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """This computer is the described one, and nothing else runs on it: commands need not measure it."""
    for room in ("workbench.planning.language", "workbench.report.guided", "workbench.machine"):
        monkeypatch.setattr(f"{room}.calibrate", lambda *_, **__: machine)
    monkeypatch.setattr("workbench.machine.probe", lambda: machine)
    monkeypatch.setattr("workbench.planning.threads.busy_cores", lambda: 0.0)
    return machine


@pytest.fixture(autouse=True)
def _nothing_stays(home: Path) -> Iterator[None]:
    """Deployments that a failing test left behind."""
    yield
    for state in deployment.deployments():
        deployment.stop(state.id)
