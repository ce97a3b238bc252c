"""The race: candidates measured one after the other, and what the pick cost, on the fake engine."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

import workbench
from tests.planning.test_picking import Stub
from workbench.engines import Launch, Settings
from workbench.errors import UsageError
from workbench.evidence.ledger import Ledger
from workbench.machine import Machine
from workbench.measurement import Lap, Race, measure, race
from workbench.measurement.race import Regret, Skipped, _undisturbed
from workbench.measurement.together import Batch, measured, run_batch
from workbench.models import Model
from workbench.planning import USES, Plan, Workload
from workbench.report import text


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
    assert picked > best and found.regret.value == pytest.approx(picked / best - 1)
    assert found.regret.unsure[-1] == "broken F32 could not be measured"
    assert found.laps[2].measured is None and "did not start" in found.laps[2].failure
    assert any(text.startswith("chat, honest F32: ") for text in told)
    pairs = Ledger().pairs()
    assert {pair["engine"] for pair in pairs} == {"boastful", "honest"}
    data = found.to_dict()
    assert data["regret"] == found.regret.value and data["best"] == "honest F32"
    assert data["unsure"] == list(found.regret.unsure) and data["skipped"] == []


def test_a_batch_is_measured_as_it_was_predicted(run: Any) -> None:
    (found,) = run([Stub("one", token_s=0.0)], uses=["batch"])
    assert found.laps[0].measured is not None and found.regret.value == 0
    quantities = {pair["quantity"] for pair in Ledger().pairs()}
    assert {"throughput", "batch"} <= quantities


def test_where_the_pick_fails_its_regret_is_unknown() -> None:
    laps = (Lap("one", 1.0, None, "it fell"), Lap("other", 2.0, 3.0))
    assert Race(USES["chat"], laps, "because", "now").regret == Regret(None)
    assert str(Regret(None)) == "unknown: the pick could not be measured"
    assert Race(USES["chat"], laps[:1], "because", "now").best is None


def test_the_regret_says_what_makes_it_unsure() -> None:
    """Who was disturbed in every try, failed or did not run could be better than the best that was measured."""
    laps = (Lap("one", 1.0, 3.0), Lap("two", 2.0, 2.5, others=1.0), Lap("three", 3.0, None, "it fell"))
    found = Race(USES["chat"], laps, "because", "now", (Skipped("four", 9.0, "too slow"), Skipped("five", None, "…")))
    assert found.regret.value == pytest.approx(0.2)
    assert str(found.regret) == (
        "20.0% of the best; unsure, as two was disturbed in every try and three could not be measured and 2 did not run"
    )
    assert found.to_dict()["unsure"] == list(found.regret.unsure)
    assert found.to_dict()["skipped"][0] == {"label": "four", "predicted": 9.0, "why": "too slow"}
    shown = text.race(found)
    assert shown.endswith(f"Regret of the pick: {found.regret}.")
    assert "not run" in shown and "too slow" in shown and "it fell" in shown


def test_who_did_not_run_is_listed(run: Any) -> None:
    engines = [Stub(f"n{number}", token_s=0.0) for number in range(4)] + [Stub("hopeless", token_s=5.0)]
    (found,) = run(engines, uses=["chat"])
    (skipped,) = found.skipped
    assert (skipped.label, skipped.why) == ("hopeless F32", "at its best thought worse than the pick at its worst")
    assert skipped.predicted and skipped.predicted > 300
    assert found.regret.unsure[-1] == "1 did not run"


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


def test_a_calm_lap_counts_before_a_better_one_that_was_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    laps = [Lap("one", 1.0, 2.0, others=1.0), Lap("one", 1.0, 3.0)]
    monkeypatch.setattr(sys.modules[Race.__module__], "_lap", lambda *_: laps.pop(0))
    found: Any = SimpleNamespace(use=USES["chat"])
    assert _undisturbed(found, laps[0], 1, Ledger(), lambda *_: None) == Lap("one", 1.0, 3.0)  # type: ignore[arg-type]


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
    assert found.regret.unsure == ()
    assert Lap("one", 1.0, 2.0, others=0.9).disturbed and not Lap("one", 1.0, 2.0, others=0.1).disturbed
