"""The reader of tables is strict: what it takes, and what it says about each fault."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from workbench.catalog.loader import load_table
from workbench.errors import UsageError


@dataclass(frozen=True)
class Card:
    key: str
    title: str
    memory_mib: int | None
    speed: float
    price: Decimal | None
    unified: bool
    aliases: tuple[str, ...]
    source: str
    checked: date


HEAD = "key,title,memory_mib,speed,price,unified,aliases,source,checked\n"
GOOD = "a-1,A 1,8,1.5,0.10,yes,one|two,a page,2026-01-31"


def write(folder: Path, *rows: str, head: str = HEAD) -> Path:
    path = folder / "cards.csv"
    path.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def changed(**cells: str) -> str:
    return ",".join({**dict(zip(HEAD.strip().split(","), GOOD.split(","), strict=True)), **cells}.values())


def test_reads_rows_and_remarks(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, 'b-2,"B, 2",,2,,no,,"a ""page""",2026-02-01', head=f"# a remark\n{HEAD}")
    table = load_table(path, Card)
    day = date(2026, 1, 31)
    assert table["a-1"] == Card("a-1", "A 1", 8, 1.5, Decimal("0.10"), True, ("one", "two"), "a page", day)
    assert table["b-2"] == Card("b-2", "B, 2", None, 2.0, None, False, (), 'a "page"', date(2026, 2, 1))


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        ({"source": ""}, "source is empty"),
        ({"checked": ""}, "checked is empty"),
        ({"checked": "yesterday"}, "checked: expected date, got 'yesterday'"),
        ({"speed": ""}, "speed is empty"),
        ({"speed": "fast"}, "speed: expected float, got 'fast'"),
        ({"speed": "inf"}, "speed: expected float, got 'inf'"),
        ({"memory_mib": "8.5"}, "memory_mib: expected int, got '8.5'"),
        ({"price": "NaN"}, "price: expected Decimal, got 'NaN'"),
        ({"unified": "true"}, "unified: expected bool, got 'true'"),
        ({"title": "A,1"}, "10 cells, expected 9"),
    ],
)
def test_names_file_row_and_fault(tmp_path: Path, cells: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_table(write(tmp_path, changed(**cells)), Card)
    assert "cards.csv, row 'a-1'" in str(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "head", "complaint"),
    [
        ((GOOD, GOOD), HEAD, "'a-1' appears twice"),
        ((GOOD,), HEAD.replace("speed", "velocity"), "the columns are"),
        ((), "", "the columns are"),
        (('"a',), HEAD, "not valid CSV"),
        ((changed(key=""),), HEAD, "key is empty"),
    ],
)
def test_refuses_broken_tables(tmp_path: Path, rows: tuple[str, ...], head: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        load_table(write(tmp_path, *rows, head=head), Card)


def test_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.csv cannot be read"):
        load_table(tmp_path / "nowhere.csv", Card)
