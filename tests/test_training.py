"""Whole programs against loops written by hand in NumPy: a linear layer, and an MLP under SGD."""

import itertools

import numpy as np
import pytest

import staticgrad as sg

SIZES = (96, 64, 33, 17, 10)


def initial(rng):
    """Weights scaled by fan-in and zero biases, float64."""
    return [
        (rng.standard_normal((m, n)) / np.sqrt(m), np.zeros(n))
        for m, n in itertools.pairwise(SIZES)
    ]


def numpy_step(x, labels, layers, rate):
    """One SGD step of the MLP on mean cross entropy: the loss, and the layers after it."""
    activations = [x]
    for n, (w, b) in enumerate(layers):
        z = activations[-1] @ w + b
        activations.append(np.maximum(z, 0) if n < len(layers) - 1 else z)
    logits = activations[-1]
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(len(x)), labels].mean()
    ct = np.exp(log_p)
    ct[np.arange(len(x)), labels] -= 1
    ct /= len(x)
    new = []
    for n in range(len(layers) - 1, -1, -1):
        w, b = layers[n]
        new.append((w - rate * activations[n].T @ ct, b - rate * ct.sum(axis=0)))
        ct = (ct @ w.T) * (activations[n] > 0)
    return loss, new[::-1]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
def test_twenty_sgd_steps_of_an_mlp_equal_a_numpy_loop(dtype, tolerance):
    rng = np.random.default_rng(0)
    layers = initial(rng)
    x = sg.input("x", ("batch", SIZES[0]), dtype)
    labels = sg.input("labels", ("batch",), "int64")
    h, parameters = x, []
    for n, (w0, b0) in enumerate(layers):
        w, b = sg.parameter(f"w{n}", w0.astype(dtype)), sg.parameter(f"b{n}", b0.astype(dtype))
        parameters += [w, b]
        h = h @ w + b
        h = sg.nn.relu(h) if n < len(layers) - 1 else h
    loss = sg.nn.cross_entropy(h, labels)
    updates = {p: p - 0.1 * g for p, g in zip(parameters, sg.grad(loss, parameters), strict=True)}
    f = sg.compile(sg.Graph({"loss": loss}, updates))
    for _ in range(20):
        feeds = {
            "x": rng.standard_normal((64, SIZES[0])).astype(dtype),
            "labels": rng.integers(0, 10, 64),
        }
        expected, layers = numpy_step(feeds["x"].astype("float64"), feeds["labels"], layers, 0.1)
        got = f.run(feeds)["loss"]
        assert abs(got - expected) <= tolerance * abs(expected)
    for p, array in zip(parameters, (a for layer in layers for a in layer), strict=True):
        assert np.abs(p.value - array).max() <= tolerance * np.abs(array).max() * 10


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-13)])
def test_a_linear_layer_and_its_gradients(dtype, tolerance):
    rng = np.random.default_rng(1)
    x0, w0, ct0 = (rng.standard_normal(s).astype(dtype) for s in ((32, 512), (512, 768), (32, 768)))
    x, ct = sg.input("x", (32, 512), dtype), sg.input("ct", (32, 768), dtype)
    w, b = sg.parameter("w", w0), sg.parameter("b", np.ones(768, dtype))
    y = x @ w + b
    dx, dw, db = sg.grad(y, [x, w, b], seed=ct)
    got = sg.compile({"y": y, "dx": dx, "dw": dw, "db": db}).run({x: x0, ct: ct0})
    x64, w64, ct64 = (a.astype("float64") for a in (x0, w0, ct0))
    expected = {"y": x64 @ w64 + 1, "dx": ct64 @ w64.T, "dw": x64.T @ ct64, "db": ct64.sum(axis=0)}
    for name, array in expected.items():
        assert got[name].dtype == dtype
        assert got[name].shape == array.shape
        assert np.abs(got[name] - array).max() <= tolerance * np.abs(array).max(), name


def test_the_gradient_of_a_product_and_a_square():
    x, y = sg.input("x", (), "float64"), sg.input("y", (), "float64")
    z = x * y + x**2
    dx, dy = sg.grad(z, [x, y])
    got = sg.compile({"z": z, "dx": dx, "dy": dy, "dxx": sg.grad(dx, x)}).run({"x": 2.0, "y": 3.0})
    assert {name: array.item() for name, array in got.items()} == {
        "z": 10,
        "dx": 7,
        "dy": 2,
        "dxx": 2,
    }


def test_parameters_are_shared_by_programs():
    w = sg.parameter("w", np.ones(3))
    step, read = sg.compile(sg.Graph(updates={w: w * 2.0})), sg.compile(sg.Graph(w + 0.0))
    step.run({})
    assert (read.run({})["output"] == 2).all()
    w.value = np.zeros(3)
    step.run({})
    assert (read.run({})["output"] == 0).all()
    assert (w.value == 0).all()


@pytest.mark.parametrize("labels", [[0, 10, 3], [0, -1, 3]])
def test_a_class_label_outside_raises_before_any_update(labels):
    x, y = sg.input("x", ("batch", 4)), sg.input("y", ("batch",), "int64")
    w = sg.parameter("w", np.ones((4, 10), "float32"))
    loss = sg.nn.cross_entropy(x @ w, y)
    f = sg.compile(sg.Graph({"loss": loss}, {w: w - sg.grad(loss, w)}))
    with pytest.raises(sg.errors.IndexOutOfRange, match=str(labels[1])):
        f.run({"x": np.ones((3, 4), "float32"), "y": labels})
    assert (w.value == 1).all()
    assert np.isfinite(f.run({"x": np.ones((3, 4), "float32"), "y": [0, 9, 3]})["loss"])
