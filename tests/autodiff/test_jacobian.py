"""Jacobians, Hessians and products with them, against hand values and each other."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, DisconnectedError, GradientError
from staticgrad.language.ir.graph import ancestors


def inputs(**shapes):
    return [sg.input(name, shape, "float64") for name, shape in shapes.items()]


def test_both_modes_agree_and_both_compile(rng):
    (x,) = inputs(x=(4,))
    y = sg.stack([np.exp(x[0] * x[1]), np.sin(x).sum(), x[2] / x[3]])
    forward, reverse = (sg.jacobian(y, x, mode) for mode in ("forward", "reverse"))
    feeds = {"x": rng.uniform(0.5, 1.5, size=4)}
    actual = sg.compile({"f": forward, "r": reverse}).run(feeds)
    np.testing.assert_allclose(actual["f"], actual["r"], rtol=1e-14)
    x0, x1, x2, x3 = feeds["x"]
    e = np.exp(x0 * x1)
    expected = [[x1 * e, x0 * e, 0, 0], np.cos(feeds["x"]), [0, 0, 1 / x3, -x2 / x3**2]]
    np.testing.assert_allclose(actual["f"], expected, rtol=1e-13)


def test_the_mode_follows_the_shapes():
    (x,) = inputs(x=(5,))
    few, many = sg.stack([x.sum(), (x * x).sum()]), sg.concatenate([x, np.exp(x)])

    def products(matrix):
        (units,) = [node for node in ancestors([matrix]) if node.op.name == "eq"]
        return units.types[0].shape[0]

    assert products(sg.jacobian(few, x)) == 2
    assert products(sg.jacobian(many, x)) == 5
    assert products(sg.jacobian(few, x, "forward")) == 5


def test_sizes_may_be_named(rng):
    x, w = sg.input("x", ("batch", 2), "float64"), sg.input("w", (2,), "float64")
    y = np.tanh(x @ w)
    matrix = sg.jacobian(y, w)
    feeds = {"x": rng.normal(size=(6, 2)), "w": rng.normal(size=2)}
    slope = 1.0 - np.tanh(feeds["x"] @ feeds["w"]) ** 2
    np.testing.assert_allclose(sg.evaluate(matrix, feeds), slope[:, None] * feeds["x"], rtol=1e-13)
    assert sg.jacobian(y, w, "reverse").shape == matrix.shape
    actual = sg.evaluate([sg.jacobian(y, w, "reverse"), sg.jacobian(y, x)], feeds)
    np.testing.assert_allclose(actual[0], slope[:, None] * feeds["x"], rtol=1e-13)
    by_x = np.einsum("b,bc,k->bck", slope, np.eye(6), feeds["w"])
    np.testing.assert_allclose(actual[1], by_x, rtol=1e-13)
    np.testing.assert_allclose(sg.compile(sg.jacobian(y, x)).run(feeds), by_x, rtol=1e-13)


def test_scalars_structures_and_empty_sides():
    x, s, e = inputs(x=(3,), s=(), e=(0,))
    jacobians = sg.jacobian((x * s).sum(), {"x": x, "s": (s,)})
    values = sg.evaluate([jacobians["x"], jacobians["s"][0]], {"x": [1.0, 2.0, 3.0], "s": 4.0})
    assert [v.tolist() for v in values] == [[4.0, 4.0, 4.0], 6.0]
    assert sg.evaluate(sg.jacobian(s * s, s), {"s": 3.0}) == 6.0
    assert sg.jacobian(e * s, s).shape == (0,)
    assert sg.jacobian(x * e.sum(), e).shape == (3, 0)


def test_what_jacobian_refuses():
    (x,) = inputs(x=(3,))
    with pytest.raises(ArgumentError, match="is not one of 'forward', 'reverse'"):
        sg.jacobian(x, x, "both")
    with pytest.raises(GradientError, match="differentiates a value of a graph"):
        sg.jacobian([x], x)
    with pytest.raises(DisconnectedError):
        sg.jacobian(np.floor(x), x)


# Second derivatives


def quartic(x, matrix):
    return (matrix @ (x * x)) @ (x * x)


def test_the_hessian_of_a_quartic(rng):
    x, m = inputs(x=(4,), m=(4, 4))
    feeds = {"x": rng.normal(size=4), "m": rng.normal(size=(4, 4))}
    xs, symmetric = feeds["x"], feeds["m"] + feeds["m"].T
    expected = 4 * symmetric * np.outer(xs, xs) + 2 * np.diag(symmetric @ (xs * xs))
    hessian = sg.hessian(quartic(x, m), x)
    actual = sg.evaluate(hessian, feeds)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    assert hessian.node.order == 2
    v = rng.normal(size=4)
    product = sg.evaluate(sg.hvp(quartic(x, m), x, v), feeds)
    np.testing.assert_allclose(product, expected @ v, rtol=1e-12)


def test_hvp_agrees_with_reverse_over_reverse(rng):
    x, w, b = inputs(x=(5, 3), w=(3, 2), b=(2,))
    loss = sg.nn.log_softmax(np.tanh(x @ w) + b).mean() ** 2
    v = {"w": rng.normal(size=(3, 2)), "b": rng.normal(size=2)}
    product = sg.hvp(loss, {"w": w, "b": b}, v)
    slope = sg.grad(loss, {"w": w, "b": b})
    again = sg.grad((slope["w"] * v["w"]).sum() + (slope["b"] * v["b"]).sum(), [w, b])
    feeds = {"x": rng.normal(size=(5, 3)), "w": rng.normal(size=(3, 2)), "b": rng.normal(size=2)}
    actual = sg.evaluate([product["w"], product["b"], *again], feeds)
    np.testing.assert_allclose(actual[0], actual[2], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(actual[1], actual[3], rtol=1e-10, atol=1e-14)


def of_everything(x, a):
    """A number that goes through a loop, a branch, a solution, an order and a sum so far."""

    def step(state, row):
        state = np.tanh(a @ state + row * x)
        return state, sg.cond(
            state[0] > 0.1, lambda s: np.sin(s).sum(), lambda s: (s * s).sum(), state
        )

    last, along = sg.scan(step, x, np.array([0.3, -0.2, 0.5, 0.1]))
    solved = sg.linalg.solve(a + 4.0 * np.eye(3), last * x)
    return (along * along).sum() + (sg.sort(solved) * sg.cumsum(x)).sum() + np.exp(x[0] * x[2])


@pytest.mark.slow
def test_the_hessian_of_everything_has_the_products_as_columns(rng):
    x, a = inputs(x=(3,), a=(3, 3))
    y = of_everything(x, a)
    feeds = {"x": np.array([0.4, -0.3, 0.7]), "a": rng.normal(size=(3, 3)) * 0.5}
    columns = [sg.hvp(y, x, unit) for unit in np.eye(3)]
    expected = np.stack(sg.evaluate(columns, feeds), axis=-1)
    hessian, again = sg.hessian(y, x), sg.jacobian(sg.grad(y, x), x, "reverse")
    compiled = sg.compile({"h": hessian, "r": again}).run(feeds)
    for actual in (sg.evaluate(hessian, feeds), compiled["h"], compiled["r"]):
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-12)
    step = 1e-5
    slopes = [
        sg.evaluate(sg.grad(y, x), {**feeds, "x": feeds["x"] + sign * step * unit})
        for unit in np.eye(3)
        for sign in (1, -1)
    ]
    differences = [(up - down) / (2 * step) for up, down in zip(*[iter(slopes)] * 2, strict=True)]
    np.testing.assert_allclose(np.stack(differences, -1), expected, rtol=1e-6, atol=1e-7)
