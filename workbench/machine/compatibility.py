"""Whether driver, libraries and accelerators go together, and what to do where they do not.

Pure: it compares what a machine says of itself with the catalog's compatibility.yaml. What the catalog does not know
is said to be unknown; nothing is loaded or tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Literal

from workbench.catalog.loader import load
from workbench.machine.description import Accelerator, Machine

Level = Literal["ok", "problem", "unknown"]

_RUNTIMES = {"cu": "cuda", "rocm": "rocm", "xpu": "xpu"}
_WHEELS = "https://download.pytorch.org/whl"  # PyTorch's own index of its builds
_LIBRARIES = ("bitsandbytes", "flash-attn")


@dataclass(frozen=True, slots=True)
class Support:
    """One line of the catalog: what a version of a software needs or can run on. Empty fields do not matter."""

    name: str
    software: str
    source: str
    checked: date
    since: str = ""
    below: str = ""
    build: str = ""
    platform: str = ""
    feature: str = ""
    devices: tuple[str, ...] = ()
    driver_linux: str = ""
    driver_windows: str = ""
    system_at_least: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. fix: a command or an action, for a problem; source: where the rule is from."""

    level: Level
    what: str
    fix: str = ""
    source: str = ""


def judge(machine: Machine) -> tuple[Finding, ...]:
    """Everything that was looked at, problems first."""
    found = [*_drivers(machine), *_torch(machine), *_libraries(machine)]
    order = ("problem", "unknown", "ok")
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: order.index(finding.level)))


@cache
def supports(software: str) -> tuple[Support, ...]:
    """The catalog's lines on a software."""
    return tuple(line for line in load("compatibility.yaml", Support).values() if line.software == software)


def runs_on(devices: tuple[str, ...], capability: str) -> bool:
    """Whether code for these devices runs on a card of this compute capability.

    NVIDIA's machine code runs on later cards of the same generation, PTX on all later ones; AMD's on its own kind.
    """
    if not re.fullmatch(r"\d+\.\d+", capability):
        return capability in devices
    wanted = _version(capability)
    for device in devices:
        have = device.partition("+")[0]
        if device.startswith("gfx") or _version(have) > wanted:
            continue
        if "+" in device or _version(have)[0] == wanted[0]:
            return True
    return False


def _drivers(machine: Machine) -> Iterator[Finding]:
    cards = [card for card in machine.accelerators if card.runtime == "cuda"]
    if any(_is_jetson(card) for card in cards):
        yield Finding("unknown", "A Jetson's CUDA comes with its JetPack; which PyTorch fits it is not recorded.",
                      "Install the PyTorch that NVIDIA builds for this JetPack.")  # fmt: skip
        return
    for driver in dict.fromkeys(card.driver for card in cards):
        newest = _newest_cuda(machine, driver)
        if driver is None:
            yield Finding("unknown", "The version of the NVIDIA driver cannot be read, so neither which CUDA it runs.")
        elif newest is None:
            yield Finding("problem", f"NVIDIA driver {driver} is too old for any CUDA that today's programs use.",
                          "Install the newest NVIDIA driver for this card.", supports("cuda")[0].source)  # fmt: skip
        else:
            major = newest.since.split(".")[0]
            yield Finding("ok", f"NVIDIA driver {driver} was made for CUDA {newest.since} or later, "
                          f"and runs programs built for CUDA {major} or older.", source=newest.source)  # fmt: skip


def _newest_cuda(machine: Machine, driver: str | None) -> Support | None:
    """The newest CUDA that the driver was made for, as far as recorded."""
    have = _version(driver or "")
    lines = ((line, _oldest_driver(line, machine)) for line in supports("cuda"))
    fitting = [line for line, oldest in lines if oldest and _version(oldest) <= have]
    return max(fitting, key=lambda line: _version(line.since), default=None)


