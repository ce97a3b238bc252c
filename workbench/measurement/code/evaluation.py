"""How good a model's code is: it writes functions, they run in the sandbox, and their tests judge.

Nothing a model wrote runs unless the caller says so for that evaluation.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from workbench import folders
from workbench.deployment import Deployment
from workbench.errors import UsageError
from workbench.evidence import Measured
from workbench.evidence.ledger import Ledger
from workbench.machine import alone
from workbench.measurement.code import extraction, sandbox, scores
from workbench.measurement.code.problems import Problem, problems
from workbench.measurement.code.sandbox import Outcome
from workbench.measurement.text import environment_of
from workbench.units import now

if TYPE_CHECKING:
    from workbench.deployment.stream import Stream

Mode = Literal["chat", "complete"]
Progress = Callable[[float | None, str], None]
ANSWER_TOKENS = 512
REQUEST = "Complete this Python function. Answer with the whole function in one code block.\n\n```python\n{prompt}```"
#: Where a completion has left the function; engines cut there, and so does the extraction.
STOPS = ("\ndef ", "\nclass ", "\nif __name__", "\nprint(")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One answer to one problem, the program made of it, and how that ended.

    tokens: output tokens by the server's count, None where it does not say; seconds: to write the answer.
    """

    answer: str
    program: str
    outcome: Outcome
    tokens: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class ProblemResult:
    """The attempts at one problem."""

    problem: str
    difficulty: str
    attempts: tuple[Attempt, ...]

    @property
    def passed(self) -> int:
        """How many attempts passed every test."""
        return sum(attempt.outcome.passed for attempt in self.attempts)

    def pass_at(self, k: int) -> float:
        """The chance that one of `k` answers passes."""
        return scores.pass_at(k, len(self.attempts), self.passed)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of it, with every answer and every verdict.

    prediction: the plan that ran; number: the place of pass@1 in the ledger, which has no prediction for it.
    """

    prediction: str
    model: str
    engine: str
    format: str
    mode: Mode
    samples: int
    temperature: float
    results: tuple[ProblemResult, ...]
    protections: sandbox.Protections
    environment: Mapping[str, Any]
    created: str
    id: str
    number: int = 0

    def pass_at(self, k: int = 1) -> tuple[float, float, float]:
        """pass@k over the problems and its interval (Wilson, 9 times in 10): value, low, high."""
        return scores.mean_with_interval([result.pass_at(k) for result in self.results])

    @property
    def tokens(self) -> int | None:
        """Output tokens of all answers, None where the server did not count them."""
        counts = [attempt.tokens for attempt in self.attempts]
        return None if None in counts else sum(count or 0 for count in counts)

    @property
    def seconds(self) -> float:
        """Seconds in which the answers were written."""
        return sum(attempt.seconds for attempt in self.attempts)

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts at all problems."""
        return [attempt for result in self.results for attempt in result.attempts]

    @property
    def path(self) -> Path:
        """The file with everything."""
        return folders.data() / "evaluations" / f"{folders.file_name(self.model)}-{self.id}.json"

    def to_dict(self) -> dict[str, Any]:
        """Stable keys for --json and the file."""
        value, low, high = self.pass_at()
        return {
            **{name: getattr(self, name) for name in ("id", "prediction", "number", "model", "engine", "format")},
            **{name: getattr(self, name) for name in ("mode", "samples", "temperature", "created")},
            "pass_at_1": {"value": value, "low": low, "high": high, "level": scores.LEVEL, "interval": "Wilson"},
            "tokens": self.tokens,
            "seconds": self.seconds,
            "protections": asdict(self.protections),
            "problems": [asdict(result) for result in self.results],
            "environment": dict(self.environment),
        }


