"""What a device shows as used when an engine gives everything that is left of its share to the KV cache.

The sum is fixed, and so its parts are shown without intervals: what one part takes more, the pool has less. How large
the pool is, and how sure that is, each engine says itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from workbench.engines.device_memory import driver_context
from workbench.evidence import Basis, Estimate
from workbench.machine import Accelerator


def parts(
    card: Accelerator, held: Mapping[str, Estimate], left: Estimate, needed: float, spare: float
) -> dict[str, Estimate]:
    """The parts of one device.

    held: what lies beside the pool; left: the pool; needed: the cache that the settings ask for. An engine that cannot
    hold it does not start, however much it leaves alone (`spare`, bytes): that is counted as used as well, then.
    """
    shown = {name: _exactly(part.value or 0, part.basis.method, part.basis.source) for name, part in held.items()}
    if left.value is None:
        return {**shown, "KV pool": left, "driver": driver_context(card)}
    shown["KV pool"] = _exactly(max(left.value, needed), "what the other parts leave, or what is needed", "")
    if left.value < needed:
        shown["left alone"] = _exactly(spare, "memory that the engine keeps out of its share", "")
    return {**shown, "driver": driver_context(card)}


def _exactly(count: float, method: str, source: str) -> Estimate:
    return Estimate.within(count, "B", Basis(method, {}, source), 0.0, 0.0)
