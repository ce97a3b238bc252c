"""What this computer is, how fast it is, and what its processes use.

`probe()` looks, `calibrate(machine)` measures; the records in `description` also describe machines that are not here.
Importing this room loads no numerical library: the calibration runs in processes of its own.
"""

from workbench.machine.calibration import calibrate, kept
from workbench.machine.description import Accelerator, Calibration, Cpu, Disk, Machine, Memory
from workbench.machine.probing import probe, raw
from workbench.machine.processes import (
    MemoryReading,
    PeakSampler,
    busy_cores,
    cpu_seconds,
    descendants,
    memory_bytes,
    shared_bytes,
)

__all__ = [
    "Accelerator",
    "Calibration",
    "Cpu",
    "Disk",
    "Machine",
    "Memory",
    "MemoryReading",
    "PeakSampler",
    "busy_cores",
    "calibrate",
    "cpu_seconds",
    "descendants",
    "kept",
    "memory_bytes",
    "probe",
    "raw",
    "shared_bytes",
]
