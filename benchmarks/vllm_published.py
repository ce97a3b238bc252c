"""Published startup logs of vLLM against what is predicted for them: weights, the largest batch, and the KV pool."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from workbench import models
from workbench.engines import Settings
from workbench.engines import vllm_memory as memory
from workbench.engines.tensor_split import shard
from workbench.engines.vllm import VLLM
from workbench.machine import Accelerator, Cpu, Disk, Machine, Memory
from workbench.units import GIB

TABLE = Path(__file__).parent / "published" / "vllm_memory.csv"


def run() -> dict[str, Any]:
    """Each log, and the mean errors of what it says."""
    with TABLE.open(newline="") as file:
        logs = [_log(row) for row in csv.DictReader(file)]
    return {"mean_error": {name: _mean(logs, name) for name in ("weights", "activation", "kv_pool")}, "logs": logs}


def _log(row: dict[str, str]) -> dict[str, Any]:
    model, devices = models.describe(row["model"], row["quant"]), int(row["n_devices"])
    engine = VLLM(version=row["version"], utilization=float(row["utilization"]))
    machine = _machine(row["device"], float(row["memory_gib"]), devices)
    settings = Settings(row["model"], model.quantization, 1024, devices=tuple(range(devices)))
    pool, _ = engine.capacity(model, settings, machine)
    batch = memory.peak_bytes(model, memory.Largest.on(machine.accelerators[0]), engine.release, devices)
    said = {"weights": shard(model, devices).weight_bytes, "activation": batch, "kv_pool": pool.known()}
    log: dict[str, Any] = {"model": row["model"], "format": row["quant"], "version": row["version"], "devices": devices}
    for name, predicted in said.items():
        if row[f"{name}_gib"]:
            measured = float(row[f"{name}_gib"])
            log[name] = {
                "predicted_gib": predicted / GIB,
                "measured_gib": measured,
                "error": predicted / GIB / measured - 1,
            }
    if "kv_pool" in log:
        log["kv_pool"]["inside_interval"] = pool.contains(log["kv_pool"]["measured_gib"] * GIB)
    return log


def _machine(device: str, memory_gib: float, count: int) -> Machine:
    cards = tuple(Accelerator("NVIDIA", device, index, int(memory_gib * GIB)) for index in range(count))
    cpu = Cpu("described", "", "x86-64", 16, 16, 16.0)
    return Machine(cpu, Memory(256 * GIB, 256 * GIB), Disk("/", GIB, GIB), cards)


def _mean(logs: list[dict[str, Any]], name: str) -> float:
    errors = [abs(log[name]["error"]) for log in logs if name in log]
    return sum(errors) / len(errors)
