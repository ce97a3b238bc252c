"""Cloud instances with accelerators and what an hour costs: a dated table, overlaid by fresher prices when asked for.

`refresh()` is the only thing here that uses the network, through the optional package gpuhunt. What it finds is kept in
the cache folder with its date; without it, and when it fails, the table serves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from workbench import folders
from workbench.catalog.accelerators import accelerator
from workbench.catalog.loader import load_table
from workbench.catalog.names import Names
from workbench.errors import AssetUnavailable, MissingExtra, UsageError
from workbench.units import GIB, today

_PROVIDERS = {
    "AWS": "aws", "Azure": "azure", "GCP": "gcp", "Lambda": "lambdalabs", "Runpod": "runpod", "Vast.ai": "vastai",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance. name: the provider's own; accelerator: key of an AcceleratorSpec; None: nobody said, or not sold.

    priced: day or month the prices are of, empty when their source bears no date; checked: when somebody looked there.
    """

    key: str
    provider: str
    name: str
    accelerator: str
    count: int
    vcpus: int | None
    memory_bytes: int | None
    on_demand_usd_per_hour: Decimal | None
    spot_usd_per_hour: Decimal | None
    region: str
    priced: str
    source: str
    checked: date


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of instances.csv."""

    key: str
    provider: str
    name: str
    accelerator: str
    count: int
    vcpus: int | None
    memory_gib: int | None
    on_demand_usd_per_hour: Decimal | None
    spot_usd_per_hour: Decimal | None
    region: str
    priced: str
    source: str
    checked: date


def instances() -> dict[str, Instance]:
    """Every recorded instance by its key, with refreshed prices where there are any."""
    fresh = _kept()
    return {key: _overlaid(one, fresh) for key, one in _table().items()}


def instance(text: str) -> Instance:
    """The instance called `text`: its key, or its name at the provider; raises UnknownName and AmbiguousName."""
    return instances()[_names().find(text)]


def refresh() -> int:
    """Fetch current prices of the recorded instances and keep them; how many have one now.

    Raises MissingExtra without gpuhunt, and AssetUnavailable when prices cannot be had.
    """
    try:
        gpuhunt = import_module("gpuhunt")
    except ImportError:
        raise MissingExtra("gpuhunt", "clouds", "Refreshing the prices of cloud instances") from None
    try:
        offers = gpuhunt.query(provider=list(_PROVIDERS.values()), min_gpu_count=1)
    except (gpuhunt.GPUHuntError, OSError, ValueError) as error:
        raise _unavailable(f"{error}.".replace("..", ".")) from error
    prices = _matched(offers)
    if not prices:
        raise _unavailable("None of the offers found is of a recorded instance.")
    _file().write_text(json.dumps({"date": today(), "prices": prices}, indent=1), encoding="utf-8")
    return len(prices)


def _unavailable(what: str) -> AssetUnavailable:
    fix = "The prices in the catalog serve, each with its date; try again when there is a connection."
    return AssetUnavailable(f"Current cloud prices cannot be had. {what}", fix=fix)


def _matched(offers: Iterable[Any]) -> dict[str, dict[str, str]]:
    """The lowest prices by kind ('on_demand', 'spot') of each recorded instance among the offers of gpuhunt."""
    by_provider: dict[str, list[Instance]] = {}
    for one in _table().values():
        by_provider.setdefault(_PROVIDERS[one.provider], []).append(one)
    lowest: dict[str, dict[str, str]] = {}
    for offer in offers:
        kind, price = "spot" if offer.spot else "on_demand", Decimal(str(offer.price))
        for one in by_provider.get(offer.provider, ()):
            if not _is_of(offer, one):
                continue
            prices = lowest.setdefault(one.key, {})
            if kind not in prices or price < Decimal(prices[kind]):
                prices[kind] = str(price)
    return lowest


def _is_of(offer: Any, one: Instance) -> bool:
    """Whether an offer is of this instance. The marketplaces name no instance types: there, the accelerator decides."""
    if offer.gpu_count != one.count:
        return False
    if one.provider == "Runpod":  # a secure offer names a data centre ("EU-RO-1"), a community offer a country ("US")
        tier = "Secure" if "-" in offer.location else "Community"
        return one.name.endswith(tier) and _key(offer.instance_name) == one.accelerator
    if one.provider == "Vast.ai":  # gpuhunt drops the form of data-centre cards there
        formless = not {"sxm4", "sxm5", "sxm2", "pcie", "nvl"} & set(one.accelerator.split("-"))
        return formless and _key(f"{offer.gpu_name} {offer.gpu_memory:g}GB") == one.accelerator
    name, _, host_gpu = one.name.partition(" + ")  # GCP's N1 hosts take several kinds of GPU
    same = offer.instance_name == name and (not host_gpu or _key(offer.gpu_name) == one.accelerator)
    return same and offer.location.startswith(one.region)


@cache
def _key(name: str) -> str | None:
    try:
        return accelerator(name).key
    except UsageError:
        return None


def _overlaid(one: Instance, fresh: dict[str, Any]) -> Instance:
    prices = fresh.get("prices", {}).get(one.key)
    if prices is None or "on_demand" not in prices:
        return one
    spot = Decimal(prices["spot"]) if "spot" in prices else None
    day = str(fresh["date"])
    return replace(
        one, on_demand_usd_per_hour=Decimal(prices["on_demand"]), spot_usd_per_hour=spot, priced=day,
        checked=date.fromisoformat(day), source="gpuhunt, lowest current offer",
    )  # fmt: skip


def _kept() -> dict[str, Any]:
    path = _file()
    if not path.exists():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        date.fromisoformat(kept["date"])
        return {"date": kept["date"], "prices": dict(kept["prices"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"The refreshed prices in {path} cannot be read.", fix="Delete the file.") from error


def _file() -> Path:
    return folders.cache() / "cloud_prices.json"


@cache
def _table() -> dict[str, Instance]:
    return {key: _instance(row) for key, row in load_table("instances.csv", _Row).items()}


def _instance(row: _Row) -> Instance:
    return Instance(
        key=row.key, provider=row.provider, name=row.name, accelerator=row.accelerator, count=row.count,
        vcpus=row.vcpus, memory_bytes=None if row.memory_gib is None else row.memory_gib * GIB,
        on_demand_usd_per_hour=row.on_demand_usd_per_hour, spot_usd_per_hour=row.spot_usd_per_hour,
        region=row.region, priced=row.priced, source=row.source, checked=row.checked,
    )  # fmt: skip


@cache
def _names() -> Names:
    return Names("cloud instance", {key: (one.name, f"{one.provider} {one.name}") for key, one in _table().items()})
