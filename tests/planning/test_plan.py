"""Plans: what is chosen, what is refused and why, and what a plan says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from workbench import engines, planning
from workbench.engines import Availability, Engine
from workbench.engines.fake import FakeEngine
from workbench.engines.llamacpp import LlamaCpp
from workbench.errors import DoesNotFit, EngineUnavailable, UnknownName, UnsupportedModel, UsageError, WorkbenchError
from workbench.machine import Machine
from workbench.models import Model
from workbench.planning import Plan

MakePlan = Callable[..., Plan]

KEYS = ["id", "created", "model", "model_path", "quantization", "engine", "engine_version", "hardware", "machine",
        "devices", "settings", "workload", "memory", "calibrated_by_ledger", "verdict", "fits",
        "predictions", "decode_bound", "reasons", "refused"]  # fmt: skip
QUANTITIES = ["memory_peak", "prefill", "decode", "ttft"]
SETTINGS = ["model", "format", "context", "concurrency", "threads", "prefill_threads", "cache_type",
            "flash_attention",
            "prompt_cache_bytes", "devices", "device_layers", "tensor_parallel", "offload", "image",
            "tricks", "beam"]  # fmt: skip
ESTIMATE = ["value", "low", "high", "unit", "basis", "date", "level", "reason"]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody but llama.cpp and the fake engine can be asked."""
    known = {name: engines.ENGINES[name] for name in ("llama.cpp", "fake")}
    monkeypatch.setattr(engines, "ENGINES", known)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp is here, whatever this computer has."""
    monkeypatch.setattr(LlamaCpp, "available", lambda *_: Availability(True, version="any"))


def plan(model: Model, machine: Machine, **options: object) -> Plan:
    return planning.plan(model, machine=machine, **{"threads": 1, **options})  # type: ignore[arg-type]


# -- what a plan says ------------------------------------------------------------------------------------------


def test_stable_keys(fake_plan: MakePlan) -> None:
    data = json.loads(json.dumps(fake_plan().to_dict()))
    assert list(data) == KEYS
    assert list(data["settings"]) == SETTINGS
    assert list(data["workload"]) == ["prompt_tokens", "answer_tokens"]
    (device,) = data["memory"]
    assert list(device) == ["device", "parts"]
    assert list(data["predictions"]) == QUANTITIES
    for estimate in (*data["predictions"].values(), *device["parts"].values()):
        assert list(estimate) == ESTIMATE
        assert list(estimate["basis"]) == ["method", "inputs", "source"]


@pytest.mark.usefixtures("installed")
def test_the_keys_are_the_same_for_every_engine(little_model: Model, machine: Machine) -> None:
    made = plan(little_model, machine)
    data = json.loads(json.dumps(made.to_dict()))
    assert list(data) == KEYS
    assert (data["hardware"], data["machine"]) == (machine.hardware_class, machine.fingerprint())
    predicted = data["predictions"]
    assert predicted["memory_peak"]["value"] == made.memory[0].total.known()
    assert sum(part["value"] for part in data["memory"][0]["parts"].values()) == made.memory[0].total.known()
    assert predicted["decode"]["unit"] == predicted["prefill"]["unit"] == "tok/s"
    assert (predicted["ttft"]["unit"], predicted["memory_peak"]["unit"]) == ("s", "B")


def test_every_plan_is_one_of_its_own(fake_plan: MakePlan) -> None:
    assert fake_plan().id != fake_plan().id


def test_predictions_have_the_names_that_measurements_have(fake_plan: MakePlan) -> None:
    assert list(fake_plan().predictions) == QUANTITIES


# -- what can be asked for -------------------------------------------------------------------------------------


def test_the_usual_context_is_no_more_than_the_model_has(little_model: Model, machine: Machine) -> None:
    assert plan(little_model, machine, engine="fake").settings.context == planning.language.DEFAULT_CONTEXT
    short = replace(little_model, architecture=replace(little_model.architecture, context_length=1000))
    assert plan(short, machine, engine="fake").settings.context == 1000


@pytest.mark.parametrize("context", [128, 4096])
def test_the_ends_of_the_range_can_be_asked_for(little_model: Model, machine: Machine, context: int) -> None:
    assert plan(little_model, machine, engine="fake", context=context).settings.context == context


@pytest.mark.parametrize("context", [4097, 1_000_000])
def test_a_context_too_large_names_both_numbers(little_model: Model, machine: Machine, context: int) -> None:
    with pytest.raises(UsageError, match=rf"{context} tokens is too large; little was trained for 4096"):
        plan(little_model, machine, engine="fake", context=context)


@pytest.mark.parametrize("context", [127, 64, 1, 0, -5])
def test_a_context_too_small_names_both_numbers(little_model: Model, machine: Machine, context: int) -> None:
    with pytest.raises(UsageError, match=rf"{context} tokens is too small.*Ask for 128 to 4096"):
        plan(little_model, machine, engine="fake", context=context)


@pytest.mark.parametrize("asked", [None, 127, 128])
def test_a_model_trained_for_too_little_context(little_model: Model, machine: Machine, asked: int | None) -> None:
    short = replace(little_model, architecture=replace(little_model.architecture, context_length=127))
    with pytest.raises(UnsupportedModel, match=r"little has a context of 127 tokens\. At least 128 are needed\."):
        plan(short, machine, engine="fake", context=asked)


@pytest.mark.parametrize("concurrency", [0, -1, 257])
def test_a_concurrency_that_cannot_be(little_model: Model, machine: Machine, concurrency: int) -> None:
    with pytest.raises(UsageError, match=rf"concurrency of {concurrency} .* 1 to 256"):
        plan(little_model, machine, engine="fake", concurrency=concurrency)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("key_length", "settings", "said"),
    [
        (64, {"cache_type": "f17"}, r"no KV cache of type 'f17'.*q8_0"),
        (64, {"cache_type": "q8_0", "flash_attention": False}, "q8_0 was asked for without flash attention"),
        (48, {"cache_type": "q8_0"}, "heads of 64 values, which blocks of 32 do not divide"),
    ],
)
def test_a_cache_type_that_llama_cpp_refuses(
    little_model: Model, machine: Machine, key_length: int, settings: dict[str, object], said: str
) -> None:
    shape = replace(little_model.architecture, key_length=key_length, value_length=64)
    with pytest.raises(UsageError, match=said):
        plan(replace(little_model, architecture=shape), machine, engine="llama.cpp", **settings)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("kind", "flash"), [("q8_0", True), ("bf16", False)])
def test_a_cache_type_that_llama_cpp_takes(little_model: Model, machine: Machine, kind: str, flash: bool) -> None:
    shape = replace(little_model.architecture, key_length=64, value_length=64)
    wide = replace(little_model, architecture=shape)
    assert plan(wide, machine, engine="llama.cpp", cache_type=kind, flash_attention=flash).settings.cache_type == kind


@pytest.mark.parametrize("threads", [0, -1, 3])
def test_threads_that_cannot_be(little_model: Model, machine: Machine, threads: int) -> None:
    with pytest.raises(UsageError, match=rf"{threads} threads were asked for; this machine has 2"):
        plan(little_model, machine, engine="fake", threads=threads)


def test_a_machine_that_is_not_this_one_is_not_watched(
    little_model: Model, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs on this computer now says nothing about a machine that is described."""
    monkeypatch.setattr("workbench.planning.threads.busy_cores", lambda: 9.0)
    assert planning.plan(little_model, machine=machine, engine="fake").settings.prefill_threads == 2


