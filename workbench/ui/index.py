"""What the server of the dashboards reads in the notebooks: the cards of its list, and which cells a page leaves out.

A card has the title and the sentence from the notebook's own metadata. Cells tagged `story` are for readers who run
the notebook cell by cell; on a page the panel at its end does the same when it is asked to.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

STORY: Final = "story"


def without_story(_request: Any, *, notebook: Any, cwd: str) -> Any:
    """Voilà's hook before a page's kernel starts: the notebook without the cells tagged `story`."""
    notebook.cells = [cell for cell in notebook.cells if STORY not in cell.metadata.get("tags", ())]
    return notebook


def add_cards(page_config: dict[str, Any], *, settings: Any, notebook_path: str, **_: Any) -> dict[str, Any]:
    """Voilà's hook for the configuration of a page: the list of notebooks also gets what their cards say."""
    if not notebook_path.endswith(".ipynb"):
        folder = Path(settings["voila"].root_dir) / notebook_path.strip("/")
        page_config["workbenchCards"] = cards(folder)
    return page_config


def cards(folder: Path) -> dict[str, dict[str, str]]:
    """What the card of each notebook in a folder says, by file name."""
    return {path.name: card(path) for path in sorted(folder.glob("*.ipynb"))}


def card(path: Path) -> dict[str, str]:
    """Title and description of one notebook; a damaged one is named by its file and says so."""
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
        return {"title": str(metadata["title"]), "description": str(metadata.get("description", ""))}
    except (OSError, ValueError, KeyError, TypeError):
        return {"title": path.stem, "description": "This notebook has no title, or its file is damaged."}
