"""A conversation with one or several engines: who said what, how each answer ended, and what is sent next.

Every engine goes on with its own answers. What another one said stands in only where an engine has none of its own,
so that a conversation can go on when the engine is changed. No widget is known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from workbench.errors import WorkbenchError
from workbench.measurement import Answer, Terms, departures, reasons

Ending = Literal["waiting", "growing", "complete", "cut", "full", "stopped", "failed", "skipped"]
#: How an answer ended, in the words of a page; nothing where it ended as it should.
WORDS: Final[Mapping[Ending, str]] = {
    "waiting": "waits for its turn", "growing": "", "complete": "", "cut": "cut", "full": "context full",
    "stopped": "stopped", "failed": "failed", "skipped": "not asked",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """What one engine said in a turn. note: why it ended so, where that needs a sentence; memory_bytes: what its
    processes held then."""

    answer: Answer = field(default_factory=Answer)
    ending: Ending = "waiting"
    note: str = ""
    memory_bytes: int | None = None
    error: WorkbenchError | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and the replies by the name of their engine, in the order in which they are asked.

    terms: on what terms each engine answered, then and not as the fields of the page are by now.
    """

    question: str
    replies: Mapping[str, Reply]
    terms: Mapping[str, Terms] = field(default_factory=dict)

    @property
    def said(self) -> bool:
        """Whether any engine said a word."""
        return any(reply.answer.text for reply in self.replies.values())

    @property
    def error(self) -> WorkbenchError | None:
        """The first error of any engine."""
        return next((reply.error for reply in self.replies.values() if reply.error), None)

    def with_reply(self, name: str, reply: Reply) -> Turn:
        """The turn with another reply of this engine."""
        return replace(self, replies={**self.replies, name: reply})

    def without_the_rest(self) -> Turn:
        """The turn, over before every engine was asked."""
        skipped = {name: Reply(ending="skipped") for name, one in self.replies.items() if one.ending == "waiting"}
        return replace(self, replies={**self.replies, **skipped})

    def text_for(self, name: str) -> str:
        """What this engine said, or else what another one did."""
        own = self.replies.get(name)
        texts = [own.answer.text] if own else []
        texts += [reply.answer.text for reply in self.replies.values()]
        return next(filter(None, texts), "")

    def departures(self) -> Mapping[str, int | None]:
        """For each engine that said something, the first piece that is not as the first of them has it."""
        spoken = {name: reply.answer.pieces for name, reply in self.replies.items() if reply.answer.pieces}
        return dict(zip(spoken, departures(list(spoken.values())), strict=True))

    def reasons(self) -> Mapping[tuple[str, str], list[str]]:
        """For the first engine that said something and each whose words are others, why that is so."""
        spoken = [name for name, reply in self.replies.items() if reply.answer.pieces and name in self.terms]
        return {
            (spoken[0], other): reasons(self.terms[spoken[0]], self.terms[other], self._read(spoken[0], other))
            for other in spoken[1:] if self._part(spoken[0], other)
        }  # fmt: skip

    def _read(self, one: str, other: str) -> tuple[int | None, int | None]:
        return self.replies[one].answer.prompt_tokens, self.replies[other].answer.prompt_tokens

    def _part(self, one: str, other: str) -> bool:
        """Whether two answers differ, and not only because one was ended, or still grows."""
        shorter, longer = sorted((self.replies[one], self.replies[other]), key=lambda reply: len(reply.answer.text))
        if not longer.answer.text.startswith(shorter.answer.text):
            return True
        return shorter.ending == "complete" and shorter.answer.text != longer.answer.text


def ended(answer: Answer, *, stopped: bool, context: int, most_tokens: int) -> tuple[Ending, str]:
    """How an answer ended, and a sentence where somebody may wonder. context, most_tokens: what it had room for."""
    if stopped and answer.finish_reason is None:
        return "stopped", "You stopped it here; the next question goes on from it."
    if answer.finish_reason != "length":
        return "complete", ""
    prompt, tokens = answer.prompt_tokens, answer.tokens
    if prompt is not None and tokens is not None and prompt + tokens >= context:
        return "full", (
            f"The context of {context:,} tokens is full: {prompt:,} of the conversation and {tokens:,} of this answer. "
            "Nothing is lost, but there is no room for another turn: start a new chat, or deploy with a larger context."
        )
    return "cut", f"Cut after {most_tokens:,} tokens, the most that were asked for."


def messages(turns: Sequence[Turn], name: str, question: str, system: str = "") -> list[dict[str, str]]:
    """What is sent to one engine: the system prompt, the turns that were answered, and the question."""
    said: list[dict[str, str]] = [{"role": "system", "content": system}] if system.strip() else []
    for turn in turns:
        if text := turn.text_for(name):
            said += [{"role": "user", "content": turn.question}, {"role": "assistant", "content": text}]
    return [*said, {"role": "user", "content": question}]


def histories(turns: Sequence[Turn], names: Sequence[str]) -> dict[str, int]:
    """A number for each engine; those with the same number are sent the same earlier answers."""
    sent = [messages(turns, name, "") for name in names]
    return {name: sent.index(one) for name, one in zip(names, sent, strict=True)}


def transcript(turns: Sequence[Turn], title: str, system: str = "") -> str:
    """The conversation as Markdown."""
    lines = [f"# {title}", ""] + ([f"System: {system}", ""] if system.strip() else [])
    for turn in turns:
        lines += ["## You", "", turn.question, ""]
        for name, reply in turn.replies.items():
            how = WORDS[reply.ending]
            lines += [f"## {name}{f' ({how})' if how else ''}", "", reply.answer.text, ""]
    return "\n".join(lines)
