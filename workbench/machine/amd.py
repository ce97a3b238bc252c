"""AMD's cards and integrated graphics, put together from whatever speaks of them: amd-smi, rocm-smi, rocminfo, the
kernel's files and the PCI bus.

Pure, like `parse`. Each source is read into records of one kind, which are then matched by PCI address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import PurePosixPath
from typing import Any

from workbench.machine.description import Accelerator, Memory
from workbench.machine.parse import Texts, json_values, not_understood, number, pci_address, size_bytes
from workbench.machine.pci import PciCard
from workbench.units import KIB, format_bytes

AMD_SMI, ROCM_SMI, ROCMINFO, DRIVER = "amd-smi", "rocm-smi", "rocminfo", "/sys/module/amdgpu/version"
DRM, KFD = "/sys/class/drm/", "/sys/class/kfd/kfd/topology/nodes/"

# Graphics inside a processor. Source: LLVM, AMDGPUUsage ("dGPU/APU"); gfx942 is both, and left to the catalog.
INTEGRATED = frozenset(
    {"gfx801", "gfx902", "gfx909", "gfx90c", "gfx1013", "gfx1033", "gfx1035", "gfx1036", "gfx1037", "gfx1103",
     "gfx1150", "gfx1151", "gfx1152", "gfx1153"}
)  # fmt: skip
_INTEGRATED_NAMES = re.compile(
    r"\b(?:Raven|Picasso|Renoir|Lucienne|Cezanne|Barcelo|Rembrandt|Raphael|Granite Ridge|Phoenix\d?|Hawk ?Point\d?|"
    r"Mendocino|Van ?Gogh|Strix|Krackan)\b"
)

_ROCM_NAMES = ("Card Series", "Card series", "Device Name", "Card Model", "Card model")
_TROUBLE = (
    ("amdgpu not found in modules",
     "The AMD tools are here but the driver amdgpu is not loaded: load it (sudo modprobe amdgpu); inside a container "
     "or WSL these tools cannot see it."),
    ("ROCk module is NOT loaded",
     "ROCm is here but the driver amdgpu is not loaded: load it (sudo modprobe amdgpu)."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one source says of one device; empty where it says nothing."""

    pci: str = ""
    name: str = ""
    gfx: str = ""
    vram_bytes: int | None = None
    vram_used_bytes: int | None = None
    gtt_bytes: int | None = None  # main memory that the driver may map for the device
    gtt_used_bytes: int | None = None
    driver: str = ""
    shares: bool = False
    by_rocm: bool = False


def cards(
    texts: Texts, memory: Memory, cpu_name: str, on_bus: Iterable[PciCard]
) -> tuple[list[Accelerator], list[str]]:
    """The devices in the order of their first source, and notes on what is wrong."""
    driver = texts.get(DRIVER, "").strip()
    sources = (
        _amd_smi(texts.get(AMD_SMI, "")), _rocm_smi(texts.get(ROCM_SMI, "")), _rocminfo(texts.get(ROCMINFO, "")),
        _kfd(texts), _drm(texts), [_Seen(card.address, card.name) for card in on_bus if card.vendor == "AMD"],
    )  # fmt: skip
    seen: list[_Seen] = []
    for source in sources:
        seen = _merged(seen, source)
    found = [_accelerator(index, one, memory, cpu_name, driver) for index, one in enumerate(seen)]
    return found, [] if sources[0] or sources[1] else _trouble(texts, found)


def _trouble(texts: Texts, found: list[Accelerator]) -> list[str]:
    """What AMD's tools say is wrong, and that one cannot be understood; a driver that has cards is not missing."""
    spoken = {name: texts.get(name, "") for name in (AMD_SMI, ROCM_SMI, ROCMINFO)}
    for sign, explanation in _TROUBLE:
        if any(sign in text for text in spoken.values()):
            return [] if any(card.runtime for card in found) else [explanation]
    return [note for name in (AMD_SMI, ROCM_SMI) for note in not_understood(name, spoken[name])]


def _accelerator(index: int, seen: _Seen, memory: Memory, cpu_name: str, driver: str) -> Accelerator:
    shares = seen.shares or seen.gfx in INTEGRATED or bool(_INTEGRATED_NAMES.search(seen.name))
    card = Accelerator(
        "AMD", _name(seen, cpu_name if shares else ""), index, driver=seen.driver or driver or None, unified=shares,
        compute_capability=seen.gfx or None, runtime="rocm" if seen.by_rocm else "", pci=seen.pci,
    )  # fmt: skip
    if shares:
        return _sharing(card, seen, memory)
    note = "" if seen.vram_bytes else "how much memory it has is not known: no driver or tool here says"
    return replace(card, memory_total_bytes=seen.vram_bytes, note=note,
                   memory_free_bytes=_left(seen.vram_bytes, seen.vram_used_bytes))  # fmt: skip


