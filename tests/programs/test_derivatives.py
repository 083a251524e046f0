"""Derivatives of functions: of arrays, values and tensors, in any order, with vmap and function."""

import pickle
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, no_grad
from staticgrad.errors import (
    ArgumentError,
    DisconnectedError,
    GradientError,
    ShapeError,
    TracingWarning,
    UnknownArgumentError,
)

RNG = np.random.default_rng(11)
X = RNG.normal(size=(4, 3))
W = RNG.normal(size=3)


def loss(w, x):
    return (sg.tanh(x @ w) ** 2).sum()


def slope_by_hand(w, x):
    t = np.tanh(x @ w)
    return x.T @ (2 * t * (1 - t * t))


def hessian_by_hand(w, x):
    t = np.tanh(x @ w)
    bent = 2 * (1 - t * t) * (1 - 3 * t * t)
    return x.T @ (bent[:, None] * x)


def ran(function, *args):
    """A function of values, with an input of a graph for each argument."""
    inputs = [sg.input(f"x{k}", np.shape(argument), "float64") for k, argument in enumerate(args)]
    feeds = {f"x{k}": argument for k, argument in enumerate(args)}
    return sg.compile(function(*inputs)).run(feeds)


def on_the_tape(function, *args):
    """A function of bare tensors, which leaves nothing on the tape."""
    actual = function(*[Tensor(argument, dtype=np.asarray(argument).dtype) for argument in args])
    assert not actual.requires_grad
    return actual.data


WAYS = {
    "arrays": lambda function, *args: function(*args),
    "values": ran,
    "tensors": on_the_tape,
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("way", WAYS)
def test_each_is_what_it_is_by_hand(way):
    run = WAYS[way]
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11)  # noqa: E731
    expected, slope, bent = (np.tanh(X @ W) ** 2).sum(), slope_by_hand(W, X), hessian_by_hand(W, X)
    close(run(sg.grad(loss), W, X), slope)
    close(run(sg.hessian(loss), W, X), bent)
    close(run(sg.jacobian(sg.grad(loss)), W, X), bent)
    close(run(lambda w, x: sg.hvp(lambda w: loss(w, x), w, w), W, X), bent @ W)
    close(run(lambda w, x: sg.jvp(lambda w: loss(w, x), w, w)[1], W, X), slope @ W)
    close(run(lambda w, x: sg.linearize(lambda w: loss(w, x), w)[1](w), W, X), slope @ W)
    close(run(lambda w, x: sg.vjp(lambda w: x @ w, w, x @ w)[1], W, X), X.T @ X @ W)
    close(run(lambda w, x: sg.vjp(lambda w: x @ w, w)[1](x @ w), W, X), X.T @ X @ W)
    close(run(lambda w, x: sg.value_and_grad(loss)(w, x)[0], W, X), expected)
    close(run(sg.function(sg.checkpoint(sg.grad(sg.checkpoint(loss)))), W, X), slope)
    rows = [slope_by_hand(W, row[None]) for row in X]
    mapped = sg.vmap(sg.grad(lambda w, row: loss(w, row[None])), (None, 0))
    close(run(sg.function(mapped), W, X), rows)
    assert sg.grad(loss)(np.float32(W), np.float32(X)).dtype == np.float32
    thrice = run(lambda w, x: sg.grad(lambda w: sg.hvp(lambda v: loss(v, x), w, w).sum())(w), W, X)
    step = 1e-6
    for k in range(3):
        ends = [W + step * sign * np.eye(3)[k] for sign in (1, -1)]
        values = [(hessian_by_hand(end, X) @ end).sum() for end in ends]
        np.testing.assert_allclose(thrice[k], (values[0] - values[1]) / 2 / step, rtol=1e-3)


@dataclass
class Layer:
    w: Any
    b: Any


