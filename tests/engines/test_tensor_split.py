"""Dividing every layer over devices: what works, and what each device holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.engines.tensor_split import refusal, shard, workable
from workbench.models import Model
from workbench.models.config import from_config

LITTLE = {"model_type": "llama", "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 2,
          "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 1000, "tie_word_embeddings": False,
          "rms_norm_eps": 1e-5, "max_position_embeddings": 4096}  # fmt: skip


def model(**fields: Any) -> Model:
    return from_config({**LITTLE, **fields}, name="little", source="test")


@pytest.mark.parametrize(("devices", "words"), [(3, "16 attention heads"), (5, "Use 4 or 8 devices")])
def test_what_cannot_be_divided_is_refused(devices: int, words: str) -> None:
    assert words in refusal(model().architecture, devices)


def test_the_numbers_that_work() -> None:
    assert workable(model().architecture) == [1, 2, 4, 8, 16]
    assert refusal(model().architecture, 8) == ""


def test_an_odd_width_works_nowhere() -> None:
    odd = model(intermediate_size=1537).architecture
    assert "1537" in refusal(odd, 2)
    assert "No number of devices works" in refusal(
        model(num_attention_heads=17, head_dim=32, num_key_value_heads=17).architecture, 2
    )


@given(st.sampled_from((2, 4, 8, 16)))
def test_all_devices_together_hold_all_and_a_little_more(devices: int) -> None:
    whole, piece = model(), shard(model(), devices)
    assert whole.weight_bytes / devices <= piece.weight_bytes < 1.2 * whole.weight_bytes / devices + 100_000
    assert piece.architecture.heads == 16 // devices
    assert piece.architecture.kv_heads == max(1, 4 // devices)


def test_one_device_holds_the_model_itself() -> None:
    whole = model()
    assert shard(whole, 1) is whole
