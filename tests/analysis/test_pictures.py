"""Pictures of plans: what a plan holds is drawn where it lies, however many tensors there are."""

import re

import numpy as np
import pytest

from staticgrad.pictures.arena import Held, arena

_BOX = re.compile(
    r'<g class="pill (\w+)" data-to=""><title>[^<]*</title>'
    r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"/>'
)


@pytest.mark.parametrize("count", [0, 1, 30, 399, 400, 1000])
@pytest.mark.parametrize("largest", [64, 4096])
def test_everything_held_is_drawn_where_it_lies(count, largest):
    """The middle of each tensor is in a box of its colour, and boxes are in the frame."""
    rng = np.random.default_rng(count)
    sizes = rng.integers(1, largest, count)
    offsets = np.cumsum(sizes) - sizes
    first = rng.integers(0, max(count, 1), count)
    last = first + rng.integers(0, 5, count)
    held = [
        Held(f"t{k}", int(offsets[k]), int(sizes[k]), int(first[k]), int(last[k]), "fb"[k % 2])
        for k in range(count)
    ]
    positions, peak = count + 5, int(sizes.sum())
    drawn = arena(held, positions, peak, ["f"] * positions)
    boxes = [(each[1], *map(float, each.groups()[1:])) for each in _BOX.finditer(drawn)]
    assert len(boxes) <= count
    across, up = 676 / positions, 252 / max(peak, 1)
    for column, x, y, width, height in boxes:
        assert column in "fb"
        assert 74 <= x <= x + width <= 750.1
        assert 13 <= y <= y + height <= 267
    for each in held:
        x = 74 + (each.first + each.last + 1) / 2 * across
        y = 266 - (each.offset + each.nbytes // 2) * up
        assert any(
            column == each.column
            and left - 0.1 <= x <= left + width + 0.1
            and top - 0.2 <= y <= top + height + 0.2
            for column, left, top, width, height in boxes
        ), each
