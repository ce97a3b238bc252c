"""Every notebook is a story with thin cells: prose before code, one cell of parameters, no outputs committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST_CELL = 12


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Any:
    return json.loads(request.param.read_text(encoding="utf-8"))


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell: Any) -> str:
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


def test_it_has_a_title_and_a_sentence_for_the_list(notebook: Any) -> None:
    assert notebook["metadata"]["title"]
    assert notebook["metadata"]["description"].endswith(".")
    assert source(notebook["cells"][0]).startswith("# ")


def test_one_cell_has_the_parameters(notebook: Any) -> None:
    assert [cell["metadata"].get("tags", []) for cell in code(notebook)].count(["parameters"]) == 1


def test_code_cells_are_short(notebook: Any) -> None:
    lengths = {source(cell): len(source(cell).strip().splitlines()) for cell in code(notebook)}
    assert {text: length for text, length in lengths.items() if not 1 <= length <= LONGEST_CELL} == {}


def test_prose_comes_before_code(notebook: Any) -> None:
    kinds = [cell["cell_type"] for cell in notebook["cells"]]
    assert kinds[0] == "markdown"
    assert ["code", "code"] not in [kinds[index : index + 2] for index in range(len(kinds))]


def test_nothing_of_a_run_is_committed(notebook: Any) -> None:
    assert not [cell for cell in code(notebook) if cell["outputs"] or cell["execution_count"]]
    assert not {"widgets", "papermill"} & set(notebook["metadata"])
    assert not [cell for cell in notebook["cells"] if {"execution", "papermill", "ExecuteTime"} & set(cell["metadata"])]


def test_it_names_no_kernel_of_one_computer(notebook: Any) -> None:
    assert notebook["metadata"]["kernelspec"] == {"display_name": "Python 3", "language": "python", "name": "python3"}