def test_containers_places_and_parameters():
    scale = sg.parameter("scale", np.array(2.0))

    def f(layer, x, power: int = 2, *, sign: int = 1):
        out = (x @ layer.w + layer.b) ** power * scale * sign
        return out.sum(), {"largest": out.max(), "power": power}

    layer = Layer(W, 0.5)
    (value, aux), slopes = sg.value_and_grad(f, has_aux=True)(layer, X, sign=-1)
    out = X @ W + 0.5
    np.testing.assert_allclose(value, -2 * (out**2).sum())
    np.testing.assert_allclose(aux["largest"], (-2 * out**2).max())
    assert aux["power"] == 2
    assert isinstance(slopes, Layer)
    np.testing.assert_allclose(slopes.w, -4 * X.T @ out)
    np.testing.assert_allclose(slopes.b, -4 * out.sum())
    slopes_of_both, _ = sg.grad(f, (1, 0), has_aux=True)(layer, X, 3)
    np.testing.assert_allclose(slopes_of_both[0], 6 * (out**2)[:, None] * W)
    np.testing.assert_allclose(slopes_of_both[1].w, 6 * X.T @ out**2)
    by_scale = sg.grad(lambda *args: f(*args)[0], {"s": scale})
    np.testing.assert_allclose(by_scale(layer, X)["s"], (out**2).sum())
    scale.value = 3.0  # it is read in each run, and by the gradient of another
    np.testing.assert_allclose(sg.grad(lambda s: s * s * scale, 0)(scale), 27.0)
    blocks = sg.hessian(lambda layer: ((X @ layer.w + layer.b) ** 2).sum())(layer)
    np.testing.assert_allclose(blocks.w.b, 2 * X.sum(0))
    np.testing.assert_allclose(blocks.b.b, 8.0)
    rows = sg.jacobian(lambda x, y: {"p": x * y, "q": [(x + y).sum()]}, (0, 1))(W, 2 * W)
    np.testing.assert_allclose(rows["p"][1], np.diag(W))
    np.testing.assert_allclose(rows["q"][0][0], np.ones(3))
    slopes = sg.grad(lambda x, y: x.sum(), (0, 1))
    for form in (slopes, sg.function(slopes)):  # each names the argument as the user does
        with pytest.raises(DisconnectedError, match="does not depend on 'y'"):
            form(W, W)
    free = sg.grad(lambda x, y: x.sum(), (0, 1), allow_disconnected=True)(W, W)
    np.testing.assert_array_equal(free[1], np.zeros(3))


def test_arguments_are_apart_from_what_is_computed_of_the_same():
    """The derivative is by the argument, not by the value that stands there."""
    inner = sg.grad(lambda x: x * sg.grad(lambda y: x * y)(x))
    assert inner(3.0) == 6.0  # of x * x, not of 2 * x * x
    x = sg.input("x", (), "float64")
    assert sg.evaluate(inner(x), {"x": 3.0}) == 6.0
    assert sg.evaluate(sg.grad(lambda y: x * y)(x), {"x": 3.0}) == 3.0
    _, (a, b) = sg.vjp(lambda x, y: x * y, (W, W), np.ones(3))
    np.testing.assert_array_equal([a, b], [W, W])


