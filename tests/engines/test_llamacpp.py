"""llama.cpp: the command that starts it, in both forms, and the memory it is predicted to take."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from workbench.engines import Launch, Settings
from workbench.engines.llamacpp import LlamaCpp
from workbench.errors import EngineUnavailable
from workbench.machine import Machine
from workbench.models import Architecture, Model, Tensor
from workbench.units import KIB, MIB

KEY, PORT = "sk-secret", 23456
SETTINGS = Settings(model="little", format="gguf", context=512, concurrency=3, threads=5, prefill_threads=7,
                    cache_type="q8_0", flash_attention=False, prompt_cache_bytes=3 * MIB)  # fmt: skip
#: The same settings as options of the bundled server, every one unlike llama.cpp's own default.
OPTIONS = {"model": "/x/m.gguf", "alias": "little", "port": PORT, "context": 512, "concurrency": 3, "threads": 5,
           "prefill_threads": 7, "cache_type": "q8_0", "flash_attention": False, "cache_ram_mib": 3}  # fmt: skip


@pytest.fixture
def no_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH without llama-server."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with a llama-server that knows its version and nothing else."""
    path = tmp_path / "bin" / "llama-server"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho 'version: 8121 (a1b2c3d)' >&2\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent))
    return path


def launch(model: Model, **changes: Any) -> Launch:
    return LlamaCpp().launch(model, replace(SETTINGS, **changes), PORT, KEY)


# -- the two forms ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_binary")
def test_the_bundled_server_gets_its_options_as_json(little_model: Model) -> None:
    made = launch(little_model)
    assert made.argv[:2] == (sys.executable, "-I")
    assert Path(made.argv[2]).name == "xllamacpp_server.py"
    assert Path(made.argv[2]).is_file()
    assert json.loads(made.argv[3]) == OPTIONS | {"model": str(little_model.path)}
    assert made.env == {"GGML_NO_BACKTRACE": "1", "LLAMA_API_KEY": KEY}


def test_a_llama_server_on_path_is_taken_instead(little_model: Model, binary: Path) -> None:
    made = launch(little_model)
    assert made.argv == (str(binary), "--threads", "5", "--threads-batch", "7")
    assert made.env == {
        "GGML_NO_BACKTRACE": "1",
        "LLAMA_API_KEY": KEY,
        "LLAMA_ARG_MODEL": str(little_model.path),
        "LLAMA_ARG_ALIAS": "little",
        "LLAMA_ARG_HOST": "127.0.0.1",
        "LLAMA_ARG_PORT": str(PORT),
        "LLAMA_ARG_CTX_SIZE": "1536",  # the server shares it among its slots
        "LLAMA_ARG_N_PARALLEL": "3",
        "LLAMA_ARG_FLASH_ATTN": "off",
        "LLAMA_ARG_CACHE_TYPE_K": "q8_0",
        "LLAMA_ARG_CACHE_TYPE_V": "q8_0",
        "LLAMA_ARG_CACHE_RAM": "3",
        "LLAMA_ARG_FIT": "off",
        "LLAMA_ARG_THINK": "none",
        "LLAMA_ARG_CORS_ORIGINS": "",
        "LLAMA_ARG_UI": "0",
        "LLAMA_ARG_NO_WEBUI": "1",
        "LLAMA_ARG_ENDPOINT_METRICS": "1",
        "LLAMA_ARG_NO_ENDPOINT_SLOTS": "1",
        "LLAMA_ARG_DEVICE": "none",  # or long prompts would go to a card all the same
        "LLAMA_ARG_N_GPU_LAYERS": "0",
    }
    assert launch(little_model, flash_attention=True).env["LLAMA_ARG_FLASH_ATTN"] == "on"


LISTED = """#!/bin/sh
[ "$1 $CUDA_DEVICE_ORDER" = "--list-devices PCI_BUS_ID" ] || exit 1
echo "ggml_cuda_init: found 3 CUDA devices: (see below)" >&2
echo "Available devices:"
for n in 0 1 2; do echo "  CUDA$n: NVIDIA H100: the $n. (81559 MiB, 81003 MiB free)"; done
"""


