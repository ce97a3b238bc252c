"""Graphics cards as the PCI bus sees them: an address, a maker and, with luck, a name. Pure, like `parse`."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from workbench.machine.parse import Texts, pci_address

LSPCI, BUS, AMD_NAMES = "lspci", "pci", "amdgpu.ids"

_VENDORS = {"0x1002": "AMD", "0x10de": "NVIDIA", "0x8086": "Intel"}
_DISPLAY_CLASSES = ("0x03", "0x12")  # display controllers; processing accelerators
_LSPCI_CLASSES = ("VGA compatible controller", "3D controller", "Display controller", "Processing accelerators")
_LSPCI_VENDORS = {"Advanced Micro Devices": "AMD", "NVIDIA": "NVIDIA", "Intel": "Intel"}


@dataclass(frozen=True, slots=True)
class PciCard:
    """One graphics card on the bus."""

    address: str
    vendor: str
    name: str


def cards(texts: Texts) -> list[PciCard]:
    """Every graphics card on the bus: named by lspci, else by number; AMD's by the list that comes with its driver."""
    names = _amd_names(texts.get(AMD_NAMES, ""))
    numbered = pci_ids(texts.get(BUS, ""), names)
    exact = {card.address: card for card in numbered if card.name in names.values()}
    return [exact.get(card.address, card) for card in lspci(texts.get(LSPCI, ""))] or numbered


def lspci(text: str) -> list[PciCard]:
    """The graphics cards in the output of `lspci -Dmm`; lines that cannot be read are skipped."""
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
            found.append(PciCard(pci_address(words[0]), vendor, words[3]))
    return found


def pci_ids(text: str, names: dict[tuple[str, str], str] | None = None) -> list[PciCard]:
    """The graphics cards among lines of 'address vendor class device revision' out of sysfs, with stand-in names."""
    rows = [line.split() for line in text.splitlines()]
    return [
        PciCard(pci_address(row[0]), _VENDORS[row[1]], _name(row, names or {}))
        for row in rows
        if len(row) >= 4 and row[1] in _VENDORS and row[2].startswith(_DISPLAY_CLASSES)
    ]


def _name(row: list[str], names: dict[tuple[str, str], str]) -> str:
    device, revision = row[3], row[4] if len(row) > 4 else ""
    return names.get((_hexadecimal(device), _hexadecimal(revision))) or f"{_VENDORS[row[1]]} graphics ({device})"


def _amd_names(text: str) -> dict[tuple[str, str], str]:
    """Names by device and revision, from lines of libdrm's amdgpu.ids: '744C, C8, AMD Radeon RX 7900 XTX'."""
    rows = re.findall(r"^([0-9A-F]{4}),\s*([0-9A-F]{2}),\s*(.+)$", text, re.MULTILINE)
    return {(device.lower(), revision.lower()): name.strip() for device, revision, name in rows}


def _hexadecimal(text: str) -> str:
    return text.lower().removeprefix("0x")