def test_tensors_use_the_tape():
    f = lambda w: loss(w, Tensor(X, dtype="float64"))  # noqa: E731
    w = Tensor(W, dtype="float64")
    value, slope = sg.value_and_grad(f)(w)
    assert isinstance(slope, Tensor)
    assert not any(tensor.requires_grad for tensor in (value, slope, w))
    np.testing.assert_allclose(slope.data, slope_by_hand(W, X))
    bent = sg.hvp(f, w, Tensor(W, dtype="float64"))
    assert not bent.requires_grad
    np.testing.assert_allclose(bent.data, hessian_by_hand(W, X) @ W)
    w.requires_grad = True
    (sg.hvp(f, w, W) * Tensor(W, dtype="float64")).sum().backward()
    third = sg.function(sg.grad(lambda v: (sg.hvp(lambda w: loss(w, X), v, W) * W).sum()))(W)
    np.testing.assert_allclose(w.grad, third, rtol=1e-10, atol=1e-12)
    w.zero_grad()
    (sg.grad(f)(w) * Tensor(W, dtype="float64")).sum().backward()
    np.testing.assert_allclose(w.grad, hessian_by_hand(W, X) @ W)
    y, pull = sg.vjp(lambda w: w * w, Tensor(W, dtype="float64"))
    for scale in (1.0, 2.0):
        np.testing.assert_allclose(pull(y * 0.0 + scale).data, 2 * scale * W)
    checkpointed = sg.grad(sg.checkpoint(lambda w: f(w)))(Tensor(W, dtype="float64"))
    np.testing.assert_allclose(checkpointed.data, slope_by_hand(W, X))


def bare(array, needs=False):
    return Tensor(array, needs, "float64")


def test_a_tape_knows_who_else_differentiates():
    """Closed-over values need gradients too: of a penalty on slopes, of a nested one."""
    w, scale = bare(W), sg.parameter("scale", np.array(3.0))
    f = lambda w: (w**3).sum() * scale  # noqa: E731
    value, slope = sg.value_and_grad(f)(w)
    ((slope**2).sum() + value).backward()
    assert scale.grad == pytest.approx(((3 * W**2) ** 2).sum() * 2 * 3.0 + (W**3).sum())
    inner = lambda a: sg.jvp(lambda w: (a * w**2).sum(), w, w)[1]  # noqa: E731
    np.testing.assert_allclose(sg.grad(inner)(w).data, 2 * W**2)
    a = bare(W, True)
    sg.jacobian(lambda w: a * w**2)(w).sum().backward()
    np.testing.assert_allclose(a.grad, 2 * W)
    along = bare(W, True)
    sg.jvp(lambda w: w**2, w, along)[1].sum().backward()
    np.testing.assert_allclose(along.grad, 2 * W)
    with no_grad():
        for needs in (False, True):
            slope = sg.grad(lambda w: (w**2).sum() * scale)(bare(W, needs))
            assert not slope.requires_grad
            np.testing.assert_allclose(slope.data, 6 * W)


def test_derivatives_of_tensors_by_tensors():
    w = bare(W, True)
    y = w**3
    close = np.testing.assert_allclose
    close(sg.vjp([y], {"w": w}, [W])["w"].data, 3 * W**3)
    close(sg.jvp({"y": y}, w, W)["y"].data, 3 * W**3)
    close(sg.jacobian(y, w).data, np.diag(3 * W**2))
    close(sg.hessian(y.sum(), w).data, np.diag(6 * W))
    close(sg.hvp(y.sum(), [w], [W])[0].data, 6 * W**2)
    p = sg.parameter("p", W)
    np.testing.assert_allclose(sg.jvp(bare(X) @ p, p, W).data, X @ W)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda w: sg.jvp(lambda w: w * w, w, w[:2]), GradientError, r"tangent is f64\[2\]"),
        (lambda w: sg.jvp(lambda w: w * w, w, [w]), GradientError, "the tangents are"),
        (lambda w: sg.jvp(sg.floor, w, w), DisconnectedError, "no differentiable path"),
        (lambda w: sg.grad(lambda w: sg.floor(w).sum())(w), DisconnectedError, "^.*grad: no"),
        (lambda w: sg.jvp(lambda w: bare(W), w, w), DisconnectedError, "jvp: no"),
        (lambda w: sg.jacobian(lambda w: w > 0)(w), GradientError, "only floating"),
        (lambda w: sg.hessian(lambda w: w.sum())(w), DisconnectedError, "hessian|jacobian"),
        (lambda w: sg.hessian(lambda w: w)(w), GradientError, "seed|one element"),
        (lambda w: sg.vjp(lambda w: w * w, w, w[:2]), GradientError, r"cotangent is f64\[2\]"),
        (lambda w: sg.linearize(sg.floor, w), DisconnectedError, "linearize: no"),
    ],
)
def test_what_tensors_refuse_names_the_line(wrong, error, message):
    with pytest.raises(error, match=message) as caught:
        wrong(bare(W))
    assert "test_derivatives.py" in str(caught.value)
    zeros = sg.jvp(lambda w: (sg.floor(w), w), bare(W), bare(W), allow_disconnected=True)[1]
    np.testing.assert_allclose(zeros[0].data, 0.0 * W)


