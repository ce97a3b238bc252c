"""Runs a conversion in a process of its own, so that it can be followed, and killed when nobody wants it any more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from workbench.errors import DoesNotFit, UnsupportedModel, WorkbenchError
from workbench.machine import how_it_ended
from workbench.models.verification import Progress
from workbench.secrets import private_environment


def run(request: Mapping[str, Any], what: str, progress: Progress | None, *, weight_bytes: float) -> None:
    """Let `conversion_worker` answer the request; what: what is going on, in words. `progress` may raise to cancel.

    weight_bytes: what is held in memory at least. Raises UnsupportedModel with the worker's last words, DoesNotFit when
    the system ended it.
    """
    program = Path(__file__).with_name("conversion_worker.py")
    with tempfile.TemporaryFile() as log, subprocess.Popen(
        [sys.executable, "-I", str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        env=private_environment(os.environ),
    ) as worker:  # fmt: skip
        try:
            _follow(worker, json.dumps(request), what, progress)
        except BaseException:  # also when the user interrupts or cancels
            worker.kill()
            raise
        if exit_code := worker.wait():
            raise _failed(what, log, exit_code, weight_bytes)


def _follow(worker: subprocess.Popen[str], request: str, what: str, progress: Progress | None) -> None:
    """Its input stays open as long as this process is there: the worker ends when it is closed."""
    assert worker.stdin and worker.stdout  # noqa: S101 - asked for with PIPE
    worker.stdin.write(request + "\n")
    worker.stdin.flush()
    for line in worker.stdout:
        said = json.loads(line)
        if progress:
            progress(said["done"], said["total"], what)


def _failed(what: str, log: IO[bytes], exit_code: int, weight_bytes: float) -> WorkbenchError:
    log.seek(0)
    text = log.read().decode(errors="replace").strip()
    begun = f"{what[0].upper()}{what[1:]} failed"
    if exit_code == -signal.SIGKILL:
        ended = how_it_ended(exit_code, {"of weights": weight_bytes})
        fix = "Close other programs, or choose a smaller model or format."
        return DoesNotFit(f"{begun}: its process was {ended}.", fix=fix, details=text[-4000:])
    last = (text.splitlines() or ["it said nothing"])[-1] if exit_code > 0 else how_it_ended(exit_code, {})
    return UnsupportedModel(f"{begun}: {last[:300]}.", fix="Choose another engine or format.", details=text[-4000:])
