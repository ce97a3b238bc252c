"""How long `import workbench` takes of its own, and which modules it loads."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from typing import Any

RUNS = 9


def run() -> dict[str, Any]:
    """Cumulative import time in seconds over several fresh interpreters."""
    seconds = [_once() for _ in range(RUNS)]
    return {"import_workbench_s": {"median": statistics.median(seconds), "samples": seconds}}


def _once() -> float:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import workbench"], capture_output=True, text=True, check=True
    )
    found = re.search(r"\|\s+(\d+) \| workbench$", done.stderr, re.MULTILINE)
    if not found:
        raise RuntimeError("python -X importtime does not mention workbench")
    return int(found[1]) / 1e6