def _sharing(card: Accelerator, seen: _Seen, memory: Memory) -> Accelerator:
    """Integrated graphics: the larger of the memory set aside in the firmware and of what the driver may map.

    A program gets one or the other: since Linux 6.10 ROCm takes the larger one (amdgpu, `apu_prefer_gtt`).
    """
    own, mapped = seen.vram_bytes or 0, min(seen.gtt_bytes or 0, memory.total_bytes)
    if not (own or mapped):
        return replace(card, note="shares the main memory; how much of it is not known: no driver or tool here says")
    aside = f"{format_bytes(own)} set aside for it, " if own else ""
    more = f"up to {format_bytes(mapped)} on demand" if mapped else "how much more it may take is not known"
    card = replace(card, note=f"shares the main memory: {aside}{more}")
    if own >= mapped:
        return replace(card, memory_total_bytes=own, memory_free_bytes=_left(own, seen.vram_used_bytes))
    left = _left(mapped, seen.gtt_used_bytes)
    free = None if left is None else min(left, memory.available_bytes)
    return replace(card, memory_total_bytes=mapped, memory_free_bytes=free)


def _left(total: int | None, used: int | None) -> int | None:
    return None if total is None or used is None else max(0, total - used)


def _name(seen: _Seen, cpu_name: str) -> str:
    """What it is sold as; integrated graphics are best named by their processor ('… w/ Radeon 8060S')."""
    inside = re.search(r"\bw(?:/|ith) Radeon(?:\(TM\)| ™)? (\d{3}\d?[A-Z]+)\b", cpu_name)
    return (
        f"Radeon {inside[1]}" if inside else seen.name or (f"AMD graphics ({seen.gfx})" if seen.gfx else "AMD graphics")
    )


def _merged(first: list[_Seen], second: list[_Seen]) -> list[_Seen]:
    """Both sources' devices, matched by PCI address, or by order when one gives none and they count the same."""
    if not first:
        return second
    addressed = all(one.pci for one in (*first, *second))
    by_order = not addressed and len(first) == len(second)
    result = list(first)
    for position, seen in enumerate(second):
        match = next((at for at, known in enumerate(first) if known.pci and known.pci == seen.pci), None)
        if match is None and by_order:
            match = position
        if match is not None:
            result[match] = _both(result[match], seen)
        elif addressed:
            result.append(seen)
    return result


def _both(known: _Seen, other: _Seen) -> _Seen:
    return _Seen(**{item.name: getattr(known, item.name) or getattr(other, item.name) for item in fields(_Seen)})


def _amd_smi(text: str) -> list[_Seen]:
    """`amd-smi static`, as JSON (a list, since ROCm 7 under 'gpu_data') or as indented text."""
    rows: list[Any] = []
    for value in json_values(text):
        rows += value.get("gpu_data", [value]) if isinstance(value, dict) else value
    rows = rows or _indented(text)
    return [_amd_smi_card(row) for row in rows if isinstance(row, dict) and "asic" in row]


def _amd_smi_card(row: Mapping[str, Any]) -> _Seen:
    def say(section: str, key: str) -> str:
        value = row.get(section)
        said = value.get(key, "") if isinstance(value, dict) else ""
        said = f"{said.get('value')} {said.get('unit')}" if isinstance(said, dict) else str(said)
        return "" if said == "N/A" else said

    return _Seen(
        pci_address(say("bus", "bdf")), say("asic", "market_name").removesuffix(" OAM"),
        say("asic", "target_graphics_version"), size_bytes(say("vram", "size"), "M"),
        driver=say("driver", "version"), by_rocm=True,
    )  # fmt: skip


def _indented(text: str) -> list[dict[str, Any]]:
    """amd-smi's text: 'GPU: 0', four spaces and 'ASIC:', eight and 'MARKET_NAME: …'."""
    rows: list[dict[str, Any]] = []
    section: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.strip().partition(":")
        if not colon:
            continue
        if line.startswith("GPU:"):
            rows.append({})
        elif rows and not value.strip():
            section = rows[-1].setdefault(key.lower(), {})
        elif rows:
            section[key.lower()] = value.strip()
    return rows


