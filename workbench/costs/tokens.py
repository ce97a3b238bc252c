"""The first cost line: electricity for a million tokens here, beside the list price of proprietary APIs.

Electricity only. Hardware, depreciation, idle time and people are not in it, and neither is the difference in quality:
this says what a token costs once the machine is there and busy, not whether it is worth it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import Decimal
from importlib import metadata
from typing import Any

from workbench import catalog
from workbench.errors import UsageError
from workbench.evidence import Basis, Measured
from workbench.units import today

JOULES_PER_KWH = 3_600_000


@dataclass(frozen=True, slots=True)
class Assumption:
    """A number nobody measured here, with the range it may lie in."""

    value: float
    low: float
    high: float
    unit: str
    source: str
    checked: date
    given: bool = False


@dataclass(frozen=True, slots=True)
class ComparedApi:
    """An API model to compare with; `priced` is the month of the price table named `table`."""

    name: str
    provider: str
    title: str
    table: str
    priced: str
    source: str
    checked: date


@dataclass(frozen=True, slots=True)
class Cost:
    """USD per million tokens, within [`low`, `high`]."""

    usd_per_mtok: Decimal
    low: Decimal
    high: Decimal
    basis: Basis
    date: str = field(default_factory=today)


@dataclass(frozen=True, slots=True)
class ApiPrice:
    """List price of an API model in USD per million tokens; `date` is None when the age of the table is unknown."""

    name: str
    title: str
    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal
    source: str
    date: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Electricity for a million input and output tokens here, the APIs' prices, and what had to be assumed."""

    input: Cost
    output: Cost
    apis: tuple[ApiPrice, ...]
    assumed: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: money as decimal strings."""
        return {
            "input": _cost_dict(self.input),
            "output": _cost_dict(self.output),
            "apis": [
                {**asdict(api), "input_usd_per_mtok": str(api.input_usd_per_mtok),
                 "output_usd_per_mtok": str(api.output_usd_per_mtok)} for api in self.apis
            ],
            "assumed": list(self.assumed),
        }  # fmt: skip


def compare(
    values: Mapping[str, Measured], *, power_w: float | None = None, usd_per_kwh: float | None = None
) -> Comparison:
    """Compare the electricity for tokens at the measured speed (`prefill`, `decode` in tok/s) with API prices.

    power_w: draw of the whole machine under load; usd_per_kwh: price of electricity. What is not given is assumed.
    """
    assumptions = catalog.load("assumptions.yaml", Assumption)
    given_power, given_price = check(power_w, usd_per_kwh)
    power = given_power or assumptions["power_under_load"]
    price = given_price or assumptions["electricity_price"]
    assumed = tuple(
        f"{label}: {a.value:g} {a.unit} ({a.low:g} to {a.high:g}), {a.source}"
        for label, a in (("power", power), ("electricity", price)) if not a.given
    )  # fmt: skip
    return Comparison(
        _electricity(values["prefill"], power, price), _electricity(values["decode"], power, price), _apis(), assumed
    )


def check(power_w: float | None, usd_per_kwh: float | None) -> tuple[Assumption | None, Assumption | None]:
    """Power and price as the user gave them, None where they gave none; raises UsageError for what cannot be."""
    return _given(power_w, "power", "W"), _given(usd_per_kwh, "electricity price", "USD/kWh")


def _given(value: float | None, name: str, unit: str) -> Assumption | None:
    if value is None:
        return None
    if not 0 < value < math.inf:
        raise UsageError(f"The {name} is {value:g} {unit}.", fix="Give a number above zero.")
    return Assumption(value, value, value, unit, "given by the user", date.fromisoformat(today()), given=True)


def _electricity(speed: Measured, power: Assumption, price: Assumption) -> Cost:
    def usd(watts: float, usd_per_kwh: float, tok_per_s: float) -> Decimal:
        return Decimal(str(watts)) * Decimal(str(usd_per_kwh)) * 1_000_000 / Decimal(str(tok_per_s)) / JOULES_PER_KWH

    basis = Basis(
        "power ÷ speed × price of electricity",
        {
            "power": f"{power.value:g} W, {power.source}",
            "speed": str(speed),
            "electricity": f"{price.value:g} {price.unit}, {price.source}",
        },
    )
    return Cost(
        usd(power.value, price.value, speed.value),
        usd(power.low, price.low, speed.high),
        usd(power.high, price.high, speed.low),
        basis,
    )


def _apis() -> tuple[ApiPrice, ...]:
    return tuple(_api(compared) for compared in catalog.load("compared_apis.yaml", ComparedApi).values())


def _api(compared: ComparedApi) -> ApiPrice:
    from genai_prices import Usage, calc_price  # a tenth of a second: only when prices are asked for

    # A small request: large ones meet the price tiers that some providers have for long prompts.
    tokens = 1000
    price = calc_price(
        Usage(input_tokens=tokens, output_tokens=tokens), model_ref=compared.name, provider_id=compared.provider
    )
    table = f"genai-prices {metadata.version('genai-prices')}"
    scale = 1_000_000 // tokens
    return ApiPrice(
        compared.name, compared.title, price.input_price * scale, price.output_price * scale, table,
        compared.priced if table == compared.table else None,
    )  # fmt: skip


def _cost_dict(cost: Cost) -> dict[str, Any]:
    return {
        "usd_per_mtok": str(cost.usd_per_mtok), "low": str(cost.low), "high": str(cost.high),
        "basis": asdict(cost.basis), "date": cost.date,
    }  # fmt: skip
