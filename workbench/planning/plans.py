"""A plan: how a model would run on a machine, what that takes and how fast it is, and why other ways were refused."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from workbench.engines import Engine, Settings, Workload
from workbench.engines.device_memory import capacity_bytes
from workbench.errors import DoesNotFit
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Machine
from workbench.planning.bound import decode_bound
from workbench.planning.shapes import model_format
from workbench.units import format_bytes, now

Verdict = Literal["fits", "tight", "does not fit", "unknown"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A way that was not chosen, why, and the smallest change that would make it possible."""

    engine: str
    reason: str
    fix: str
    format: str = ""


@dataclass(frozen=True, slots=True)
class Fit:
    """What one device needs beside what it has free (bytes; None where nobody can say).

    least_bytes: what it needs at least, also where some part of it is unknown.
    """

    device: str
    need: Estimate
    free_bytes: int | None
    least_bytes: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """'tight' means that the prediction fits and the upper end of its interval does not."""
        if self.free_bytes is not None and self.least_bytes > self.free_bytes:
            return "does not fit"
        if self.need.value is None or self.need.high is None or self.free_bytes is None:
            return "unknown"
        if self.need.value > self.free_bytes:
            return "does not fit"
        return "fits" if self.need.high <= self.free_bytes else "tight"

    def __str__(self) -> str:
        free = "unknown" if self.free_bytes is None else format_bytes(self.free_bytes)
        return f"{self.device}: {self.need} of {free} free"


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings, predictions and reasons.

    memory: the peak per device; speed: for one request of `workload` alone, by name (see `Engine.speed`); calibrated:
    speed was corrected by measurements here; devices_asked: they were named, and not chosen for what was free.
    """

    model: Any
    engine: Engine[Any]
    engine_version: str
    settings: Settings
    machine: Machine
    workload: Workload
    memory: tuple[Breakdown, ...]
    speed: Mapping[str, Estimate]
    reasons: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    calibrated: bool = False
    devices_asked: bool = False
    created: str = field(default_factory=now)
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def prefill(self) -> Estimate:
        """Prompt tokens per second."""
        return self.speed["prefill"]

    @property
    def decode(self) -> Estimate:
        """Generated tokens per second."""
        return self.speed["decode"]

    @property
    def ttft(self) -> Estimate:
        """Seconds to the first token."""
        return self.speed["ttft"]

    @property
    def decode_bound(self) -> Estimate:
        """Generated tokens per second that the memory allows, whatever the engine."""
        return decode_bound(self.model, self.settings, self.machine)

    @property
    def predictions(self) -> Mapping[str, Estimate]:
        """Every predicted quantity under the name its measurement has; on devices main memory has one of its own."""
        found = {"memory_peak": self.memory[0].total, **self.speed}
        host = self.memory[-1]
        return found if host is self.memory[0] or host.device != "RAM" else {**found, "host_memory_peak": host.total}

    @property
    def fits(self) -> tuple[Fit, ...]:
        """Need and room of every device, in the order of `memory`."""
        cards = self.settings.accelerators(self.machine)
        rooms = [capacity_bytes(card) if card.memory_free_bytes is None else card.memory_free_bytes for card in cards]
        rooms.append(self.machine.memory.available_bytes or None)
        return tuple(
            Fit(breakdown.device, breakdown.total, free, sum(part.low or 0.0 for part in breakdown.parts.values()))
            for breakdown, free in zip(self.memory, rooms, strict=False)
        )

    @property
    def verdict(self) -> Verdict:
        """The worst of all devices; of main memory that nobody stated only when layers lie there."""
        order: tuple[Verdict, ...] = ("does not fit", "unknown", "tight", "fits")
        is_stated = bool(self.machine.memory.total_bytes)
        needs_host = is_stated or not self.settings.devices or self.settings.device_layers is not None
        counted = self.fits if needs_host else self.fits[: len(self.settings.devices)]
        return min((fit.verdict for fit in counted), key=order.index)

    def check_fits(self) -> None:
        """Raise DoesNotFit if the predicted memory is more than what is available now."""
        for fit in self.fits:
            if fit.verdict == "does not fit":
                room = "memory" if fit.device == "RAM" else fit.device
                raise DoesNotFit(
                    f"{self.model.name} needs about {format_bytes(fit.need.value or fit.least_bytes)} with a context "
                    f"of {self.settings.context} tokens; {format_bytes(fit.free_bytes or 0)} of {room} are available.",
                    fix="Close other programs, ask for a smaller context, or choose a smaller model.",
                )

    def found_here(self, version: str, reasons: tuple[str, ...], refused: tuple[Refusal, ...]) -> Plan:
        """The same with the version of the engine that was found, why it was taken, and what was refused before it."""
        return replace(
            self, engine_version=version, reasons=(*reasons, *self.reasons), refused=(*refused, *self.refused)
        )

    def to_dict(self) -> dict[str, Any]:
        """Stable keys with units in their names, for --json, the ledger and the report."""
        return {
            "id": self.id,
            "created": self.created,
            "model": self.model.name,
            "model_path": str(self.model.path) if self.model.path else None,
            "quantization": model_format(self.model),
            "engine": self.engine.name,
            "engine_version": self.engine_version,
            "hardware": self.machine.hardware_class,
            "machine": self.machine.fingerprint(),
            "devices": [card.name for card in self.settings.accelerators(self.machine)],
            "settings": asdict(self.settings),
            "workload": asdict(self.workload),
            "memory": [
                {"device": b.device, "parts": {name: asdict(part) for name, part in b.parts.items()}}
                for b in self.memory
            ],
            "calibrated_by_ledger": self.calibrated,
            "verdict": self.verdict,
            "fits": [{"device": f.device, "free_bytes": f.free_bytes, "verdict": f.verdict} for f in self.fits],
            "predictions": {name: asdict(estimate) for name, estimate in self.predictions.items()},
            "decode_bound": asdict(self.decode_bound),
            "reasons": list(self.reasons),
            "refused": [asdict(refusal) for refusal in self.refused],
        }  # fmt: skip


def predict(
    model: Any,
    engine: Engine[Any],
    settings: Settings,
    machine: Machine,
    workload: Workload,
    *,
    version: str = "",
    reasons: tuple[str, ...] = (),
    refused: tuple[Refusal, ...] = (),
) -> Plan:
    """The plan of exactly this configuration: the one place where engines are asked.

    What is to be said of the machine's calibration is to be said of every speed that it leads to.
    """
    reasons += tuple(_clause(note) for note in machine.calibration.notes) if machine.calibration else ()
    memory = engine.memory(model, settings, machine)
    speed = engine.speed(model, settings, machine, workload)
    return Plan(model, engine, version, settings, machine, workload, memory, speed, reasons, refused)


def _clause(sentence: str) -> str:
    """A note of the machine as reasons are written: without a capital at its start and a full stop at its end."""
    return f"{sentence[:1].lower()}{sentence[1:].removesuffix('.')}"
