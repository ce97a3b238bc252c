"""Models in other formats: against published sizes of real files, and against the laws of sizes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calls import calls
from workbench.errors import AmbiguousName, UnknownName
from workbench.models import formats, gguf_file, gguf_mixes, quantized
from workbench.models.config import from_config
from workbench.models.formats import find, in_format
from workbench.models.model import Model

LLAMA3 = {"rope_scaling": {"rope_type": "llama3"}}
TIED = {"tie_word_embeddings": True}


def model(kind: str, *numbers: int, **more: Any) -> Model:
    """Hidden, layers, heads, KV heads, feed-forward, vocabulary."""
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
            "vocab_size")  # fmt: skip
    config = {"model_type": kind, "max_position_embeddings": 4096, **dict(zip(keys, numbers, strict=True)), **more}
    return from_config(config, name=kind, source="a test")


LLAMA_1_7B = model("llama", 4096, 32, 32, 32, 11008, 32000)
LLAMA_1_65B = model("llama", 8192, 80, 64, 64, 22016, 32000)
LLAMA_3_8B = model("llama", 4096, 32, 32, 8, 14336, 128256)
LLAMA_31_8B = model("llama", 4096, 32, 32, 8, 14336, 128256, **LLAMA3)
LLAMA_31_70B = model("llama", 8192, 80, 64, 8, 28672, 128256, **LLAMA3)
MIXTRAL = model("mixtral", 4096, 32, 32, 8, 14336, 32000, num_local_experts=8, num_experts_per_tok=2)
QWEN_05B = model("qwen2", 896, 24, 14, 2, 4864, 151936)
GPT_OSS = model("gpt_oss", 2880, 24, 64, 8, 2880, 201088, head_dim=64, num_local_experts=32, num_experts_per_tok=4)
QWEN3 = {"head_dim": 128}
A3B = {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}

# Sizes in bytes of files on the Hub, as public download lists give them (GPT4All's models3.json, apps that check what
# they downloaded). None of these was looked at while the rules were written, save gemma-2 (bytes per token of its
# vocabulary) and phi-4 (that files of its time follow the older rule).
FILES = [
    (LLAMA_31_8B, "Q4_K_M", 4_920_739_232),
    (LLAMA_3_8B, "Q4_0", 4_661_724_384),
    (model("llama", 3072, 28, 24, 8, 8192, 128256, **TIED, **LLAMA3), "Q4_K_M", 2_019_377_696),
    (model("llama", 2048, 16, 32, 8, 8192, 128256, **TIED, **LLAMA3), "Q4_K_M", 807_694_464),
    (model("llama", 5120, 40, 40, 40, 13824, 32000), "Q4_0", 7_365_834_624),
    (model("llama", 3200, 26, 32, 32, 8640, 32000), "Q4_0", 1_979_946_720),
    (model("mistral", 4096, 32, 32, 8, 14336, 32000), "Q4_0", 4_108_916_384),
    (model("qwen2", 3584, 28, 28, 4, 18944, 152064), "Q4_K_M", 4_683_074_240),
    (model("qwen2", 2048, 36, 16, 2, 11008, 151936), "Q4_K_M", 2_104_932_768),
    (model("qwen2", 1536, 28, 12, 2, 8960, 151936), "Q4_K_M", 1_117_320_736),
    (QWEN_05B, "Q4_K_M", 491_400_064),
    (QWEN_05B, "Q8_0", 675_710_848),
    (QWEN_05B, "Q2_K", 415_182_720),
    (model("qwen3", 1024, 28, 16, 8, 3072, 151936, **TIED, **QWEN3), "Q4_K_M", 396_705_472),
    (model("qwen3", 2560, 36, 32, 8, 9728, 151936, **TIED, **QWEN3), "Q4_K_M", 2_497_281_632),
    (model("qwen3", 4096, 36, 32, 8, 12288, 151936, **QWEN3), "Q4_K_M", 5_027_784_096),
    (model("qwen3", 5120, 40, 40, 8, 17408, 151936, **QWEN3), "Q4_K_M", 9_001_753_984),
    (model("qwen3", 5120, 40, 40, 8, 17408, 151936, **QWEN3), "Q8_0", 15_698_534_784),
    (model("qwen3", 5120, 64, 64, 8, 25600, 151936, **QWEN3), "Q4_K_M", 19_762_149_024),
    (model("qwen3_moe", 2048, 48, 32, 4, 6144, 151936, **QWEN3, **A3B), "Q3_K_S", 13_292_468_800),
    (GPT_OSS, "MXFP4_MOE", 12_109_566_624),
    (model("gemma2", 2304, 26, 8, 4, 9216, 256000), "Q4_K_M", 1_708_582_752),
    (model("gemma3_text", 3840, 48, 16, 8, 15360, 262208), "Q4_K_M", 7_300_775_712),
    (model("gemma3_text", 1152, 26, 4, 1, 6912, 262144), "Q4_0", 720_425_472),
    (model("phi3", 5120, 40, 40, 10, 17920, 100352), "Q4_K_S", 8_440_762_560),
    (model("phi3", 3072, 32, 32, 32, 8192, 32064), "Q4_0", 2_176_181_568),
    (model("falcon", 4544, 32, 71, 1, 18176, 65024, tie_word_embeddings=False), "Q4_0", 4_210_994_112),
    (model("mpt", 4096, 32, 32, 32, 16384, 50432), "Q4_0", 3_796_178_112),
    (model("gpt_bigcode", 6144, 40, 48, 1, 24576, 49152, max_position_embeddings=8192), "Q4_0", 8_987_411_904),
]  # fmt: skip

# Bits per weight of Llama-3.1-8B in llama.cpp's tools/quantize/README.md (2026-11).
BITS = {
    "IQ1_S": 2.0042, "IQ1_M": 2.1460, "IQ2_XXS": 2.3824, "IQ2_XS": 2.5882, "IQ2_S": 2.7403, "IQ2_M": 2.9294,
    "IQ3_XXS": 3.2548, "IQ3_XS": 3.4977, "IQ3_S": 3.6606, "IQ3_M": 3.7628, "IQ4_XS": 4.4597, "IQ4_NL": 4.6818,
    "Q2_K_S": 2.9697, "Q2_K": 3.1593, "Q3_K_S": 3.6429, "Q3_K_M": 3.9960, "Q3_K_L": 4.2979, "Q4_K_S": 4.6672,
    "Q4_K_M": 4.8944, "Q5_K_S": 5.5704, "Q5_K_M": 5.7036, "Q6_K": 6.5633, "Q8_0": 8.5008, "F16": 16.0005,
}  # fmt: skip


@pytest.mark.parametrize(("original", "file_type", "file_bytes"), FILES)
def test_sizes_of_real_files(original: Model, file_type: str, file_bytes: int) -> None:
    assert in_format(original, file_type).file_bytes == pytest.approx(file_bytes, rel=0.001)


def test_the_mean_error_of_real_files() -> None:
    errors = [abs(in_format(original, kind).file_bytes / size - 1) for original, kind, size in FILES]
    assert sum(errors) / len(errors) < 0.0002


@pytest.mark.parametrize(("file_type", "bits"), BITS.items())
def test_bits_per_weight_of_the_quantizers_table(file_type: str, bits: float) -> None:
    made = in_format(LLAMA_31_8B, file_type)
    assert 8 * made.weight_bytes / made.parameters == pytest.approx(bits, abs=1e-4)


@pytest.mark.parametrize(
    ("original", "file_type", "on_device_mib"),
    [(LLAMA_1_7B, "Q4_0", 3577.55), (LLAMA_1_7B, "F16", 12603.02), (LLAMA_1_65B, "Q4_0", 34950.11),
     (LLAMA_1_65B, "F16", 124025.03)],
)  # fmt: skip
def test_weights_on_the_device_in_published_logs(original: Model, file_type: str, on_device_mib: float) -> None:
    made = in_format(original, file_type)
    assert (made.weight_bytes - made.lookup_bytes) / 2**20 == pytest.approx(on_device_mib, abs=0.01)


# Numbers of tensors by type, as llama.cpp's quantizer (October 2026) chooses them for these shapes.
@pytest.mark.parametrize(
    ("original", "file_type", "counts"),
    [
        (LLAMA_31_70B, "Q4_K_M", {"Q6_K": 81, "F32": 162, "Q4_K": 441, "Q5_K": 40}),
        (LLAMA_31_70B, "Q2_K", {"Q6_K": 1, "F32": 162, "Q2_K": 321, "Q3_K": 160, "Q5_K": 80}),
        (MIXTRAL, "Q4_K_M", {"Q6_K": 17, "F32": 97, "Q4_K": 113, "Q8_0": 64, "Q5_K": 32}),
        (MIXTRAL, "IQ3_M", {"Q6_K": 1, "F32": 97, "IQ3_S": 113, "Q8_0": 64, "Q5_K": 32, "Q4_K": 16}),
        (QWEN_05B, "Q4_K_M", {"Q8_0": 13, "F32": 121, "Q5_0": 133, "Q6_K": 12, "Q4_K": 12}),
    ],
)  # fmt: skip
def test_types_are_those_of_the_quantizer(original: Model, file_type: str, counts: dict[str, int]) -> None:
    assert Counter(tensor.type for tensor in in_format(original, file_type).tensors) == counts


def test_an_importance_matrix_changes_the_first_layers() -> None:
    without, made_with = in_format(LLAMA_3_8B, "IQ4_XS"), in_format(LLAMA_3_8B, "IQ4_XS", imatrix=True)
    assert without.weight_bytes > made_with.weight_bytes
    assert in_format(LLAMA_3_8B, "IQ2_M") == in_format(LLAMA_3_8B, "IQ2_M", imatrix=True)


def test_fused_attention_follows_the_rule_of_its_time() -> None:
    phi = model("phi3", 3072, 32, 32, 32, 8192, 32064)
    older, newer = in_format(phi, "Q2_K"), in_format(phi, "Q2_K", before_2026=False)
    assert older == in_format(phi, "Q2_K", before_2026=True)
    assert newer.weight_bytes > older.weight_bytes


def test_small_tensors_stay_in_32_bits() -> None:
    kinds = {tensor.name: tensor.type for tensor in in_format(MIXTRAL, "F16").tensors}
    assert kinds["blk.0.ffn_gate_inp.weight"] == kinds["blk.0.attn_norm.weight"] == "F32"
    assert kinds["blk.0.ffn_up_exps.weight"] == kinds["token_embd.weight"] == "F16"


def test_a_model_in_a_file_can_be_described_in_another_type(tmp_path: Path, write_gguf: Any) -> None:
    original = gguf_file.read(write_gguf(tmp_path / "tiny.gguf", hidden=256))
    again, larger = in_format(original, "Q8_0"), in_format(original, "F16")
    assert again.tensors == original.tensors
    assert (again.file_bytes, again.path) == (original.file_bytes, None)
    assert larger.file_bytes - original.file_bytes == larger.weight_bytes - original.weight_bytes


# -- formats of transformers and its like ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_name", "gigabytes"),
    [("BF16", 15.01), ("int8wo", 7.52), ("int4wo-64", 4.22), ("float8wo", 7.51),
     ("int8_dynamic_activation_intx_weight-4-256-false", 4.11),
     ("int8_dynamic_activation_intx_weight-3-256-false", 3.17)],
)  # fmt: skip
def test_published_sizes_of_torchao(format_name: str, gigabytes: float) -> None:
    """Linear layers and the head of Llama-3.1-8B; torchao counts in 10⁹ bytes."""
    made = in_format(LLAMA_31_8B, format_name)
    assert made.decode_read_bytes / 1e9 == pytest.approx(gigabytes, abs=0.01)


@pytest.mark.parametrize(
    ("format_name", "gib"),
    [("GPTQ 4bit g128", 3.6), ("GPTQ 4bit g-", 3.5), ("GPTQ 3bit g128", 2.8), ("FP16", 12.5)],
)
def test_published_sizes_of_gptq(format_name: str, gib: float) -> None:
    assert in_format(LLAMA_1_7B, format_name).file_bytes / 2**30 == pytest.approx(gib, abs=0.1)


def test_only_linear_layers_are_quantized() -> None:
    kinds = {tensor.name: tensor.type for tensor in in_format(MIXTRAL, "NF4").tensors}
    kept = {"token_embd.weight", "output.weight", "output_norm.weight", "blk.0.ffn_gate_inp.weight"}
    assert {kinds[name] for name in kept} == {"BF16"}
    assert kinds["blk.0.attn_q.weight"] == kinds["blk.0.ffn_up_exps.weight"] == "NF4"
    assert {tensor.type for tensor in in_format(MIXTRAL, "int8wo").tensors if tensor.name == "output.weight"} == {
        "int8wo"
    }


def test_gpt_oss_stores_its_experts_in_four_bits() -> None:
    made = in_format(GPT_OSS, "MXFP4")
    assert made.weight_bytes == pytest.approx(13.76e9, rel=0.01)  # its checkpoint is 13.8 GB
    assert {tensor.type for tensor in made.tensors if not tensor.is_expert} == {"BF16"}


@pytest.mark.parametrize(
    ("format_name", "bits"),
    [("NF4", 4.5), ("NF4-DQ", 4.127), ("GPTQ-Int4", 4.15625), ("AWQ", 4.15625), ("int4wo-128", 4.25), ("FP8", 8.002),
     ("ONNX-int4", 5.0), ("MXFP4", 4.25)],
)  # fmt: skip
def test_bits_of_schemes(format_name: str, bits: float) -> None:
    assert find(format_name).bits_per_weight == pytest.approx(bits, abs=1e-3)


# -- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("AWQ int4 g128 GEMV", "AWQ-Int4"), ("GPTQ 4bit g128", "GPTQ-Int4"), ("GPTQ int4 g-", "GPTQ-Int4-row"),
        ("nf4-double_quant (4.127 bpw)", "NF4-DQ"), ("qwen3moe 30B.A3B Q8_0", "Q8_0"), ("fp16", "FP16"),
        ("Base (bfloat16)", "BF16"), ("gpt-oss 20B MXFP4 MoE", "MXFP4_MOE"), ("int4wo-64", "int4wo-64"),
        ("float8dq (PerTensor)", "FP8-tensor"), ("q4_k_m", "Q4_K_M"), ("Q4_K - Medium", "Q4_K_M"), ("F16", "F16"),
        ("EXL2 2.5bpw", "EXL2-2.5"), ("GGUF BF16", "GGUF-BF16"), ("bitsandbytes 4-bit", "NF4"),
    ],
)  # fmt: skip
def test_spellings(text: str, name: str) -> None:
    assert find(text).name == name


def test_every_format_is_found_by_its_names_and_makes_a_model() -> None:
    small = model("llama", 256, 2, 4, 2, 512, 300)
    for one in formats.known():
        assert all(find(name) is one for name in (one.name, *one.aliases))
        assert in_format(small, one.name).quantization in (one.name, one.name.removeprefix("GGUF-"))


def test_what_ollama_publishes_depends_on_the_model() -> None:
    text = "Ollama default (Q4_K_M; gpt-oss MXFP4)"
    assert (find(text).name, find(text, architecture="gpt-oss").name) == ("Q4_K_M", "MXFP4_MOE")


def test_a_name_is_never_guessed() -> None:
    with pytest.raises(UnknownName, match="Q4_K_M"):
        find("Q4_K_X")
    with pytest.raises(UnknownName):
        find("")
    with pytest.raises(AmbiguousName, match=r"AWQ-Int4.*GPTQ-Int4"):
        find("int4")


# -- laws ------------------------------------------------------------------------------------------------------

LADDERS = [
    ["Q2_K_S", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16", "F32"],
    ["NF4-DQ", "NF4", "LLM.int8", "BF16", "FP32"],
    ["GPTQ-Int3", "GPTQ-Int4", "GPTQ-Int4-g32", "GPTQ-Int8", "FP16"],
    ["int4wo-128", "int4wo-64", "int4wo-32", "int8wo", "BF16"],
]


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, Any]:
    heads = draw(st.sampled_from([2, 4, 8]))
    # Eight layers: in fewer, Q4_K_S has more bits than Q4_K_M, as it has for its first four layers.
    # Whole blocks of 256: a row that does not fit gets a type with more bits, and the ladder has a step missing.
    return {
        "model_type": "llama", "hidden_size": 256 * draw(st.integers(1, 8)), "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(8, 40)), "num_key_value_heads": draw(st.sampled_from([1, heads])),
        "intermediate_size": 256 * draw(st.integers(1, 16)), "vocab_size": draw(st.integers(64, 4096)),
        "max_position_embeddings": 512, "tie_word_embeddings": draw(st.booleans()),
    }  # fmt: skip


@given(shapes(), st.sampled_from(LADDERS))
@settings(max_examples=60, deadline=None)
def test_more_bits_are_never_smaller(config: dict[str, Any], ladder: list[str]) -> None:
    original = from_config(config, name="one", source="a test")
    sizes = [in_format(original, name).weight_bytes for name in ladder]
    assert sizes == sorted(sizes)


@given(shapes(), st.sampled_from([one.name for one in formats.known()]))
@settings(max_examples=60, deadline=None)
def test_more_layers_are_never_smaller(config: dict[str, Any], format_name: str) -> None:
    more = config | {"num_hidden_layers": config["num_hidden_layers"] + 1}
    fewer, larger = (in_format(from_config(one, name="one", source="a test"), format_name) for one in (config, more))
    assert fewer.weight_bytes < larger.weight_bytes
    assert fewer.parameters < larger.parameters


@given(shapes(), st.sampled_from([one.name for one in formats.known()]))
@settings(max_examples=60, deadline=None)
def test_parts_sum_to_the_whole(config: dict[str, Any], format_name: str) -> None:
    original = from_config(config, name="one", source="a test")
    made = in_format(original, format_name)
    assert made.weight_bytes == sum(tensor.bytes for tensor in made.tensors) <= made.file_bytes
    twice = made.tensors[0].bytes if made.architecture.tied_embeddings else 0
    assert sum(made.bytes_by_layer) + made.lookup_bytes == made.weight_bytes + twice
    assert made.parameters == original.parameters
    assert dataclasses.replace(made.architecture, windowed=()) == original.architecture


def test_every_type_of_a_mix_exists() -> None:
    assert all(gguf_mixes.block(gguf_mixes.base(kind))[1] > 0 for kind in gguf_mixes.FILE_TYPES)
    assert not set(gguf_mixes.FILE_TYPES) & (set(quantized.SCHEMES) | {"FP32", "FP16"})


def test_a_model_of_eighty_layers_is_converted_at_once() -> None:
    in_format(LLAMA_31_70B, "Q4_K_M")
    assert calls(lambda: in_format(LLAMA_31_70B, "IQ3_XS")) < 50_000
