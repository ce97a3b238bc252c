"""Results a notebook leaves for whoever runs it: a test, a report, another notebook.

`record` shows nothing to a reader. It puts values into the notebook's outputs under a MIME type of our own,
and `recorded` reads them back from an executed notebook.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from workbench.errors import UsageError

MIME: Final = "application/vnd.open-model-workbench+json"


def record(**values: Any) -> None:
    """Leave named values in the output of this cell: numbers, texts, lists, mappings, estimates, measurements."""
    from IPython.core.getipython import get_ipython

    if get_ipython() is None:
        return  # a plain script has no outputs to leave them in
    from IPython.display import display

    display({MIME: plain(values)}, raw=True)  # type: ignore[no-untyped-call]


def recorded(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """All values left in an executed notebook; the last one of a name wins."""
    found: dict[str, Any] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            found |= _of(output)
    return found


def _of(output: Mapping[str, Any]) -> dict[str, Any]:
    value = output.get("data", {}).get(MIME, {})
    return dict(json.loads(value) if isinstance(value, str) else value)


def plain(value: Any) -> Any:
    """A value as JSON knows it; raises UsageError for a kind that has no JSON form."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    raise UsageError(
        f"A {type(value).__name__} cannot be recorded.", fix="Record numbers, texts, lists, mappings or estimates."
    )


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a record, and its `value` where that is computed, as in a measurement."""
    names = [field.name for field in dataclasses.fields(value)]
    if "value" not in names and hasattr(value, "value"):
        names.append("value")
    return {name: plain(getattr(value, name)) for name in names}
