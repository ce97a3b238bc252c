"""Transformers: what it is predicted to take on devices and on a CPU, and where it runs which format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.accelerators import accelerator
from workbench.engines import Settings
from workbench.engines import transformers_memory as memory
from workbench.engines.runtime import Hosted
from workbench.engines.transformers import NEEDS, Transformers, TransformersServe
from workbench.engines.transformers_memory import ALLOCATOR_BYTES, Habits, Load, habits_of, torch_parts
from workbench.errors import EngineUnavailable
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Accelerator, Cpu, Disk, Machine, Memory
from workbench.models import Model
from workbench.models.config import from_config
from workbench.models.formats import in_format, known
from workbench.units import GIB, MIB

ENGINE = Transformers()
QWEN_7B = {"model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
           "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
           "rms_norm_eps": 1e-6, "max_position_embeddings": 32768}  # fmt: skip
QWEN_32B = {**QWEN_7B, "hidden_size": 5120, "intermediate_size": 27648, "num_hidden_layers": 64,
            "num_attention_heads": 40, "num_key_value_heads": 8}  # fmt: skip
LITTLE = {**QWEN_7B, "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
          "num_key_value_heads": 2, "vocab_size": 512}  # fmt: skip


def model(kind: str = "BF16", **fields: Any) -> Model:
    return in_format(from_config({**LITTLE, **fields}, name="little", source="test"), kind)


def machine(*cards: str, **changes: Any) -> Machine:
    specs = [accelerator(card) for card in cards]
    found = tuple(
        replace(
            Accelerator(spec.vendor, spec.title, index, spec.memory_bytes, spec=spec, unified=spec.unified), **changes
        )
        for index, spec in enumerate(specs)
    )
    return Machine(Cpu("Test", "Test", "x86-64", 8, 8, 8.0), Memory(64 * GIB, 60 * GIB), Disk("/", GIB, GIB), found)


def settings(context: int = 1024, batch: int = 1, devices: int = 1, **changes: Any) -> Settings:
    return Settings("little", "BF16", context, batch, devices=tuple(range(devices)), **changes)


def peak(one: Model, load: Load, **changes: Any) -> float:
    """What PyTorch's counter would show on one device."""
    return Breakdown("", torch_parts(one, load, settings(**changes))[0]).total.known()


# -- against what was published --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "prompt", "engine", "gib", "tolerance"),
    [
        (QWEN_32B, 1, "HF Transformers 4.46.0", 61.58, 0.002),
        (QWEN_32B, 30720, "HF Transformers 4.46.0", 74.47, 0.002),
        (QWEN_7B, 1, "HF Transformers 4.38.2", 14.92, 0.04),
        (QWEN_7B, 30720, "HF Transformers 4.38.2", 42.62, 0.02),
    ],
)
def test_qwen_takes_what_its_makers_measured(
    config: dict[str, Any], prompt: int, engine: str, gib: float, tolerance: float
) -> None:
    found = from_config(config, name="Qwen", source="test")
    parts = torch_parts(found, Load(prompt, 2048), settings(), habits=habits_of(engine))[0]
    assert Breakdown("", parts).total.known() / GIB == pytest.approx(gib, rel=tolerance)


def test_the_longest_name_of_a_program_counts() -> None:
    assert habits_of("HF Transformers 4.46.0") == Habits()
    assert habits_of("HF Transformers 4.38.2").logit_bytes == 6
    assert habits_of("HF Transformers", "QwenLM/Qwen@2df8e8a:README.md").cache_copies == 2
    assert habits_of("AutoAWQ 0.1.6 (PyTorch)").joined_copies


# -- the parts -------------------------------------------------------------------------------------------------


def test_without_a_prompt_weights_and_cache_are_nearly_all() -> None:
    parts = torch_parts(model(), Load(1, 1000), settings())[0]
    assert parts["weights"].value == model().weight_bytes
    assert parts["KV cache"].value == 1001 * 4 * 2 * 2 * 16 * 2  # layers, keys and values, heads, length, bytes
    assert parts["prompt"].value == 0
    assert parts["workspace"].value == ALLOCATOR_BYTES


