"""The script that checks predictions on a GPU: what it predicts, and that it measures, here on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import transformers_memory_gpu as script

LITTLE = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 256,
          "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}  # fmt: skip
CASE = {"name": "little", "config": LITTLE, "prompt_tokens": 32, "answer_tokens": 4, "requests": 2,
        "predicted_bytes": 5e8, "low_bytes": 1e8, "high_bytes": 9e9}  # fmt: skip


def test_every_case_is_predicted(tmp_path: Path) -> None:
    script.predict(tmp_path / "new" / "predictions.json")
    cases = json.loads((tmp_path / "new" / "predictions.json").read_text())["cases"]
    assert [case["name"] for case in cases] == [name for name, *_ in script.CASES]
    for case in cases:
        assert 1e9 <= case["parameters"] <= 8.1e9
        assert sum(case["parts_bytes"].values()) == pytest.approx(case["predicted_bytes"])
        assert case["low_bytes"] <= case["predicted_bytes"] <= case["high_bytes"]


def test_the_committed_predictions_are_of_these_cases() -> None:
    cases = json.loads(script.PREDICTIONS.read_text())["cases"]
    assert [(case["name"], case["prompt_tokens"], case["requests"]) for case in cases] == [
        (name, prompt, batch) for name, _, prompt, batch in script.CASES
    ]


@pytest.mark.slow
def test_it_measures_without_the_workbench(tmp_path: Path) -> None:
    broken = {**CASE, "name": "broken", "config": {"model_type": "no such model"}}
    (tmp_path / "predictions.json").write_text(json.dumps({"cases": [CASE, broken]}))
    options = ["--measure", "predictions.json", "--record", "record.json", "--device", "cpu"]
    command = [sys.executable, "-I", script.__file__, *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    good, bad = json.loads((tmp_path / "record.json").read_text())["result"]
    assert good["measured"]["peak_bytes"] > good["measured"]["loaded_bytes"] > 1e8
    assert good["measured"]["parameters"] > 0
    assert good["inside_interval"]
    assert "no such model" in bad["failed"]
    assert "little: predicted 0.47 GiB" in done.stdout
