"""Look at this computer: the edge where files are read and tools are asked. What they say is understood in `parse`.

Nothing here measures speed, loads a numerical library or starts work on a device. A tool that is missing,
hangs or fails makes a note in the result, never an exception.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from workbench import folders
from workbench.machine import cards, parse
from workbench.machine.description import Accelerator, Cpu, Disk, Machine, Memory

#: Distributions whose version can change a prediction or a measurement.
PACKAGES = (
    "open-model-workbench", "xllamacpp", "llama-cpp-python", "gguf", "torch", "transformers", "accelerate",
    "bitsandbytes", "diffusers", "vllm", "onnxruntime", "onnxruntime-genai", "openai-whisper", "faster-whisper",
    "ctranslate2", "pywhispercpp", "openai", "numpy", "nvidia-ml-py",
)  # fmt: skip

_TOOL_TIMEOUT_S = 5
_FILES = ("/proc/cpuinfo", "/proc/meminfo", "/proc/self/cgroup", "/etc/os-release")
_CGROUP_FILES = (
    "cpu.max", "memory.max", "memory.current", "cpu.cfs_quota_us", "cpu.cfs_period_us",
    "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat",
)  # fmt: skip
_NVIDIA_QUERY = ",".join((*cards.NVIDIA_FIELDS, "mig.mode.current"))


def probe() -> Machine:
    """Describe this computer, without its calibration.

    Raises UsageError only if the cache folder, whose disk is described, cannot be created.
    """
    texts = _texts()
    notes: list[str] = []
    cpu = _cpu(texts, notes)
    return Machine(
        cpu=cpu,
        memory=_memory(texts, notes),
        disk=_disk(),
        accelerators=_accelerators(texts, cpu, notes),
        system=_system(texts),
        python=platform.python_version(),
        packages=_packages(),
        notes=tuple(notes),
    )


def raw() -> dict[str, str]:
    """Every text that `probe` reads, by file or command, for bug reports; serial numbers are taken out."""
    return {name: parse.redact(text) for name, text in _texts().items()}


def _texts() -> dict[str, str]:
    texts = _read(_FILES)
    levels = parse.cgroup_folders(texts.get("/proc/self/cgroup", "")) if platform.system() == "Linux" else []
    texts |= _read(f"{level}/{name}" for level in levels for name in _CGROUP_FILES)
    texts["nvidia"] = _nvidia_text()
    texts["pci"] = _pci_text()
    if shutil.which("lspci"):
        texts["lspci -mm"] = _output("lspci", "-mm")
    if platform.system() == "Darwin":
        texts["sysctl"] = _output("sysctl", "machdep.cpu", "hw")
    return {name: text for name, text in texts.items() if text}


def _cpu(texts: Mapping[str, str], notes: list[str]) -> Cpu:
    facts = parse.sysctl(texts["sysctl"]) if "sysctl" in texts else parse.cpuinfo(texts.get("/proc/cpuinfo", ""))
    architecture = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine()
    )
    logical = os.cpu_count() or facts.logical_cores or 1
    physical = facts.physical_cores or psutil.cpu_count(logical=False)
    if not physical:
        notes.append("The number of physical cores cannot be read; logical cores are counted instead.")
    if not facts.name:
        notes.append("The name of the processor cannot be read.")
    if not facts.instruction_sets:
        notes.append("The instruction sets of the processor cannot be read.")
    return Cpu(
        name=facts.name or f"{architecture} processor",
        vendor=facts.vendor or "unknown",
        architecture=architecture,
        physical_cores=min(physical or logical, logical),
        logical_cores=logical,
        usable_cores=_usable_cores(texts, logical),
        instruction_sets=facts.instruction_sets,
    )


def _usable_cores(texts: Mapping[str, str], logical: int) -> float:
    """The tightest of CPU affinity, cgroup quotas on every level, and the cores there are."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    quotas = (parse.cpu_quota(level) for level in parse.cgroup_levels(texts))
    return min(float(logical), float(affinity), *(quota for quota in quotas if quota))


def _memory(texts: Mapping[str, str], notes: list[str]) -> Memory:
    values = parse.meminfo(texts.get("/proc/meminfo", ""))
    if {"MemTotal", "MemAvailable"} <= values.keys():
        total, available, swap = values["MemTotal"], values["MemAvailable"], values.get("SwapTotal", 0)
    else:
        virtual = psutil.virtual_memory()
        total, available, swap = virtual.total, virtual.available, _swap_bytes(notes)
    limits = [limit for level in parse.cgroup_levels(texts) if (limit := parse.memory_limit(level))]
    binding = [(limit, left) for limit, left in limits if limit < total]
    return Memory(
        total_bytes=total,
        available_bytes=min(available, *(left for _, left in binding), total),
        limit_bytes=min((limit for limit, _ in binding), default=None),
        swap_bytes=swap,
    )


