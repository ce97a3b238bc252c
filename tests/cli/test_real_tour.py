"""The main job as a user runs it: one command, the real engine, the embedded model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import Command

pytestmark = pytest.mark.engine

QUANTITIES = {"memory_peak", "prefill", "decode", "ttft"}


def processes_of(home: Path) -> list[str]:
    """Command lines of all processes that work in this home, other than this one."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != psutil.Process().pid and process.environ().get("WORKBENCH_HOME") == str(home):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue  # gone, or another user's
    return found


def test_the_tour(embedded_model_path: Path, home: Path, command: Command) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "workbench.cli", "tour", str(embedded_model_path),
         "--json", "--repeats", "2", "--context", "512"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)

    plan = result["plan"]
    assert (plan["model"], plan["engine"]) == ("smollm2-135m-instruct", "llama.cpp")
    assert set(plan["predictions"]) == QUANTITIES
    for estimate in plan["predictions"].values():
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert "scatter" in result["answer"].lower()

    measurement = result["measurement"]
    assert measurement["prediction"] == plan["id"]
    assert set(measurement["values"]) >= QUANTITIES
    assert len(measurement["requests"]) == len(measurement["values"]["decode"]["samples"]) == 2
    for request in measurement["requests"]:
        assert request["prompt_tokens"] == pytest.approx(plan["workload"]["prompt_tokens"], abs=2)
        assert request["answer_tokens"] == plan["workload"]["answer_tokens"]

    assert set(result["cost"]) == {"input", "output", "apis", "assumed"}
    assert len(result["cost"]["apis"]) == 4
    report = Path(result["report"])
    assert report.parent == home / "data" / "reports"
    assert plan["id"] in report.read_text(encoding="utf-8")
    assert "Traceback" not in done.stderr

    assert processes_of(home) == []
    assert command("ps", "--json").json == []
    assert {error["quantity"] for error in command("ledger", "--json").json} == QUANTITIES
