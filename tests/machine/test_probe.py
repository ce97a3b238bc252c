"""Looking at this machine: files that are here, and tools that are put here for the test."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.machine.conftest import text_of
from workbench.machine import from_raw, probe, raw
from workbench.units import GIB

edge = importlib.import_module("workbench.machine.probing")  # the name `probe` in the room is the function


def cards(vendor: str):
    return [card for card in probe().accelerators if card.vendor == vendor]


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def prints(folder: Path, name: str, fixture: str) -> None:
    (folder / f"{name}.txt").write_text(text_of(fixture))
    tool(folder, name, f"cat '{folder}/{name}.txt'")


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A folder in front of all others on PATH; NVIDIA's library does not answer."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(edge, "_nvml_text", lambda: "")
    return folder


def test_probe_describes_this_machine(home):
    machine = probe()
    assert 0 < machine.cpu.usable_cores <= machine.cpu.logical_cores
    assert 1 <= machine.cpu.physical_cores <= machine.cpu.logical_cores
    assert 0 < machine.memory.available_bytes <= machine.memory.total_bytes
    assert machine.disk.path == str(home / "cache")
    assert 0 < machine.disk.free_bytes <= machine.disk.total_bytes
    assert machine.packages["numpy"]
    assert machine.system
    assert machine.python == sys.version.split()[0]
    assert machine.calibration is None


def test_fingerprint_is_the_same_twice():
    assert probe().fingerprint() == probe().fingerprint()


def test_to_dict_is_json():
    data = json.loads(json.dumps(probe().to_dict()))
    assert data["memory"]["total_bytes"] > 0
    assert len(data["fingerprint"]) == 12


def test_a_bug_report_describes_the_machine_it_is_from():
    texts = raw()
    assert all(isinstance(text, str) and text.strip() for text in texts.values())
    there, here = from_raw(texts), probe()
    assert there.fingerprint() == here.fingerprint()
    assert (there.system, there.packages, there.notes) == (here.system, here.packages, here.notes)


def test_importing_the_room_loads_no_numerical_library():
    heavy = "{'numpy', 'pandas', 'torch', 'plotly', 'pynvml', 'yaml'}"
    code = f"import sys, workbench.machine; print({heavy} & set(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_only_tools_that_are_here_are_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(edge, "_nvml_text", lambda: "")
    monkeypatch.setattr(edge.shutil, "which", lambda _name: None)
    monkeypatch.setattr(edge, "_output", lambda *command: asked.append(command) or "")
    probe()
    assert asked == ([] if sys.platform == "linux" else asked)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs sched_getaffinity")
def test_affinity_limits_the_usable_cores(monkeypatch):
    monkeypatch.setattr(edge.os, "sched_getaffinity", lambda _pid: {0})
    assert probe().cpu.usable_cores <= 1.0


def test_nvidia_smi_is_read(tools):
    prints(tools, "nvidia-smi", "nvidia-smi/two-cards")
    assert [card.name for card in cards("NVIDIA")] == ["NVIDIA H100 80GB HBM3", "NVIDIA GeForce RTX 4090"]


def test_an_old_nvidia_smi_is_asked_again_without_what_it_refuses(tools):
    refusal = "echo 'Field \"{0}\" is not a valid field to query.'; exit 2"
    answer = "echo 'index, name, driver_version, memory.total [MiB]'; echo '0, Tesla V100-SXM2-16GB, 418.87.01, 16160'"
    cases = " ".join(f"*{name}*) {refusal.format(name)};;" for name in ("mig.mode.current", "compute_cap"))
    tool(tools, "nvidia-smi", f'case "$1" in {cases} esac; {answer}')
    (card,) = cards("NVIDIA")
    assert (card.driver, card.compute_capability) == ("418.87.01", "7.0")


def test_slices_are_asked_for_where_a_card_is_divided(tools):
    for name, fixture in (("query", "nvidia-smi/mig"), ("list", "nvidia-smi-L/seven-slices")):
        (tools / f"{name}.txt").write_text(text_of(fixture))
    tool(tools, "nvidia-smi", f'case "$1" in -L) cat "{tools}/list.txt";; *) cat "{tools}/query.txt";; esac')
    assert [card.slice_profile for card in cards("NVIDIA")] == ["1g.10gb"] * 7


def test_a_tool_that_hangs_or_cannot_start_is_a_sentence(tools, monkeypatch):
    monkeypatch.setattr(edge, "_TOOL_TIMEOUT_S", 0.05)
    tool(tools, "nvidia-smi", "exec sleep 5")
    started = time.perf_counter()
    assert any("did not answer" in note for note in probe().notes)
    assert time.perf_counter() - started < 4
    (tools / "nvidia-smi").write_bytes(b"\x7fELF not a program")
    assert any("nvidia-smi" in note for note in probe().notes)


def test_amd_smi_goes_before_rocm_smi(tools):
    prints(tools, "amd-smi", "amd-smi/mi300x-list")
    tool(tools, "rocm-smi", "exit 1")
    assert [card.name for card in cards("AMD")] == ["AMD Instinct MI300X"] * 2
    (tools / "amd-smi").unlink()
    prints(tools, "rocm-smi", "rocm-smi/rx-7900-xt")
    assert [card.name for card in cards("AMD")] == ["Radeon RX 7900 XT"]


def test_xpu_smi_is_asked_about_each_device(tools):
    listed, details = text_of("xpu-smi/max-1550-list-and-details").split("\n}\n", 1)
    (tools / "list.txt").write_text(f"{listed}\n}}\n")
    (tools / "details.txt").write_text(details)
    tool(tools, "xpu-smi", f'case "$2" in -d) cat "{tools}/details.txt";; *) cat "{tools}/list.txt";; esac')
    (card,) = cards("Intel")
    assert card.memory_total_bytes == 128 * GIB


class FakeNvml:
    """NVIDIA's library with one H100 whose slices are a secret, or with an error at the start."""

    NVML_ERROR_LIBRARY_NOT_FOUND = 12

    class NVMLError(Exception):
        value = 999

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.open = error, 0

    def nvmlInit(self):
        if self.error:
            raise self.error
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return 1

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetMemoryInfo(self, _handle):
        return type("Info", (), {"total": 80 * GIB, "free": 79 * GIB})

    def nvmlDeviceGetMigMode(self, _handle):
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetCudaComputeCapability(self, _handle):
        return (9, 0)

    def nvmlDeviceGetPciInfo(self, _handle):
        return type("Pci", (), {"busId": b"00000000:1B:00.0"})

    def nvmlDeviceGetName(self, _handle):
        return b"NVIDIA H100"

    def nvmlDeviceGetUUID(self, _handle):
        return "GPU-1"

    def nvmlSystemGetDriverVersion(self):
        return "550.54.15"


def test_nvml_goes_before_nvidia_smi(monkeypatch):
    library = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    (card,) = cards("NVIDIA")
    assert (card.name, card.memory_total_bytes, card.driver) == ("NVIDIA H100", 80 * GIB, "550.54.15")
    assert (card.compute_capability, card.pci, card.uuid) == ("9.0", "0000:1b:00.0", "GPU-1")
    assert library.open == 0


def test_a_failing_nvml_is_a_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(FakeNvml.NVMLError("Driver/library version mismatch")))
    assert any("restart the computer" in note for note in probe().notes)
