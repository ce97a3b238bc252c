"""All ways to run a model on a machine, the best first, and why the others were refused.

The order is a rule, not a score: what fits before what does not; what is fast enough before what is not; then the
format that loses less; then the faster one. Formats of eight bits and more count as equal: they lose nothing that a
reader would see. A file that is rounded once more loses more than the file, whatever the bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from workbench import models
from workbench.engines import CHAT, Engine, ImageShape, Settings, Workload
from workbench.engines.device_memory import weight_format
from workbench.errors import UnsupportedModel, UsageError, WorkbenchError
from workbench.machine import Machine, kept, probe
from workbench.models import AnyModel, Model
from workbench.models.image import bits_per_weight
from workbench.planning.configuration import candidates, settings_for
from workbench.planning.language import LEAST_CONTEXT, check_context
from workbench.planning.placement import place
from workbench.planning.plans import Plan, Refusal, predict
from workbench.planning.shapes import can_take, model_format
from workbench.units import GIB, format_bytes

#: Tokens per second that most people read at most; slower than that, a chat is watched and not read.
FAST_ENOUGH = 10.0
LOSSLESS_BITS = 8.0
_RULE = (
    "fast enough to read ({:g} tok/s) first; of those what loses least "
    f"({LOSSLESS_BITS:g} bits and more lose nothing); of those the fastest"
)
#: Formats of so many bits hold whatever a file holds, or all but: 16 of 20 answers of SmolLM2 stayed the same in BF16,
# none in four bits made of a file of four bits (workbench/catalog/records/same_text.json).
EXACT_BITS = 16.0
#: Formats worth showing for a described model: every step in bits once, the usual one of each step.
GGUF_FORMATS = (
    "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_XS", "Q3_K_M", "IQ3_XXS", "Q2_K", "IQ2_XXS",
)  # fmt: skip
TORCH_FORMATS = (
    "BF16",
    "FP8",
    "LLM.int8",
    "AWQ-Int4",
    "GPTQ-Int4",
    "NF4-DQ",
    "int8wo",
    "int4wo-128",
    "ONNX-int4",
)
IMAGE_FORMATS = ("BF16", "FP16", "FP8", "Q8_0", "NF4", "NF4+NF4", "Q4_0")
SPEECH_FORMATS = ("FP16", "F16", "INT8", "Q8_0", "Q5_0", "FP32")
#: The quantity by which each kind of model is fast or slow.
SPEED = {"chat": "decode", "imagine": "image", "transcribe": "real_time_factor"}


@dataclass(frozen=True, slots=True)
class Choices:
    """The plans that fit, best first, and the refused ones with the smallest change that would make each fit.

    here: ids of the plans that can be started at once, with the file and the engines that are on this computer.
    """

    model: str
    machine: Machine
    plans: tuple[Plan, ...]
    refused: tuple[Refusal, ...]
    rule: str
    here: frozenset[str] = frozenset()

    @property
    def best(self) -> Plan:
        """The first plan; raises UnsupportedModel with the first refusal when nothing fits."""
        if self.plans:
            return self.plans[0]
        first = self.refused[0] if self.refused else Refusal("", f"Nothing here runs {self.model}.", "")
        raise UnsupportedModel(f"Nothing fits: {first.reason}", fix=first.fix)

    def to_dict(self) -> dict[str, Any]:
        """Stable keys for --json."""
        return {
            "model": self.model,
            "rule": self.rule,
            "plans": [{**plan.to_dict(), "here": plan.id in self.here} for plan in self.plans],
            "refused": [asdict(refusal) for refusal in self.refused],
        }


def choices(
    model: str | AnyModel,
    *,
    machine: Machine | None = None,
    engine: str = "auto",
    format: str | None = None,  # noqa: A002 - the field's own word
    context: int | None = None,
    concurrency: int = 1,
    image: ImageShape | None = None,
    workload: Workload = CHAT,
    least_tok_per_s: float = FAST_ENOUGH,
    file: AnyModel | None = None,
) -> Choices:
    """Every engine and format for `model` on `machine` (this one by default), ranked.

    least_tok_per_s: decode speed that is fast enough; file: the same model in a file on this machine, whose own formats
    are listed too (`models.at_hand`). Raises what `estimate` raises for a model, engine or format that
    nobody knows; what does not fit is refused in the result.
    """
    if not least_tok_per_s >= 0:
        raise UsageError(f"A speed of {least_tok_per_s} tok/s was asked for.", fix="Ask for 0 or more.")
    machine = machine or kept(probe())
    found = models.describe(model) if isinstance(model, str) else model
    settings = settings_for(found, context=context, concurrency=concurrency, image=image, machine=machine)
    plans: list[Plan] = []
    refused: list[Refusal] = []
    of_file = combinations(file, engine, None) if file and format is None else []
    for one, shaped in (*combinations(found, engine, format), *of_file):
        try:
            plan = place(
                shaped, one, replace(settings, format=shaped.format), machine, workload.within(settings.context)
            )
        except (UnsupportedModel, UsageError) as error:
            refused.append(Refusal(one.name, error.what, error.fix, model_format(shaped)))
            continue
        if plan.verdict == "does not fit":
            refused.append(_refusal(plan))
        else:
            plans.append(plan)
    here = _startable(plans, machine)
    ranked = sorted(plans, key=lambda plan: _rank(plan, least_tok_per_s, here), reverse=True)
    return Choices(found.name, machine, tuple(ranked), tuple(refused), _RULE.format(least_tok_per_s), here)


def _startable(plans: Sequence[Plan], machine: Machine) -> frozenset[str]:
    """Ids of those whose weights are in a file, or made of one, and whose engine runs here; each is asked once."""
    of_file = [plan for plan in plans if plan.model.path or getattr(plan.model, "made_from", None)]
    able = {one.name: one.starts and one.available(machine).ok for one in {plan.engine for plan in of_file}}
    return frozenset(plan.id for plan in of_file if able[plan.engine.name] and _runs_there(plan))


def _runs_there(plan: Plan) -> bool:
    """Whether the engine as it is installed uses the devices of the plan; apps choose them by themselves."""
    cards = plan.settings.accelerators(plan.machine) or (None,)
    return plan.engine.keeps_models or all(plan.engine.uses(card, plan.machine) for card in cards)


def combinations(model: AnyModel, engine: str, format_name: str | None) -> Iterable[tuple[Engine[Any], AnyModel]]:
    """Each engine with the model in each format it runs; a file stays in the format it has."""
    from workbench import engines

    shaped: dict[str, AnyModel] = {}
    for one in candidates(model) if engine == "auto" else [engines.get(engine)]:
        for name in _formats(model, one, format_name):
            if name not in shaped:
                shaped[name] = models.in_format(model, name) if name else model
            yield one, shaped[name]


def _formats(model: AnyModel, engine: Engine[Any], wanted: str | None) -> list[str]:
    """Names of formats to try; '' for a file as it is."""
    if model.path is not None and wanted is None:
        return _of_file(model, engine) if isinstance(model, Model) else []
    kinds = {"chat": (*GGUF_FORMATS, *TORCH_FORMATS), "imagine": IMAGE_FORMATS, "transcribe": SPEECH_FORMATS}
    usual = next(names for capability, names in kinds.items() if capability in engine.capabilities)
    return [name for name in ([wanted] if wanted else usual) if can_take(engine, model, name)]


def _of_file(model: Model, engine: Engine[Any]) -> list[str]:
    """A file as it is where the engine opens it; else what it can be written in for it."""
    if engine.container == model.format:
        return [""] if weight_format(model) in engine.formats else []
    usual = [name for name in ("FP32", *TORCH_FORMATS) if name in engine.formats]
    return [name for name in usual if models.can_convert(model, engine.container, engine.stored_format(name))]


def _rank(plan: Plan, least: float, here: frozenset[str]) -> tuple[bool, bool, float, bool, bool, float]:
    """The more the better, in this order."""
    speed = _speed(plan)
    fast = speed >= least if "decode" in plan.speed else True
    kept = min(bits(plan.model), LOSSLESS_BITS)
    return plan.verdict != "unknown", fast, kept, not is_rounded_again(plan.model), plan.id in here, speed


def _speed(plan: Plan) -> float:
    """Tokens, pictures or seconds of sound per second; 0 where nobody knows."""
    if "decode" in plan.speed:
        return plan.decode.value or 0.0
    name = next(name for name in SPEED.values() if name in plan.speed)
    value = plan.speed[name].value
    return 1 / value if value else 0.0


def bits(model: AnyModel) -> float:
    """Bits per weight of the format a model is in, or of the file it is made of: unpacking restores none."""
    source = model.made_from if isinstance(model, Model) else None
    return min(own_bits(model), bits(source)) if source else own_bits(model)


def own_bits(model: AnyModel) -> float:
    """Bits per weight of a format, as it is called: of its linear layers."""
    if isinstance(model, Model):
        try:
            return models.formats.find(model.quantization, architecture=model.architecture.name).bits_per_weight
        except WorkbenchError:  # a file with a mix of its own
            return 8 * model.weight_bytes / model.parameters
    return (
        bits_per_weight(model.format.partition("+")[0]) if isinstance(model, models.ImageModel) else _speech_bits(model)
    )


def is_rounded(model: Model) -> bool:
    """Whether weights of a file are rounded for the format that the model is in: it is another one, of few bits."""
    source = model.made_from
    return source is not None and model.quantization != source.quantization and own_bits(model) < EXACT_BITS


def is_rounded_again(model: AnyModel) -> bool:
    """Whether they were rounded in the file already."""
    return isinstance(model, Model) and is_rounded(model) and bits(model.made_from or model) < EXACT_BITS


def _speech_bits(model: models.SpeechModel) -> float:
    return 8 * model.weight_bytes / model.parameters


# -- the smallest change that would make it fit ----------------------------------------------------------------


def _refusal(plan: Plan) -> Refusal:
    fit = next(fit for fit in plan.fits if fit.verdict == "does not fit")
    need = fit.need.value or fit.least_bytes
    short = need - (fit.free_bytes or 0)
    reason = (
        f"{plan.model.name} in {model_format(plan.model)} needs {format_bytes(need)} on {fit.device}, "
        f"where {format_bytes(fit.free_bytes or 0)} are free: {format_bytes(short)} too much."
    )
    return Refusal(plan.engine.name, reason, smallest_change(plan), model_format(plan.model))


def smallest_change(plan: Plan) -> str:
    """A shorter context if one fits; else a format of fewer bits; else how much memory is missing."""
    if context := longest_context(plan):
        return f"A context of {context} tokens fits."
    short = max(
        (fit.need.value or fit.least_bytes) - (fit.free_bytes or 0) for fit in plan.fits if fit.free_bytes is not None
    )
    if isinstance(plan.model, Model) and plan.model.path is None:
        weights = plan.model.weight_bytes
        if 0 < short < weights:
            return f"A format of at most {bits(plan.model) * (1 - short / weights):.1f} bits per weight would fit."
    return f"{-(-short // GIB):.0f} GiB more memory would hold it."


def longest_context(plan: Plan) -> int | None:
    """The longest context, in steps of 256 tokens, with which this plan fits; None where none does."""
    if not isinstance(plan.model, Model):
        return None
    most = min(plan.model.architecture.context_length, 2**24)
    if not _fits(plan, plan.settings, LEAST_CONTEXT):
        return None
    low, high = 0, most // 256
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _fits(plan, plan.settings, middle * 256) else (low, middle - 1)
    return max(low * 256, LEAST_CONTEXT)


def _fits(plan: Plan, settings: Settings, context: int) -> bool:
    one = replace(settings, context=check_context(plan.model, context))
    return predict(plan.model, plan.engine, one, plan.machine, plan.workload).verdict != "does not fit"