def test_programs_are_kept_with_their_function():
    counted = []

    def f(x):
        counted.append(x.shape)
        return (x**2).sum()

    with pytest.warns(TracingWarning, match="changes 'counted'"):
        sg.grad(f)(X)
    for rows in (4, 2, 3):
        np.testing.assert_allclose(sg.grad(f)(X[:rows]), 2 * X[:rows])
    assert len(counted) == 2
    assert sg.grad(f) is sg.grad(f, 0) is sg.grad(f, argnums=0)
    assert sg.grad(f) is not sg.grad(f, (0,))

    @wraps(f)
    def other(x):
        return 3.0 * f(x)

    with pytest.warns(TracingWarning, match="changes 'counted'"):
        np.testing.assert_allclose(sg.grad(other)(X), 6 * X)
    np.testing.assert_allclose(sg.grad(f)(X), 2 * X)
    assert pickle.loads(pickle.dumps(vars(loss))) == {k: {} for k in vars(loss)}


def test_every_transformation_chooses_arguments_by_argnums():
    """By argnums alone: the other arguments have no derivative here."""

    def f(steps: int, x, labels, w):
        return (x**2 * labels).sum() * w * steps

    labels, w = np.array([3, 4, 5]), np.float64(2.0)
    at, x = (2, X[0], labels, w), X[0]
    slope, matrix = 8.0 * labels * x, np.diag(8.0 * labels)
    slopes = {
        "grad": sg.grad(f, argnums=1)(*at),
        "value_and_grad": sg.value_and_grad(f, argnums=1)(*at)[1],
        "jacobian": sg.jacobian(f, argnums=1)(*at),
        "vjp": sg.vjp(f, at, 1.0, argnums=1)[1],
        "vjp later": sg.vjp(f, at, argnums=1)[1](1.0),
        "sparse_jacobian": sg.sparse_jacobian(f, argnums=1)(*at).toarray()[0],
    }
    for name, actual in slopes.items():
        np.testing.assert_allclose(actual, slope, err_msg=name)
    for name, actual in {
        "hessian": sg.hessian(f, argnums=1)(*at),
        "sparse_hessian": sg.sparse_hessian(f, argnums=1)(*at).toarray(),
    }.items():
        np.testing.assert_allclose(actual, matrix, err_msg=name)
    np.testing.assert_allclose(sg.hvp(f, at, x, argnums=1), matrix @ x)
    np.testing.assert_allclose(sg.jvp(f, at, x, argnums=1)[1], slope @ x)
    np.testing.assert_allclose(sg.linearize(f, at, argnums=1)[1](x), slope @ x)
    by_two = sg.vjp(f, at, 1.0, argnums=(3, 1))[1]
    np.testing.assert_allclose(by_two[0], (x**2 * labels).sum() * 2)
    np.testing.assert_allclose(by_two[1], slope)
    sg.testing.check_gradients(lambda k, x: sg.stop_gradient(k) * k * x, (w, x), argnums=1)