def test_a_long_prompt_takes_more_than_the_answer_will() -> None:
    parts = torch_parts(model(), Load(1000, 10), settings())[0]
    answer = 10 * 4 * 2 * 2 * 16 * 2
    assert parts["prompt"].value == 1000 * 2 * (3 * 256 + 4 * 64) - answer


def test_kept_scores_grow_with_the_square_of_the_prompt() -> None:
    one, four = (peak(model(), Load(tokens, 1), flash_attention=False) for tokens in (1000, 2000))
    assert four - one > 3 * 10 * 4 * 1000**2  # bytes, heads, pairs


def test_a_window_bounds_the_cache() -> None:
    slides = model(model_type="mistral", sliding_window=128, num_hidden_layers=4)
    parts = [torch_parts(slides, Load(tokens, 64), settings())[0]["KV cache"].value for tokens in (200, 2000)]
    assert parts[0] == parts[1]


def test_a_tied_head_in_fp8_is_held_twice() -> None:
    tied, apart = (model("FP8", tie_word_embeddings=tie) for tie in (True, False))
    extra = [torch_parts(one, Load(1, 1), settings())[0]["workspace"].known() for one in (tied, apart)]
    assert extra[0] - extra[1] == 512 * 64 * 2


def test_a_quantized_cache_is_smaller() -> None:
    assert peak(model(), Load(1000, 64), cache_type="q8_0") < peak(model(), Load(1000, 64))


def test_recurrent_layers_are_unknown() -> None:
    shape = replace(model().architecture, kv_heads_per_layer=(2, 0, 2, 0))
    total = Breakdown("", torch_parts(replace(model(), architecture=shape), Load(9, 9), settings())[0]).total
    assert total.value is None
    assert "recurrent" in total.reason


# -- properties ------------------------------------------------------------------------------------------------


@given(st.integers(2, 4096), st.integers(1, 8), st.integers(1, 6), st.booleans())
def test_more_of_anything_never_takes_less(prompt: int, batch: int, layers: int, fused: bool) -> None:
    def of(*, prompt: int = prompt, answer: int = 64, batch: int = batch, layers: int = layers) -> float:
        return peak(model(num_hidden_layers=layers), Load(prompt, answer, batch), flash_attention=fused)

    least = of()
    assert of(prompt=prompt + 100) >= least
    assert of(answer=100) >= least
    assert of(batch=batch + 1) > least
    assert of(layers=layers + 1) > least


def test_more_bits_take_more() -> None:
    kinds = ("NF4-DQ", "NF4", "FP8", "BF16", "FP32")
    wide = [model(kind, hidden_size=1024, intermediate_size=4096).weight_bytes for kind in kinds]
    peaks = [peak(model(kind, hidden_size=1024, intermediate_size=4096), Load(64, 64)) for kind in kinds]
    assert wide == sorted(wide)
    assert peaks == sorted(peaks)


@given(st.integers(1, 4), st.integers(1, 12), st.booleans())
def test_layers_are_dealt_out_whole_and_all(devices: int, layers: int, tied: bool) -> None:
    one = model(num_hidden_layers=layers, tie_word_embeddings=tied)
    dealt = memory.deal_layers(one, devices)
    assert list(dealt) == sorted(dealt)
    parts = torch_parts(one, Load(8, 8), settings(), devices)
    assert sum(part["weights"].known() for part in parts) == one.weight_bytes
    whole = torch_parts(one, Load(8, 8), settings())[0]["KV cache"].known()
    assert sum(part["KV cache"].known() for part in parts) == whole


def test_what_the_devices_do_not_hold_stays_in_memory() -> None:
    found = ENGINE.memory(model(), settings(device_layers=1), machine("RTX 4090"))
    layer = model().bytes_by_layer[0]
    assert found[1].parts["weights"].value == 3 * layer
    assert found[0].parts["weights"].known() < model().weight_bytes


