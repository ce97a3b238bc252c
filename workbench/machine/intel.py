"""Intel's cards and integrated graphics, from xpu-smi, the kernel's files and the PCI bus. Pure, like `parse`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from workbench.machine.description import Accelerator, Memory
from workbench.machine.parse import Texts, json_values, not_understood, pci_address, size_bytes
from workbench.machine.pci import PciCard

XPU_SMI = "xpu-smi"
DRM = "/sys/class/drm/"

_DRIVERS = ("i915", "xe")
_TABLE = {
    "Device Name": "device_name",
    "PCI BDF Address": "pci_bdf_address",
    "Driver Version": "driver_version",
    "Memory Physical Size": "memory_physical_size_byte",
    "Memory Free Size": "memory_free_size_byte",
}
_INTEGRATED_ADDRESS = "0000:00:02.0"  # where every Intel processor has its graphics
# What PyTorch's XPU build runs on. Source: PyTorch, Getting Started on Intel GPU (Arc, Core Ultra with Arc, Max).
_COMPUTES = re.compile(r"\bArc\b|\bMax \d{4}\b|Data Center GPU")
_INTEGRATED = re.compile(r"\bU?HD Graphics|\bIris\b|\bArc(?:\(TM\))? (?:Graphics|1[34]0[TV])\b|-[PHU] ?\[")


def cards(texts: Texts, memory: Memory, on_bus: Iterable[PciCard]) -> tuple[list[Accelerator], list[str]]:
    """Intel's devices: those xpu-smi lists, else those on the bus, with what the kernel knows of either; and notes."""
    kernel, listed = _drm(texts), _xpu_smi(texts.get(XPU_SMI, ""))
    rows = listed or [
        {"device_name": card.name, "pci_bdf_address": card.address} for card in on_bus if card.vendor == "Intel"
    ]
    notes = [] if listed else not_understood("xpu-smi", texts.get(XPU_SMI, ""))
    return [_card(index, row, kernel, memory, listed=bool(listed)) for index, row in enumerate(rows)], notes


def device_ids(text: str) -> list[int]:
    """The devices that `xpu-smi discovery -j` lists without their memory: those to be asked about one by one."""
    rows = _xpu_smi(text)
    return [row["device_id"] for row in rows if isinstance(row.get("device_id"), int) and not _memory(row)[0]]


def _card(
    index: int, row: dict[str, Any], kernel: dict[str, tuple[str, int | None]], memory: Memory, *, listed: bool
) -> Accelerator:
    name, pci = str(row.get("device_name", "Intel graphics")), pci_address(str(row.get("pci_bdf_address")))
    driver, on_card = kernel.get(pci, ("", None))
    total, free = _memory(row)
    shares = pci == _INTEGRATED_ADDRESS or bool(_INTEGRATED.search(name))
    if shares:
        total, free = total or memory.total_bytes, min(free or memory.available_bytes, memory.available_bytes)
    total = total or on_card
    note = (
        "shares the main memory"
        if shares
        else ("" if total else "how much memory it has is not known; Intel's xpu-smi would say")
    )
    runtime = "xpu" if (listed or driver) and _COMPUTES.search(name) else ""
    return Accelerator("Intel", name, index, total, free, _version(row) or driver or None, note, None, shares,
                       runtime=runtime, pci=pci)  # fmt: skip


def _memory(row: dict[str, Any]) -> tuple[int | None, int | None]:
    """Total and free memory; an answer of 0 is none."""
    total, free = (size_bytes(str(row.get(f"memory_{kind}_size_byte", ""))) for kind in ("physical", "free"))
    return total or None, free if total else None


def _version(row: dict[str, Any]) -> str:
    said = str(row.get("driver_version", ""))
    return said if re.fullmatch(r"[\d.]+(?:[-+~]\S+)?", said) else ""


def _xpu_smi(text: str) -> list[dict[str, Any]]:
    """`xpu-smi discovery`, as JSON (a list of devices, or details of one, several in a row) or as a table."""
    rows: dict[Any, dict[str, Any]] = {}
    for value in json_values(text):
        for row in value.get("device_list", [value]) if isinstance(value, dict) else []:
            if isinstance(row, dict) and "device_name" in row:
                rows.setdefault(row.get("device_id"), {}).update(row)
    return list(rows.values()) or _table(text)


def _table(text: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, key, value in re.findall(r"^\| (\d* *)\| *([\w ]+): *(.*?) *\|$", text, re.MULTILINE):
        if number.strip():
            rows.append({})
        if rows and key in _TABLE:
            size = size_bytes(value) if "Memory" in key else None
            rows[-1][_TABLE[key]] = value if size is None else size
    return [row for row in rows if "device_name" in row]


def _drm(texts: Texts) -> dict[str, tuple[str, int | None]]:
    """Kernel driver and memory of each card that an Intel driver has taken, by PCI address."""
    found = {}
    for path, text in texts.items():
        said = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)) if path.endswith("/device/uevent") else {}
        if path.startswith(DRM) and said.get("DRIVER") in _DRIVERS:
            card = path.removesuffix("/device/uevent")
            sizes = (
                size_bytes(size) or 0
                for name, size in texts.items()
                if name.startswith(f"{card}/") and name.endswith(("vram_size_bytes", "lmem_total_bytes"))
            )
            found[pci_address(said.get("PCI_SLOT_NAME"))] = said["DRIVER"], sum(sizes) or None
    return found
