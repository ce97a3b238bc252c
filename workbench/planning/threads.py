"""How many CPU threads an engine gets, given what other processes are using.

A thread that waits for another one at a barrier after every layer makes the whole engine as slow as its slowest
thread: with one busy core out of two, two threads decode at a third of the speed of one.
See docs/decisions/0002-threads.md for the measurements behind these two rules.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.errors import UsageError
from workbench.machine import Machine, busy_cores, probe

LOOKS, LOOK_S = 4, 0.25


@dataclass(frozen=True, slots=True)
class Threads:
    """Threads for decode and for prefill, and the reason in words."""

    decode: int
    prefill: int
    reason: str


def choose(machine: Machine, busy: float | None = None) -> Threads:
    """Prefill takes every free core; decode, bound by memory and barriers, leaves one of them to everybody else.

    busy: cores in use by other processes; when not given, the least of several looks within a second, so that a page
    that is just being drawn does not count.
    """
    busy = min(busy_cores(LOOK_S) for _ in range(LOOKS)) if busy is None else busy
    cores = min(machine.cpu.physical_cores, max(1, int(machine.cpu.usable_cores)))
    # Others' load is the whole machine's; a quota may leave us fewer cores than are free of it.
    prefill = max(1, min(cores, int(machine.cpu.physical_cores - busy + 0.5)))
    decode = max(1, min(prefill, cores - 1))
    reason = f"{cores} cores, {busy:.1f} in use by other processes: prefill on {prefill}, decode on {decode}"
    return Threads(decode, prefill, reason)


def choose_for(machine: Machine) -> Threads:
    """The choice for this machine as busy as it is, or for one that is only described, which has nothing else to do."""
    return choose(machine, None if machine.fingerprint() == probe().fingerprint() else 0.0)


def counted(threads: int | Threads | None, machine: Machine) -> Threads:
    """What was asked for, or the choice where nothing was."""
    if isinstance(threads, Threads):
        return threads
    return choose_for(machine) if threads is None else fixed(machine, threads)


def fixed(machine: Machine, threads: int) -> Threads:
    """The number the user asked for, for both."""
    if not 1 <= threads <= machine.cpu.logical_cores:
        raise UsageError(
            f"{threads} threads were asked for; this machine has {machine.cpu.logical_cores} logical cores.",
            fix=f"Ask for 1 to {machine.cpu.logical_cores}, or leave the choice to the workbench.",
        )
    return Threads(threads, threads, f"{threads} thread{'s' if threads > 1 else ''} as asked for")
