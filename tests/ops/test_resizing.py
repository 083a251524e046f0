"""Images in other sizes and read at places: the definition over all elements, PyTorch, ONNX."""

from fractions import Fraction
from functools import cache
from itertools import product
from math import ceil, floor

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, gradcheck
from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.testing import check_gradients
from tests.ops.graphs import run
from tests.ops.messages import assert_refused

RNG = np.random.default_rng(11)
COORDINATES = ("half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
ROUNDINGS = ("round_prefer_ceil", "round_prefer_floor", "floor", "ceil")
SIZES = [(4, 8), (4, 6), (6, 4), (5, 1), (1, 3), (3, 3), (7, 2), (9, 4)]


def position(i, old, new, coordinates, scale):
    """Return the position of a new element among the old ones."""
    step = 1 / scale if scale else Fraction(old, new)
    if coordinates == "align_corners":
        return Fraction(i * (old - 1), max(new - 1, 1))
    if coordinates == "asymmetric":
        return i * step
    at = (i + Fraction(1, 2)) * step - Fraction(1, 2)
    return at + (old - new * step) / 2 if coordinates == "half_pixel_symmetric" else at


def cubic(t, a):
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def matrix(old, new, method, scale=None, **options):
    """[new, old]: what each new element takes of each old one, an element at a time."""
    weights_by_row = np.zeros((new, old))
    for i in range(new):
        if method == "area":
            start, stop = i * old // new, -(-(i + 1) * old // new)
            weights_by_row[i, start:stop] = 1 / (stop - start)
            continue
        at = position(i, old, new, options.get("coordinates", "half_pixel"), scale)
        if method == "nearest":
            half = Fraction(1, 2)
            place = {
                "round_prefer_ceil": floor(at + half), "round_prefer_floor": ceil(at - half),
                "floor": floor(at), "ceil": ceil(at),
            }[options.get("rounding", "round_prefer_ceil")]  # fmt: skip
            weights_by_row[i, min(max(place, 0), old - 1)] = 1
            continue
        step = 1 / scale if scale else Fraction(old, new)
        shrunk = float(min(1, 1 / step)) if options.get("antialias") else 1.0
        weights = {}
        for k in range(floor(at) - 2 * old - 4, floor(at) + 2 * old + 5):
            t = float(k - at) * shrunk
            tent = max(0.0, 1 - abs(t))
            weights[k] = tent if method == "linear" else cubic(t, options.get("cubic", -0.75))
        if options.get("exclude_outside"):
            weights = {k: w for k, w in weights.items() if 0 <= k < old}
        total = sum(weights.values())
        for k, w in weights.items():
            weights_by_row[i, min(max(k, 0), old - 1)] += w / total
    return weights_by_row


def assert_is_matrix(old, new, method, scale=None, **options):
    """Literal and named sizes, compiled, and as a tensor."""
    image = RNG.normal(size=(2, old, 3))
    factor = None if scale is None else Fraction(scale).limit_denominator(1000)
    expected = np.einsum("ij,njk->nik", matrix(old, new, method, factor, **options), image)
    target = {"shape": (new, 3)} if scale is None else {"scale": (scale, 1)}

    def resize(x, **target):
        return sg.nn.resize(x, method=method, **target, **options)

    x, named = sg.input("x", (2, old, 3), "float64"), sg.input("x", (2, "h", 3), "float64")
    close = {"rtol": 1e-12, "atol": 1e-13, "err_msg": f"{old} {new} {options}"}
    np.testing.assert_allclose(run(resize(x, **target), {"x": image}), expected, **close)
    tensor = resize(Tensor(image, dtype="float64"), **target)
    np.testing.assert_allclose(tensor.numpy(), expected, **close)
    if scale is None and (method == "area" or options.get("antialias")):
        with assert_refused(ArgumentError, "only known in a run"):
            resize(named, **target)
        return
    feeds = {"x": image} if scale else {"x": image, "like": np.zeros(new)}
    actual = named_program(method, scale, tuple(options.items())).run(feeds)
    np.testing.assert_allclose(actual, expected, **close)


@cache
def named_program(method, scale, options):
    """One program for images of any size, to any size or by a scale."""
    x, like = sg.input("x", (2, "h", 3), "float64"), sg.input("like", ("new",), "float64")
    if scale is not None:
        return sg.compile(sg.nn.resize(x, method=method, scale=(scale, 1), **dict(options)))
    y = sg.nn.resize(x, (like.shape[0], 3), method, **dict(options))
    return sg.compile(y + like[:, None])


@pytest.mark.thinned(4)
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_nearest(coordinates, rounding):
    for old, new in SIZES:
        assert_is_matrix(old, new, "nearest", coordinates=coordinates, rounding=rounding)
    for old, scale in [(5, 0.6), (4, 2.0), (7, 0.3), (5, 1.1)]:
        new = floor(old * scale + 1e-9)
        assert_is_matrix(old, new, "nearest", scale, coordinates=coordinates, rounding=rounding)


@pytest.mark.thinned
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_weights(method, coordinates):
    for old, new in SIZES:
        for exclude in (False, True):
            assert_is_matrix(
                old, new, method, coordinates=coordinates, exclude_outside=exclude, cubic=-0.5
            )
    for old, scale in [(5, 0.6), (4, 2.0), (7, 0.3), (5, 1.1)]:
        assert_is_matrix(old, floor(old * scale + 1e-9), method, scale, coordinates=coordinates)


@pytest.mark.thinned
@pytest.mark.parametrize("method", ["linear", "cubic", "area"])
@pytest.mark.parametrize("exclude", [False, True])
def test_averages_over_what_is_left_out(method, exclude):
    for old, new in SIZES:
        assert_is_matrix(old, new, method, antialias=True, exclude_outside=exclude)
    for old, scale in [(5, 0.5), (9, 0.3), (40, 0.1), (4, 1.5)]:
        new = floor(old * scale + 1e-9)
        assert_is_matrix(old, new, method, scale, antialias=True, exclude_outside=exclude)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("method", ["nearest", "linear", "cubic", "area"])
def test_derivatives_batches_and_several_axes(method):
    image = RNG.normal(size=(2, 3, 4, 3))
    x = sg.input("x", image.shape, "float64")
    y = sg.nn.resize(x, (2, 5, 4), method)
    rows, columns, depth = (matrix(o, n, method) for o, n in ((3, 2), (4, 5), (3, 4)))
    expected = np.einsum("ai,bj,ck,nijk->nabc", rows, columns, depth, image)
    np.testing.assert_allclose(run(y, {"x": image}), expected, rtol=1e-12)
    mapped = sg.function(sg.vmap(lambda x: sg.nn.resize(x, (2, 5, 4), method)))
    np.testing.assert_allclose(mapped(image), expected, rtol=1e-12)
    for shape in ((3, 3), ("h", "w")):
        small = sg.input("s", shape, "float64")
        target = {"scale": (1.5, 0.7)}
        loss = (sg.sin(sg.nn.resize(sg.tanh(small), method=method, **target)) ** 2).sum()
        check_gradients(loss, {"s": RNG.normal(size=(3, 3))})


def test_names_of_pytorch_and_integers():
    x = sg.input("x", (2, 4), "float32")
    for name, method in (("bilinear", "linear"), ("trilinear", "linear"), ("bicubic", "cubic")):
        assert sg.same_graph(
            *(sg.Graph({"y": sg.nn.resize(x, (3, 3), m)}, name="g") for m in (name, method))
        )
    labels = np.array([[1, 2], [3, 4]], np.int16)
    actual = run(sg.nn.resize(labels, (4, 2)))
    assert actual.dtype == np.int16
    np.testing.assert_array_equal(actual, labels.repeat(2, 0))


def test_an_infinite_element_stays_where_it_has_weight():
    image = np.zeros(64)
    image[5] = np.inf
    actual = run(sg.nn.resize(image, 8, "linear", antialias=True))
    assert np.isfinite(actual[3:]).all()


def test_refusals():
    x = sg.input("x", (9,), "float64")
    cases = [
        (ArgumentError, "method='lanczos' is not one of", lambda: sg.nn.resize(x, 3, "lanczos")),
        (ArgumentError, "either shape or scale", lambda: sg.nn.resize(x)),
        (ArgumentError, "either shape or scale", lambda: sg.nn.resize(x, 3, scale=2.0)),
        (ArgumentError, "2 sizes", lambda: sg.nn.resize(x, (3, 3))),
        (ArgumentError, "scale=-1.0", lambda: sg.nn.resize(x, scale=-1.0)),
        (ArgumentError, "rounding='up'", lambda: sg.nn.resize(x, 3, rounding="up")),
        (ArgumentError, "coordinates=", lambda: sg.nn.resize(x, 3, coordinates="corners")),
        (ShapeError, "to 0 elements", lambda: sg.nn.resize(x, 0)),
        (ShapeError, "to 0 elements", lambda: sg.nn.resize(x, scale=0.1)),
    ]  # fmt: skip
    for error, words, call in cases:
        with assert_refused(error, words):
            call()
    named = sg.compile(sg.nn.resize(sg.input("n", ("n",), "float64"), 3))
    with pytest.raises(sg.StaticgradError):
        named.run({"n": np.zeros(0)})


PLACES_RNG = np.random.default_rng(7)
BORDERS = ("zeros", "border", "reflection")
nn = sg.nn


def places_of(grid, size, border, align):
    """Return the positions of a grid's numbers among the elements of an axis."""
    at = (grid + 1) / 2 * (size - 1) if align else (grid + 1) / 2 * size - 0.5
    if border == "reflection":
        low, span = (0.0, size - 1) if align else (-0.5, size)
        at = low + (span - np.abs((at - low) % (2 * span) - span) if span else 0 * at)
    return at if border == "zeros" else np.clip(at, 0, size - 1)


def sampled_by_hand(x, grid, mode, border, align):
    """Each element of x times a tent around its centre along each axis (equation 5 there)."""
    sampled = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for at in np.ndindex(*x.shape[2:]):
        weight = 1.0
        for axis, (k, size) in enumerate(zip(at, x.shape[2:], strict=True)):
            place = places_of(grid[..., -1 - axis], size, border, align)
            near = np.rint(place) == k
            weight = weight * (near if mode == "nearest" else np.maximum(0, 1 - abs(place - k)))
        sampled += x[(..., *at)].reshape(*x.shape[:2], *(1,) * (grid.ndim - 2)) * weight[:, None]
    return sampled


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
    x = PLACES_RNG.normal(size=shape)
    grid = PLACES_RNG.uniform(-2.4, 2.4, (shape[0], *new, len(new)))
    image = sg.input("x", ("batch", *shape[1:]), "float64")
    at = sg.input("at", ("batch", *new, len(new)), "float64")
    ways = list(product(("bilinear", "nearest"), BORDERS, (False, True)))
    f = sg.compile({str(k): nn.grid_sample(image, at, *way) for k, way in enumerate(ways)})
    for k, way in enumerate(ways):
        expected = sampled_by_hand(x, grid, *way)
        actual = f.run({"x": x, "at": grid})[str(k)]
        np.testing.assert_allclose(actual, expected, atol=1e-12, err_msg=str(way))
        on_tape = nn.grid_sample(Tensor(x, dtype="float64"), grid, *way).data
        np.testing.assert_allclose(on_tape, expected, atol=1e-12, err_msg=str(way))


@pytest.mark.parametrize("border", BORDERS)
def test_derivatives(border):
    """Off the kinks: no place lies within 1e-3 of an element."""
    x, grid = PLACES_RNG.normal(size=(1, 2, 3, 4)), PLACES_RNG.uniform(-1.7, 1.7, (1, 2, 2, 2))
    at = [places_of(grid[..., 1 - k], n, "zeros", False) for k, n in enumerate((3, 4))]
    assert all(np.abs(coordinates - np.rint(coordinates)).min() > 1e-3 for coordinates in at)
    assert gradcheck(
        lambda x, grid: nn.grid_sample(x, grid, padding_mode=border),
        [Tensor(array, requires_grad=True, dtype="float64") for array in (x, grid)],
    )


def test_an_affine_grid_moves_the_image():
    """The identity gives the image; a mirrored axis reads it from behind; a third is shifted."""
    x = PLACES_RNG.normal(size=(3, 2, 4, 5))
    maps = np.zeros((3, 2, 3))
    maps[:, 0, 0] = maps[:, 1, 1] = 1.0
    maps[1, 0, 0] = -1.0
    maps[2, 1, 2] = 2 / 4  # one row of four further
    expected = np.stack([x[0], x[1][:, :, ::-1], np.pad(x[2], ((0, 0), (0, 1), (0, 0)))[:, 1:]])
    actual = sg.evaluate(nn.grid_sample(x, nn.affine_grid(maps, x.shape)))
    np.testing.assert_allclose(actual, expected, atol=1e-12)
    centres = sg.evaluate(nn.affine_grid(maps[:1], (1, 1, 3, 1), align_corners=True))
    np.testing.assert_array_equal(centres[0, :, 0], [[0, -1], [0, 0], [0, 1]])


def sample_grid(x=(1, 1, 2), grid=(1, 2, 1), mode="nearest"):
    return nn.grid_sample(sg.input("x", x), sg.input("grid", grid), mode)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: sample_grid((1, 1, 2, 2)), RankError, "and a grid"),
        (lambda: sample_grid(grid=(1, 2, 3)), ShapeError, "3 numbers"),
        (lambda: sample_grid((1, 1, 0)), ShapeError, "without elements"),
        (lambda: sample_grid(mode="cubic"), ArgumentError, "mode='cubic'"),
        (lambda: sample_grid((1, 1, "n")), ArgumentError, "size"),
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