def _rocm_smi(text: str) -> list[_Seen]:
    """`rocm-smi` with names, memory, bus and driver: JSON, CSV or lines of 'GPU[0] : key : value'."""
    table: dict[str, dict[str, str]] = {}
    for value in json_values(text):
        table |= {key: row for key, row in value.items() if isinstance(row, dict)} if isinstance(value, dict) else {}
    table = table or _rocm_csv(text) or _rocm_lines(text)
    driver = table.pop("system", {}).get("Driver version", "")
    return [replace(_rocm_card(row), driver=driver) for key, row in table.items() if re.fullmatch(r"card\d+", key)]


def _rocm_card(row: Mapping[str, str]) -> _Seen:
    names = (row.get(key, "") for key in _ROCM_NAMES)
    name = next((name for name in names if name and name != "N/A" and not name.startswith("0x")), "")
    gfx = row.get("GFX Version", "")
    vram, used = (number(row.get(f"VRAM Total {word}Memory (B)")) for word in ("", "Used "))
    gtt, gtt_used = (number(row.get(f"GTT Total {word}Memory (B)")) for word in ("", "Used "))
    pci = pci_address(row.get("PCI Bus"))
    return _Seen(pci, name, gfx if gfx.startswith("gfx") else "", vram, used, gtt, gtt_used, by_rocm=True)


def _rocm_csv(text: str) -> dict[str, dict[str, str]]:
    lines = [line.split(",") for line in text.splitlines() if line.startswith(("device,", "card"))]
    if not lines or lines[0][0] != "device":
        return {}
    header, *rows = lines
    return {row[0]: dict(zip(header, row, strict=False)) for row in rows if len(row) == len(header)}


def _rocm_lines(text: str) -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = {}
    for index, key, value in re.findall(r"^GPU\[(\d+)\]\s*:\s*([^:\n]+?)\s*:\s*(.+)$", text, re.MULTILINE):
        table.setdefault(f"card{index}", {})[key] = value.strip()
    return table


def _rocminfo(text: str) -> list[_Seen]:
    """The agents of `rocminfo` that are GPUs; their first global pool is their memory."""
    found = []
    for agent in re.split(r"^\*+\s*\nAgent \d+\s*\n\*+\s*$", text, flags=re.MULTILINE)[1:]:
        said = dict(reversed([(key, value) for key, value in re.findall(r"^ *([\w ()]+?): +(\S.*?) *$", agent, re.M)]))
        if said.get("Device Type") != "GPU":
            continue
        pool = re.search(r"Segment: +GLOBAL.*\n +Size: +(\d+)\(", agent)
        size, location = int(pool[1]) * KIB if pool else None, number(said.get("BDFID"))
        shares = "APU" in said.get("Memory Properties", "")
        found.append(
            _Seen(
                _address(0, location) if location else "", said.get("Marketing Name", ""), said.get("Name", ""),
                vram_bytes=None if shares else size, gtt_bytes=size if shares else None, shares=shares, by_rocm=True,
            )
        )  # fmt: skip
    return found


def _kfd(texts: Texts) -> list[_Seen]:
    """The compute nodes of the kernel's topology; nodes without graphics are processors."""
    found = []
    for path in sorted((path for path in texts if path.startswith(KFD)), key=_node):
        said = {key: number(value) or 0 for key, _, value in (line.partition(" ") for line in texts[path].splitlines())}
        if version := said.get("gfx_target_version"):
            pci = _address(said.get("domain", 0), said.get("location_id", 0))
            found.append(_Seen(pci, gfx=gfx_name(version), by_rocm=True))
    return found


def gfx_name(version: int) -> str:
    """'gfx1151' for 110501, 'gfx90a' for 90010: decimal major, then minor and step as hexadecimal digits."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _node(path: str) -> int:
    return number(PurePosixPath(path).parent.name) or 0


def _address(domain: int, location: int) -> str:
    return f"{domain:04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.{location & 7}"


def _drm(texts: Texts) -> list[_Seen]:
    """The cards that the kernel's driver amdgpu has taken, with its figures of their memory."""
    found = []
    for path, text in sorted(texts.items()):
        said = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)) if path.endswith("/device/uevent") else {}
        if not path.startswith(DRM) or said.get("DRIVER") != "amdgpu":
            continue
        folder = path.removesuffix("uevent")
        vram, used, gtt, gtt_used = (
            number(texts.get(f"{folder}mem_info_{name}"))
            for name in ("vram_total", "vram_used", "gtt_total", "gtt_used")
        )
        name = texts.get(f"{folder}product_name", "").strip()
        found.append(_Seen(pci_address(said.get("PCI_SLOT_NAME")), name, "", vram, used, gtt, gtt_used))
    return found
