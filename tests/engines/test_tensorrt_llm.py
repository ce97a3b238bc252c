"""TensorRT-LLM: a pool of nine tenths of what is free, on NVIDIA's cards alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import workbench
from workbench.catalog.accelerators import accelerator
from workbench.engines import Settings
from workbench.engines.tensorrt_llm import NEEDS, TensorRTLLM
from workbench.errors import EngineUnavailable, UsageError
from workbench.machine import Accelerator, Cpu, Disk, Machine, Memory
from workbench.models import Model
from workbench.models.config import from_config
from workbench.models.formats import in_format, known
from workbench.units import GIB

LLAMA_8B = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 131072}  # fmt: skip
ENGINE = TensorRTLLM()


def llama(kind: str = "BF16", **fields: Any) -> Model:
    return in_format(from_config({**LLAMA_8B, **fields}, name="llama", source="test"), kind)


def machine(card: str = "H100 SXM5 80GB", count: int = 1) -> Machine:
    spec = accelerator(card)
    cards = tuple(Accelerator(spec.vendor, spec.title, index, spec.memory_bytes, spec=spec) for index in range(count))
    return Machine(Cpu("Test", "Test", "x86-64", 8, 8, 8.0), Memory(64 * GIB, 60 * GIB), Disk("/", GIB, GIB), cards)


def settings(context: int = 8192, devices: int = 1, **changes: Any) -> Settings:
    return Settings("llama", "BF16", context, devices=tuple(range(devices)), **changes)


def test_the_pool_is_nine_tenths_of_what_is_free() -> None:
    found = ENGINE.memory(llama(), settings(), machine())[0]
    held = sum(part.known() for name, part in found.parts.items() if name != "KV pool")
    total = machine().accelerators[0].memory_total_bytes or 0
    assert found.parts["KV pool"].known() == pytest.approx(0.9 * (total - held))
    assert ENGINE.runs_on(llama(), settings(), machine()).ok


def test_what_does_not_fit_is_counted_beyond_the_card() -> None:
    asked, small = settings(context=131072), machine("RTX 4090")
    assert "131072 tokens does not fit" in ENGINE.runs_on(llama(), asked, small).reason
    assert ENGINE.memory(llama(), asked, small)[0].total.known() > (small.accelerators[0].memory_total_bytes or 0)


@pytest.mark.parametrize(
    ("kind", "card", "word"),
    [("BF16", "MI300X", "rocm"), ("FP8", "RTX 3090", "8.9"), ("BF16", "v100-sxm2-16gb", "8.0")],
)  # fmt: skip
def test_what_does_not_run_says_why(kind: str, card: str, word: str) -> None:
    assert word in ENGINE.runs_on(llama(kind), settings(), machine(card)).reason


def test_an_architecture_without_a_definition_is_refused() -> None:
    assert "'bloom'" in ENGINE.supports(llama(model_type="bloom")).reason
    assert ENGINE.supports(llama()).ok
    assert set(NEEDS) <= {one.name for one in known()}


def test_heads_must_divide() -> None:
    assert "divided by 3" in ENGINE.runs_on(llama(), settings(devices=3), machine(count=3)).reason


def test_it_needs_a_card() -> None:
    assert "the CPU" in ENGINE.runs_on(llama(), settings(devices=0), machine()).reason
    assert ENGINE.memory(llama(), settings(devices=0), machine())[0].total.value is None


def test_an_unknown_cache_is_refused() -> None:
    with pytest.raises(UsageError, match="q4_0"):
        ENGINE.memory(llama(), settings(cache_type="q4_0"), machine())


# -- starting it -----------------------------------------------------------------------------------------------


@pytest.fixture
def binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with a program called trtllm-serve, and nothing else."""
    path = tmp_path / "bin" / "trtllm-serve"
    path.parent.mkdir()
    path.touch()
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent))
    return path


def test_the_command(binary: Path) -> None:
    made = TensorRTLLM().launch(replace(llama(), path=Path("/x/m")), settings(devices=2), 4321, "sk-secret")
    assert made.argv == (
        str(binary), "serve", "/x/m", "--host", "127.0.0.1", "--port", "4321", "--backend", "pytorch",
        "--max_seq_len", "8192", "--max_num_tokens", "8192", "--max_batch_size", "2048", "--tp_size", "2",
        "--kv_cache_free_gpu_memory_fraction", "0.9",
    )  # fmt: skip
    assert made.env == {
        "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "TRTLLM_NO_USAGE_STATS": "1", "CUDA_VISIBLE_DEVICES": "0,1",
    }  # fmt: skip


@pytest.mark.usefixtures("binary")
def test_a_plan_without_a_card_says_how_to_plan_for_one() -> None:
    model = replace(llama(), path=Path("/x/m"))
    with pytest.raises(EngineUnavailable) as refused:
        TensorRTLLM().launch(model, settings(devices=0), 1, "k")
    assert "--devices 0" in refused.value.fix
    made = workbench.estimate(model, engine="tensorrt-llm", devices=(0,), machine=machine())
    assert made.engine.launch(made.model, made.settings, 1, "k").env["CUDA_VISIBLE_DEVICES"] == "0"
    assert ENGINE.memory(model, settings(devices=0), machine())[0].total.reason == "weights: the plan names no card"


@pytest.mark.usefixtures("binary")
def test_a_model_goes_by_the_name_of_its_folder() -> None:
    assert TensorRTLLM().served_model(replace(llama(), path=Path("/x/folder"))) == "folder"


@pytest.mark.usefixtures("binary")
def test_it_needs_a_card_of_nvidias() -> None:
    assert TensorRTLLM().available(machine()).ok
    refused = TensorRTLLM().available(replace(machine(), accelerators=()))
    assert refused.reason == "TensorRT-LLM needs an NVIDIA GPU, and none was found here."
    assert "workbench plan" in refused.fix


@pytest.mark.usefixtures("binary")
def test_a_cache_of_8_bits_cannot_be_asked_for_yet() -> None:
    with pytest.raises(UsageError, match="fp8 is set in a file"):
        TensorRTLLM().launch(llama(), settings(cache_type="fp8"), 1, "k")
