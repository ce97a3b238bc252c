"""The guide's tiers of hardware as the planner sees them: whether what it suggests for each runs there, and how.

A suggestion holds if it runs wholly on the tier's devices in the format that its words mean, or in one of more bits; it
may hold only in a format of fewer bits; or not at all. Layers in main memory do not count: they run, slowly, anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import cache
from typing import Any

from workbench import models
from workbench.catalog.loader import load
from workbench.evidence import Estimate
from workbench.machine import Machine, Memory, describe
from workbench.planning.configuration import estimate
from workbench.planning.plans import Plan
from workbench.planning.ranking import bits, choices, longest_context
from workbench.planning.shapes import model_format
from workbench.planning.table import MAIN
from workbench.units import GIB, format_bytes

HOLDS, NOT_JUDGED, FAILS = "holds", "not judged", "does not hold"


@dataclass(frozen=True, slots=True)
class TierMachine:
    """A machine that stands for a tier. Without a device it is a processor with this much main memory."""

    device: str = ""
    count: int = 1
    memory_gib: float | None = None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What is suggested, in words, and the model and format they mean; unnamed: why nothing can be judged."""

    says: str
    model: str = ""
    format: str = ""
    unnamed: str = ""

    def __post_init__(self) -> None:
        if not self.unnamed and not (self.model and self.format):
            raise ValueError("a suggestion needs a model and a format, or a reason why there is none")


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier: what it costs and what is said of it in the guide's words; today: further models to look at."""

    name: str
    title: str
    cost: str
    note: str
    machines: tuple[TierMachine, ...]
    suggestions: tuple[Suggestion, ...]
    source: str
    checked: date
    today: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether one suggestion holds on one machine.

    verdict: HOLDS, 'holds only as …', FAILS or NOT_JUDGED; need, room_bytes: of the format that its words mean, all
    devices together; plan: how it runs best; longest_context: how far that plan's context can grow.
    """

    tier: str
    says: str
    machine: str
    verdict: str
    sentence: str
    from_guide: bool = True
    need: Estimate | None = None
    room_bytes: int | None = None
    plan: Plan | None = None
    longest_context: int | None = None

    @property
    def share(self) -> float | None:
        """What it needs as its words mean it, as a share of what there is."""
        if self.need is None or self.need.value is None or not self.room_bytes:
            return None
        return self.need.value / self.room_bytes

    @property
    def speed(self) -> Estimate | None:
        """The quantity by which its kind of model is fast or slow, of the plan that runs best."""
        return None if self.plan is None else next(self.plan.speed[name] for name in MAIN if name in self.plan.speed)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        fields = {
            name: getattr(self, name) for name in ("tier", "says", "machine", "verdict", "sentence", "from_guide")
        }
        need = None if self.need is None else asdict(self.need)
        return {**fields, "need": need, "room_bytes": self.room_bytes, "longest_context": self.longest_context,
                "plan": None if self.plan is None else self.plan.to_dict()}  # fmt: skip


@cache
def tiers() -> dict[str, Tier]:
    """The guide's tiers by name, in its order."""
    return load("tiers.yaml", Tier)


def suggestions(tier: Tier) -> Iterator[tuple[Suggestion, bool]]:
    """The guide's suggestions for a tier, then the models of today in about four bits; whether it is the guide's."""
    yield from ((one, True) for one in tier.suggestions)
    yield from ((Suggestion(models.describe(name).name, name, "Q4_K_M"), False) for name in tier.today)


def machine_of(described: TierMachine, host: Machine) -> Machine:
    """The machine that stands for a tier; `host` is the processor where that is all there is."""
    memory_bytes = None if described.memory_gib is None else int(described.memory_gib * GIB)
    if described.device:
        return describe(described.device, count=described.count, memory_bytes=memory_bytes)
    memory = Memory(memory_bytes, memory_bytes) if memory_bytes else host.memory
    return replace(host, accelerators=(), memory=memory)


