"""What a million tokens cost: exact arithmetic, and what was assumed is said."""

from __future__ import annotations

import json
from decimal import Decimal
from importlib import metadata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import catalog, costs
from workbench.costs import ApiPrice, Comparison
from workbench.costs.tokens import Assumption
from workbench.errors import UsageError
from workbench.evidence import Measured

TITLES = {
    "gpt-4o": "OpenAI GPT-4o",
    "gpt-4o-mini": "OpenAI GPT-4o mini",
    "claude-sonnet-4-5": "Anthropic Claude Sonnet 4.5",
    "gemini-2.5-flash": "Google Gemini 2.5 Flash",
}


def speeds(prefill: float = 1000.0, *decode: float) -> dict[str, Measured]:
    return {"prefill": Measured((prefill,), "tok/s", "made up"),
            "decode": Measured(decode or (100.0,), "tok/s", "made up")}  # fmt: skip


def test_the_arithmetic_is_exact() -> None:
    """36 W for 10,000 s are a tenth of a kWh, at 0.30 a kWh: three cents."""
    found = costs.compare(speeds(1000, 100), power_w=36, usd_per_kwh=0.3)
    assert found.output.usd_per_mtok == Decimal("0.03")
    assert found.input.usd_per_mtok == Decimal("0.003")
    assert found.output.low == found.output.high == found.output.usd_per_mtok


def test_what_is_given_is_not_assumed() -> None:
    assert costs.compare(speeds(), power_w=36, usd_per_kwh=0.3).assumed == ()
    (assumed,) = costs.compare(speeds(), power_w=36).assumed
    assert assumed.startswith("electricity: 0.15 USD/kWh (0.08 to 0.4), ")
    (assumed,) = costs.compare(speeds(), usd_per_kwh=0.3).assumed
    assert assumed.startswith("power: 65 W (15 to 250), ")
    assert len(costs.compare(speeds()).assumed) == 2


def test_the_basis_names_what_went_in() -> None:
    inputs = costs.compare(speeds(1000, 90, 100, 110), power_w=36).output.basis.inputs
    assert inputs["power"] == "36 W, given by the user"
    assert inputs["speed"] == "100 tok/s (90 tok/s to 110 tok/s, n=3)"
    assert inputs["electricity"].startswith("0.15 USD/kWh, assumption")


positive = st.floats(0.01, 1e5)


@settings(deadline=None)  # the first comparison loads the price table
@given(st.lists(positive, min_size=1, max_size=9), st.none() | positive, st.none() | positive)
def test_the_interval_holds_the_value(decode: list[float], power_w: float | None, usd_per_kwh: float | None) -> None:
    found = costs.compare(speeds(1000, *decode), power_w=power_w, usd_per_kwh=usd_per_kwh).output
    assert isinstance(found.usd_per_mtok, Decimal)
    assert 0 < found.low <= found.usd_per_mtok <= found.high


@settings(deadline=None)
@given(positive, positive)
def test_a_faster_machine_never_costs_more(one: float, other: float) -> None:
    slow, fast = (costs.compare(speeds(1000, speed)).output for speed in sorted((one, other)))
    assert fast.usd_per_mtok <= slow.usd_per_mtok


@settings(deadline=None)
@given(positive, st.integers(2, 10))
def test_twice_the_power_costs_twice_as_much(power_w: float, times: int) -> None:
    once, more = (costs.compare(speeds(), power_w=power_w * n, usd_per_kwh=0.25).output for n in (1, times))
    assert float(more.usd_per_mtok) == pytest.approx(float(once.usd_per_mtok) * times)


@pytest.mark.parametrize("name", ["power_w", "usd_per_kwh"])
@pytest.mark.parametrize("value", [0, -0.1, -65, float("nan"), float("inf")])
def test_a_number_that_cannot_be(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=r"above zero|finite"):
        costs.compare(speeds(), **{name: value})


@pytest.mark.parametrize("name", ["power_w", "usd_per_kwh"])
def test_a_number_can_be_checked_before_anything_is_measured(name: str) -> None:
    both: dict[str, float | None] = {"power_w": 36, "usd_per_kwh": 0.3}
    with pytest.raises(UsageError, match="above zero"):
        costs.check(**{**both, name: 0})


def test_what_the_user_gave_is_exact_and_what_was_not_given_is_left_open() -> None:
    power, price = costs.check(36, None)
    assert power is not None
    assert (power.value, power.low, power.high, power.unit, power.given) == (36, 36, 36, "W", True)
    assert price is None
    assert costs.check(None, None) == (None, None)
    assert not any(a.given for a in catalog.load("assumptions.yaml", Assumption).values())


# -- the APIs --------------------------------------------------------------------------------------------------


@pytest.fixture
def apis() -> tuple[ApiPrice, ...]:
    return costs.compare(speeds()).apis


def test_the_four_apis_in_order(apis: tuple[ApiPrice, ...]) -> None:
    assert {api.name: api.title for api in apis} == TITLES
    assert [api.name for api in apis] == list(TITLES)


def test_prices_are_those_of_the_table(apis: tuple[ApiPrice, ...]) -> None:
    """Asked in another way: for a request of other lengths, input and output apart."""
    from genai_prices import Usage, calc_price

    for api in apis:
        of_input = calc_price(Usage(input_tokens=8000), model_ref=api.name).total_price
        of_output = calc_price(Usage(output_tokens=4000), model_ref=api.name).total_price
        assert api.input_usd_per_mtok == of_input * 125
        assert api.output_usd_per_mtok == of_output * 250
        assert api.output_usd_per_mtok > api.input_usd_per_mtok > 0


@pytest.mark.skipif(metadata.version("genai-prices") != "0.2.3", reason="the prices of another month")
def test_prices_of_the_recorded_table(apis: tuple[ApiPrice, ...]) -> None:
    found = {api.name: (api.input_usd_per_mtok, api.output_usd_per_mtok) for api in apis}
    assert found == {
        "gpt-4o": (Decimal("2.5"), Decimal(10)),
        "gpt-4o-mini": (Decimal("0.15"), Decimal("0.6")),
        "claude-sonnet-4-5": (Decimal(3), Decimal(15)),
        "gemini-2.5-flash": (Decimal("0.3"), Decimal("2.5")),
    }


@pytest.mark.parametrize(("version", "date"), [("0.2.3", "2026-11"), ("0.2.4", None), ("9.9", None)])
def test_prices_carry_a_date_only_when_it_is_known(
    monkeypatch: pytest.MonkeyPatch, version: str, date: str | None
) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: version)
    apis = costs.compare(speeds()).apis
    assert {api.date for api in apis} == {date}
    assert {api.source for api in apis} == {f"genai-prices {version}"}


def test_money_travels_as_decimal_text() -> None:
    found: Comparison = costs.compare(speeds(), power_w=36, usd_per_kwh=0.3)
    data = json.loads(json.dumps(found.to_dict()))
    assert list(data) == ["input", "output", "apis", "assumed"]
    assert list(data["output"]) == ["usd_per_mtok", "low", "high", "basis", "date"]
    assert Decimal(data["output"]["usd_per_mtok"]) == found.output.usd_per_mtok
    assert list(data["apis"][0]) == ["name", "title", "input_usd_per_mtok", "output_usd_per_mtok", "source", "date"]
    assert Decimal(data["apis"][0]["output_usd_per_mtok"]) == found.apis[0].output_usd_per_mtok
