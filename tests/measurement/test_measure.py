"""Measuring, on the fake engine: what is kept, what is refused, and what happens when the server dies meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import filelock
import pytest

import workbench
from tests.deployment.conftest import survivors
from workbench import folders
from workbench.deployment import Deployment
from workbench.deployment.state import State
from workbench.engines.contract import PEAK_ANSWER_TOKENS
from workbench.errors import NotMeasurable, ServerDied, UsageError
from workbench.evidence.ledger import Ledger
from workbench.measurement import Measurement, check_repeats, measure
from workbench.measurement import text as room
from workbench.measurement.text import OTHERS
from workbench.planning import Plan
from workbench.planning.language import LEAST_CONTEXT
from workbench.ui.jobs import Cancelled

MakePlan = Callable[..., Plan]

UNITS = {"memory_peak": "B", "prefill": "tok/s", "decode": "tok/s", "ttft": "s", "tpot": "s", "cpu": "cores"}


@pytest.fixture
def made(fake_plan: MakePlan) -> Plan:
    return fake_plan()


@pytest.fixture
def measured(made: Plan) -> Measurement:
    """A measurement of three requests."""
    with workbench.deploy(made) as deployment:
        return measure(deployment, repeats=3)


def test_every_quantity_is_there_in_its_unit(measured: Measurement) -> None:
    assert {name: value.unit for name, value in measured.values.items()} == UNITS
    assert all(value.method and value.value >= 0 for value in measured.values.values())
    assert measured.values["memory_peak"].value > 0


def test_it_holds_what_was_predicted_for_it(made: Plan, measured: Measurement) -> None:
    assert measured.predictions == made.predictions
    assert set(measured.predictions) < set(measured.values)


def test_a_joined_deployment_was_predicted_by_the_plan_that_started_it(fake_plan: MakePlan) -> None:
    """Also where the plan at hand says something else: that one never ran."""
    first, second = fake_plan(), fake_plan(token_s=0.01)
    assert second.predictions["decode"] != first.predictions["decode"]
    with workbench.deploy(first), workbench.deploy(second) as joined:
        assert joined.plan_dict["id"] == first.id
        assert joined.predictions == first.predictions
        measurement = measure(joined, repeats=1)
    assert measurement.predictions == first.predictions
    stored = {pair["quantity"]: (pair["predicted"], pair["low"], pair["high"]) for pair in Ledger().pairs()}
    assert stored == {name: (e.value, e.low, e.high) for name, e in joined.predictions.items()}


def test_raw_samples_are_kept(measured: Measurement) -> None:
    assert len(measured.samples) == 3
    for name in ("prefill", "decode", "ttft", "tpot"):
        assert len(measured.values[name].samples) == 3
    assert measured.values["ttft"].samples == tuple(sample.ttft_s for sample in measured.samples)


def test_every_request_had_the_length_of_the_workload(made: Plan, measured: Measurement) -> None:
    assert measured.workload == made.workload
    for sample in measured.samples:
        assert (sample.prompt_tokens, sample.answer_tokens) == (256, 64)
        assert sample.prefill_tok_per_s == pytest.approx(256 / sample.ttft_s)
        assert sample.tpot_s == pytest.approx(sample.decode_s / 63)


def test_the_ledger_has_it_beside_the_prediction(made: Plan, measured: Measurement) -> None:
    pairs = Ledger().pairs()
    assert {pair["quantity"] for pair in pairs} == set(made.predictions)
    assert {(pair["prediction"], pair["measurement"]) for pair in pairs} == {(made.id, measured.number)}
    assert measured.prediction == made.id
    for pair in pairs:
        assert pair["measured"] == measured.values[pair["quantity"]].value
        assert pair["predicted"] == made.predictions[pair["quantity"]].value
    assert {(pair["engine"], pair["hardware"]) for pair in pairs} == {("fake", "cpu-x86-64")}


def test_the_bound_is_the_plan_s(made: Plan, measured: Measurement) -> None:
    assert measured.decode_bound == made.decode_bound
    assert measured.decode_bound.value == pytest.approx(40e9 / made.model.decode_read_bytes)


def test_a_plan_of_an_older_version_has_no_bound(made: Plan) -> None:
    old = {name: value for name, value in made.to_dict().items() if name != "decode_bound"}
    assert room._bound(old).value is None


def test_it_says_where_it_was_taken(measured: Measurement) -> None:
    assert {"cpu", "memory", "packages", "fingerprint", "engine_version"} <= set(measured.environment)
    assert measured.environment["engine_version"] == "0"


def test_stable_keys(measured: Measurement) -> None:
    data = json.loads(json.dumps(measured.to_dict()))
    assert list(data) == ["prediction", "number", "model", "engine", "created", "workload", "values",
                          "decode_bound_tok_per_s", "requests", "environment"]  # fmt: skip
    assert list(data["values"]) == list(UNITS)
    assert list(data["values"]["decode"]) == ["value", "unit", "samples", "method", "date"]
    assert list(data["requests"][0]) == ["ttft_s", "decode_s", "prompt_tokens", "answer_tokens"]


def test_measuring_twice_adds_to_the_same_prediction(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        first, second = measure(deployment, repeats=1), measure(deployment, repeats=1)
    assert second.number > first.number
    assert second.prediction == first.prediction
    assert [error.count for error in Ledger().errors()] == [2, 2, 2, 2]


@pytest.mark.parametrize("repeats", [0, -1])
def test_no_repeats_are_wrong_use(fake_plan: MakePlan, repeats: int) -> None:
    with workbench.deploy(fake_plan()) as deployment, pytest.raises(UsageError, match=f"{repeats} repeats"):
        measure(deployment, repeats=repeats)
    assert Ledger().pairs() == []


@pytest.mark.parametrize("repeats", [0, -1])
def test_repeats_can_be_checked_before_anything_is_deployed(repeats: int) -> None:
    check_repeats(1)
    with pytest.raises(UsageError, match=f"{repeats} repeats"):
        check_repeats(repeats)


def test_progress_rises_to_the_end(fake_plan: MakePlan) -> None:
    seen: list[tuple[float | None, str]] = []
    with workbench.deploy(fake_plan()) as deployment:
        measure(deployment, repeats=2, progress=lambda fraction, text: seen.append((fraction, text)))
    fractions = [fraction for fraction, _ in seen if fraction is not None]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert [text for _, text in seen if text.startswith("request")] == ["request 1 of 2", "request 2 of 2"]


def test_a_wait_for_another_measurement_is_said_and_can_be_ended(
    fake_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "WAITING_S", 0.01)
    said: list[str] = []
    ended = threading.Event()

    def report(_: float | None, text: str) -> None:
        said.append(text)
        if len(said) == 2:  # while it waits: the first word comes before
            raise Cancelled

    def work(deployment: Deployment) -> None:
        with pytest.raises(Cancelled):
            measure(deployment, repeats=1, progress=report)
        ended.set()

    with workbench.deploy(fake_plan()) as deployment, filelock.FileLock(folders.cache() / "measuring.lock"):
        threading.Thread(target=work, args=[deployment], daemon=True).start()
        assert ended.wait(10)
    assert said == ["waiting for another measurement to end"] * 2


@pytest.mark.parametrize("context", [LEAST_CONTEXT, 2 * LEAST_CONTEXT])
def test_a_small_context_is_measured_with_a_small_workload(fake_plan: MakePlan, context: int) -> None:
    with workbench.deploy(fake_plan(context=context)) as deployment:
        result = measure(deployment, repeats=1)
    (sample,) = result.samples
    assert sample.prompt_tokens + sample.answer_tokens <= context


def test_answers_that_the_model_ends_are_measured_by_what_came(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan(token_s=0.01, end_after_tokens=20)) as deployment:
        result = measure(deployment, repeats=1)
    (sample,) = result.samples
    assert (sample.answer_tokens, result.values["decode"].value) == (20, pytest.approx(19 / sample.decode_s))
    assert "ended an answer after 20 of 64 tokens" in result.values["decode"].method


@pytest.mark.parametrize(
    ("concurrency", "tokens", "said"),
    [(1, 10, "after 10 of 64 tokens: too few to time"),
     (3, 20, "3 of 3 answers at once ended early, one after 20 of 64 tokens: the time of all says nothing")],
)  # fmt: skip
def test_answers_that_end_too_soon_are_not_measured(
    fake_plan: MakePlan, concurrency: int, tokens: int, said: str
) -> None:
    """Nor stored beside a prediction for all tokens."""
    made = fake_plan(end_after_tokens=tokens)
    made = replace(made, settings=replace(made.settings, concurrency=concurrency))
    with workbench.deploy(made) as deployment, pytest.raises(NotMeasurable, match=said):
        measure(deployment, repeats=1)
    assert Ledger().pairs() == []


def test_another_ledger_can_be_given(fake_plan: MakePlan, tmp_path: Path) -> None:
    """It holds the pair, prediction and all."""
    other = Ledger(tmp_path / "other.sqlite")
    with workbench.deploy(fake_plan()) as deployment:
        result = measure(deployment, repeats=1, ledger=other)
    assert {pair["measurement"] for pair in other.pairs()} == {result.number}


# The warm-up asks for an answer as long as the workload's; the last request always for 64 tokens.
@pytest.mark.parametrize(("answer_tokens", "phase"), [(64, "warm-up"), (32, "longest prompt")])
def test_a_server_that_dies_meanwhile(fake_plan: MakePlan, answer_tokens: int, phase: str) -> None:
    steps: list[str] = []
    made = fake_plan(die_after_tokens=PEAK_ANSWER_TOKENS - 24)
    made = replace(made, workload=replace(made.workload, answer_tokens=answer_tokens))
    with workbench.deploy(made) as deployment, pytest.raises(ServerDied, match=r"exit code 3"):
        measure(deployment, repeats=1, progress=lambda _, text: steps.append(text))
    assert steps[-1].startswith(phase)
    assert Ledger().pairs() == []
    assert workbench.deployments() == []
    assert survivors(deployment.id) == []


def test_a_server_killed_between_two_requests(fake_plan: MakePlan) -> None:
    import os
    import signal

    def kill(_: float | None, text: str) -> None:
        if text == "request 2 of 3":
            os.kill(deployment.state.server_pid, signal.SIGKILL)

    with workbench.deploy(fake_plan()) as deployment, pytest.raises(ServerDied, match="SIGKILL"):
        measure(deployment, repeats=3, progress=kill)
    assert Ledger().pairs() == []
    assert survivors(deployment.id) == []


def test_what_nobody_may_look_at_is_left_out_and_never_zero(
    fake_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the processes of an app that another user started."""
    with workbench.deploy(fake_plan()) as deployment:
        monkeypatch.setattr(State, "root_pid", lambda _: 0)
        monkeypatch.setattr(State, "server_pids", lambda _: [])
        assert deployment.memory() is None
        result = measure(deployment, repeats=1)
    assert "decode" in result.values
    assert not {"memory_peak", "cpu"} & result.values.keys()
    assert OTHERS not in result.environment
