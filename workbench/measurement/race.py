"""The race: every candidate of a use measured here, and how much worse than the best the one picked beforehand was.

The pick is made before anything runs, from predictions and from the ledger as it was; each candidate then runs in a
deployment of its own, one after the other, and its measurements go into the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from workbench import models
from workbench.deployment import deploy
from workbench.errors import WorkbenchError
from workbench.evidence import Measured
from workbench.evidence.ledger import Ledger
from workbench.machine import BUSY_CORES
from workbench.measurement.compared import memory_name
from workbench.measurement.text import OTHERS, Measurement, Progress, check_repeats, measure
from workbench.planning import Pick, Plan, Use, pick
from workbench.planning.picking import Candidate, use
from workbench.planning.plans import predict
from workbench.units import now

LIKELIEST: Final = 4  # of the order that was predicted run in any case


@dataclass(frozen=True, slots=True)
class Lap:
    """One candidate in one use: what was predicted of its number, and what was measured; None where it failed.

    others: cores' worth of CPU that other processes used meanwhile.
    """

    label: str
    predicted: float | None
    measured: float | None
    failure: str = ""
    others: float = 0.0

    @property
    def disturbed(self) -> bool:
        """Whether others used so much of the machine that the number says little of the candidate."""
        return self.others > BUSY_CORES


@dataclass(frozen=True, slots=True)
class Skipped:
    """A candidate that did not run, what was predicted of its number, and why that seemed enough."""

    label: str
    predicted: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Regret:
    """How much worse than the best the picked one was, as a fraction of the best; None where it failed.

    unsure: what could have changed it, had it been measured (better).
    """

    value: float | None
    unsure: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = "unknown: the pick could not be measured" if self.value is None else f"{self.value:.1%} of the best"
        return "; unsure, as ".join([known, *([" and ".join(self.unsure)] if self.unsure else [])])


@dataclass(frozen=True, slots=True)
class Race:
    """Laps of one use, in the order of the pick: the first is the one picked. skipped: those who did not run."""

    use: Use
    laps: tuple[Lap, ...]
    reason: str
    created: str
    skipped: tuple[Skipped, ...] = ()

    @property
    def best(self) -> Lap | None:
        """The lap with the least measured number."""
        return min((lap for lap in self.laps if lap.measured is not None), key=_number, default=None)

    @property
    def regret(self) -> Regret:
        """What the pick cost, as far as this race can tell."""
        best, picked = self.best, self.laps[0].measured
        value = None if best is None or picked is None else picked / _number(best) - 1
        unsure = [f"{lap.label} was disturbed in every try" for lap in self.laps if lap.disturbed]
        unsure += [f"{lap.label} could not be measured" for lap in self.laps[1:] if lap.measured is None]
        return Regret(value, (*unsure, *([f"{len(self.skipped)} did not run"] if self.skipped else [])))

    def to_dict(self) -> dict[str, Any]:
        """Stable keys for --json and records."""
        return {
            "use": self.use.name, "goal": self.use.goal, "concurrency": self.use.concurrency, "reason": self.reason,
            "created": self.created, "regret": self.regret.value, "unsure": list(self.regret.unsure),
            "best": self.best.label if self.best else None,
            "laps": [
                {"label": lap.label, "predicted": lap.predicted, "measured": lap.measured, "failure": lap.failure,
                 "others_busy_cores": lap.others}
                for lap in self.laps
            ],
            "skipped": [asdict(one) for one in self.skipped],
        }  # fmt: skip


def _number(lap: Lap) -> float:
    assert lap.measured is not None  # noqa: S101 - only called for laps that have one
    return lap.measured


def race(
    model: str | models.Model,
    uses: Iterable[str] = ("chat", "long-prompt", "batch"),
    *,
    engines: Iterable[str] = (),
    repeats: int = 3,
    lossy: bool = False,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> list[Race]:
    """Measure the candidates of each use, one after the other: the four likeliest, and one of each engine and format.

    engines: only these; lossy: see `planning.pick`.

    A candidate that cannot be started or measured is a lap with its failure. Raises what `planning.pick` raises.
    """
    check_repeats(repeats)
    ledger, report = ledger or Ledger(), progress or (lambda fraction, text: None)
    found = models.get_text(model) if isinstance(model, str) else model
    before = ledger.pairs()
    picks = [pick(found, use(name), pairs=before, lossy=lossy, engines=engines) for name in uses]
    starters = [_starters(one) for one in picks]
    total, done, races = sum(map(len, starters)), 0, []
    for one, running in zip(picks, starters, strict=True):
        laps = []
        for candidate in running:
            report(done / total, f"{one.use.name}: {candidate.label}")
            laps.append(_undisturbed(one, candidate, repeats, ledger, report))
            done += 1
        skipped = tuple(_skipped(other, one) for other in one.candidates if other not in running)
        races.append(Race(one.use, tuple(laps), one.reason, now(), skipped))
    return races


def _starters(found: Pick) -> list[Candidate]:
    """The likeliest candidates, and of every engine and format the likeliest: who is sure to lose need not run."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for place, candidate in enumerate(found.candidates):
        hopeless = _loses(candidate, found.candidates[0])
        if place < LIKELIEST or not (candidate.kind in seen or hopeless):
            kept.append(candidate)
        seen.add(candidate.kind)
    return kept


