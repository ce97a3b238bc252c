"""The real llama.cpp on the embedded model: start, share, fail, and end."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx2
import psutil
import pytest

import workbench
from tests.deployment.conftest import survivors, wait_until
from tests.deployment.test_lifecycle import kill_kernels
from workbench import models
from workbench.errors import ServerDied, StartFailed, UsageError
from workbench.machine import Machine
from workbench.models import Model
from workbench.planning import Plan, plan
from workbench.units import MIB

pytestmark = pytest.mark.engine


@pytest.fixture
def real_plan(embedded_model: Model, machine: Machine) -> Callable[..., Plan]:
    return lambda **options: plan(embedded_model, machine=machine, **{"context": 512, "threads": 1, **options})


def test_it_answers_in_a_process_of_its_own(real_plan: Callable[..., Plan]) -> None:
    with workbench.deploy(real_plan()) as deployment:
        answer = "".join(deployment.chat("Why is the sky blue?", max_tokens=48, temperature=0))
        assert "scatter" in answer.lower()
        assert os.getpid() not in deployment.pids()
        listed = deployment.client.models.list().data
        assert [model.id for model in listed] == ["smollm2-135m-instruct"]
    assert survivors(deployment.id) == []


def test_a_prompt_longer_than_the_context(real_plan: Callable[..., Plan]) -> None:
    with workbench.deploy(real_plan()) as deployment:
        with pytest.raises(UsageError, match=r"has \d+ tokens; the deployment was made for 512"):
            list(deployment.chat("word " * 2000))
        assert "".join(deployment.chat("Hi", max_tokens=2))  # and it still answers


def test_killed_in_mid_stream(real_plan: Callable[..., Plan]) -> None:
    pieces = []
    with workbench.deploy(real_plan()) as deployment, pytest.raises(ServerDied, match="ended by SIGKILL"):
        for piece in deployment.chat("Tell me a long story.", max_tokens=400):
            pieces.append(piece)
            if len(pieces) == 3:
                os.kill(deployment.state.server_pid, signal.SIGKILL)
    assert len(pieces) >= 3
    assert survivors(deployment.id) == []


def test_five_killed_kernels(real_plan: Callable[..., Plan], tmp_path: Path) -> None:
    kill_kernels(real_plan(), tmp_path, 5, least=1)


def test_a_file_damaged_after_planning(real_plan: Callable[..., Plan], tmp_path: Path) -> None:
    """The plan was made from a sound file; what the server then finds is half of it."""
    made = real_plan()
    half = tmp_path / "half.gguf"
    shutil.copy(made.model.path, half)
    os.truncate(half, half.stat().st_size // 2)
    with pytest.raises(StartFailed, match=r"did not start .* It said:"):
        workbench.deploy(replace(made, model=replace(made.model, path=half)))
    assert workbench.deployments() == []


def test_an_architecture_that_llama_cpp_refuses(
    write_gguf: Callable[..., Path], machine: Machine, tmp_path: Path
) -> None:
    """A sound file without the tensors that its architecture needs."""
    model = models.get(write_gguf(tmp_path / "tiny.gguf"))
    with pytest.raises(StartFailed, match="did not start"):
        workbench.deploy(plan(model, machine=machine, context=128, threads=1))
    assert workbench.deployments() == []


def test_no_web_page_and_no_cors(real_plan: Callable[..., Plan]) -> None:
    with workbench.deploy(real_plan()) as deployment, httpx2.Client(base_url=deployment.endpoint.root) as browser:
        answer = browser.get("/health", headers={"Origin": "http://evil.example"})
        assert answer.headers.get("Access-Control-Allow-Origin", "") == ""
        assert browser.get("/").status_code in (401, 404)


@pytest.mark.slow
def test_memory_does_not_grow_with_distinct_prompts(real_plan: Callable[..., Plan]) -> None:
    """llama.cpp's default cache of old prompts would add tens of MiB for each."""
    with workbench.deploy(real_plan()) as deployment:
        list(deployment.chat("warm up " * 150, max_tokens=4))
        before = anonymous_bytes(deployment.state.server_pid)
        for topic in ("rivers", "bread", "clocks", "snow", "trains"):
            list(deployment.chat(f"Tell me about {topic}. " * 40, max_tokens=4))
        assert anonymous_bytes(deployment.state.server_pid) < before + 5 * MIB


def anonymous_bytes(pid: int) -> int:
    """Memory that is not mapped from a file: what others map cannot change it."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss_Anon:"))


SLOW = pytest.mark.slow


@pytest.mark.parametrize("context", [512, pytest.param(2048, marks=SLOW), pytest.param(8192, marks=SLOW)])
def test_predicted_memory(embedded_model: Model, machine: Machine, context: int) -> None:
    """The figure of the project: within 5 % of the measured peak, never more than 2 % under."""
    made = plan(embedded_model, machine=machine, context=context)
    with workbench.deploy(made) as deployment:
        measured = workbench.measure(deployment, repeats=1).values["memory_peak"].value
    assert -0.02 <= made.predictions["memory_peak"].known() / measured - 1 <= 0.05


def test_predicted_memory_of_repacked_weights(embedded_model: Model, machine: Machine, tmp_path: Path) -> None:
    """The same model in Q4_0: llama.cpp keeps a second copy of its matrices, and the prediction knows."""
    here = replace(machine, cpu=workbench.probe().cpu)
    model = models.get(requantized(embedded_model.path, tmp_path / "q4_0.gguf"))
    made = plan(model, machine=here, context=512)
    assert made.memory[0].parts["repacked weights"].known() > 50 * MIB
    with workbench.deploy(made) as deployment:
        measured = workbench.measure(deployment, repeats=1).values["memory_peak"].value
    assert -0.02 <= made.predictions["memory_peak"].known() / measured - 1 <= 0.05


def requantized(source: Path, target: Path) -> Path:
    """The model with its Q4_1 tensors as Q4_0, everything else copied."""
    import gguf
    from gguf import GGMLQuantizationType as Kind

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(key, field.contents(), kind, sub_type=inner)
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if kind == Kind.Q4_1:
            data, kind = gguf.quantize(gguf.dequantize(data, kind), Kind.Q4_0), Kind.Q4_0
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@pytest.mark.skipif(not shutil.which("llama-server"), reason="llama-server is not on PATH")
def test_llama_server_on_path(real_plan: Callable[..., Plan]) -> None:
    with workbench.deploy(real_plan()) as deployment:
        assert Path(psutil.Process(deployment.state.server_pid).exe()).name == "llama-server"
        assert "".join(deployment.chat("Name three fruits.", max_tokens=8))
        assert wait_until(lambda: deployment.memory().bytes > 0, 2)


def test_a_plan_can_travel_to_another_process(real_plan: Callable[..., Plan]) -> None:
    assert pickle.loads(pickle.dumps(real_plan())).to_dict()["model"] == "smollm2-135m-instruct"  # noqa: S301 - our own
