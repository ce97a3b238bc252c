"""The layout of vLLM and its like: every layer is split over all devices, which add up their results twice a layer.

What each device holds is told in `workbench.engines.tensor_split`. Nothing can lie in main memory.
"""

from __future__ import annotations

from workbench.catalog.links import Link
from workbench.engines import TextEngine
from workbench.engines.device_memory import driver_context
from workbench.engines.tensor_split import MOST_DEVICES, refusal, shard, workable
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Accelerator, Machine
from workbench.models import Model
from workbench.planning import layouts
from workbench.planning.layouts import ACTIVATION_BYTES, DeviceShare, Layout
from workbench.units import format_bytes

NAME, TITLE = "tensor parallel", "vLLM: tensor parallel"
PROMPT_TOKENS = 2048  # of a prompt that are processed at once: vLLM's default for most cards
#: How much longer or shorter a collective may take than its library's own constants say.
# Longer: 42 µs for eight RTX 4090 without peer access against 21 (NVIDIA/nccl issue 1530). Shorter: vLLM's own kernels.
COLLECTIVE_SPREAD = (0.4, 1.2)


def collectives(model: Model, devices: int, link: Link | None) -> Estimate:
    """Seconds a token waits for sums over all devices: twice a layer and once after the embedding, in a ring."""
    if link is None:
        return Estimate.unknown("s", layouts.NO_LINK)
    if link.hop_us is None or link.start_us is None:
        return Estimate.unknown("s", f"nobody says what a small collective costs over {link.title}")
    count, size = 2 * model.architecture.layers + 1, ACTIVATION_BYTES * model.architecture.hidden
    carried = size * 2 * (devices - 1) / devices / link.bytes_per_s
    latency = (link.start_us + 2 * (devices - 1) * link.hop_us) * 1e-6
    inputs = {
        "sums": f"{count} of {size} B over {devices} devices",
        "link": f"{link.title}: {link.bytes_per_s / 1e9:.3g} GB/s usable",
        "latency": f"{link.start_us} µs + {2 * (devices - 1)} hops × {link.hop_us} µs",
    }
    basis = Basis("sums × (bytes × 2 (n − 1) ÷ n ÷ bandwidth + start + 2 (n − 1) hops)", inputs, link.source)
    return Estimate.within(count * (carried + latency), "s", basis, *COLLECTIVE_SPREAD)


def layout(
    model: Model,
    machine: Machine,
    engine: TextEngine,
    *,
    context: int,
    devices: int | None = None,
    link: Link | None = None,
) -> Layout:
    """`model` over the first `devices` accelerators, all of them when not given."""
    cards = machine.accelerators[:devices]
    if reason := _obstacle(model, machine, len(cards) if devices is None else devices):
        return Layout(NAME, TITLE, False, reason)
    piece = shard(model, len(cards))
    shares = tuple(_held(piece, machine, card, context, len(cards)) for card in cards)
    if short := max(share.over_bytes for share in shares):
        fix = _enough(model, machine, cards[0], context, len(cards))
        return Layout(
            NAME, TITLE, False, f"Each device lacks up to {format_bytes(short)}; nothing can spill. {fix}", shares
        )
    times = [layouts.decode_s(engine, piece, machine, context, place) for place in range(len(cards))]
    slowest = max(times, key=lambda time: float("inf") if time.value is None else time.value)
    total = layouts.seconds(
        {"the slowest device": slowest, "sums over all devices": collectives(model, len(cards), link)}
    )
    repeated = sum(share.weights_bytes for share in shares) - model.weight_bytes
    note = f"{format_bytes(repeated)} of weights are held more than once (norms, KV heads, padding)"
    return Layout(NAME, TITLE, True, "", shares, total, (note,))


def _obstacle(model: Model, machine: Machine, devices: int) -> str:
    have = len(machine.accelerators)
    if reason := layouts.unknown_memory(machine):
        return reason
    if devices < 2:
        return "There is only one accelerator to split over." if have else "There is no accelerator."
    if devices > have:
        return f"{devices} accelerators were asked for, and the machine has {have}."
    return refusal(model.architecture, devices)


def _enough(model: Model, machine: Machine, card: Accelerator, context: int, devices: int) -> str:
    """How many devices of this kind would hold it."""
    for count in workable(model.architecture):
        if count > devices and not _held(shard(model, count), machine, card, context, count).over_bytes:
            return f"{count} devices like {card.name} would hold it."
    return f"{MOST_DEVICES} devices like {card.name} would not hold it either."


def _held(piece: Model, machine: Machine, card: Accelerator, context: int, devices: int) -> DeviceShare:
    a = piece.architecture
    parts = {
        "weights": layouts.exactly(piece.weight_bytes, "each divided matrix ÷ devices, everything else whole"),
        "KV cache": layouts.cache(a, context),
        "activations": layouts.activations(a, min(context, PROMPT_TOKENS), devices),
        "driver": driver_context(card),
    }
    words = f"1/{devices} of all {a.layers}"
    return DeviceShare(Breakdown(layouts.label(machine, card), parts), layouts.free_bytes(card), words)
