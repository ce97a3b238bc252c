"""Small JSON records in the cache. Losing one costs some work done again, so nothing here fails."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path


def read(path: Path) -> object:
    """What was noted at `path`; None when there is nothing that can be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def write(path: Path, note: Mapping[str, int | str]) -> None:
    """Note it, whole or not at all, also when several processes do."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(note, file)
        Path(file.name).replace(path)
    except OSError:
        return
