"""Engines from environments of their own, for real: installed if need be, deployed, asked, measured, gone again.

The environments lie in the user's cache and stay there: making one takes minutes and gigabytes.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import psutil
import pytest

import workbench
from tests.conftest import _REAL_HOME
from tests.deployment.conftest import survivors
from workbench import folders, models
from workbench.deployment import Deployment
from workbench.engines import environments
from workbench.errors import UsageError
from workbench.machine import Machine
from workbench.models import Model
from workbench.planning import Plan, plan

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(3600)]
CLIENTS = 16


@contextmanager
def users_home() -> Iterator[Path]:
    """The cache that outlives this test."""
    current = os.environ.pop("WORKBENCH_HOME")
    if _REAL_HOME:
        os.environ["WORKBENCH_HOME"] = _REAL_HOME
    try:
        yield folders.cache()
    finally:
        os.environ["WORKBENCH_HOME"] = current


@pytest.fixture
def kept(home: Path) -> Callable[[str], None]:
    """kept("vllm") installs it in the user's cache if it is not there, and shows it to this test."""

    def install(engine: str) -> None:
        with users_home() as cache:
            try:
                environments.install(engine)
            except workbench.errors.AssetUnavailable as error:
                pytest.skip(f"left out, it cannot be installed here: {error.what}")
        (home / "cache").mkdir(parents=True, exist_ok=True)
        for name in ("environments", "vllm"):  # the environment, and what was compiled for it
            (cache / name).mkdir(exist_ok=True)
            (home / "cache" / name).symlink_to(cache / name)

    return install


@pytest.fixture
def vllm_plan(kept: Callable[[str], None], embedded_model: Model, machine: Machine) -> Callable[..., Plan]:
    kept("vllm")
    folder = models.convert(embedded_model, "safetensors", "BF16")

    def make(**options: object) -> Plan:
        return plan(models.get(folder), machine=machine, engine="vllm", threads=1, **{"context": 512, **options})  # type: ignore[arg-type]

    return make


def test_vllm(vllm_plan: Callable[..., Plan]) -> None:
    made = vllm_plan(concurrency=4)
    assert made.settings.format == "BF16"
    before = set(shared_memory())
    with workbench.deploy(made) as deployment:
        assert os.getpid() not in deployment.pids()
        answers(deployment)
        refuses(deployment)
        serves_many(deployment)
    assert survivors(deployment.id) == []
    assert set(shared_memory()) <= before


def answers(deployment: Deployment) -> None:
    """Chat, streaming with usage, stop sequences, the key."""
    assert "scatter" in "".join(deployment.chat("Why is the sky blue?", max_tokens=48, temperature=0)).lower()
    model, create = deployment.endpoint.served_model, deployment.client.chat.completions.create
    asked = [{"role": "user", "content": "Name three fruits."}]
    whole = create(model=model, messages=asked, max_tokens=12, temperature=0)
    pieces = list(create(
        model=model, messages=asked, max_tokens=12, temperature=0, stream=True, stream_options={"include_usage": True},
    ))  # fmt: skip
    text = "".join(choice.delta.content or "" for piece in pieces for choice in piece.choices)
    assert text == whole.choices[0].message.content
    assert pieces[-1].usage == whole.usage
    word = text.split()[1]
    stopped = create(model=model, messages=asked, max_tokens=12, temperature=0, stop=[word]).choices[0]
    assert (stopped.finish_reason, word in (stopped.message.content or "")) == ("stop", False)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=deployment.endpoint.base_url, api_key="wrong", max_retries=0).models.list()


def refuses(deployment: Deployment) -> None:
    """Bad input is the client's error, and the server goes on."""
    with pytest.raises(UsageError, match="tokens"):
        list(deployment.chat("word " * 2000))
    for options in ({"max_tokens": -1}, {"temperature": -1.0}, {"messages": []}, {"model": "another"}):
        fields = {"model": deployment.endpoint.served_model, "messages": [{"role": "user", "content": "Hi"}], **options}
        with pytest.raises(openai.APIStatusError) as caught:
            deployment.client.chat.completions.create(**fields)  # type: ignore[call-overload]
        assert 400 <= caught.value.status_code < 500
    assert "".join(deployment.chat("Hi", max_tokens=2))


def serves_many(deployment: Deployment) -> None:
    """Sixteen clients at once, four of them served together: everybody gets a whole answer."""
    counts: list[int] = []

    def ask(number: int) -> None:
        answer = deployment.client.chat.completions.create(
            model=deployment.endpoint.served_model, messages=[{"role": "user", "content": f"Count from {number}."}],
            max_tokens=8, extra_body={"ignore_eos": True},
        )  # fmt: skip
        counts.append(answer.usage.completion_tokens if answer.usage else 0)

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert counts == [8] * CLIENTS


def shared_memory() -> list[str]:
    """What lies in the memory that processes share by name."""
    folder = Path("/dev/shm")  # noqa: S108 - looked at, not written to
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


@pytest.mark.parametrize("context", [512, 2048])
def test_vllms_predicted_memory(vllm_plan: Callable[..., Plan], context: int) -> None:
    made = vllm_plan(context=context)
    with workbench.deploy(made) as deployment:
        measured = workbench.measure(deployment, repeats=1).values["memory_peak"].value
    assert abs(made.predictions["memory_peak"].known() / measured - 1) <= 0.05


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler here")
def test_a_native_llama_cpp(
    kept: Callable[[str], None], embedded_model: Model, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled for this processor: the same contract, and the same prediction of memory."""
    kept("llama.cpp")
    folders_without = [one for one in os.environ["PATH"].split(os.pathsep) if not (Path(one) / "llama-server").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(folders_without))
    made = plan(embedded_model, machine=machine, engine="llama.cpp", context=512, threads=1)
    with workbench.deploy(made) as deployment:
        program = environments.installed("llama.cpp")
        assert program
        assert Path(psutil.Process(deployment.state.server_pid).exe()) == program.program
        assert "scatter" in "".join(deployment.chat("Why is the sky blue?", max_tokens=48, temperature=0)).lower()
        with pytest.raises(UsageError, match="is in use"):
            environments.remove("llama.cpp")
        measured = workbench.measure(deployment, repeats=1).values["memory_peak"].value
    assert -0.02 <= made.predictions["memory_peak"].known() / measured - 1 <= 0.05
