"""Which engines and formats write the same text: the record of `benchmarks.same_text`, as a figure and as a table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import TYPE_CHECKING

from workbench import engines
from workbench.catalog.loader import FOLDER
from workbench.report.figures import MEASURED, PALETTE, safe, styled

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROW_PX = 44


@dataclass(frozen=True, slots=True)
class Row:
    """One engine and format. equal: on how many prompts its text was the reference's; exact: whether it computes in 32
    bits with the same numbers; leaves_at: characters after which the other texts left it, None where none did."""

    engine: str
    format: str
    equal: int
    exact: bool
    leaves_at: float | None

    @property
    def label(self) -> str:
        """Engine and format."""
        return f"{self.engine} {self.format}"


@dataclass(frozen=True, slots=True)
class Record:
    """What was compared, and what came of it."""

    model: str
    tokens: int
    prompts: int
    date: str
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        exact = ", ".join(row.label for row in self.rows if row.exact)
        return (
            f"{self.model}, the first {self.tokens} tokens at temperature 0 on {self.prompts} prompts "
            f"({self.date}). The same numbers and 32 bits everywhere: {exact}."
        )


@cache
def record() -> Record:
    """The record, those that wrote most often the same first."""
    kept = json.loads((FOLDER / "records" / "same_text.json").read_text("utf-8"))
    found = kept["result"]
    rows = [
        Row(*_named(name), one["equal"], name in found["numerically_equal"],
            median(one["leaves_at_character"].values()) if one["leaves_at_character"] else None)
        for name, one in found["engines"].items()
    ]  # fmt: skip
    prompts = max(one["of"] for one in found["engines"].values())
    rows.sort(key=lambda row: -row.equal)
    return Record(found["model"], found["tokens"], prompts, kept["date"][:10], tuple(rows))


def _named(name: str) -> tuple[str, str]:
    engine, _, format_name = name.partition(" ")
    return engines.get(engine).title, format_name


def figure() -> go.Figure:
    """On how many prompts each engine and format wrote the same text."""
    import plotly.graph_objects as go

    found, drawn = record(), go.Figure()
    for exact, name, colour in ((True, "32 bits everywhere", PALETTE[2]), (False, "rounded", MEASURED)):
        rows = [row for row in found.rows if row.exact is exact]
        drawn.add_bar(
            orientation="h", y=[safe(row.label) for row in rows], x=[row.equal for row in rows], name=name,
            marker_color=colour, width=0.5, hovertemplate=f"%{{y}}: %{{x}} of {found.prompts}<extra></extra>",
        )  # fmt: skip
    labels = [safe(row.label) for row in found.rows]
    texts = [f"{safe(row.engine)}<br>{safe(row.format)}: <b>{row.equal}</b>" for row in found.rows]
    drawn.update_xaxes(title=f"prompts of {found.prompts} with the same text", range=[0, found.prompts], dtick=5)
    drawn.update_yaxes(
        range=[len(labels) - 0.5, -0.5], categoryorder="array", categoryarray=labels, tickmode="array",
        tickvals=labels, ticktext=texts,
    )  # fmt: skip
    return styled(drawn, height=70 + ROW_PX * len(labels), entries=2)


def rows() -> list[tuple[str, str, str]]:
    """The same as a table: engine and format, prompts with the same text, and where the others part."""
    found = record()
    return [
        (row.label, f"{row.equal} of {found.prompts}",
         "–" if row.leaves_at is None else f"after {row.leaves_at:.0f} characters")
        for row in found.rows
    ]  # fmt: skip