@pytest.mark.parametrize(
    ("devices", "device_layers", "told"),
    [((1,), None, ("CUDA1", "3")), ((0, 2), None, ("CUDA0,CUDA2", "3")), ((2,), 1, ("CUDA2", "1"))],
)
def test_layers_lie_on_the_devices_of_the_plan(
    little_model: Model, binary: Path, devices: tuple[int, ...], device_layers: int | None, told: tuple[str, str]
) -> None:
    binary.write_text(LISTED)
    env = launch(little_model, devices=devices, device_layers=device_layers).env
    assert little_model.architecture.layers == 2  # and the output
    assert (env["LLAMA_ARG_DEVICE"], env["LLAMA_ARG_N_GPU_LAYERS"]) == told


def test_a_build_that_does_not_see_the_device_is_not_started(little_model: Model, binary: Path) -> None:
    binary.write_text(LISTED)
    with pytest.raises(EngineUnavailable, match="sees 3 accelerators here; the plan is for number 3, from 0"):
        launch(little_model, devices=(3,))
    binary.write_text("#!/bin/sh\necho 'Available devices:'\necho '  (none)'\n")
    with pytest.raises(EngineUnavailable, match=r"sees no accelerator here.*compiled for your accelerator"):
        launch(little_model, devices=(0,))


@pytest.mark.usefixtures("no_binary")
def test_the_bundled_server_is_not_started_for_a_device(little_model: Model) -> None:
    with pytest.raises(EngineUnavailable, match=r"xllamacpp runs on the CPU alone.*or plan for the CPU"):
        launch(little_model, devices=(0,))


@pytest.mark.usefixtures("no_binary")
def test_the_key_is_not_in_the_bundled_servers_command(little_model: Model) -> None:
    assert KEY not in " ".join(launch(little_model).argv)


@pytest.mark.usefixtures("binary")
def test_the_key_is_not_in_the_programs_command(little_model: Model) -> None:
    assert KEY not in " ".join(launch(little_model).argv)


@pytest.mark.usefixtures("binary")
def test_the_program_says_its_version() -> None:
    assert LlamaCpp().available().version == "llama-server 8121 (a1b2c3d)"


def test_a_program_that_says_nothing_has_an_unknown_version(binary: Path) -> None:
    binary.write_text("#!/bin/sh\nexit 1\n")
    assert LlamaCpp().available().version == "llama-server unknown"


@pytest.mark.usefixtures("no_binary")
def test_the_package_says_its_version() -> None:
    assert LlamaCpp().available().version == f"xllamacpp {metadata.version('xllamacpp')}"


