"""How fast memory lets a model write, whatever the engine, and how a speed stands beside that."""

from __future__ import annotations

from typing import Any, Final

from workbench.engines import Settings
from workbench.evidence import Basis, Estimate
from workbench.machine import Machine
from workbench.machine.description import UNCALIBRATED
from workbench.models import Model
from workbench.units import format_value

#: What a bound calls the bandwidth that it rests on.
CALIBRATED: Final = "fastest read of the calibration"
STATED: Final = "stated bandwidth"


def decode_bound(model: Any, settings: Settings, machine: Machine) -> Estimate:
    """Tokens a second that the memory allows one request, whatever the engine: bandwidth ÷ weights read for a token.

    A bound has no interval: it rests on the fastest read that was seen, not on the usual one as predictions do. The
    cache is left out, so the bound is never too low for that; a model that lies in the processor's own cache can pass
    it all the same, because the bandwidth is that of main memory. Unknown for what is no language model or not known.
    """
    if not isinstance(model, Model):
        return Estimate.unknown("tok/s", getattr(model, "reason", "it writes no text"))
    found = _bandwidth(settings, machine)
    if isinstance(found, str):
        return Estimate.unknown("tok/s", found)
    bandwidth, inputs, source = found
    read = model.decode_read_bytes
    inputs = {"weights read": f"{read / 1e6:.4g} MB a token", **inputs}
    value = bandwidth / read
    return Estimate(value, value, value, "tok/s", Basis("bandwidth ÷ weights read for a token", inputs, source))


def share_in_words(decode: float, bound: Estimate) -> str:
    """How a speed (tok/s) stands beside a bound that is known: '31% of the bound'."""
    share = decode / bound.known()
    return f"{share:.0%} of the bound" if share <= 1 else "above an unreliable bound"


def beside_bound(decode: float, bound: Estimate) -> str:
    """The same with the bound, and why it does not hold where it does not; nothing where nobody knows it."""
    if bound.value is None:
        return ""
    words = f"{share_in_words(decode, bound)}, {format_value(bound.value, bound.unit)}"
    too_low = "the calibration was too slow" if CALIBRATED in bound.basis.inputs else "the stated bandwidth is too low"
    return words if decode <= bound.value else f"{words}: {too_low}"


def _bandwidth(settings: Settings, machine: Machine) -> tuple[float, dict[str, str], str] | str:
    """Bytes a second of the memory that the weights lie in, what is to be said of it, and who says so; a text says
    why nobody knows."""
    cards = settings.accelerators(machine)
    if not cards:
        return _of_processor(machine)
    if settings.device_layers is not None:
        return "its layers lie in memories of several kinds"
    specs = {card.spec.key: card.spec for card in cards if card.spec}
    if len(specs) != 1 or any(card.spec is None for card in cards):
        return "the devices differ, or the catalog does not know them"
    (spec,) = specs.values()
    together = len(cards) if settings.tensor_parallel else 1  # layers dealt out are read one card after the other
    bandwidth = spec.bandwidth_bytes_per_s * together
    return bandwidth, {STATED: f"{bandwidth / 1e9:.3g} GB/s"}, f"stated for {spec.title}"


def _of_processor(machine: Machine) -> tuple[float, dict[str, str], str] | str:
    if (calibration := machine.calibration) is None:
        return UNCALIBRATED
    usual, fastest = calibration.read_bandwidth, calibration.fastest_read
    inputs = {CALIBRATED: f"{fastest / 1e9:.3g} GB/s, where {usual.value / 1e9:.3g} GB/s are usual"}
    if calibration.notes:
        inputs["note"] = " ".join(calibration.notes)
    return fastest, inputs, f"measured here: {usual.method}"
