"""NVIDIA's cards, MIG slices and boards with memory in common (Jetson, GB10), from what NVIDIA's tools say.

Pure, like `parse`. Memory that a driver does not report is never guessed: boards that share the main memory are known
by name, any other silence becomes a note.
"""

from __future__ import annotations

import re
from dataclasses import replace

from workbench.catalog.accelerators import AcceleratorSpec
from workbench.machine.description import Accelerator, Memory
from workbench.machine.parse import Texts, pci_address, size_bytes
from workbench.units import GIB

QUERY, LIST, BOARD = "nvidia-smi", "nvidia-smi -L", "/proc/device-tree/model"
FIELDS = (
    "index", "name", "uuid", "pci.bus_id", "memory.total", "memory.free", "driver_version", "compute_cap",
    "mig.mode.current",
)  # fmt: skip

_SILENT = ("[N/A]", "N/A", "[Not Supported]", "Not Supported")
_SHARING = re.compile(r"\b(?:GB10|Orin|Thor|Xavier|Tegra|Jetson)\b", re.IGNORECASE)
_SLICE = re.compile(r"^\s+MIG (?P<profile>(?:\d+c\.)?\d+g\.(?P<gb>\d+)gb\S*)\s+Device\s+\d+: \(UUID: (?P<uuid>.+)\)$")
_PROFILE = re.compile(r"(?:(?P<cores>\d+)c\.)?(?P<slices>\d+)g\.(?P<gb>\d+)gb")
_SEVENTHS, _QUARTERS = 7, 4  # into how many compute slices a card can be cut
_CUT_IN_QUARTERS = ("a30", "rtx-pro-")

# What nvidia-smi and NVML say when something is wrong, and what to tell the user.
_TROUBLE = (
    ("Driver/library version mismatch",
     "The NVIDIA driver was updated while the old one is still loaded, so no card can be used: restart the computer."),
    ("GPU access blocked by the operating system",
     "Windows does not let WSL use the NVIDIA card: update the NVIDIA driver in Windows (install none inside WSL), "
     "then run wsl --update and wsl --shutdown."),
    ("couldn't communicate with the NVIDIA driver",
     "nvidia-smi is here but the NVIDIA driver is not running: install the driver or load it (modprobe nvidia)."),
    ("Driver Not Loaded",
     "The NVIDIA library is here but the driver is not running: install the driver or load it (modprobe nvidia)."),
    ("Unable to determine the device handle",
     "An NVIDIA card no longer answers (often: fallen off the bus); restart the computer, and check its power supply "
     "and cooling if that happens again"),
    ("GPU is lost",
     "An NVIDIA card has fallen off the bus: restart the computer, and check its power supply and cooling if that "
     "happens again."),
    ("No devices were found", "The NVIDIA driver runs but finds no card that this process may use."),
)  # fmt: skip


def command(fields: tuple[str, ...] = FIELDS) -> tuple[str, ...]:
    """How to ask nvidia-smi."""
    return "nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,nounits"


def refused(text: str) -> str | None:
    """The field that an older nvidia-smi does not know and refuses the whole question for."""
    found = re.search(r'Field "(.+?)" is not a valid field to query', text)
    return found[1] if found else None


def is_divided(text: str) -> bool:
    """Whether an answer to the query leaves open what MIG slices there are."""
    return "Enabled" in text or "[Insufficient Permissions]" in text


def cards(texts: Texts, memory: Memory) -> tuple[list[Accelerator], list[str]]:
    """The cards, or the slices of them, and notes on what is wrong."""
    rows, rest = _rows(texts.get(QUERY, ""))
    slices = _slices(texts.get(LIST, ""))
    board = texts.get(BOARD, "").strip("\0\n ")
    board = board if _SHARING.search(board) else ""
    found = [card for row in rows for card in _cards(row, slices.get(row["index"], []), board, memory)]
    if board and not found:  # before JetPack 6 there is no nvidia-smi
        found = [_sharing(Accelerator("NVIDIA", board, 0, runtime="cuda"), board, memory)]
    return found, [_note(rest)] if rest else []


def share(spec: AcceleratorSpec, profile: str) -> AcceleratorSpec | None:
    """What a MIG slice is of the whole card: its part of the compute slices, and of memory and bandwidth."""
    found = _PROFILE.match(profile)
    if not found or not spec.memory_bytes:
        return None
    parts = _QUARTERS if spec.key.startswith(_CUT_IN_QUARTERS) else _SEVENTHS
    compute = int(found["cores"] or found["slices"]) / parts
    memory = min(1.0, int(found["gb"]) / round(spec.memory_bytes / GIB))

    def part(rate: float | None) -> float | None:
        return None if rate is None else rate * compute

    return replace(
        spec, title=f"{spec.title} MIG {profile}", memory_bytes=int(found["gb"]) * 10**9,
        bandwidth_bytes_per_s=spec.bandwidth_bytes_per_s * memory, fp32_flops=part(spec.fp32_flops),
        fp16_flops=part(spec.fp16_flops), fp16_tensor_flops=part(spec.fp16_tensor_flops), price_usd=None, tdp_w=None,
        source=f"{spec.source}; share of the slice {profile} (NVIDIA MIG User Guide)",
    )  # fmt: skip


