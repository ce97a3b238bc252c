"""Which engine, format and settings to take for a use: an answer soon, many answers together, or little memory.

Everything that can be started here is predicted, corrected by what this machine has measured (the ledger), and put in
order by the one number that the use is about. A format that rounds what the file holds is refused unless asked for.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from workbench import models
from workbench.engines import CHAT, Engine, Workload
from workbench.errors import UnsupportedModel, UsageError, WorkbenchError
from workbench.evidence import Estimate
from workbench.machine import Machine, calibrate, probe
from workbench.models import Model
from workbench.planning import threads
from workbench.planning.correction import calibrated, peak
from workbench.planning.language import check_context
from workbench.planning.planner import plan as plan_one
from workbench.planning.plans import Plan, Refusal, predict
from workbench.planning.ranking import combinations, is_rounded, is_rounded_again
from workbench.planning.shapes import model_format


@dataclass(frozen=True, slots=True)
class Use:
    """What a deployment is for. goal: latency (seconds of one answer), throughput (seconds until all of `concurrency`
    answers are there), or memory (bytes at the peak): the less the better."""

    name: str
    goal: str
    workload: Workload
    concurrency: int = 1


USES: Final[Mapping[str, Use]] = {
    "chat": Use("chat", "latency", CHAT),
    "long-prompt": Use("long-prompt", "latency", Workload(prompt_tokens=1536, answer_tokens=32)),
    "batch": Use("batch", "throughput", CHAT, concurrency=8),
    "memory": Use("memory", "memory", CHAT),
}


def use(name: str) -> Use:
    """The use called `name`; raises UsageError."""
    if name not in USES:
        raise UsageError(f"There is no use called {name!r}.", fix=f"Known: {', '.join(USES)}.")
    return USES[name]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plan as it would be started, and its number: predicted, corrected by the ledger where that has any."""

    plan: Plan
    score: Estimate

    @property
    def label(self) -> str:
        """Engine, format and what sets it apart from its siblings."""
        threads = self.plan.settings.threads
        cards = [f"on {card.name}" for card in self.plan.settings.accelerators(self.plan.machine)]
        apart = [*cards, *self.unusual, *([f"{threads} threads"] if threads > 1 else [])]
        return ", ".join([f"{self.plan.engine.name} {model_format(self.plan.model)}", *apart])

    @property
    def unusual(self) -> list[str]:
        """Settings that cost memory, or bits of the cache, that the defaults do not."""
        settings = self.plan.settings
        plain = [] if settings.flash_attention else ["no flash attention"]
        return plain + ([] if settings.cache_type == "f16" else [f"{settings.cache_type} cache"])

    @property
    def kind(self) -> tuple[str, str]:
        """Engine and format: what candidates that differ only in settings share."""
        return self.plan.engine.name, model_format(self.plan.model)


@dataclass(frozen=True, slots=True)
class Pick:
    """Candidates for a use, best first; those whose number nobody knows come last. refused: and why; model: what to
    call it on the command line."""

    use: Use
    candidates: tuple[Candidate, ...]
    refused: tuple[Refusal, ...]
    model: str = ""

    @property
    def best(self) -> Candidate:
        """The first; raises UnsupportedModel when nothing can be started."""
        if self.candidates:
            return self.candidates[0]
        raise UnsupportedModel(
            "Nothing here can start this model: " + " ".join(dict.fromkeys(one.reason for one in self.refused[:3])),
            fix=self.refused[0].fix if self.refused else "",
        )

    @property
    def reason(self) -> str:
        """Why the first is first, in numbers."""
        best, rest = self.best, [one for one in self.candidates[1:] if one.score.value is not None]
        if best.score.value is None:
            return (
                f"{best.label}: nobody knows its {_WHAT[self.use.goal]} ({best.score.reason}), nor that of any other."
            )
        text = f"{best.label}: {_WHAT[self.use.goal]} {best.score}"
        if not rest:
            return f"{text}; nothing else can be compared."
        close = ": too close to call" if _overlap(best.score, rest[0].score) >= _TOO_CLOSE else ""
        return f"{text}; next {rest[0].label}, {rest[0].score}{close}."

    @property
    def command(self) -> str:
        """What starts the first from a terminal, after `workbench`; nothing where nothing can be started."""
        if not self.candidates:
            return ""
        plan = self.candidates[0].plan
        settings = plan.settings
        words = ["deploy", self.model, "--engine", plan.engine.name]
        words += [] if settings.format == "gguf" else ["--format", model_format(plan.model)]
        if settings.threads == settings.prefill_threads:  # where they differ it is what is chosen anyhow
            words += ["--threads", str(settings.threads)]
        words += ["--context", str(settings.context), "--concurrency", str(settings.concurrency)]
        if plan.machine.accelerators and not plan.engine.keeps_models:
            words += ["--devices", ",".join(map(str, settings.devices)) or "none"]
        words += [] if settings.cache_type == "f16" else ["--cache-type", settings.cache_type]
        return shlex.join(words + ([] if settings.flash_attention else ["--no-flash-attention"]))

    def to_dict(self) -> dict[str, Any]:
        """Stable keys for --json."""
        return {
            "use": asdict(self.use),
            "reason": self.reason,
            "command": f"workbench {self.command}" if self.command else "",
            "candidates": [
                {"label": one.label, "score": asdict(one.score), "plan": one.plan.to_dict()} for one in self.candidates
            ],
            "refused": [asdict(refusal) for refusal in self.refused],
        }