def torch_uses(card: Accelerator, machine: Machine) -> bool:
    """Whether the installed build of PyTorch is for this card, and nothing known keeps it from running there."""
    version, _, build = machine.packages.get("torch", "").partition("+")
    if not version or not card.runtime or _is_jetson(card):
        return False
    if machine.system.startswith("macOS"):
        return card.runtime == "metal" and _on_mac(machine, version).level != "problem"
    return card.runtime == _runtime_of(build) and _served(machine, card, version, build).level != "problem"


def _runtime_of(build: str) -> str:
    """The kind of accelerators that a build of PyTorch ('cu130') is for; "" for none and where nobody knows."""
    return next((name for mark, name in _RUNTIMES.items() if build.startswith(mark)), "")


def _torch(machine: Machine) -> Iterator[Finding]:
    installed = machine.packages.get("torch")
    if not installed:
        return
    version, _, build = installed.partition("+")
    if machine.system.startswith("macOS"):
        yield _on_mac(machine, version)
        return
    cards = [card for card in machine.accelerators if card.runtime and not _is_jetson(card)]
    served = [card for card in cards if card.runtime == _runtime_of(build)]
    if cards and not build:
        yield Finding("unknown", f"Which devices torch {installed} was built for is not known.",
                      'Ask it: python -c "import torch; print(torch.cuda.get_arch_list())"')  # fmt: skip
    elif cards and not served:
        built = "processors only" if build == "cpu" else build
        yield Finding("problem", f"torch {installed} is built for {built}, so it does not use the {cards[0].name}.",
                      _install(machine, cards[0]))  # fmt: skip
    for card in served:
        yield _served(machine, card, version, build)


def _served(machine: Machine, card: Accelerator, version: str, build: str) -> Finding:
    """Whether this build of torch runs on this card, under this driver."""
    installed, capability = f"torch {version}+{build}", card.compute_capability or ""
    if build.startswith("cu") and (short := _driver_too_old(machine, card, build)):
        return Finding("problem", f"{installed} needs an NVIDIA driver of at least {short}; here is {card.driver}.",
                       f"Install a newer NVIDIA driver, or: {_install(machine, card)}",
                       supports("cuda")[0].source)  # fmt: skip
    line = _line("torch", version, build, machine.cpu.architecture)
    if build.startswith("xpu") and line:
        return Finding("ok", f"{installed} is built for Intel's cards.", source=line.source)
    if line is None or not capability:
        missing = f"what {installed} was built for" if line is None else f"the compute capability of the {card.name}"
        return Finding(
            "unknown", f"Whether {installed} runs on the {card.name} is not known: {missing} is not recorded."
        )
    if runs_on(line.devices, capability):
        return Finding("ok", f"{installed} has code for the {card.name} ({capability}).", source=line.source)
    return _no_code(machine, card, line, installed)


def _no_code(machine: Machine, card: Accelerator, line: Support, installed: str) -> Finding:
    """No code of its own for this card: another build, or for AMD's, the code of a sibling."""
    what = f"{installed} has no code for the {card.name} ({card.compute_capability})"
    override = next((one for one in supports("hsa-override") if card.compute_capability in one.devices), None)
    value = machine.environment.get("HSA_OVERRIDE_GFX_VERSION", "")
    target = f"gfx{value.replace('.', '')}"
    if value and runs_on(line.devices, target):
        return Finding("ok", f"{what}, but HSA_OVERRIDE_GFX_VERSION={value} lets it run that of {target}.",
                       source=override.source if override else line.source)  # fmt: skip
    fixes = [fix for fix in (_install(machine, card), _override(override)) if fix]
    return Finding(
        "problem", f"{what}.", ", or: ".join(fixes) or "Run it on the processor, or use llama.cpp.", line.source
    )


def _override(line: Support | None) -> str:
    if line is None:
        return ""
    return f"export HSA_OVERRIDE_GFX_VERSION={line.build}" + (f" ({line.note})" if line.note else "")


