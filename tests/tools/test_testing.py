"""The public checks accept what is right, and refuse each kind of mistake with its sample."""

import re

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, CheckError
from staticgrad.language.ops.arithmetic import Div, Floor, Mul
from staticgrad.language.ops.elementwise import Elementwise, Floating
from staticgrad.language.ops.indexing import Take
from staticgrad.language.ops.reduce import Max
from staticgrad.language.ops.selection import Maximum
from staticgrad.testing import check_gradients, check_op

# check_gradients


def test_right_gradients_pass_with_a_small_error(rng):
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
    worst = check_gradients(lambda x, w: [np.tanh(x @ w), (w * w).sum()], [x, w], order=3)
    assert 0.0 < worst < 1e-7
    feeds = {"scale": 2.0, "x": [0.5, 1.5], "index": np.array([1, 0, 1])}
    worst = check_gradients(lambda x, scale, index: sg.take(x * scale, index) ** 2, feeds)
    assert worst < 1e-7

    def once(seed):
        return check_gradients(lambda x: sg.exp(x) * x, [np.array([0.3, 0.7])], seed=seed)

    assert once(1) == once(1) != once(2)


def test_graphs_values_and_parameters(rng):
    x = sg.input("x", ("batch", 3), "float32")
    w = sg.parameter("w", rng.normal(size=3).astype("float32"))
    y = sg.sigmoid(x @ w)
    feeds = {"x": rng.normal(size=(5, 3))}
    assert check_gradients(y, feeds) < 1e-7
    assert check_gradients(sg.Graph({"y": y}, updates={w: w * 2.0}), {x: feeds["x"]}) < 1e-7
    assert check_gradients([y, w * w], feeds) < 1e-7


@sg.custom_vjp(name="tests.wrong_sine")
def wrong_sine(x):
    return sg.sin(x)


@wrong_sine.rule
def _(ct, out, x):
    return (ct * sg.where(x > 1.0, 1.01, 1.0) * sg.cos(x),)


def test_a_wrong_gradient_is_shown_at_its_element():
    with pytest.raises(CheckError) as caught:
        check_gradients(wrong_sine, [np.array([0.1, 0.5, 1.2])])
    error = caught.value
    assert isinstance(error, AssertionError)
    assert error.code == "SG207"
    assert "order 1" in error.headline
    by_rule, difference = map(
        float, re.findall(r"(?:rule|difference) (-?[\d.]+)", error.details[0])
    )
    assert error.details[0].startswith("by x0[2] = 1.2: rule")
    assert by_rule == pytest.approx(1.01 * difference, rel=1e-6)
    assert error.details[1] == "at x0 = [0.1, 0.5, 1.2]"
    assert check_gradients(wrong_sine, [np.array([0.1, 0.5])]) < 1e-7


@sg.custom_vjp(name="tests.right_once")
def right_once(x):
    return sg.sin(x)


@right_once.rule
def _(ct, out, x):
    return (ct * sg.stop_gradient(sg.cos(x)),)


def test_a_wrong_second_derivative():
    feeds = [np.array([0.4, 0.7])]
    assert check_gradients(right_once, feeds, order=1) < 1e-7
    with pytest.raises(CheckError, match="order 2"):
        check_gradients(right_once, feeds)


class WrongForward(Floating, name="tests.wrong_forward"):
    """exp(x), with a wrong rule for forward mode."""

    def reference(self, x):
        return np.exp(x)

    def scalar(self, x):
        return x.exp()

    def partials(self, out, x):
        return (out,)

    def pushforward(self, tangents, out, x):
        return tangents[0] * x


def test_a_point_outside_the_domain():
    with pytest.raises(CheckError, match="differences nan") as caught:
        check_gradients(sg.log, [np.array([1e-5, 1.0])])
    assert "border of the domain" in caught.value.hint
    with pytest.raises(CheckError, match="forward mode gives"):
        check_gradients(WrongForward(), [np.array([0.3, 0.4])])


def test_what_check_gradients_refuses():
    x = sg.input("x", (2,), "float64")
    with pytest.raises(ArgumentError, match="no floating input"):
        check_gradients(lambda x: x * 1.0, [np.array([1, 2])])
    with pytest.raises(ArgumentError, match="'x' has no feed"):
        check_gradients(x * 2.0, {})
    with pytest.raises(ArgumentError, match="'y' has no feed, or is not an input"):
        check_gradients(x * 2.0, {"x": [1.0, 2.0], "y": 1.0})
    with pytest.raises(ArgumentError, match="takes a function, a Graph or values"):
        check_gradients(3.0, {})


# check_op: an op outside the package, in one class


@pytest.mark.slow
def test_built_in_ops_pass_too(rng):
    x, y = rng.uniform(0.5, 2.0, size=(2, 3, 4))
    for op in (Mul(), Div(), Maximum()):
        check_op(op, [(x, y)], compiled=False)
    check_op(Max((0,)), [(x,)], rough=[(np.ones((2, 2)),)], compiled=False)
    check_op(Take(0), [(x, np.array([2, 0, 2]))], compiled=False)
    check_op(Floor(), [(x,)], compiled=False)


# check_op: every kind of mistake


def copy_op(base, **overrides):
    """A copy of an op class, registered under its own name, with methods replaced."""
    name = f"tests.broken_{len(BROKEN)}"
    BROKEN.append(type(base.__name__, (base,), {"__module__": __name__, **overrides}, name=name))
    globals()[f"Broken{len(BROKEN)}"] = BROKEN[-1]
    BROKEN[-1].__qualname__ = f"Broken{len(BROKEN)}"
    return BROKEN[-1]()


BROKEN = []


class Plus(Elementwise, name="tests.plus"):
    """x + y on numbers."""

    exact = True
    commutative = True
    kinds = "if"

    def reference(self, x, y):
        return x + y

    def scalar(self, x, y):
        return x + y

    def partials(self, out, x, y):
        return 1.0, 1.0


PAIR = (np.array([1.0, 2.0]), np.array([3.0, -4.0]))


def test_the_failing_sample_is_shown():
    op = copy_op(Plus, scalar=lambda self, x, y: x.maximum(0) + y)
    with pytest.raises(CheckError) as caught:
        check_op(op, [PAIR, (np.array([-7.0]), np.array([0.5]))], compiled=False)
    assert caught.value.details == (
        "at (-7.0, 0.5): 0.5, reference -6.5",
        "operand 1: f64[1] = [-7.]",
        "operand 2: f64[1] = [0.5]",
    )
