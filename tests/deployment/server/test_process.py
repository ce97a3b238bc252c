"""The server as a process of its own: what it loads, how it starts, fails and ends, and sixteen clients at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import openai
import psutil
import pytest

from tests.deployment.conftest import wait_until
from workbench.engines import Settings
from workbench.engines.runtime import Hosted
from workbench.units import MIB

KEY = "sk-test"
BEARER = {"Authorization": f"Bearer {KEY}"}


@contextmanager
def process(
    path: Path, slots: int = 4, context: int = 4096, engine: str = "fake"
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server and its address; it may not be up yet."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    hosted = Hosted(engine, str(path), "little", Settings("little", "gguf", context, concurrency=slots), port)
    launch = hosted.launch(KEY)
    root = str(Path(__file__).parents[3])
    with subprocess.Popen(launch.argv, env={**os.environ, "PYTHONPATH": root, **launch.env},
                          stderr=subprocess.PIPE) as running:  # fmt: skip
        try:
            yield running, f"http://127.0.0.1:{port}"
        finally:
            running.kill()


def health(url: str) -> int | None:
    try:
        return httpx2.get(f"{url}/health", timeout=2).status_code
    except httpx2.TransportError:
        return None


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"token_s": 0.001}))
    return path


def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)


def test_it_says_that_it_is_loading(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text('{"load_s": 60}')
    with process(path) as (_, url):
        assert wait_until(lambda: health(url) == 503, 15)
        answer = httpx2.post(f"{url}/v1/completions", json={"model": "little", "prompt": "x"}, headers=BEARER)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "loading")


def test_a_model_that_cannot_be_loaded_ends_it(tmp_path: Path) -> None:
    with process(tmp_path / "nothing.json") as (running, _):
        assert running.wait(20) == 1
        assert running.stderr is not None
        assert b"error: the model cannot be loaded" in running.stderr.read().splitlines()[-1]


def test_sigterm_ends_it_also_in_mid_answer(script: Path) -> None:
    with process(script, context=10**6) as (running, url):
        assert wait_until(lambda: health(url) == 200, 15)
        with client(url) as one:
            stream = one.completions.create(model="little", prompt="x", stream=True, extra_body={"ignore_eos": True})
            next(iter(stream))
            running.send_signal(signal.SIGTERM)
            assert running.wait(10) is not None


def test_the_key_is_not_on_the_command_line_and_it_listens_on_loopback_alone(script: Path) -> None:
    with process(script) as (running, url):
        assert wait_until(lambda: health(url) == 200, 15)
        one = psutil.Process(running.pid)
        assert not any(KEY in part for part in one.cmdline())
        assert {c.laddr.ip for c in one.net_connections("tcp") if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_it_loads_no_more_than_it_needs() -> None:
    """Its memory counts as the engine's."""
    code = "import sys, workbench.deployment.server.__main__; print(*sys.modules)"
    root = str(Path(__file__).parents[3])
    loaded = subprocess.run([sys.executable, "-P", "-c", code], env={**os.environ, "PYTHONPATH": root},
                            capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
    heavy = {
        "plotly",
        "pandas",
        "numpy",
        "torch",
        "gguf",
        "transformers",
        "openai",
        "onnxruntime",
        "IPython",
        "unearth",
        "huggingface_hub",
        "jinja2",
        "workbench.planning",
        "workbench.report",
        "workbench.ui",
    }
    assert heavy & set(loaded) == set()


@pytest.mark.parametrize("seconds", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_sixteen_clients_at_once(script: Path, seconds: float) -> None:
    """No error, no leak, and nobody starves: each client is served as many tokens as the others, give or take."""
    clients, tokens = 16, 20
    served = [0] * clients

    with process(script) as (running, url):
        assert wait_until(lambda: health(url) == 200, 15)
        one = psutil.Process(running.pid)
        threads, before = one.num_threads(), 0
        until = time.monotonic() + seconds

        def use(index: int) -> None:
            with client(url) as mine:
                while time.monotonic() < until:
                    stream = mine.completions.create(
                        model="little", prompt=f"client {index}", stream=True, max_tokens=tokens,
                        stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
                    )  # fmt: skip
                    counts = [chunk.usage.completion_tokens for chunk in stream if chunk.usage]
                    assert counts == [tokens]
                    served[index] += tokens

        def watched(index: int) -> None:
            try:
                use(index)
            except BaseException as error:  # noqa: BLE001 - told below
                failures.append(error)

        failures: list[BaseException] = []
        workers = [threading.Thread(target=watched, args=(index,)) for index in range(clients)]
        for worker in workers:
            worker.start()
        time.sleep(seconds / 3)
        before = one.memory_info().rss
        for worker in workers:
            worker.join()
        assert failures == []
        assert min(served) > 0
        assert 2 * min(served) >= max(served)  # in turns; what is left is how soon each client asks again
        assert one.memory_info().rss < before + 8 * MIB
        assert one.num_threads() == threads
        with httpx2.Client(base_url=url, headers=BEARER) as http:
            lines = http.get("/metrics").text.splitlines()
        assert "workbench_requests_running 0.0" in lines and "workbench_requests_waiting 0.0" in lines
        assert f"workbench_generated_tokens_total {float(sum(served))}" in lines
