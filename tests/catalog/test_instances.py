"""Cloud instances: a dated table, overlaid by refreshed prices, which never replace it when they cannot be had."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from workbench import catalog, folders
from workbench.catalog.accelerators import accelerators
from workbench.errors import AssetUnavailable, MissingExtra, UnknownName, UsageError
from workbench.units import today


@dataclass
class Offer:
    """What gpuhunt gives: the fields that are looked at."""

    provider: str
    instance_name: str
    location: str
    price: float
    gpu_count: int
    gpu_name: str
    gpu_memory: float
    spot: bool = False


class GPUHuntError(Exception):
    pass


def stand_in(monkeypatch: pytest.MonkeyPatch, answer: list[Offer] | Exception) -> list[dict[str, Any]]:
    """A module in the place of gpuhunt; what it was asked is kept."""
    asked: list[dict[str, Any]] = []

    def query(**question: Any) -> list[Offer]:
        asked.append(question)
        if isinstance(answer, Exception):
            raise answer
        return answer

    module = ModuleType("gpuhunt")
    module.query, module.GPUHuntError = query, GPUHuntError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gpuhunt", module)
    return asked


def test_every_cloud_of_the_guide_is_there_with_what_people_rent() -> None:
    found = catalog.instances().values()
    assert len(found) >= 60
    assert {one.provider for one in found} == {"AWS", "Azure", "GCP", "Lambda", "Runpod", "Vast.ai"}
    assert {one.accelerator for one in found} <= set(accelerators())
    rented = {"t4", "l4", "a10g", "v100-sxm2-16gb", "a100-sxm4-80gb", "h100-sxm5-80gb", "h200-sxm5-141gb", "rtx-3090",
              "rtx-4090", "rtx-a6000", "l40s"}  # fmt: skip
    assert rented <= {one.accelerator for one in found}


def test_prices_are_money_and_a_spot_price_is_the_lower_one() -> None:
    for one in catalog.instances().values():
        assert isinstance(one.on_demand_usd_per_hour, Decimal), one.key
        assert 0 < one.on_demand_usd_per_hour < 200, one.key
        if one.spot_usd_per_hour is not None:
            assert 0 < one.spot_usd_per_hour < one.on_demand_usd_per_hour, one.key


@pytest.mark.parametrize("text", ["aws-g5.12xlarge", "g5.12xlarge", "AWS g5.12xlarge", "G5.12XLARGE"])
def test_the_guides_instance_goes_by_its_names(text: str) -> None:
    one = catalog.instance(text)
    assert (one.accelerator, one.count, one.on_demand_usd_per_hour) == ("a10g", 4, Decimal("5.672"))


def test_an_unknown_instance_meets_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean aws-g5\."):
        catalog.instance("aws-g5.3xlarge")


def test_refreshed_prices_overlay_the_table_with_their_date(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stand_in(
        monkeypatch,
        [
            Offer("aws", "g5.xlarge", "us-east-1", 0.9, 1, "A10G", 24),
            Offer("aws", "g5.xlarge", "us-east-1", 0.8, 1, "A10G", 24),  # the lowest counts
            Offer("aws", "g5.xlarge", "us-east-1", 0.31, 1, "A10G", 24, spot=True),
            Offer("aws", "g5.xlarge", "eu-west-1", 0.1, 1, "A10G", 24),  # elsewhere
            Offer("gcp", "n1-standard-4", "us-central1-a", 0.5, 1, "T4", 16),
            Offer("gcp", "n1-standard-4", "us-central1-a", 0.4, 1, "P4", 8),  # another GPU in the same host
            Offer("runpod", "NVIDIA H100 80GB HBM3", "EU-RO-1", 3.5, 1, "H100", 80),
            Offer("runpod", "NVIDIA H100 80GB HBM3", "US", 2.5, 1, "H100", 80),
            Offer("vastai", "123", "US", 0.2, 1, "RTX4090", 24),
            Offer("vastai", "124", "US", 0.1, 1, "A100", 80),  # PCIe or SXM: nobody can tell
            Offer("azure", "Standard_NC4as_T4_v3", "eastus", 0.05, 1, "T4", 16, spot=True),  # spot alone
        ],
    )
    before = catalog.instances()
    assert catalog.refresh() == 6
    assert set(asked[0]["provider"]) == {"aws", "azure", "gcp", "lambdalabs", "runpod", "vastai"}
    after = catalog.instances()
    assert {key: str(one.on_demand_usd_per_hour) for key, one in after.items() if one != before[key]} == {
        "aws-g5.xlarge": "0.8",
        "gcp-n1-standard-4-t4": "0.5",
        "runpod-h100-sxm-secure": "3.5",
        "runpod-h100-sxm-community": "2.5",
        "vast-1x-rtx-4090": "0.2",
    }
    fresh = after["aws-g5.xlarge"]
    assert (fresh.spot_usd_per_hour, fresh.priced, fresh.checked) == (
        Decimal("0.31"), today(), date.fromisoformat(today()),
    )  # fmt: skip
    assert after["runpod-h100-sxm-secure"].spot_usd_per_hour is None
    assert "gpuhunt" in fresh.source


@pytest.mark.parametrize(
    "answer",
    [GPUHuntError("Failed to load catalogs of all providers"), OSError("no network"), []],
)
def test_when_prices_cannot_be_had_the_table_serves(
    answer: list[Offer] | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, answer)
    before = catalog.instances()
    with pytest.raises(
        AssetUnavailable, match=r"Current cloud prices cannot be had\. .+ The prices in the catalog serve"
    ):
        catalog.refresh()
    assert catalog.instances() == before


def test_without_gpuhunt_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpuhunt", None)
    with pytest.raises(MissingExtra, match=r"open-model-workbench\[clouds\]"):
        catalog.refresh()


@pytest.mark.parametrize("text", ["", "[]", '{"prices": {}}', json.dumps({"date": "soon", "prices": {}})])
def test_a_damaged_file_of_prices_is_named(text: str, home: Path) -> None:
    (folders.cache() / "cloud_prices.json").write_text(text)
    with pytest.raises(UsageError, match="Delete the file"):
        catalog.instances()
