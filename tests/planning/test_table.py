"""The table of one model on all accelerators: it is the estimator's, it is complete, it is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.calls import calls
from workbench import catalog, models, planning
from workbench.errors import UnknownName, UnsupportedModel
from workbench.machine import describe
from workbench.models import Model
from workbench.planning import table

GGUF = [one.name for one in models.formats.known() if one.container == "gguf"]


def test_a_row_is_what_the_estimator_says() -> None:
    (row,) = table.table("llama-3.1-8b", ["RTX 3090"], ["Q4_K_M"], context=4096)
    plan = planning.estimate("llama-3.1-8b", machine=describe("RTX 3090"), format="Q4_K_M", context=4096)
    assert row.need.value == plan.memory[0].total.value
    assert row.speed["decode"].value == plan.decode.value
    assert (row.verdict, row.engine, row.format) == (plan.fits[0].verdict, "llama.cpp", "Q4_K_M")
    assert row.main is row.speed["decode"]


def test_every_accelerator_and_every_gguf_type_in_few_steps() -> None:
    devices = [key for key, spec in catalog.accelerators().items() if spec.memory_bytes][:80]
    model = models.describe("llama-3.1-8b")
    table.table(model, devices[:1], GGUF)  # the catalog is read once
    rows: list[Any] = []
    assert calls(lambda: rows.extend(table.table(model, devices))) < 4_500_000  # 1.4 s on a Xeon of 2.5 GHz
    assert len(devices) == 80
    assert len({(row.device, row.format) for row in rows}) == len(rows) == len(devices) * len(GGUF)


def test_without_devices_all_whose_memory_is_known() -> None:
    rows = table.table("whisper-tiny", formats=["F16"])
    known = {key for key, spec in catalog.accelerators().items() if spec.memory_bytes}
    assert {row.device for row in rows} == known


def test_more_memory_never_fits_less_and_more_bits_never_need_less() -> None:
    rows = table.table("llama-2-13b", ["rtx-4060", "rtx-4090", "h100-sxm5-80gb"], ["Q8_0", "Q4_K_M", "Q2_K"])
    order = ("does not fit", "tight", "fits")
    by_room = sorted((row for row in rows if row.format == "Q8_0"), key=lambda row: row.room_bytes or 0)
    assert [row.verdict for row in by_room] == sorted((row.verdict for row in by_room), key=order.index)
    needs = [row.need.value for row in rows if row.device == "rtx-4090"]
    assert needs == sorted(needs, reverse=True)


def test_the_best_of_each_device_has_the_most_bits_that_fit() -> None:
    rows = table.table("llama-2-13b", ["rtx-4060", "rtx-3090", "gtx-1050-2gb"], ["Q8_0", "Q3_K_M"])
    assert {row.device: row.format for row in table.best(rows)} == {"rtx-3090": "Q8_0", "rtx-4060": "Q3_K_M"}


@pytest.mark.parametrize("model", ["sdxl-base-1.0", "whisper-small"])
def test_other_kinds_of_models_too(model: str) -> None:
    rows = table.table(model, ["RTX 4090"])
    assert len(rows) > 2
    assert all(row.main.value for row in rows)
    assert table.ladder(model) == list(dict.fromkeys(row.format for row in rows))


def test_a_chip_that_shares_its_memory_is_named_with_it() -> None:
    (row,) = table.table("llama-3.1-8b", ["Apple M2 Max (38-core GPU), 64GB"], ["Q4_K_M"])
    assert row.verdict == "fits"
    assert row.to_dict()["device"] == "Apple M2 Max (38-core GPU), 64GB"


def test_a_file_stays_in_its_format(little_model: Model) -> None:
    assert [row.format for row in table.table(little_model, ["RTX 3090"])] == ["F32"]
    assert table.ladder(little_model) == [""]


@pytest.mark.parametrize(
    ("named", "error"),
    [({"devices": ["RTX 9"]}, UnknownName), ({"formats": ["Q9"]}, UnknownName)],
)
def test_what_nobody_knows_is_said(named: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        table.table("llama-3.1-8b", **{"devices": ["RTX 3090"], "formats": ["Q4_0"], **named})


def test_a_format_that_no_engine_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises((UnsupportedModel, UnknownName)):
        table.table("whisper-tiny", ["RTX 3090"], ["NF4"])