def judge(tier: Tier, suggestion: Suggestion, described: TierMachine, host: Machine, *, own: bool = False) -> Judgement:
    """Whether a suggestion holds on a machine of its tier. own: it is this project's and not the guide's."""
    machine = machine_of(described, host)
    title = _title(machine)
    if suggestion.unnamed:
        return Judgement(tier.name, suggestion.says, title, NOT_JUDGED, suggestion.unnamed, not own)
    model = models.describe(suggestion.model)
    devices = tuple(range(len(machine.accelerators)))
    asked = estimate(model, machine=machine, format=suggestion.format, devices=devices)
    least = float(int(bits(asked.model)))
    able = [plan for plan in choices(model, machine=machine).plans if _is_whole(plan)]
    best = next((plan for plan in able if bits(plan.model) >= least), None)
    fallback = max(able, key=lambda plan: bits(plan.model), default=None)
    plan = best or fallback
    need, room = _needed(asked)
    return Judgement(
        tier.name, suggestion.says, title, _verdict(best, fallback), _arithmetic(asked, plan, title), not own, need,
        room, plan, longest_context(plan) if plan else None,
    )  # fmt: skip


def _is_whole(plan: Plan) -> bool:
    """Whether it fits with everything on the devices, or on the CPU where there is none."""
    on_devices = bool(plan.settings.devices) == bool(plan.machine.accelerators)
    return on_devices and plan.settings.device_layers is None and plan.verdict in ("fits", "tight")


def _verdict(best: Plan | None, fallback: Plan | None) -> str:
    if best:
        return HOLDS
    return f"holds only as {model_format(fallback.model)}" if fallback else FAILS


def _needed(asked: Plan) -> tuple[Estimate, int | None]:
    """Need and room of all devices together."""
    count = max(1, len(asked.settings.devices))
    fits = asked.fits[:count]
    rooms = [fit.free_bytes for fit in fits]
    return _sum([fit.need for fit in fits]), None if None in rooms else sum(room or 0 for room in rooms)


def _sum(needs: list[Estimate]) -> Estimate:
    if any(need.value is None for need in needs):
        return Estimate.unknown("B", needs[0].reason)
    value, low, high = (sum(getattr(need, bound) for need in needs) for bound in ("value", "low", "high"))
    return Estimate(value, low, high, "B", needs[0].basis)


def _title(machine: Machine) -> str:
    if not machine.accelerators:
        return f"processor, {format_bytes(machine.memory.total_bytes)}"
    card, count = machine.accelerators[0], len(machine.accelerators)
    size = f", {format_bytes(machine.memory.total_bytes)}" if card.unified else ""
    return f"{count} × {card.name}" if count > 1 else f"{card.name}{size}"


def _arithmetic(asked: Plan, plan: Plan | None, title: str) -> str:
    """Why it holds or does not, in numbers."""
    need, room = _needed(asked)
    model, form = asked.model, model_format(asked.model)
    if need.value is None or room is None:
        return f"What {model.name} needs in {form} is not known: {need.reason}."
    short = need.value - room
    first = (
        f"{_many(model.parameters)} weights in {form} are {format_bytes(model.weight_bytes)}, and with all that goes "
        f"with them {format_bytes(need.value)}; {title} has room for {format_bytes(room)}: "
    )
    second = f"{format_bytes(short)} too much." if short > 0 else f"{format_bytes(-short)} to spare."
    return first + second + _best_in_words(plan)


def _many(count: float) -> str:
    return f"{count / 1e9:.3g} billion" if count >= 1e9 else f"{count / 1e6:.3g} million"


def _best_in_words(plan: Plan | None) -> str:
    if plan is None:
        return " No format here fits."
    size = format_bytes(_needed(plan)[0].value or 0)
    return f" Best: {plan.engine.title} in {model_format(plan.model)}, {size}{_pace(plan)}."


def _pace(plan: Plan) -> str:
    """How fast a plan is, in the words of its kind of model; nothing where nobody knows."""
    name = next(name for name in MAIN if name in plan.speed)
    speed = plan.speed[name]
    if speed.value is None:
        return ""
    if name == "real_time_factor":
        return f", {1 / speed.value:.3g} times as fast as speech"
    return f", {speed}" + (" for a picture" if name == "image" else "")
