"""The runner itself: strict parameters, our interpreter, values that come back, failures that fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat
import pytest

from workbench.errors import UsageError
from workbench.evidence import Basis, Estimate, Measured
from workbench.ui.record import plain, record


def make(path: Path, *sources: str) -> Path:
    path = path.parent / "source" / path.name  # beside what papermill writes
    path.parent.mkdir()
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    metadata = {"kernelspec": {"name": "of-another-computer", "display_name": "x", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def test_values_come_back_from_our_interpreter(tmp_path: Path, run_notebook: Callable[..., Any]) -> None:
    path = make(
        tmp_path / "a.ipynb",
        "number = 1",
        "import sys\nfrom workbench.ui.record import record\nrecord(number=number, python=sys.executable)",
    )
    assert run_notebook(path, number=7).values == {"number": 7, "python": sys.executable}


def test_an_unknown_parameter_is_an_error(tmp_path: Path, run_notebook: Callable[..., Any]) -> None:
    with pytest.raises(pytest.fail.Exception, match="has no parameter nubmer; it has number"):
        run_notebook(make(tmp_path / "a.ipynb", "number = 1"), nubmer=7)


def test_a_failing_cell_fails(tmp_path: Path, run_notebook: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match="ZeroDivisionError"):
        run_notebook(make(tmp_path / "a.ipynb", "number = 1", "1 / 0"))


def test_estimates_and_measurements_are_recorded_with_their_values() -> None:
    estimate = plain({"e": Estimate(2.0, 1.0, 3.0, "s", Basis("guess"))})["e"]
    assert (estimate["value"], estimate["low"], estimate["high"], estimate["unit"]) == (2.0, 1.0, 3.0, "s")
    assert plain(Measured((1.0, 2.0, 9.0), "s", "clock"))["value"] == 2.0
    assert plain([Decimal("0.10"), (1, None), Path("/a")]) == ["0.10", [1, None], "/a"]


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(UsageError, match="object cannot be recorded"):
        plain(object())


def test_outside_a_notebook_recording_does_nothing() -> None:
    record(number=1)
