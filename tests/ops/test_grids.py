"""Images read at places: the definition summed over all elements, derivatives by differences."""

from itertools import product

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, gradcheck
from staticgrad.errors import ArgumentError, RankError, ShapeError

RNG = np.random.default_rng(7)
BORDERS = ("zeros", "border", "reflection")
nn = sg.nn


def places_of(grid, size, border, align):
    """Where the numbers of a grid lie among the elements of an axis."""
    at = (grid + 1) / 2 * (size - 1) if align else (grid + 1) / 2 * size - 0.5
    if border == "reflection":
        low, span = (0.0, size - 1) if align else (-0.5, size)
        at = low + (span - np.abs((at - low) % (2 * span) - span) if span else 0 * at)
    return at if border == "zeros" else np.clip(at, 0, size - 1)


def by_hand(x, grid, mode, border, align):
    """Each element of x times a tent around its centre along each axis (equation 5 there)."""
    found = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for at in np.ndindex(*x.shape[2:]):
        weight = 1.0
        for axis, (k, size) in enumerate(zip(at, x.shape[2:], strict=True)):
            place = places_of(grid[..., -1 - axis], size, border, align)
            near = np.rint(place) == k
            weight = weight * (near if mode == "nearest" else np.maximum(0, 1 - abs(place - k)))
        found += x[(..., *at)].reshape(*x.shape[:2], *(1,) * (grid.ndim - 2)) * weight[:, None]
    return found


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    ("shape", "new"),
    [
        ((2, 3, 4, 5), (3, 2)),
        ((1, 2, 1, 3), (4, 3)),
        ((1, 1, 6), (7,)),
        ((1, 2, 2, 3, 2), (1, 2, 3)),
    ],
)
def test_images_are_read_as_defined(shape, new):
    """All modes in one compiled step, of a named batch; and on the tape."""
    x = RNG.normal(size=shape)
    grid = RNG.uniform(-2.4, 2.4, (shape[0], *new, len(new)))
    image = sg.input("x", ("batch", *shape[1:]), "float64")
    at = sg.input("at", ("batch", *new, len(new)), "float64")
    ways = list(product(("bilinear", "nearest"), BORDERS, (False, True)))
    f = sg.compile({str(k): nn.grid_sample(image, at, *way) for k, way in enumerate(ways)})
    for k, way in enumerate(ways):
        expected = by_hand(x, grid, *way)
        found = f.run({"x": x, "at": grid})[str(k)]
        np.testing.assert_allclose(found, expected, atol=1e-12, err_msg=str(way))
        on_tape = nn.grid_sample(Tensor(x, dtype="float64"), grid, *way).data
        np.testing.assert_allclose(on_tape, expected, atol=1e-12, err_msg=str(way))


@pytest.mark.parametrize("border", BORDERS)
def test_derivatives(border):
    """Off the kinks: no place lies within 1e-3 of an element."""
    x, grid = RNG.normal(size=(1, 2, 3, 4)), RNG.uniform(-1.7, 1.7, (1, 2, 2, 2))
    at = [places_of(grid[..., 1 - k], n, "zeros", False) for k, n in enumerate((3, 4))]
    assert all(np.abs(each - np.rint(each)).min() > 1e-3 for each in at)
    assert gradcheck(
        lambda x, grid: nn.grid_sample(x, grid, padding_mode=border),
        [Tensor(each, requires_grad=True, dtype="float64") for each in (x, grid)],
    )


def test_an_affine_grid_moves_the_image():
    """The identity gives the image; a mirrored axis reads it from behind; a third is shifted."""
    x = RNG.normal(size=(3, 2, 4, 5))
    maps = np.zeros((3, 2, 3))
    maps[:, 0, 0] = maps[:, 1, 1] = 1.0
    maps[1, 0, 0] = -1.0
    maps[2, 1, 2] = 2 / 4  # one row of four further
    expected = np.stack([x[0], x[1][:, :, ::-1], np.pad(x[2], ((0, 0), (0, 1), (0, 0)))[:, 1:]])
    found = sg.evaluate(nn.grid_sample(x, nn.affine_grid(maps, x.shape)))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    centres = sg.evaluate(nn.affine_grid(maps[:1], (1, 1, 3, 1), align_corners=True))
    np.testing.assert_array_equal(centres[0, :, 0], [[0, -1], [0, 0], [0, 1]])


def test_channels_as_places():
    x = RNG.normal(size=(2, 3, 8, 3, 5)).astype("float32")
    found = sg.evaluate(nn.pixel_shuffle(x, 2))
    assert found.shape == (2, 3, 2, 6, 10)
    for c, h, w in np.ndindex(2, 6, 10):
        source = x[:, :, 4 * c + 2 * (h % 2) + w % 2, h // 2, w // 2]
        np.testing.assert_array_equal(found[:, :, c, h, w], source)
    image = sg.input("x", ("n", 8, "h", 3), "float32")  # a named height
    back = nn.pixel_unshuffle(found, 2)
    np.testing.assert_array_equal(sg.evaluate(back), x)
    one = sg.evaluate(nn.pixel_shuffle(image, 2), {"x": x[0, :, :, :, :3]})
    np.testing.assert_array_equal(one, found[0, :, :, :, :6])


def sampled(x=(1, 1, 2), grid=(1, 2, 1), mode="nearest"):
    return nn.grid_sample(sg.input("x", x), sg.input("grid", grid), mode)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: sampled((1, 1, 2, 2)), RankError, "and a grid"),
        (lambda: sampled(grid=(1, 2, 3)), ShapeError, "3 numbers"),
        (lambda: sampled((1, 1, 0)), ShapeError, "without elements"),
        (lambda: sampled(mode="cubic"), ArgumentError, "mode='cubic'"),
        (lambda: sampled((1, 1, "n")), ArgumentError, "size"),
        (lambda: nn.affine_grid(np.ones((1, 2, 2)), (1, 1, 3, 3)), ShapeError, "theta"),
        (lambda: nn.pixel_shuffle(np.ones((1, 3, 2, 2)), 2), ShapeError, "divisible by 4"),
        (lambda: nn.pixel_unshuffle(np.ones((1, 3, 3, 2)), 2), ShapeError, "divisible by 2"),
        (lambda: nn.pixel_shuffle(np.ones((2, 2)), 2), RankError, "height"),
        (lambda: nn.pixel_shuffle(np.ones((4, 2, 2)), 0), ArgumentError, "positive"),
    ],
)
def test_mistakes(call, error, says):
    with pytest.raises(error, match=says):
        call()