# -- the whole machine -----------------------------------------------------------------------------------------


def test_a_device_holds_the_driver_apart() -> None:
    found = ENGINE.memory(model(), settings(), machine("RTX 4090"))
    assert [one.device for one in found] == ["GeForce RTX 4090", "RAM"]
    assert set(found[0].parts) == {"weights", "KV cache", "prompt", "workspace", "driver"}
    assert found[0].total.known() == sum(part.known() for part in found[0].parts.values())


def test_two_devices_are_told_apart() -> None:
    found = ENGINE.memory(model(), settings(devices=2), machine("RTX 4090", "RTX 4090"))
    assert [one.device for one in found] == ["GPU 0: GeForce RTX 4090", "GPU 1: GeForce RTX 4090", "RAM"]
    split = ENGINE.memory(model(), settings(devices=2, tensor_parallel=True), machine("RTX 4090", "RTX 4090"))
    assert split[0].parts["weights"].known() == split[1].parts["weights"].known() > model().weight_bytes / 2


def test_a_device_that_shares_memory_has_all_of_it() -> None:
    found = ENGINE.memory(model(), settings(), machine("Apple M3 Max (40-core GPU)", memory_total_bytes=64 * GIB))
    assert len(found) == 1
    assert "program" in found[0].parts


def test_a_cpu_maps_the_weights(machine: Machine) -> None:
    found = ENGINE.memory(model(), settings(devices=0), machine)
    assert [one.device for one in found] == ["RAM"]
    assert found[0].parts["engine"].known() > 300 * MIB
    assert found[0].parts["weights"].high == model().weight_bytes


# -- what runs where -------------------------------------------------------------------------------------------


def test_every_format_has_its_usual_name() -> None:
    assert set(NEEDS) <= {one.name for one in known()}
    assert ENGINE.formats == set(NEEDS)


@pytest.mark.parametrize(
    ("kind", "card", "word"),
    [("FP8", "RTX 3090", "8.9"), ("FP8", "Apple M3 Max (40-core GPU)", "metal"), ("LLM.int8", "v100-sxm2-16gb", "7.5"),
     ("AWQ-Int4", "Apple M3 Max (40-core GPU)", "metal")],
)  # fmt: skip
def test_what_does_not_run_says_why(kind: str, card: str, word: str) -> None:
    refused = ENGINE.runs_on(model(kind), settings(), machine(card))
    assert not refused.ok
    assert word in refused.reason
    assert refused.fix


def test_fp8_does_not_run_on_a_cpu_and_4_bits_do(machine: Machine) -> None:
    assert "the CPU" in ENGINE.runs_on(model("FP8"), settings(devices=0), machine).reason
    assert ENGINE.runs_on(model("NF4"), settings(devices=0), machine).ok


def test_fp8_runs_on_a_newer_card() -> None:
    assert ENGINE.runs_on(model("FP8"), settings(), machine("RTX 4090")).ok


def test_files_of_llama_cpp_and_unknown_formats_are_refused(little_model: Model) -> None:
    assert "GGUF" in ENGINE.supports(little_model).reason
    assert "EXL2" in ENGINE.supports(model("EXL2-4.0")).reason
    assert ENGINE.supports(model()).ok


def test_our_server_is_told_what_to_load(tmp_path: Path) -> None:
    asked = replace(settings(devices=0), format="NF4", threads=3)
    launch = ENGINE.launch(replace(model(), path=tmp_path), asked, 4321, "sk-secret")
    hosted = Hosted.from_json(launch.argv[-1])
    assert (hosted.engine, hosted.model, hosted.port, hosted.settings) == ("transformers", tmp_path, 4321, asked)
    assert launch.env["HF_HUB_OFFLINE"] == "1" and launch.env["OMP_NUM_THREADS"] == "3"
    assert ENGINE.stored_format("NF4") == ENGINE.stored_format("LLM.int8") == ENGINE.stored_format("BF16") == "BF16"


