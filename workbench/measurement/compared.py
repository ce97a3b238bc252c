"""One engine's answer beside what was predicted for it, and the same for several engines on one prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.deployment import deploy
from workbench.errors import WorkbenchError
from workbench.evidence import Estimate
from workbench.measurement.answers import Answer, ask
from workbench.planning import Plan, beside_bound, of_request

Progress = Callable[[float | None, str], None]


def label(plan: Plan) -> str:
    """A plan among others of the same model: 'llama.cpp Q4_1'."""
    return f"{plan.engine.title} {plan.model.quantization}"


def memory_name(predictions: Mapping[str, object]) -> str:
    """What the memory of a server's processes is called: where the model lies on a card, it is not the model's."""
    return "host_memory_peak" if "host_memory_peak" in predictions else "memory_peak"


@dataclass(frozen=True, slots=True)
class OfPlan:
    """Something that one engine made, beside its plan."""

    plan: Plan

    @property
    def label(self) -> str:
        """Engine and format."""
        return label(self.plan)

    @property
    def predicted(self) -> Mapping[str, Estimate]:
        """What was predicted before it ran."""
        return self.plan.predictions

    @property
    def memory_name(self) -> str:
        """The quantity that the memory of the server's processes is."""
        return memory_name(self.plan.predictions)


@dataclass(frozen=True, slots=True)
class Compared(OfPlan):
    """What one engine said, and the memory (bytes) that its processes held afterwards. Either may not be there yet;
    failure says why it never will."""

    answer: Answer | None = None
    memory_bytes: int | None = None
    failure: str = ""

    @property
    def predicted(self) -> Mapping[str, Estimate]:
        """decode (tok/s), ttft (s) and memory_peak (B): of this request, or of the plan's usual one before it ran."""
        answer, plan = self.answer, self.plan
        if answer is None or answer.prompt_tokens is None:
            return plan.predictions
        return {
            **plan.predictions, **of_request(plan, answer.prompt_tokens, answer.tokens or 1, answer.cached_tokens),
        }  # fmt: skip

    @property
    def bound(self) -> Estimate:
        """The tokens a second that memory bandwidth allows."""
        return self.plan.decode_bound

    @property
    def measured(self) -> Mapping[str, float]:
        """What was measured, under the same names; memory is what was held after the answer."""
        answer = self.answer or Answer()
        found = {"decode": answer.tok_per_s, "ttft": answer.ttft_s, self.memory_name: self.memory_bytes}
        return {name: float(value) for name, value in found.items() if value is not None}

    @property
    def share_of_bound(self) -> float | None:
        """The measured part of what memory bandwidth allows."""
        decode, bound = self.measured.get("decode"), self.bound.value
        return None if decode is None or bound is None else decode / bound

    @property
    def beside_bound(self) -> str:
        """The same in words; nothing where either is unknown."""
        return beside_bound(self.measured["decode"], self.bound) if "decode" in self.measured else ""

    def to_dict(self) -> dict[str, Any]:
        """Stable keys with units in their names, for a notebook's record."""
        return {
            "label": self.label, "text": self.answer.text if self.answer else "", "measured": dict(self.measured),
            "predicted": dict(self.predicted), "bound_tok_per_s": self.bound.value,
            "share_of_bound": self.share_of_bound, "failure": self.failure,
        }  # fmt: skip


def ask_each(
    plans: Sequence[Plan],
    prompt: str | Sequence[dict[str, str]],
    *,
    progress: Progress | None = None,
    **options: Any,
) -> list[Compared]:
    """Deploy each plan in turn, ask it the same, and let go of it; options: those of `Deployment.stream`.

    One after the other: two at once would slow each other down. One that fails says why; the others go on.
    """

    def asked(plan: Plan) -> Compared:
        try:
            with deploy(plan, progress=progress) as deployment:
                answer, memory = ask(deployment, prompt, **options), deployment.memory()
                return Compared(plan, answer, memory.bytes if memory else None)
        except WorkbenchError as error:
            return Compared(plan, failure=str(error))

    return [asked(plan) for plan in plans]


def departures(answers: Sequence[Sequence[str]]) -> list[int | None]:
    """For each answer, given by its pieces, the first one that is not as the first answer has it; None if all are.

    Of the first answer: where the earliest of the others leaves it. Answers are compared as texts, because engines cut
    them into pieces in their own ways.
    """
    if not answers:
        return []
    texts = ["".join(pieces) for pieces in answers]
    common = [_common(texts[0], text) for text in texts[1:]]
    lengths = [min(common, default=len(texts[0])), *common]
    return [_piece_at(pieces, length) for pieces, length in zip(answers, lengths, strict=True)]


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _piece_at(pieces: Sequence[str], position: int) -> int | None:
    """The piece that holds the character at this position; None behind the last one."""
    end = 0
    for number, piece in enumerate(pieces):
        end += len(piece)
        if position < end:
            return number
    return None
