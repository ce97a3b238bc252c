"""The README's table of errors says which of them are of what the coefficients were fitted to."""

from __future__ import annotations

from checks import accuracy


def test_rows_of_a_model_and_machine_that_the_fit_has_seen_say_so() -> None:
    rows = accuracy.table().splitlines()
    seen = [row for row in rows if "/engine_deployments.json" in row or "/media_deployments.json" in row]
    assert len(seen) == 8
    assert all("the fit has seen this model and machine" in row for row in seen)
    assert sum("the fit has seen this" in row for row in rows) == 8


def test_and_what_no_fit_had_seen_says_that() -> None:
    unseen = [row for row in accuracy.table().splitlines() if "_deployments_unseen.json" in row]
    assert len(unseen) == 8
    assert all("before the fit had seen this machine" in row for row in unseen)
