"""A plan moved by what this machine has measured: the ledger's pairs of predictions and measurements of one engine.

For reading only. What is stored before a run, and what accuracy is scored on, is the plan as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from workbench.engines.roofline import corrected
from workbench.evidence import Estimate
from workbench.machine import BUSY_CORES
from workbench.planning.plans import Plan
from workbench.planning.shapes import model_format

Pair = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """Measurements that have something in common with a plan beside engine and machine.

    speed, memory: how far (log) two of them lie apart.
    """

    name: str
    keys: tuple[str, ...]
    speed: float
    memory: float


#: From the closest to the farthest. The first that has measurements counts alone.
# Spreads of speed: 27 measurements of decode on one shared machine in November 2026, most of them from before anybody
# noted who disturbed them. Run again, a variant lay 15 % off its own middle, a format 19 %, an engine 20 %; all were of
# one model, so that engines are trusted less than was seen. Of memory: 1 to 2 % there, and 9 % and 25 % between formats
# and sizes of deployment on a Xeon (record engine_deployments_xeon.json).
GROUPS: Final = (
    Group("this variant", ("model", "quantization", "threads", "prefill_threads", "flash_attention", "cache_type"),
          0.15, 0.02),
    Group("this format", ("quantization",), 0.2, 0.09),
    Group("this engine", (), 0.3, 0.25),
)  # fmt: skip
#: What else must be equal where a quantity depends on it more than any prediction knows.
_ALSO: Final[Mapping[str, tuple[str, ...]]] = {
    "memory_peak": ("context", "concurrency"), "batch": ("concurrency",), "throughput": ("concurrency",),
}  # fmt: skip


_CPU: Final = "[]"  # the devices of a pair, also where plans did not say any yet


def calibrated(plan: Plan, pairs: Iterable[Pair]) -> Plan:
    """The plan with each speed corrected by the closest group of pairs (`Ledger.pairs`) of its engine on its devices.

    What others disturbed does not count. The same plan where there is nothing.
    Corrected estimates say so in their basis, and the plan in `calibrated`.
    """
    ours = _ours(plan, pairs)
    if not ours:
        return plan
    speed = {name: _moved(plan, name, estimate, ours) for name, estimate in plan.speed.items()}
    return replace(plan, speed=speed, calibrated=speed != plan.speed)


def peak(plan: Plan, pairs: Iterable[Pair]) -> Estimate:
    """The peak memory of the plan, corrected likewise."""
    return _moved(plan, "memory_peak", plan.memory[0].total, _ours(plan, pairs))


def _ours(plan: Plan, pairs: Iterable[Pair]) -> list[Pair]:
    devices = json.dumps(plan.settings.devices, separators=(",", ":"))
    return [
        pair for pair in pairs
        if (pair["engine"], pair["machine"]) == (plan.engine.name, plan.machine.fingerprint())
        and (pair.get("devices") or _CPU) == devices
        and pair.get("device_layers") == plan.settings.device_layers
        and not pair["calibrated_by_ledger"]
        and pair["predicted"] is not None
        and (pair.get("others_busy_cores") or 0.0) <= BUSY_CORES
    ]  # fmt: skip


def _moved(plan: Plan, quantity: str, estimate: Estimate, ours: list[Pair]) -> Estimate:
    known = [pair for pair in ours if pair["quantity"] == quantity and _is_of_today(pair, estimate)]
    for group in GROUPS:
        keys = group.keys + (_ALSO.get(quantity, ()) if group is GROUPS[0] else ())
        found = [(p["predicted"], p["measured"]) for p in known if all(p.get(key) == _of(plan, key) for key in keys)]
        if found:
            spread = group.memory if quantity == "memory_peak" else group.speed
            return corrected(estimate, found, spread, group.name)
    return estimate


def _is_of_today(pair: Pair, estimate: Estimate) -> bool:
    """How far former coefficients were off says nothing of those of now. Of memory nothing was fitted to a machine."""
    return pair["quantity"] == "memory_peak" or pair.get("source") in (None, estimate.basis.source)


def _of(plan: Plan, key: str) -> Any:
    """What a plan has under the key of a pair."""
    named = {"model": plan.model.name, "quantization": model_format(plan.model)}
    return named[key] if key in named else getattr(plan.settings, key)
