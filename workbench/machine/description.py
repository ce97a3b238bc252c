"""What a computer is, as far as running models goes: processor, memory, disk, accelerators, software, measured speed.

Plain records. They are filled by `probe` and `calibrate`, or by hand to describe a machine that is not here.
Nothing in this module looks at the computer it runs on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from workbench.catalog.accelerators import AcceleratorSpec
from workbench.evidence import Measured
from workbench.units import GIB

#: Why nothing is known of the speed of a processor.
UNCALIBRATED = "this machine has not been calibrated: run `workbench machine --calibrate`"
#: Others' cores' worth of CPU above which what was measured meanwhile says little.
BUSY_CORES = 0.2
#: The software that drives a maker's cards, as engines name it.
RUNTIMES = {"NVIDIA": "cuda", "AMD": "rocm", "Apple": "metal", "Intel": "xpu"}


_BF16 = frozenset({"AVX-512 BF16", "AMX BF16"})


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor.

    architecture: 'x86-64', 'arm64' or the system's own word; physical_cores do not count hyper-threads;
    usable_cores: what this process may use, the least of logical cores, CPU affinity and cgroup quota;
    instruction_sets: those that matter for inference, as people name them ('AVX2', 'AMX INT8', 'NEON').
    """

    name: str
    vendor: str
    architecture: str
    physical_cores: int
    logical_cores: int
    usable_cores: float
    instruction_sets: tuple[str, ...] = ()

    @property
    def multiplies_bf16(self) -> bool:
        """Whether an x86-64 processor has instructions for products of BF16 numbers; others widen them first."""
        return not _BF16.isdisjoint(self.instruction_sets)

    @property
    def multiplies_512_bits(self) -> bool:
        """Whether AVX-512 is worth twice AVX2. AMD's processors before Zen 5, the first with AVX-VNNI, halve it."""
        return "AVX-512F" in self.instruction_sets and (
            self.vendor != "AuthenticAMD" or "AVX-VNNI" in self.instruction_sets
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """Main memory. `limit_bytes` is the cgroup limit when it is below the total; `available_bytes` respects it."""

    total_bytes: int
    available_bytes: int
    limit_bytes: int | None = None
    swap_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk below the cache folder; a size of 0 where nobody says."""

    path: str
    total_bytes: int
    free_bytes: int

    @property
    def room_bytes(self) -> int | None:
        """What is free; None where nothing is known of the disk."""
        return self.free_bytes if self.total_bytes else None


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One device beside the CPU, or the slice of one that a process sees. Unknown is None or '', and `note` says why.

    index: its number among those of its maker; memory_free_bytes: what no process holds now; spec: what the catalog
    knows of it, None when nobody there has heard of it; unified: it shares the main memory, and memory_total_bytes is
    what it may take of that; compute_capability: '8.9', or AMD's 'gfx1100'; runtime: what drives it here ('cuda',
    'rocm', 'metal', 'xpu'; '' for a device that is only seen); pci: its address; uuid: NVIDIA's, which names a device
    in CUDA_VISIBLE_DEVICES; slice_profile: of a MIG slice ('1g.10gb'), one of which is all that one process can use.
    """

    vendor: str
    name: str
    index: int
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None
    driver: str | None = None
    note: str = ""
    spec: AcceleratorSpec | None = None
    unified: bool = False
    compute_capability: str | None = None
    runtime: str = ""
    pci: str = ""
    uuid: str = ""
    slice_profile: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the catalog's record by its key, and without the uuid, which is nobody else's business."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "uuid"}
        return {**values, "spec": self.spec.key if self.spec else None}


@dataclass(frozen=True, slots=True)
class Calibration:
    """The measured speed of CPU and memory: bandwidths in B/s, float32 matrix throughputs in FLOP/s.

    threads: how many the all-cores numbers used; busy_cores: cores' worth of CPU that others had meanwhile; versions:
    of the method and of the libraries it ran on.
    """

    read_bandwidth: Measured
    read_bandwidth_one_core: Measured
    matrix_throughput: Measured
    matrix_throughput_one_core: Measured
    date: str
    threads: int
    busy_cores: float
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def disturbed(self) -> bool:
        """Whether others had so much of the machine meanwhile that it is faster than these numbers."""
        return self.busy_cores > BUSY_CORES

    @property
    def fastest_read(self) -> float:
        """The fastest that memory was seen to be read (B/s), on however many cores: no program reads it faster.

        The medians say what is usual, and predictions rest on them.
        """
        return max(self.read_bandwidth.high, self.read_bandwidth_one_core.high)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with units in the key names; `from_dict` reads it back."""
        measured = {key: _measured_to_dict(getattr(self, name)) for name, key in _CALIBRATION_KEYS.items()}
        rest = {name: getattr(self, name) for name in ("date", "threads", "busy_cores")}
        return {**measured, **rest, "versions": dict(self.versions), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` wrote; raises KeyError, TypeError or ValueError if it is something else."""
        measured = {name: _measured_from_dict(data[key], name) for name, key in _CALIBRATION_KEYS.items()}
        return cls(
            **measured,
            date=str(data["date"]),
            threads=int(data["threads"]),
            busy_cores=float(data["busy_cores"]),
            versions=dict(data["versions"]),
            notes=tuple(data["notes"]),
        )


@dataclass(frozen=True, slots=True)
class Machine:
    """A computer: this one (`probe`) or one that is described.

    system: 'Debian GNU/Linux 12, Linux 6.1'; packages: installed versions of what runs models; environment: the
    variables that hide devices or change what they pass for; calibration: None until measured; notes: what could not
    be read, in sentences.
    """

    cpu: Cpu
    memory: Memory
    disk: Disk
    accelerators: tuple[Accelerator, ...] = ()
    system: str = ""
    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    calibration: Calibration | None = None
    notes: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """12 hexadecimal digits that stay the same while the hardware does, whatever else runs on it.

        Made of processor, cores, instruction sets, memory to the GiB and accelerators (without a share of the main
        memory, which is a setting); not of free memory, quotas, software or measurements.
        """
        cpu = self.cpu
        cards = [[card.vendor, card.name, _rounded_gib(_own_memory(card))] for card in self.accelerators]
        identity = [cpu.name, cpu.architecture, cpu.physical_cores, cpu.logical_cores, sorted(cpu.instruction_sets)]
        text = json.dumps([*identity, _rounded_gib(self.memory.total_bytes), cards])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def hardware_class(self) -> str:
        """The class under which prediction errors are collected: 'cuda', 'metal', 'cpu-x86-64', 'cpu-arm64'…

        A card that no engine here drives yet does not change the class.
        """
        vendors = {card.vendor for card in self.accelerators}
        for vendor, name in (("NVIDIA", "cuda"), ("Apple", "metal")):
            if vendor in vendors:
                return name
        return f"cpu-{self.cpu.architecture}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with units in the key names."""
        return {
            "fingerprint": self.fingerprint(),
            "hardware_class": self.hardware_class,
            "cpu": {**asdict(self.cpu), "instruction_sets": list(self.cpu.instruction_sets)},
            "memory": asdict(self.memory),
            "disk": asdict(self.disk),
            "accelerators": [card.to_dict() for card in self.accelerators],
            "system": self.system,
            "python": self.python,
            "packages": dict(self.packages),
            "environment": dict(self.environment),
            "calibration": self.calibration.to_dict() if self.calibration else None,
            "notes": list(self.notes),
        }


_UNITS = {
    "read_bandwidth": "B/s",
    "read_bandwidth_one_core": "B/s",
    "matrix_throughput": "FLOP/s",
    "matrix_throughput_one_core": "FLOP/s",
}
_CALIBRATION_KEYS = {name: f"{name}_{'bytes' if unit == 'B/s' else 'flop'}_per_s" for name, unit in _UNITS.items()}


def _measured_to_dict(measured: Measured) -> dict[str, Any]:
    return {
        "value": measured.value,
        "low": measured.low,
        "high": measured.high,
        "samples": list(measured.samples),
        "method": measured.method,
        "date": measured.date,
    }


def _measured_from_dict(data: Mapping[str, Any], name: str) -> Measured:
    samples = tuple(float(sample) for sample in data["samples"])
    return Measured(samples, _UNITS[name], str(data["method"]), str(data["date"]))


def _own_memory(card: Accelerator) -> int | None:
    return None if card.unified else card.memory_total_bytes


def _rounded_gib(count: int | None) -> int | None:
    return None if count is None else round(count / GIB)
