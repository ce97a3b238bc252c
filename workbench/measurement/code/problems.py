"""The programming problems, and what their tests say. The problems are this project's own.

A test is one line: `call == literal`, or `call raises NameOfException`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from workbench import catalog
from workbench.errors import UsageError

FILE = "code_problems.yaml"
DIFFICULTIES = ("easy", "medium", "hard")
_RAISES = " raises "


@dataclass(frozen=True, slots=True)
class Check:
    """One test: what is called, and the value it gives or the exception it raises."""

    call: str
    gives: Any = None
    raises: str = ""

    @property
    def text(self) -> str:
        """The test as a line."""
        return f"{self.call} raises {self.raises}" if self.raises else f"{self.call} == {self.gives!r}"

    @classmethod
    def parse(cls, line: str) -> Check:
        """Read a line; raises ValueError for one that says something else."""
        call, raises, name = line.strip().rpartition(_RAISES)
        try:
            match ast.parse(call or line.strip(), mode="eval").body:
                case ast.expr() if raises:
                    return cls(call, raises=name)
                case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
                    return cls(ast.unparse(left), ast.literal_eval(right))
        except (SyntaxError, ValueError):
            pass
        raise ValueError(f"{line!r} is neither 'call == literal' nor 'call raises Name'")


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem: the beginning of a function as a prompt, and tests of it, one a line.

    solution passes them all and wrong fails one; both are whole programs, there to prove that the tests can tell.
    """

    name: str
    prompt: str
    entry_point: str
    tests: str
    solution: str
    wrong: str
    difficulty: str
    tags: tuple[str, ...]
    source: str
    checked: date

    def __post_init__(self) -> None:
        if f"def {self.entry_point}(" not in self.prompt:
            raise ValueError(f"the prompt does not begin the function {self.entry_point!r}")
        if self.difficulty not in DIFFICULTIES:
            raise ValueError(f"difficulty is {self.difficulty!r}, expected one of {', '.join(DIFFICULTIES)}")
        if not self.checks:
            raise ValueError("there is no test")

    @property
    def checks(self) -> tuple[Check, ...]:
        """The tests."""
        return tuple(Check.parse(line) for line in self.tests.splitlines() if line.strip())


@cache
def problems() -> tuple[Problem, ...]:
    """All problems, in the order of the file, which mixes easy and hard: the first few are a fair sample."""
    return tuple(catalog.load(FILE, Problem).values())


def first(count: int | None) -> tuple[Problem, ...]:
    """The first `count` problems, all when None; raises UsageError when there are not so many."""
    known = problems()
    if count is not None and not 1 <= count <= len(known):
        raise UsageError(f"{count} problems were asked for.", fix=f"There are 1 to {len(known)}.")
    return known[:count]
