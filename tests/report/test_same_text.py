"""Which engines write the same text: the record, drawn and in words, and nothing that is not in it."""

from __future__ import annotations

import json
from statistics import median

from workbench.catalog.loader import FOLDER
from workbench.report import same_text

KEPT = json.loads((FOLDER / "records" / "same_text.json").read_text("utf-8"))


def test_every_engine_of_the_record_is_a_bar_of_its_prompts() -> None:
    figure = same_text.figure()
    drawn = {label: value for trace in figure.data for label, value in zip(trace.y, trace.x, strict=True)}
    assert sorted(drawn.values()) == sorted(one["equal"] for one in KEPT["result"]["engines"].values())
    assert drawn["llama.cpp Q4_1"] == KEPT["result"]["engines"]["llama.cpp Q4_1"]["equal"]
    exact, rounded = figure.data
    assert len(exact.y) == len(KEPT["result"]["numerically_equal"])
    assert set(exact.x) == {20}
    assert max(rounded.x) < 20


def test_the_table_says_where_the_others_part() -> None:
    rows = {label: rest for label, *rest in same_text.rows()}
    equal, part = rows["llama.cpp Q4_1"]
    places = KEPT["result"]["engines"]["llama.cpp Q4_1"]["leaves_at_character"].values()
    assert (equal, part) == (f"{20 - len(places)} of 20", f"after {median(places):.0f} characters")
    assert ["20 of 20", "–"] in list(rows.values())


def test_in_words_with_its_date() -> None:
    text = str(same_text.record())
    assert "smollm2-135m-instruct, the first 32 tokens at temperature 0 on 20 prompts" in text
    assert KEPT["date"][:10] in text
    assert "llama.cpp F32" in text
