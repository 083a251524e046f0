"""Programs that composed programs failed on, small, each beside NumPy."""

import numpy as np
import pytest

import staticgrad as sg

PLAIN = {"jit": False}


def run(outputs, feeds=None, **limits):
    """Return results of the kernels as plain Python, watched."""
    with sg.options(**PLAIN, **limits):
        return sg.compile(sg.Graph(outputs), debug=True).run(feeds or {})


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(2, 3, 4), (9, 2, 3), (3, 2, 17), (1, 5, 1)])
def test_running_sums_of_positions(shape, axis):
    """A scan computes what follows from positions alone, whatever axes have one loop."""
    outputs, expected = {}, {}
    for place in range(3):
        positions = np.indices(shape)[place]
        outputs[f"sum{place}"] = sg.cumsum(sg.iota(shape, place), axis=axis)
        expected[f"sum{place}"] = positions.cumsum(axis)
        outputs[f"product{place}"] = sg.cumprod(sg.iota(shape, place) + 1, axis=axis)
        expected[f"product{place}"] = (positions + 1).cumprod(axis)
    for name, actual in run(outputs).items():
        np.testing.assert_array_equal(actual, expected[name], err_msg=name)


def test_running_sums_of_positions_of_a_named_size():
    x = sg.input("x", ("n",), "float64")
    y = sg.cumsum(sg.arange(x.shape[0])) + x.astype("int64")
    actual = run({"y": y}, {"x": np.zeros(7)})
    np.testing.assert_array_equal(actual["y"], [0, 1, 3, 6, 10, 15, 21])


def layer_norm(x):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("shape", [(6, 4, 3), (24, 3), (12, 2, 5), (40, 2)])
def test_rows_with_scratch_are_not_interleaved_in_a_loop(shape):
    """Interleaved rows have scratch of their own each; iterations of a joined loop share theirs."""
    x = sg.input("x", shape, "float64")
    ramp = np.arange(shape[-1]) * 0.5
    y = sg.fori_loop(0, 3, lambda i, c: sg.nn.layer_norm(c + ramp), x)
    loss = sg.sin(y).sum()
    rng = np.random.default_rng(0)
    at, along = rng.normal(size=shape), rng.normal(size=shape)

    def value(x):
        for _ in range(3):
            x = layer_norm(x + ramp)
        return np.sin(x).sum()

    actual = run({"loss": loss, "slope": sg.grad(loss, x)}, {"x": at})
    h = 1e-5
    difference = (value(at + h * along) - value(at - h * along)) / (2 * h)
    np.testing.assert_allclose(actual["loss"], value(at), 1e-9)
    np.testing.assert_allclose((actual["slope"] * along).sum(), difference, 1e-6, 1e-6)


@pytest.mark.parametrize("shape", [("n", 4), (6, 4), (4, 4), (4, 9)])
def test_a_wide_product_of_a_matrix_with_itself(shape):
    """Its gradient is distributed over a sum, which leaves products that were wide before."""
    x = sg.input("x", shape, "float64")
    loss = sg.sin(x.T @ x).sum()
    at = np.random.default_rng(0).normal(size=[5 if n == "n" else n for n in shape])
    limits = "wide_product=64,chunk_rows=1,byte_flops=1000,chunk_share=1000"
    actual = run({"loss": loss, "slope": sg.grad(loss, x)}, {"x": at}, limits=limits)
    slope = at @ (np.cos(at.T @ at) + np.cos(at.T @ at).T)
    np.testing.assert_allclose(actual["loss"], np.sin(at.T @ at).sum(), 1e-9)
    np.testing.assert_allclose(actual["slope"], slope, 1e-9)


@pytest.mark.parametrize("captures", [False, True])
def test_what_is_mapped_over_a_parameter_is_of_its_graph(captures):
    """It was computed at once, as an array that gradients do not see."""
    start = np.linspace(-1, 1, 6).reshape(3, 2)
    w, x = sg.parameter("w", start), sg.input("x", (2,), "float64")

    def iteration(i, c):
        rows = sg.vmap(lambda row: sg.sin(row) * c if captures else sg.sin(row))(w)
        return c + rows.sum(0)

    at = np.array([0.5, -0.25])
    loss = sg.fori_loop(0, 2, iteration, x).sum() + (w * w).sum()
    actual = run({"loss": loss, "slope": sg.grad(loss, w)}, {"x": at})

    def value(w):
        c = at
        for _ in range(2):
            c = c + (np.sin(w) * c if captures else np.sin(w)).sum(0)
        return c.sum() + (w * w).sum()

    np.testing.assert_allclose(actual["loss"], value(start))
    along, h = np.random.default_rng(0).normal(size=start.shape), 1e-5
    difference = (value(start + h * along) - value(start - h * along)) / (2 * h)
    np.testing.assert_allclose((actual["slope"] * along).sum(), difference, 1e-7)


def test_what_is_mapped_over_parameters_and_arrays_computes():
    w = sg.parameter("w", np.array([2.0, 3.0]))
    rows = np.arange(6.0).reshape(3, 2)
    actual = sg.vmap(lambda w, row: w @ row, in_axes=(None, 0))(w, rows)
    np.testing.assert_allclose(actual, rows @ [2.0, 3.0])
    by_dict = sg.vmap(lambda tree: tree["a"] * 2.0)({"a": w})
    assert isinstance(by_dict, sg.Value)
    np.testing.assert_allclose(sg.evaluate(by_dict), [4.0, 6.0])
