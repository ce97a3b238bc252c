"""What the training of the embedded model rests on: prompts, colours, measures and the sets of its examination."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.icons import colours, measures, words
from training.icons.examination import NAMES, PAIRS, Sets

NAMES_ = ("red apple", "automobile", "snail", "t rex")


def disc(rgb: tuple[int, int, int], x: int = 32, radius: int = 20) -> NDArray[np.uint8]:
    """A disc with a darker half, on white."""
    rows, columns = np.mgrid[:64, :64]
    picture = np.full((64, 64, 3), 255, np.uint8)
    inside = (rows - 32) ** 2 + (columns - x) ** 2 < radius**2
    picture[inside] = rgb
    picture[inside & (rows > 40)] = np.array(rgb) * 0.8
    return picture


@pytest.mark.parametrize("colour", colours.COLOURS)
def test_what_is_painted_in_a_colour_has_it(colour: str) -> None:
    painted = colours.paint(disc((30, 120, 200)), colour)
    assert colours.dominant(painted) == colour
    assert (painted[0, 0] == 255).all()  # white stays white
    assert len({tuple(one) for one in painted.reshape(-1, 3)}) > 2 or colour == "black"  # and shades stay


def test_a_picture_is_its_own_nearest() -> None:
    pictures = [disc((200, 30, 30)), disc((30, 200, 30)), disc((200, 30, 30), radius=10)]
    known = np.stack([measures.features(one) for one in pictures])
    assert [measures.rank(known[n], known, n) for n in range(3)] == [0, 0, 0]
    assert measures.rank(measures.features(disc((195, 35, 30), x=33)), known, 0) == 0


def test_an_outline_knows_no_place_size_or_colour() -> None:
    one, other = measures.outline(disc((200, 30, 30))), measures.outline(disc((30, 30, 200), x=28, radius=15))
    assert np.abs(one - other).mean() < 0.05
    assert not measures.outline(np.full((64, 64, 3), 255, np.uint8)).any()


def test_differences() -> None:
    one = disc((200, 30, 30))
    assert measures.difference(one, one) == 0 and measures.psnr(one, one) > 100
    assert measures.difference(one, disc((200, 30, 30), x=34)) > measures.DIFFER_AT_LEAST


def test_prompts_name_the_thing_in_many_ways() -> None:
    prompts, random = words.Prompts(NAMES_), np.random.default_rng(0)
    asked = {prompts.ask(1, None, random) for _ in range(300)}
    assert {"automobile", "a car", "icon of automobile"} <= asked and len(asked) > 20
    assert all("car" in one or "automobile" in one for one in asked)
    assert "an automobile" in asked and "a automobile" not in asked
    pink = {prompts.ask(1, "pink", random) for _ in range(100)}
    assert "pink car" in pink and all("pink" in one for one in pink)


def test_the_examination_is_fixed() -> None:
    sets = Sets.read()
    assert len(set(sets.names)) == len(sets.variants) == NAMES and len({icon for icon, _ in sets.pairs}) == PAIRS
    assert {colour for _, colour in sets.pairs} == set(colours.COLOURS)
