"""Look at this computer: the edge where files are read and tools are asked. What they say is understood in `detection`.

Nothing here measures speed, loads a numerical library or starts work on a device. A tool that is not installed is not
asked; one that hangs or fails makes a note in the result, never an exception.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from workbench import folders
from workbench.machine import amd, apple, cards, detection, intel, nvidia, parse, pci, windows
from workbench.machine.description import Machine
from workbench.machine.detection import from_raw

#: Distributions whose version can change a prediction or a measurement.
PACKAGES = (
    "open-model-workbench", "xllamacpp", "llama-cpp-python", "gguf", "torch", "transformers", "accelerate",
    "bitsandbytes", "flash-attn", "diffusers", "vllm", "onnxruntime", "onnxruntime-genai", "openai-whisper",
    "faster-whisper", "ctranslate2", "pywhispercpp", "openai", "numpy", "nvidia-ml-py",
)  # fmt: skip

_TOOL_TIMEOUT_S = 5
_FILES = (
    "/proc/cpuinfo", "/proc/meminfo", "/proc/self/cgroup", detection.KERNEL, detection.RELEASE, detection.ROCM,
    detection.TEGRA, cards.HOST_DRIVER, nvidia.BOARD, amd.DRIVER,
)  # fmt: skip
_CGROUP_FILES = (
    "cpu.max", "memory.max", "memory.current", "cpu.cfs_quota_us", "cpu.cfs_period_us",
    "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat",
)  # fmt: skip
_CARD_FILES = (
    "device/uevent", "device/product_name", "device/mem_info_vram_total", "device/mem_info_vram_used",
    "device/mem_info_gtt_total", "device/mem_info_gtt_used", "device/tile*/physical_vram_size_bytes",
    "device/lmem_total_bytes", "lmem_total_bytes",
)  # fmt: skip
_DEVICES = ("nvidia[0-9]*", "nvidiactl", "kfd", "dri/render*", "dxg")
_AMD_NAMES = ("/usr/share/libdrm/amdgpu.ids", "/opt/amdgpu/share/libdrm/amdgpu.ids")
_ROCM_SMI = (
    "rocm-smi",
    "--showproductname",
    "--showbus",
    "--showmeminfo",
    "vram",
    "gtt",
    "--showdriverversion",
    "--json",
)
_AMD_SMI = ("amd-smi", "static", "--asic", "--bus", "--vram", "--driver", "--json")
_MOST_XPUS = 16


def probe() -> Machine:
    """Describe this computer, without its calibration.

    Raises UsageError only if the cache folder, whose disk is described, cannot be created.
    """
    return from_raw(collect())


def raw() -> dict[str, str]:
    """Every text that `probe` reads, by file or command, for bug reports; what identifies the computer is taken out."""
    return {name: parse.redact(text) for name, text in collect().items()}


def collect() -> dict[str, str]:
    """Every text that says what this computer is, by file or command; those that are empty are left out."""
    texts = {
        detection.PLATFORM: _platform(), detection.PACKAGES: _packages(), detection.ENVIRONMENT: _environment(),
        detection.TORCH: _torch(), **_read(_FILES),
    }  # fmt: skip
    if platform.system() == "Linux":
        texts |= _linux(texts.get("/proc/self/cgroup", ""))
    if platform.system() == "Darwin":
        texts[apple.SYSCTL] = _output("sysctl", "machdep.cpu", "hw", "iogpu")
        texts[apple.PROFILER] = _output("system_profiler", "SPDisplaysDataType", "-json")
    texts |= _nvidia()
    wsl = "microsoft" in texts.get(detection.KERNEL, "").lower()
    texts |= _amd(wsl)
    texts[intel.XPU_SMI] = _xpu_smi()
    if platform.system() == "Windows" or (wsl and nvidia.QUERY not in texts):
        texts |= _windows()
    return {name: text for name, text in texts.items() if text.strip()}


def _platform() -> str:
    """What the standard library and psutil say, as lines of 'key: value'."""
    memory, cache = psutil.virtual_memory(), folders.cache()
    disk = shutil.disk_usage(cache)
    said: dict[str, Any] = {
        "system": platform.system(), "release": platform.release(), "machine": platform.machine(),
        "macos": platform.mac_ver()[0], "python": platform.python_version(), "logical_cores": os.cpu_count(),
        "physical_cores": psutil.cpu_count(logical=False), "usable_cores": _affinity(),
        "memory_total_bytes": memory.total, "memory_available_bytes": memory.available, "swap_bytes": _swap_bytes(),
        "disk": cache, "disk_total_bytes": disk.total, "disk_free_bytes": disk.free,
        "container": "yes" if any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")) else "",
    }  # fmt: skip
    return "\n".join(f"{key}: {value}" for key, value in said.items() if value)


def _affinity() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _swap_bytes() -> int | None:
    with suppress(OSError, RuntimeError):  # Windows without performance counters raises RuntimeError
        return psutil.swap_memory().total
    return None


def _packages() -> str:
    def versions() -> Iterator[str]:
        for name in PACKAGES:
            with suppress(metadata.PackageNotFoundError):
                yield f"{name}=={metadata.version(name)}"

    return "\n".join(versions())


def _environment() -> str:
    """Of those that hide devices an empty one counts: it hides them all."""
    names = [name for name in detection.HIDING if name in os.environ]
    names += [name for name in detection.PASSING if os.environ.get(name)]
    return "\n".join(f"{name}={os.environ[name]}" for name in names)


def _torch() -> str:
    """torch/version.py, which tells the build of torch without loading it."""
    found = importlib.util.find_spec("torch")
    return (
        next(iter(_read([str(Path(found.origin).with_name("version.py"))]).values()), "")
        if found and found.origin
        else ""
    )


def _linux(cgroup: str) -> dict[str, str]:
    """The kernel's files on limits, cards and compute nodes, and the PCI bus."""
    paths = [f"{level}/{name}" for level in parse.cgroup_folders(cgroup) for name in _CGROUP_FILES]
    for card in Path(amd.DRM).glob("card[0-9]*"):
        if "-" not in card.name:  # card0-HDMI-A-1 is a socket of card0
            paths += [str(path) for name in _CARD_FILES for path in card.glob(name)]
    paths += [str(path) for path in Path(amd.KFD).glob("*/properties")]
    bus = _bus()
    texts = _read(paths) | {pci.BUS: bus, pci.AMD_NAMES: _amd_names(bus), cards.DEVICES: _devices()}
    if shutil.which("lspci"):
        texts[pci.LSPCI] = _output("lspci", "-Dmm")
    return texts


def _bus() -> str:
    """One line of 'address vendor class device revision' per PCI function, from sysfs; '' where there is none."""
    devices = Path("/sys/bus/pci/devices")
    if not devices.is_dir():
        return ""
    lines = []
    for device in sorted(devices.iterdir()):
        texts = _read(str(device / name) for name in ("vendor", "class", "device", "revision"))
        lines.append(" ".join([device.name, *(text.strip() for text in texts.values())]))
    return "\n".join(lines)


def _amd_names(bus: str) -> str:
    """The lines of libdrm's list that name a device on this bus."""
    devices = {words[3].removeprefix("0x").upper() for line in bus.splitlines() if len(words := line.split()) > 3
               and words[1] == "0x1002"}  # fmt: skip
    lines = "\n".join(_read(_AMD_NAMES).values()).splitlines() if devices else []
    return "\n".join(line for line in lines if line[:4] in devices)


def _devices() -> str:
    """The device files of accelerators, and whether this user may open them."""
    found = [path for pattern in _DEVICES for path in sorted(Path("/dev").glob(pattern))]
    return "\n".join(f"{path} {'open' if os.access(path, os.R_OK | os.W_OK) else 'denied'}" for path in found)


def _nvidia() -> dict[str, str]:
    """What NVIDIA's library says, written as nvidia-smi would so that one parser reads both; else nvidia-smi."""
    tool = shutil.which("nvidia-smi") or shutil.which("/usr/lib/wsl/lib/nvidia-smi")
    answer = _nvml_text() or (_smi(tool) if tool else "")
    texts = {nvidia.QUERY: answer} if answer else {}
    if tool and nvidia.is_divided(answer):
        texts[nvidia.LIST] = _output(tool, "-L")
    return texts


