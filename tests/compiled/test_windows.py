"""Programs with convolutions and pools: the same bytes in every way of compiling them."""

import os
import platform
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from tests.diagonals import diagonals

WAYS = ({"threads": 1}, {"threads": 3}, {"fuse": False})
SLOW_WAYS = (
    {"pipeline": "O0"},
    {"checkpoint": "recompute"},
)


def network(dtype):
    """A strided, a grouped and a pointwise convolution, pools and their gradients; an update."""
    rng = np.random.default_rng(7)

    def array(*shape):
        return rng.normal(size=shape).astype(dtype)

    x = sg.input("x", ("n", 2, 9, 8), dtype)
    arrays = [array(4, 2, 3, 3), array(4, 2, 2, 3), array(6, 4, 1, 1)]
    k0, k1, k2 = (sg.input(f"k{i}", a.shape, dtype) for i, a in enumerate(arrays))
    h = sg.nn.relu(sg.nn.conv(x, k0, array(4), padding="same"))
    h = sg.nn.max_pool(h, 2, padding=[(1, 0), (0, 0)])
    h = sg.nn.conv(h, k1, stride=(2, 1), padding=1, groups=2)
    h = sg.nn.avg_pool(
        sg.nn.gelu(sg.nn.conv(h, k2)), 2, stride=1, padding=1, count_include_pad=False
    )
    loss = (h * h).mean()
    slopes = sg.grad(loss, [x, k0, k1, k2])
    feeds = {"x": array(5, 2, 9, 8)} | {f"k{i}": a for i, a in enumerate(arrays)}
    return sg.Graph({"loss": loss, **{f"d{i}": d for i, d in enumerate(slopes)}}), feeds


def check_ways(dtype, ways):
    graph, feeds = network(dtype)
    found = {name: np.array(a) for name, a in sg.compile(graph).run(feeds).items()}
    near = {"float32": 1e-4, "float64": 1e-11}[dtype]
    for name, wanted in sg.evaluate(graph, feeds).items():
        np.testing.assert_allclose(found[name], wanted, rtol=near, atol=near)
    for way in ways:
        other = sg.compile(graph, **way).run(feeds)
        for name, array in found.items():
            assert same_bytes(array, np.asarray(other[name])), (way, name)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_way_gives_the_same_bytes(dtype):
    check_ways(dtype, WAYS if dtype == "float32" else WAYS[:1])


@pytest.mark.slow
def test_slow_ways_give_the_same_bytes():
    check_ways("float32", SLOW_WAYS)


@pytest.mark.exhaustive
def test_the_other_compiler_gives_the_same_bytes():
    check_ways("float32", ({"backend": "numba"},))


def test_bytes_do_not_depend_on_what_follows():
    """A convolution with bias and activation behind it, and the same as an output of its own."""
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(2, 3, 8, 9)), rng.normal(size=(5, 3, 3, 2))
    a, b = (sg.input(n, v.shape, "float32") for n, v in (("x", x), ("w", w)))
    y = sg.nn.conv(a, b, padding=1)
    feeds = {"x": x.astype(np.float32), "w": w.astype(np.float32)}
    alone = np.array(sg.compile(sg.Graph({"y": y})).run(feeds)["y"])
    with_others = sg.compile(sg.Graph({"z": sg.nn.relu(y + 1.0), "s": y.sum((0, 2, 3))})).run(feeds)
    assert same_bytes(np.maximum(alone + np.float32(1), np.float32(0)), with_others["z"])


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("side", "stride"), [(6, 1), (40, 1), (7, 2)])
def test_one_image_is_cut_further_and_keeps_its_bytes(side, stride):
    """By channels or by shorter strips, where a batch of any size is cut by images."""
    rng = np.random.default_rng(side)
    filters = rng.normal(size=(128, 3, 3, 3)).astype(np.float32)
    image = rng.normal(size=(1, 6, side, side)).astype(np.float32)

    def results(batch, threads):
        x = sg.input("x", (batch, 6, side, side), "float32")
        y = sg.nn.conv(x, sg.constant(filters), stride=stride, padding=1, groups=2)
        back = sg.nn.conv_transpose(sg.nn.relu(y), sg.constant(filters), stride=stride, groups=2)
        graph = sg.Graph({"y": y, "back": sg.tanh(back)})
        found = sg.compile(graph, threads=threads).run({"x": image})
        for name, wanted in sg.evaluate(graph, {"x": image}).items():
            np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-4)
        return [np.array(found[name]) for name in ("y", "back")]

    wanted = results("n", 1)
    for threads in (1, 2):
        for one, other in zip(results(1, threads), wanted, strict=True):
            assert same_bytes(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [("h", "w"), (0, 5)], ids=str)
