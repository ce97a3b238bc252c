"""The panel of chapter 1: what this computer is, how it compares, and what each tier of hardware really runs.

    from workbench.ui import hardware
    hardware.panel()

The view only: what it shows and does is in `hardware_model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import ipywidgets as widgets

from workbench.machine import Machine
from workbench.planning import tiers
from workbench.planning.tiers import Judgement
from workbench.report import hardware_figures
from workbench.ui import hardware_model, machine_choice, machine_fields, pieces
from workbench.ui.guard import guarded
from workbench.ui.hardware_model import Hardware, rents
from workbench.ui.view import PanelView
from workbench.units import format_bytes, format_usd

UNMEASURED = "How fast its processor and memory are has not been measured. It takes about four seconds and is kept."
LEVELS = {"problem": "Problem", "unknown": "Unknown", "ok": "Checked"}


def panel(device: str = "", *, count: int = 1, memory_gib: float = 0.0, tier: str = "high-end-24gb") -> widgets.VBox:
    """The panel as a widget. On a dashboard it looks at this computer at once; elsewhere it waits for a click."""
    state = Hardware(device=device, count=count, memory_gib=memory_gib, tier=tier)
    view = View(state)
    if device:
        guarded(state.compare, view.show_error)()
    view.start(state.look)
    return view.root


class View(PanelView[Hardware]):
    """The widgets, and what they do when the state changes."""

    def __init__(self, state: Hardware) -> None:
        super().__init__(state)
        self._make_controls()
        self._machine, self._compared, self._tiers, self._detail = (widgets.HTML() for _ in range(4))
        self._unmeasured = widgets.HTML(pieces.note(UNMEASURED))
        self._map, self._tier_figure = pieces.figure_area(), pieces.figure_area()
        self.show(self._map_card(), self.alert, self._machine_card(), self._tier_card())
        self.watch(
            state=self._draw_state, here=self._draw_machine, compared=self._draw_compared, guide=self._draw_guide,
            detail=self._draw_detail,
        )  # fmt: skip
        self.watch_any("here", "compared", draw=self._draw_map)

    def _make_controls(self) -> None:
        state = self.state
        self._look = pieces.button("Look at this computer", icon="search")
        pieces.mark(self._look, "wb-primary", True)
        self._measure = pieces.button("Measure", icon="tachometer", hint="Memory and processor, in four seconds")
        self._add, self._clear = pieces.button("Compare", icon="plus"), pieces.button("Clear")
        self._judge = pieces.button("Judge this tier", icon="gavel")
        for control, action in (
            (self._look, state.look), (self._measure, state.measure), (self._add, state.compare),
            (self._clear, state.forget), (self._judge, state.judge_tier),
        ):  # fmt: skip
            self.on_click(control, action)
        titles = [(title, name) for name, title in _tier_titles().items()]
        self._tier = pieces.field(widgets.Dropdown(options=titles, value=state.tier, description="Tier"))
        self.bind(self._tier, "tier")

    def _map_card(self) -> widgets.Widget:
        return pieces.card(
            "Memory and bandwidth", self._map, pieces.fields(*machine_fields.add_to(self)),
            pieces.actions(self._add, self._clear), self._compared,
            lead="How big a model fits, and how fast it can write: every token reads all of its weights once.",
        )  # fmt: skip

    def _machine_card(self) -> widgets.Widget:
        bar = self.working("looking", "measuring")
        buttons = pieces.actions(self._look, self._measure, self._unmeasured)
        return pieces.card("This computer", self._machine, buttons, bar.box)

    def _tier_card(self) -> widgets.Widget:
        bar = self.working("judging")
        self._tier_box = pieces.card(
            "The guide's tiers of hardware", self._tier_figure, self._tiers, self._tier, pieces.actions(self._judge),
            bar.box, self._detail,
            lead="What each suggestion needs as its words mean it. Beyond the line it does not fit.",
        )  # fmt: skip
        return self._tier_box

    # -- drawing -----------------------------------------------------------------------------------------------

    def _draw_state(self) -> None:
        for control in (self._look, self._measure, self._judge):
            control.disabled = self.state.busy
        here = self.state.here
        unmeasured = machine_choice.needs_measuring(here)
        pieces.show(self._look, here is None)
        pieces.show(self._measure, here is not None)
        pieces.show(self._unmeasured, unmeasured)
        pieces.mark(self._measure, "wb-primary", unmeasured)

    def _draw_machine(self) -> None:
        self._machine.value = machine_facts(self.state.here) + _findings(self.state.findings)
        self._draw_state()

    def _draw_map(self) -> None:
        drawn = hardware_figures.bandwidth_and_memory(hardware_model.every_accelerator(), self.state.spots())
        pieces.figure(self._map, drawn, "Memory and bandwidth of every accelerator; the table has the compared ones")

    def _draw_compared(self) -> None:
        self._clear.disabled = not self.state.compared
        self._compared.value = _compared(self.state.compared)

    def _draw_guide(self) -> None:
        found = self.state.guide
        pieces.show(self._tier_box, bool(found))
        if found:
            drawn = hardware_figures.tiers(found, _tier_titles())
            pieces.figure(self._tier_figure, drawn, "Need of each suggestion as a share of its tier's memory")
            self._tiers.value = _tiers(found)

    def _draw_detail(self) -> None:
        self._detail.value = _judged(self.state.detail) if self.state.detail else ""


def machine_facts(found: Machine | None) -> str:
    """What a computer is, as a list."""
    if found is None:
        return pieces.note("Nobody has looked yet.")
    cpu, memory, calibration = found.cpu, found.memory, found.calibration
    measured = f"{calibration.read_bandwidth.value / 1e9:.1f} GB/s" if calibration else "not measured"
    cards = [f"{card.name} {card.note}".strip() for card in found.accelerators]
    return pieces.facts(
        (
            ("Processor", f"{cpu.name}, {cpu.physical_cores} cores, {cpu.usable_cores:g} usable"),
            ("Instructions", ", ".join(cpu.instruction_sets) or "nothing special"),
            ("Memory", f"{format_bytes(memory.available_bytes)} free of {format_bytes(memory.total_bytes)}"),
            ("Reads memory at", measured),
            ("Accelerators", "; ".join(cards) or "none found"),
            ("System", found.system),
            *(("Note", note) for note in found.notes),
        )
    )


def _findings(found: Sequence[Any]) -> str:
    if not found:
        return ""
    rows = [(LEVELS[one.level], one.what, one.fix) for one in found]
    return pieces.sentences(("", "What", "What to do"), rows, "Drivers, libraries and devices together")


def _compared(pairs: Sequence[tuple[str, Machine]]) -> str:
    if not pairs:
        return ""
    rows = [_machine_row(name, one) for name, one in pairs]
    head = ("", "Memory", "Bandwidth", "16-bit matrices", "Power", "Price at launch", "Rented from")
    prices = "Prices of one accelerator, with their dates; a rented one by the hour, on demand"
    return pieces.numbers(head, rows, prices)


def _machine_row(name: str, one: Machine) -> tuple[str, ...]:
    spec = one.accelerators[0].spec if one.accelerators else None
    if spec is None:
        return (name, *["unknown"] * 6)
    memory = sum(card.memory_total_bytes or 0 for card in one.accelerators)
    flops = "unknown" if spec.fp16_tensor_flops is None else f"{spec.fp16_tensor_flops / 1e12:.3g} TFLOP/s"
    power = "unknown" if spec.tdp_w is None else f"{spec.tdp_w:g} W"
    price = "unknown" if spec.price_usd is None else f"{format_usd(Decimal(str(spec.price_usd)))} ({spec.released})"
    bandwidth = f"{spec.bandwidth_bytes_per_s / 1e9:,.3g} GB/s"
    return (name, format_bytes(memory), bandwidth, flops, power, price, _cheapest(one))


def _cheapest(one: Machine) -> str:
    offer = next(iter(rents(one)), None)
    if offer is None or offer.on_demand_usd_per_hour is None:
        return "no offer known"
    price = format_usd(offer.on_demand_usd_per_hour / offer.count)
    return f"{price}/h, {offer.provider} ({offer.priced or 'no date'})"


def _tier_titles() -> dict[str, str]:
    return {name: tier.title for name, tier in tiers.tiers().items()}


def _tiers(found: Sequence[Judgement]) -> str:
    titles = _tier_titles()
    rows = [(one.says, titles[one.tier], one.machine, one.verdict) for one in found]
    return pieces.sentences(
        ("The guide suggests", "For", "Judged on", "Verdict"), rows, "Each on one machine of its tier"
    )


def _judged(found: Sequence[Judgement]) -> str:
    rows = []
    for one in found:
        longest = f" Its context can grow to {one.longest_context:,} tokens." if one.longest_context else ""
        says = one.says if one.from_guide else f"{one.says} (not of the guide)"
        rows.append((f"{says}, {one.machine}", one.verdict, f"{one.sentence}{longest}"))
    tier = tiers.tiers()[found[0].tier]
    caption = f"{tier.title}: {tier.cost}. {tier.note} (the guide)"
    return pieces.sentences(("", "Verdict", "The arithmetic"), rows, caption)
