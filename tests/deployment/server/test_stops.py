"""Stop sequences: found wherever the pieces are cut, and never let through in part."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.deployment.server.stops import StopCutter

PIECES = st.lists(st.text(alphabet="ab", max_size=4), max_size=12)
STOPS = st.lists(st.text(alphabet="ab", min_size=1, max_size=4), max_size=3)


def cut(pieces: list[str], stops: list[str]) -> tuple[list[str], StopCutter]:
    """What was let through until the end or the stop."""
    cutter, out = StopCutter(stops), []
    for piece in pieces:
        out.append(cutter.push(piece))
        if cutter.stopped:
            break
    return [*out, cutter.rest()], cutter


@settings(deadline=None)
@given(PIECES, STOPS)
def test_pieces_end_where_the_whole_text_would(pieces: list[str], stops: list[str]) -> None:
    """The first sequence that is complete ends the text, however it came."""
    out, cutter = cut(pieces, stops)
    text = "".join(pieces)
    letter_by_letter = next(
        (text[: end - len(stop)] for end in range(len(text) + 1)
         for stop in sorted(stops, key=len, reverse=True) if text[:end].endswith(stop)), None
    )  # fmt: skip
    assert cutter.stopped == (letter_by_letter is not None)
    assert text.startswith("".join(out))
    if letter_by_letter is None:
        assert "".join(out) == text
    assert not any(stop in "".join(out) for stop in stops)


@pytest.mark.parametrize("pieces", [["x", "<", "|e", "nd|>", "y"], ["x<|end|>y"], ["x<|end|", ">"]])
def test_a_sequence_over_several_pieces(pieces: list[str]) -> None:
    out, cutter = cut(pieces, ["<|end|>"])
    assert (out[0], "".join(out), cutter.stopped) == ("x", "x", True)


def test_what_turns_out_to_be_no_sequence_is_let_through_at_once() -> None:
    cutter = StopCutter(["abc"])
    assert [cutter.push(piece) for piece in ("a", "b", "d", "ab")] == ["", "", "abd", ""]
    assert cutter.rest() == "ab"
