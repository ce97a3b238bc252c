"""The list of dashboards: one card a notebook, with the title and the sentence from the notebook's own metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


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
