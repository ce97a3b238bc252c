"""Every notebook is a story with thin cells: prose before code, one cell of parameters, nothing of a run committed.

`python -m checks.notebooks` prints what is wrong and exits with 1; finding no notebook is wrong too.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "notebooks"
LONGEST_CELL = 12
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
OF_A_RUN = {"execution", "papermill", "ExecuteTime", "widgets"}


def main() -> int:
    """Check every notebook of the repository."""
    paths = sorted(FOLDER.glob("*.ipynb"))
    found = [f"{path.name}: {text}" for path in paths for text in problems(json.loads(path.read_text("utf-8")))]
    if not paths:
        found = [f"there is no notebook in {FOLDER}"]
    print("\n".join(found) or f"{len(paths)} notebooks are in order")
    return 1 if found else 0


def problems(notebook: Any) -> Iterator[str]:
    """What is wrong with a notebook, in sentences."""
    cells, metadata = notebook["cells"], notebook["metadata"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    kinds = [cell["cell_type"] for cell in cells]
    if not metadata.get("title") or not str(metadata.get("description", "")).endswith("."):
        yield "metadata lacks a title, or a description that is a sentence"
    if metadata.get("kernelspec") != KERNEL:
        yield f"metadata names another kernel than {KERNEL['name']}"
    if kinds[:1] != ["markdown"] or not source(cells[0]).startswith("# "):
        yield "it does not begin with a heading"
    given = [source(cell) for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    if len(given) != 1:
        yield "exactly one code cell must be tagged 'parameters'"
    if not all(re.match(r"\w+ = ", line) for text in given for line in text.splitlines()):
        yield "a parameter does not stand alone on its line as 'name = value', which is all that papermill reads"
    if any(pair == ("code", "code") for pair in pairwise(kinds)):
        yield "a code cell follows another without prose between them"
    for cell in code:
        lines = len(source(cell).strip().splitlines())
        if not 1 <= lines <= LONGEST_CELL:
            yield f"a code cell has {lines} lines; 1 to {LONGEST_CELL} are allowed: {source(cell)[:40]!r}"
    if any(cell["outputs"] or cell["execution_count"] for cell in code) or OF_A_RUN & keys(notebook):
        yield "something of a run is committed: nbstripout cleans it"


def keys(notebook: Any) -> set[str]:
    """All metadata keys of the notebook and its cells."""
    return set(notebook["metadata"]).union(*(cell["metadata"] for cell in notebook["cells"]))


def source(cell: Any) -> str:
    """The text of a cell, which may be stored as a list of lines."""
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


if __name__ == "__main__":
    sys.exit(main())
