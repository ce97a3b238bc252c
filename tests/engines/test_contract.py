"""Every engine of the registry keeps the contract."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from workbench import catalog, engines
from workbench.engines import ENGINES, Availability, Endpoint, Engine, Settings, environments
from workbench.engines.fake import FakeEngine
from workbench.engines.fake_server import Script
from workbench.errors import EngineUnavailable, UnknownName
from workbench.machine import Machine
from workbench.models import Model

SETTINGS = Settings(model="little", format="gguf", context=512)
STARTED = [name for name in ENGINES if engines.get(name).starts]
ON_CPU = [
    name for name in STARTED if {"cpu"} <= engines.get(name).runtimes and "chat" in engines.get(name).capabilities
]
#: Servers that know no keys; they listen on the loopback interface alone.
KEYLESS = {"tensorrt-llm", "transformers-serve"}


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_what_its_entry_says(name: str) -> None:
    engine = engines.get(name)
    assert isinstance(engine, Engine)
    assert engine.name == name
    assert engine.title
    assert engine.formats
    assert engine.capabilities <= {"chat", "complete", "transcribe", "imagine"}
    assert engine.health_path.startswith("/")
    assert isinstance(engine.available(), Availability)


@pytest.fixture
def all_environments(home: Path) -> None:
    """Every environment of the catalog as if it were installed."""
    for recipe in catalog.environments().values():
        program = environments._root() / f"{environments._key(recipe)}-test" / recipe.program
        program.parent.mkdir(parents=True)
        program.touch()
        (program.parents[1] / environments.NOTE).write_text(json.dumps({"created": "2026-01-01", "bytes": 1}))


@pytest.mark.parametrize("name", ON_CPU)
def test_the_memory_of_a_device_is_named_in_parts(name: str, little_model: Model, machine: Machine) -> None:
    for breakdown in engines.get(name).memory(little_model, SETTINGS, machine):
        assert breakdown.device
        assert "engine" in breakdown.parts  # the program itself is a term of its own
        assert all(part.unit == "B" and part.basis.method for part in breakdown.parts.values())


@pytest.mark.parametrize("name", ON_CPU)
def test_times_are_in_seconds_and_say_where_they_come_from(name: str, little_model: Model, machine: Machine) -> None:
    engine = engines.get(name)
    for estimate in (
        engine.prefill(little_model, SETTINGS, machine, 256),
        engine.decode(little_model, SETTINGS, machine, 0),
    ):
        assert estimate.unit == "s"
        assert estimate.known() > 0
        assert estimate.basis.method


@pytest.mark.usefixtures("all_environments")
@pytest.mark.parametrize("name", STARTED)
def test_a_launch_is_text_and_holds_no_key_in_its_command(name: str, little_model: Model) -> None:
    engine = engines.get(name)
    settings = replace(SETTINGS, format="FP32") if "imagine" in engine.capabilities else SETTINGS
    settings = replace(settings, devices=(0,)) if "cpu" not in engine.runtimes else settings
    launch = engine.launch(little_model, settings, 12345, "sk-secret")
    assert all(isinstance(text, str) for text in (*launch.argv, *launch.env, *launch.env.values()))
    assert not any("sk-secret" in text for text in launch.argv)
    assert ("sk-secret" in launch.env.values()) != (name in KEYLESS)
    assert any("12345" in text for text in (*launch.argv, *launch.env.values()))


@pytest.mark.parametrize("name", [name for name in ENGINES if name not in STARTED])
def test_an_engine_that_only_predicts_says_so_and_starts_nothing(name: str, little_model: Model) -> None:
    engine = engines.get(name)
    assert "cannot start" in engine.available().reason
    with pytest.raises(EngineUnavailable, match="cannot start"):
        engine.launch(little_model, SETTINGS, 12345, "sk-secret")


def test_an_unknown_name_meets_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"engine called 'lamacpp'\. Did you mean llama\.cpp or ollama\?"):
        engines.get("lamacpp")


def test_the_root_of_an_endpoint() -> None:
    assert Endpoint("http://127.0.0.1:8000/v1", "key", "model").root == "http://127.0.0.1:8000"


def test_the_fake_engine_predicts_its_script(little_model: Model, machine: Machine) -> None:
    slow, fast = FakeEngine(Script(token_s=0.1)), FakeEngine()
    assert slow.decode(little_model, SETTINGS, machine, 0).known() == pytest.approx(0.1, rel=0.01)
    assert fast.decode(little_model, SETTINGS, machine, 0).known() < 0.001


def test_the_fake_engine_runs_anything_and_hands_its_script_on(little_model: Model) -> None:
    unheard_of = replace(little_model, format="papyrus", architecture=replace(little_model.architecture, name="new"))
    assert FakeEngine().supports(unheard_of).ok
    launch = FakeEngine(Script(words="Hello. ", exit_code=7)).launch(unheard_of, SETTINGS, 1, "k")
    assert '"words": "Hello. "' in launch.argv[-1]
    assert '"exit_code": 7' in launch.argv[-1]
    assert os.path.isabs(launch.argv[0])  # noqa: PTH117 - a text, not a path of ours