def _swap_bytes(notes: list[str]) -> int:
    try:
        return psutil.swap_memory().total
    except (OSError, RuntimeError) as error:  # Windows without performance counters raises RuntimeError
        notes.append(f"Swap cannot be read and is left out: {error}.")
        return 0


def _disk() -> Disk:
    folder = folders.cache()
    usage = shutil.disk_usage(folder)
    return Disk(str(folder), usage.total, usage.free)


def _accelerators(texts: Mapping[str, str], cpu: Cpu, notes: list[str]) -> tuple[Accelerator, ...]:
    nvidia, trouble = cards.nvidia(texts.get("nvidia", ""))
    notes.extend(trouble)
    found = cards.lspci(texts.get("lspci -mm", "")) or cards.pci_ids(texts.get("pci", ""))
    unseen = [name for vendor, name in found if vendor == "NVIDIA"]
    if unseen and not nvidia and not trouble:
        notes.append(f"There is an NVIDIA card ({unseen[0]}) but no NVIDIA driver: install the driver to use it.")
    if hidden := os.environ.get("CUDA_VISIBLE_DEVICES"):
        notes.append(f"CUDA_VISIBLE_DEVICES={hidden} hides devices from engines; all of them are listed here.")
    is_apple_chip = cpu.vendor == "Apple" and platform.system() == "Darwin"
    return (*nvidia, *((cards.apple(cpu.name),) if is_apple_chip else ()), *cards.named_only(found))


def _system(texts: Mapping[str, str]) -> str:
    kernel = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}, {kernel}"
    name = parse.os_release(texts.get("/etc/os-release", ""))
    return f"{name}, {kernel}" if name else kernel


def _packages() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _nvidia_text() -> str:
    """What NVIDIA's library says, written as nvidia-smi would so that one parser reads both; else nvidia-smi."""
    text = _nvml_text()
    if text or not shutil.which("nvidia-smi"):
        return text
    answer = _smi(_NVIDIA_QUERY)
    # Drivers from before MIG (2020) refuse the whole question because of that one field.
    return _smi(",".join(cards.NVIDIA_FIELDS)) if "not a valid field" in answer else answer


def _smi(query: str) -> str:
    return _output("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits")


def _nvml_text() -> str:
    """Ask NVIDIA's management library, which is quicker than nvidia-smi and touches no device; '' without it."""
    try:
        import pynvml
    except ImportError:
        return ""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        missing = getattr(error, "value", None) == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
        return "" if missing else str(error)
    try:
        rows = [_nvml_row(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return str(error)
    finally:
        pynvml.nvmlShutdown()
    return "\n".join(rows) or "No devices were found"


def _nvml_row(nvml: Any, index: int) -> str:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def ask(question: Any, *arguments: Any) -> Any:
        try:
            answer = question(*arguments)
        except nvml.NVMLError:
            return "[N/A]"
        return answer.decode() if isinstance(answer, bytes) else answer

    memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle)
    total, free = ("[N/A]", "[N/A]") if memory == "[N/A]" else (memory.total // 2**20, memory.free // 2**20)
    mig = ask(nvml.nvmlDeviceGetMigMode, handle)
    state = "Enabled" if mig != "[N/A]" and mig[0] else "Disabled"
    name, uuid = ask(nvml.nvmlDeviceGetName, handle), ask(nvml.nvmlDeviceGetUUID, handle)
    driver = ask(nvml.nvmlSystemGetDriverVersion)
    return ", ".join(str(word) for word in (index, name, uuid, total, free, driver, state))


def _pci_text() -> str:
    """One line of 'address vendor class device' per PCI function, from sysfs; '' where there is none."""
    devices = Path("/sys/bus/pci/devices")
    if not devices.is_dir():
        return ""
    lines = []
    for device in sorted(devices.iterdir()):
        texts = _read(str(device / name) for name in ("vendor", "class", "device"))
        lines.append(" ".join([device.name, *(text.strip() for text in texts.values())]))
    return "\n".join(lines)


def _read(paths: Iterable[str]) -> dict[str, str]:
    """The files that can be read, by path."""
    texts = {}
    for path in paths:
        try:
            texts[path] = Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:  # not there, or not for us: the parser says what is missing
            continue
    return texts


def _output(*command: str) -> str:
    """What a tool prints, on both channels; a sentence when it hangs or cannot be started."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TOOL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not answer within {_TOOL_TIMEOUT_S} s"
    except OSError as error:
        return f"{command[0]} cannot be started: {error.strerror}"
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr
