"""What the system's files and tools say about processor, memory, limits and system, read from their text.

Pure: text in, values out; nothing here looks at the computer. Whatever a text does not say, or says in a way
nobody has seen, is None. Each maker's graphics cards have a module of their own; what they share is here.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from workbench.units import GIB, KIB, MIB

#: What a computer said: texts by the file or the command they are from.
Texts = Mapping[str, str]

# How Linux and macOS spell the instruction sets that inference libraries choose their kernels by.
# Sources: Linux arch/x86/include/asm/cpufeatures.h, Documentation/arch/arm64/elf_hwcaps.rst, Apple's sysctl names.
INSTRUCTION_SETS: Mapping[str, frozenset[str]] = {
    "AVX": frozenset({"avx", "avx1.0"}),
    "AVX2": frozenset({"avx2"}),
    "FMA": frozenset({"fma"}),
    "F16C": frozenset({"f16c"}),
    "AVX-VNNI": frozenset({"avx_vnni", "avxvnni"}),
    "AVX-512F": frozenset({"avx512f"}),
    "AVX-512 VNNI": frozenset({"avx512_vnni", "avx512vnni"}),
    "AVX-512 BF16": frozenset({"avx512_bf16"}),
    "AVX-512 FP16": frozenset({"avx512_fp16"}),
    "AMX INT8": frozenset({"amx_int8"}),
    "AMX BF16": frozenset({"amx_bf16"}),
    "NEON": frozenset({"asimd", "neon", "hw.optional.neon"}),
    "FP16": frozenset({"asimdhp", "hw.optional.arm.feat_fp16"}),
    "DOTPROD": frozenset({"asimddp", "hw.optional.arm.feat_dotprod"}),
    "I8MM": frozenset({"i8mm", "hw.optional.arm.feat_i8mm"}),
    "BF16": frozenset({"bf16", "hw.optional.arm.feat_bf16"}),
    "SVE": frozenset({"sve"}),
    "SVE2": frozenset({"sve2"}),
    "SME": frozenset({"sme", "hw.optional.arm.feat_sme"}),
}

# /proc/cpuinfo on ARM has numbers instead of names. Source: util-linux, sys-utils/lscpu-arm.c.
ARM_VENDORS = {"0x41": "ARM", "0x46": "Fujitsu", "0x48": "HiSilicon", "0x4e": "NVIDIA", "0x51": "Qualcomm",
               "0x61": "Apple", "0xc0": "Ampere"}  # fmt: skip
ARM_CORES = {
    ("0x41", "0xd03"): "Cortex-A53", ("0x41", "0xd05"): "Cortex-A55", ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76", ("0x41", "0xd0c"): "Neoverse-N1", ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78", ("0x41", "0xd49"): "Neoverse-N2", ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd84"): "Neoverse-V3", ("0x41", "0xd8e"): "Neoverse-N3", ("0xc0", "0xac3"): "Ampere-1",
}  # fmt: skip

# The kernel writes "no limit" into cgroup v1 files as the largest page-aligned 64-bit number.
_UNLIMITED_BYTES = 2**60
# What tells one person's computer from another's, each after a first group that stays.
_SECRETS = (
    re.compile(r"(?im)^(serial\s*:\s*).*$"),
    re.compile(r"\b((?:GPU|MIG)-)[0-9a-f][0-9a-f-]{7,}", re.I),
    re.compile(r'(?i)("[^"\n]*(?:serial|uuid|unique.?id)[^"\n]*"\s*:\s*")[^"\n]*'),
    re.compile(r"(?im)^([^\"\n]*(?:(?:serial|unique)[ _]?(?:number|id)|product_serial|asic_serial|soc uuid|systemname)"
               r"\s*[:=]?\s+)[^\s|]+"),
    re.compile(r"(?i)((?:/home/|/users/|\\users\\))[^/\\\s\"]+"),
)  # fmt: skip
# The units that tools print after a size; all of them mean powers of two, whatever they call them.
_UNITS = {"": 1, "B": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1024 * GIB}


@dataclass(frozen=True, slots=True)
class CpuFacts:
    """What one text says about the processor; None where it says nothing."""

    name: str | None = None
    vendor: str | None = None
    physical_cores: int | None = None
    logical_cores: int | None = None
    instruction_sets: tuple[str, ...] = ()


def fields(text: str) -> dict[str, str]:
    """Read lines of 'key: value'; a line without a colon is skipped, the last of equal keys wins."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def cpuinfo(text: str) -> CpuFacts:
    """Read /proc/cpuinfo of x86 or ARM, whole or cut off."""
    blocks = [fields(block) for block in re.split(r"\n\s*\n", text)]
    processors = [block for block in blocks if "processor" in block]
    first = processors[0] if processors else {}
    everything = fields(text)  # the 32-bit ARM and Raspberry Pi kernels put the board into a block of its own
    flags = (first.get("flags") or first.get("Features") or everything.get("Features") or "").lower().split()
    return CpuFacts(
        name=first.get("model name") or _arm_name(everything),
        vendor=first.get("vendor_id") or ARM_VENDORS.get(everything.get("CPU implementer", "")),
        physical_cores=_physical_cores(processors),
        logical_cores=len(processors) or None,
        instruction_sets=instruction_sets(flags),
    )


def instruction_sets(flags: Iterable[str]) -> tuple[str, ...]:
    """Name the instruction sets that matter among a system's flags."""
    present = {flag.lower() for flag in flags}
    return tuple(name for name, spellings in INSTRUCTION_SETS.items() if spellings & present)


def sysctl(text: str) -> CpuFacts:
    """Read macOS's `sysctl machdep.cpu hw`."""
    values = fields(text)
    name = values.get("machdep.cpu.brand_string")
    features = " ".join(values.get(f"machdep.cpu.{key}", "") for key in ("features", "leaf7_features")).split()
    switched_on = [key for key, value in values.items() if key.startswith("hw.optional.") and value == "1"]
    return CpuFacts(
        name=name,
        vendor=values.get("machdep.cpu.vendor") or ("Apple" if name and name.startswith("Apple") else None),
        physical_cores=number(values.get("hw.physicalcpu")),
        logical_cores=number(values.get("hw.logicalcpu")),
        instruction_sets=instruction_sets([*features, *switched_on]),
    )


def meminfo(text: str) -> dict[str, int]:
    """Read /proc/meminfo into bytes; lines that hold no number are left out."""
    found = re.findall(r"^(\w+(?:\(\w+\))?):\s+(\d+) kB$", text, re.MULTILINE)
    return {key: int(kib) * KIB for key, kib in found}


def pss_bytes(smaps_rollup: str) -> int | None:
    """Proportional set size in bytes plus private huge pages, which the kernel counts apart; None if not there."""
    values = dict(re.findall(r"^(Pss|Private_Hugetlb):\s+(\d+) kB$", smaps_rollup, re.MULTILINE))
    if "Pss" not in values:
        return None
    return sum(int(kib) for kib in values.values()) * KIB


def mapped_bytes(smaps: str, file: str) -> tuple[int, int]:
    """Resident and proportional bytes of all mappings of `file` in a process's smaps."""
    resident = proportional = 0
    inside = False
    for line in smaps.splitlines():
        key, _, rest = line.partition(":")
        if key in ("Rss", "Pss") and inside:
            count = int(rest.split()[0]) * KIB
            resident, proportional = (
                (resident + count, proportional) if key == "Rss" else (resident, proportional + count)
            )
        elif re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(file)
    return resident, proportional


def cgroup_folders(proc_self_cgroup: str, root: str = "/sys/fs/cgroup") -> list[str]:
    """Every folder whose limits may bind this process, from its own group up to the root.

    Inside a container the path in /proc/self/cgroup is often the host's and does not exist; the root then
    is the container's own group, so it is always among the folders.
    """
    folders: dict[str, None] = {}
    for line in proc_self_cgroup.splitlines():
        _, first, rest = line.partition(":")
        controllers, second, path = rest.partition(":")
        if not (first and second):
            continue
        bases = [root, f"{root}/unified"] if not controllers else _v1_bases(controllers, root)
        group = PurePosixPath(path)
        for level in (group, *group.parents):
            folders |= dict.fromkeys(str(PurePosixPath(f"{base}/{str(level).strip('/')}")) for base in bases)
    return list(folders) or [root]


def cgroup_levels(raw: Mapping[str, str]) -> list[dict[str, str]]:
    """Group texts keyed by path into one mapping of file name to text per cgroup folder."""
    levels: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for key, text in raw.items():
        path = PurePosixPath(key)
        if path.is_relative_to("/sys/fs/cgroup"):
            levels[str(path.parent)][path.name] = text
    return list(levels.values())


def cpu_quota(level: Mapping[str, str]) -> float | None:
    """Cores that one cgroup folder allows, from cpu.max (v2) or cpu.cfs_quota_us (v1); None without a quota."""
    words = level.get("cpu.max", "").split()
    if not words:
        words = [level.get("cpu.cfs_quota_us", ""), level.get("cpu.cfs_period_us", "")]
    quota, period = (number(word) for word in (*words, "")[:2])
    return quota / period if quota and period and quota > 0 and period > 0 else None


def memory_limit(level: Mapping[str, str]) -> tuple[int, int] | None:
    """Limit of one cgroup folder and what is left of it, in bytes; None without a limit.

    Cached files that the kernel can drop (inactive_file) count as left. Without the folder's usage all is left.
    """
    limit = number(level.get("memory.max") or level.get("memory.limit_in_bytes"))
    if limit is None or limit >= _UNLIMITED_BYTES:
        return None
    used = number(level.get("memory.current") or level.get("memory.usage_in_bytes")) or 0
    droppable = re.search(r"^(?:total_)?inactive_file (\d+)$", level.get("memory.stat", ""), re.MULTILINE)
    left = limit - used + (int(droppable[1]) if droppable else 0)
    return limit, max(0, min(limit, left))


def os_release(text: str) -> str | None:
    """Name and version of the distribution from /etc/os-release: 'Debian GNU/Linux 12'."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    values = {key.strip(): value.strip().strip("\"'") for key, equals, value in pairs if equals}
    name = " ".join(word for word in (values.get("NAME"), values.get("VERSION_ID")) if word)
    return name or values.get("PRETTY_NAME")


def cache_bytes(text: str | None) -> int | None:
    """Read a cache size as sysfs writes it: '32768K'."""
    found = re.fullmatch(r"(\d+)([KMG]?)", (text or "").strip())
    return int(found[1]) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[found[2]] if found else None


def size_bytes(text: str | None, unit: str = "") -> int | None:
    """A size as tools print it ('16384 MiB', '14248,00 MiB', '8 GB'), in `unit` when it names none; else None.

    A comma before three digits separates thousands, any other is a decimal comma.
    """
    found = re.fullmatch(r"(\d+(?:[.,]\d+)*)\s*([KMGT]?)(?:i?B)?", (text or "").strip(), re.IGNORECASE)
    if not found:
        return None
    digits = re.sub(r",(?=\d{3}(?:\D|$))", "", found[1]).replace(",", ".")
    try:
        return round(float(digits) * _UNITS[found[2].upper() or unit])
    except ValueError:  # '1.2.3'
        return None


def json_values(text: str) -> list[Any]:
    """Every whole JSON object or list that begins a line of `text`: tools print warnings before, after and between.

    What was cut off is left out, also its inner parts, which would pass for the whole.
    """
    values, decoder, start = [], json.JSONDecoder(), 0
    while found := re.compile(r"^[\[{]", re.MULTILINE).search(text, start):
        try:
            value, start = decoder.raw_decode(text, found.start())
        except ValueError:
            start = found.end()
        else:
            values.append(value)
    return values


def not_understood(tool: str, text: str) -> list[str]:
    """A note on a tool that printed something in which nothing could be found."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return [f"{tool} printed what cannot be understood: {first[:100]}"] if first else []


def pci_address(text: str | None) -> str:
    """A PCI address the way the kernel writes it ('0000:01:00.0'), from any tool's way; '' if it is none."""
    found = re.fullmatch(r"(?:(?:[0-9a-f]{4})?([0-9a-f]{4}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])",
                         (text or "").strip().lower())  # fmt: skip
    return f"{found[1] or '0000'}:{found[2]}" if found else ""


def torch_version(text: str) -> str | None:
    """The version in torch/version.py with the build it is ('2.13.0+cu130', '2.13.0+cpu'); None if it is not there."""
    said = dict(re.findall(r"^(__version__|cuda|hip|xpu)\b[^=\n]*= *['\"]([^'\"]+)['\"]", text, re.MULTILINE))
    version = said.get("__version__")
    if not version or "+" in version:
        return version
    if "cuda" in said:
        return f"{version}+cu{''.join(said['cuda'].split('.')[:2])}"
    if "hip" in said:
        return f"{version}+rocm{'.'.join(said['hip'].split('.')[:2])}"
    return f"{version}+xpu" if "xpu" in said else version


def number(text: str | None) -> int | None:
    """The whole number a text is, or None ('max', '[N/A]', '')."""
    found = re.fullmatch(r"-?\d+", (text or "").strip())
    return int(found[0]) if found else None


def redact(text: str) -> str:
    """Take serial numbers and device identities out of a text that goes into a bug report."""
    for secret in _SECRETS:
        text = secret.sub(r"\1(removed)", text)
    return text


def _physical_cores(processors: list[dict[str, str]]) -> int | None:
    """Distinct (socket, core) pairs; ARM kernels do not print them, and their servers have no hyper-threads."""
    pairs = [(block.get("physical id"), block.get("core id")) for block in processors]
    return len(set(pairs)) if pairs and all(core is not None for _, core in pairs) else None


def _arm_name(values: Mapping[str, str]) -> str | None:
    vendor, part = values.get("CPU implementer", ""), values.get("CPU part", "")
    core = ARM_CORES.get((vendor, part))
    if not core and vendor in ARM_VENDORS:
        core = f"{ARM_VENDORS[vendor]} core {part}"
    board = values.get("Model") or values.get("Hardware")
    return " / ".join(word for word in (core, board) if word) or None


def _v1_bases(controllers: str, root: str) -> list[str]:
    """Folders of the v1 controllers that limit us; 'cpu,cpuacct' may be mounted under that name or under 'cpu'."""
    ours = [name for name in controllers.split(",") if name in ("cpu", "memory")]
    return [f"{root}/{controllers}", *(f"{root}/{name}" for name in ours if name != controllers)] if ours else []
