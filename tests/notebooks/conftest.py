"""Notebooks as tests: papermill with strict parameters, the running interpreter and the recorded values."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ui.conftest import home_with_model, home_with_speech  # noqa: F401  fixtures
from workbench.ui.record import recorded

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Run:
    """One executed notebook: the values it recorded, the notebook itself, and its file."""

    values: dict[str, Any]
    notebook: Any
    path: Path


@pytest.fixture
def run_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Execute a notebook with parameters: `run_notebook("00_start_here", context=512)`."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))

    def run(name: str | Path, **parameters: Any) -> Run:
        source = Path(name) if Path(name).suffix else ROOT / "notebooks" / f"{name}.ipynb"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's deprecations; ours are seen in the other tests
            return _execute(source, tmp_path / source.name, parameters)

    return run


def _execute(source: Path, target: Path, parameters: dict[str, Any]) -> Run:
    import papermill

    known = papermill.inspect_notebook(str(source))
    if unknown := set(parameters) - set(known):
        pytest.fail(f"{source.name} has no parameter {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
    notebook = papermill.execute_notebook(
        str(source), str(target), parameters, cwd=str(source.parent), progress_bar=False, execution_timeout=240,
        kernel_manager_class="workbench.ui.kernels.PinnedKernelManager",
    )  # fmt: skip
    return Run(recorded(notebook), notebook, target)
