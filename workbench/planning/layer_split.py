"""The layout of llama.cpp: the last layers go to the accelerators in shares of their free memory, the first stay.

Its rules, memory and speed are the engine's; what is decided here is how many layers go to the accelerators: as many
as fit. Layers that stay in main memory work on the CPU.
"""

from __future__ import annotations

from dataclasses import replace

from workbench.engines import CHAT, Settings, TextEngine
from workbench.engines.llamacpp_memory import deal_layers
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Machine
from workbench.models import Model
from workbench.planning import layouts
from workbench.planning.layouts import DISK, RAM, DeviceShare, Layout
from workbench.units import format_bytes

NAME, TITLE = "layer split", "llama.cpp: whole layers, the rest on the CPU"


def layout(
    model: Model,
    machine: Machine,
    engine: TextEngine,
    *,
    context: int,
    device_layers: int | None = None,
    disk_bytes_per_s: float | None = None,
) -> Layout:
    """`model` with `device_layers` layers on the accelerators; as many as fit when not given."""
    if not (supported := engine.supports(model)).ok:
        return Layout(NAME, TITLE, False, f"{supported.reason} {supported.fix}".strip())
    if reason := layouts.unknown_memory(machine):
        return Layout(NAME, TITLE, False, reason)
    every = tuple(range(len(machine.accelerators)))
    chosen = _most(model, machine, engine, layouts.settings_for(model, machine, context, every), device_layers)
    shares = _shares(model, machine, engine, chosen)
    if reason := _obstacle(shares):
        return Layout(NAME, TITLE, False, reason, shares)
    step = engine.decode(model, chosen, machine, CHAT.within(context).decode_depth)
    times = {"all layers": step}
    if shares[-1].device == DISK:  # the pages are read in turn: hardly one is still there when it comes round again
        times["reading from the disk"] = layouts.from_disk(
            _in_memory(shares), disk_bytes_per_s, at_least=shares[-1].weights_bytes
        )
    count = f"--n-gpu-layers {chosen.device_layers or 0} of {model.architecture.layers + 1}, the output counted"
    return Layout(NAME, TITLE, True, "", shares, layouts.seconds(times), (count,))


def _most(model: Model, machine: Machine, engine: TextEngine, settings: Settings, wanted: int | None) -> Settings:
    """The settings with as many layers on the accelerators as fit, or as are wanted."""
    counts = range(model.architecture.layers + 1, 0, -1) if wanted is None else [wanted]
    for count in counts if settings.devices else ():
        tried = replace(settings, device_layers=count)
        on_cards = [share for share in _held(model, machine, engine, tried) if share.device != RAM]
        if wanted is not None or not any(share.over_bytes for share in on_cards):
            return tried
    return replace(settings, devices=(), device_layers=None)


def _held(model: Model, machine: Machine, engine: TextEngine, settings: Settings) -> list[DeviceShare]:
    """What the engine predicts for each device, and main memory last."""
    rooms = [layouts.free_bytes(card) for card in settings.accelerators(machine)]
    rooms.append(machine.memory.available_bytes)
    breakdowns = engine.memory(model, settings, machine)
    return [DeviceShare(memory, free) for memory, free in zip(breakdowns, rooms, strict=False)]


def _shares(model: Model, machine: Machine, engine: TextEngine, settings: Settings) -> tuple[DeviceShare, ...]:
    """The same with the layers in words and what had to stay behind; what main memory lacks lies on the disk."""
    shares, layers = _held(model, machine, engine, settings), model.architecture.layers
    dealt = deal_layers(model, settings, machine) if settings.devices else (None,) * (layers + 1)
    found = []
    for place, share in enumerate(shares):
        here = None if share.device == RAM else place
        names = ["embedding"] if here is None or len(shares) == 1 else []
        names += ["output"] if dealt[-1] == here else []
        words = layouts.in_words([layer for layer, at in enumerate(dealt[:-1]) if at == here], *names)
        spilled = here is None and bool(machine.accelerators)
        stayed = sum(size for size, at in zip(model.bytes_by_layer, dealt, strict=True) if at is None)
        found.append(replace(share, layers=words, spilled_bytes=stayed if spilled else 0))
    return (*found[:-1], *_paged(found[-1], machine))


def _paged(share: DeviceShare, machine: Machine) -> tuple[DeviceShare, ...]:
    """Main memory, and the part of its mapped weights that has to be read from the disk again and again."""
    lacking = share.over_bytes
    if share.device != RAM or not lacking or lacking > share.weights_bytes:
        return (share,)
    kept = layouts.exactly(share.weights_bytes - lacking, "mapped weights that main memory has room for")
    left = layouts.exactly(lacking, "mapped weights that main memory has no room for")
    parts: dict[str, Estimate] = {**share.memory.parts, "weights": kept}
    on_disk = DeviceShare(Breakdown(DISK, {"weights": left}), machine.disk.room_bytes, "pages of those in RAM", lacking)
    spilled = max(0, share.spilled_bytes - lacking)
    return (replace(share, memory=Breakdown(RAM, parts), spilled_bytes=spilled), on_disk)


def _in_memory(shares: tuple[DeviceShare, ...]) -> int:
    return sum(share.weights_bytes for share in shares if share.device in (RAM, DISK))


def _obstacle(shares: tuple[DeviceShare, ...]) -> str:
    lacking = [share for share in shares if share.over_bytes]
    return f"{lacking[0].device} lacks {format_bytes(lacking[0].over_bytes)}." if lacking else ""
