"""The public checks accept what is right, and refuse each kind of mistake with its sample."""

import re

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import ArgumentError, CheckError
from staticgrad.ir.forms import Assemble, Region
from staticgrad.ops.elementwise import Elementwise, Floating
from staticgrad.ops.operands import LinearOp
from staticgrad.ops.selection import Maximum
from staticgrad.testing import assert_same_graph, check_gradients, check_op
from staticgrad.testing.gradients import array_text

LOG_TWO = float(np.log(2.0))


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


class LogCosh(Floating, name="tests.log_cosh"):
    """log(cosh(x)), without overflow. Derivative: tanh(x)."""

    flops = 50

    def reference(self, x):
        size = np.abs(x)
        return size + np.log1p(np.exp(-2 * size)) - x.dtype.type(LOG_TWO)

    def scalar(self, x):
        size = abs(x)
        return size + (size * -2).exp().log1p() - LOG_TWO

    def partials(self, out, x):
        return (sg.tanh(x),)


POINTS = (np.array([0.5, -1.2, 3.0]),)


@pytest.mark.slow
def test_an_op_in_one_class_outside_the_package():
    check_op(LogCosh(), [POINTS, (np.array(0.7),)], atol=2.0)


def test_that_op_is_a_citizen():
    x = sg.input("x", ("n",), "float32")
    loss = (LogCosh()(x * 2.0) * 0.5).sum()
    graph = sg.Graph({"loss": loss, "dx": sg.grad(loss, x), "curve": sg.hvp(loss, x, x)})
    assert "tests.log_cosh(" in str(graph)
    assert sg.same_graph(sg.parse(str(graph)), graph)
    xs = np.linspace(-3, 3, 21).astype("float32")
    found = sg.compile(graph).run({"x": xs})
    np.testing.assert_allclose(found["loss"], 0.5 * np.log(np.cosh(2 * xs)).sum(), rtol=1e-5)
    np.testing.assert_allclose(found["dx"], np.tanh(2 * xs), rtol=1e-5, atol=1e-7)
    curve = 2 * xs / np.cosh(2 * xs) ** 2
    np.testing.assert_allclose(found["curve"], curve, rtol=1e-3, atol=1e-6)


class Shift(LinearOp, name="tests.shift"):
    """x with its last axis rolled by ``by``: an op with an attribute and no kernel form."""

    by: int

    def infer(self, x):
        return x

    def reference(self, x):
        return np.roll(x, self.by, -1)

    def transposed(self, ct, x, *indices):
        return Shift(-self.by)(ct)


def test_an_op_without_a_kernel_form():
    samples = [(np.arange(6.0).reshape(2, 3),)]
    with pytest.raises(CheckError, match=r"Shift\(by=1\): no kernel form"):
        check_op(Shift(1), samples)
    check_op(Shift(1), samples, compiled=False)
    op = broken(Plus, differentiable=False, vjp=lambda self, ct, out, x, y: (ct, ct))
    with pytest.raises(CheckError, match="not differentiable, but vjp gives"):
        check_op(op, [PAIR], compiled=False)


@pytest.mark.slow
def test_built_in_ops_pass_too(rng):
    x, y = rng.uniform(0.5, 2.0, size=(2, 3, 4))
    for op in (sg.ops.arithmetic.Mul(), sg.ops.arithmetic.Div(), Maximum()):
        check_op(op, [(x, y)], compiled=False)
    check_op(sg.ops.reduce.Max((0,)), [(x,)], rough=[(np.ones((2, 2)),)], compiled=False)
    check_op(sg.ops.indexing.Take(0), [(x, np.array([2, 0, 2]))], compiled=False)
    check_op(sg.ops.arithmetic.Floor(), [(x,)], compiled=False)


# check_op: every kind of mistake


def broken(base, **overrides):
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


def writing(self, x, y):
    x += y
    return x


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"reference": lambda self, x, y: np.float64(x + y)}, r"infer says f32.* reference gives"),
        ({"reference": writing}, "reference writes to its operands"),
        ({"reference": lambda self, x, y: x.reshape(7)}, "reference raises ValueError"),
        ({"scalar": lambda self, x, y: x - y}, r"scalar and reference differ in \d of"),
        ({"scalar": lambda self, x, y: x * y + (x + y - x * y)}, "scalar and reference differ"),
        ({"reference": lambda self, x, y: x - y, "scalar": lambda self, x, y: x - y}, "other bits"),
        ({"partials": lambda self, out, x, y: (1.0, 1.5)}, "the rules give a slope of"),
        ({"partials": lambda self, out, x, y: (1.0, None)}, "the rules give a slope of"),
        ({"partials": lambda self, out, x, y: (1.0, 1.0 / 0)}, "derivative raises ZeroDivision"),
        ({"met_dtype": lambda self, *types: types[0].dtype}, "not declared to take"),
    ],
)
def test_a_broken_op_is_refused(overrides, says):
    with pytest.raises(CheckError, match=says):
        check_op(broken(Plus, **overrides), [PAIR], compiled=False)


