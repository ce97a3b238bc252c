"""Runs a conversion in a process of its own, so that it can be followed, and killed when nobody wants it any more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from workbench.errors import UnsupportedModel
from workbench.models.verification import Progress
from workbench.secrets import private_environment


def run(request: Mapping[str, Any], what: str, progress: Progress | None) -> None:
    """Let `conversion_worker` answer the request; what: what is going on, in words. `progress` may raise to cancel.

    Raises UnsupportedModel with the worker's last words.
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
        if worker.wait() != 0:
            raise _failed(what, log)


def _follow(worker: subprocess.Popen[str], request: str, what: str, progress: Progress | None) -> None:
    assert worker.stdin and worker.stdout  # noqa: S101 - asked for with PIPE
    worker.stdin.write(request)
    worker.stdin.close()
    for line in worker.stdout:
        said = json.loads(line)
        if progress:
            progress(said["done"], said["total"], what)


def _failed(what: str, log: IO[bytes]) -> UnsupportedModel:
    log.seek(0)
    text = log.read().decode(errors="replace").strip()
    last = (text.splitlines() or ["it said nothing"])[-1]
    return UnsupportedModel(
        f"{what[0].upper()}{what[1:]} failed: {last[:300]}.",
        fix="Choose another engine or format.",
        details=text[-4000:],
    )