def _smi(tool: str) -> str:
    """Ask nvidia-smi, again without each field that its age makes it refuse."""
    fields: tuple[str, ...] = nvidia.FIELDS
    while True:
        answer = _output(tool, *nvidia.command(fields)[1:])
        if (unknown := nvidia.refused(answer)) not in fields:
            return answer
        fields = tuple(field for field in fields if field != unknown)


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
    return "\n".join([", ".join(nvidia.FIELDS), *rows]) if rows else "No devices were found"


def _nvml_row(nvml: Any, index: int) -> str:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def ask(question: str, *arguments: Any) -> Any:
        try:
            answer = getattr(nvml, question)(*arguments)
        except (nvml.NVMLError, AttributeError):  # no answer, or a library from before the question
            return None
        return answer.decode() if isinstance(answer, bytes) else answer

    memory, mig = ask("nvmlDeviceGetMemoryInfo", handle), ask("nvmlDeviceGetMigMode", handle)
    capability, bus = ask("nvmlDeviceGetCudaComputeCapability", handle), ask("nvmlDeviceGetPciInfo", handle)
    address = bus.busId.decode() if bus and isinstance(bus.busId, bytes) else bus and bus.busId
    words = (
        index, ask("nvmlDeviceGetName", handle), ask("nvmlDeviceGetUUID", handle), address,
        memory and memory.total // 2**20, memory and memory.free // 2**20, ask("nvmlSystemGetDriverVersion"),
        capability and ".".join(map(str, capability)), mig and ("Enabled" if mig[0] else "Disabled"),
    )  # fmt: skip
    return ", ".join("[N/A]" if word is None else str(word) for word in words)


def _amd(wsl: bool) -> dict[str, str]:
    """AMD's tools: the newer one that is here, and under WSL, where neither works, rocminfo."""
    texts = {}
    if shutil.which("amd-smi"):
        texts[amd.AMD_SMI] = _output(*_AMD_SMI)
    elif shutil.which("rocm-smi"):
        texts[amd.ROCM_SMI] = _output(*_ROCM_SMI)
    if wsl and shutil.which("rocminfo"):
        texts[amd.ROCMINFO] = _output("rocminfo")
    return texts


def _xpu_smi() -> str:
    """The list of Intel's tool, followed by details of each device, which alone have its memory."""
    if not shutil.which("xpu-smi"):
        return ""
    answer = _output("xpu-smi", "discovery", "-j")
    devices = intel.device_ids(answer)[:_MOST_XPUS]
    return "\n".join([answer, *(_output("xpu-smi", "discovery", "-d", str(device), "-j") for device in devices)])


def _windows() -> dict[str, str]:
    shell = shutil.which("powershell.exe")
    ask = {windows.ADAPTERS: windows.ASK_ADAPTERS, windows.REGISTRY: windows.ASK_REGISTRY}
    return {name: _output(shell, "-NoProfile", "-Command", question) for name, question in ask.items()} if shell else {}


def _read(paths: Iterable[str]) -> dict[str, str]:
    """The files that can be read, by path."""
    texts = {}
    for path in paths:
        with suppress(OSError):  # not there, or not for us: the parser says what is missing
            texts[path] = Path(path).read_text(encoding="utf-8", errors="replace")
    return texts


def _output(*command: str) -> str:
    """What a tool prints, on both channels; a sentence when it hangs or cannot be started."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TOOL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{name} did not answer within {_TOOL_TIMEOUT_S} s"
    except OSError as error:
        return f"{name} cannot be started: {error.strerror}"
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr
