"""What this computer is, how fast it is, and what its processes use.

`probe()` looks, `calibrate(machine)` measures, `judge(machine)` says whether driver, libraries and cards go together;
`from_raw(texts)` understands what another computer printed. The records also describe machines that are not here.
Importing this room loads no numerical library: the calibration runs in processes of its own.
"""

from workbench.machine.calibration import alone, calibrate, kept
from workbench.machine.compatibility import Finding, judge, torch_uses
from workbench.machine.described import describe
from workbench.machine.description import BUSY_CORES, Accelerator, Calibration, Cpu, Disk, Machine, Memory
from workbench.machine.detection import from_raw, hiding
from workbench.machine.endings import ending, how_it_ended
from workbench.machine.probing import probe, raw
from workbench.machine.processes import (
    BusyMeter,
    MemoryReading,
    PeakSampler,
    busy_cores,
    cpu_seconds,
    descendants,
    exposed_addresses,
    listener,
    listening_ports,
    memory_bytes,
    shared_bytes,
)

__all__ = [
    "BUSY_CORES",
    "Accelerator",
    "BusyMeter",
    "Calibration",
    "Cpu",
    "Disk",
    "Finding",
    "Machine",
    "Memory",
    "MemoryReading",
    "PeakSampler",
    "alone",
    "busy_cores",
    "calibrate",
    "cpu_seconds",
    "descendants",
    "describe",
    "ending",
    "exposed_addresses",
    "from_raw",
    "hiding",
    "how_it_ended",
    "judge",
    "kept",
    "listener",
    "listening_ports",
    "memory_bytes",
    "probe",
    "raw",
    "shared_bytes",
    "torch_uses",
]
