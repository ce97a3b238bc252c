"""vLLM: what its share of a device holds, what it refuses to start, and what it takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.accelerators import accelerator
from workbench.engines import Settings
from workbench.engines import vllm_memory as memory
from workbench.engines.vllm import NEEDS, VLLM
from workbench.errors import EngineUnavailable, UsageError
from workbench.evidence import Measured
from workbench.machine import Accelerator, Calibration, Cpu, Disk, Machine, Memory
from workbench.models import Model
from workbench.models.config import from_config
from workbench.models.formats import in_format, known
from workbench.planning.plans import Fit
from workbench.units import GIB, MIB

LLAMA_8B = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 131072}  # fmt: skip
ENGINE = VLLM(version="0.31")
TOKEN = 2 * 32 * 8 * 128 * 2


def llama(kind: str = "BF16", **fields: Any) -> Model:
    return in_format(from_config({**LLAMA_8B, **fields}, name="llama", source="test"), kind)


def machine(memory_gib: float = 79.19, count: int = 1, card: str = "H100 SXM5 80GB") -> Machine:
    spec = accelerator(card)
    cards = tuple(
        Accelerator(spec.vendor, spec.title, index, int(memory_gib * GIB), spec=spec) for index in range(count)
    )
    return Machine(Cpu("Test", "Test", "x86-64", 8, 8, 8.0), Memory(64 * GIB, 60 * GIB), Disk("/", GIB, GIB), cards)


def settings(context: int = 8192, batch: int = 1, devices: int = 1, **changes: Any) -> Settings:
    return Settings("llama", "BF16", context, batch, devices=tuple(range(devices)), **changes)


# -- the pool --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "share", "devices", "gib"), [("0.11", 0.9, 1, 51.4), ("0.19", 0.95, 1, 58.11)]
)  # fmt: skip
def test_the_pool_is_what_vllm_said(version: str, share: float, devices: int, gib: float) -> None:
    engine = VLLM(version=version, utilization=share)
    pool, tokens = engine.capacity(llama(), settings(devices=devices), machine(79.18))
    assert pool.known() / GIB == pytest.approx(gib, rel=0.01)
    assert pool.contains(gib * GIB)
    assert tokens.known() == pytest.approx(pool.known() / TOKEN)


def test_a_cache_of_8_bits_holds_twice_as_much() -> None:
    _, wide = ENGINE.capacity(llama(), settings(), machine())
    _, narrow = ENGINE.capacity(llama(), settings(cache_type="fp8"), machine())
    assert narrow.known() == pytest.approx(2 * wide.known())


def test_the_cache_comes_in_pages() -> None:
    one, same, more = (memory.cache_bytes(llama(), settings(), tokens) for tokens in (1, 16, 17))
    assert one == same == 16 * TOKEN
    assert more == 32 * TOKEN


def test_large_devices_run_larger_batches() -> None:
    sizes = [memory.Largest.on(machine(gib, card=card).accelerators[0]).tokens
             for gib, card in ((79.2, "H100 SXM5 80GB"), (79.2, "A100 SXM4 80GB"), (23.6, "RTX 4090"))]  # fmt: skip
    assert sizes == [8192, 2048, 2048]


def test_releases_differ() -> None:
    assert [memory.release(version).utilization for version in ("0.10.2", "0.19.1", "v0.32.0", "")] == [
        0.9,
        0.9,
        0.92,
        0.92,
    ]
    assert memory.release("0.2") == memory.RELEASES[0]
    assert memory.release("0.22").counts_graphs


@pytest.mark.parametrize("version", ["latest", "0.x"])
def test_no_version_is_refused(version: str) -> None:
    with pytest.raises(UsageError, match=version):
        VLLM(version=version)


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_an_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="share"):
        VLLM(utilization=share)


def test_an_unknown_cache_is_refused() -> None:
    with pytest.raises(UsageError, match="q8_0"):
        ENGINE.capacity(llama(), settings(cache_type="q8_0"), machine())


def test_a_cpu_has_no_share() -> None:
    with pytest.raises(UsageError, match="VLLM_CPU_KVCACHE_SPACE"):
        ENGINE.capacity(llama(), settings(devices=0), machine())


def test_a_device_of_unknown_memory_has_an_unknown_pool() -> None:
    card = replace(machine().accelerators[0], memory_total_bytes=None, spec=None)
    pool, tokens = ENGINE.capacity(llama(), settings(), replace(machine(), accelerators=(card,)))
    assert pool.value is tokens.value is None
    assert "not known" in pool.reason


# -- starting --------------------------------------------------------------------------------------------------


def test_the_longest_context_starts_and_one_page_more_does_not() -> None:
    small = machine(19.5)
    most = ENGINE.longest_context(llama(), settings(), small)
    assert 0 < most < LLAMA_8B["max_position_embeddings"]
    assert ENGINE.runs_on(llama(), settings(context=most), small).ok
    refused = ENGINE.runs_on(llama(), settings(context=most + 1), small)
    assert not refused.ok
    assert f"--max-model-len {most}" in refused.fix


def test_weights_without_room_say_so() -> None:
    refused = ENGINE.runs_on(llama(), settings(), machine(16))
    assert "0 B are left" in refused.reason
    assert "any cache" in refused.fix
    assert ENGINE.longest_context(llama(), settings(), machine(16)) == 0


def test_heads_must_divide() -> None:
    refused = ENGINE.runs_on(llama(), settings(devices=3), machine(count=3))
    assert "32 attention heads cannot be divided by 3" in refused.reason


@pytest.mark.parametrize(("kind", "card", "word"), [("AWQ-Int4", "MI300X", "rocm"), ("BF16", "v100-sxm2-16gb", "8.0")])
def test_what_does_not_run_says_why(kind: str, card: str, word: str) -> None:
    assert word in ENGINE.runs_on(llama(kind), settings(), machine(card=card)).reason


# -- what it takes ---------------------------------------------------------------------------------------------


def test_the_share_is_taken_whatever_the_model_needs() -> None:
    little, large = (ENGINE.memory(llama(kind), settings(), machine())[0] for kind in ("AWQ-Int4", "BF16"))
    assert little.total.known() == pytest.approx(large.total.known())
    inside = sum(part.known() for name, part in little.parts.items() if name not in ("CUDA graphs", "driver"))
    assert inside == pytest.approx(0.92 * machine().accelerators[0].memory_total_bytes)


def test_several_devices_hold_a_part_each() -> None:
    found = ENGINE.memory(llama(), settings(devices=2), machine(count=2))
    assert [one.device for one in found] == ["GPU 0: H100 SXM5 80GB", "GPU 1: H100 SXM5 80GB", "RAM"]
    assert found[0].parts["weights"].known() == pytest.approx(llama().weight_bytes / 2, rel=0.001)


# From 70 GiB on vLLM runs larger batches, which take more than the next GiB adds.
@given(st.floats(10, 50), st.floats(0, 19), st.integers(1, 131072), st.integers(1, 64))
def test_a_larger_card_never_fits_less(gib: float, more: float, context: int, batch: int) -> None:
    def fits(size: float) -> bool:
        asked = settings(context, batch)
        need = ENGINE.memory(llama(), asked, machine(size, card="RTX 4090"))[0].total
        return Fit("", need, int(size * GIB)).verdict in ("fits", "tight")

    assert fits(gib + more) >= fits(gib)


@given(st.integers(1, 100_000), st.integers(1, 1000), st.integers(1, 16))
def test_longer_and_more_requests_never_take_less(context: int, more: int, batch: int) -> None:
    def of(context: int, batch: int) -> float:
        return ENGINE.memory(llama(), settings(context, batch), machine())[0].total.known()

    assert of(context + more, batch) >= of(context, batch)
    assert of(context, batch + 1) >= of(context, batch)


def test_on_a_cpu_the_cache_is_what_the_settings_need() -> None:
    (found,) = ENGINE.memory(llama(), settings(devices=0, context=1000, batch=4), machine())
    assert found.device == "RAM"
    assert found.parts["KV pool"].value == (4 * 1024 + 2 * 128) * TOKEN  # whole pages of 128 tokens, and two more


# -- starting it -----------------------------------------------------------------------------------------------


@pytest.fixture
def binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with a program called vllm, and nothing else."""
    path = tmp_path / "bin" / "vllm"
    path.parent.mkdir()
    path.touch()
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent))
    return path


