"""Graphics cards and other accelerators, read from what tools and the PCI bus say about them.

Pure, like `parse`. NVIDIA cards come with memory and driver; AMD and Intel ones are named, no more.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from workbench.machine.description import Accelerator
from workbench.machine.parse import number
from workbench.units import MIB

NVIDIA_FIELDS = ("index", "name", "uuid", "memory.total", "memory.free", "driver_version")

_LATER = "details come with a later version"
_PCI_VENDORS = {"0x1002": "AMD", "0x10de": "NVIDIA", "0x8086": "Intel"}
_DISPLAY_CLASSES = ("0x03", "0x12")  # display controllers; processing accelerators
_LSPCI_CLASSES = ("VGA compatible controller", "3D controller", "Display controller", "Processing accelerators")
_LSPCI_VENDORS = {"Advanced Micro Devices": "AMD", "NVIDIA": "NVIDIA", "Intel": "Intel"}

# What nvidia-smi and NVML say when something is wrong, and what to tell the user.
_NVIDIA_TROUBLE = (
    ("Driver/library version mismatch",
     "The NVIDIA driver was updated while the old one is still loaded, so no card can be used: restart the computer."),
    ("couldn't communicate with the NVIDIA driver",
     "nvidia-smi is here but the NVIDIA driver is not running: install the driver or load it (modprobe nvidia)."),
    ("Driver Not Loaded",
     "The NVIDIA library is here but the driver is not running: install the driver or load it (modprobe nvidia)."),
    ("No devices were found", "The NVIDIA driver runs but finds no card that this process may use."),
)  # fmt: skip


def nvidia(text: str) -> tuple[tuple[Accelerator, ...], tuple[str, ...]]:
    """Read `nvidia-smi --query-gpu=… --format=csv,noheader,nounits` with NVIDIA_FIELDS (memory in MiB).

    A seventh field, where present, is the MIG mode. Lines that are no card become notes.
    """
    rows = [[word.strip() for word in line.split(",")] for line in text.splitlines() if line.strip()]
    cards = tuple(_nvidia_card(row) for row in rows if _is_card(row))
    rest = "\n".join(", ".join(row) for row in rows if not _is_card(row))
    return cards, ((_nvidia_note(rest),) if rest else ())


def lspci(text: str) -> tuple[tuple[str, str], ...]:
    """Vendor and name of each graphics card in the output of `lspci -mm`; lines that cannot be read are skipped."""
    found = []
    for line in text.splitlines():
        try:
            words = shlex.split(line)
        except ValueError:  # a quote without its partner: the line was cut off
            continue
        if len(words) < 4 or words[1] not in _LSPCI_CLASSES:
            continue
        vendor = next((ours for theirs, ours in _LSPCI_VENDORS.items() if words[2].startswith(theirs)), None)
        if vendor:
            found.append((vendor, words[3]))
    return tuple(found)


def pci_ids(text: str) -> tuple[tuple[str, str], ...]:
    """Vendor and a stand-in name of each graphics card, from lines of 'address vendor class device' out of sysfs."""
    rows = (line.split() for line in text.splitlines())
    return tuple(
        (_PCI_VENDORS[row[1]], f"{_PCI_VENDORS[row[1]]} graphics ({row[3]})")
        for row in rows
        if len(row) == 4 and row[1] in _PCI_VENDORS and row[2].startswith(_DISPLAY_CLASSES)
    )


def named_only(found: Iterable[tuple[str, str]]) -> tuple[Accelerator, ...]:
    """AMD and Intel cards as accelerators whose memory is unknown; NVIDIA's own tools describe NVIDIA's."""
    others = [(vendor, name) for vendor, name in found if vendor != "NVIDIA"]
    return tuple(Accelerator(vendor, name, index, note=_LATER) for index, (vendor, name) in enumerate(others))


def apple(cpu_name: str) -> Accelerator:
    """The graphics cores of an Apple chip, which have no memory of their own."""
    return Accelerator("Apple", f"{cpu_name} GPU", 0, note="shares the main memory")


def _is_card(row: list[str]) -> bool:
    return len(row) >= len(NVIDIA_FIELDS) and row[0].isdigit()


def _nvidia_card(row: list[str]) -> Accelerator:
    index, name, _, total, free, driver = row[: len(NVIDIA_FIELDS)]
    version = driver if re.fullmatch(r"[\d.]+", driver) else None
    if row[len(NVIDIA_FIELDS) :] == ["Enabled"]:
        # The figures are the whole card's; a process sees its slice only, and must not plan with more.
        note = "is divided into MIG slices; `nvidia-smi -L` lists them, and one process sees one slice"
        return Accelerator("NVIDIA", name, int(index), driver=version, note=note)
    total_bytes, free_bytes = _mebibytes(total), _mebibytes(free)
    note = "" if total_bytes is not None else f"the driver does not say how much memory it has: {total}"
    return Accelerator("NVIDIA", name, int(index), total_bytes, free_bytes, version, note)


def _mebibytes(text: str) -> int | None:
    count = number(text.removesuffix("MiB"))
    return None if count is None else count * MIB


def _nvidia_note(text: str) -> str:
    for sign, explanation in _NVIDIA_TROUBLE:
        if sign in text:
            return explanation
    first = text.splitlines()[0].rstrip(".")
    return f"{first}." if first.startswith("nvidia-smi ") else f"The NVIDIA tools said: {first}."
