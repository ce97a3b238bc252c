"""Jobs: what the listener hears, in which order, and how a job ends."""

from __future__ import annotations

import threading

import pytest

from workbench.errors import UsageError
from workbench.ui.jobs import Cancelled, Context, Event, ThreadJob


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


@pytest.fixture(params=["start", "run_in_foreground"])
def way(request: pytest.FixtureRequest) -> str:
    """A job does the same in a thread and in the foreground."""
    return str(request.param)


def run(work: object, way: str) -> tuple[ThreadJob, list[Event]]:
    events: list[Event] = []
    job = ThreadJob(work, events.append)  # type: ignore[arg-type]
    getattr(job, way)()
    assert job.join(10)
    return job, events


def test_a_job_ends_with_its_result(way: str) -> None:
    job, events = run(lambda _: 42, way)
    assert job.state == "done"
    assert events == [Event("done", value=42)]


def test_an_exception_is_an_event_and_no_traceback_in_a_thread(way: str) -> None:
    def work(_: Context) -> None:
        raise UsageError("no")

    job, events = run(work, way)
    assert job.state == "error"
    assert kinds(events) == ["error"]
    assert isinstance(events[0].error, UsageError)


def test_progress_is_coalesced_and_its_last_value_arrives(way: str) -> None:
    def work(context: Context) -> None:
        for step in range(1000):
            context.progress(step / 999, f"step {step}")
            context.partial("x" * step)

    _, events = run(work, way)
    assert len(events) < 500
    assert [event for event in events if event.kind == "progress"][-1].text == "step 999"
    assert [event for event in events if event.kind == "partial"][-1].value == "x" * 999
    assert kinds(events)[-1] == "done"
    fractions = [event.fraction for event in events if event.kind == "progress" and event.fraction is not None]
    assert fractions == sorted(fractions)


def test_the_last_progress_before_a_long_wait_is_shown() -> None:
    arrived = threading.Event()

    def listen(event: Event) -> None:
        if event.text == "loading":
            arrived.set()

    def work(context: Context) -> bool:
        context.progress(0, "starting")
        context.progress(None, "loading")
        return arrived.wait(10)

    job = ThreadJob(work, listen).start()
    assert job.join(20)
    assert arrived.is_set()


def test_no_line_of_the_log_is_dropped(way: str) -> None:
    def work(context: Context) -> None:
        for number in range(50):
            context.log(str(number))

    _, events = run(work, way)
    assert [event.text for event in events if event.kind == "log"] == [str(number) for number in range(50)]


def test_cancel_ends_the_work_at_its_next_check() -> None:
    events: list[Event] = []
    started = threading.Event()

    def work(context: Context) -> None:
        started.set()
        while True:
            context.check()

    job = ThreadJob(work, events.append).start()
    assert started.wait(10)
    job.cancel()
    assert job.join(10)
    assert job.state == "cancelled"
    assert kinds(events) == ["cancelled"]


def test_cancel_closes_what_the_work_waits_on() -> None:
    events: list[Event] = []
    stream, waiting = threading.Event(), threading.Event()

    def work(context: Context) -> None:
        context.on_cancel(stream.set)
        waiting.set()
        stream.wait(10)
        raise ConnectionError("closed under our feet")

    job = ThreadJob(work, events.append).start()
    assert waiting.wait(10)
    job.cancel()
    assert job.join(10)
    assert kinds(events) == ["cancelled"]


def test_an_action_that_comes_after_the_cancel_runs_at_once() -> None:
    done: list[str] = []
    job = ThreadJob(lambda context: context.on_cancel(lambda: done.append("closed")), lambda _: None)
    job.cancel()
    job.run_in_foreground()
    assert done == ["closed"]


def test_interrupting_the_kernel_cancels_a_job_in_the_foreground() -> None:
    def work(_: Context) -> None:
        raise KeyboardInterrupt

    job, events = run(work, "run_in_foreground")
    assert job.state == "cancelled"
    assert kinds(events) == ["cancelled"]


def test_work_that_catches_every_exception_can_still_be_cancelled() -> None:
    def work(context: Context) -> None:
        while True:
            try:
                context.check()
            except Exception:  # noqa: S112, BLE001  this is what is tested
                continue

    job = ThreadJob(work, lambda _: None)
    job.cancel()
    job.run_in_foreground()
    assert job.state == "cancelled"
    assert not issubclass(Cancelled, Exception)


def test_a_listener_that_fails_does_not_end_the_work(way: str, caplog: pytest.LogCaptureFixture) -> None:
    def listen(_: Event) -> None:
        raise ValueError("cannot draw")

    job = ThreadJob(lambda context: context.log("a"), listen)
    getattr(job, way)()
    assert job.join(10)
    assert job.state == "done"
    assert "cannot draw" in caplog.text


def test_fractions_stay_between_nothing_and_everything() -> None:
    _, events = run(lambda context: context.progress(1.7), "run_in_foreground")
    assert events[0].fraction == 1.0
