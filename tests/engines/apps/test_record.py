"""What was seen of a real app, kept: the record of a run of the contract against it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import record
from tests.engines.apps.conftest import app_of
from workbench import engines

RECORD = record.read("apps")["result"]


def test_the_record_names_every_app_and_says_which_were_not_here() -> None:
    assert {*RECORD["apps"], *RECORD["not_here"]} == set(engines.APPS)
    assert "@" in RECORD["note"]


@pytest.mark.parametrize("one", RECORD["apps"].values(), ids=RECORD["apps"])
def test_a_real_app_held_the_context_asked_for_and_gave_everything_back(one: dict[str, Any]) -> None:
    for deployment in one["deployments"]:
        assert f"context {deployment['context_asked']}" in deployment["log"]
        assert deployment["answer"]
        assert deployment["still_loaded"] is False
        assert deployment["measured"]["memory_peak"] > one["own_memory_bytes"]
    assert "512 tokens; 2048 were asked for" in one["traps"]["less_context"]
    assert one["traps"]["left_alone"] == "True"
    assert "did not load broken.gguf" in one["traps"]["broken_file"]


@pytest.mark.parametrize("name", RECORD["apps"])
def test_what_an_app_takes_itself_is_the_measured_number(name: str) -> None:
    assert app_of(name).entry.memory_bytes == RECORD["apps"][name]["own_memory_bytes"]
