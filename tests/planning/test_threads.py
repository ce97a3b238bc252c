"""How many threads an engine gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import UsageError
from workbench.machine import Cpu, Disk, Machine, Memory
from workbench.planning import threads
from workbench.units import GIB


def cores(physical: int, logical: int | None = None, usable: float | None = None) -> Machine:
    cpu = Cpu("Test CPU", "Test", "x86-64", physical, logical or physical, usable or float(logical or physical))
    return Machine(cpu, Memory(GIB, GIB), Disk("/", GIB, GIB))


@pytest.mark.parametrize(
    ("physical", "busy", "decode", "prefill"),
    [
        (1, 0, 1, 1), (1, 1, 1, 1), (1, 4, 1, 1),
        (2, 0, 1, 2), (2, 0.4, 1, 2), (2, 0.6, 1, 1), (2, 1, 1, 1), (2, 2, 1, 1), (2, 4, 1, 1),
        (4, 0, 3, 4), (4, 1, 3, 3), (4, 2, 2, 2), (4, 3, 1, 1), (4, 4, 1, 1),
        (8, 0, 7, 8), (8, 1, 7, 7), (8, 2, 6, 6), (8, 4, 4, 4),
        (16, 0, 15, 16), (16, 1, 15, 15), (16, 2, 14, 14), (16, 3, 13, 13), (16, 4, 12, 12),
    ],
)  # fmt: skip
def test_the_table(physical: int, busy: float, decode: int, prefill: int) -> None:
    chosen = threads.choose(cores(physical), busy)
    assert (chosen.decode, chosen.prefill) == (decode, prefill)
    assert f"{physical} cores" in chosen.reason
    assert f"{busy:.1f} in use" in chosen.reason


@given(st.integers(1, 16), st.floats(0, 4), st.floats(0, 4))
def test_more_work_elsewhere_never_means_more_threads(physical: int, one: float, other: float) -> None:
    quiet, busy = (threads.choose(cores(physical), load) for load in sorted((one, other)))
    assert 1 <= busy.decode <= quiet.decode <= physical
    assert 1 <= busy.prefill <= quiet.prefill <= physical
    assert busy.decode <= busy.prefill


@pytest.mark.parametrize(
    ("machine", "prefill"), [(cores(8, 16), 8), (cores(8, 16, 4.0), 4), (cores(8, 16, 0.5), 1), (cores(8, 16, 2.7), 2)]
)
def test_hyper_threads_and_quotas_are_no_cores(machine: Machine, prefill: int) -> None:
    assert threads.choose(machine, 0).prefill == prefill


def test_other_processes_are_watched_when_nobody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst does not count: the quietest of several looks does."""
    looks = iter([8.0, 3.0, 5.0, 8.0])
    monkeypatch.setattr(threads, "busy_cores", lambda _seconds: next(looks))
    assert threads.choose(cores(8)).prefill == 5


@pytest.mark.parametrize("count", [1, 4, 16])
def test_a_number_asked_for_is_taken(count: int) -> None:
    chosen = threads.fixed(cores(8, 16), count)
    assert (chosen.decode, chosen.prefill) == (count, count)
    assert "as asked for" in chosen.reason


@pytest.mark.parametrize("count", [-1, 0, 17])
def test_a_number_that_cannot_be(count: int) -> None:
    with pytest.raises(UsageError, match=rf"{count} threads were asked for; this machine has 16 .* 1 to 16"):
        threads.fixed(cores(8, 16), count)
