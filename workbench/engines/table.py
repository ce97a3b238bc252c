"""The registry as a table: what each engine does, whether it runs here, and when it was last seen running."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import engines
from workbench.catalog.loader import FOLDER
from workbench.engines import environments
from workbench.evidence.ledger import Ledger
from workbench.machine import Machine, kept, probe
from workbench.units import format_bytes

#: The committed record of the engines that this project's own tests ran.
RECORD = FOLDER / "records" / "engines_tested.json"


@dataclass(frozen=True, slots=True)
class Row:
    """One engine. environment: its own one, '' where it needs none; last_tested: the day, and whose test it was."""

    name: str
    ok: bool
    version: str | None
    reason: str
    fix: str
    title: str
    tasks: tuple[str, ...]
    formats: tuple[str, ...]
    starts: bool
    environment: str
    last_tested: str


def rows(machine: Machine | None = None) -> list[Row]:
    """Every engine and app of the registry but the fake one, which is for tests."""
    machine, tested, found = machine or kept(probe()), last_tested(), []
    for name in (*engines.ENGINES, *engines.APPS, *engines.IMAGE_APPS):
        if name == "fake":
            continue
        engine = engines.get(name)
        here = engine.available(machine)
        found.append(Row(
            name, here.ok, here.version, here.reason, here.fix, engine.title, tuple(sorted(engine.capabilities)),
            tuple(sorted(engine.formats)), engine.starts, _environment(name, machine), tested.get(name, ""),
        ))  # fmt: skip
    return found


def _environment(name: str, machine: Machine) -> str:
    """The engine's own environment and its size, or what installing it would take."""
    if found := environments.installed(name):
        return f"{found.recipe.name}, {format_bytes(found.bytes)}"
    recipe = environments.recipe_for(name, machine)
    return f"to install: {environments.size(recipe)}" if recipe else ""


def last_tested(record: Path = RECORD, ledger: Ledger | None = None) -> dict[str, str]:
    """Engine → the newest day on which it ran: in the record that comes with the workbench, or measured here."""
    found: dict[str, str] = {}
    for engine, day, where in (*_recorded(record), *_measured(ledger or Ledger())):
        if day > found.get(engine, "")[:10]:
            found[engine] = f"{day} ({where})"
    return found


def _recorded(record: Path) -> list[tuple[str, str, str]]:
    """What `python -m benchmarks engines_tested` wrote: {"result": {engine: [{"date": …, …}, …]}}."""
    try:
        result: dict[str, list[dict[str, Any]]] = json.loads(record.read_text("utf-8"))["result"]
    except (OSError, ValueError, KeyError):
        return []
    return [(engine, str(run["date"])[:10], "recorded") for engine, runs in result.items() for run in runs]


def _measured(ledger: Ledger) -> list[tuple[str, str, str]]:
    if not ledger.path.exists():  # looking makes none
        return []
    return [(pair["engine"], pair["measured_at"][:10], "measured here") for pair in ledger.pairs()]
