"""Whether several plans fit beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.deployment.deploying import is_running
from workbench.engines.device_memory import label
from workbench.errors import DoesNotFit
from workbench.planning import Fit, Plan
from workbench.units import format_bytes


def check_room(plans: Sequence[Plan]) -> None:
    """Raise DoesNotFit if the plans need more memory together than a device has free.

    Plans of one moment: each knows what was free before any of them ran. What runs already needs nothing more.
    """
    waiting = [plan for plan in plans if not is_running(plan)]
    for plan in waiting:
        plan.check_fits()
    fits = [(_memory_of(plan, number), plan, fit) for plan in waiting for number, fit in enumerate(plan.fits)]
    for device in dict.fromkeys(name for name, _, _ in fits):
        _check(device, [(plan, fit) for name, plan, fit in fits if name == device])


def _memory_of(plan: Plan, number: int) -> str:
    """Whose memory the fit of this number is about: a card that shares main memory takes of that."""
    cards = plan.settings.accelerators(plan.machine)
    if number >= len(cards) or cards[number].unified:
        return "RAM"
    return label(cards[number], len(plan.machine.accelerators))


def _check(device: str, fits: Sequence[tuple[Plan, Fit]]) -> None:
    """A part that is unknown counts with what is known of it."""
    free = min((fit.free_bytes for _, fit in fits if fit.free_bytes is not None), default=None)
    needs = [fit.least_bytes if fit.need.value is None else fit.need.value for _, fit in fits]
    if free is None or sum(needs) <= free:
        return
    each = ", ".join(
        f"{plan.engine.title} {format_bytes(need)}" for (plan, _), need in zip(fits, needs, strict=True)
    )  # fmt: skip
    raise DoesNotFit(
        f"{len(fits)} deployments need about {format_bytes(sum(needs))} together ({each}); "
        f"{format_bytes(free)} of {device} are free.",
        fix="Deploy fewer at a time, ask for a smaller context, or choose a smaller model.",
    )
