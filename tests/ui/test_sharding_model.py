"""The model of chapter 8's panel, without widgets or a browser: machines with room taken, layouts, cancelling."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workbench import catalog
from workbench.errors import UnknownName, UnsupportedModel, UsageError
from workbench.machine import Machine
from workbench.ui import sharding_model
from workbench.ui.sharding_model import Comparison, Sharding, Steps, config_of, layout_machine
from workbench.units import GIB


def panel(
    here: Machine, lay_out: Any = lambda name, found, **choices: (name, found, choices), **choices: Any
) -> Sharding:
    return Sharding(Steps(machine=lambda: here, lay_out=lay_out), **choices)


def compared(state: Sharding) -> Sharding:
    state.compare()
    assert state.join(60)
    return state


def test_the_guide_s_example_is_where_it_begins(machine: Machine) -> None:
    name, found, choices = compared(panel(machine)).comparison
    assert name == "llama-2-70b"
    assert [card.memory_free_bytes for card in found.accelerators] == [20 * GIB] * 2
    assert found.memory.available_bytes == 30 * GIB
    assert choices == {
        "context": 2048, "weight_format": "BF16", "gguf_format": "Q4_K_M", "link": "pcie-4-x16",
        "host_link": "pcie-4-x16", "disk_gb_per_s": 3.0,
    }  # fmt: skip


def test_without_a_number_all_of_a_card_is_free(machine: Machine) -> None:
    assert layout_machine("RTX 3090", 1, 0, 0, machine).accelerators[0].memory_free_bytes == 24 * GIB


@pytest.mark.parametrize(("free", "match"), [(25, "less than 25 GiB"), (-1, "-1 GiB")])
def test_no_more_can_be_free_than_there_is(machine: Machine, free: float, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        layout_machine("RTX 3090", 2, 0, free, machine)


def test_three_layouts_of_a_real_model(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding_model, "config_of", lambda name: None)  # accelerate has tests of its own
    found = sharding_model.lay_out(
        "llama-2-7b", layout_machine("RTX 3090", 2, 30, 20, machine), context=2048, weight_format="BF16",
        gguf_format="Q4_K_M", link="pcie-4-x16", host_link="pcie-4-x16", disk_gb_per_s=0,
    )  # fmt: skip
    mapped, parallel, split = found.layouts
    assert (mapped.possible, parallel.possible, split.possible) == (False, True, True)
    assert "config.json" in mapped.reason
    assert split.seconds_per_token.value


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"name": "whisper-small"}, UnsupportedModel),
        ({"name": "no-such-model"}, UnknownName),
        ({"link": "string"}, UnknownName),
        ({"weight_format": "Q99"}, UnknownName),
        ({"context": 10**7}, UsageError),
    ],
)
def test_what_cannot_be_laid_out_is_said(machine: Machine, wrong: dict[str, Any], error: type[Exception]) -> None:
    choices: dict[str, Any] = {
        "name": "llama-2-7b", "context": 2048, "weight_format": "BF16", "gguf_format": "Q4_0", "link": "pcie-4-x16",
        "host_link": "pcie-4-x16", "disk_gb_per_s": 0,
    }  # fmt: skip
    with pytest.raises(error):
        sharding_model.lay_out(found=layout_machine("RTX 3090", 2, 0, 0, machine), **choices | wrong)


def test_an_error_of_the_layouts_is_shown(machine: Machine) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise UnsupportedModel("no")

    state = compared(panel(machine, fail))
    assert isinstance(state.error, UnsupportedModel)
    assert (state.state, state.comparison) == ("idle", None)


def test_an_unmeasured_processor_is_measured_when_asked(machine: Machine) -> None:
    machines = [replace(machine, calibration=None), machine]
    steps = Steps(
        machine=lambda: machines[0], calibrate=lambda progress: machines.reverse(),
        lay_out=lambda name, found, **_: Comparison(name, found, ()),
    )  # fmt: skip
    state = compared(Sharding(steps))
    assert state.needs_measuring
    state.measure()
    assert state.join(10)
    assert (state.state, state.needs_measuring) == ("compared", False)


def test_cancelling_does_not_wait_for_accelerate(machine: Machine) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slowly(*_: Any, **__: Any) -> None:
        began.set()
        go_on.wait(30)

    state = panel(machine, slowly)
    state.compare()
    assert began.wait(10)
    begin = time.monotonic()
    state.cancel()
    assert state.join(5)
    assert time.monotonic() - begin < 2
    assert (state.state, state.comparison, state.error) == ("idle", None, None)
    go_on.set()


def test_the_config_of_a_name_a_path_and_nothing(tmp_path: Path) -> None:
    config = catalog.models()["llama-2-7b"].config
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert config_of("llama-2-7b") == config_of(str(tmp_path)) == config_of(str(tmp_path / "config.json")) == config
    assert config_of(str(tmp_path / "model.gguf")) is None