def _install(machine: Machine, card: Accelerator) -> str:
    """How to install the newest build of torch that is known to run on this card under this driver."""
    fitting = [
        line for line in supports("torch")
        if _RUNTIMES.get(re.sub(r"[\d.]+$", "", line.build)) == card.runtime
        and line.platform in ("", machine.cpu.architecture)
        and (card.runtime == "xpu" or runs_on(line.devices, card.compute_capability or ""))
        and not (line.build.startswith("cu") and _driver_too_old(machine, card, line.build))
    ]  # fmt: skip
    best = max(fitting, key=lambda line: (_version(line.below), _version(line.build)), default=None)
    if best is None:
        return ""
    wanted = f"torch>={best.since}" + (f",<{best.below}" if best.below else "")
    return f'pip install --force-reinstall "{wanted}" --index-url {_WHEELS}/{best.build}'


def _driver_too_old(machine: Machine, card: Accelerator, build: str) -> str:
    """The driver that a build for CUDA ('cu130') needs at least, if this one is older; '' otherwise."""
    major = build.removeprefix("cu")[:-1]
    floor = next((line for line in supports("cuda") if line.since == f"{major}.0"), None)
    needs = _oldest_driver(floor, machine) if floor else ""
    return needs if card.driver and _version(card.driver) < _version(needs) else ""


def _oldest_driver(line: Support, machine: Machine) -> str:
    """Of Windows under WSL, where the driver is the one of Windows."""
    windows = any(word in machine.system for word in ("WSL", "Windows"))
    return line.driver_windows if windows else line.driver_linux


def _on_mac(machine: Machine, version: str) -> Finding:
    found = re.match(r"macOS ([\d.]+)", machine.system)
    macos = found[1] if found else ""
    if machine.cpu.vendor == "Apple" and machine.cpu.architecture != "arm64":
        return Finding("problem", "This Python is made for Intel Macs, so torch cannot use the Apple chip's graphics.",
                       "Install a Python for Apple silicon (arm64), and the packages anew.")  # fmt: skip
    line = _line("torch", version, "mps", machine.cpu.architecture)
    if line is None or not macos:
        return Finding("unknown", f"Whether torch {version} uses this Mac's graphics is not recorded.")
    if _version(macos) < _version(line.system_at_least):
        return Finding("problem", f"torch {version} uses a Mac's graphics from macOS {line.system_at_least} on; "
                       f"here is {macos}.", "Update macOS.", line.source)  # fmt: skip
    return Finding("ok", f"torch {version} uses the graphics of this Mac (device mps).", source=line.source)


def _libraries(machine: Machine) -> Iterator[Finding]:
    """bitsandbytes and flash-attn on NVIDIA's cards; on others nothing is recorded."""
    for software in _LIBRARIES:
        version = machine.packages.get(software)
        for card in machine.accelerators if version else ():
            if card.runtime == "cuda":
                yield from (
                    _library(line, str(version), card) for line in supports(software) if _in(line, str(version))
                )
            elif card.runtime in ("rocm", "xpu"):
                yield Finding("unknown", f"Whether {software} {version} runs on the {card.name} is not recorded.")


def _library(line: Support, version: str, card: Accelerator) -> Finding:
    what, capability = f"{line.feature} of {line.software} {version}", card.compute_capability
    if not capability:
        return Finding(
            "unknown", f"Whether {what} runs on the {card.name} is not known: its compute capability is not."
        )
    if runs_on(line.devices, capability):
        return Finding("ok", f"{what} runs on the {card.name} ({capability}).", source=line.source)
    least = line.devices[0].removesuffix("+")
    return Finding("problem", f"{what} needs compute capability {least}; the {card.name} has {capability}.",
                   f"Use a format or an attention that does not need {line.feature}.", line.source)  # fmt: skip


def _line(software: str, version: str, build: str, architecture: str) -> Support | None:
    return next((line for line in supports(software) if line.build == build and _in(line, version)
                 and line.platform in ("", architecture)), None)  # fmt: skip


def _in(line: Support, version: str) -> bool:
    return _version(line.since) <= _version(version) and not (line.below and _version(version) >= _version(line.below))


def _version(text: str) -> tuple[int, ...]:
    """'2.10.0' as numbers, so that it comes after 2.9."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def _is_jetson(card: Accelerator) -> bool:
    return card.unified and bool(re.search(r"Jetson|Orin|Xavier|Thor|Tegra", card.name))
