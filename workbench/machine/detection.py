"""Understand what was read on a computer: from texts by file and command to a Machine.

Pure: the texts may be of this computer, as `probing.collect` reads them, or of a bug report, as `workbench machine
--raw` prints them. What is missing or cannot be understood makes a note in the result.
"""

from __future__ import annotations

import re

from workbench.errors import UsageError
from workbench.machine import cards, parse
from workbench.machine.description import Cpu, Disk, Machine, Memory
from workbench.machine.parse import Texts

PLATFORM, PACKAGES, ENVIRONMENT, TORCH = "platform", "packages", "environment", "torch/version.py"
KERNEL, RELEASE, ROCM, TEGRA = "/proc/version", "/etc/os-release", "/opt/rocm/.info/version", "/etc/nv_tegra_release"

#: Variables that hide devices from programs.
HIDING = (
    "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ONEAPI_DEVICE_SELECTOR", "ZE_AFFINITY_MASK",
)  # fmt: skip
#: Variables that change what a device passes for.
PASSING = ("HSA_OVERRIDE_GFX_VERSION",)

_ARCHITECTURES = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "arm64"}


def from_raw(dump: Texts) -> Machine:
    """The machine that these texts are of, without its calibration.

    Raises UsageError when they do not even say how many cores or how much memory it has.
    """
    platform = parse.fields(dump.get(PLATFORM, ""))
    environment = dict(re.findall(r"^(\w+)=(.*)$", dump.get(ENVIRONMENT, ""), re.MULTILINE))
    notes: list[str] = []
    cpu, memory = _cpu(dump, platform, notes), _memory(dump, platform)
    system, container = platform.get("system", "Linux"), platform.get("container") == "yes"
    found, trouble = cards.accelerators(dump, memory, cpu_name=cpu.name, system=system, container=container)
    notes += [*trouble, *_wsl(dump)]
    notes += [f"{name}={environment[name]} hides devices from engines; all of them are listed here."
              for name in HIDING if name in environment]  # fmt: skip
    return Machine(
        cpu=cpu, memory=memory, disk=_disk(platform), accelerators=found, system=_system(dump, platform, container),
        python=platform.get("python", ""), packages=_packages(dump), notes=tuple(notes), environment=environment,
    )  # fmt: skip


def hiding(machine: Machine) -> str:
    """The environment variable that hides accelerators from programs, with its value; "" where none does."""
    every = ",".join(str(number) for number in range(len(machine.accelerators)))
    found = (name for name in HIDING if machine.environment.get(name, every) != every)
    return next((f"{name}={machine.environment[name]}" for name in found), "")


def _cpu(dump: Texts, platform: dict[str, str], notes: list[str]) -> Cpu:
    facts = parse.sysctl(dump["sysctl"]) if "sysctl" in dump else parse.cpuinfo(dump.get("/proc/cpuinfo", ""))
    machine = platform.get("machine", "")
    architecture = _ARCHITECTURES.get(machine.lower(), machine) or "unknown"
    logical = parse.number(platform.get("logical_cores")) or facts.logical_cores
    if not logical:
        raise UsageError("The texts do not say how many cores the computer has.", fix="Add its /proc/cpuinfo.")
    physical = facts.physical_cores or parse.number(platform.get("physical_cores"))
    if not physical:
        notes.append("The number of physical cores cannot be read; logical cores are counted instead.")
    if not facts.name:
        notes.append("The name of the processor cannot be read.")
    if not facts.instruction_sets:
        notes.append("The instruction sets of the processor cannot be read.")
    return Cpu(
        name=facts.name or f"{architecture} processor", vendor=facts.vendor or "unknown", architecture=architecture,
        physical_cores=min(physical or logical, logical), logical_cores=logical,
        usable_cores=_usable_cores(dump, platform, logical), instruction_sets=facts.instruction_sets,
    )  # fmt: skip


def _usable_cores(dump: Texts, platform: dict[str, str], logical: int) -> float:
    """The tightest of CPU affinity, cgroup quotas on every level, and the cores there are."""
    affinity = parse.number(platform.get("usable_cores")) or logical
    quotas = (parse.cpu_quota(level) for level in parse.cgroup_levels(dump))
    return min(float(logical), float(affinity), *(quota for quota in quotas if quota))


def _memory(dump: Texts, platform: dict[str, str]) -> Memory:
    values = parse.meminfo(dump.get("/proc/meminfo", ""))
    total = values.get("MemTotal") or parse.number(parse.fields(dump.get("sysctl", "")).get("hw.memsize"))
    total = total or parse.number(platform.get("memory_total_bytes"))
    if not total:
        raise UsageError("The texts do not say how much memory the computer has.", fix="Add its /proc/meminfo.")
    available = values.get("MemAvailable") or parse.number(platform.get("memory_available_bytes"))
    swap = values.get("SwapTotal") or parse.number(platform.get("swap_bytes"))
    limits = [limit for level in parse.cgroup_levels(dump) if (limit := parse.memory_limit(level))]
    binding = [(limit, left) for limit, left in limits if limit < total]
    return Memory(
        total_bytes=total,
        available_bytes=min(total if available is None else available, *(left for _, left in binding), total),
        limit_bytes=min((limit for limit, _ in binding), default=None),
        swap_bytes=swap or 0,
    )


def _disk(platform: dict[str, str]) -> Disk:
    total, free = (parse.number(platform.get(f"disk_{name}_bytes")) or 0 for name in ("total", "free"))
    return Disk(platform.get("disk", ""), total, free)


def _system(dump: Texts, platform: dict[str, str], container: bool) -> str:
    release = ".".join(platform.get("release", "").split(".")[:2])
    kernel = f"{platform.get('system', 'Linux')} {release}".strip()
    if macos := platform.get("macos"):
        return f"macOS {macos}, {kernel}"
    name = parse.os_release(dump.get(RELEASE, ""))
    inside = [word for word in (_wsl_version(dump), "container" if container else "") if word]
    return ", ".join(filter(None, (name, f"{kernel} ({', '.join(inside)})" if inside else kernel)))


def _wsl_version(dump: Texts) -> str:
    kernel = dump.get(KERNEL, "")
    if "microsoft" not in kernel.lower():
        return ""
    return "WSL 2" if "WSL2" in kernel or "microsoft-standard" in kernel else "WSL 1"


def _wsl(dump: Texts) -> list[str]:
    version = _wsl_version(dump)
    if version == "WSL 1":
        return ["WSL 1 cannot use graphics cards: convert it in Windows (wsl --set-version <distribution> 2)."]
    if version and "/dev/dxg" not in dump.get(cards.DEVICES, ""):
        return ["Windows lends WSL no graphics card (no /dev/dxg): update both (wsl --update, the card's driver)."]
    return []


def _packages(dump: Texts) -> dict[str, str]:
    """Installed versions; torch's with the build it is, and ROCm and Jetson's Linux, which are installed apart."""
    found = dict(re.findall(r"^([\w.-]+)==(\S+)$", dump.get(PACKAGES, ""), re.MULTILINE))
    torch = parse.torch_version(dump.get(TORCH, ""))
    tegra = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", dump.get(TEGRA, ""))
    rocm = re.match(r"\d+(?:\.\d+)+", dump.get(ROCM, ""))
    more = {"torch": torch, "rocm": rocm and rocm[0], "jetson-linux": tegra and f"{tegra[1]}.{tegra[2]}"}
    return found | {name: version for name, version in more.items() if version}
