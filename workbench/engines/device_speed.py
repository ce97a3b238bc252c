"""The speed of language models on accelerators: which coefficients hold for these devices, and what they give.

The arithmetic is `roofline`'s, the coefficients are the catalog's. It is unknown, with the reason, on devices that the
catalog does not know, where devices differ, and where nobody has published runs of that engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.catalog.accelerators import AcceleratorSpec
from workbench.catalog.coefficients import SpeedCoefficients, coefficients
from workbench.engines import roofline
from workbench.engines.device_memory import runtime
from workbench.errors import UnknownName
from workbench.evidence import Estimate
from workbench.machine import Accelerator
from workbench.models import Model

Known = tuple[AcceleratorSpec, SpeedCoefficients]


def known(title: str, published_as: str, cards: Sequence[Accelerator], built: str = "") -> Known | str:
    """The device and the coefficients for builds of a month, by default the newest; a text says what is missing.

    published_as: the engine's name among the speed coefficients.
    """
    unheard = [card.name for card in cards if card.spec is None]
    if unheard:
        return f"the catalog does not know {unheard[0]}"
    specs = [card.spec for card in cards if card.spec]
    if len({spec.key for spec in specs}) > 1:
        return "the devices differ, and how they wait for each other is not modelled"
    try:
        return specs[0], coefficients(published_as, runtime(cards[0]), built)
    except UnknownName:
        return f"nobody has published enough runs of {title} on {runtime(cards[0])}"


def prefill(
    found: Known | str, model: Model, tokens: int, batch: int, *, devices: int = 1, split: str = ""
) -> Estimate:
    """Seconds to process `batch` prompts; unknown with the reason where `found` is one."""
    if isinstance(found, str):
        return Estimate.unknown("s", found)
    return roofline.prefill(roofline.work_of(model), *found, tokens, batch, devices=devices, split=split)


def decode(
    found: Known | str, model: Model, cache_type: str, depth: int, *, batch: int, devices: int = 1, split: str = ""
) -> Estimate:
    """Seconds of one step of `batch` sequences, each `depth` tokens deep; unknown with the reason where `found` is."""
    if isinstance(found, str):
        return Estimate.unknown("s", found)
    # ggml has no type of exactly 8 bits; q8_0 has half a bit more.
    kind = "q8_0" if cache_type.startswith("fp8") else cache_type
    work = roofline.work_of(model, depth, kind)
    return roofline.decode_step(work, *found, batch=batch, devices=devices, split=split)