@pytest.mark.usefixtures("no_binary")
def test_neither_of_the_two(little_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    availability = LlamaCpp().available()
    assert not availability.ok
    assert availability.fix == "Install it: pip install xllamacpp"
    with pytest.raises(EngineUnavailable, match=r"Neither llama-server .* pip install xllamacpp"):
        launch(little_model)


def test_the_program_is_looked_for_once(
    little_model: Model, machine: Machine, binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was planned is what is launched, whatever PATH says by then."""
    with_program = LlamaCpp()
    monkeypatch.setenv("PATH", str(tmp_path))
    without = LlamaCpp()
    monkeypatch.setenv("PATH", str(binary.parent))
    assert (with_program.binary, without.binary) == (str(binary), None)
    assert with_program.launch(little_model, SETTINGS, PORT, KEY).argv[0] == str(binary)
    assert without.launch(little_model, SETTINGS, PORT, KEY).argv[0] == sys.executable
    forms = [e.memory(little_model, SETTINGS, machine)[0].parts["engine"].basis for e in (with_program, without)]
    assert [basis.inputs["form"] for basis in forms] == ["llama-server", "xllamacpp"]


# -- the bundled server's parameters ---------------------------------------------------------------------------


def test_every_parameter_has_the_value_asked_for() -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    from workbench.engines.xllamacpp_server import parameters

    p = parameters(OPTIONS, KEY)
    assert (p.model.path, p.model_alias, p.api_keys) == ("/x/m.gguf", {"little"}, [KEY])
    assert (p.hostnames, p.port) == (["127.0.0.1"], PORT)
    assert (p.n_ctx, p.n_parallel) == (1536, 3)
    assert (p.cpuparams.n_threads, p.cpuparams_batch.n_threads) == (5, 7)
    assert p.cache_type_k == p.cache_type_v == xllamacpp.ggml_type.GGML_TYPE_Q8_0
    assert p.flash_attn_type == xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    assert p.cache_ram_mib == 3
    assert p.cors_origins == ""
    assert (p.fit_params, p.ui, p.endpoint_metrics, p.endpoint_slots) == (False, False, True, False)


def test_flash_attention_is_on_or_off_never_guessed() -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    from workbench.engines.xllamacpp_server import parameters

    p = parameters(OPTIONS | {"flash_attention": True}, KEY)
    assert p.flash_attn_type == xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED


def test_both_forms_use_the_cpu_alone() -> None:
    """`llama-server` is told so; the bundled server, whose macOS build has Metal, must be told as well."""
    pytest.importorskip("xllamacpp")
    from workbench.engines.xllamacpp_server import parameters

    assert parameters(OPTIONS, KEY).n_gpu_layers == 0


# -- memory ----------------------------------------------------------------------------------------------------


def shape(**changes: Any) -> Architecture:
    """Llama-2-7B, or another one that differs in some fields."""
    llama_2_7b = Architecture(
        "llama", layers=32, hidden=4096, heads=32, kv_heads=32, key_length=128, value_length=128, feed_forward=11008,
        vocabulary=32000, context_length=4096, tied_embeddings=False,
    )  # fmt: skip
    return replace(llama_2_7b, **changes)


LLAMA_3_8B = {"kv_heads": 8, "feed_forward": 14336, "vocabulary": 128_256, "context_length": 8192}


@pytest.mark.parametrize(
    ("changes", "cache_type", "bytes_per_token"),
    [
        ({}, "f16", 512 * KIB),
        (LLAMA_3_8B, "f16", 128 * KIB),
        (LLAMA_3_8B, "q8_0", 128 * KIB * 34 / 64),
        (LLAMA_3_8B, "q4_0", 128 * KIB * 18 / 64),
    ],
)
def test_the_kv_cache_of_known_models(
    little_model: Model, machine: Machine, changes: dict[str, Any], cache_type: str, bytes_per_token: float
) -> None:
    model = replace(little_model, architecture=shape(**changes))
    (breakdown,) = LlamaCpp().memory(model, replace(SETTINGS, cache_type=cache_type), machine)
    assert breakdown.parts["KV cache"].value == bytes_per_token * 512 * 3


def test_the_terms_of_the_memory(little_model: Model, machine: Machine) -> None:
    (breakdown,) = LlamaCpp().memory(little_model, SETTINGS, machine)
    assert breakdown.device == "RAM"
    assert list(breakdown.parts) == ["weights", "repacked weights", "KV cache", "compute buffer", "prompt cache",
                                     "vocabulary", "engine"]  # fmt: skip
    assert breakdown.parts["weights"].value == little_model.weight_bytes == 25600
    assert 10 * MIB < breakdown.parts["engine"].known() < 100 * MIB


def test_earlier_prompts_are_kept_only_when_asked_for(little_model: Model, machine: Machine) -> None:
    engine, usual = LlamaCpp(), Settings(model="little", format="gguf", context=512)
    assert engine.memory(little_model, usual, machine)[0].parts["prompt cache"].value == 0
    assert engine.memory(little_model, SETTINGS, machine)[0].parts["prompt cache"].value == 3 * MIB


@pytest.mark.parametrize(("kind", "instructions", "bounds"), [
    ("Q4_K", "AVX2", (0.97, 1)), ("Q4_0", "AVX2", (0.97, 1)), ("Q4_1", "AVX2", (0, 0)),
    ("Q6_K", "AVX2", (0, 0)), ("Q4_K", "NEON", (0, 1)),
])  # fmt: skip
def test_what_is_repacked_counts_twice(
    little_model: Model, machine: Machine, kind: str, instructions: str, bounds: tuple[float, float]
) -> None:
    matrix = Tensor("blk.0.ffn_up.weight", kind, (256, 256), 65536, 36864)
    norm = Tensor("blk.0.attn_norm.weight", kind, (256,), 256, 144)
    model = replace(little_model, tensors=(matrix, norm))
    here = replace(machine, cpu=replace(machine.cpu, instruction_sets=(instructions,)))
    part = LlamaCpp().memory(model, SETTINGS, here)[0].parts["repacked weights"]
    assert (part.low, part.value) == tuple(bound * matrix.bytes for bound in bounds)


def test_the_cache_is_rounded_up_to_its_blocks(little_model: Model, machine: Machine) -> None:
    def cache(context: int) -> float:
        settings = replace(SETTINGS, context=context, concurrency=1)
        return LlamaCpp().memory(little_model, settings, machine)[0].parts["KV cache"].known()

    assert cache(130) == cache(256) == cache(257) / 2


@pytest.mark.usefixtures("binary")
def test_llama_cpps_own_cache_of_8_gib_is_off(little_model: Model) -> None:
    assert launch(little_model, prompt_cache_bytes=0).env["LLAMA_ARG_CACHE_RAM"] == "0"


def test_without_flash_attention_the_scores_are_kept(little_model: Model, machine: Machine) -> None:
    long = replace(SETTINGS, context=4096, concurrency=1)
    without, with_it = (
        LlamaCpp()
        .memory(little_model, replace(long, flash_attention=flash), machine)[0]
        .parts["compute buffer"]
        .known()
        for flash in (False, True)
    )
    assert without > with_it


# -- speed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threads", "bandwidth"), [(1, "30 GB/s"), (2, "40 GB/s"), (8, "40 GB/s")])
def test_decode_is_bound_by_the_memory_of_the_machine(
    little_model: Model, machine: Machine, threads: int, bandwidth: str
) -> None:
    """One core reads 30 GB/s of the described machine's 40."""
    estimate = LlamaCpp().decode(little_model, replace(SETTINGS, threads=threads), machine, 100)
    assert estimate.basis.inputs["bandwidth"].startswith(bandwidth)


def test_prefill_halves_with_twice_the_threads(little_model: Model, machine: Machine) -> None:
    one, two = (
        LlamaCpp().prefill(little_model, replace(SETTINGS, prefill_threads=threads), machine, 256).known()
        for threads in (1, 2)
    )
    assert one == pytest.approx(2 * two)


# -- speed on a CPU --------------------------------------------------------------------------------------------


def _of(kind: str) -> Model:
    shape = Architecture(
        "llama", layers=2, hidden=64, heads=4, kv_heads=2, key_length=16, value_length=16, feed_forward=128,
        vocabulary=100, context_length=4096, tied_embeddings=True,
    )  # fmt: skip
    tensors = (Tensor("token_embd.weight", kind, (64, 10**6), 64 * 10**6, 64 * 10**6),)
    return Model("little", Path("/x/m.gguf"), shape, tensors, file_bytes=4, quantization=kind, source="test")


def test_types_with_faster_kernels_are_predicted_faster(machine: Machine) -> None:
    """The same bytes, read and multiplied by other kernels."""
    settings = replace(SETTINGS, cache_type="f16", threads=1, prefill_threads=1)

    def seconds(kind: str) -> tuple[float, float]:
        engine, model = LlamaCpp(), _of(kind)
        return engine.prefill(model, settings, machine, 512).known(), engine.decode(model, settings, machine, 0).known()

    fast, slow, unknown = seconds("Q4_0"), seconds("Q4_1"), seconds("IQ4_NL")
    assert fast[0] < slow[0] and fast[1] < slow[1]
    assert unknown == seconds("Q6_K")


def test_the_packaged_build_gets_half_of_what_wide_registers_calibrate(machine: Machine) -> None:
    wide = replace(machine, cpu=replace(machine.cpu, vendor="GenuineIntel", instruction_sets=("AVX2", "AVX-512F")))
    settings = replace(SETTINGS, cache_type="f16", threads=1, prefill_threads=1)
    one, half = (LlamaCpp().prefill(_of("Q4_1"), settings, here, 512).known() for here in (machine, wide))
    assert half == pytest.approx(2 * one)
    assert LlamaCpp().decode(_of("Q4_1"), settings, machine, 0) == LlamaCpp().decode(_of("Q4_1"), settings, wide, 0)
