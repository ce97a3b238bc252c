"""How a process of ours ended, in words; with memory in numbers where that may have been the reason."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from workbench.machine.probing import probe
from workbench.units import format_bytes

PLENTY = 4  # so many times what was predicted: a process that had needed all of that would have been far off


def ending(exit_code: int) -> str:
    """The exit code, or the signal that ended it."""
    return f"exit code {exit_code}" if exit_code >= 0 else f"ended by {signal.Signals(-exit_code).name}"


def how_it_ended(exit_code: int, memory: Mapping[str, float | None]) -> str:
    """The same, with numbers; memory: bytes by what they are, said beside what is free now when the
    system may have ended it for want of them."""
    if exit_code != -signal.SIGKILL:
        return ending(exit_code)
    numbers = {**memory, "free now": probe().memory.available_bytes}
    known = {what: count for what, count in numbers.items() if count is not None}
    said = ", ".join(f"{format_bytes(count)} {what}" for what, count in known.items())
    predicted = known.pop("predicted", None)
    if predicted is not None and known and min(known.values()) > PLENTY * predicted:
        return f"ended by SIGKILL from outside; memory was not short: {said}"
    return f"ended by SIGKILL, which is what the system sends when memory runs out: {said}"
