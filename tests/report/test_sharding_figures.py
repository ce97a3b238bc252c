"""The figures of layouts: every byte is in a bar, and what spilled or is too much is red."""

from __future__ import annotations

import pytest

from workbench.evidence import Basis, Breakdown, Estimate
from workbench.planning.layouts import DISK, RAM, DeviceShare, Layout
from workbench.report import sharding_figures
from workbench.report.sharding_figures import RED, SPILLED
from workbench.units import GIB


def size(gib: float) -> Estimate:
    return Estimate.within(gib * GIB, "B", Basis("made up"), 0, 0)


def share(device: str, weights: float, room: float, spilled: float = 0, cache: float = 1) -> DeviceShare:
    return DeviceShare(
        Breakdown(device, {"weights": size(weights), "KV cache": size(cache)}),
        int(room * GIB),
        "0–9",
        int(spilled * GIB),
    )


FITS = Layout(
    "one", "Engine: one way", True, "", (share("GPU 0: <b>Card", 10, 20), share(RAM, 5, 30, 5), share(DISK, 7, 90, 7)),
    Estimate(2.0, 1.0, 4.0, "s", Basis("made up")),
)  # fmt: skip
TOO_BIG = Layout("two", "Other", False, "too big", (share("GPU 0: Card", 25, 20),))
NOWHERE = Layout("three", "Third: another", False, "no device")


def bars(figure: object, name: str) -> list[float]:
    return [x for trace in figure.data if trace.name == name for x in trace.x]  # type: ignore[attr-defined]


def test_the_bars_of_a_device_sum_to_what_it_holds() -> None:
    figure = sharding_figures.layouts((FITS,))
    total = sum(sum(trace.x) for trace in figure.data if trace.type == "bar")
    assert total == pytest.approx(sum((one.memory.total.value or 0) / GIB for one in FITS.devices))


def test_what_spilled_or_is_too_much_is_red() -> None:
    figure = sharding_figures.layouts((FITS, TOO_BIG, NOWHERE))
    assert bars(figure, SPILLED) == pytest.approx([0, 5, 7, 6])  # 25 of weights and 1 of cache on 20
    assert bars(figure, "weights") == pytest.approx([10, 0, 0, 19])
    assert {trace.marker.color for trace in figure.data if trace.name == SPILLED} == {RED}
    assert bars(figure, "free") == [20, 30, 90, 20]


def test_every_layout_says_how_it_ends() -> None:
    texts = " ".join(note.text for note in sharding_figures.layouts((FITS, TOO_BIG, NOWHERE)).layout.annotations)
    assert "2 s a token" in texts
    assert texts.count("cannot run") == 2
    assert "cannot be laid out" in texts


def test_the_legend_is_there_when_the_first_layout_has_no_devices() -> None:
    figure = sharding_figures.layouts((NOWHERE, FITS, TOO_BIG))
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert sorted(shown) == sorted(["weights", "KV cache", SPILLED, "free"])
    assert [axis.showticklabels for axis in figure.select_yaxes()] == [False, True, True]


def test_nothing_is_red_where_nothing_spills() -> None:
    fits = Layout("one", "Engine", True, "", (share("GPU", 10, 20),))
    assert SPILLED not in {trace.name for trace in sharding_figures.layouts((fits,)).data}


def test_names_are_text_and_never_markup() -> None:
    assert "<b>Card" not in str(sharding_figures.layouts((FITS,)).to_dict())


def test_only_known_times_are_drawn_with_their_interval() -> None:
    (trace,) = sharding_figures.seconds_per_token((FITS, TOO_BIG, NOWHERE)).data
    assert (list(trace.x), list(trace.y)) == ([2.0], ["Engine"])
    assert (trace.error_x.array[0], trace.error_x.arrayminus[0]) == (2.0, 1.0)