def test_updates_and_draws_inside_happen_at_each_call():
    rng, seen = sg.random.Generator(1), sg.parameter("seen", np.int64(0))

    def f(x):
        seen.update(seen + 1)
        return (x * rng.normal(shape=x.shape, dtype="float64")).sum()

    slope = sg.grad(f)
    assert not np.any(slope(W) == slope(W))
    assert seen.value == 2


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (lambda: sg.grad(loss)(W), ArgumentError, "missing a required argument"),
        (lambda: sg.grad(loss, 2)(W, X), ArgumentError, "shall be differentiated by argument 2"),
        (lambda: sg.grad(loss, -1), ArgumentError, "not a place"),
        (lambda: sg.grad(loss, sg.input("x", (3,))), ArgumentError, "the place of an argument"),
        (lambda: sg.grad(loss, 0, argnums=0), ArgumentError, "grad: wrt and argnums are one"),
        (lambda: sg.hessian(loss, 0, argnums=0), ArgumentError, "hessian: x and argnums are one"),
        (lambda: sg.grad(loss, seed=1.0), ArgumentError, "sg.vjp"),
        *[
            (partial(of_value, argnums=0), ArgumentError, "argnums belongs to functions")
            for of_value in (
                partial(sg.grad, sg.input("x", ())),
                partial(sg.value_and_grad, sg.input("x", ())),
                partial(sg.jacobian, sg.input("x", ())),
                partial(sg.hessian, sg.input("x", ())),
                partial(sg.vjp, sg.input("x", ()), 1.0, 1.0),
                partial(sg.jvp, sg.input("x", ()), 1.0, 1.0),
                partial(sg.hvp, sg.input("x", ()), 1.0, 1.0),
                partial(sg.testing.check_gradients, sg.input("x", ()), {"x": 1.0}),
            )
        ],
        (lambda: sg.grad(loss, wrt=1), ArgumentError, "argnums=1"),
        (lambda: sg.value_and_grad(loss, wrt=1), ArgumentError, "argnums=1"),
        (lambda: sg.jacobian(loss, x=1), ArgumentError, "argnums=1"),
        (lambda: sg.hessian(loss, x=1), ArgumentError, "argnums=1"),
        (lambda: sg.sparse_jacobian(loss, wrt=1), UnknownArgumentError, "write argnums="),
        (lambda: sg.sparse_hessian(loss, wrt=1), UnknownArgumentError, "write argnums="),
        (lambda: sg.grad(sg.input("x", ())), UnknownArgumentError, "'wrt'"),
        (lambda: sg.value_and_grad(sg.input("x", ())), UnknownArgumentError, "value_and_grad: mis"),
        (lambda: sg.jacobian(sg.input("x", ())), UnknownArgumentError, "jacobian: missing .*'x'"),
        (lambda: sg.grad(sg.input("x", ()), has_aux=True), ArgumentError, "has_aux belongs to"),
        (lambda: sg.grad(argnums=0), UnknownArgumentError, "missing .*'y'"),
        (lambda: sg.hessian(sg.input("x", ()), has_aux=True), UnknownArgumentError, "'has_aux'"),
        (lambda: sg.grad(lambda x: x)(W), GradientError, "not one element"),
        (lambda: sg.grad(lambda x: x.sum(), has_aux=True)(W), GradientError, "not a pair"),
        (lambda: sg.grad(lambda x: 1.0)(W), DisconnectedError, "does not depend"),
        (lambda: sg.grad(lambda x: x.sum())("a"), GradientError, "argument 0 is 'a'"),
        (lambda: sg.jvp(loss, (W, X), (W,)), GradientError, "expected "),
        (lambda: sg.jvp(lambda x: x, W, W[:2]), GradientError, "must be equal"),
        (lambda: sg.vjp(lambda x: x, W, {"a": W}), GradientError, "cotangents are"),
        (lambda: sg.linearize(3, W), ArgumentError, "not a function"),
        (lambda: sg.jacobian(loss, mode="back"), ArgumentError, "neither"),
        (lambda: sg.grad(loss)(W, X[:, :2]), ShapeError, "inner sizes"),
    ],
)
def test_mistakes(wrong, error, says):
    with pytest.raises(error, match=says):
        wrong()
