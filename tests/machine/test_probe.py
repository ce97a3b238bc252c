"""Probing this machine, and machines described by captured texts."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from workbench.machine import Accelerator, Cpu, Disk, Machine, Memory, probe, raw
from workbench.units import GIB

edge = importlib.import_module("workbench.machine.probing")  # the name `probe` in the room is the function


@pytest.fixture
def texts(monkeypatch, captured):
    """Let `probe` read these texts instead of this machine's."""
    texts = {"/proc/cpuinfo": captured("cpuinfo-xeon-amx"), "/proc/meminfo": captured("meminfo-debian-24gib")}
    monkeypatch.setattr(edge, "_texts", lambda: texts)
    monkeypatch.setattr(edge.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(edge.os, "sched_getaffinity", lambda _pid: set(range(4)), raising=False)
    monkeypatch.setattr(edge.platform, "machine", lambda: "x86_64")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return texts


def described(**changes) -> Machine:
    cpu = Cpu("Some CPU", "Some vendor", "x86-64", 8, 16, 16.0, ("AVX2", "FMA"))
    machine = Machine(cpu, Memory(32 * GIB, 16 * GIB), Disk("/cache", 100 * GIB, 50 * GIB))
    return replace(machine, **changes)


def test_probe_describes_this_machine(home):
    machine = probe()
    assert 0 < machine.cpu.usable_cores <= machine.cpu.logical_cores
    assert 1 <= machine.cpu.physical_cores <= machine.cpu.logical_cores
    assert 0 < machine.memory.available_bytes <= machine.memory.total_bytes
    assert machine.disk.path == str(home / "cache")
    assert 0 < machine.disk.free_bytes <= machine.disk.total_bytes
    assert machine.packages["numpy"]
    assert machine.system
    assert machine.calibration is None


def test_fingerprint_is_the_same_twice():
    assert probe().fingerprint() == probe().fingerprint()


def test_to_dict_is_json():
    data = json.loads(json.dumps(probe().to_dict()))
    assert data["memory"]["total_bytes"] > 0
    assert len(data["fingerprint"]) == 12


def test_raw_holds_texts():
    texts = raw()
    assert texts
    assert all(isinstance(text, str) and text for text in texts.values())


def test_importing_the_room_loads_no_numerical_library():
    code = "import sys, workbench.machine; print({'numpy', 'pandas', 'torch', 'plotly', 'pynvml'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_affinity_limits_the_usable_cores(texts, monkeypatch):
    monkeypatch.setattr(edge.os, "sched_getaffinity", lambda _pid: {0})
    assert probe().cpu.usable_cores == 1.0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs sched_getaffinity")
def test_the_tightest_quota_of_all_levels_counts(texts):
    texts["/sys/fs/cgroup/cpu.max"] = "300000 100000\n"
    texts["/sys/fs/cgroup/app/cpu.max"] = "150000 100000\n"
    assert probe().cpu.usable_cores == 1.5


def test_a_memory_limit_below_the_total_limits_what_is_available(texts):
    texts["/sys/fs/cgroup/app/memory.max"] = f"{8 * GIB}\n"
    texts["/sys/fs/cgroup/app/memory.current"] = f"{3 * GIB}\n"
    memory = probe().memory
    assert (memory.limit_bytes, memory.available_bytes) == (8 * GIB, 5 * GIB)


def test_a_memory_limit_above_the_total_is_none(texts):
    texts["/sys/fs/cgroup/memory.max"] = f"{64 * GIB}\n"
    assert probe().memory.limit_bytes is None


def test_cards_and_class(texts, captured):
    texts["nvidia"] = captured("nvidia-two-cards")
    texts["lspci -mm"] = captured("lspci-amd-intel")
    machine = probe()
    assert [card.vendor for card in machine.accelerators] == ["NVIDIA", "NVIDIA", "Intel", "AMD"]
    assert machine.hardware_class == "cuda"
    assert machine.notes == ()


def test_a_card_without_a_driver_is_a_note_and_no_accelerator(texts, captured):
    texts["pci"] = captured("pci-sysfs")
    machine = probe()
    assert "NVIDIA" not in {card.vendor for card in machine.accelerators}
    assert any("no NVIDIA driver" in note for note in machine.notes)
    assert machine.hardware_class == "cpu-x86-64"


def test_a_broken_driver_is_one_note(texts, captured):
    texts["nvidia"], texts["pci"] = captured("nvidia-mismatch"), captured("pci-sysfs")
    (note,) = probe().notes
    assert "restart" in note


def test_an_unreadable_processor_is_named_and_noted(texts):
    texts["/proc/cpuinfo"] = ""
    machine = probe()
    assert machine.cpu.name == "x86-64 processor"
    assert machine.cpu.instruction_sets == ()
    assert len(machine.notes) >= 2


def test_hidden_devices_are_noted(texts, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert any("CUDA_VISIBLE_DEVICES=1" in note for note in probe().notes)


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(edge, "_nvml_text", lambda: "")
    return folder


def test_nvidia_smi_is_read(tools):
    tool(tools, "nvidia-smi", "echo '0, NVIDIA L4, GPU-1, 23034, 22500, 550.54.15, [N/A]'")
    (card,) = [card for card in probe().accelerators if card.vendor == "NVIDIA"]
    assert card.name == "NVIDIA L4"


def test_an_old_nvidia_smi_is_asked_again_without_mig(tools):
    refusal = "echo 'Field \"mig.mode.current\" is not a valid field to query.'; exit 2"
    answer = "echo '0, Tesla V100-SXM2-16GB, GPU-1, 16160, 16000, 418.87.01'"
    tool(tools, "nvidia-smi", f'case "$1" in *mig*) {refusal};; esac; {answer}')
    (card,) = [card for card in probe().accelerators if card.vendor == "NVIDIA"]
    assert card.driver == "418.87.01"


def test_a_tool_that_hangs_or_cannot_start_is_a_sentence(tools, monkeypatch):
    monkeypatch.setattr(edge, "_TOOL_TIMEOUT_S", 0.05)
    tool(tools, "nvidia-smi", "exec sleep 5")
    assert any("did not answer" in note for note in probe().notes)
    (tools / "nvidia-smi").write_bytes(b"\x7fELF not a program")
    assert any("nvidia-smi" in note for note in probe().notes)


class FakeNvml:
    """NVIDIA's library with one H100 whose free memory is a secret, or with an error at the start."""

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

    def nvmlDeviceGetName(self, _handle):
        return b"NVIDIA H100"

    def nvmlDeviceGetUUID(self, _handle):
        return "GPU-1"

    def nvmlSystemGetDriverVersion(self):
        return "550.54.15"


def test_nvml_goes_before_nvidia_smi(monkeypatch):
    library = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    (card,) = [card for card in probe().accelerators if card.vendor == "NVIDIA"]
    assert (card.name, card.memory_total_bytes, card.driver) == ("NVIDIA H100", 80 * GIB, "550.54.15")
    assert library.open == 0


def test_a_failing_nvml_is_a_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(FakeNvml.NVMLError("Driver/library version mismatch")))
    assert any("restart the computer" in note for note in probe().notes)


def test_fingerprint_follows_the_hardware_only():
    base = described()
    card = Accelerator("NVIDIA", "L4", 0, 24 * GIB, 20 * GIB)
    same = [
        replace(base, packages={"torch": "2"}, notes=("busy",)),
        replace(base, memory=Memory(32 * GIB, GIB, 4 * GIB)),
        replace(base, cpu=replace(base.cpu, usable_cores=2.0)),
    ]
    other = [
        replace(base, memory=Memory(64 * GIB, GIB)),
        replace(base, cpu=replace(base.cpu, name="Other")),
        replace(base, cpu=replace(base.cpu, instruction_sets=("AVX2",))),
        replace(base, accelerators=(card,)),
    ]
    assert {machine.fingerprint() for machine in same} == {base.fingerprint()}
    assert len({machine.fingerprint() for machine in [base, *other]}) == 5
    used = replace(base, accelerators=(replace(card, memory_free_bytes=0),))
    assert used.fingerprint() == other[-1].fingerprint()


def test_hardware_class():
    assert described().hardware_class == "cpu-x86-64"
    assert described(accelerators=(Accelerator("AMD", "RX", 0),)).hardware_class == "cpu-x86-64"
    assert described(accelerators=(Accelerator("Apple", "M4 GPU", 0),)).hardware_class == "metal"
