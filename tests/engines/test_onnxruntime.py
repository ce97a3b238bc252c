"""ONNX Runtime GenAI: its memory and speed, its command, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workbench.catalog.accelerators import accelerator
from workbench.engines import Settings
from workbench.engines.onnxruntime import NEEDS, OnnxRuntime
from workbench.engines.runtime import Hosted
from workbench.errors import BadModelFile, EngineUnavailable
from workbench.machine import Accelerator, Machine
from workbench.models import Model
from workbench.models.config import from_config
from workbench.models.formats import in_format, known
from workbench.units import MIB

LITTLE = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4,
          "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512, "tie_word_embeddings": False,
          "rms_norm_eps": 1e-5, "max_position_embeddings": 4096}  # fmt: skip
ENGINE = OnnxRuntime()


def model(kind: str = "ONNX-int4", **fields: Any) -> Model:
    return in_format(from_config({**LITTLE, **fields}, name="little", source="test"), kind)


def settings(devices: int = 0) -> Settings:
    return Settings("little", "ONNX-int4", 1024, devices=tuple(range(devices)))


def card(name: str) -> Accelerator:
    spec = accelerator(name)
    return Accelerator(spec.vendor, spec.title, 0, spec.memory_bytes, spec=spec)


def test_all_of_its_memory_on_a_cpu_is_known(machine: Machine) -> None:
    (found,) = ENGINE.memory(model(), settings(), machine)
    assert found.parts["KV cache"].value == 1024 * 4 * 2 * 2 * 16 * 4  # in 32 bits on a CPU
    assert found.total.known() == sum(part.known() for part in found.parts.values())


def test_every_request_has_a_cache_of_its_own(machine: Machine) -> None:
    one, three = (ENGINE.memory(model(), replace(settings(), concurrency=n), machine)[0] for n in (1, 3))
    assert three.parts["KV cache"].known() == 3 * one.parts["KV cache"].known()
    assert three.parts["weights"] == one.parts["weights"]


def test_the_arena_on_accelerators_is_unknown(machine: Machine) -> None:
    with_card = replace(machine, accelerators=(card("H100 SXM"),))
    device, host = ENGINE.memory(model(), settings(1), with_card)
    assert "arena" in device.total.reason and host.total.value is None
    on_cpu = model()
    assert device.parts["weights"].known() < on_cpu.weight_bytes  # 16 bits where a folder for CPUs has 32


def test_weights_as_the_model_builder_writes_them(embedded_model: Model) -> None:
    """Sizes of model.onnx.data made of the embedded model with onnxruntime-genai 0.18, tables of cosines included."""
    a = embedded_model.architecture
    tables = a.context_length * a.key_length * 4
    assert in_format(embedded_model, "ONNX-int4").weight_bytes + tables == pytest.approx(86_287_616, rel=1e-3)
    assert in_format(embedded_model, "FP32").weight_bytes + tables == pytest.approx(540_157_184, rel=1e-3)


#: Peak PSS in MiB of its server over the longest prompt and 64 tokens, two threads, 2026-11-28.
MEASURED = [("ONNX-int4", 512, 1, 268.6), ("ONNX-int4", 2048, 1, 338.7), ("ONNX-int4", 4096, 1, 433.4),
            ("ONNX-int4", 2048, 2, 411.0), ("ONNX-int4", 1024, 4, 410.2), ("FP32", 512, 1, 759.7),
            ("FP32", 1024, 4, 910.9)]  # fmt: skip


@pytest.mark.parametrize("case", MEASURED)
def test_memory_that_was_measured(embedded_model: Model, machine: Machine, case: tuple[str, int, int, float]) -> None:
    """What the terms were fitted to, and nothing else."""
    kind, context, requests, mib = case
    run = Settings("embedded", kind, context, concurrency=requests, threads=2)
    (found,) = ENGINE.memory(in_format(embedded_model, kind), run, machine)
    assert found.total.known() == pytest.approx(mib * MIB, rel=0.05)
    assert found.total.contains(mib * MIB)


def test_what_does_not_run_says_why(machine: Machine) -> None:
    assert "the CPU" in ENGINE.runs_on(model("FP16"), settings(), machine).reason
    assert "one device" in ENGINE.runs_on(model(), settings(2), machine).reason
    assert "NF4" in ENGINE.supports(model("NF4")).reason
    assert "'bloom'" in ENGINE.supports(model(model_type="bloom")).reason
    assert ENGINE.runs_on(model(), settings(), machine).ok


def test_every_format_has_its_usual_name() -> None:
    assert set(NEEDS) <= {one.name for one in known()}


def test_requests_take_turns(machine: Machine) -> None:
    one, three = (ENGINE.decode(model(), settings(), machine, 100, batch).known() for batch in (1, 3))
    assert three == pytest.approx(3 * one)


def test_a_prompt_has_the_threads_of_decode(machine: Machine) -> None:
    two = replace(settings(), threads=2)
    assert ENGINE.prefill(model(), two, machine, 100).known() == pytest.approx(
        ENGINE.prefill(model(), settings(), machine, 100).known() / 2
    )


def test_its_speed_on_accelerators_is_unknown(machine: Machine) -> None:
    with_card = replace(machine, accelerators=(card("H100 SXM"),))
    assert ENGINE.decode(model(), settings(1), with_card, 100).value is None


def test_its_command_hosts_the_folder(machine: Machine, tmp_path: Path) -> None:
    made = ENGINE.launch(replace(model(), path=tmp_path), settings(), 23456, "sk-secret")
    assert made.argv[1:4] == ("-P", "-m", "workbench.deployment.server")
    hosted = Hosted.from_json(made.argv[4])
    assert (hosted.engine, hosted.model, hosted.port) == ("onnx-runtime", tmp_path, 23456)
    assert hosted.settings == settings()
    assert made.env == {"WORKBENCH_API_KEY": "sk-secret"}


def test_it_starts_on_the_cpu_alone(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="on the CPU alone"):
        ENGINE.launch(replace(model(), path=tmp_path), settings(1), 1, "k")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.engines.runtime.find_spec", lambda name: None if name == "uvicorn" else name)
    found = ENGINE.available()
    assert not found.ok and found.fix == "Install it: pip install uvicorn"


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match=r"genai_config\.json"):
        ENGINE.runtime(tmp_path, settings())