@pytest.mark.parametrize(("kind", "words"), [("BF16", []), ("NF4-DQ", ["bnb-4bit"]), ("LLM.int8", ["bnb-8bit"])])
def test_the_library_s_own_server_stays_on_this_computer(tmp_path: Path, kind: str, words: list[str]) -> None:
    served = replace(model(), path=tmp_path)
    launch = TransformersServe().launch(served, replace(settings(devices=0), format=kind), 4321, "k")
    argv = " ".join(launch.argv)
    assert f"serve {tmp_path} --host 127.0.0.1 --port 4321 --device cpu" in argv
    assert [word for word in launch.argv if word.startswith("bnb")] == words
    assert launch.tokenizer == tmp_path / "tokenizer.json"  # it knows no context: requests are held to it before
    assert "trust" not in argv and Path(launch.env["HF_HUB_CACHE"]).is_dir()
    assert TransformersServe().served_model(served) == str(tmp_path)


@pytest.mark.parametrize("engine", [ENGINE, TransformersServe()])
def test_no_card_is_seen_but_those_of_the_plan(tmp_path: Path, engine: Transformers) -> None:
    served = replace(model(), path=tmp_path)
    on_two, on_none = (engine.launch(served, replace(settings(), devices=places), 1, "k") for places in ((2, 3), ()))
    assert on_two.env["CUDA_VISIBLE_DEVICES"] == on_two.env["ZE_AFFINITY_MASK"] == "2,3"
    assert on_none.env["CUDA_VISIBLE_DEVICES"] == ""
    if engine is ENGINE:
        assert Hosted.from_json(on_two.argv[-1]).settings.devices == (0, 1)  # counted among those it sees
    else:
        assert on_two.argv[-1] == "auto" and on_none.argv[-1] == "cpu"


def test_layers_in_memory_beside_a_device_are_not_started(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"predicts .* with 3 layers on devices.*or choose llama\.cpp"):
        ENGINE.launch(replace(model(), path=tmp_path), settings(device_layers=3), 1, "k")


def test_what_is_only_predicted_is_not_started(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="predicts GPTQ-Int4"):
        ENGINE.launch(replace(model(), path=tmp_path), replace(settings(), format="GPTQ-Int4"), 1, "key")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.engines.runtime.find_spec", lambda name: None if name == "uvicorn" else name)
    answer = ENGINE.available()
    assert not answer.ok and "uvicorn" in answer.reason and "pip install" in answer.fix


def test_prompts_pass_in_parts_and_requests_in_turns(machine: Machine) -> None:
    one, four = replace(settings(devices=0), context=4096), replace(settings(devices=0), context=4096, concurrency=4)
    ours, theirs = ENGINE, TransformersServe()

    def part(engine: Any, asked: Settings, name: str) -> float:
        return float(engine.memory(model(), asked, machine)[0].parts[name].known())

    assert part(ours, four, "KV cache") == pytest.approx(4 * part(ours, one, "KV cache"))
    assert part(theirs, four, "KV cache") == part(theirs, one, "KV cache")
    assert part(ours, one, "prompt") < part(theirs, one, "prompt")
    assert ours.decode(model(), one, machine, 512, 4).known() == pytest.approx(
        4 * ours.decode(model(), one, machine, 512).known()
    )


# -- speed -----------------------------------------------------------------------------------------------------


def test_a_card_that_was_measured_has_a_speed() -> None:
    assert ENGINE.decode(model(), settings(), machine("A100 SXM4 80GB"), 512).known() > 0
    assert ENGINE.prefill(model(), settings(), machine("A100 SXM4 80GB"), 512).known() > 0


@pytest.mark.parametrize(
    ("cards", "word"),
    [((), "calibrated"), (("Apple M3 Max (40-core GPU)",), "metal"), (("RTX 4090", "RTX 3090"), "differ")],
)
def test_an_unknown_speed_has_a_reason(cards: tuple[str, ...], word: str) -> None:
    found: Estimate = ENGINE.decode(model(), settings(devices=len(cards)), machine(*cards), 512)
    assert found.value is None
    assert word in found.reason
