"""What the panel of chapter 8 knows and does, without a widget: one model over several devices, in three layouts.

Nothing is computed here: every number comes from `workbench.planning.sharding`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from traitlets import Any as AnyTrait
from traitlets import Enum, Float, Int, Unicode

from workbench import catalog, models
from workbench.catalog import links
from workbench.errors import UnsupportedModel, UsageError
from workbench.machine import Machine
from workbench.planning import sharding
from workbench.planning.layouts import Layout
from workbench.ui import machine_choice
from workbench.ui.jobs import Context
from workbench.ui.stepwise import Stepwise, checked
from workbench.units import GIB

WAIT_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Comparison:
    """The layouts of one model on one machine."""

    model: str
    machine: Machine
    layouts: tuple[Layout, ...]


def lay_out(
    name: str,
    found: Machine,
    *,
    context: int,
    weight_format: str,
    gguf_format: str,
    link: str,
    host_link: str,
    disk_gb_per_s: float,
) -> Comparison:
    """The three layouts of the model called `name`; the choices are those of `Sharding`."""
    model = models.describe(name.strip())
    if not isinstance(model, models.Model):
        raise UnsupportedModel(
            f"{model.name} is no language model, and only those are split here.", fix="Choose another one."
        )
    layouts = sharding.compare(
        models.formats.in_format(model, weight_format), found, gguf=models.formats.in_format(model, gguf_format),
        context=context, config=config_of(name), link=links.link(link), host_link=links.link(host_link),
        disk_bytes_per_s=disk_gb_per_s * 1e9 or None,
    )  # fmt: skip
    return Comparison(model.name, found, layouts)


def layout_machine(device: str, count: int, memory_gib: float, free_gib: float, here: Machine) -> Machine:
    """The machine with `count` of these devices, `free_gib` GiB free on each; all of it where that is 0."""
    found = machine_choice.chosen(device, count, memory_gib, here)
    if free_gib < 0:
        raise UsageError(f"{free_gib:g} GiB were said to be free.", fix="Say 0 or more; 0 means all of it.")
    if not free_gib:
        return found
    free = int(free_gib * GIB)
    small = [card.name for card in found.accelerators if card.memory_total_bytes and card.memory_total_bytes < free]
    if small:
        raise UsageError(f"{small[0]} has less than {free_gib:g} GiB.", fix="Say less, or 0 for all of it.")
    return replace(found, accelerators=tuple(replace(card, memory_free_bytes=free) for card in found.accelerators))


def config_of(name: str) -> Any:
    """The config.json of a model of the catalog, or of a path; None for others, which accelerate cannot build."""
    if entry := catalog.find_model(name.strip()):
        return entry.config
    path = Path(name.strip()).expanduser()
    path = path / "config.json" if path.is_dir() else path
    return json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" and path.is_file() else None


@dataclass(frozen=True, slots=True)
class Steps:
    """The functions of the package that the steps call; tests put others in their place."""

    machine: Callable[..., Any] = machine_choice.here
    calibrate: Callable[..., Any] = machine_choice.calibrated
    lay_out: Callable[..., Any] = lay_out


class Sharding(Stepwise):
    """The state of the panel. Set the choices, call `compare`, watch `comparison`.

    free_gib: what is free on each accelerator, 0 for all of it; weight_format: of Transformers and vLLM;
    gguf_format: of llama.cpp; link: between accelerators, host_link: between them and main memory, both by the
    catalog's names; disk_gb_per_s: how fast the disk reads, 0 where nobody says.
    """

    BUSY = ("comparing", "measuring")

    state = Enum(("idle", "comparing", "measuring", "compared"), default_value="idle")

    device = Unicode("RTX 3090")
    count = Int(2)
    memory_gib = Float(30.0)
    free_gib = Float(20.0)
    model = Unicode("llama-2-70b")
    context = Int(2048)
    weight_format = Unicode("BF16")
    gguf_format = Unicode("Q4_K_M")
    link = Unicode("pcie-4-x16")
    host_link = Unicode("pcie-4-x16")
    disk_gb_per_s = Float(3.0)

    comparison = AnyTrait(None)

    def __init__(self, steps: Steps | None = None, **wanted: Any) -> None:
        super().__init__(**wanted)
        self._steps = steps or Steps()

    @property
    def needs_measuring(self) -> bool:
        """Whether the processor at hand was never measured, so that nobody knows how fast it is."""
        return machine_choice.needs_measuring(self.comparison.machine if self.comparison else None)

    def compare(self) -> None:
        """Lay the model out in all three ways; accelerate takes some seconds, in a process of its own."""
        self._begin("comparing", self._compare, "compared", result="comparison")

    def measure(self) -> None:
        """Measure this computer's processor and memory, then lay out again."""

        def work(context: Context) -> Comparison:
            self._steps.calibrate(progress=checked(context))
            return self._compare(context)

        self._begin("measuring", work, "compared", result="comparison")

    def _compare(self, context: Context) -> Comparison:
        context.progress(None, f"reading {self.model}, then asking accelerate for its device map")
        found = layout_machine(self.device, self.count, self.memory_gib, self.free_gib, self._steps.machine())
        names = ("context", "weight_format", "gguf_format", "link", "host_link", "disk_gb_per_s")
        wanted = {name: getattr(self, name) for name in names}
        comparison: Comparison = _watched(context, lambda: self._steps.lay_out(self.model, found, **wanted))
        return comparison


def _watched(context: Context, work: Callable[[], Any]) -> Any:
    """What `work` returns or raises. Cancelling stops waiting; a process that was asked ends by itself, unheard."""
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append((work(), None))
        except Exception as error:  # noqa: BLE001  raised again where somebody waits
            ended.append((None, error))

    thread = threading.Thread(target=run, name="workbench-sharding", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(WAIT_S)
        context.check()
    result, error = ended[0]
    if error is not None:
        raise error
    return result