def _skipped(one: Candidate, found: Pick) -> Skipped:
    hopeless = _loses(one, found.candidates[0])
    why = "at its best thought worse than the pick at its worst" if hopeless else "other settings of it seemed better"
    return Skipped(one.label, one.score.value, why)


def _loses(one: Candidate, first: Candidate) -> bool:
    """Whether the best that is thought possible of one is worse than the worst of the first."""
    return one.score.low is not None and first.score.high is not None and one.score.low > first.score.high


def _undisturbed(found: Pick, candidate: Candidate, repeats: int, ledger: Ledger, report: Progress) -> Lap:
    """A lap; one that other processes disturbed is run once more. The calm one counts, or else the better one."""
    lap = _lap(found, candidate, repeats, ledger, report)
    if not lap.disturbed:
        return lap
    report(None, f"{found.use.name}, {candidate.label}: others used {lap.others:.1f} cores; once more")
    again = _lap(found, candidate, repeats, ledger, report)
    return min((lap, again), key=lambda one: (one.measured is None, one.disturbed, one.measured or math.inf))


def _lap(found: Pick, candidate: Candidate, repeats: int, ledger: Ledger, report: Progress) -> Lap:
    def told(_: float | None, text: str) -> None:
        report(None, f"{found.use.name}, {candidate.label}: {text}")

    try:
        with deploy(_again(candidate.plan), share=False, progress=told) as running:
            peak = found.use.goal == "memory"
            result = measure(running, repeats=repeats, peak_memory=peak, ledger=ledger, progress=told)
    except WorkbenchError as error:
        return Lap(candidate.label, candidate.score.value, None, str(error))
    score = _SCORES[found.use.goal](result)
    return Lap(candidate.label, candidate.score.value, score, others=result.environment.get(OTHERS, 0.0))


def _again(plan: Plan) -> Plan:
    """The same plan with an identity of its own, for a run now."""
    return predict(
        plan.model, plan.engine, plan.settings, plan.machine, plan.workload, version=plan.engine_version,
        reasons=plan.reasons, refused=plan.refused,
    )  # fmt: skip


def _answer_s(result: Measurement) -> float:
    values: Mapping[str, Measured] = result.values
    return values["ttft"].value + (result.workload.answer_tokens - 1) / values["decode"].value


_SCORES: Final[Mapping[str, Callable[[Measurement], float]]] = {
    "latency": _answer_s,
    "throughput": lambda result: result.values["batch"].value if "batch" in result.values else _answer_s(result),
    "memory": lambda result: result.values[memory_name(result.predictions)].value,
}
