"""The model of chapter 2's panel, without widgets or a browser: what is asked, what comes back, what goes wrong."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workbench import catalog
from workbench.errors import UsageError
from workbench.machine import Machine
from workbench.planning.table import table
from workbench.ui import machine_choice
from workbench.ui.choose_model import TASK_TITLES, TASKS, Choose, Steps


@pytest.fixture
def here(machine: Machine) -> Machine:
    return machine


def panel(here: Machine, **choices: Any) -> Choose:
    few = ["RTX 3090", "RTX 4060"]
    return Choose(Steps(machine=lambda: here, table=lambda model, **named: table(model, few, **named)), **choices)


def ranked(state: Choose) -> Choose:
    state.rank()
    assert state.join(60)
    return state


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_model_to_begin_with(here: Machine, task: str) -> None:
    state = panel(here, device="RTX 3090", task=task, model=TASKS[task])
    assert state.model in state.known_models()
    assert ranked(state).error is None
    assert state.state == "ranked"
    assert state.choices.plans[0].settings.devices == (0,)
    assert {row.device for row in state.rows} == {"RTX 3090", "RTX 4060"}
    assert set(TASK_TITLES) == set(TASKS)


def test_without_a_device_it_is_this_computer(here: Machine) -> None:
    state = ranked(panel(here, model="qwen2.5-0.5b-instruct"))
    assert state.choices.machine is here
    assert not state.needs_measuring


def test_context_and_concurrency_are_passed_on(here: Machine) -> None:
    state = ranked(panel(here, device="RTX 3090", model="qwen2.5-7b", context=4096, concurrency=4))
    plan = state.choices.best
    assert (plan.settings.context, plan.settings.concurrency) == (4096, 4)


def test_an_unmeasured_processor_is_measured_when_asked(here: Machine) -> None:
    machines = [replace(here, calibration=None), here]
    steps = Steps(machine=lambda: machines[0], calibrate=lambda progress: machines.reverse(), table=lambda *_, **__: [])
    state = ranked(Choose(steps, model="qwen2.5-0.5b-instruct"))
    assert state.needs_measuring
    assert state.choices.best.decode.value is None
    state.measure()
    assert state.join(60)
    assert not state.needs_measuring
    assert state.choices.best.decode.value


def test_a_described_computer_cannot_be_measured(here: Machine) -> None:
    state = ranked(panel(replace(here, calibration=None), device="AWS g5.xlarge", model="qwen2.5-7b"))
    assert not state.needs_measuring


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"model": "no-such-model"}, "no-such-model"),
        ({"model": "  "}, "No model"),
        ({"model": "/nowhere/config.json"}, "nowhere"),
        ({"device": "RTX 9999"}, "RTX 9999"),
        ({"count": 2}, "no device"),
        ({"device": "RTX 3090", "count": 65}, "65"),
        ({"device": "Apple M2 Ultra (76-core GPU)"}, "does not say how much"),
        ({"context": 10**7}, "too large"),
    ],
)
def test_what_cannot_be_used_is_said(here: Machine, wrong: dict[str, Any], match: str) -> None:
    state = ranked(panel(here, **{"model": "qwen2.5-7b", **wrong}))
    assert isinstance(state.error, UsageError)
    assert match in str(state.error)
    assert (state.state, state.choices) == ("idle", None)


def test_a_config_of_one_s_own(here: Machine, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(catalog.models()["qwen2.5-7b"].config))
    assert ranked(panel(here, device="RTX 3090", model=str(path))).error is None


def test_another_task_brings_its_model(here: Machine) -> None:
    state = panel(here, model="qwen2.5-7b")
    state.choose_task("imagine")
    assert state.model == TASKS["imagine"]
    assert "qwen2.5-7b" not in state.known_models()


def test_cancelling_leaves_what_was_there(here: Machine) -> None:
    began, go_on = threading.Event(), threading.Event()

    def describe(name: str) -> None:
        began.set()
        go_on.wait(10)

    state = Choose(Steps(machine=lambda: here, describe=describe))
    state.rank()
    assert began.wait(10)
    state.cancel()
    go_on.set()
    assert state.join(10)
    assert (state.state, state.choices, state.error) == ("idle", None, None)


def test_every_name_that_is_offered_is_understood(here: Machine) -> None:
    for name in machine_choice.known():
        memory_gib = 64 if name in catalog_unified() else 0
        assert machine_choice.chosen(name, 1, memory_gib, here).accelerators


def catalog_unified() -> set[str]:
    return {spec.title for spec in catalog.accelerators().values() if spec.unified}
