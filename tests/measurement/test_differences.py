"""Why answers differ: what is said of each pair of engines, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conftest import fake_engine
from workbench import planning
from workbench.engines.apps.engine import Listed
from workbench.machine import Machine
from workbench.measurement import Terms, reasons, terms
from workbench.models import Model, in_format
from workbench.planning import Plan

FAKE, ORDER = fake_engine().title, "sums in another order"


@pytest.fixture
def packed(embedded_model: Model, machine: Machine) -> Plan:
    """The embedded model as its file has it, in Q4_1."""
    return planning.plan(embedded_model, machine=machine, engine=fake_engine(), context=512, threads=1)


def written(plan: Plan, name: str) -> Terms:
    """The terms of an engine for which the weights are written in this format."""
    return terms(replace(plan, model=in_format(plan.model, name)))


def test_a_wider_format_has_the_same_numbers_and_another_arithmetic(packed: Plan) -> None:
    """Written in 32 bits, weights of 5 bits lose nothing: the difference is in what they are multiplied with."""
    first, *rest = reasons(terms(packed), written(packed, "FP32"))
    assert "rounds the inputs of every matrix to 8 bits and keeps keys and values as f16" in first
    assert "computes in 32-bit floats" in first
    assert len(rest) == 1


@pytest.mark.parametrize(("name", "bits"), [("NF4", "4.5"), ("BF16", "16"), ("FP16", "16")])
def test_a_format_that_rounds_again_is_named_with_its_bits(packed: Plan, name: str, bits: str) -> None:
    text = " ".join(reasons(terms(packed), written(packed, name)))
    assert f"The weights are not the same numbers: {FAKE} Q4_1 has 5 bits for each" in text
    assert f"{FAKE} {name} has {bits} bits for each, rounded once more from Q4_1" in text


def test_brain_floats_are_named(packed: Plan) -> None:
    text = " ".join(reasons(written(packed, "FP32"), written(packed, "BF16")))
    assert f"computes in 32-bit floats; {FAKE} BF16 computes in BF16, whose floats have 8 bits for their digits" in text


def test_the_same_floats_have_two_names(packed: Plan) -> None:
    ours = replace(written(packed, "FP32"), arithmetic="")
    (only,) = reasons(ours, replace(written(packed, "F32"), arithmetic=""))
    assert ORDER in only


def test_what_was_drawn_or_read_comes_first(packed: Plan) -> None:
    one, other = terms(packed, temperature=0.7), terms(packed, temperature=0.7, history=1)
    drawn, read, order = reasons(one, other, (30, 31))
    assert "at temperature 0.7" in drawn
    assert "its own earlier answers" in read
    assert ORDER in order


def test_prompts_of_other_lengths_are_no_longer_the_same(packed: Plan) -> None:
    template, _ = reasons(terms(packed), terms(packed), (30, 45))
    assert "30 and 45 tokens" in template
    assert len(reasons(terms(packed), terms(packed), (30, 30))) == 1
    assert len(reasons(terms(packed), terms(packed), (30, None))) == 1


def test_nobody_knows_what_an_app_does_not_say(packed: Plan) -> None:
    listed = terms(replace(packed, model=Listed("llama3.2", "the app does not say")))
    first, _ = reasons(terms(packed), listed)
    assert first == f"Nobody says how the weights of {FAKE} unknown are rounded."