def evaluate(
    deployment: Deployment,
    chosen: Sequence[Problem] | None = None,
    *,
    samples: int = 1,
    temperature: float = 0.0,
    mode: Mode = "chat",
    run_generated_code: bool = False,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Let the model write each problem's function `samples` times, run what it wrote in the sandbox, and count.

    chosen: all problems by default; mode: ask in the chat template, or let the text of the function be completed.
    run_generated_code: must be True: this runs code that a model wrote, as well guarded as `sandbox.protections` says.
    progress hears of every piece of an answer and may raise to cancel. The result is kept in the ledger, and with every
    answer in a file. Raises UsageError, ServerDied, EngineUnavailable (no sandbox here), StartFailed.
    """
    asked = problems() if chosen is None else tuple(chosen)
    check(asked, samples=samples, temperature=temperature, mode=mode, run_generated_code=run_generated_code)
    report = progress or (lambda fraction, text: None)
    guards = sandbox.protections()  # before the model works: without a sandbox it would work for nothing
    writer = _Writer(deployment, mode, temperature)
    results: list[ProblemResult] = []
    with alone(partial(report, None)):
        for index, problem in enumerate(asked):
            so_far = f"{index + 1} of {len(asked)}, {sum(result.passed > 0 for result in results)} solved so far"

            def tell(doing: str, at: float = index / len(asked), name: str = problem.name, rest: str = so_far) -> None:
                report(at, f"{name}: {doing} ({rest})")

            attempts = tuple(writer.attempt(problem, sample, tell) for sample in range(samples))
            results.append(ProblemResult(problem.name, problem.difficulty, attempts))
    report(1.0, "evaluated")
    return _keep(writer, tuple(results), guards, ledger or Ledger())


def check(asked: Sequence[Problem], *, samples: int, temperature: float, mode: str, run_generated_code: bool) -> None:
    """Raise UsageError for what `evaluate` would refuse: for callers that have a model to start first."""
    if not run_generated_code:
        raise UsageError(
            "An evaluation runs code that the model writes, on this computer.",
            fix="Say so with run_generated_code=True (--run-generated-code); it runs in a sandbox.",
        )
    if not asked:
        raise UsageError("There is no problem to solve.", fix="Choose at least one.")
    if mode not in get_args(Mode):
        raise UsageError(f"There is no mode {mode!r}.", fix=f"Choose {' or '.join(get_args(Mode))}.")
    if samples < 1 or not 0 <= temperature <= 2:
        raise UsageError(
            f"{samples} answers at temperature {temperature:g} were asked for.",
            fix="Ask for at least 1, at a temperature from 0 to 2.",
        )
    if samples > 1 and temperature == 0:
        raise UsageError(f"At temperature 0 all {samples} answers are the same.", fix="Raise it, to 0.8 for instance.")


@dataclass(frozen=True, slots=True)
class _Writer:
    """Asks one deployment for programs and judges them."""

    deployment: Deployment
    mode: Mode
    temperature: float

    def attempt(self, problem: Problem, sample: int, report: Callable[[str], None]) -> Attempt:
        begin = time.perf_counter()
        answer, tokens = self._answer(problem, sample, lambda: report("the model writes"))
        seconds = time.perf_counter() - begin
        if self.mode == "chat":
            program = extraction.from_chat(answer, problem.prompt, problem.entry_point)
        else:
            program = extraction.from_completion(answer, problem.prompt)
        report("its tests run")
        return Attempt(answer, program, sandbox.run(program, problem.checks), tokens, seconds)

    def _answer(self, problem: Problem, sample: int, alive: Callable[[], None]) -> tuple[str, int | None]:
        """The answer and its output tokens by the server's count."""
        pieces = []
        with self._stream(problem, sample) as stream:
            for piece in stream:
                alive()
                pieces.append(piece)
        return "".join(pieces), stream.usage.completion_tokens if stream.usage else None

    def _stream(self, problem: Problem, sample: int) -> Stream:
        room = int(self.deployment.plan_dict["settings"]["context"]) // 2
        if room < 64:
            raise UsageError(f"A context of {2 * room} tokens leaves no room to write.", fix="Ask for 512 or more.")
        options: dict[str, Any] = {
            "max_tokens": min(ANSWER_TOKENS, room), "temperature": self.temperature, "seed": sample,
        }  # fmt: skip
        if self.mode == "complete":
            return self.deployment.completion(extraction.without_end(problem.prompt), stop=[*STOPS], **options)
        return self.deployment.stream(REQUEST.format(prompt=problem.prompt), **options)


def _keep(
    writer: _Writer, results: tuple[ProblemResult, ...], guards: sandbox.Protections, ledger: Ledger
) -> Evaluation:
    """The evaluation, once it is in the ledger and in its file."""
    plan, created, samples = writer.deployment.plan_dict, now(), len(results[0].attempts)
    environment = environment_of(plan)
    share = scores.mean_with_interval([result.pass_at(1) for result in results])[0]
    how = f"{len(results)} problems, {samples} answers each at temperature {writer.temperature:g}, mode {writer.mode}"
    ledger.predict(plan, writer.deployment.predictions)
    number = ledger.measure(plan["id"], created, environment, {"pass_at_1": Measured((share,), "ratio", how)})
    evaluation = Evaluation(
        plan["id"], plan["model"], plan["engine"], plan["settings"]["format"], writer.mode, samples,
        writer.temperature, results, guards, environment, created, uuid.uuid4().hex[:12], number,
    )  # fmt: skip
    evaluation.path.parent.mkdir(parents=True, exist_ok=True)
    evaluation.path.write_text(json.dumps(evaluation.to_dict(), indent=1), encoding="utf-8")
    return evaluation
