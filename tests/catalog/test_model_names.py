"""A model's name and the format of its weights are told apart, in every way they are written together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import catalog
from workbench.catalog.model_names import readings, strip_format


@pytest.mark.parametrize(
    ("text", "model", "format_"),
    [
        ("Qwen2.5-Coder-7B-Q8_0", "Qwen2.5-Coder-7B", "Q8_0"),
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Llama-3.2-1B-Instruct", "Q4_K_M"),
        ("Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "Qwen/Qwen2.5-Coder-32B-Instruct", "AWQ"),
        ("gemma-2-9b-it-Q4_K_M-fp16.gguf", "gemma-2-9b-it", "Q4_K_M"),
        ("gemma-3-4b-it-qat", "gemma-3-4b-it", None), ("gemma-4-31B-it-QAT-Q4_0.gguf", "gemma-4-31B-it", "Q4_0"),
        ("LFM2.5-8B-A1B-UD-Q4_K_XL.gguf", "LFM2.5-8B-A1B", "Q4_K_XL"), ("x-7b.i1-IQ2_XXS.gguf", "x-7b", "IQ2_XXS"),
        ("bartowski/Qwen_Qwen3-8B-GGUF:Q4_K_M", "bartowski/Qwen_Qwen3-8B", "Q4_K_M"),
        ("bartowski/Qwen_Qwen3-8B-GGUF", "bartowski/Qwen_Qwen3-8B", None),
        ("llama3.1:8b-instruct-q4_K_M", "llama3.1:8b-instruct", "q4_K_M"), ("llama3.1:8b", "llama3.1:8b", None),
        ("gpt-oss-20b-MXFP4.gguf", "gpt-oss-20b", "MXFP4"), ("Qwen3-8B-FP8", "Qwen3-8B", "FP8"),
        ("Qwen3.6-35B-A3B-NVFP4-Fast", "Qwen3.6-35B-A3B", "NVFP4"), ("Mistral-7B-bf16", "Mistral-7B", "bf16"),
        ("Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen2.5-7B-Instruct", "GPTQ-Int4"),
        ("Llama-2-13B-GPTQ-4bit-128g", "Llama-2-13B", "GPTQ-4bit-128g"),
        ("Qwen3-8B-unsloth-bnb-4bit", "Qwen3-8B-unsloth", "bnb-4bit"), ("Qwen3-8B-MLX-8bit", "Qwen3-8B", "8bit"),
        ("granite-3.1-2b-instruct-quantized.w4a16", "granite-3.1-2b-instruct", "w4a16"),
        ("Mixtral-8x7B-exl2-3.5bpw", "Mixtral-8x7B", "exl2-3.5bpw"),
        ("Llama-3.3-70B-Q8_0-00001-of-00002.gguf", "Llama-3.3-70B", "Q8_0"),
        ("model.gguf", "model", None), ("Q4_K_M", "Q4_K_M", None), ("", "", None), (" phi-4 ", "phi-4", None),
        ("QwQ-32B", "QwQ-32B", None), ("mpt-7b-8k", "mpt-7b-8k", None), ("internlm2_5-1_8b", "internlm2_5-1_8b", None),
        ("Fast-FP16Tuned-7B", "Fast-FP16Tuned-7B", None),
    ],
)  # fmt: skip
def test_takes_the_format_off(text: str, model: str, format_: str | None) -> None:
    assert strip_format(text) == (model, format_)


# Repositories may name their format; what the workbench calls a model never does.
NAMES = sorted({name for entry in catalog.models().values() for name in (entry.name, *entry.aliases)})


@given(st.sampled_from(NAMES))
def test_no_known_name_is_taken_for_a_format(name: str) -> None:
    assert strip_format(name) == (name, None)


@given(
    st.sampled_from(sorted(catalog.models())),
    st.sampled_from(["-", ".", ":", "_", " "]),
    st.sampled_from(["Q4_K_M", "q8_0", "IQ4_XS", "AWQ", "GPTQ-Int8", "FP8", "BF16", "NVFP4", "bnb-4bit", "F16"]),
    st.sampled_from(["", ".gguf", "-fp16"]),
)
def test_a_format_never_changes_the_model(name: str, mark: str, format_: str, ending: str) -> None:
    text = name + mark + format_ + ending
    assert strip_format(text) == (name, format_)
    assert catalog.model(text).name == name
    assert catalog.model(f"somebody/{text}").name == name


def test_a_publisher_before_an_underscore_must_be_one() -> None:
    assert "Qwen3-8B" in readings("Qwen_Qwen3-8B-Q4_0", {"qwen"})
    assert "Qwen3-8B" not in readings("My_Qwen3-8B-Q4_0", {"qwen"})