def test_an_image_of_no_places_gives_nothing(sizes):
    """Known or named; a transposed convolution has what reaches beyond its last place."""
    x = sg.input("x", (2, 4, *sizes), "float32")
    k, few = sg.input("k", (4, 4, 3, 3), "float32"), sg.input("few", (4, 1, 2, 1), "float32")
    found = {
        "dense": sg.nn.conv(x, k, padding="same", stride=2),
        "apart": sg.nn.conv(x, few, padding="same", dilation=2, groups=4),
        "spread": sg.nn.conv_transpose(x, k, stride=(1, 4)) * 2.0,
        "largest": sg.nn.max_pool(x, 2),
    }
    random = np.random.default_rng(5)
    loss = sum((value * value).sum() for value in found.values())
    named = zip(("x", "k", "few"), sg.grad(loss, [x, k, few]), strict=True)
    graph = sg.Graph(found | {f"d{name}": slope for name, slope in named})
    run = sg.compile(graph).run
    for places in ((0, 5), (0, 0), (7, 0), (7, 5))[: 4 if sizes[0] else 1]:
        shapes = {"x": (2, 4, *places), "k": k.shape, "few": few.shape}
        feeds = {name: random.normal(size=shape).astype("f4") for name, shape in shapes.items()}
        results = run(feeds)
        for name, wanted in sg.evaluate(graph, feeds).items():
            assert results[name].shape == wanted.shape
            np.testing.assert_allclose(results[name], wanted, rtol=1e-4, atol=1e-3)
        high = places[0] + 2
        wide = max(4 * places[1] - 1, 0)
        assert results["spread"].shape == (2, 4, high, wide)
        assert results["largest"].shape == (2, 4, places[0] // 2, places[1] // 2)


def digests():
    """Of a convolution and its gradients, whose sums are longer than a part of a product."""
    rng, found = np.random.default_rng(3), []
    for stride, high, wide in ((1, 6, 21), (1, 28, 29), (2, 6, 21)):  # the second lies in tiles
        x = sg.input("x", (2, 80, high, wide), "float32")
        k = sg.input("k", (75, 80, 3, 3), "float32")
        y = sg.nn.conv(x, k, stride=stride, padding=1)
        dx, dk = sg.grad((y * y).sum(), [x, k])
        run = sg.compile(sg.Graph({"y": y, "dx": dx, "dk": dk}), threads=1).run
        given = {"x": x.shape, "k": k.shape}
        results = run({n: rng.normal(size=s).astype(np.float32) for n, s in given.items()})
        found += [sha256(results[name].tobytes()).hexdigest() for name in ("y", "dx", "dk")]
    return found


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names a target of x86-64")
def test_narrow_registers_give_the_same_bytes():
    program = "from tests.compiled.test_windows import digests; print(*digests())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "STATICGRAD_TARGET": "x86-64-v3"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == digests()


@pytest.mark.thinned(4)
@diagonals(
    2, ("taps,stride,padding", [(3, 2, 1), (3, 2, 0), (4, 3, 1), (2, 2, 0)]), ("axes", [1, 2])
)
def test_what_is_repeated_along_an_image_of_remainders(axes, taps, stride, padding):
    """A bias, and a factor for each image: nothing of them lies along the places."""
    rng = np.random.default_rng(0)
    x, factor = sg.input("x", (2, 2, *(4,) * axes)), sg.input("factor", (2, 1, *(1,) * axes))
    filters = sg.constant(rng.normal(size=(2, 3, *(taps,) * axes)).astype("float32"))
    bias = sg.parameter("bias", rng.normal(size=3).astype("float32"))
    y = sg.nn.conv_transpose(x, filters, bias, stride=stride, padding=padding) * factor
    graph = sg.Graph({"y": y, "slope": sg.grad((y * y).sum(), factor)})
    feeds = {v.node.label: rng.normal(size=v.shape).astype("float32") for v in (x, factor)}
    found, expected = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=2e-5, atol=2e-5)


@pytest.mark.thinned(4)
@diagonals(2, ("axes", [(0,), (1,), (0, 1)]), ("channels", [(1, 17), (20, 33), (34, 34)]))
def test_what_is_repeated_along_channels_is_read_once(channels, axes):
    """Panels of channels end within the axis, of which there is one element; and of the batch."""
    many, results = channels
    image = (1 if 0 in axes else 3, 1 if 1 in axes else many, 7)
    x, w = sg.input("x", image, "float64"), sg.input("w", (results, many, 2), "float64")
    y = sg.nn.conv(sg.broadcast_to(x, (3, many, 7)), w)
    loss = (y.sum(axis=axes) ** 2).sum()
    graph = sg.Graph({"y": y, "by x": sg.grad(loss, x), "by w": sg.grad(loss, w)})
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(size=image), "w": rng.normal(size=w.shape)}
    found, wanted = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-11, atol=1e-11)
