"""One engine thread, many requests: turns, a bounded line, and clients that leave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.deployment.conftest import wait_until
from tests.deployment.server.conftest import KEY, MODEL, USER, Running
from workbench.deployment.server.scheduler import End, Job, QueueFull, Scheduler

# -- the scheduler alone ---------------------------------------------------------------------------------------


class Recorded:
    """A job that counts to a number; what it delivered, and whether it was closed."""

    def __init__(self, name: str, count: int, log: list[str], gate: threading.Event) -> None:
        self.events: list[Any] = []
        self.closed = False
        self.ended = threading.Event()
        self._name, self._count, self._log, self._gate = name, count, log, gate
        self.job = Job(self._work, self._deliver)

    def _work(self, runtime: object) -> Generator[int, None, None]:
        try:
            for number in range(self._count):
                self._gate.wait(10)
                self._log.append(self._name)
                yield number
        finally:
            self.closed = True

    def _deliver(self, event: Any) -> None:
        self.events.append(event)
        if isinstance(event, End):
            self.ended.set()


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def scheduler() -> Generator[Scheduler, None, None]:
    one = Scheduler(object, slots=2, most_waiting=2)
    one.start()
    yield one
    one.close()


def test_running_jobs_take_turns_and_the_others_wait_in_line(scheduler: Scheduler, log: list[str]) -> None:
    gate = threading.Event()
    jobs = [Recorded(name, 3, log, gate) for name in "abcd"]
    for one in jobs:
        scheduler.submit(one.job)
    gate.set()
    assert all(one.ended.wait(10) for one in jobs)
    assert "".join(log) in ("abababcdcdcd", "aabbabcdcdcd", "aababbcdcdcd", "aababbcdcdcd")
    assert [one.events for one in jobs] == [[0, 1, 2, End()]] * 4
    assert all(one.closed for one in jobs)


def test_a_full_line_is_refused(scheduler: Scheduler, log: list[str]) -> None:
    gate = threading.Event()
    jobs = [Recorded(name, 1, log, gate) for name in "abcde"]
    for one in jobs[:4]:
        scheduler.submit(one.job)
    with pytest.raises(QueueFull):
        scheduler.submit(jobs[4].job)
    gate.set()
    assert all(one.ended.wait(10) for one in jobs[:4])


def test_cancelled_in_line_and_while_running(scheduler: Scheduler, log: list[str]) -> None:
    gate = threading.Event()
    jobs = [Recorded(name, 100, log, gate) for name in "abc"]
    for one in jobs:
        scheduler.submit(one.job)
    assert wait_until(lambda: scheduler.running == 2, 5)
    scheduler.cancel(jobs[2].job)
    assert jobs[2].ended.is_set() and "c" not in log  # at once: nobody works on it
    scheduler.cancel(jobs[0].job)
    gate.set()
    assert jobs[0].ended.wait(10) and jobs[1].ended.wait(10)
    assert jobs[0].events[-1] == End(cancelled=True) and jobs[0].closed
    assert jobs[1].events[-1] == End() and len(jobs[1].events) == 101


class Panic(BaseException):
    """As Rust's come out of tokenizers and safetensors."""


@pytest.mark.parametrize("error", [ZeroDivisionError, Panic])
def test_an_error_ends_one_job(scheduler: Scheduler, log: list[str], error: type[BaseException]) -> None:
    gate = threading.Event()
    gate.set()

    def fails(_: object) -> Generator[int, None, None]:
        yield 1
        raise error

    seen: list[Any] = []
    good = Recorded("a", 50, log, gate)
    scheduler.submit(Job(fails, seen.append))
    scheduler.submit(good.job)
    assert good.ended.wait(10) and len(good.events) == 51
    assert isinstance(seen[-1].error, error)


def test_a_model_that_cannot_be_loaded(capfd: pytest.CaptureFixture[str]) -> None:
    told = threading.Event()

    def load() -> object:
        raise ValueError("no such folder")

    scheduler = Scheduler(load, 1)
    scheduler.start(told.set)
    assert told.wait(5) and not scheduler.ready
    assert capfd.readouterr().err.splitlines()[-1] == "error: the model cannot be loaded: no such folder"


# -- through HTTP ----------------------------------------------------------------------------------------------


def test_too_many_requests(serve: Callable[..., Running]) -> None:
    server = serve(slots=1, most_waiting=1, token_s=0.02)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.chat(ignore_eos=True, max_tokens=40), range(8)))
    assert {answer.status_code for answer in answers} == {200, 429}
    late = next(answer for answer in answers if answer.status_code == 429)
    assert late.headers["retry-after"] == "1"
    assert late.json()["error"]["code"] == "queue_full"
    assert server.is_idle()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(serve: Callable[..., Running], stream: bool) -> None:
    server = serve(slots=1, token_s=0.01, context=100_000)
    body = {"model": MODEL, "messages": USER, "ignore_eos": True, "stream": stream}
    with httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=0.3) as client:
        if stream:
            with client.stream("POST", "/v1/chat/completions", json=body) as response:
                next(response.iter_raw())
        else:
            with pytest.raises(httpx2.ReadTimeout):
                client.post("/v1/chat/completions", json=body)
    assert wait_until(server.is_idle, 5)
    assert server.runtime.served < 1000
    assert server.counted('workbench_requests_total{outcome="cancelled"}') == 1
    assert server.chat().status_code == 200


def test_a_client_that_leaves_the_line(serve: Callable[..., Running]) -> None:
    server = serve(slots=1, token_s=0.01)
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(server.chat, ignore_eos=True, max_tokens=100)
        assert wait_until(lambda: server.scheduler.running == 1, 5)
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{server.url}/v1/chat/completions", json={"model": MODEL, "messages": USER},
                        headers={"Authorization": f"Bearer {KEY}"}, timeout=0.2)  # fmt: skip
        assert wait_until(lambda: server.scheduler.waiting == 0, 5)
        assert busy.result().json()["usage"]["completion_tokens"] == 100
