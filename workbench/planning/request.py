"""What one request should have taken: predicted for its own tokens, and the bound that no engine can pass.

A plan predicts a usual request (`Plan.workload`); a conversation has others. What was asked decides how long it should
take to the first token and how fast the answer should come.
"""

from __future__ import annotations

from collections.abc import Mapping

from workbench.engines import Settings, Workload
from workbench.evidence import Basis, Estimate
from workbench.machine import Machine
from workbench.machine.description import UNCALIBRATED
from workbench.models import Model
from workbench.planning.plans import Plan


def of_request(plan: Plan, prompt_tokens: int, answer_tokens: int, cached_tokens: int = 0) -> Mapping[str, Estimate]:
    """decode (tok/s) and ttft (s) of one request alone.

    prompt_tokens: of the whole conversation so far, of which the server still had cached_tokens of an earlier request.
    """
    whole = Workload(max(1, prompt_tokens), max(1, answer_tokens))
    fresh = Workload(max(1, prompt_tokens - cached_tokens), whole.answer_tokens)
    speed, start = (plan.engine.speed(plan.model, plan.settings, plan.machine, one) for one in (whole, fresh))
    return {"decode": speed["decode"], "ttft": start["ttft"]}


def decode_bound(model: Model, settings: Settings, machine: Machine) -> Estimate:
    """Tokens a second that the memory allows one request, whatever the engine: bandwidth ÷ weights read for a token.

    The interval is that of the bandwidth's samples. The cache is left out, so the bound is never too low; a model that
    lies in the processor's own cache can pass it all the same, because the bandwidth is that of main memory.
    """
    found = _bandwidth(settings, machine)
    if isinstance(found, str):
        return Estimate.unknown("tok/s", found)
    values, source = found
    read = model.decode_read_bytes
    value, low, high = (bandwidth / read for bandwidth in values)
    inputs = {"weights read": f"{read / 1e6:.4g} MB a token", "bandwidth": f"{values[0] / 1e9:.3g} GB/s"}
    return Estimate(value, low, high, "tok/s", Basis("bandwidth ÷ weights read for a token", inputs, source))


def _bandwidth(settings: Settings, machine: Machine) -> tuple[tuple[float, float, float], str] | str:
    """Bytes a second (value, low, high) of the memory that the weights lie in, and who says so; a text says why
    nobody knows."""
    cards = settings.accelerators(machine)
    if not cards:
        if machine.calibration is None:
            return UNCALIBRATED
        read = machine.calibration.read_bandwidth
        return (read.value, read.low, read.high), f"measured here: {read.method}"
    if settings.device_layers is not None:
        return "its layers lie in memories of several kinds"
    specs = {card.spec.key: card.spec for card in cards if card.spec}
    if len(specs) != 1 or any(card.spec is None for card in cards):
        return "the devices differ, or the catalog does not know them"
    (spec,) = specs.values()
    together = len(cards) if settings.tensor_parallel else 1  # layers dealt out are read one card after the other
    stated = spec.bandwidth_bytes_per_s * together
    return (stated, stated, stated), f"stated for {spec.title}"
