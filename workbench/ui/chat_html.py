"""What a conversation and its numbers look like, as HTML. What a model says is text of a stranger: all of it is
escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from workbench.measurement import Answer, Compared
from workbench.report import same_text
from workbench.ui import pieces
from workbench.ui.conversation import WORDS, Reply, Turn
from workbench.ui.engine_choice import Choice
from workbench.units import format_value

NOTHING: Final = "–"
QUANTITIES: Final = {"decode": "writes", "ttft": "first token", "memory_peak": "memory"}


def turn(said: Turn, *, growing: bool = False) -> str:
    """One question and its answers, side by side where several engines were asked."""
    parts = said.departures() if len(said.replies) > 1 else {}
    replies = "".join(_reply(name, one, parts.get(name), growing) for name, one in said.replies.items())
    return (
        f'<section class="wb-turn"><div class="wb-asked">{pieces.text(said.question)}</div>'
        f'<div class="wb-replies">{replies}</div>{_reasons(said)}</section>'
    )


def _reasons(said: Turn) -> str:
    """Why answers are not the same, for each that is not as the first is."""
    pairs = said.reasons().items()
    return "".join(pieces.note(f"Why {one} and {other} differ: {' '.join(why)}") for (one, other), why in pairs)


def _reply(name: str, reply: Reply, departure: int | None, growing: bool) -> str:
    busy = growing and reply.ending == "growing"
    how = WORDS[reply.ending]
    mark = f' <span class="wb-ending">{pieces.text(how)}</span>' if how else ""
    body = f'<div class="wb-answer" aria-busy="{str(busy).lower()}">{_text(reply.answer.pieces, departure)}</div>'
    return (
        f'<article class="wb-reply"><h3>{pieces.text(name)}{mark}</h3>'
        f"{body if reply.answer.pieces or busy else ''}{_speed(reply.answer)}{pieces.note(reply.note)}</article>"
    )


def _text(said: Sequence[str], departure: int | None) -> str:
    """The answer, with the first piece marked that another engine does not have."""
    if departure is None:
        return pieces.text("".join(said))
    before, here, after = "".join(said[:departure]), said[departure], "".join(said[departure + 1 :])
    return f'{pieces.text(before)}<mark title="Here the answers part.">{pieces.text(here)}</mark>{pieces.text(after)}'


def _speed(answer: Answer) -> str:
    """Tokens where the server counted them; until then the pieces that came, which are not always single tokens."""
    if not answer.pieces:
        return ""
    counted = answer.tokens is not None
    facts = [(str(answer.tokens if counted else len(answer.pieces)), "tokens" if counted else "pieces")]
    if rate := answer.tok_per_s if counted else answer.pieces_per_s:
        facts.append((f"{rate:.1f}" if rate < 100 else f"{rate:.0f}", "tokens/s" if counted else "pieces/s"))
    if answer.ttft_s is not None:
        facts.append((format_value(answer.ttft_s, "s"), "to the first token"))
    return _facts(facts)


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    spans = "".join(f"<span><strong>{pieces.text(value)}</strong> {pieces.text(what)}</span>" for value, what in facts)
    return f'<div class="wb-answer-numbers">{spans}</div>'


def hint(state: Any) -> str:
    """How full the context is, a way to keep the conversation, and why answers do not come at once."""
    if not state.turns:
        return ""
    several = len(state.running) > 1
    sentences = [_room(state)]
    if several and state.state == "answering":
        sentences.append("Engines answer in turn: at once they would slow each other down.")
    link = "" if state.busy else f" {_download(state.transcript())}"
    return f'<p class="wb-note">{pieces.text(" ".join(filter(None, sentences)))}{link}</p>'


def _room(state: Any) -> str:
    counted = [
        one.answer for one in state.turns[-1].replies.values() if one.answer.tokens and one.answer.prompt_tokens
    ]  # fmt: skip
    if not counted:
        return ""
    used = max((one.prompt_tokens or 0) + (one.tokens or 0) for one in counted)
    return f"{used:,} of {state.context:,} tokens of context are used."


def _download(transcript: str) -> str:
    return f'<a download="conversation.md" href="data:text/markdown;charset=utf-8,{quote(transcript)}">Download it</a>'


def addresses(running: Mapping[str, Any]) -> str:
    """Where the deployments answer, for other programs."""
    if not running:
        return ""
    each = ", ".join(f"{name} at {one.endpoint.base_url}" for name, one in running.items())
    return pieces.note(f"They speak the OpenAI API, so your programs can use them too: {each}")


def refused(choices: Sequence[Choice]) -> str:
    """The engines that cannot run here, with the reason and what would change that."""
    rows = [
        (one.title, one.available.reason, one.available.fix)
        for one in choices if one.available is not None and not one.available.ok
    ]  # fmt: skip
    if not rows:
        return ""
    table = pieces.sentences(("", "Why", "What would change that"), rows, "They are predicted all the same")
    summary = f"{len(rows)} of {len(choices)} engines cannot run here"
    return f'<details class="wb-more"><summary>{pieces.text(summary)}</summary>{table}</details>'


def numbers(found: Sequence[Compared]) -> str:
    """Predicted and measured, engine by engine, with the share of what memory bandwidth allows."""
    head = ("", "Predicted", "Measured", "What memory allows")
    rows = [row for one in found for row in _rows(one)]
    bases = [f"{one.label}, bound: {_basis(one.bound)}" for one in found]
    bases += [f"{one.label}, {name}: {_basis(one.predicted[name])}" for one in found for name in ("decode", "ttft")]
    return pieces.table(
        head, rows, "One request alone. Memory: the predicted peak, and what was held after the answer"
    ) + pieces.more("Where these numbers come from", bases)


def same_text_table() -> str:
    """The record of which engines write the same text."""
    return pieces.table(("", "Same text", "The others part"), same_text.rows(), str(same_text.record()))


def _rows(one: Compared) -> list[tuple[str, ...]]:
    predicted, measured, bound = one.predicted, one.measured, one.bound.value
    allowed = "unknown" if bound is None else one.beside_bound or format_value(bound, "tok/s")
    return [
        (
            f"{one.label}: {title}", pieces.estimate(predicted[name]),
            format_value(measured[name], predicted[name].unit) if name in measured else NOTHING,
            allowed if name == "decode" else NOTHING,
        )
        for name, title in QUANTITIES.items()
    ]  # fmt: skip


def _basis(found: Any) -> str:
    if found.value is None:
        return f"unknown ({found.reason})"
    inputs = ", ".join(f"{name} {value}" for name, value in found.basis.inputs.items())
    return f"{found} = {found.basis.method}; {inputs}. {found.basis.source}"
