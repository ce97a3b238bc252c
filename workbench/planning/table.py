"""One model on every accelerator in every format: what each combination needs and how fast it is, side by side.

Each row is one device with the whole model on it, predicted by the same estimator as a single plan. What is spread over
several devices, or lies partly in main memory, is `choices`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from workbench import catalog, engines, models
from workbench.engines import CHAT, Engine, Settings, Workload
from workbench.errors import UnsupportedModel
from workbench.evidence import Estimate
from workbench.machine import Machine, describe
from workbench.models import AnyModel, Model
from workbench.models.image import ImageModel
from workbench.planning.configuration import candidates, settings_for
from workbench.planning.plans import Plan, Verdict, predict
from workbench.planning.ranking import IMAGE_FORMATS, SPEECH_FORMATS, bits
from workbench.planning.shapes import can_take, model_format

#: The quantity of speed that comes first, by which a row is fast or slow.
MAIN = ("decode", "image", "real_time_factor")
#: For a quick look at a language model: each step in bits once.
LADDER = ("F16", "Q8_0", "Q6_K", "Q4_K_M", "Q3_K_M", "Q2_K")


@dataclass(frozen=True, slots=True)
class Row:
    """One device and one format. need: bytes on the device; room_bytes: what it has; speed: see `Engine.speed`."""

    device: str
    format: str
    bits: float
    engine: str
    need: Estimate
    room_bytes: int | None
    verdict: Verdict
    speed: dict[str, Estimate]

    @property
    def main(self) -> Estimate:
        """Tokens per second; seconds of a request for images; seconds of work per second of speech."""
        return next(self.speed[name] for name in MAIN if name in self.speed)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def table(
    model: str | AnyModel,
    devices: Iterable[str] | None = None,
    formats: Sequence[str] | None = None,
    *,
    context: int | None = None,
    concurrency: int = 1,
    workload: Workload = CHAT,
) -> list[Row]:
    """Every device with every format that an engine runs on it, in the order given.

    devices: accelerators, one of each; all of the catalog whose memory is known when not given (a chip that shares its
    memory is named with it: 'Apple M2 Max (38-core GPU), 64GB'). formats: when not given all GGUF types for a language
    model, and its own for a file. Raises UnknownName, UsageError, UnsupportedModel and what reading the model raises.
    """
    found = models.describe(model) if isinstance(model, str) else model
    settings = settings_for(found, context=context, concurrency=concurrency)
    asked = workload.within(settings.context)
    machines = [(title, describe(title)) for title in (devices or _every_device())]
    rows = []
    for name in formats or _formats(found):
        engine = _engine(found, name)
        shaped = models.in_format(found, name) if name else found
        rows += _rows(shaped, engine, replace(settings, format=shaped.format), asked, machines)
    return rows


def ladder(model: str | AnyModel) -> list[str]:
    """Formats for a quick look: each step in bits once for a language model, all there are for the others."""
    found = models.describe(model) if isinstance(model, str) else model
    return list(LADDER) if isinstance(found, Model) and found.path is None else _formats(found)


def best(rows: Iterable[Row]) -> list[Row]:
    """Of each device the row with the most bits that fits; devices on which nothing fits are left out."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.verdict in ("fits", "tight") and (row.device not in found or row.bits > found[row.device].bits):
            found[row.device] = row
    return list(found.values())


def _rows(
    model: AnyModel, engine: Engine[Any], settings: Settings, workload: Workload, machines: list[tuple[str, Machine]]
) -> list[Row]:
    weight_bits, rows = bits(model), []
    for title, machine in machines:
        one = replace(settings, devices=(0,))
        if engine.runs_on(model, one, machine).ok:
            rows.append(_row(title, weight_bits, predict(model, engine, one, machine, workload)))
    return rows


def _row(device: str, weight_bits: float, plan: Plan) -> Row:
    fit = plan.fits[0]
    return Row(
        device, model_format(plan.model), weight_bits, plan.engine.name, fit.need, fit.free_bytes, fit.verdict,
        dict(plan.speed),
    )  # fmt: skip


def _every_device() -> list[str]:
    return [spec.key for spec in catalog.accelerators().values() if spec.memory_bytes]


def _formats(model: AnyModel) -> list[str]:
    """The formats of this kind of model; '' for a file, which stays as it is."""
    if model.path is not None:
        return [""]
    if isinstance(model, Model):
        return [one.name for one in models.formats.known() if one.container == "gguf"]
    usual = IMAGE_FORMATS if isinstance(model, ImageModel) else SPEECH_FORMATS
    return [name for name in usual if any(can_take(engine, model, name) for engine in candidates(model))]


def _engine(model: AnyModel, name: str) -> Engine[Any]:
    """The first engine for this format, in the order of the registry."""
    able = (one for one in candidates(model) if can_take(one, model, name or model_format(model)))
    if (found := next(able, None)) is None:
        raise UnsupportedModel(
            f"No engine here runs {model.name} in {name or model_format(model)}.",
            fix=f"The engines are: {', '.join(engines.ENGINES)}.",
        )
    return found
