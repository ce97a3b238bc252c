"""A record: what was measured, when, on which machine and with which versions. Committed beside the package's facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import workbench
from workbench.machine import busy_cores
from workbench.units import now

FOLDER = Path(workbench.__file__).parent / "catalog" / "records"


def read(name: str) -> dict[str, Any]:
    """The record of that name as it was written."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return found


def write(name: str, result: dict[str, Any]) -> Path:
    """Write a record and return where it is."""
    machine = workbench.probe()
    cpu = {
        "name": machine.cpu.name,
        "cores": machine.cpu.physical_cores,
        "instruction_sets": machine.cpu.instruction_sets,
    }
    about = {
        "date": now(), "system": machine.system, "python": machine.python, "packages": dict(machine.packages),
        "cpu": cpu, "memory_bytes": machine.memory.total_bytes, "other_processes_busy_cores": round(busy_cores(1.0), 2),
    }  # fmt: skip
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({"record": name, **about, "result": result}, indent=1) + "\n")
    return path
