"""Every error a user can meet, in one tree.

    WorkbenchError
    ├── UsageError             a value given by the user cannot be used (exit status 2)
    │   ├── UnknownName        a model, engine or deployment that nobody knows, with the nearest names
    │   ├── AmbiguousName      a name that several things go by, with all of them
    │   └── PortTaken          another program has the port
    ├── BadModelFile           the file is damaged, truncated or not what it says it is
    ├── UnsupportedModel       a sound file that no engine here can run
    ├── AssetUnavailable       no source could deliver the file (offline, removed, refused)
    ├── NoSpace                the disk cannot hold what is to be written
    ├── EngineUnavailable      the engine is not installed or cannot run on this machine
    │   └── AppRefused         an app answered a request with an error
    ├── ContextTooShort        an app runs the model with less context than was asked for
    ├── MissingExtra           an optional part of the workbench is not installed
    ├── StartFailed            the server did not come up
    ├── ServerDied             the server was up and is gone
    ├── RequestFailed          the server is up and answered a request with an error
    │   └── ServerBusy         the server is up and takes no further request just now
    ├── StopFailed             the server did not go away
    ├── NotMeasurable          the server answers, but not in a way that can be timed
    ├── DoesNotFit             the plan needs more memory than there is
    └── LedgerError            the ledger cannot be read or written

Each message says what happened, the value seen, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final


class WorkbenchError(Exception):
    """What happened (`what`), what to do about it (`fix`), and `details` for a bug report."""

    exit_status = 1

    def __init__(self, what: str, *, fix: str = "", details: str = "") -> None:
        super().__init__(f"{what} {fix}".strip())
        self.what, self.fix, self.details = what, fix, details


class UsageError(WorkbenchError):
    """A value given by the user cannot be used."""

    exit_status = 2


MOST_SHOWN: Final = 16  # names in one sentence


class UnknownName(UsageError):
    """A name that nobody knows; the message names the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        choices = {choice.lower(): choice for choice in sorted(known)}
        near = difflib.get_close_matches(name.lower(), choices, n=3, cutoff=0.4)
        if near:
            fix = f"Did you mean {' or '.join(choices[one] for one in near)}?"
        else:
            shown = list(choices.values())[:MOST_SHOWN]
            more = f" and {len(choices) - MOST_SHOWN} more" if len(choices) > MOST_SHOWN else ""
            fix = f"Known: {', '.join(shown)}{more}." if choices else "There is none at all."
        super().__init__(f"There is no {kind} called {name!r}.", fix=fix)


class AmbiguousName(UsageError):
    """A name that several things go by; the message names them all."""

    def __init__(self, kind: str, name: str, candidates: Iterable[str]) -> None:
        self.candidates = tuple(sorted(candidates))
        super().__init__(
            f"{name!r} can be more than one {kind}.", fix=f"Name one of them: {', '.join(self.candidates)}."
        )


class PortTaken(UsageError):
    """Another program has the port."""


class BadModelFile(WorkbenchError):
    """The file is damaged, truncated or not what it says it is."""


class UnsupportedModel(WorkbenchError):
    """A sound file that no engine here can run."""


class AssetUnavailable(WorkbenchError):
    """No source could deliver the file."""


class NoSpace(WorkbenchError):
    """The disk cannot hold what is to be written."""


class EngineUnavailable(WorkbenchError):
    """The engine is not installed or cannot run on this machine."""


class AppRefused(EngineUnavailable):
    """An app answered a request with an error; `status` is the HTTP status, 0 for an error inside a stream."""

    def __init__(self, what: str, *, status: int = 0, fix: str = "") -> None:
        super().__init__(what, fix=fix)
        self.status = status


class ContextTooShort(WorkbenchError):
    """An app runs the model with less context than was asked for, and would cut prompts without a word."""


class MissingExtra(WorkbenchError):
    """An optional part of the workbench is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed.",
            fix=f'Install it: pip install "open-model-workbench[{extra}]"',
        )


class StartFailed(WorkbenchError):
    """The server did not come up; `details` holds the end of its log."""


class ServerDied(WorkbenchError):
    """The server was up and is gone; `details` holds the end of its log."""


class RequestFailed(WorkbenchError):
    """The server is up and answered a request with an error."""


class ServerBusy(RequestFailed):
    """The server is up and takes no further request just now: the same request may be served later."""


class StopFailed(WorkbenchError):
    """The server did not go away."""


class NotMeasurable(WorkbenchError):
    """The server answers, but not in a way that can be timed."""


class DoesNotFit(WorkbenchError):
    """The plan needs more memory than there is."""


class LedgerError(WorkbenchError):
    """The ledger cannot be read or written."""
