"""ONNX Runtime GenAI: what follows from the model is said, the rest is unknown with a reason."""

from __future__ import annotations

from typing import Any

from workbench.catalog.accelerators import accelerator
from workbench.engines import Settings
from workbench.engines.onnxruntime import NEEDS, OnnxRuntime
from workbench.machine import Accelerator, Machine
from workbench.models import Model
from workbench.models.config import from_config
from workbench.models.formats import in_format, known

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


def test_weights_and_cache_are_known_and_the_arena_is_not(machine: Machine) -> None:
    (found,) = ENGINE.memory(model(), settings(), machine)
    assert found.parts["weights"].value == model().weight_bytes
    assert found.parts["KV cache"].value == 1024 * 4 * 2 * 2 * 16 * 4  # in 32 bits on a CPU
    assert found.total.value is None
    assert "arena" in found.total.reason


def test_what_does_not_run_says_why(machine: Machine) -> None:
    assert "the CPU" in ENGINE.runs_on(model("FP16"), settings(), machine).reason
    assert "one device" in ENGINE.runs_on(model(), settings(2), machine).reason
    assert "NF4" in ENGINE.supports(model("NF4")).reason
    assert "'bloom'" in ENGINE.supports(model(model_type="bloom")).reason
    assert ENGINE.runs_on(model(), settings(), machine).ok


def test_every_format_has_its_usual_name() -> None:
    assert set(NEEDS) <= {one.name for one in known()}


def test_its_speed_is_unknown(machine: Machine) -> None:
    assert "CPUs" in ENGINE.decode(model(), settings(), machine, 100).reason
