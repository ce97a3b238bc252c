"""The graphics of a Mac: the cores of an Apple chip, which share the main memory, and the cards of Intel Macs.

Pure, like `parse`.
"""

from __future__ import annotations

import re
from typing import Any

from workbench.machine.description import Accelerator, Memory
from workbench.machine.parse import Texts, fields, json_values, not_understood, number, size_bytes
from workbench.units import GIB, MIB, format_bytes

PROFILER, SYSCTL = "system_profiler", "sysctl"

# The part of the memory that Metal recommends a process to use at most (recommendedMaxWorkingSetSize), by default.
# Seen in llama.cpp's logs: 21,845 of 32,768 MiB, 27,648 of 36,864, 49,152 of 65,536; macOS 26 allows a little more
# (12,124 of 16,384; 38,339 of 49,152), which is not counted on.
_SMALL_BYTES, _SMALL_SHARE, _SHARE = 36 * GIB, 2 / 3, 3 / 4
_VENDORS = {"sppci_vendor_Apple": "Apple", "sppci_vendor_amd": "AMD", "sppci_vendor_intel": "Intel",
            "sppci_vendor_Nvidia": "NVIDIA"}  # fmt: skip


def cards(texts: Texts, memory: Memory, cpu_name: str) -> tuple[list[Accelerator], list[str]]:
    """The devices system_profiler lists; if it says nothing, the graphics of an Apple chip all the same; and notes."""
    said = texts.get(PROFILER, "")
    rows = _rows(said)
    notes = [] if rows else not_understood("system_profiler", said)
    if not rows and cpu_name.startswith("Apple "):
        rows = [{"model": cpu_name, "vendor": "Apple", "cores": "", "memory": ""}]
    limit = number(fields(texts.get(SYSCTL, "")).get("iogpu.wired_limit_mb"))
    return [_card(index, row, memory, limit or 0) for index, row in enumerate(rows)], notes


def working_set_bytes(memory_bytes: int) -> int:
    """What macOS lets the graphics cores use of so much memory, unless somebody has set another limit."""
    return int(memory_bytes * (_SMALL_SHARE if memory_bytes < _SMALL_BYTES else _SHARE))


def _card(index: int, row: dict[str, str], memory: Memory, limit_mib: int) -> Accelerator:
    if row["vendor"] != "Apple":
        total = size_bytes(row["memory"])
        return Accelerator(row["vendor"], row["model"], index, total, note="in an Intel Mac, which no engine here uses")
    name = f"{row['model']} ({row['cores']}-core GPU)" if row["cores"] else f"{row['model']} GPU"
    total = min(limit_mib * MIB, memory.total_bytes) or working_set_bytes(memory.total_bytes)
    note = f"shares the main memory; macOS lets it use {format_bytes(total)}" + (
        " (set by iogpu.wired_limit_mb)" if limit_mib else ""
    )
    free = min(total, memory.available_bytes)
    return Accelerator("Apple", name, index, total, free, None, note, None, unified=True, runtime="metal")


def _rows(text: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for value in json_values(text):
        listed = value.get("SPDisplaysDataType", []) if isinstance(value, dict) else []
        found += [_row(item) for item in listed if isinstance(item, dict) and item.get("sppci_model")]
    return found or _text_rows(text)


def _row(item: dict[str, Any]) -> dict[str, str]:
    vendor = str(item.get("spdisplays_vendor", ""))
    return {
        "model": str(item["sppci_model"]),
        "vendor": _VENDORS.get(vendor, vendor),
        "cores": str(item.get("sppci_cores", "")),
        "memory": str(item.get("spdisplays_vram", item.get("spdisplays_vram_shared", ""))),
    }


def _text_rows(text: str) -> list[dict[str, str]]:
    """The same without -json: a paragraph from 'Chipset Model:' on for each device."""
    rows = []
    for block in re.split(r"^ *Chipset Model: ", text, flags=re.MULTILINE)[1:]:
        said = fields(block)
        memory = next((value for key, value in said.items() if key.startswith("VRAM")), "")
        rows.append({"model": block.splitlines()[0].strip(), "vendor": said.get("Vendor", "").split(" (")[0],
                     "cores": said.get("Total Number of Cores", ""), "memory": memory})  # fmt: skip
    return rows
