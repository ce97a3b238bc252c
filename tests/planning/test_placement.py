"""Where what is installed here runs: on the accelerators that it uses, on those that are named, or on the CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from workbench import engines, models, planning
from workbench.engines import Availability
from workbench.engines.apps.engine import Listed
from workbench.engines.diffusers import Diffusers
from workbench.engines.llamacpp import LlamaCpp
from workbench.engines.openai_whisper import OpenAIWhisper
from workbench.engines.vllm import VLLM
from workbench.errors import UsageError
from workbench.machine import Accelerator, Machine, describe
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
    assert "is not known to use an accelerator of this machine" in " ".join(made.reasons)


def _changed(machine: Machine, **changes: Any) -> Machine:
    return replace(machine, accelerators=tuple(replace(card, **changes) for card in machine.accelerators))


@pytest.mark.parametrize(
    "changes",
    [{"runtime": ""}, {"driver": "450.80.02"}, {"compute_capability": "5.0"}, {"slice_profile": "1g.10gb"},
     {"index": 7}],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_cards_that_are_only_seen_or_cannot_run_it(
    embedded_model: Model, two_cards: Machine, changes: dict[str, Any]
) -> None:
    """No driver, a driver too old for the build, no code for the card, a slice, a number that is not its place."""
    known = replace(two_cards, packages={"torch": "2.9.0+cu130"})
    assert plan(embedded_model, known, engine="transformers").settings.devices == (0,)
    assert plan(embedded_model, _changed(known, **changes), engine="transformers").settings.devices == ()


@pytest.mark.parametrize(("value", "devices"), [("1", ()), ("", ()), ("0,1", (0,))])
def test_cards_that_the_environment_hides(
    embedded_model: Model, two_cards: Machine, value: str, devices: tuple[int, ...]
) -> None:
    hidden = replace(two_cards, environment={"CUDA_VISIBLE_DEVICES": value})
    made = plan(embedded_model, hidden, engine="transformers")
    assert made.settings.devices == devices
    said = f"CUDA_VISIBLE_DEVICES={value} hides accelerators" in " ".join(made.reasons)
    assert said == (devices == ())


def test_the_card_with_the_most_room_is_taken(embedded_model: Model, two_cards: Machine) -> None:
    full, empty = (
        replace(card, memory_free_bytes=free) for card, free in zip(two_cards.accelerators, (1, 2**34), strict=True)
    )
    made = plan(embedded_model, replace(two_cards, accelerators=(full, empty)), engine="transformers")
    assert made.settings.devices == (1,)


def test_where_no_card_has_room_the_cpu_does_it(embedded_model: Model, two_cards: Machine) -> None:
    made = plan(embedded_model, _changed(two_cards, memory_free_bytes=1), engine="transformers")
    assert made.settings.devices == ()
    assert "it runs on the CPU: it does not fit on the accelerators" in made.reasons


def test_the_cpu_can_be_asked_for_and_further_cards(embedded_model: Model, two_cards: Machine) -> None:
    on_cpu = plan(embedded_model, two_cards, engine="transformers", devices=())
    assert (on_cpu.settings.devices, on_cpu.devices_asked) == ((), True)
    assert "it runs on the CPU, as asked for" in on_cpu.reasons
    made = plan(embedded_model, two_cards, engine="transformers", devices=(0, 1))
    assert (made.settings.devices, made.settings.tensor_parallel) == ((0, 1), False)  # it deals whole layers out
    assert [one.device for one in made.memory[:2]] == [f"GPU {n}: GeForce RTX 3090" for n in (0, 1)]


@pytest.mark.parametrize(
    ("devices", "said"),
    [((2,), r"Device 2 was asked for, and this machine has 2 accelerators\."), ((-1,), "Device -1"),
     (("0",), "Device '0'"), ((True,), "Device True"), ((0, 0), "one of them twice")],
)  # fmt: skip
def test_devices_that_are_not_there(
    embedded_model: Model, two_cards: Machine, devices: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        plan(embedded_model, two_cards, engine="transformers", devices=devices)


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
    cards = [Accelerator("a", "card", 0, runtime=kind) for kind in ("cuda", "rocm", "metal", "xpu", "")]
    for binary, expected in (("llama-server", reached), (None, set())):
        engine = LlamaCpp()
        engine.binary = binary
        assert {card.runtime for card in cards if engine.uses(card, machine)} == expected
        assert engine.uses(None, machine)


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
    made = plan(model, two_cards, engine=engine)
    assert (made.settings.devices, made.settings.format) == ((0,), made.model.format)
    assert plan(model, two_cards, engine=engine, devices=()).settings.devices == ()
    assert plan(model, replace(two_cards, packages={}), engine=engine).settings.devices == ()


@pytest.mark.parametrize("model", [Listed("a", "nobody knows"), "llama-3.1-8b"])
def test_an_app_decides_by_itself(monkeypatch: pytest.MonkeyPatch, two_cards: Machine, model: Any) -> None:
    engine = engines.get("ollama")
    monkeypatch.setattr(type(engine), "available", lambda *_: Availability(True, version="any"))
    found = models.describe(model) if isinstance(model, str) else model
    with pytest.raises(UsageError, match="Ollama decides by itself"):
        planning.plan(found, machine=two_cards, engine=engine, devices=(0,))
