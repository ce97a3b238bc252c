"""Where what is installed here runs: on the accelerators that it uses, on those that are named, or on the CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from workbench import models, planning
from workbench.engines.apps.engine import Listed
from workbench.engines.diffusers import Diffusers
from workbench.engines.llamacpp import LlamaCpp
from workbench.engines.openai_whisper import OpenAIWhisper
from workbench.engines.vllm import VLLM
from workbench.errors import UsageError
from workbench.machine import Machine, describe
from workbench.models import Model
from workbench.planning import Plan


@pytest.fixture
def two_cards(machine: Machine) -> Machine:
    """Two RTX 3090, and PyTorch's build for them."""
    made = describe("RTX 3090", count=2, host=machine)
    return replace(made, packages={**made.packages, "torch": "2.13.0+cu130"})


def plan(model: Any, machine: Machine, **options: Any) -> Plan:
    return planning.plan(model, machine=machine, threads=1, **options)


# -- language --------------------------------------------------------------------------------------------------


def test_a_card_is_used_where_the_installed_engine_uses_it(embedded_model: Model, two_cards: Machine) -> None:
    made = plan(embedded_model, two_cards, engine="transformers")
    assert (made.settings.devices, made.settings.tensor_parallel) == ((0,), False)
    assert "it runs on GeForce RTX 3090" in made.reasons
    assert made.memory[0].device.startswith("GeForce RTX 3090")


@pytest.mark.parametrize("build", ["2.13.0+cpu", "2.13.0+rocm6.4", "2.13.0", ""])
def test_no_card_is_used_that_the_build_is_not_for(embedded_model: Model, two_cards: Machine, build: str) -> None:
    other = replace(two_cards, packages={"torch": build})
    made = plan(embedded_model, other, engine="transformers")
    assert made.settings.devices == ()
    assert "Transformers as it is installed here uses no accelerator" in " ".join(made.reasons)


def test_the_cpu_can_be_asked_for_and_further_cards(embedded_model: Model, two_cards: Machine) -> None:
    assert plan(embedded_model, two_cards, engine="transformers", devices=()).settings.devices == ()
    made = plan(embedded_model, two_cards, engine="transformers", devices=(0, 1))
    assert (made.settings.devices, made.settings.tensor_parallel) == ((0, 1), False)  # it deals whole layers out
    assert [one.device for one in made.memory[:2]] == [f"GPU {n}: GeForce RTX 3090" for n in (0, 1)]


def test_a_device_that_is_not_there(embedded_model: Model, two_cards: Machine) -> None:
    with pytest.raises(UsageError, match=r"Device 2 was asked for, and this machine has 2 accelerators\."):
        plan(embedded_model, two_cards, engine="transformers", devices=(2,))


def test_without_accelerators_nothing_is_said_of_them(embedded_model: Model, machine: Machine) -> None:
    made = plan(embedded_model, machine, engine="transformers")
    assert made.settings.devices == ()
    assert not [reason for reason in made.reasons if "it runs on" in reason]


def test_what_was_planned_for_a_card_is_launched_there(embedded_model: Model, two_cards: Machine) -> None:
    made = plan(embedded_model, two_cards, engine="transformers", devices=(1,))
    launch = made.engine.launch(replace(made.model, path=embedded_model.path), made.settings, 1, "key")
    assert launch.env["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.parametrize(
    ("listed", "reached"),
    [(["CUDA0", "CUDA1"], {"cuda"}), (["ROCm0"], {"rocm"}), (["MTL0"], {"metal"}), (["SYCL0"], {"xpu"}),
     (["Vulkan0"], set()), ([], set())],
)  # fmt: skip
def test_a_program_of_llama_cpp_says_what_it_uses(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, listed: list[str], reached: set[str]
) -> None:
    monkeypatch.setattr("workbench.engines.llamacpp._devices", lambda _: listed)
    engine = LlamaCpp()
    engine.binary = "llama-server"
    assert engine.reach(machine) == reached | {"cpu"}
    engine.binary = None
    assert engine.reach(machine) == {"cpu"}


@pytest.mark.parametrize(("built_for", "devices"), [("cpu", ()), ("cuda", (0,)), ("", (0,))])
def test_a_build_of_vllm_runs_on_one_kind_of_device(
    monkeypatch: pytest.MonkeyPatch, embedded_model: Model, two_cards: Machine, built_for: str, devices: tuple[int, ...]
) -> None:
    monkeypatch.setattr("workbench.engines.vllm._command", lambda: (("vllm", "serve"), "vllm 1", built_for))
    assert plan(embedded_model, two_cards, engine=VLLM()).settings.devices == devices


def test_other_engines_do_not_hear_of_the_settings_of_llama_cpp(embedded_model: Model, machine: Machine) -> None:
    for asked in ({"cache_type": "q8_0"}, {"flash_attention": False}):
        with pytest.raises(UsageError, match=r"settings of llama\.cpp, and Hugging Face Transformers was chosen"):
            plan(embedded_model, machine, engine="transformers", **asked)


@pytest.mark.parametrize("name", ["context", "concurrency"])
@pytest.mark.parametrize("value", ["512", 512.5, True])
def test_numbers_that_are_not_whole(embedded_model: Model, machine: Machine, name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"{name} is {value!r}"):
        plan(embedded_model, machine, **{name: value})


# -- pictures and speech ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "engine"), [("icons", Diffusers()), ("whisper-tiny.en", OpenAIWhisper())])
def test_pictures_and_speech_use_a_card_too(two_cards: Machine, name: str, engine: Any) -> None:
    model = models.get(name)
    assert plan(model, two_cards, engine=engine).settings.devices == (0,)
    assert plan(model, two_cards, engine=engine, devices=()).settings.devices == ()
    assert plan(model, replace(two_cards, packages={}), engine=engine).settings.devices == ()


def test_an_app_decides_by_itself(two_cards: Machine) -> None:
    with pytest.raises(UsageError, match="Ollama decides by itself"):
        planning.plan(Listed("a", "nobody knows"), machine=two_cards, engine="ollama", devices=(0,))