def test_without_any_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    here = replace(machine(), accelerators=())
    found = VLLM().available(here)
    assert not found.ok
    assert "905 MiB to download" in found.reason
    assert found.fix == "Install it: workbench engines install vllm"
    with pytest.raises(EngineUnavailable, match="workbench engines install vllm"):
        VLLM().launch(llama(), settings(devices=0), 1, "sk-secret")


def test_the_command_on_a_cpu(binary: Path, home: Path) -> None:
    asked = replace(settings(devices=0, context=1000, batch=4), threads=1, prefill_threads=3)
    made = VLLM().launch(replace(llama(), path=Path("/x/m")), asked, 4321, "sk-secret")
    assert made.argv == (
        str(binary), "serve", "/x/m", "--served-model-name", "llama", "--host", "127.0.0.1", "--port", "4321",
        "--dtype", "bfloat16", "--max-model-len", "1000", "--max-num-seqs", "4", "--kv-cache-dtype", "auto",
        "--generation-config", "vllm", "--no-enable-prefix-caching", "--no-enable-log-requests",
        "--disable-uvicorn-access-log", "--disable-fastapi-docs",
        "--kv-cache-memory-bytes", str((4 * 1024 + 2 * 128) * TOKEN),
        "--enforce-eager",  # there is no compiler on this PATH
    )  # fmt: skip
    assert made.env == {
        "VLLM_API_KEY": "sk-secret", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
        "VLLM_CACHE_ROOT": str(home / "cache" / "vllm"), "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip


@pytest.mark.usefixtures("binary")
def test_the_command_on_two_devices() -> None:
    made = VLLM(utilization=0.8).launch(llama(), settings(devices=2, cache_type="fp8"), 1, "k")
    assert made.argv[-4:] == ("--gpu-memory-utilization", "0.8", "--tensor-parallel-size", "2")
    assert made.argv[made.argv.index("--kv-cache-dtype") + 1] == "fp8"
    assert made.env["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "OMP_NUM_THREADS" not in made.env


@pytest.mark.parametrize(
    ("built_for", "devices", "said"),
    [("cuda", 0, r'built for CUDA.*for the CPU\. Plan for a card of this machine'),
     ("cpu", 1, r"built for the CPU; this plan is for a card\. Plan without devices")],
)  # fmt: skip
def test_a_build_is_not_started_where_the_plan_does_not_say(
    binary: Path, monkeypatch: pytest.MonkeyPatch, built_for: str, devices: int, said: str
) -> None:
    recipe = SimpleNamespace(name="vllm", version="0.32", device=built_for)
    made = SimpleNamespace(recipe=recipe, folder=binary.parent.parent, program=binary)
    monkeypatch.setattr("workbench.engines.environments.installed", lambda name: made)
    with pytest.raises(EngineUnavailable, match=said):
        VLLM().launch(replace(llama(), path=Path("/x/m")), settings(devices=devices), 1, "k")
    assert VLLM().launch(replace(llama(), path=Path("/x/m")), settings(devices=1 - devices), 1, "k").argv


@pytest.mark.usefixtures("binary")
def test_earlier_prompts_are_kept_only_when_asked_for() -> None:
    asked = settings(devices=0, prompt_cache_bytes=MIB)
    assert "--no-enable-prefix-caching" not in VLLM().launch(llama(), asked, 1, "k").argv


@pytest.mark.usefixtures("binary")
def test_no_code_of_a_models_folder_is_run() -> None:
    assert not any("trust" in word for word in VLLM().launch(llama(), settings(devices=0), 1, "k").argv)


def test_every_format_has_its_usual_name() -> None:
    assert set(NEEDS) <= {one.name for one in known()}
    assert "EXL2" in ENGINE.supports(llama("EXL2-4.0")).reason


def test_a_card_that_was_measured_has_a_speed() -> None:
    alone = ENGINE.decode(llama(), settings(), machine(), 512).known()
    together = ENGINE.decode(llama(), settings(), machine(), 512, 32).known()
    assert 0 < alone < together < 32 * alone


@pytest.mark.parametrize(
    ("kind", "requests", "step_ms"),
    [("BF16", 1, 57), ("BF16", 4, 170), ("BF16", 8, 241), ("FP32", 1, 104), ("FP32", 4, 114), ("FP32", 8, 139)],
)
def test_steps_measured_on_a_cpu(kind: str, requests: int, step_ms: float) -> None:
    """SmolLM2 135M on one thread, where a core was calibrated at 9 GB/s and 65 GFLOP/s."""
    model = llama(
        kind, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, vocab_size=49152, tie_word_embeddings=True,
    )  # fmt: skip
    read, multiply = Measured((9e9,), "B/s", "dot product"), Measured((65e9,), "FLOP/s", "product")
    core = Calibration(read, read, multiply, multiply, date="2026-11-29", threads=1, busy_cores=0.0)
    here = replace(machine(), calibration=core)
    asked = replace(settings(devices=0, batch=requests), threads=1)
    step = ENGINE.decode(model, asked, here, 40, requests)
    assert step.known() == pytest.approx(step_ms / 1e3, rel=0.3)
