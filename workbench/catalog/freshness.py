"""How old the catalog is: what was priced or checked too long ago to be relied on without another look.

It reads every record of every catalog file as it stands, whatever the record is of.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from workbench.catalog.loader import FOLDER, parse

PRICE_DAYS, FACT_DAYS = 90, 730


@dataclass(frozen=True, slots=True)
class Stale:
    """One record that is too old. since: the day it holds for, None when its source bears no date; days: its age."""

    file: str
    name: str
    kind: str  # price or fact
    since: date | None
    days: int | None


def stale(today: date | None = None, *, price_days: int = PRICE_DAYS, fact_days: int = FACT_DAYS) -> tuple[Stale, ...]:
    """Records older than this many days, the oldest first; a price of unknown age counts as too old.

    A price is what says when it was priced; every other record is a fact, as old as its last check.
    """
    day = today or datetime.now(UTC).date()
    found = []
    for file, name, fields in records():
        kind, since, limit = "fact", _day(fields.get("checked")), fact_days
        if "priced" in fields:
            kind, since, limit = "price", _day(fields["priced"]), price_days
        days = None if since is None else (day - since).days
        if days is None or days > limit:
            found.append(Stale(file, name, kind, since, days))
    return tuple(sorted(found, key=lambda one: (one.since or date.min, one.file, one.name)))


def records() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(file, name, fields) of every record in the catalog."""
    for path in sorted((*FOLDER.rglob("*.yaml"), *FOLDER.rglob("*.csv"))):
        read = _table if path.suffix == ".csv" else _yaml
        for name, fields in read(path):
            yield path.relative_to(FOLDER).as_posix(), name, fields


def _table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    for row in csv.DictReader(lines):
        yield next(iter(row.values())), dict(row)


def _yaml(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, fields in parse(path).items():
        yield str(name), fields


def _day(written: Any) -> date | None:
    """A day, or the first day of a month; None when there is none."""
    if isinstance(written, date) or not written:
        return written or None
    return date.fromisoformat(written if len(written) > 7 else f"{written}-01")
