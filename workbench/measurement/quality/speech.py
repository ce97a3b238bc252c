"""Word errors: a transcript beside what was really said, after Whisper's own normalizer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from workbench.errors import MissingExtra, UsageError

Kind = Literal["same", "wrong", "missing", "added"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the alignment: what should be there ('' where one was added) and what is ('' where one is missing)."""

    kind: Kind
    wanted: str
    said: str


@dataclass(frozen=True, slots=True)
class WordErrors:
    """An alignment with the fewest errors."""

    words: tuple[Word, ...]

    @property
    def errors(self) -> int:
        """Words that are wrong, missing or added."""
        return sum(word.kind != "same" for word in self.words)

    @property
    def wanted(self) -> int:
        """Words that should be there."""
        return sum(word.kind != "added" for word in self.words)

    @property
    def rate(self) -> float:
        """The word error rate: errors ÷ words that should be there; above 1 where many were added."""
        return self.errors / self.wanted


def word_errors(wanted: str, said: str) -> WordErrors:
    """Align two texts word by word; raises UsageError where nothing should have been said."""
    reference, words = normalized(wanted).split(), normalized(said).split()
    if not reference:
        raise UsageError("There is no word to compare with.", fix="Give the text of what is really said.")
    return WordErrors(tuple(_aligned(reference, words)))


def normalized(text: str) -> str:
    """Lower case without punctuation, numbers as digits, one spelling: openai-whisper's normalizer for English."""
    return str(_normalizer()(text))


@cache
def _normalizer() -> Any:
    try:
        from whisper.normalizers import EnglishTextNormalizer
    except ImportError:
        raise MissingExtra("openai-whisper", "engines", "Counting word errors") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its table of spellings open
        return EnglishTextNormalizer()


def _aligned(wanted: Sequence[str], said: Sequence[str]) -> list[Word]:
    """Backwards along the cheapest way through the table of edit distances."""
    costs = _distances(wanted, said)
    row, column, found = len(wanted), len(said), []
    while row or column:
        differs = bool(row and column) and wanted[row - 1] != said[column - 1]
        if row and column and costs[row][column] == costs[row - 1][column - 1] + differs:
            row, column = row - 1, column - 1
            found.append(Word("wrong" if differs else "same", wanted[row], said[column]))
        elif row and costs[row][column] == costs[row - 1][column] + 1:
            row -= 1
            found.append(Word("missing", wanted[row], ""))
        else:
            column -= 1
            found.append(Word("added", "", said[column]))
    return found[::-1]


def _distances(wanted: Sequence[str], said: Sequence[str]) -> list[list[int]]:
    """Fewest errors between the first words of both, for all numbers of them."""
    rows = [list(range(len(said) + 1))]
    for number, word in enumerate(wanted, 1):
        before, row = rows[-1], [number]
        for place, other in enumerate(said, 1):
            row.append(min(before[place - 1] + (word != other), before[place] + 1, row[-1] + 1))
        rows.append(row)
    return rows
