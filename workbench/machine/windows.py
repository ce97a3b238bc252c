"""Graphics cards as Windows lists them, asked from WSL or on Windows itself. Pure, like `parse`.

AdapterRAM is a 32-bit number that stops below 4 GiB, for some drivers below 2 GiB: only the driver's own 64-bit number
in the registry is believed for anything larger.
"""

from __future__ import annotations

import re
from typing import Any

from workbench.machine.description import Accelerator
from workbench.machine.parse import Texts, json_values

ADAPTERS, REGISTRY = "Win32_VideoController", "display class registry"
ASK_ADAPTERS = (
    "Get-CimInstance Win32_VideoController | Select-Object Name,AdapterCompatibility,AdapterRAM,DriverVersion,"
    "PNPDeviceID | ConvertTo-Json"
)
ASK_REGISTRY = (
    "Get-ItemProperty 'HKLM:\\SYSTEM\\CurrentControlSet\\Control\\Class\\{4d36e968-e325-11ce-bfc1-08002be10318}\\0*' "
    "-ErrorAction SilentlyContinue | Select-Object DriverDesc,HardwareInformation.qwMemorySize | ConvertTo-Json"
)

_QW = "HardwareInformation.qwMemorySize"
_BELIEVED_BELOW_BYTES = 0x7FFFF000
_VENDORS = (
    (re.compile(r"VEN_10DE|NVIDIA", re.I), "NVIDIA"),
    (re.compile(r"VEN_1002|Advanced Micro Devices|\bAMD\b|Radeon", re.I), "AMD"),
    (re.compile(r"VEN_8086|Intel", re.I), "Intel"),
)
_INTEGRATED = re.compile(
    r"\bU?HD Graphics|\bIris\b|Radeon(?:\(TM\))? (?:Vega \d+ )?Graphics$|Radeon(?:\(TM\))? \d{3}M\b"
)


def cards(texts: Texts) -> list[Accelerator]:
    """The cards of the makers whose cards compute, with the registry's figure of their memory, matched by name."""
    sizes = {str(row.get("DriverDesc")): _whole(row.get(_QW)) for row in _rows(texts.get(REGISTRY, ""))}
    found: list[Accelerator] = []
    for row in _rows(texts.get(ADAPTERS, "")):
        vendor = next((vendor for sign, vendor in _VENDORS if sign.search(_marks(row))), None)
        if vendor:
            index = sum(card.vendor == vendor for card in found)
            found.append(_card(vendor, index, row, sizes.get(str(row.get("Name")))))
    return found


def _card(vendor: str, index: int, row: dict[str, Any], registry_bytes: int | None) -> Accelerator:
    name, reported = str(row.get("Name")), _whole(row.get("AdapterRAM"))
    shares = bool(_INTEGRATED.search(name))  # what Windows then reports is the small part set aside for it
    believed = reported if reported and 0 < reported < _BELIEVED_BELOW_BYTES else None
    total = None if shares else registry_bytes or believed
    note = "seen by Windows; " + ("shares the main memory" if shares else "how much memory it has is not known")
    version = _driver(vendor, str(row.get("DriverVersion") or ""))
    return Accelerator(vendor, name, index, total, None, version, "seen by Windows" if total else note, unified=shares)


def _driver(vendor: str, version: str) -> str | None:
    """The version as the maker writes it: NVIDIA's 560.94 is '32.0.15.6094' in Windows."""
    digits = "".join(version.split(".")[-2:])
    if vendor == "NVIDIA" and len(digits) >= 5:
        return f"{digits[-5:-2]}.{digits[-2:]}"
    return version or None


def _marks(row: dict[str, Any]) -> str:
    """What tells the maker; a device that is on no bus is a virtual one."""
    device = str(row.get("PNPDeviceID") or "")
    if device and not device.upper().startswith("PCI"):
        return ""
    return device or f"{row.get('AdapterCompatibility', '')} {row.get('Name', '')}"


def _rows(text: str) -> list[dict[str, Any]]:
    """JSON (a list, or one object), or lists of 'Name : value' (PowerShell) and 'Name=value' (wmic)."""
    rows: list[Any] = []
    for value in json_values(text):
        rows += value if isinstance(value, list) else [value]
    if rows:
        return [row for row in rows if isinstance(row, dict)]
    blocks = re.split(r"\n\s*\n", text.replace("\r", ""))
    read = [dict(re.findall(r"^([\w.]+) *[:=] ?(.*?) *$", block, re.MULTILINE)) for block in blocks]
    return [row for row in read if row.keys() & {"Name", "DriverDesc"}]


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
