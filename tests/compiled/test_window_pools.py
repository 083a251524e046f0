"""Pools in the kernel that computes what they are read of: the bytes of kernels apart."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ir.forms import WindowReduce

#: How windows follow what is computed: behind an activation, before it, with one on both sides.
PROGRAMS = {
    "relu, two by two": lambda x: sg.nn.max_pool(sg.nn.relu(x), 2),
    "two by three, gelu": lambda x: sg.nn.gelu(sg.nn.max_pool(x, (2, 3))),
    "relu, mean of rows, tanh": lambda x: sg.tanh(sg.nn.avg_pool(sg.nn.relu(x), (1, 4))),
    "every third row": lambda x: sg.nn.max_pool(x, (2, 1), stride=(3, 1)),
}


def program(pool, dtype, image, convolved, shown=False):
    """A pool over a convolution with bias, or over elements; with gradients. Many equal numbers."""
    rng = np.random.default_rng(11)
    feeds = {
        "x": rng.integers(-2, 3, (3, 4, *image)),
        "w": rng.integers(-1, 2, (6, 2, 3, 3)),
        "b": rng.integers(-1, 2, 6),
    }
    arrays = {name: array.astype(dtype) for name, array in feeds.items()}
    x, w, b = (
        sg.input(name, ("n", *a.shape[1:]) if name == "x" else a.shape, dtype)
        for name, a in arrays.items()
    )
    h = sg.nn.conv(x, w, b, padding=1, groups=2) if convolved else x * 0.5 + 1.0
    y = pool(h)
    values = [x, w, b] if convolved else [x]
    outputs = {"y": y, **{f"d{n}": d for n, d in enumerate(sg.grad((y * y).sum(), values))}}
    graph = sg.Graph(outputs | ({"h": h} if shown else {}))
    return graph, {each.node.op.label: arrays[each.node.op.label] for each in graph.inputs}


def kernels_of_pools(graph):
    """How many kernels begin with windows over what another one computes."""
    lines = str(sg.compile(graph).explain()).partition("steps:")[2].partition("neighbours")[0]
    alone = [line.split()[2].rstrip(",") for line in lines.splitlines() if line.strip()]
    return sum(name in ("window_max", "window_place", "window_sum") for name in alone)


def check(graph, feeds, dtype):
    """Bytes of kernels apart, and values of the evaluator."""
    found = {name: np.array(a) for name, a in sg.compile(graph, threads=1).run(feeds).items()}
    for way in ({"fuse": False}, {"threads": 2}):
        other = sg.compile(graph, **way).run(feeds)
        for name, array in found.items():
            assert same_bytes(array, np.asarray(other[name])), (way, name)
    near = {"float16": 2e-2, "float32": 1e-4, "float64": 1e-11}[dtype]
    for name, wanted in sg.evaluate(graph, feeds).items():
        np.testing.assert_allclose(found[name], wanted, rtol=near, atol=near * 30)


@pytest.mark.thinned
@pytest.mark.parametrize(
    ("name", "convolved"), [*((name, True) for name in PROGRAMS), (next(iter(PROGRAMS)), False)]
)
def test_one_kernel_has_the_image_and_its_windows(name, convolved):
    """Rows and columns that no window reads; of float64 vectors are shorter."""
    number = [*PROGRAMS].index(name)
    dtype = ("float32", "float64", "float16", "float64")[number]
    graph, feeds = program(PROGRAMS[name], dtype, (11, 38 - number), convolved)
    assert any(isinstance(node.form, WindowReduce) for node in graph.nodes)
    assert kernels_of_pools(graph) == 0
    check(graph, feeds, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("image", [(8, 36), (9, 36)])
def test_an_image_that_is_asked_for_is_stored_tap_by_tap(image):
    """Windows that leave out the last row cannot store it."""
    graph, feeds = program(PROGRAMS["relu, two by two"], "float32", image, True, shown=True)
    check(graph, feeds, "float32")
    graph, feeds = program(
        lambda h: sg.nn.max_pool(sg.nn.gelu(h), 2), "float32", image, True, shown=True
    )
    assert kernels_of_pools(graph) == (0 if image == (8, 36) else 2)
    check(graph, feeds, "float32")


def test_a_gradient_needs_the_places_and_not_the_image():
    """What waits for the gradient are the windows and a byte for each."""
    x, w = sg.input("x", (8, 3, 32, 32)), sg.input("w", (16, 3, 3, 3))
    h = sg.nn.max_pool(sg.nn.relu(sg.nn.conv(x, w, padding=1)), 2)
    compiled = sg.compile(sg.Graph({"d": sg.grad(sg.mean(h * h), [w])[0]}), threads=1)
    windows, image = 8 * 16 * 16 * 16, 8 * 16 * 32 * 32
    assert compiled.plan().peak_bytes < 4 * image + 3 * 4 * windows + (1 << 17) + 4 * 40000


@pytest.mark.slow
def test_windows_of_tiles():
    """A convolution in tiles, whose rows are no whole vectors: several images, several strips."""
    rng, dtype, near = np.random.default_rng(5), "float32", 2e-5
    shapes = {"x": (3, 64, 50, 25), "w": (64, 64, 3, 3), "b": (64,)}
    feeds = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    x, w, b = (sg.input(name, shape, dtype) for name, shape in shapes.items())
    graph = sg.Graph({"y": sg.nn.max_pool(sg.nn.relu(sg.nn.conv(x, w, b, padding=1)), 2)})
    assert kernels_of_pools(graph) == 0
    found = np.array(sg.compile(graph, threads=1).run(feeds)["y"])
    for way in ({"fuse": False}, {"threads": 2}):
        assert same_bytes(found, np.asarray(sg.compile(graph, **way).run(feeds)["y"]))
    wanted = sg.evaluate(graph, feeds)["y"]
    np.testing.assert_allclose(found, wanted, rtol=near, atol=near * np.abs(wanted).max())


@pytest.mark.parametrize("beside", [False, True])
def test_the_first_of_equal_elements_is_taken_with_its_sign(beside):
    """Zeros of both signs, and NaN: what is taken stands at the place that has the cotangent."""
    low, high, nan = -0.0, 0.0, np.nan
    row = [low, high, high, low, -1.0, low, nan, 2.0, 2.0, nan, nan, nan, -np.inf, -np.inf]
    array = np.repeat(np.array(row, "float32"), 3).reshape(7, 2, 3).swapaxes(1, 2)[None].copy()
    x = sg.input("x", ("n", *array.shape[1:]))
    y = sg.nn.max_pool(x + low, (1, 2))
    outputs = {"y": y, **({"d": sg.grad(y.sum(), x)} if beside else {})}
    found = sg.compile(sg.Graph(outputs), threads=1).run({"x": array})
    first = [row[2 * n + (n in (2, 4))] for n in range(7)]
    wanted = np.repeat(np.array(first, "float32"), 3).reshape(1, 7, 3, 1)
    assert same_bytes(found["y"], wanted)
    assert same_bytes(sg.evaluate(sg.Graph({"y": y}), {"x": array})["y"], wanted)
    if beside:
        places = np.flatnonzero(found["d"][0, :, 0].reshape(14))
        assert places.tolist() == [0, 2, 5, 6, 9, 10, 12]
