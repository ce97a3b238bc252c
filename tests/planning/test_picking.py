"""The pick for a use: by the one number it is about, corrected by the ledger, and why the others are refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from workbench.engines import Availability, Settings
from workbench.engines.fake import FakeEngine
from workbench.engines.fake_server import Script
from workbench.errors import UnsupportedModel, UsageError
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine
from workbench.models import Model
from workbench.planning import USES, Pick, Plan, Use, Workload, choices, pick
from workbench.planning.picking import answer_s
from workbench.units import GIB, MIB


class Stub(FakeEngine):
    """An engine with the speed and memory it is told."""

    def __init__(self, name: str, *, token_s: float, memory_bytes: int = MIB, ok: bool = True) -> None:
        super().__init__(Script(token_s=token_s))
        self.name, self.title, self._bytes, self._ok = name, name, memory_bytes, ok

    def variants(self, model: Model, settings: Settings) -> Iterator[Settings]:
        yield settings

    def available(self, machine: Machine | None = None) -> Availability:
        return Availability(self._ok, "It is not here.", "Install it.", version="1")

    def memory(self, model: Model, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        engine = Estimate.within(self._bytes, "B", Basis("told"), 0.1, 0.1)
        return (Breakdown("RAM", {"engine": engine}),)


class Silent(Stub):
    """One of which nobody knows how fast it is."""

    def decode(self, model: Model, settings: Settings, machine: Machine, depth: int, batch: int = 1) -> Estimate:
        return Estimate.unknown("s", "nobody measured it")


class Varied(Stub):
    """One with a setting worth comparing, which makes a token take so many times as long."""

    factor = 2.0

    def variants(self, model: Model, settings: Settings) -> Iterator[Settings]:
        yield settings
        yield replace(settings, flash_attention=False)

    def decode(self, model: Model, settings: Settings, machine: Machine, depth: int, batch: int = 1) -> Estimate:
        step = super().decode(model, settings, machine, depth, batch)
        return step if settings.flash_attention else step.plus(step, times=self.factor - 1)


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch, little_model: Model, machine: Machine) -> Any:
    """choose(those there are, use, **options) → the pick among them."""

    def make(there: list[FakeEngine], use: str | Use = "chat", **options: Any) -> Pick:
        monkeypatch.setattr("workbench.planning.ranking.candidates", lambda model: there)
        return pick(little_model, use, machine=machine, **options)

    return make


def _formats(found: Pick) -> set[str]:
    return {one.plan.settings.format for one in found.candidates}


def _labels(found: Pick) -> list[str]:
    return [one.label for one in found.candidates]


def test_latency_takes_the_one_that_answers_soonest(choose: Any) -> None:
    found = choose([Stub("slow", token_s=0.1), Stub("fast", token_s=0.01), Silent("silent", token_s=0)])
    assert _labels(found) == ["fast F32", "slow F32", "silent F32"]
    best = found.best.score
    assert best.known() == pytest.approx(0.005 + 63 * 0.0105)
    assert best.low < best.known() < best.high and best.unit == "s"
    assert found.reason.startswith("fast F32: one answer takes ") and "next slow F32, " in found.reason
    assert answer_s(found.candidates[-1].plan).reason == "nobody measured it"


def test_memory_takes_the_smallest_and_throughput_the_batch(choose: Any) -> None:
    engines = [Stub("fast", token_s=0.01, memory_bytes=9 * MIB), Stub("small", token_s=0.5, memory_bytes=2 * MIB)]
    assert _labels(choose(engines, "memory")) == ["small F32", "fast F32"]
    batch = choose(engines, "batch")
    assert _labels(batch) == ["fast F32", "small F32"]
    assert batch.best.score == batch.best.plan.speed["batch"]
    assert batch.best.plan.settings.concurrency == USES["batch"].concurrency


def test_a_setting_worth_comparing_is_a_candidate_of_its_own(choose: Any) -> None:
    found = choose([Varied("one", token_s=0.01)])
    assert _labels(found) == ["one F32", "one F32, no flash attention"]


@pytest.mark.parametrize(("factor", "first"), [(0.95, "one F32"), (0.5, "one F32, no flash attention")])
def test_unusual_settings_are_taken_for_what_is_sure_to_be_better(choose: Any, factor: float, first: str) -> None:
    one = Varied("one", token_s=0.01)
    one.factor = factor
    assert _labels(choose([one]))[0] == first


def test_decode_on_every_free_core_is_worth_comparing() -> None:
    one, all_free = FakeEngine().variants(None, Settings("m", "gguf", 512, threads=1, prefill_threads=2))  # type: ignore[arg-type]
    assert (one.threads, all_free.threads) == (1, 2)
    assert list(FakeEngine().variants(None, all_free)) == [all_free]  # type: ignore[arg-type]


def test_the_ledger_changes_the_pick(choose: Any, machine: Machine) -> None:
    """What was predicted fastest and measured slow is not picked again."""
    engines = [Stub("hopeful", token_s=0.01), Stub("honest", token_s=0.02)]
    assert choose(engines).best.plan.engine.name == "hopeful"
    seen = {"engine": "hopeful", "machine": machine.fingerprint(), "calibrated_by_ledger": 0, "quantity": "decode",
            "predicted": 90.0, "measured": 9.0}  # fmt: skip
    found = choose(engines, pairs=[seen] * 3)
    assert found.best.plan.engine.name == "honest"
    assert not found.best.plan.calibrated  # what is stored before a run is the plan as it was


def test_the_ledger_changes_the_settings(choose: Any, machine: Machine) -> None:
    """Of two variants of one engine and format, each is moved by its own measurements."""
    engines = [Varied("one", token_s=0.01)]
    assert _labels(choose(engines)) == ["one F32", "one F32, no flash attention"]
    pairs = [
        _seen(one.plan, machine, factor) for one, factor in zip(choose(engines).candidates, (0.2, 1.0), strict=True)
    ]
    assert _labels(choose(engines, pairs=pairs * 3)) == ["one F32, no flash attention", "one F32"]


def test_a_disturbed_measurement_changes_no_pick(choose: Any, machine: Machine) -> None:
    engines = [Stub("fast", token_s=0.01), Stub("slow", token_s=0.02)]
    seen = _seen(choose(engines).best.plan, machine, 0.1)
    assert choose(engines, pairs=[seen]).best.plan.engine.name == "slow"
    assert choose(engines, pairs=[{**seen, "others_busy_cores": 1.5}]).best.plan.engine.name == "fast"


def test_the_ledger_changes_the_pick_for_memory(choose: Any, machine: Machine) -> None:
    engines = [Stub("modest", token_s=0.01, memory_bytes=20 * MIB), Stub("large", token_s=0.01, memory_bytes=30 * MIB)]
    found = choose(engines, "memory")
    assert _labels(found) == ["modest F32", "large F32"]
    seen = _seen(found.best.plan, machine, 2.0, "memory_peak")
    assert _labels(choose(engines, "memory", pairs=[seen] * 3)) == ["large F32", "modest F32"]


def _seen(plan: Plan, machine: Machine, factor: float, quantity: str = "decode") -> dict[str, Any]:
    """What the ledger says of a plan that ran here: `factor` times what was predicted."""
    value = plan.predictions[quantity].known()
    data = plan.to_dict()
    return {**data["settings"], **data, "machine": machine.fingerprint(), "quantity": quantity, "predicted": value,
            "measured": value * factor, "others_busy_cores": 0.0}  # fmt: skip


def test_what_is_not_here_or_does_not_fit_is_refused_with_a_way_out(choose: Any) -> None:
    huge = Stub("huge", token_s=0.01, memory_bytes=99 * GIB)
    found = choose([Stub("away", token_s=0.01, ok=False), huge, Stub("here", token_s=0.1)])
    assert _labels(found) == ["here F32"]
    assert {one.engine: one.reason[:15] for one in found.refused} == {
        "away": "It is not here.", "huge": "little needs ab",
    }  # fmt: skip
    assert all(one.fix for one in found.refused)
    with pytest.raises(UnsupportedModel, match="Nothing here can start this model: It is not here"):
        _ = choose([Stub("away", token_s=0.01, ok=False)]).best


def test_only_the_engines_asked_for(choose: Any) -> None:
    found = choose([Stub("one", token_s=0.1), Stub("other", token_s=0.01)], engines=["one"])
    assert _labels(found) == ["one F32"]


def test_a_use_of_ones_own_and_one_that_nobody_knows(choose: Any) -> None:
    mine = Use("mine", "latency", Workload(10, 2))
    assert choose([Stub("one", token_s=0.1)], mine).best.score.known() == pytest.approx(0.005 + 0.1005)
    with pytest.raises(UsageError, match=r"no use called 'tea'.*chat, long-prompt, batch, memory"):
        choose([], "tea")


def test_a_file_is_not_rounded_once_more_unless_asked_for(embedded_model: Model, machine: Machine) -> None:
    """Its bits do not count: ONNX-int4 has as many as the Q4_1 it is made of, and keeps none of its answers."""
    engines = ["transformers", "onnx-runtime"]
    found = pick(embedded_model, machine=machine, engines=engines)
    assert _formats(found) == {"FP32", "BF16"}
    refused = {one.format: one for one in found.refused}
    assert {"ONNX-int4", "NF4-DQ", "LLM.int8"} <= set(refused)
    assert {one.reason for one in found.refused} == {"This would round the file once more, and losses add up."}
    assert "--lossy" in refused["ONNX-int4"].fix
    assert {"ONNX-int4", "NF4-DQ"} <= _formats(pick(embedded_model, machine=machine, engines=engines, lossy=True))


def test_whole_weights_are_rounded_only_where_asked_for(embedded_model: Model, machine: Machine) -> None:
    """A file of 32 bits is taken in 16: what that changes is what engines differ by among themselves."""
    found = pick(replace(embedded_model, quantization="F32"), machine=machine, engines=["transformers"])
    assert {"FP32", "BF16"} <= _formats(found) and "LLM.int8" not in _formats(found)
    (refused,) = (one for one in found.refused if one.format == "LLM.int8")
    assert refused.reason == "This would round the file's weights."


def test_a_file_as_it_is_comes_before_the_same_bits_rounded_anew(embedded_model: Model, machine: Machine) -> None:
    """Also in the list of everything, where the faster one of equal formats comes first."""
    found = choices(embedded_model, machine=machine, least_tok_per_s=0)
    order = [(one.engine.name, one.model.quantization) for one in found.plans]
    assert order.index(("llama.cpp", "Q4_1")) < order.index(("onnx-runtime", "ONNX-int4"))


def test_json_has_the_reason_and_every_candidate(choose: Any) -> None:
    data = choose([Stub("one", token_s=0.1)]).to_dict()
    assert data["use"]["name"] == "chat" and data["reason"]
    assert [one["label"] for one in data["candidates"]] == ["one F32"]
    assert data["candidates"][0]["plan"]["engine"] == "one"
    assert data["command"].startswith("workbench deploy ")
    assert data["command"].endswith("little.gguf --engine one --context 2048 --concurrency 1")


def test_the_command_of_the_first_plans_the_same(choose: Any) -> None:
    """Threads of one number alone can be asked for; where they differ they are those chosen without asking."""
    found = choose([Varied("one", token_s=0.01)], "batch")
    first = found.candidates[0].plan
    other = replace(first.settings, flash_attention=False, cache_type="q8_0", threads=2, prefill_threads=2)
    moved = replace(found.candidates[0], plan=replace(first, settings=other))
    words = replace(found, candidates=(moved,), model="my model.gguf").command
    assert words.startswith("deploy 'my model.gguf' --engine one --threads 2 --context 2048 ")
    assert words.endswith(" --concurrency 8 --cache-type q8_0 --no-flash-attention")
    assert "--threads" not in replace(found, model="m").command
    assert replace(found, candidates=()).command == ""


def test_what_lies_closer_than_anybody_knows_is_said_to(choose: Any) -> None:
    near = choose([Stub("one", token_s=0.1), Stub("other", token_s=0.101)])
    assert near.reason.endswith(": too close to call.")
    far = choose([Stub("one", token_s=0.1), Stub("other", token_s=0.2)])
    assert "too close" not in far.reason


def test_a_context_that_cannot_be_is_refused_once(choose: Any) -> None:
    with pytest.raises(UsageError, match="A context of -3 tokens is too small"):
        choose([Stub("one", token_s=0.1)], context=-3)