#: Share of two intervals that they have in common from which on nobody should say which is less.
_TOO_CLOSE: Final = 0.8
#: How much better than the defaults unusual settings must be predicted to be: runs of one variant differ by that much.
_WORTH: Final = 1.15
_WHAT: Final = {"latency": "one answer takes", "throughput": "all answers take", "memory": "memory at the peak is"}


def pick(
    model: str | Model,
    wanted: str | Use = "chat",
    *,
    machine: Machine | None = None,
    pairs: Iterable[Mapping[str, Any]] = (),
    context: int | None = None,
    lossy: bool = False,
    engines: Iterable[str] = (),
) -> Pick:
    """The candidates for a use on this machine, or on one that is described.

    pairs: what was predicted and measured here (`Ledger.pairs`); lossy: also formats that round the file's weights;
    engines: only these. Raises UsageError for an unknown use, and what `workbench.plan` raises for the model.
    """
    found = models.get_text(model) if isinstance(model, str) else model
    purpose = use(wanted) if isinstance(wanted, str) else wanted
    check_context(found, context)
    machine = machine or calibrate(probe())
    count = threads.choose_for(machine)  # looked at once: every candidate runs on the same machine
    known = tuple(pairs)
    candidates: list[Candidate] = []
    refused: list[Refusal] = []
    for engine, shaped in _ways(found, frozenset(engines)):
        name = "" if shaped is found else model_format(shaped)
        try:
            _check_loss(shaped, lossy)
            made = plan_one(
                found, machine=machine, engine=engine, format=name or None, context=context, threads=count,
                concurrency=purpose.concurrency, workload=purpose.workload,
            )  # fmt: skip
            candidates += [_candidate(one, purpose, known) for one in _fitting(made)]
        except WorkbenchError as error:
            refused.append(Refusal(engine.name, error.what, error.fix, name or model_format(found)))
    called = model if isinstance(model, str) else str(model.path or model.name)
    return Pick(purpose, tuple(sorted(candidates, key=partial(_order, purpose))), tuple(refused), called)


def _ways(model: Model, wanted: frozenset[str]) -> Iterator[tuple[Engine[Any], Model]]:
    """Each engine that can be started, with the model in each format that its file can have for it."""
    for engine, shaped in combinations(model, "auto", None):
        if engine.starts and isinstance(shaped, Model) and (not wanted or engine.name in wanted):
            yield engine, shaped


def _check_loss(shaped: Model, lossy: bool) -> None:
    if lossy or not is_rounded(shaped):
        return
    what = "round the file once more, and losses add up" if is_rounded_again(shaped) else "round the file's weights"
    raise UsageError(f"This would {what}.", fix="`--lossy` allows it; compare the answers first.")


def _fitting(plan: Plan) -> Iterator[Plan]:
    """The plan in each variant of its settings; raises DoesNotFit where that is too much for the machine."""
    for settings in plan.engine.variants(plan.model, plan.settings):
        one = plan
        if settings != plan.settings:
            one = predict(
                plan.model, plan.engine, settings, plan.machine, plan.workload, version=plan.engine_version,
                reasons=plan.reasons, refused=plan.refused,
            )  # fmt: skip
        one.check_fits()
        yield one


def _candidate(plan: Plan, purpose: Use, pairs: tuple[Mapping[str, Any], ...]) -> Candidate:
    if purpose.goal == "memory":
        return Candidate(plan, peak(plan, pairs))
    return Candidate(plan, _SCORES[purpose.goal](calibrated(plan, pairs)))


def _overlap(one: Estimate, other: Estimate) -> float:
    """What two intervals have in common, as a share of what they cover together."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return 0.0
    covered = max(one.high, other.high) - min(one.low, other.low)
    return (min(one.high, other.high) - max(one.low, other.low)) / covered if covered else 1.0


def _order(purpose: Use, one: Candidate) -> tuple[bool, float]:
    """By the number, where settings that are none of the defaults must be worth more than they are uncertain."""
    worth = _WORTH if one.unusual and purpose.goal != "memory" else 1.0
    return one.score.value is None, (one.score.value or 0.0) * worth


def answer_s(plan: Plan) -> Estimate:
    """Seconds of one answer of the plan's workload: to the first token, then token by token."""
    decode = plan.decode
    if decode.value is None or decode.low is None or decode.high is None:
        return Estimate.unknown("s", decode.reason)
    step = Estimate(1 / decode.value, 1 / decode.high, 1 / decode.low, "s", decode.basis)
    return plan.ttft.plus(step, plan.workload.answer_tokens - 1)


def _batch_s(plan: Plan) -> Estimate:
    return plan.speed["batch"] if "batch" in plan.speed else answer_s(plan)


_SCORES: Final[Mapping[str, Callable[[Plan], Estimate]]] = {"latency": answer_s, "throughput": _batch_s}
