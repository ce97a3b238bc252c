"""`import workbench` is light, and everything it offers is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import workbench

HEAVY = {"torch", "transformers", "pandas", "plotly", "ipywidgets", "numpy", "openai", "psutil", "gguf", "xllamacpp"}


def modules_after(code: str, home: Path) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running `code`."""
    code += "\nimport json, sys\nprint(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "WORKBENCH_HOME": str(home)},
    )  # fmt: skip
    return set(json.loads(done.stdout))


def test_importing_loads_nothing_heavy_and_touches_no_folder(home: Path) -> None:
    loaded = modules_after("import workbench; dir(workbench)", home)
    assert "workbench" in loaded
    assert loaded.isdisjoint(HEAVY)
    assert not home.exists()


def test_the_command_line_loads_nothing_heavy_to_say_what_it_can(home: Path) -> None:
    loaded = modules_after("from workbench import cli; cli.parser().format_help()", home)
    assert loaded.isdisjoint(HEAVY)


def test_planning_loads_no_engine_and_no_figures(home: Path) -> None:
    loaded = modules_after("import workbench; workbench.plan, workbench.Ledger, workbench.cost", home)
    assert loaded.isdisjoint({"torch", "transformers", "pandas", "plotly", "ipywidgets", "openai", "xllamacpp"})


@pytest.mark.parametrize("name", workbench.__all__)
def test_every_export_resolves(name: str) -> None:
    assert callable(getattr(workbench, name))


def test_what_is_listed_is_what_is_offered() -> None:
    assert dir(workbench) == sorted(workbench.__all__)


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="'nonsense'"):
        workbench.nonsense  # noqa: B018 - looking it up is the test
