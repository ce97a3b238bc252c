"""Memory that any engine takes on an accelerator, whatever it runs: the driver's context."""

from __future__ import annotations

from workbench.evidence import Basis, Estimate
from workbench.machine import Accelerator
from workbench.units import MIB

CONTEXT_BYTES = {"NVIDIA": 400 * MIB}
CONTEXT_SOURCE = "300 to 500 MB with CUDA 11.7 and later (pytorch issues 107667 and 109888), 200 to 1,000 MB overall"


def driver_context(card: Accelerator) -> Estimate:
    """What the driver keeps per process; no engine's own counter sees it."""
    usual = CONTEXT_BYTES.get(card.vendor, 300 * MIB)
    basis = Basis("the driver's context of one process", {"vendor": card.vendor}, CONTEXT_SOURCE)
    return Estimate(usual, 200 * MIB, 1000 * MIB, "B", basis)
