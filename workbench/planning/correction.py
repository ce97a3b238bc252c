"""A plan moved by what this machine has measured: the ledger's pairs of predictions and measurements of one engine.

For reading only. What is stored before a run, and what accuracy is scored on, is the plan as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from workbench.engines.roofline import corrected
from workbench.planning.plans import Plan


def calibrated(plan: Plan, pairs: Iterable[Mapping[str, Any]]) -> Plan:
    """The plan with its speeds corrected by the pairs (`Ledger.pairs`) of the same engine on the same machine.

    Pairs of the same format count alone where there are any: each format has kernels of its own.
    The same plan where there are none. Corrected estimates say so in their basis, and the plan in `calibrated`.
    """
    here = plan.machine.fingerprint()
    ours = [
        pair for pair in pairs
        if (pair["engine"], pair["machine"]) == (plan.engine.name, here) and not pair["calibrated_by_ledger"]
    ]  # fmt: skip
    if not ours or plan.settings.devices:  # what was measured so far ran on the CPU
        return plan
    closest = [pair for pair in ours if pair.get("format") == plan.settings.format] or ours
    known = [pair for pair in closest if pair["predicted"] is not None]
    speed = {
        name: corrected(estimate, [(p["predicted"], p["measured"]) for p in known if p["quantity"] == name])
        for name, estimate in plan.speed.items()
    }
    return replace(plan, speed=speed, calibrated=speed != plan.speed)
