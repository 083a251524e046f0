"""Graphs of ours as functions of JAX, beside the evaluator."""

import subprocess
import sys

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, ExportError

jax = pytest.importorskip("jax", reason="JAX is not installed")

from staticgrad.interop.lax.lowering import ROWS  # noqa: E402
from tests.laws.samples import as_tuple, samples_of  # noqa: E402


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def alike(values, feeds):
    graph = sg.Graph(values)
    found, expected = jax.jit(sg.jax.lower(graph))(feeds), sg.evaluate(graph, feeds)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        each = np.asarray(found[name])
        assert each.shape == array.shape
        np.testing.assert_allclose(each, array, rtol=2e-5, atol=2e-5)


def test_elements_reductions_products_and_parts():
    x = sg.input("x", ("n", 3), "float32")
    w = sg.input("w", (3, 2), "float32")
    y = sg.nn.softmax(x @ w, 1)
    i = sg.constant(np.array([1, 0, 1]))
    values = {
        "loss": sg.log(y).sum(), "slope": sg.grad(sg.log(y).sum(), x), "rows": x[i, ::2],
        "moved": sg.grad((x[i] * x[i]).sum(), x), "pads": sg.pad(x, 1), "most": x.max(0),
        "sums": sg.cumsum(x, 0), "chosen": sg.where(x > 0, x, sg.erf(x)), "mean": x.mean(),
    }  # fmt: skip
    alike(values, {"x": normal(4, 3), "w": normal(3, 2, seed=1)})


def test_convolutions_and_their_gradients():
    x = sg.input("x", (2, 3, 8, 7), "float32")
    w = sg.input("w", (4, 3, 3, 3), "float32")
    y = sg.nn.conv(x, w, stride=2, padding=1)
    slopes = sg.grad((y * y).sum(), [x, w])
    feeds = {"x": normal(2, 3, 8, 7), "w": normal(4, 3, 3, 3, seed=1)}
    alike({"y": y, "by x": slopes[0], "by w": slopes[1]}, feeds)


def test_loops_and_branches():
    x = sg.input("x", (4, 3), "float32")
    last, sums = sg.scan(lambda c, r: (sg.tanh(c + r), c.sum()), x[0], x, reverse=True)
    grown = sg.while_loop(lambda c: c.sum() < 100.0, lambda c: c * 2.0 + 1.0, sg.abs(x[0]))
    taken = sg.cond(x.sum() > 0.0, lambda: sg.sin(x), lambda: x)
    values = {"last": last, "sums": sums, "grown": grown, "taken": taken}
    alike(values | {"slope": sg.grad(last.sum(), x)}, {"x": normal(4, 3)})


QUICK = ("at_least", "broadcast", "cumsum", "integer_pow", "pad", "scatter_along", "take")
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ROWS]


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_references(name):
    """Of samples of the op, as far as they are finite; float16 counts as storage."""
    samples = [each for each in samples_of(name) if not each.arrays or each.arrays[0].size < 200]
    smooth = [each for each in samples if each.smooth]
    for sample in (smooth or samples)[:2]:
        if any(array.dtype.itemsize == 2 for array in sample.arrays):
            continue
        with jax.enable_x64(True), np.errstate(all="ignore"):
            found = ROWS[name](sample.op, *map(jax.numpy.asarray, sample.arrays))
            expected = as_tuple(sample.reference())
        for each, array in zip(as_tuple(found), expected, strict=True):
            array = np.asarray(array)
            each = np.asarray(each).astype(array.dtype)
            assert each.shape == array.shape
            ok = np.isfinite(array)
            narrow = array.dtype.itemsize < 8
            np.testing.assert_allclose(
                each[ok], array[ok], rtol=2e-6 if narrow else 1e-11, atol=1e-11
            )


def step():
    w = sg.parameter("w", normal(3, 2))
    x, y = sg.input("x", ("n", 3), "float32"), sg.input("y", ("n", 2), "float32")
    loss = ((sg.tanh(x @ w) - y) ** 2).mean()
    return sg.Graph({"loss": loss}, updates={w: w - 0.1 * sg.grad(loss, w)}), w


FEEDS = {"x": normal(4, 3, seed=1), "y": normal(4, 2, seed=2)}


def test_a_training_step_is_pure():
    graph, w = step()
    before = w.value.copy()
    run = jax.jit(sg.jax.lower(graph))
    outputs, parameters = run(FEEDS)
    outputs, parameters = run(FEEDS, parameters)
    np.testing.assert_array_equal(w.value, before)
    f = sg.compile(graph)
    f.run(FEEDS)
    expected = f.run(FEEDS)
    np.testing.assert_allclose(outputs["loss"], expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(parameters["w"], w.value, rtol=1e-5)


def test_jax_differentiates_and_maps_it():
    x = sg.input("x", (3,), "float32")
    run = sg.jax.lower(sg.Graph({"y": sg.sin(x).sum()}))
    slopes = jax.vmap(jax.grad(lambda x: run({"x": x})["y"]))(normal(4, 3))
    np.testing.assert_allclose(slopes, np.cos(normal(4, 3)), rtol=1e-5)


def test_refusals():
    with pytest.raises(ArgumentError, match="takes a graph"):
        sg.jax.lower(np.sin)
    x = sg.input("x", (3, 3), "float32")
    run = sg.jax.lower(sg.Graph({"q": sg.linalg.qr(x)[0]}))
    with pytest.raises(ExportError, match="qr has no row") as caught:
        run({"x": np.eye(3, dtype="float32")})
    assert "sg.linalg.qr(x)" in str(caught.value)
    z = sg.input("z", (3,), "complex64")
    with pytest.raises(ExportError, match="complex"):
        sg.jax.lower(sg.Graph({"z": z * 2.0}))


SHARDED = """
import numpy as np, jax, staticgrad as sg
from jax.sharding import Mesh, PartitionSpec as P
from tests.bridges.test_jax_lower import FEEDS, step
graph, w = step()
run = sg.jax.lower(graph)
mesh = Mesh(np.array(jax.devices()), ("data",))
assert len(jax.devices()) == 4

def shared(feeds, parameters):
    outputs, moved = run(feeds, parameters)
    return jax.lax.pmean(outputs["loss"], "data"), jax.lax.pmean(moved["w"], "data")

specs = ({"x": P("data"), "y": P("data")}, {"w": P()})
f = jax.jit(jax.shard_map(shared, mesh=mesh, in_specs=specs, out_specs=(P(), P())))
loss, moved = f(FEEDS, {"w": w.value})
expected = sg.compile(graph).run(FEEDS)
np.testing.assert_allclose(loss, expected["loss"], rtol=1e-5)
np.testing.assert_allclose(moved, w.value, rtol=1e-5)
"""


@pytest.mark.slow
def test_a_training_step_on_several_devices(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    run = subprocess.run([sys.executable, "-c", SHARDED], timeout=240, check=False)
    assert run.returncode == 0
