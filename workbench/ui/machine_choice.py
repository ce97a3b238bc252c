"""Which machine a panel is about: this computer, or one that is named. No widget is known here."""

from __future__ import annotations

from collections.abc import Callable

from workbench import catalog, machine
from workbench.errors import UsageError
from workbench.machine import Machine
from workbench.units import GIB


def here() -> Machine:
    """This computer, with its calibration where one was kept."""
    return machine.kept(machine.probe())


def calibrated(progress: Callable[[float, str], None]) -> Machine:
    """This computer with its calibration; where none was kept it is measured, which takes a few seconds."""
    return machine.calibrate(machine.probe(), progress=progress)


def known() -> list[str]:
    """Every name that can be given: accelerators by their titles, cloud instances by provider and name."""
    rented = [f"{one.provider} {one.name}" for one in catalog.instances().values()]
    return [*(spec.title for spec in catalog.accelerators().values()), *rented]


def chosen(device: str, count: int, memory_gib: float, here: Machine) -> Machine:
    """The machine with `count` of these devices, this computer around them; this computer itself when none is named.

    memory_gib: main memory, or the memory of a chip that shares it; 0 where nobody says.
    """
    if not device.strip():
        if count != 1 or memory_gib:
            raise UsageError(
                "A number of devices or a memory was given, and no device.", fix="Name one, or go back to 1 and 0."
            )
        return here
    memory_bytes = int(memory_gib * GIB) if memory_gib else None
    return machine.describe(device.strip(), count=count, memory_bytes=memory_bytes, host=here)


def needs_measuring(found: Machine | None) -> bool:
    """Whether its processor is this computer's and was never measured, so that nobody knows how fast it is."""
    return found is not None and found.calibration is None and found.disk.room_bytes is not None
