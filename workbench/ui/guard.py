"""What a panel shows when something fails: one red card, never silence and never a traceback.

Voilà drops the exceptions of widget callbacks without a word, so every callback goes through `guarded`.
The card says what happened and what to do; the full traceback goes to a log file that only its owner can read.
"""

from __future__ import annotations

import functools
import html
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from workbench import folders
from workbench.errors import WorkbenchError
from workbench.units import now

LOG_LIMIT_BYTES: Final = 1_000_000
_SECRET = re.compile(r"\b(sk-|hf_|ghp_|github_pat_|xox[bp]-|Bearer\s+)[\w.-]{8,}")


def guarded(callback: Callable[..., Any], show: Callable[[str], object]) -> Callable[..., None]:
    """Wrap a widget's callback: an exception becomes an error card, given to `show` as HTML."""

    @functools.wraps(callback)
    def wrapper(*arguments: Any, **named: Any) -> None:
        try:
            callback(*arguments, **named)
        except Exception as error:  # noqa: BLE001  the last place where anything can still be shown
            show(error_card(error))

    return wrapper


def error_card(error: BaseException) -> str:
    """The red card for an error, as HTML; its traceback is written to the log."""
    what, fix = _sentences(error)
    details = f"{type(error).__name__}: {error}"
    if isinstance(error, WorkbenchError) and error.details:
        details += f"\n\n{error.details}"
    return (
        '<section class="wb-error" role="alert" tabindex="-1">'
        f"<p><strong>{_text(what)}</strong></p><p>{_text(fix)}</p>"
        f"<details><summary>Details</summary><pre>{_text(details)}</pre>"
        f"<p>Everything else is in <code>{_text(str(write_log(error)))}</code></p></details></section>"
    )


def log_path() -> Path:
    """The file with the tracebacks of all panels."""
    return folders.state() / "panels.log"


def write_log(error: BaseException) -> Path:
    """Append the traceback of an error to the log, which starts over when it has grown too big."""
    path = log_path()
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_suffix(".old.log"))
    with path.open("a", encoding="utf-8") as log:
        log.write(f"{now()} {''.join(traceback.format_exception(error))}\n")
    return path


def _sentences(error: BaseException) -> tuple[str, str]:
    if isinstance(error, WorkbenchError):
        return error.what, error.fix
    return "Something went wrong that the workbench did not foresee.", (
        "Try again. If it happens again, the details below belong in a bug report."
    )


def _text(text: str) -> str:
    """Text of a stranger made safe to show: without secrets, without markup."""
    return html.escape(_SECRET.sub(r"\1…", text))
