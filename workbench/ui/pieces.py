"""Small pieces that every panel is made of: HTML with everything escaped, figures, cards, buttons."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ipywidgets as widgets

from workbench.evidence import Estimate
from workbench.units import format_value

if TYPE_CHECKING:
    import plotly.graph_objects as go

_STYLE: Final = Path(__file__).with_name("panel.css")


def style() -> widgets.HTML:
    """The look of the panels, for front ends that do not have our page around them."""
    return _classed(widgets.HTML(f"<style>{_STYLE.read_text(encoding='utf-8')}</style>"), "wb-style")


def text(value: object) -> str:
    """Anything as text that is safe inside HTML."""
    return html.escape(str(value))


def card(title: str, *children: widgets.Widget, lead: str = "") -> widgets.VBox:
    """A card: a heading, a sentence, and what it is about."""
    sentence = f"<p>{text(lead)}</p>" if lead else ""
    heading = widgets.HTML(f"<h2>{text(title)}</h2>{sentence}")
    return _classed(widgets.VBox([_classed(heading, "wb-heading"), *children]), "wb-card")


def row(*children: widgets.Widget) -> widgets.HBox:
    """Things beside each other, below each other on a small screen."""
    return _classed(widgets.HBox(children), "wb-row")


def button(label: str, *, icon: str = "", hint: str = "") -> widgets.Button:
    """A button; the class `wb-primary` marks the one next step."""
    return _classed(widgets.Button(description=label, icon=icon, tooltip=hint or None), "wb-button")


def actions(*controls: widgets.Widget) -> widgets.HBox:
    """A line of buttons."""
    return _classed(widgets.HBox(controls), "wb-actions")


def field(control: Any) -> Any:
    """A control with its name above it."""
    return _classed(control, "wb-field")


def fields(*controls: Any) -> widgets.Box:
    """Controls beside each other, as many in a line as there is room for."""
    return _classed(widgets.Box(controls), "wb-fields")


def figure_area() -> widgets.Output:
    """Where a figure will be."""
    return _classed(widgets.Output(), "wb-figure")


def show(widget: widgets.DOMWidget, shown: bool) -> None:
    """Show or hide a widget."""
    mark(widget, "wb-hidden", not shown)


def mark(widget: widgets.DOMWidget, name: str, marked: bool) -> None:
    """Give a widget a class, or take it away."""
    (widget.add_class if marked else widget.remove_class)(name)


def note(sentence: object) -> str:
    """A sentence in small print."""
    return f'<p class="wb-note">{text(sentence)}</p>' if sentence else ""


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """A list of names and values."""
    items = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="wb-facts">{items}</dl>'


def estimate(found: Estimate) -> str:
    """A prediction and its interval, short: '101 (54–133) tok/s'; 'unknown' where nobody can say."""
    if found.value is None or found.low is None or found.high is None:
        return "unknown"
    texts = [format_value(value, found.unit) for value in (found.value, found.low, found.high)]
    (value, low, high), units = zip(*(text.rsplit(" ", 1) for text in texts), strict=True)
    return f"{value} ({low}–{high}) {units[0]}" if len(set(units)) == 1 else str(found)


def sentences(head: Iterable[str], rows: Iterable[Iterable[object]], caption: str) -> str:
    """A table of sentences: its cells begin at the left and go over several lines."""
    return f'<div class="wb-sentences">{table(head, rows, caption)}</div>'


def numbers(head: Iterable[str], rows: Iterable[Iterable[object]], caption: str) -> str:
    """A table of many numbers: its cells stay on one line, and a small screen scrolls it."""
    return f'<div class="wb-numbers">{table(head, rows, caption)}</div>'


def table(head: Iterable[str], rows: Iterable[Iterable[object]], caption: str) -> str:
    """A table whose first column names its rows."""
    first = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    body = "".join(_table_row(list(cells)) for cells in rows)
    return (
        f'<div class="wb-scroll"><table class="wb-table"><caption>{text(caption)}</caption>'
        f"<thead><tr>{first}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _table_row(cells: list[object]) -> str:
    rest = "".join(f"<td>{text(cell)}</td>" for cell in cells[1:])
    return f'<tr><th scope="row">{text(cells[0])}</th>{rest}</tr>'


def more(summary: str, lines: Iterable[object]) -> str:
    """Lines that are shown when asked for."""
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f'<details class="wb-more"><summary>{text(summary)}</summary><ul>{items}</ul></details>'


def figure(output: widgets.Output, drawn: go.Figure, description: str) -> None:
    """Show a figure in an output, from any thread, in JupyterLab and in Voilà."""
    plain = _plain(drawn)
    # Plotly's marks take no room of their own: on a page that is made narrow a figure may lose its height.
    output.layout.min_height = f"{plain['layout']['height']}px"
    data = {"application/vnd.plotly.v1+json": plain, "text/plain": description}
    output.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)


def _plain(drawn: go.Figure) -> dict[str, Any]:
    plain: dict[str, Any] = drawn.to_plotly_json()
    # Named here and not in a style sheet: Plotly measures its texts before it places them.
    plain["layout"].setdefault("font", {})["family"] = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'
    plain["config"] = {"displaylogo": False, "displayModeBar": False, "responsive": True}
    return plain


def _classed(widget: Any, *names: str) -> Any:
    for name in names:
        widget.add_class(name)
    return widget
