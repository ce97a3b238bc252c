"""Plans that fit alone and not together are refused before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import workbench
from workbench.deployment import check_room, is_running
from workbench.engines.fake import INTERPRETER_BYTES
from workbench.errors import DoesNotFit
from workbench.planning import Plan

MakePlan = Callable[..., Plan]


def on_a_machine_with(plan: Plan, available_bytes: float) -> Plan:
    memory = replace(plan.machine.memory, available_bytes=int(available_bytes))
    return replace(plan, machine=replace(plan.machine, memory=memory))


def two(fake_plan: MakePlan, room: float) -> list[Plan]:
    return [on_a_machine_with(fake_plan(context=size), room * INTERPRETER_BYTES) for size in (256, 512)]


def test_two_that_fit_together(fake_plan: MakePlan) -> None:
    check_room(two(fake_plan, 2.1))


def test_two_that_fit_alone_only(fake_plan: MakePlan) -> None:
    plans = two(fake_plan, 1.9)
    for plan in plans:
        check_room([plan])
    with pytest.raises(DoesNotFit, match=r"2 deployments need about 28 MiB together \(.* 14 MiB, .*26.6 MiB of RAM"):
        check_room(plans)


def test_one_that_does_not_fit_alone(fake_plan: MakePlan) -> None:
    with pytest.raises(DoesNotFit, match="little needs about 14 MiB"):
        check_room(two(fake_plan, 0.5))


def test_what_runs_already_needs_nothing_more(fake_plan: MakePlan) -> None:
    plans = two(fake_plan, 1.1)
    assert not is_running(plans[0])
    with workbench.deploy(plans[0]):
        assert is_running(plans[0])
        check_room(plans)
    assert not is_running(plans[0])
