"""Convolutions and pools: beside sums written out, of any geometry; what is refused, and how."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

import staticgrad as sg
from staticgrad.language.types.dtype import F64, as_dtype
from tests.ops.graphs import run, variable


def direct(x, w, strides, border, dilation, groups):
    """A convolution by its definition: one window after the other, in float64."""
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *border])
    n, o, taps = x.shape[0], w.shape[0], w.shape[2:]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, taps, strict=True)]
    sizes = [(m - r) // s + 1 for m, r, s in zip(padded.shape[2:], reach, strides, strict=True)]
    filters = w.astype(np.float64).reshape(groups, o // groups, w[0].size)
    out = np.zeros((n, o, *sizes))
    for at in np.ndindex(*sizes):
        cut = tuple(
            slice(s * y, s * y + r, d)
            for s, y, r, d in zip(strides, at, reach, dilation, strict=True)
        )
        window = padded[(..., *cut)].reshape(n, groups, filters.shape[-1])
        out[(..., *at)] = np.einsum("ngt,got->ngo", window, filters).reshape(n, o)
    return out


@st.composite
def geometries(draw):
    """The shapes of an image and of a filter, and the arguments of ``conv``."""
    rank = draw(st.integers(1, 3))
    most = (9, 6, 3)[rank - 1]

    def axes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, filters = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    taps, strides, dilation = axes(1, 3), axes(1, 3), axes(1, 3 if rank < 3 else 2)
    border = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(rank)]
    image = tuple(
        max(0 if a + b >= d * (k - 1) + 1 else 1, d * (k - 1) + 1 - a - b)
        + draw(st.integers(0, most))
        for k, d, (a, b) in zip(taps, dilation, border, strict=True)
    )
    batch = draw(st.sampled_from([0, 1, 2, 3]))
    arguments = {"stride": strides, "padding": border, "dilation": dilation, "groups": groups}
    return (batch, groups * channels, *image), (groups * filters, channels, *taps), arguments


def check_geometry(case, seed):
    """A convolution and both gradients, compiled: beside the direct sum, and its adjoints."""
    image, filters, arguments = case
    rng = np.random.default_rng(seed)
    dtype = ("float32", "float64")[seed % 2]
    x, w = sg.input("x", ("n", *image[1:]), dtype), sg.input("w", filters, dtype)
    feeds = {
        "x": rng.normal(size=image).astype(dtype),
        "w": rng.normal(size=filters).astype(dtype),
    }
    y = sg.nn.conv(x, w, **arguments)
    ct = sg.input("ct", y.shape, dtype)
    expected = direct(
        feeds["x"], feeds["w"], arguments["stride"], arguments["padding"],
        arguments["dilation"], arguments["groups"],
    )  # fmt: skip
    feeds["ct"] = rng.normal(size=expected.shape).astype(dtype)
    dx, dw = sg.grad((y * ct).sum(), [x, w])
    graph = sg.Graph({"y": y, "dx": dx, "dw": dw}, inputs=[x, w, ct])
    actual = sg.compile(graph).run(feeds)
    near = {"float32": 2e-4, "float64": 1e-11}[dtype]
    np.testing.assert_allclose(actual["y"], expected, rtol=near, atol=near)
    wide = {name: array.astype(np.float64) for name, array in feeds.items()}
    for name, gradient_name in (("x", "dx"), ("w", "dw")):
        direction = rng.normal(size=wide[name].shape)
        arrays = wide | {name: direction}
        pushed = direct(
            arrays["x"], arrays["w"], arguments["stride"], arguments["padding"],
            arguments["dilation"], arguments["groups"],
        )  # fmt: skip
        left, right = (
            np.sum(pushed * wide["ct"]),
            np.sum(actual[gradient_name].astype(np.float64) * direction),
        )
        scale = 1 + np.sum(np.abs(actual[gradient_name] * direction))
        assert abs(left - right) <= near * scale, (name, case)


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


#: An image without rows: one place is no distance from the next.
ONES = (1, 1, 1)
NO_ROWS = {"stride": ONES, "padding": [(0, 0), (0, 1), (0, 0)], "dilation": ONES, "groups": 1}


@pytest.mark.slow
@settings(max_examples=8, derandomize=True, **QUIET)
@given(geometries(), st.integers(0, 1000))
@example(((0, 1, 1, 0, 2), (2, 1, 1, 1, 2), NO_ROWS), 0)
def test_any_geometry(case, seed):
    check_geometry(case, seed)


def value_of(make, **arrays):
    """A function of inputs, evaluated."""
    values = {name: variable(name, as_dtype(a.dtype), a.shape) for name, a in arrays.items()}
    return np.asarray(run(make(**values), arrays))


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def test_same_keeps_the_size_by_one_more_place_after(rng):
    x, w = rng.normal(size=(2, 3, 7, 8)), rng.normal(size=(4, 3, 2, 3))
    actual = value_of(lambda x, w: sg.nn.conv(x, w, padding="same"), x=x, w=w)
    np.testing.assert_allclose(actual, direct(x, w, (1, 1), [(0, 1), (1, 1)], (1, 1), 1))
    actual = value_of(lambda x, w: sg.nn.conv(x, w, padding="same", stride=3), x=x, w=w)
    assert actual.shape == (2, 4, 3, 3)
    np.testing.assert_allclose(actual, direct(x, w, (3, 3), [(0, 1), (0, 1)], (1, 1), 1))


def test_a_transposed_convolution_is_the_adjoint(rng):
    w = rng.normal(size=(4, 3, 3, 2))
    for options in ({}, {"stride": (2, 3)}, {"padding": [(1, 0), (0, 1)], "dilation": 2}):
        image = rng.normal(size=(2, 3, 9, 11))
        out = value_of(lambda x, w, o=options: sg.nn.conv(x, w, **o), x=image, w=w)
        y = rng.normal(size=out.shape)
        spread = value_of(lambda x, w, o=options: sg.nn.conv_transpose(x, w, **o), x=y, w=w)
        more = tuple(a - b for a, b in zip(image.shape[2:], spread.shape[2:], strict=True))
        full = {**options, "output_padding": more}
        spread_to_image = value_of(lambda x, w, o=full: sg.nn.conv_transpose(x, w, **o), x=y, w=w)
        assert spread_to_image.shape == image.shape
        assert np.sum(out * y) == pytest.approx(np.sum(spread_to_image * image))
    actual = value_of(lambda x, w: sg.nn.conv_transpose(x, w, stride=2, padding="same"), x=y, w=w)
    assert actual.shape == (2, 3, 2 * y.shape[2], 2 * y.shape[3])


def test_pools_and_windows_by_hand(rng):
    x = rng.normal(size=(2, 3, 6, 8))
    tiles = x.reshape(2, 3, 3, 2, 4, 2)
    assert np.array_equal(value_of(lambda x: sg.nn.max_pool(x, 2), x=x), tiles.max((3, 5)))
    np.testing.assert_allclose(value_of(lambda x: sg.nn.avg_pool(x, 2), x=x), tiles.mean((3, 5)))
    actual = value_of(lambda x: sg.nn.lp_pool(x, 3, 2), x=x)
    np.testing.assert_allclose(actual, (np.abs(tiles) ** 3).sum((3, 5)) ** (1 / 3))
    actual = value_of(lambda x: sg.nn.lp_pool(x, 2, (2, 2)), x=x)
    np.testing.assert_allclose(actual, np.sqrt((tiles**2).sum((3, 5))))
    actual = value_of(lambda x: sg.nn.max_pool(x, 3, stride=1, padding="same"), x=x)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=-np.inf)
    seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    assert np.array_equal(actual, seen.max((4, 5)))
    x = rng.normal(size=(1, 2, 5, 4))
    seen = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)]), (3, 3), (2, 3)
    )
    ones = np.lib.stride_tricks.sliding_window_view(np.pad(np.ones((5, 4)), 1), (3, 3))
    total, count = seen.sum((4, 5)), ones.sum((2, 3))
    actual = value_of(
        lambda x: sg.nn.avg_pool(x, 3, stride=1, padding=1, count_include_pad=False), x=x
    )
    np.testing.assert_allclose(actual, total / count)
    actual = value_of(lambda x: sg.nn.avg_pool(x, 3, stride=1, padding=1), x=x)
    np.testing.assert_allclose(actual, total / 9)
    x = rng.normal(size=(2, 3, 6, 7))
    for pool, combine in ((sg.nn.adaptive_max_pool, np.max), (sg.nn.adaptive_avg_pool, np.mean)):
        actual = value_of(lambda x, p=pool: p(x, (2, 3)), x=x)
        assert actual.shape == (2, 3, 2, 3)
        rows, columns = [(0, 3), (3, 6)], [(0, 3), (2, 5), (4, 7)]
        for i, (a, b) in enumerate(rows):
            for j, (c, d) in enumerate(columns):
                np.testing.assert_allclose(actual[:, :, i, j], combine(x[:, :, a:b, c:d], (2, 3)))
    x = rng.normal(size=(2, 3, 7))
    actual = value_of(lambda x: sg.nn.unfold(x, 3, stride=2, padding=(1,)), x=x)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1)])
    seen = np.lib.stride_tricks.sliding_window_view(padded, 3, 2)[:, :, ::2]
    assert np.array_equal(actual, seen.swapaxes(2, 3))
    y = rng.normal(size=actual.shape)
    back = value_of(lambda y: sg.nn.fold(y, 7, stride=2, padding=(1,)), y=y)
    assert np.sum(back * x) == pytest.approx(np.sum(y * actual))


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_a_window_of_zeros_has_the_norm_of_its_elements_and_no_slope(p):
    """PyTorch's slopes: |x| ** (p - 1) / y ** (p - 1), and none where y is 0; at a kink the second
    derivative is NaN."""
    x = sg.input("x", (1, 1, 6), "float64")
    y = sg.nn.lp_pool(x, p, 2)
    dx = sg.grad(y.sum(), x)
    f = sg.compile({"y": y, "dx": dx, "second": sg.grad(dx.sum(), x, allow_disconnected=True)})
    feed = np.array([[[0.0, 0.0, 3.0, -4.0, 2.0, 0.0]]])
    actual = f.run({"x": feed})
    pairs = feed.reshape(3, 2)
    expected = (np.abs(pairs) ** p).sum(1) ** (1 / p)
    np.testing.assert_allclose(actual["y"].ravel(), expected)
    slopes = np.sign(pairs) * (np.abs(pairs) / np.maximum(expected, 1.0)[:, None]) ** (p - 1)
    np.testing.assert_allclose(actual["dx"].reshape(3, 2), slopes)
    np.testing.assert_array_equal(actual["second"].ravel()[:2], 0.0 if p == 1 else np.nan)
    assert np.isfinite(actual["second"].ravel()[2:4]).all()


def test_the_first_of_equal_maxima_has_the_gradient():
    x = variable("x", F64, (1, 1, 4))
    out = sg.nn.max_pool(x, 3, stride=1, padding=1)
    dx = sg.grad(out.sum(), x)
    for row, expected in (
        ([1.0, 1.0, 1.0, 1.0], [2, 1, 1, 0]),
        ([0.0, np.nan, 5.0, np.nan], [0, 3, 0, 1]),
        ([-np.inf] * 4, [2, 1, 1, 0]),
    ):
        feeds = {"x": np.array([[row]])}
        assert run(dx, feeds).tolist() == [[expected]]
        assert sg.compile(sg.Graph({"dx": dx})).run(feeds)["dx"].tolist() == [[expected]]


@pytest.mark.parametrize(("taps", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (2, 1, 1)])
def test_maxima_of_two_axes_are_those_of_a_loop_over_the_windows(taps, stride, padding):
    """Borders never count, NaN wins, and the first of equal elements has the gradient."""
    array = np.random.default_rng(0).integers(-4, 0, (3, 7, 7)).astype("float64")
    array[0, 3, 4] = array[0, 3, 5] = array[1, 0, 1] = np.nan
    array[1, 4, 6] = array[2] = -np.inf
    array[2, 2, 2] = 1.0
    count = (7 + 2 * padding - taps) // stride + 1
    maxima, slopes = np.empty((3, count, count)), np.zeros_like(array)
    for channel, row, column in np.ndindex(*maxima.shape):
        starts = row * stride - padding, column * stride - padding
        best = None
        for i, j in np.ndindex(taps, taps):
            place = channel, starts[0] + i, starts[1] + j
            if not all(0 <= k < 7 for k in place[1:]):
                continue
            is_new_nan = best and np.isnan(array[place]) and not np.isnan(array[best])
            if best is None or array[place] > array[best] or is_new_nan:
                best = place
        maxima[channel, row, column] = array[best]
        slopes[best] += 1.0
    x = sg.input("x", (1, 3, 7, 7), "float64")
    y = sg.nn.max_pool(x, taps, stride=stride, padding=padding)
    actual = sg.compile({"y": y, "dx": sg.grad(y.sum(), x)}).run({"x": array[None]})
    np.testing.assert_array_equal(actual["y"][0], maxima)
    np.testing.assert_array_equal(actual["dx"][0], slopes)


def image(*sizes):
    return sg.input("x", sizes or (2, 3, 8, 8), "float32")


def filters(*sizes):
    return sg.input("w", sizes or (4, 3, 3, 3), "float32")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: sg.nn.conv(image(), filters(4, 2, 3, 3)), "ShapeError", "3 channels, the filter"),
        (lambda: sg.nn.conv(image(), filters(4, 3, 9, 3)), "ShapeError", "a window of 9 over"),
        (lambda: sg.nn.conv(image(), filters(4, 3, 3)), "RankError", "as many axes"),
        (lambda: sg.nn.conv(image(2, 3), filters()), "RankError", "no axis behind"),
        (lambda: sg.nn.conv(image(), filters(), stride=0), "ArgumentError", "1 or more"),
        (lambda: sg.nn.conv(image(), filters(), stride=(1, 1, 1)), "RankError", "stride"),
        (lambda: sg.nn.conv(image(), filters(), padding="full"), "ArgumentError", '"valid"'),
        (lambda: sg.nn.conv(image(), filters(), padding=-1), "ShapeError", "negative"),
        (lambda: sg.nn.conv(image(), filters(), padding=[1]), "RankError", "for 2 axes"),
        (lambda: sg.nn.conv(image(), filters(4, 1, 3, 3), groups=3), "ArgumentError", "3 groups"),
        (lambda: sg.nn.conv(image(), filters(), np.zeros(3)), "ShapeError", "a bias of"),
        (lambda: sg.nn.conv(image(), filters(4, 3, 0, 3)), "ShapeError", "without taps"),
        (lambda: sg.nn.conv(image() > 0, filters() > 0), "DTypeError", "bools"),
        (lambda: sg.nn.max_pool(image(), 9), "ShapeError", "a window of 9"),
        (lambda: sg.nn.max_pool(image(), 2, padding=2), "ShapeError", "wholly in a border"),
        (lambda: sg.nn.max_pool(image(), 2.5), "ArgumentError", "kernel_size"),
        (lambda: sg.nn.max_pool(image(), sg.dim("k")), "ArgumentError", "kernel_size"),
        (lambda: sg.nn.lp_pool(image(), 0, 2), "ArgumentError", "p=0"),
        (lambda: sg.nn.lp_pool(image(), np.inf, 2), "ArgumentError", "p=inf"),
        (lambda: sg.nn.adaptive_avg_pool(image(2, 3, "h"), 3), "ShapeError", "multiple"),
        (lambda: sg.nn.conv_transpose(image(), filters(2, 3, 3, 3)), "ShapeError", "3 channels"),
        (
            lambda: sg.nn.conv_transpose(image(), filters(3, 2, 3, 3), padding=9),
            "ShapeError",
            "leaves",
        ),
        (lambda: sg.nn.fold(image(2, 3, 2, 5), 9), "ShapeError", "5 windows"),
    ],
)
def test_refusals_name_the_line(make, error, words):
    with pytest.raises(getattr(sg.errors, error)) as caught:
        make()
    assert words in str(caught.value)
    assert "test_windows.py" in str(caught.value)


def test_a_named_size_is_looked_at_in_the_run():
    x = sg.input("x", ("n", 1, "h"), "float32")
    f = sg.compile(sg.Graph({"y": sg.nn.conv(x, np.ones((1, 1, 3), np.float32))}))
    assert f.run({"x": np.ones((2, 1, 5), np.float32)})["y"].tolist() == [[[3, 3, 3]]] * 2
    with pytest.raises(sg.errors.SizeGuardError, match="a window of 3"):
        f.run({"x": np.ones((2, 1, 2), np.float32)})


def pooled_by_hand(x, kind, k, s, pad, d, **flags):
    """Pools along the last axis, a window at a time, as PyTorch defines ``ceil_mode``."""
    size, reach = x.shape[-1], d * (k - 1) + 1
    room = size + 2 * pad - reach
    count = (-(-room // s) if flags["ceil_mode"] else room // s) + 1
    pools = []
    for start in range(-pad, count * s - pad, s):
        if start >= size:  # a window that begins behind the image
            continue
        taps = range(start, start + reach, d)
        seen = x[..., [at for at in taps if 0 <= at < size]]
        bordered = len([at for at in taps if at < size + pad])
        if kind == "max":
            pools.append(seen.max(-1))
        elif kind == "lp":
            pools.append(np.sqrt((seen**2).sum(-1)))
        else:
            pools.append(seen.sum(-1) / (bordered if flags["count"] else seen.shape[-1]))
    return np.stack(pools, -1)


@pytest.mark.thinned
@pytest.mark.parametrize("kind", ["max", "avg", "count", "lp"])
@pytest.mark.parametrize("named", [False, True])
def test_windows_that_reach_behind_the_image(kind, named, rng):
    for size, k, s, pad, d in [
        (7, 2, 2, 0, 1), (8, 3, 2, 1, 1), (6, 2, 3, 1, 1), (9, 3, 2, 0, 2), (9, 3, 3, 1, 2),
        (5, 2, 4, 1, 3), (2, 3, 2, 1, 1),
    ]:  # fmt: skip
        array = rng.normal(size=(2, 3, size))
        x = sg.input("x", (2, 3, "n" if named else size), "float64")
        flags = {"ceil_mode": True}
        options = {"stride": s, "padding": (pad,), "dilation": d, **flags}
        if kind == "avg":
            options["count_include_pad"] = False
        pools = {"max": sg.nn.max_pool, "lp": lambda x, k, **o: sg.nn.lp_pool(x, 2, k, **o)}
        y = pools.get(kind, sg.nn.avg_pool)(x, k, **options)
        weights = rng.normal(
            size=pooled_by_hand(array, kind, k, s, pad, d, **flags, count=False).shape
        )

        def by_hand(at, k=k, s=s, pad=pad, d=d):
            return pooled_by_hand(at, kind, k, s, pad, d, ceil_mode=True, count=kind == "count")

        f = sg.compile({"y": y, "dx": sg.grad((y * weights).sum(), x)})
        actual = f.run({"x": array})
        np.testing.assert_allclose(actual["y"], by_hand(array), rtol=1e-13)
        along = rng.normal(size=array.shape)
        shifted_ahead, shifted_back = by_hand(array + 1e-6 * along), by_hand(array - 1e-6 * along)
        slope = ((shifted_ahead - shifted_back) * weights).sum() / 2e-6
        np.testing.assert_allclose((actual["dx"] * along).sum(), slope, rtol=1e-6)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("transposed", [False, True])
def test_groups_of_named_channels(transposed, rng):
    """Sizes without a promise that the groups divide them: the run decides."""
    conv = sg.nn.conv_transpose if transposed else sg.nn.conv
    x, w = sg.input("x", (2, "c", 5), "float64"), sg.input("w", ("o", "k", 3), "float64")
    b = sg.input("b", ("b",), "float64")

    def outputs(x, w, b):
        y = conv(x, w, b, groups=2)
        by_x, by_w = sg.grad(sg.sin(y).sum(), [x, w])
        return sg.compile({"y": y, "x": by_x, "w": by_w})

    named = outputs(x, w, b)
    for channels, others in ((4, 6), (2, 2), (6, 4)):
        filters = (channels, others // 2, 3) if transposed else (others, channels // 2, 3)
        feeds = {"x": (2, channels, 5), "w": filters, "b": (others,)}
        arrays = {name: rng.normal(size=shape) for name, shape in feeds.items()}
        expected = outputs(*(sg.input(n, shape, "float64") for n, shape in feeds.items()))
        for name, array in expected.run(arrays).items():
            actual = named.run(arrays)[name]
            np.testing.assert_allclose(actual, array, rtol=1e-10, atol=1e-12, err_msg=name)
    odd = (3, 2, 3)
    with pytest.raises(sg.errors.SizeGuardError):
        named.run(
            {"x": np.ones((2, 3 if transposed else 4, 5)), "w": np.ones(odd), "b": np.ones(4)}
        )


def test_padding_of_pools_is_neither_the_largest_nor_counted():
    """Negative elements stay the largest; ceil_mode adds elements behind the border to no count."""
    x = -np.arange(1.0, 7.0).reshape(1, 1, 6)
    largest = value_of(lambda x: sg.nn.max_pool(x, 3, stride=2, padding=1), x=x)
    assert largest.tolist() == [[[-1.0, -2.0, -4.0]]]
    module = sg.nn.MaxPool1d(3, stride=2, padding=1)
    assert value_of(module, x=x).tolist() == largest.tolist()
    mean = value_of(lambda x: sg.nn.avg_pool(x, 4, stride=4, ceil_mode=True), x=x)
    assert mean.tolist() == [[[-2.5, -5.5]]]