class Sharp(Floating, name="tests.sharp"):
    """2x, of the operands that ``takes`` accepts."""

    takes = staticmethod(lambda x: True)

    def infer(self, x):
        if not self.takes(x):
            raise sg.errors.ShapeError(f"tests.sharp: no {x}")
        return super().infer(x)

    def reference(self, x):
        return x + x

    def scalar(self, x):
        return x + x

    def partials(self, out, x):
        return (2.0,)


@pytest.mark.parametrize(
    "takes",
    [
        lambda x: x.rank == 1,
        lambda x: x.rank != 0,
        lambda x: 0 not in x.shape,
        lambda x: x.rank == 1 and x.shape[0] != 4097,
        lambda x: x.dtype.numpy == np.float64,
        lambda x: x.dtype.numpy == np.float64 and (x.rank != 1 or x.shape[0] < 100),
    ],
)
def test_an_op_that_refuses_what_it_is_declared_to_take_is_refused(takes):
    op = broken(Sharp, takes=staticmethod(takes))
    with pytest.raises(CheckError, match=r"infer raises ShapeError: tests\.sharp: no f"):
        check_op(op, [(np.array([1.0, 2.0, 3.0]),)])


def test_an_op_for_one_floating_dtype_says_so():
    narrow = broken(Sharp, takes=staticmethod(lambda x: x.dtype.numpy == np.float64))
    check_op(narrow, [(np.array([1.0, 2.0]),)], dtypes=["float64"], compiled=False)
    with pytest.raises(CheckError, match="not declared to take"):
        check_op(broken(Sharp), [(np.array([1.0]),)], dtypes=["float64"], compiled=False)
    for sample, dtypes in ((np.float32([1]), ["float64"]), (np.ones(1), ["float32"]), (1.0, "f8")):
        with pytest.raises(ArgumentError, match=r"check_op: the samples of tests\.broken"):
            check_op(narrow, [(np.array(sample),)], dtypes=dtypes, compiled=False)


def test_a_kink_of_a_second_derivative_is_sent_to_the_rough_samples():
    op = broken(
        Sharp,
        reference=lambda self, x: x * np.abs(x),
        scalar=lambda self, x: x * x.maximum(-x),
        partials=lambda self, out, x: (2.0 * sg.abs(x),),
    )
    with pytest.raises(CheckError, match="slope") as caught:
        check_op(op, [(np.array([1e-6, 1.0]),)], compiled=False, edges=False)
    assert "rough=" in caught.value.hint
    check_op(op, [(np.array([0.5, 1.0]),)], compiled=False, edges=False)


def test_the_failing_sample_is_shown():
    op = broken(Plus, scalar=lambda self, x, y: x.maximum(0) + y)
    with pytest.raises(CheckError) as caught:
        check_op(op, [PAIR, (np.array([-7.0]), np.array([0.5]))], compiled=False)
    assert caught.value.details == (
        "at (-7.0, 0.5): 0.5, reference -6.5",
        "operand 1: f64[1] = [-7.]",
        "operand 2: f64[1] = [0.5]",
    )


@pytest.mark.slow
def test_a_kernel_that_differs_is_refused():
    op = broken(Plus)
    # The reference is what is wrong here: both readings of the element agree.
    check_op(op, [PAIR], edges=False)
    lying = broken(Plus, form=lambda self, *types: Assemble((Region((0,), (1,)),) * 2))
    with pytest.raises(CheckError, match=r"the kernel and reference differ in 2 of 2"):
        check_op(lying, [PAIR])


def test_definitions_that_cannot_travel():
    class Nameless(Plus):
        """Without a name of its own."""

    with pytest.raises(CheckError, match="not registered"):
        check_op(Nameless(), [PAIR])
    with pytest.raises(ArgumentError, match="there are no samples"):
        check_op(Plus(), [])


# Graphs and arrays


def test_graphs_that_differ():
    x = sg.input("x", (), "float64")
    assert_same_graph(sg.Graph({"y": x * 2.0}), sg.Graph({"y": x * 2.0}))
    with pytest.raises(CheckError, match="the graphs differ") as caught:
        assert_same_graph(x * 2.0, x * 3.0)
    found, expected = caught.value.details
    assert found.startswith("found:    %0: f64[] = constant{value=2.0}")
    assert expected.startswith("expected: %0: f64[] = constant{value=3.0}")


def test_bits_and_text_of_arrays():
    zeros = np.array([0.0, np.nan])
    assert same_bytes(zeros, zeros.copy())
    assert not same_bytes(zeros, -zeros)
    assert same_bytes(zeros, np.array([0.0, -np.nan]))
    assert array_text(np.arange(3.0)) == "[0., 1., 2.]"
    assert array_text(np.arange(100)).count(",") == 6
