"""Processor, memory, limits and system of whole machines, from what was read there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.machine.conftest import BASE, text_of
from workbench.errors import UsageError
from workbench.machine import Accelerator, Cpu, Disk, Machine, Memory, from_raw
from workbench.units import GIB


def described(**changes) -> Machine:
    cpu = Cpu("Some CPU", "Some vendor", "x86-64", 8, 16, 16.0, ("AVX2", "FMA"))
    machine = Machine(cpu, Memory(32 * GIB, 16 * GIB), Disk("/cache", 100 * GIB, 50 * GIB))
    return replace(machine, **changes)


def test_a_machine_of_a_bug_report():
    found = from_raw(
        {"/proc/cpuinfo": text_of("linux/cpuinfo-xeon-amx"), "/proc/meminfo": text_of("linux/meminfo-debian-24gib"),
         "/etc/os-release": text_of("linux/os-release-debian12"), "torch/version.py": text_of("torch/cu130"),
         "packages": "torch==2.13.0\nnumpy==2.4.6\n", "/opt/rocm/.info/version": "7.2.1-81\n",
         "environment": "HSA_OVERRIDE_GFX_VERSION=10.3.0\n",
         "platform": "system: Linux\nrelease: 6.1.0-26\nmachine: x86_64\npython: 3.11.7\nusable_cores: 3\n"
                     "disk: /home/(removed)/.cache\ndisk_total_bytes: 1000\ndisk_free_bytes: 500\n"}
    )  # fmt: skip
    assert (found.cpu.architecture, found.cpu.physical_cores, found.cpu.usable_cores) == ("x86-64", 2, 3.0)
    assert found.memory.total_bytes == 24684084 * 1024
    assert found.disk == Disk("/home/(removed)/.cache", 1000, 500)
    assert (found.system, found.python) == ("Debian GNU/Linux 12, Linux 6.1", "3.11.7")
    assert found.packages == {"torch": "2.13.0+cu130", "numpy": "2.4.6", "rocm": "7.2.1"}
    assert found.environment == {"HSA_OVERRIDE_GFX_VERSION": "10.3.0"}
    assert found.notes == ()
    assert found.calibration is None


@pytest.mark.parametrize(
    ("missing", "what"), [("/proc/meminfo", "how much memory"), ("/proc/cpuinfo", "how many cores")]
)
def test_a_dump_without_the_essentials_is_refused(missing, what):
    with pytest.raises(UsageError, match=what):
        from_raw({**BASE, missing: "", "platform": "system: Linux\n"})


def test_limits_of_containers(machine):
    first = machine("sysfs/container-cgroup-v1")
    assert (first.cpu.usable_cores, first.cpu.logical_cores) == (2.5, 16)
    assert (first.memory.limit_bytes, first.memory.available_bytes) == (8 * GIB, 6 * GIB)  # 1 GiB of files can go
    second = machine("sysfs/container-cgroup-v2")
    assert second.cpu.usable_cores == 2.0
    assert (second.memory.limit_bytes, second.memory.available_bytes) == (16 * GIB, 14 * GIB)
    assert second.system == "Linux (container)"


def test_the_tightest_quota_of_all_levels_counts(machine):
    quotas = {"/sys/fs/cgroup/cpu.max": "300000 100000\n", "/sys/fs/cgroup/app/cpu.max": "150000 100000\n"}
    assert machine(**quotas).cpu.usable_cores == 1.5
    assert machine(**quotas, platform="logical_cores: 8\nusable_cores: 1\n").cpu.usable_cores == 1.0


def test_a_memory_limit_above_the_total_is_none(machine):
    assert machine(**{"/sys/fs/cgroup/memory.max": f"{64 * GIB}\n"}).memory.limit_bytes is None


def test_a_container_that_was_given_no_card_is_told_so(machine):
    (note,) = machine("sysfs/container-cgroup-v1").notes
    assert "--gpus all" in note
    driver = {"/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03\n"}
    assert "nvidia-utils" in machine(**driver).notes[0]
    assert machine("nvidia-smi/two-cards", **driver).notes == ()


def test_wsl(machine):
    found = machine("sysfs/wsl-2", "nvidia-smi/wsl")
    assert found.system == "Linux 6.8 (WSL 2)"
    assert [(card.name, card.driver) for card in found.accelerators] == [("NVIDIA GeForce GTX 1060 3GB", "536.40")]
    assert found.notes == ()
    assert "/dev/dxg" in machine("sysfs/wsl-2", devices="").notes[0]
    found = machine("sysfs/wsl-1")
    assert found.system == "Linux 6.8 (WSL 1)"
    assert "--set-version" in found.notes[0]


def test_a_jetsons_linux_is_among_the_software(machine):
    assert machine("sysfs/jetson-orin-nano-super").packages["jetson-linux"] == "36.4.4"


def test_an_unreadable_processor_is_named_and_noted(machine):
    found = machine(**{"/proc/cpuinfo": ""})
    assert (found.cpu.name, found.cpu.vendor, found.cpu.instruction_sets) == ("x86-64 processor", "unknown", ())
    assert (found.cpu.physical_cores, found.cpu.logical_cores) == (8, 8)
    assert len(found.notes) == 3


@pytest.mark.parametrize("name", ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"])
def test_hidden_devices_are_noted(machine, name):
    assert f"{name}=1 hides devices" in machine(environment=f"{name}=1\n").notes[0]


def test_to_dict_names_the_catalogs_record_and_no_identity(machine):
    found = machine("nvidia-smi/two-cards")
    first = found.to_dict()["accelerators"][0]
    assert (first["spec"], first["memory_total_bytes"]) == ("h100-sxm5-80gb", 81559 * 2**20)
    assert found.accelerators[0].uuid
    assert "uuid" not in first


def test_fingerprint_follows_the_hardware_only():
    base = described()
    card = Accelerator("NVIDIA", "L4", 0, 24 * GIB, 20 * GIB)
    same = [
        replace(base, packages={"torch": "2"}, notes=("busy",), environment={"CUDA_VISIBLE_DEVICES": "0"}),
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


def test_fingerprint_does_not_follow_a_limit_that_anybody_can_set():
    chip = Accelerator("Apple", "Apple M3 Max (40-core GPU)", 0, 48 * GIB, unified=True)
    machines = [described(accelerators=(replace(chip, memory_total_bytes=size * GIB),)) for size in (48, 60)]
    assert len({machine.fingerprint() for machine in machines}) == 1


def test_hardware_class():
    assert described().hardware_class == "cpu-x86-64"
    assert described(accelerators=(Accelerator("AMD", "RX", 0),)).hardware_class == "cpu-x86-64"
    assert described(accelerators=(Accelerator("Apple", "M4 GPU", 0),)).hardware_class == "metal"
