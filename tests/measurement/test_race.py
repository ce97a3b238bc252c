"""The race: candidates measured one after the other, and what the pick cost, on the fake engine."""

from __future__ import annotations

from typing import Any

import pytest

import workbench
from tests.planning.test_picking import Stub
from workbench.engines import Launch, Settings
from workbench.errors import UsageError
from workbench.evidence.ledger import Ledger
from workbench.machine import Machine
from workbench.measurement import Lap, Race, measure, race
from workbench.measurement.together import Batch, measured, run_batch
from workbench.models import Model
from workbench.planning import USES, Plan, Workload


class Boastful(Stub):
    """Says it is fast, and is not."""

    def launch(self, model: Model, settings: Settings, port: int, api_key: str) -> Launch:
        return Stub("slow", token_s=0.02).launch(model, settings, port, api_key)


class Broken(Stub):
    """Ends when it is started."""

    def launch(self, model: Model, settings: Settings, port: int, api_key: str) -> Launch:
        return Launch(("false",))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, little_model: Model, machine: Machine) -> Any:
    """run(engines, **options) → the races among these engines."""

    def make(engines: list[Stub], **options: Any) -> list[Race]:
        known = {one.name: one for one in engines}
        monkeypatch.setattr("workbench.planning.ranking.candidates", lambda model: engines)
        monkeypatch.setattr("workbench.planning.picking.calibrate", lambda here: machine)
        monkeypatch.setattr("workbench.measurement.text.engines.get", known.__getitem__)
        return race(little_model, repeats=1, **options)

    return make


def test_the_pick_is_measured_against_the_best(run: Any) -> None:
    told: list[str] = []
    boastful, honest = Boastful("boastful", token_s=0.0), Stub("honest", token_s=0.002)
    (found,) = run([boastful, honest, Broken("broken", token_s=0.5)], uses=["chat"],
                   progress=lambda fraction, text: told.append(text))  # fmt: skip
    assert [lap.label for lap in found.laps] == ["boastful F32", "honest F32", "broken F32"]
    assert found.best is not None and found.best.label == "honest F32"
    picked, best = found.laps[0].measured, found.laps[1].measured
    assert picked > best and found.regret == pytest.approx(picked / best - 1)
    assert found.laps[2].measured is None and "did not start" in found.laps[2].failure
    assert any(text.startswith("chat, honest F32: ") for text in told)
    pairs = Ledger().pairs()
    assert {pair["engine"] for pair in pairs} == {"boastful", "honest"}
    assert found.to_dict()["regret"] == found.regret and found.to_dict()["best"] == "honest F32"


def test_a_batch_is_measured_as_it_was_predicted(run: Any) -> None:
    (found,) = run([Stub("one", token_s=0.0)], uses=["batch"])
    assert found.laps[0].measured is not None and found.regret == 0
    quantities = {pair["quantity"] for pair in Ledger().pairs()}
    assert {"throughput", "batch"} <= quantities


def test_where_the_pick_fails_its_regret_is_unknown() -> None:
    laps = (Lap("one", 1.0, None, "it fell"), Lap("other", 2.0, 3.0))
    assert Race(USES["chat"], laps, "because", "now").regret is None
    assert Race(USES["chat"], laps[:1], "because", "now").best is None


def test_no_repeats_are_no_race(little_model: Model) -> None:
    with pytest.raises(UsageError, match="0 repeats"):
        race(little_model, repeats=0)


def test_requests_at_once_are_counted_together(fake_plan: Any) -> None:
    with workbench.deploy(fake_plan(token_s=0.002)) as running:
        batch = run_batch(running, Workload(32, 8), 16, 4, seed=1, options={})
    assert len(batch.samples) == 4 and all(sample.answer_tokens == 8 for sample in batch.samples)
    assert batch.seconds >= max(sample.ttft_s + sample.decode_s for sample in batch.samples)
    values = measured([batch, Batch(batch.samples, 1.0)])
    assert values["batch"].samples == (batch.seconds, 1.0) and values["batch"].unit == "s"
    assert values["throughput"].value == pytest.approx(sum(1 / sample.tpot_s for sample in batch.samples))


def test_one_request_at_a_time_has_no_batch(fake_plan: Any) -> None:
    plan: Plan = fake_plan()
    with workbench.deploy(plan) as running:
        assert not {"throughput", "batch"} & set(measure(running, repeats=1).values)


def test_a_lap_that_others_disturbed_is_run_again(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    used = [1.0, 0.0, 0.0]

    class Meter:
        def __init__(self, without: Any) -> None:
            pass

        def cores(self) -> float:
            return used.pop(0)

    monkeypatch.setattr("workbench.measurement.text.BusyMeter", Meter)
    told: list[str] = []
    engines = [Stub("one", token_s=0.0), Stub("two", token_s=0.001)]
    (found,) = run(engines, uses=["chat"], progress=lambda fraction, text: told.append(text))
    assert used == [] and "chat, one F32: others used 1.0 cores; once more" in told
    assert all(lap.measured is not None for lap in found.laps)
    assert Lap("one", 1.0, 2.0, others=0.9).disturbed and not Lap("one", 1.0, 2.0, others=0.1).disturbed