def test_no_cache_of_prompts_can_take_less_than_nothing(little_model: Model, machine: Machine) -> None:
    """To llama.cpp −1 means without a limit."""
    with pytest.raises(UsageError, match="-1"):
        plan(little_model, machine, engine="fake", prompt_cache_bytes=-1)


# -- which engine ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "nearest"), [("lama.cpp", "llama.cpp"), ("LLAMA.CPP", "llama.cpp"), ("fak", "fake")])
def test_an_unknown_engine_meets_the_nearest_name(
    little_model: Model, machine: Machine, name: str, nearest: str
) -> None:
    with pytest.raises(UnknownName, match=rf"no engine called '{name}'\. Did you mean {nearest}"):
        plan(little_model, machine, engine=name)


@pytest.mark.usefixtures("installed")
def test_auto_takes_the_first_that_can(little_model: Model, machine: Machine) -> None:
    made = plan(little_model, machine)
    assert (made.engine.name, made.refused) == ("llama.cpp", ())
    assert "llama.cpp runs gguf files here (any)" in made.reasons


@pytest.mark.usefixtures("alone")
def test_auto_never_falls_back_to_the_fake_engine(
    little_model: Model, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = Availability(False, "Nothing is installed.", "Install it.")
    monkeypatch.setattr(LlamaCpp, "available", lambda *_: missing)
    with pytest.raises(EngineUnavailable, match=r"Nothing is installed\. Install it\."):
        plan(little_model, machine)
    assert plan(little_model, machine, engine="fake").engine.name == "fake"


def test_auto_says_who_was_refused_on_the_way(
    little_model: Model, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Second(FakeEngine):
        name = "second"

    monkeypatch.setattr(LlamaCpp, "available", lambda *_: Availability(False, "Not installed.", "Install it."))
    known: dict[str, Engine] = {"llama.cpp": LlamaCpp(), "second": Second()}
    monkeypatch.setattr(engines, "ENGINES", dict.fromkeys(known, ""))
    monkeypatch.setattr(engines, "get", known.__getitem__)
    made = plan(little_model, machine)
    assert made.engine.name == "second"
    assert [(r.engine, r.reason, r.fix) for r in made.refused] == [("llama.cpp", "Not installed.", "Install it.")]


@pytest.mark.parametrize("name", ["clip", "bert", "not-an-arch"])
@pytest.mark.usefixtures("installed")
def test_an_architecture_that_nothing_here_runs(little_model: Model, machine: Machine, name: str) -> None:
    other = replace(little_model, architecture=replace(little_model.architecture, name=name))
    with pytest.raises(UnsupportedModel, match="little") as caught:
        plan(other, machine)
    assert name in caught.value.what
    assert caught.value.fix


@pytest.mark.usefixtures("installed", "alone")
def test_a_format_that_nothing_here_opens(little_model: Model, machine: Machine) -> None:
    with pytest.raises(UnsupportedModel, match="not safetensors") as caught:
        plan(replace(little_model, format="safetensors"), machine)
    assert caught.value.fix


# -- what fits, and what is not known --------------------------------------------------------------------------


@pytest.mark.usefixtures("installed")
def test_what_does_not_fit_is_said_with_both_numbers(little_model: Model, machine: Machine) -> None:
    made = plan(little_model, machine)
    made.check_fits()
    full = replace(made, machine=replace(machine, memory=replace(machine.memory, available_bytes=1_048_576)))
    with pytest.raises(DoesNotFit, match=r"little needs about [\d.]+ MiB .* 2048 tokens; 1 MiB .* smaller context"):
        full.check_fits()


@pytest.mark.usefixtures("installed")
def test_an_uncalibrated_machine_has_no_speed_but_a_reason(little_model: Model, machine: Machine) -> None:
    made = plan(little_model, replace(machine, calibration=None))
    for estimate in (made.prefill, made.decode, made.ttft):
        assert estimate.value is None
        assert "workbench machine --calibrate" in estimate.reason
    assert made.memory[0].total.value is not None  # memory needs no calibration
    predicted = json.loads(json.dumps(made.to_dict()))["predictions"]
    assert [predicted[name]["value"] for name in ("prefill", "decode", "ttft")] == [None, None, None]
    assert predicted["memory_peak"]["value"] == made.memory[0].total.value


def test_a_model_by_name_is_looked_up(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="smollm2"):
        planning.plan("smolm2", machine=machine)
    with pytest.raises(WorkbenchError, match="cannot be read"):
        planning.plan(str(tmp_path / "gone.gguf"), machine=machine)


def test_a_plan_passes_on_what_is_to_be_said_of_the_calibration(machine: Machine, embedded_model: Model) -> None:
    assert machine.calibration
    busy = replace(machine, calibration=replace(machine.calibration, notes=("Others were busy. It is slow.",)))
    assert "others were busy. It is slow" in planning.plan(embedded_model, machine=busy, engine="fake").reasons
