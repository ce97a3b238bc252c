"""Accelerators are found as people, drivers and benchmarks write them, and their facts agree with each other."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from workbench import catalog
from workbench.catalog.accelerators import accelerator, accelerators
from workbench.errors import AmbiguousName, UnknownName
from workbench.units import GIB, MIB

SPECS = accelerators()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        # drivers
        ("NVIDIA GeForce RTX 3090", "rtx-3090"), ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("Tesla V100-SXM2-32GB", "v100-sxm2-32gb"), ("NVIDIA A100-SXM4-80GB", "a100-sxm4-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie-80gb"), ("NVIDIA H100 80GB HBM3", "h100-sxm5-80gb"),
        ("NVIDIA GH200 480GB", "gh200-96gb"), ("NVIDIA B300 SXM6 AC", "b300"),
        ("NVIDIA GeForce GTX 1650 Ti with Max-Q Design", "gtx-1650-ti-max-q"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "rtx-4090-laptop"), ("Intel(R) Arc(TM) A770 Graphics", "arc-a770-16gb"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000-server"), ("AMD Instinct MI300X", "mi300x"),
        # people
        ("RTX 4090", "rtx-4090"), ("rtx4090", "rtx-4090"), ("4070ti super", "rtx-4070-ti-super"),
        ("A6000", "rtx-a6000"),
        ("NVIDIA RTX 1080 Ti", "gtx-1080-ti"), ("RTX 3060 12 GB", "rtx-3060-12gb"),
        ("Radeon RX 7900XTX", "rx-7900-xtx"),
        ("RTX 4060 Mobile", "rtx-4060-laptop"), ("jetson-agx-thor", "jetson-thor-t5000"), ("DGX Spk.", "gb10"),
        ("AMD MI250X (1 GCD)", "mi250x-gcd"), ("AMD Ryzen AI MAX+ 395 w/ Radeon 8060S", "radeon-8060s"),
        # remarks and hosts
        ("NVIDIA A100-80GB (330 W limit)", "a100-sxm4-80gb"), ("NVIDIA T4 15GB", "t4"), ("Titan RTX 24GB", "titan-rtx"),
        ("Pi CM5 - 16GB (Nvidia RTX 4090)", "rtx-4090"), ("Ryzen 9 7950X (Nvidia 4070 Ti Super)", "rtx-4070-ti-super"),
        # Apple
        ("Apple M3 Max (40-core GPU, 48GB)", "apple-m3-max-40-core"),
        ("M1 Ultra (48 GPU Core) 64GB", "apple-m1-ultra-48-core"),
        ("Apple M1 4P+4E+7GPU", "apple-m1-7-core"), ("M2 Max 38 core", "apple-m2-max-38-core"),
        ("Apple M4 Max (16-core CPU, 40-core GPU)", "apple-m4-max-40-core"),
    ],
)  # fmt: skip
def test_finds(text: str, key: str) -> None:
    assert accelerator(text).key == key


@pytest.mark.parametrize(
    ("text", "among"),
    [("Apple M4 Pro", "apple-m4-pro-16-core, apple-m4-pro-20-core"), ("apple-m5-32gb", "apple-m5-10-core"),
     ("Apple M2 (8-core)", "apple-m2-8-core"), ("Apple M4 Max (16-core CPU)", "apple-m4-max-32-core"),
     ("NVIDIA H100", "h100-nvl-94gb, h100-pcie-80gb, h100-sxm5-80gb"), ("A100", "a100-pcie-40gb"),
     ("RTX 6000", "quadro-rtx-6000, rtx-6000-ada"), ("Radeon 840M / 860M Graphics", "radeon-840m, radeon-860m")],
)  # fmt: skip
def test_refuses_what_leaves_open_what_matters(text: str, among: str) -> None:
    with pytest.raises(AmbiguousName, match=among):
        accelerator(text)


@pytest.mark.parametrize(
    "text",
    ["", "CPU", "Intel Core i7-12700K", "Pi 5 - 8GB", "RTX 4090 48GB", "RTX 3080 16GB", "NVIDIA L40S-8Q", "Tesla M4",
     "RTX 3099", "2x RTX 3090"],
)  # fmt: skip
def test_never_guesses(text: str) -> None:
    with pytest.raises(UnknownName):
        accelerator(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [("RTX 3080", "rtx-3080-10gb"), ("RTX 3060", "rtx-3060-12gb"), ("RTX 4060 Ti", "rtx-4060-ti-8gb"),
     ("Tesla V100", "v100-sxm2-16gb"), ("A100 80 GB", "a100-sxm4-80gb"), ("NVIDIA A100-40G", "a100-sxm4-40gb"),
     ("RTX PRO 6000 Blackwell", "rtx-pro-6000"), ("Jetson AGX Orin", "jetson-agx-orin-64gb")],
)  # fmt: skip
def test_plain_names_follow_the_rule_in_the_table(text: str, key: str) -> None:
    assert accelerator(text).key == key


@pytest.mark.parametrize(
    ("text", "mib", "key"),
    [("NVIDIA GeForce RTX 3080", 12288, "rtx-3080-12gb"), ("NVIDIA GeForce RTX 4060 Ti", 16380, "rtx-4060-ti-16gb"),
     ("NVIDIA GeForce RTX 3060", 8192, "rtx-3060-8gb"), ("Tesla M40", 23040, "m40-24gb"),
     ("NVIDIA GeForce RTX 3080", 10240, "rtx-3080-10gb"), ("NVIDIA A100-SXM4-80GB", 20480, "a100-sxm4-80gb")],
)  # fmt: skip
def test_memory_that_was_seen_chooses_the_version(text: str, mib: int, key: str) -> None:
    assert accelerator(text, memory_bytes=mib * MIB).key == key


@pytest.mark.parametrize(
    ("text", "count", "rest"),
    [("2x Titan RTX 24GB", 2, "Titan RTX 24GB"), ("8xH100 SXM", 8, "H100 SXM"), ("4 × RTX 4090", 4, "RTX 4090"),
     ("RTX 3090 x2", 2, "RTX 3090"), ("RTX 3090 (x4)", 4, "RTX 3090"), (" RTX 3090 ", 1, "RTX 3090"),
     ("GTX 1080", 1, "GTX 1080")],
)  # fmt: skip
def test_counts_are_split_off(text: str, count: int, rest: str) -> None:
    assert catalog.split_count(text) == (count, rest)


def test_an_alias_finds_its_record_or_is_claimed_by_several() -> None:
    claims = defaultdict(set)
    for spec in SPECS.values():
        for alias in spec.aliases:
            claims[alias].add(spec.key)
    for alias, keys in claims.items():
        try:
            assert accelerator(alias).key in keys
        except AmbiguousName as refusal:
            assert keys <= set(refusal.candidates), alias


def test_no_alias_is_listed_twice_in_a_row() -> None:
    for spec in SPECS.values():
        assert not [alias for alias, count in Counter(spec.aliases).items() if count > 1]


def test_facts_are_of_one_kind() -> None:
    assert len(SPECS) >= 150
    assert {spec.vendor for spec in SPECS.values()} == {"NVIDIA", "AMD", "Intel", "Apple", "Google"}
    memories = {"GDDR5", "GDDR5X", "GDDR6", "GDDR6X", "GDDR7", "HBM2", "HBM2e", "HBM3", "HBM3e",
                "LPDDR4", "LPDDR4X", "LPDDR5", "LPDDR5X", "DDR5"}  # fmt: skip
    assert {spec.memory_type for spec in SPECS.values()} <= memories


def test_facts_agree_with_each_other() -> None:
    for key, spec in SPECS.items():
        assert 20e9 < spec.bandwidth_bytes_per_s < 10e12, key
        assert spec.memory_bytes is None or 2 * GIB <= spec.memory_bytes <= 288 * GIB, key
        assert spec.unified or spec.memory_bytes, f"{key}: only unified memory is sold in several sizes"
        assert spec.vendor != "NVIDIA" or 5.0 <= float(spec.compute_capability) <= 12.1, key
        assert spec.vendor != "AMD" or spec.compute_capability.startswith("gfx"), key
        if spec.fp32_flops and spec.fp16_tensor_flops:
            assert 0.9 < spec.fp16_tensor_flops / spec.fp32_flops < 35, key


def test_geforce_accumulates_in_fp32_at_half_rate() -> None:
    for spec in SPECS.values():
        if spec.title.startswith("GeForce RTX") and spec.fp32_flops and spec.fp16_tensor_flops:
            times = 4 if spec.architecture == "Turing" else 2
            assert spec.fp16_tensor_flops == pytest.approx(times * spec.fp32_flops, rel=0.02), spec.key


@pytest.mark.parametrize(
    ("key", "gb_per_s", "tensor_tflops", "mib"),
    [("rtx-3090", 936.2, 71.2, 24576), ("rtx-4090", 1008, 165.2, 24564), ("rtx-5090", 1792, 209.6, 32607),
     ("a100-sxm4-80gb", 2039, 312, 81920), ("h100-sxm5-80gb", 3350, 989.4, 81559),
     ("h200-nvl-141gb", 4800, 835.5, 143771),
     ("t4", 320, 65.1, 15360), ("l40s", 864, 362.05, 46068), ("mi300x", 5300, 1307.4, 196608)],
)  # fmt: skip
def test_anchors(key: str, gb_per_s: float, tensor_tflops: float, mib: int) -> None:
    spec = SPECS[key]
    assert spec.bandwidth_bytes_per_s == pytest.approx(gb_per_s * 1e9, rel=1e-3)
    assert spec.fp16_tensor_flops == pytest.approx(tensor_tflops * 1e12, rel=1e-3)
    assert spec.memory_bytes == mib * MIB


def test_apples_chips_have_the_bandwidth_apple_states() -> None:
    stated = {"m1-8": 68, "m1-pro-16": 200, "m1-max-32": 400, "m1-ultra-64": 800, "m2-10": 100, "m2-max-38": 400,
              "m3-pro-18": 150, "m3-max-30": 300, "m3-max-40": 400, "m3-ultra-80": 819, "m4-10": 120, "m4-pro-20": 273,
              "m4-max-32": 410, "m4-max-40": 546, "m5-10": 153.6}  # fmt: skip
    for chip, gb_per_s in stated.items():
        assert SPECS[f"apple-{chip}-core"].bandwidth_bytes_per_s == pytest.approx(gb_per_s * 1e9)
