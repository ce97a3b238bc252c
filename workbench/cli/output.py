"""What commands write: results to standard output, progress to standard error."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any


def print_json(options: argparse.Namespace, value: Any) -> None:
    """Print `value` if --json was said."""
    if options.json:
        print(json.dumps(value, indent=1))


def print_table(head: Sequence[tuple[str, ...]], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows below their head, aligned."""
    from workbench.report import text

    print(text.columns([*head, *rows]))
    if not rows:
        print("(none)")


class Status:
    """The two streams of a command: progress on standard error, results and answers on standard output.

    On a terminal progress is one line that changes; elsewhere it is a line per step. An answer that grows is never
    overwritten: whatever comes next begins on a line of its own.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._terminal, self._shown, self._open, self._quiet = sys.stderr.isatty(), "", False, quiet

    def __call__(self, fraction: float | None, text: str) -> None:
        if self._terminal:
            percent = "" if fraction is None else f" {fraction:4.0%}"
            self.clear()
            print(f"{text}{percent}", end="", file=sys.stderr, flush=True)
        elif (step := text.partition(":")[0]) != self._shown:
            self.clear()
            print(step, file=sys.stderr, flush=True)
            self._shown = step

    def say(self, text: str) -> None:
        """A finished piece of output."""
        self.clear()
        if not self._quiet:
            print(text, flush=True)

    def note(self, text: str) -> None:
        """A remark beside the output."""
        self.clear()
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def stream(self, piece: str) -> None:
        """A piece of an answer that grows."""
        if not self._open:
            self.clear()
        if not self._quiet:
            print(piece, end="", flush=True)
            self._open = True

    def clear(self) -> None:
        """Make room for a line of output."""
        if self._open:
            print(flush=True)
            self._open = False
        elif self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Status:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
