"""Chapter 8 as a notebook: the guide's example, with accelerate itself."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from tests.notebooks.test_start_here import figures
from workbench.units import GIB


@pytest.mark.skipif(not all(map(find_spec, ("accelerate", "torch", "transformers"))), reason="needs the extra engines")
def test_the_guide_s_example(run_notebook: Callable[..., Any]) -> None:
    run = run_notebook("08_sharding_and_attention", memory_gib=80.0)  # little is left for the disk of this computer
    mapped, parallel, split = run.values["layouts"]
    assert mapped["possible"]
    assert mapped["spilled_bytes"].keys() == {"RAM", "disk"}
    assert not parallel["possible"]
    assert split["possible"]
    weights = sum(bar["parts_bytes"]["weights"] for bar in mapped["devices"])
    assert weights == pytest.approx(128.5 * GIB, rel=0.01)
    assert run.values["guide"].keys() >= {"0", "1", "cpu"}
    assert all(run.values["guide"][card] <= 20 * GIB for card in ("0", "1"))
    assert figures(run.notebook) == 2