def _rows(text: str) -> tuple[list[dict[str, str]], str]:
    """The table of `nvidia-smi --query-gpu=… --format=csv,nounits` by field, and the lines that are no part of it."""
    columns: list[str] = []
    rows, rest = [], []
    for line in filter(str.strip, text.splitlines()):
        words = [word.strip() for word in line.split(",")]
        if {"index", "name"} <= set(words):
            columns = [re.sub(r" \[\w+\]$", "", word) for word in words]
        elif "[GPU is lost]" not in words and len(words) == len(columns) and words[columns.index("index")].isdigit():
            rows.append(dict(zip(columns, words, strict=True)))
        else:
            rest.append(line.strip())
    return rows, "\n".join(rest)


def _cards(row: dict[str, str], slices: list[tuple[str, str]], board: str, memory: Memory) -> list[Accelerator]:
    driver, capability = row.get("driver_version", ""), row.get("compute_cap", "")
    card = Accelerator(
        "NVIDIA", row["name"], int(row["index"]), runtime="cuda", pci=pci_address(row.get("pci.bus_id")),
        driver=driver if re.fullmatch(r"[\d.]+", driver) else None, uuid=_known(row.get("uuid", "")),
        compute_capability=capability if re.fullmatch(r"\d+\.\d+", capability) else None,
    )  # fmt: skip
    if slices:
        return [_slice(card, profile, uuid) for profile, uuid in slices]
    if row.get("mig.mode.current") == "Enabled":
        # The figures are the whole card's; a process sees its slice only, and must not plan with more.
        return [replace(card, note="is divided by MIG, but no slice of it is here: nvidia-smi mig -lgi lists them")]
    return [_with_memory(card, row, board, memory)]


def _with_memory(card: Accelerator, row: dict[str, str], board: str, memory: Memory) -> Accelerator:
    said = row.get("memory.total", "")
    total = size_bytes(said, "M")
    if total is not None:
        return replace(card, memory_total_bytes=total, memory_free_bytes=size_bytes(row.get("memory.free"), "M"))
    if said in _SILENT and (board or _SHARING.search(card.name)):
        return _sharing(card, board, memory)
    return replace(card, note=f"the driver does not say how much memory it has: {said or 'nothing at all'}")


def _sharing(card: Accelerator, board: str, memory: Memory) -> Accelerator:
    """A board whose graphics cores use the main memory, all of it. A Jetson module is named by its memory."""
    name = card.name
    if board:
        sold_gb = 1 << (round(memory.total_bytes / GIB) - 1).bit_length()
        name = re.sub(r"(?: Engineering Reference)? Developer Kit", "", board.removeprefix("NVIDIA "))
        name = f"{name} {sold_gb}GB"
    return replace(
        card, name=name, memory_total_bytes=memory.total_bytes, memory_free_bytes=memory.available_bytes, unified=True,
        note="shares the main memory",
    )  # fmt: skip


def _slices(text: str) -> dict[str, list[tuple[str, str]]]:
    """Profile and identity of every MIG slice in `nvidia-smi -L`, by the index of its card."""
    found: dict[str, list[tuple[str, str]]] = {}
    index = ""
    for line in text.splitlines():
        if card := re.match(r"GPU (\d+): ", line):
            index = card[1]
        elif piece := _SLICE.match(line):
            found.setdefault(index, []).append((piece["profile"], piece["uuid"]))
    return found


def _slice(card: Accelerator, profile: str, uuid: str) -> Accelerator:
    gb = int(_PROFILE.match(profile)["gb"])  # type: ignore[index]  # _SLICE matched it
    note = "a MIG slice; its memory is what its profile promises, and what of that is free is not known"
    return replace(
        card, name=f"{card.name} MIG {profile}", memory_total_bytes=gb * 10**9, uuid=uuid, slice_profile=profile,
        note=note,
    )  # fmt: skip


def _known(text: str) -> str:
    return "" if text.startswith("[") or text in _SILENT else text


def _note(text: str) -> str:
    first = text.splitlines()[0].rstrip(".")
    for sign, explanation in _TROUBLE:
        if sign in text:
            return explanation if explanation.endswith(".") else f"{explanation} ({first})."
    return f"{first}." if first.startswith("nvidia-smi ") else f"The NVIDIA tools said: {first}."
