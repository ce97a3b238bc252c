"""A stage of training: steps until its minutes are over, kept every few minutes, going on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

KEEP_EVERY_S, TELL_EVERY_S = 120, 20
WARM_UP, COOL_DOWN = 0.02, 0.35  # shares of the time


def run(
    file: Path, minutes: float, modules: dict[str, torch.nn.Module], rate: float, loss: Callable[[], torch.Tensor], *,
    average: float = 0.0, clip: float = 1.0,
) -> dict[str, torch.nn.Module]:  # fmt: skip
    """Train the modules with AdamW and return them, or their moving averages where `average` is their weight.

    The rate rises at first and falls to nothing in the last third of the time that this stage takes, over all runs.
    """
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=0.01)
    averages = {name: deepcopy(module).eval() for name, module in modules.items()} if average else modules
    spent, step = _load(file, modules, averages, optimizer)
    last, kept, told, smooth = time.monotonic(), spent, spent, 0.0
    while spent < minutes * 60:
        for group in optimizer.param_groups:
            group["lr"] = rate * _schedule(spent / (minutes * 60))
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        step += 1
        if average:
            _average(modules, averages, min(average, (1 + step) / (10 + step)))
        smooth = value.item() if step == 1 or not smooth else 0.98 * smooth + 0.02 * value.item()
        now = time.monotonic()
        spent, last = spent + now - last, now
        if spent - told > TELL_EVERY_S:
            told = spent
            print(f"  {file.stem}: step {step}, {spent / 60:.1f} of {minutes:g} min, loss {smooth:.5f}", flush=True)
        if spent - kept > KEEP_EVERY_S:
            kept = spent
            _keep(file, {"modules": modules, "averages": averages}, optimizer, spent, step)
    _keep(file, {"modules": modules, "averages": averages}, optimizer, spent, step)
    return averages


def minutes(folder: Path) -> float:
    """What all stages in a folder took together."""
    stages = ("autoencoder", "decoder", "text", "denoiser")
    return sum(torch.load(folder / f"{one}.pt", weights_only=True)["spent"] / 60 for one in stages)


def _schedule(done: float) -> float:
    return min(1.0, done / WARM_UP + 0.01, max(0.0, 1 - done) / COOL_DOWN)


def _average(modules: dict[str, torch.nn.Module], averages: dict[str, torch.nn.Module], weight: float) -> None:
    with torch.no_grad():
        for name, module in modules.items():
            torch._foreach_lerp_(list(averages[name].parameters()), list(module.parameters()), 1 - weight)


def _load(file: Path, modules: dict[str, Any], averages: dict[str, Any], optimizer: Any) -> tuple[float, int]:
    if not file.exists():
        return 0.0, 0
    kept = torch.load(file, weights_only=True)
    for name, module in modules.items():
        module.load_state_dict(kept["modules"][name])
        averages[name].load_state_dict(kept["averages"][name])
    optimizer.load_state_dict(kept["optimizer"])
    return kept["spent"], kept["step"]


def _keep(file: Path, groups: dict[str, dict[str, Any]], optimizer: Any, spent: float, step: int) -> None:
    kept = {kind: {name: m.state_dict() for name, m in group.items()} for kind, group in groups.items()}
    half = file.with_suffix(".part")
    torch.save({**kept, "optimizer": optimizer.state_dict(), "spent": spent, "step": step}, half)
    half.replace(file)
