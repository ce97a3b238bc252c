"""Whether drivers, libraries and accelerators go together: known pairs, their fixes, and what nobody recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.machine import Accelerator, Cpu, Disk, Machine, Memory, judge
from workbench.machine.compatibility import Finding, runs_on, supports
from workbench.units import GIB


def computer(*cards: Accelerator, torch: str = "", system: str = "Ubuntu 24.04, Linux 6.8", **changes) -> Machine:
    cpu = Cpu("Some CPU", "Some vendor", changes.pop("architecture", "x86-64"), 8, 16, 16.0)
    packages = {**({"torch": torch} if torch else {}), **changes.pop("packages", {})}
    machine = Machine(cpu, Memory(32 * GIB, 16 * GIB), Disk("/", GIB, GIB), cards, system, packages=packages)
    return replace(machine, **changes)


def nvidia(name: str, capability: str | None, driver: str | None) -> Accelerator:
    return Accelerator("NVIDIA", name, 0, 8 * GIB, driver=driver, compute_capability=capability, runtime="cuda")


def amd(gfx: str) -> Accelerator:
    return Accelerator("AMD", f"Radeon {gfx}", 0, 8 * GIB, compute_capability=gfx, runtime="rocm")


def on(software: str, machine: Machine) -> Finding:
    """What is found of a software; the first, so a problem if there is one."""
    return next(finding for finding in judge(machine) if software in finding.what)


V100, T4 = nvidia("Tesla V100", "7.0", "550.54.15"), nvidia("Tesla T4", "7.5", "550.54.15")
RTX_5090 = nvidia("RTX 5090", "12.0", "580.95.05")


@pytest.mark.parametrize(
    ("devices", "capability", "expected"),
    [
        (("8.6",), "8.9", True), (("8.9",), "8.6", False), (("8.6",), "9.0", False), (("8.6+PTX",), "12.0", True),
        (("8.0+",), "12.0", True), (("8.0+",), "7.5", False), (("5.0", "6.0"), "6.1", True), (("6.0",), "5.2", False),
        (("12.0+PTX",), "12.1", True), (("gfx1100",), "gfx1100", True), (("gfx1100", "8.0"), "gfx1101", False),
        ((), "8.0", False), (("gfx1100",), "8.0", False),
    ],
)  # fmt: skip
def test_code_runs_on_its_generation_and_ptx_on_all_later_ones(devices, capability, expected):
    assert runs_on(devices, capability) is expected


@given(st.sampled_from([line.devices for line in supports("torch") if line.build.startswith("cu")]),
       st.integers(5, 12), st.integers(0, 9))  # fmt: skip
def test_what_runs_on_a_card_runs_on_a_later_one_of_its_generation(devices, major, minor):
    if runs_on(devices, f"{major}.{minor}"):
        assert runs_on(devices, f"{major}.{minor + 1}")


@pytest.mark.parametrize(
    ("driver", "system", "level", "words"),
    [
        ("535.129.03", "Linux 5.15", "ok", "made for CUDA 12.2 or later, and runs programs built for CUDA 12 or older"),
        ("580.65.06", "Linux 5.15", "ok", "made for CUDA 13.0"),
        ("575.57.08", "Linux 5.15", "ok", "made for CUDA 12.9"),
        ("450.80.02", "Linux 5.15", "ok", "made for CUDA 11.0"),
        ("418.87.01", "Linux 5.15", "problem", "too old"),
        ("536.40", "Ubuntu 22.04, Linux 5.15 (WSL 2)", "ok", "made for CUDA 12.2"),
        ("581.29", "Ubuntu 22.04, Linux 5.15 (WSL 2)", "ok", "made for CUDA 13.0"),
        (None, "Linux 5.15", "unknown", "cannot be read"),
    ],
)
def test_drivers(driver, system, level, words):
    finding = on("driver", computer(nvidia("L4", "8.9", driver), system=system))
    assert (finding.level, words in finding.what) == (level, True)
    assert bool(finding.fix) == (level == "problem")


@pytest.mark.parametrize(
    ("card", "torch", "level", "words"),
    [
        (T4, "2.13.0+cu126", "ok", "has code for the Tesla T4 (7.5)"),
        (RTX_5090, "2.13.0+cu130", "ok", "has code"),
        (RTX_5090, "2.8.0+cu128", "ok", "has code"),
        (RTX_5090, "2.13.0+cu126", "problem", "no code for the RTX 5090 (12.0)"),
        (V100, "2.10.0+cu128", "ok", "has code"),
        (V100, "2.11.0+cu128", "problem", "no code for the Tesla V100 (7.0)"),
        (nvidia("GTX 1080", "6.1", "550.54.15"), "2.8.0+cu128", "problem", "no code"),
        (nvidia("GTX 1080", "6.1", "550.54.15"), "2.13.0+cu126", "ok", "has code"),
        (T4, "2.13.0+cu130", "problem", "needs an NVIDIA driver of at least 580.65.06; here is 550.54.15"),
        (T4, "2.13.0+cpu", "problem", "built for processors only"),
        (T4, "2.13.0+rocm7.2", "problem", "built for rocm7.2"),
        (T4, "2.13.0", "unknown", "is not known"),
        (T4, "2.3.0+cu121", "unknown", "is not recorded"),
        (T4, "3.0.0+cu126", "unknown", "is not recorded"),
        (nvidia("Some card", None, "580.95.05"), "2.13.0+cu130", "unknown", "compute capability"),
    ],
)
def test_torch_on_nvidia(card, torch, level, words):
    finding = on("torch", computer(card, torch=torch))
    assert (finding.level, words in finding.what) == (level, True), finding
    assert bool(finding.fix) or level != "problem"


@pytest.mark.parametrize(
    ("card", "torch", "command"),
    [
        (T4, "2.13.0+cpu", '"torch>=2.8,<2.15" --index-url https://download.pytorch.org/whl/cu126'),
        (RTX_5090, "2.13.0+cu126", '"torch>=2.12,<2.15" --index-url https://download.pytorch.org/whl/cu132'),
        (V100, "2.11.0+cu128", '"torch>=2.8,<2.15" --index-url https://download.pytorch.org/whl/cu126'),
        (amd("gfx1151"), "2.13.0+cpu", '"torch>=2.14,<2.15" --index-url https://download.pytorch.org/whl/rocm7.14'),
        (amd("gfx906"), "2.13.0+cpu", '"torch>=2.7,<2.8" --index-url https://download.pytorch.org/whl/rocm6.3'),
    ],
)
def test_the_fix_is_a_command_for_this_card_and_driver(card, torch, command):
    assert on("torch", computer(card, torch=torch)).fix == f"pip install --force-reinstall {command}"


def test_a_fix_does_not_bring_the_next_problem():
    for torch in ("2.13.0+cpu", "2.13.0+cu126", "2.13.0+cu130"):
        for card in (V100, T4, RTX_5090, nvidia("GTX 1080", "6.1", "535.54.03"), nvidia("H100", "9.0", "535.54.03")):
            fix = on("torch", computer(card, torch=torch)).fix
            if "--index-url" in fix:
                version, build = fix.split("torch>=")[1].split(",")[0], fix.rsplit("/", 1)[1]
                assert on("torch", computer(card, torch=f"{version}.0+{build}")).level == "ok", (card.name, torch)


def test_processors_of_arm_have_builds_of_their_own():
    gb10 = replace(nvidia("NVIDIA GB10", "12.1", "580.126.09"), unified=True)
    assert on("torch", computer(gb10, torch="2.13.0+cu130", architecture="arm64")).level == "ok"
    a10 = nvidia("A10", "8.6", "580.126.09")
    assert on(
        "torch", computer(nvidia("L4", "7.5", "580.126.09"), torch="2.13.0+cu126", architecture="arm64")
    ).level == ("problem")
    assert on("torch", computer(a10, torch="2.13.0+cu126", architecture="arm64")).level == "ok"


def test_jetsons_are_left_to_nvidia():
    orin = replace(nvidia("Jetson AGX Orin 64GB", "8.7", "540.4.0"), unified=True)
    (finding,) = judge(computer(orin, torch="2.13.0+cpu", architecture="arm64"))
    assert (finding.level, "JetPack" in finding.what) == ("unknown", True)


@pytest.mark.parametrize(
    ("gfx", "torch", "level"),
    [
        ("gfx1100", "2.7.1+rocm6.3", "ok"), ("gfx1101", "2.5.1+rocm6.2", "problem"),
        ("gfx1031", "2.7.1+rocm6.3", "problem"), ("gfx1151", "2.12.0+rocm7.2", "ok"),
        ("gfx1103", "2.12.0+rocm7.2", "problem"), ("gfx1103", "2.14.0+rocm7.14", "ok"),
        ("gfx906", "2.12.0+rocm7.2", "problem"), ("gfx1100", "2.13.0+rocm7.2", "unknown"),
    ],
)  # fmt: skip
def test_torch_on_amd(gfx, torch, level):
    assert on("torch", computer(amd(gfx), torch=torch)).level == level


def test_a_sibling_lends_its_code():
    finding = on("torch", computer(amd("gfx1031"), torch="2.7.1+rocm6.3"))
    assert finding.fix == "export HSA_OVERRIDE_GFX_VERSION=10.3.0"
    helped = computer(amd("gfx1031"), torch="2.7.1+rocm6.3", environment={"HSA_OVERRIDE_GFX_VERSION": "10.3.0"})
    assert on("torch", helped).level == "ok"
    phoenix = on("torch", computer(amd("gfx1103"), torch="2.12.0+rocm7.2")).fix
    assert "rocm7.14" in phoenix
    assert "hangs" in phoenix
    wrong = computer(amd("gfx1031"), torch="2.7.1+rocm6.3", environment={"HSA_OVERRIDE_GFX_VERSION": "12.3.4"})
    assert on("torch", wrong).level == "problem"


def test_no_build_at_all_still_has_a_way_out():
    finding = on("torch", computer(amd("gfx1010"), torch="2.12.0+rocm7.2"))
    assert (finding.level, "llama.cpp" in finding.fix) == ("problem", True)


def test_torch_on_intel_and_without_a_card():
    arc = Accelerator("Intel", "Arc B580", 0, 12 * GIB, runtime="xpu")
    assert on("torch", computer(arc, torch="2.13.0+xpu")).level == "ok"
    assert on("torch", computer(arc, torch="2.13.0+cpu")).fix.endswith("/xpu")
    seen = replace(arc, runtime="")
    assert judge(computer(seen, torch="2.13.0+cpu")) == ()
    assert judge(computer(torch="2.13.0+cpu")) == ()
    assert judge(computer(T4)) == (on("driver", computer(T4)),)


@pytest.mark.parametrize(
    ("torch", "macos", "level"),
    [("2.13.0", "15.1", "ok"), ("2.13.0", "13.7", "problem"), ("2.9.0", "13.7", "ok"), ("2.2.0", "15.1", "unknown")],
)
def test_torch_on_macs(torch, macos, level):
    chip = Accelerator("Apple", "Apple M3 Max (40-core GPU)", 0, unified=True, runtime="metal")
    mac = computer(chip, torch=torch, system=f"macOS {macos}, Darwin 24.1", architecture="arm64")
    assert on("torch", mac).level == level
    rosetta = replace(mac, cpu=replace(mac.cpu, vendor="Apple", architecture="x86-64"))
    (finding,) = judge(rosetta)
    assert (finding.level, "arm64" in finding.fix) == ("problem", True)


@pytest.mark.parametrize(
    ("packages", "card", "level", "words"),
    [
        ({"bitsandbytes": "0.50.2"}, T4, "ok", "LLM.int8"),
        ({"bitsandbytes": "0.50.2"}, V100, "problem", "LLM.int8 of bitsandbytes 0.50.2 needs compute capability 7.5"),
        ({"bitsandbytes": "0.46.0"}, nvidia("M40", "5.2", "550.54.15"), "ok", "NF4"),
        ({"bitsandbytes": "0.48.1"}, nvidia("M40", "5.2", "550.54.15"), "problem", "NF4"),
        ({"flash-attn": "2.8.3"}, T4, "problem", "needs compute capability 8.0; the Tesla T4 has 7.5"),
        ({"flash-attn": "2.8.3"}, RTX_5090, "ok", "FlashAttention-2"),
        ({"flash-attn": "2.8.3"}, amd("gfx1100"), "unknown", "not recorded"),
        ({"bitsandbytes": "0.50.2"}, nvidia("Some card", None, "550.54.15"), "unknown", "LLM.int8"),
    ],
)
def test_libraries(packages, card, level, words):
    found = [finding for finding in judge(computer(card, packages=packages)) if words in finding.what]
    assert [finding.level for finding in found] == [level]


def test_problems_come_first_and_nothing_is_said_twice():
    machine = computer(T4, replace(T4, index=1), torch="2.13.0+cpu", packages={"flash-attn": "2.8.3"})
    levels = [finding.level for finding in judge(machine)]
    assert levels == sorted(levels, key=("problem", "unknown", "ok").index)
    assert len(set(judge(machine))) == len(judge(machine)) == 3


def test_every_line_of_the_catalog_is_about_a_software_that_is_looked_at():
    known = ("cuda", "torch", "hsa-override", "bitsandbytes", "flash-attn")
    lines = [line for software in known for line in supports(software)]
    assert len(lines) == 40
    assert all(line.source for line in lines)
