"""A hundred killed kernels, two hundred start/stop cycles: what is left behind, counted by the tests' own code."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import workbench
from tests.deployment.test_lifecycle import kill_kernel, run_cycles
from workbench import models
from workbench.engines.fake import FakeEngine
from workbench.engines.fake_server import Script

KILLS, REAL_KILLS, CYCLES = 100, 5, 200


def run() -> dict[str, Any]:
    """Raises AssertionError at the first survivor or leak; the counts are of what was done."""
    model = models.get("smollm2-135m-instruct")
    plan = workbench.plan(model, engine=FakeEngine(), context=512, threads=1)
    tree = workbench.plan(model, engine=FakeEngine(Script(tree_depth=3)), context=512, threads=1)
    real = workbench.plan(model, context=512, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(KILLS):
            kill_kernel(tree, Path(folder), least=5)
        for _ in range(REAL_KILLS):
            kill_kernel(real, Path(folder), least=1)
    run_cycles(plan, CYCLES)
    return {
        "kernels_killed_fake": KILLS, "processes_below_each": 5, "kernels_killed_llama_cpp": REAL_KILLS,
        "survivors_after_2_s": 0, "start_stop_cycles": CYCLES, "leaked_processes_descriptors_threads_sockets": 0,
    }  # fmt: skip
