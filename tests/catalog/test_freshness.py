"""Every fact says where it is from and when it was checked; what is too old is listed, prices soonest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

from workbench import catalog
from workbench.catalog.freshness import records

TODAY = date(2026, 11, 24)


def test_every_record_has_a_source_and_a_date() -> None:
    seen = set()
    for file, name, fields in records():
        seen.add(file)
        assert str(fields.get("source") or "").strip(), f"{file}, {name}: no source"
        checked = fields.get("checked")
        day = checked if isinstance(checked, date) else date.fromisoformat(str(checked))
        assert date(2023, 1, 1) <= day <= date.today() + timedelta(days=1), f"{file}, {name}: checked {day}"
    assert {"accelerators.csv", "instances.csv", "engines.yaml", "apps.yaml", "assets.yaml"} <= seen


def test_what_is_too_old_is_listed_the_oldest_first(record_property: Callable[[str, object], None]) -> None:
    listed = catalog.stale(TODAY)
    record_property("too old", [f"{one.file}: {one.name}" for one in catalog.stale()])  # told, never failed for
    assert {one.kind for one in listed} <= {"price", "fact"}
    assert [one.since or date.min for one in listed] == sorted(one.since or date.min for one in listed)
    for one in listed:
        assert one.days is None or one.days > (90 if one.kind == "price" else 730), one


def test_prices_without_a_date_are_listed_and_fresh_ones_are_not() -> None:
    listed = {one.name: one for one in catalog.stale(TODAY) if one.file == "instances.csv"}
    assert listed["vast-1x-rtx-4090"].days is None
    assert "runpod-h100-sxm-secure" not in listed  # of 2026-11-09
    assert "runpod-h100-sxm-secure" in {one.name for one in catalog.stale(TODAY + timedelta(days=90))}


def test_a_month_counts_from_its_first_day() -> None:
    limit = {one.name for one in catalog.stale(date(2027, 1, 30)) if one.file == "compared_apis.yaml"}
    assert limit == set()
    assert {one.name for one in catalog.stale(date(2027, 1, 31)) if one.file == "compared_apis.yaml"} >= {"gpt-4o"}


def test_facts_last_longer_than_prices() -> None:
    assert not [one for one in catalog.stale(TODAY) if one.kind == "fact"]
    later = {one.file for one in catalog.stale(TODAY + timedelta(days=731)) if one.kind == "fact"}
    assert {"accelerators.csv", "engines.yaml"} <= later
