"""What the panel of chapter 1 knows and does, without a widget: this computer, others to compare, the guide's tiers.

Nothing is computed here: every number comes from the catalog, the machine room or the planner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from traitlets import Any as AnyTrait
from traitlets import Enum, Float, Int, Tuple, Unicode

from workbench import catalog, machine
from workbench.catalog import Instance
from workbench.errors import UsageError
from workbench.machine import Machine
from workbench.planning import tiers
from workbench.planning.tiers import Judgement, Tier
from workbench.report.hardware_figures import Spot
from workbench.ui import machine_choice
from workbench.ui.jobs import Context
from workbench.ui.stepwise import Stepwise, checked

MOST_COMPARED: Final = 6


@dataclass(frozen=True, slots=True)
class Steps:
    """The functions of the package that the steps call; tests put others in their place."""

    machine: Callable[..., Any] = machine_choice.here
    calibrate: Callable[..., Any] = machine_choice.calibrated
    judge: Callable[..., Any] = tiers.judge


class Hardware(Stepwise):
    """The state of the panel. Call the steps, watch the rest.

    here: this computer; compared: others by name; guide: the guide's suggestions, each on the first machine of its
    tier; detail: everything of the chosen tier on all of its machines.
    """

    BUSY = ("looking", "measuring", "judging")

    state = Enum(("idle", "looking", "measuring", "judging", "ready"), default_value="idle")

    device = Unicode("")
    count = Int(1)
    memory_gib = Float(0.0)
    tier = Unicode("high-end-24gb")

    here = AnyTrait(None)
    compared: Any = Tuple()
    guide: Any = Tuple()
    detail: Any = Tuple()

    def __init__(self, steps: Steps | None = None, **wanted: Any) -> None:
        super().__init__(**wanted)
        self._steps = steps or Steps()

    @property
    def findings(self) -> tuple[machine.Finding, ...]:
        """What is known of drivers and libraries here."""
        return machine.judge(self.here) if self.here else ()

    def look(self) -> None:
        """Look at this computer, then judge the guide's tiers."""

        def work(context: Context) -> tuple[Judgement, ...]:
            context.progress(None, "looking at this computer")
            found = self._steps.machine()
            context.partial(found)
            return self._guide(context, found)

        self._begin("looking", work, "ready", partial="here", result="guide")

    def measure(self) -> None:
        """Measure this computer's processor and memory; takes about four seconds and is kept."""
        self._begin(
            "measuring", lambda context: self._steps.calibrate(progress=checked(context)), "ready", result="here"
        )

    def compare(self) -> None:
        """Add the named machine to those that are compared."""
        if not self.device.strip():
            raise UsageError("No machine is named.", fix="Name an accelerator or a cloud instance.")
        found = machine_choice.chosen(self.device, self.count, self.memory_gib, self.here or self._steps.machine())
        others = [pair for pair in self.compared if pair[0] != name_of(found)]
        self.compared = (*others, (name_of(found), found))[-MOST_COMPARED:]

    def forget(self) -> None:
        """Compare with nothing."""
        self.compared = ()

    def judge_tier(self) -> None:
        """Judge everything of the chosen tier on all of its machines."""
        tier = tiers.tiers()[self.tier]

        def work(context: Context) -> tuple[Judgement, ...]:
            host = self.here or self._steps.machine()
            every = [(*one, place) for place in tier.machines for one in tiers.suggestions(tier)]
            return tuple(self._each(context, [(tier, *one) for one in every], host))

        self._begin("judging", work, "ready", result="detail")

    def spots(self) -> list[Spot]:
        """This computer and the compared ones, as far as their memory and bandwidth are known."""
        pairs = [*([("this computer", self.here)] if self.here else []), *self.compared]
        return [spot for name, one in pairs if (spot := spot_of(name, one))]

    def _guide(self, context: Context, host: Machine) -> tuple[Judgement, ...]:
        every = [(tier, one, True, tier.machines[0]) for tier in tiers.tiers().values() for one in tier.suggestions]
        return tuple(self._each(context, every, host))

    def _each(self, context: Context, every: list[tuple[Tier, Any, bool, Any]], host: Machine) -> Iterator[Judgement]:
        report = checked(context)
        for number, (tier, suggestion, from_guide, described) in enumerate(every):
            report(number / len(every), f"{tier.title}: {suggestion.says}")
            yield self._steps.judge(tier, suggestion, described, host, own=not from_guide)


def every_accelerator() -> list[Spot]:
    """Every accelerator of the catalog whose memory is known."""
    return [
        Spot(spec.title, spec.vendor, spec.memory_bytes, spec.bandwidth_bytes_per_s)
        for spec in catalog.accelerators().values() if spec.memory_bytes
    ]  # fmt: skip


def spot_of(name: str, one: Machine) -> Spot | None:
    """A machine's memory and how fast it is read; whole layers on several cards are read one card after the other."""
    card = next(iter(one.accelerators), None)
    if card is not None:
        total = sum(found.memory_total_bytes or 0 for found in one.accelerators)
        return Spot(name, card.vendor, total, card.spec.bandwidth_bytes_per_s) if card.spec and total else None
    if one.calibration is None:
        return None
    return Spot(name, "processor", one.memory.total_bytes, one.calibration.read_bandwidth.value)


def name_of(one: Machine) -> str:
    """A described machine in a few words."""
    if not one.accelerators:
        return one.cpu.name
    card, count = one.accelerators[0], len(one.accelerators)
    return f"{count} × {card.name}" if count > 1 else card.name


def rents(one: Machine) -> list[Instance]:
    """Instances with this machine's accelerator, the cheapest hour of one first; none without a price."""
    spec = one.accelerators[0].spec if one.accelerators else None
    found = [
        instance for instance in catalog.instances().values()
        if spec and instance.accelerator == spec.key and instance.on_demand_usd_per_hour is not None
    ]  # fmt: skip
    return sorted(found, key=lambda instance: (instance.on_demand_usd_per_hour or 0) / instance.count)
