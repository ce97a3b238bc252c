"""The widest layer: the rule against what was counted tensor by tensor in Transformers."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.record import read
from benchmarks.transformers_activations import _BASE, FAMILIES, PROMPT_TOKENS
from workbench.engines.activations import attention_values, largest_matrix, score_bytes, widest_layer
from workbench.models import Model
from workbench.models.config import from_config

COUNTED = read("transformers_activations")["result"]


def model(name: str, fields: dict[str, Any]) -> Model:
    return from_config({"model_type": name, **_BASE, **fields}, name=name, source="test")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_rule_is_near_what_was_counted(name: str) -> None:
    predicted = 2 * PROMPT_TOKENS * widest_layer(model(name, FAMILIES[name]))
    assert predicted == pytest.approx(COUNTED[name]["counted_bytes"], rel=0.04)


def test_kept_scores_are_near_what_was_counted() -> None:
    llama = model("llama", {})
    predicted = score_bytes(llama, PROMPT_TOKENS) + 2 * PROMPT_TOKENS * attention_values(llama.architecture)
    assert predicted == pytest.approx(COUNTED["llama, scores kept"]["counted_bytes"], rel=0.04)


def test_devices_divide_what_is_inside_and_not_the_inputs() -> None:
    llama = model("llama", {"num_attention_heads": 2, "head_dim": 64})
    assert widest_layer(llama, 2) == 4 * 512 + 3 * 2048 // 2


def test_of_experts_one_matrix_counts() -> None:
    assert largest_matrix(model("mixtral", FAMILIES["mixtral"])) == 512 * 1024
    assert largest_matrix(model("llama", {})) == 512 * 2048
