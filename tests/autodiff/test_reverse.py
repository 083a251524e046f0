"""Gradients against hand values, the joint graph's structure, every form that ``wrt`` takes."""

import linecache
from typing import ClassVar, NamedTuple

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import DisconnectedError, GradientError, OpDefinitionError
from staticgrad.language.ir.graph import Symbolic, ancestors
from staticgrad.language.ir.op import Op
from staticgrad.language.types.arrays import TensorType
from tests.helpers.chains import sum_chain


def scalar(name, dtype="float64"):
    return sg.input(name, (), dtype)


class Pair(NamedTuple):
    first: object
    second: object


def test_the_result_has_the_structure_of_wrt():
    x, y = scalar("x"), scalar("y")
    z = x * y
    assert isinstance(sg.grad(z, x), Symbolic)
    assert isinstance(sg.grad(z, [x, y]), list)
    assert isinstance(sg.grad(z, (x,)), tuple)
    nested = sg.grad(z, {"a": x, "b": [y, {"c": (x,)}], "d": Pair(x, y)})
    assert list(nested) == ["a", "b", "d"]
    assert isinstance(nested["d"], Pair)
    values = sg.evaluate([nested["a"], nested["b"][0], nested["b"][1]["c"][0], nested["d"].second],
                         {"x": 2.0, "y": 3.0})  # fmt: skip
    assert values == [3.0, 2.0, 3.0, 2.0]


def test_by_an_intermediate_a_value_twice_and_the_output_itself():
    x = scalar("x")
    h = np.exp(x)
    y = h * h
    dh, dx, again, dy = sg.grad(y, [h, x, x, y])
    actual = sg.evaluate([dh, dx, again, dy], {"x": 0.5})
    assert np.allclose(actual, [2 * np.exp(0.5), 2 * np.exp(1.0), 2 * np.exp(1.0), 1.0], rtol=1e-15)


def test_a_seed_weighs_the_rows_of_the_jacobian():
    x = sg.input("x", (3,), "float64")
    feeds = {"x": [1.0, 2.0, 3.0]}
    by_array = sg.grad(x * x, x, seed=np.array([1.0, 10.0, 100.0]))
    assert sg.evaluate(by_array, feeds).tolist() == [2.0, 40.0, 600.0]
    s = sg.input("s", (3,), "float64")
    by_value = sg.grad(x * x, x, seed=s)
    assert sg.evaluate(by_value, {**feeds, "s": [0.0, 1.0, 0.0]}).tolist() == [0.0, 4.0, 0.0]


def test_derivatives_to_the_fourth_order():
    x = scalar("x")
    y = np.exp(x) * x
    derivatives = [y]
    for _ in range(4):
        derivatives.append(sg.grad(derivatives[-1], x))
    expected = [np.exp(0.3) * (0.3 + n) for n in range(5)]
    np.testing.assert_allclose(sg.evaluate(derivatives, {"x": 0.3}), expected, rtol=1e-14)
    assert [d.node.order for d in derivatives[1:]] == [1, 2, 3, 4]


def test_orders_count_from_what_is_differentiated():
    x = scalar("x")
    y = np.exp(x)
    first = sg.grad(y, x)
    second = sg.grad(first * y, x)
    orders = {node.order for node in ancestors([second])}
    assert orders == {0, 1, 2}
    assert y.node.order == 0
    assert sg.grad(x * x, x).node.order == 1


def test_gradient_nodes_carry_the_forward_line():
    x = scalar("x")
    y = np.tanh(x)  # the forward line
    z = y * 3.0
    new = [node for node in ancestors([sg.grad(z, x)]) if node.order == 1]
    texts = [linecache.getline(n.origin.resolve().file, n.origin.resolve().line) for n in new]
    assert any("the forward line" in text for text in texts)
    assert not any("sg.grad" in text for text in texts)


@pytest.mark.slow
def test_a_chain_of_10_000_nodes():
    x = scalar("x")
    y = sum_chain(x, x, 10_000)
    assert sg.evaluate(sg.grad(y, x)) == 10_001.0


def test_the_gradient_of_a_recurrence_over_parts_is_linear_in_its_steps():
    """Each step reads its state in slices, behind a pole: a mask says which elements count."""
    x = sg.input("x", (3,), "float64")

    def last(steps):
        y = x
        for _ in range(steps):
            y = y + 0.01 / (1.0 + sg.concatenate([y[2:], y[:2]]))
        return y[2]

    few, many = (len(sg.Graph(sg.grad(last(steps), x)).nodes) for steps in (30, 60))
    assert many < 2.1 * few
    value = last(60)
    at = np.array([0.3, 0.7, 1.9])
    slope = sg.evaluate(sg.grad(value, x), {"x": at})
    ends = [sg.evaluate(value, {"x": at + h}) for h in (1e-5 * np.eye(3))]
    starts = [sg.evaluate(value, {"x": at - h}) for h in (1e-5 * np.eye(3))]
    assert np.allclose(slope, (np.array(ends) - np.array(starts)) / 2e-5, rtol=1e-8)


# Ops with more than one result


class SumAndDifference(Op):
    """(x + y, x - y); its rule fails on a missing cotangent that is not ZERO."""

    name: ClassVar[str] = "test.sum_and_difference"

    def infer(self, x, y):
        return x, y

    def reference(self, x, y):
        return x + y, x - y

    def vjp(self, ct, out, x, y):
        assert isinstance(out, tuple)
        plus, minus = ct
        return plus + minus, plus - minus


def test_unused_results_have_a_zero_cotangent():
    x, y = scalar("x"), scalar("y")
    total, difference = SumAndDifference()(x, y)
    feeds = {"x": 2.0, "y": 5.0}
    dx, dy = sg.grad(difference * difference, [x, y])
    assert sg.evaluate([difference, dx, dy], feeds) == [-3.0, -6.0, 6.0]
    gradients = sg.grad(total * difference, [x, y])  # x² - y²
    assert sg.evaluate([total, difference, *gradients], feeds) == [7.0, -3.0, 4.0, -10.0]


class Swap(Op):
    """(y, x); its rule hands cotangents on as they come, ZERO too."""

    name: ClassVar[str] = "test.swap"

    def infer(self, x, y):
        return y, x

    def reference(self, x, y):
        return y, x

    def vjp(self, ct, out, x, y):
        return ct[1], ct[0]


def test_a_zero_that_is_handed_on_is_a_connected_zero():
    x, y = scalar("x"), scalar("y")
    first, second = Swap()(x * 2.0, y)
    dx, dy = sg.grad(first * first, [x, y])
    assert sg.evaluate([dx, dy, second], {"x": 2.0, "y": 5.0}) == [0.0, 10.0, 4.0]


class WrongShape(Op):
    name: ClassVar[str] = "test.wrong_shape"

    def infer(self, x):
        return TensorType(x.dtype, ())

    def vjp(self, ct, out, x):
        return (ct,)


class WrongCount(WrongShape):
    name: ClassVar[str] = "test.wrong_count"

    def vjp(self, ct, out, x):
        return ct, ct


class NoRule(Op):
    name: ClassVar[str] = "test.no_rule"

    def infer(self, x):
        return TensorType(x.dtype, ())


@pytest.mark.parametrize(
    ("op", "error", "says"),
    [
        (WrongShape(), OpDefinitionError, r"f64\[\] for an operand f64\[3\]"),
        (WrongCount(), OpDefinitionError, "not a tuple of 1 cotangents"),
        (NoRule(), GradientError, "op test.no_rule has no derivative rule"),
    ],
)
def test_a_wrong_rule_is_reported_at_the_users_line(op, error, says):
    x = sg.input("x", (3,), "float64")
    y = op(x)  # the wrong op
    with pytest.raises(error, match=says) as caught:
        sg.grad(y, x)
    assert "the wrong op" in caught.value.at.resolve().text


# Mistakes


def test_what_grad_refuses():
    x = sg.input("x", (3,), "float64")
    n = scalar("n", "int64")
    with pytest.raises(GradientError, match="needs a seed"):
        sg.grad(x * x, x)
    with pytest.raises(GradientError, match=r"the seed is f64\[2\].* is f64\[3\]"):
        sg.grad(x * x, x, seed=np.ones(2))
    with pytest.raises(GradientError, match="only floating values have derivatives"):
        sg.grad(n * n, n)
    with pytest.raises(GradientError, match=r"'n' is i64.*no gradient with respect to it"):
        sg.grad((x * n).sum(), [x, n])
    with pytest.raises(GradientError, match="not a value or array"):
        sg.grad(x, x, seed="one")
    with pytest.raises(GradientError, match="takes values to differentiate by"):
        sg.grad(x.sum(), ["x"])
    with pytest.raises(GradientError, match="differentiates a value of a graph"):
        sg.grad(3.0, x)


# Several outputs


def test_vjp_of_several_outputs_adds_up(rng):
    x, w = sg.input("x", (3,), "float64"), sg.input("w", (2, 3), "float64")
    y = {"a": np.exp(x), "b": [w @ x, (x * x).sum()]}
    ct = {"a": np.array([1.0, 2.0, 3.0]), "b": [np.array([4.0, 5.0]), 6.0]}
    by_x, by_w = sg.vjp(y, (x, w), ct)
    feeds = {"x": rng.normal(size=3), "w": rng.normal(size=(2, 3))}
    actual = sg.evaluate([by_x, by_w], feeds)
    expected = ct["a"] * np.exp(feeds["x"]) + ct["b"][0] @ feeds["w"] + 12.0 * feeds["x"]
    np.testing.assert_allclose(actual[0], expected, rtol=1e-14)
    np.testing.assert_allclose(actual[1], np.outer(ct["b"][0], feeds["x"]), rtol=1e-14)


def test_vjp_of_an_output_inside_another():
    x = scalar("x")
    h = x * x
    by_x, by_h = sg.vjp([h, h * h], [x, h], [10.0, 1.0])
    assert sg.evaluate([by_x, by_h], {"x": 3.0}) == [6.0 * 10.0 + 4.0 * 27.0, 10.0 + 18.0]


def test_what_vjp_refuses():
    x = sg.input("x", (3,), "float64")
    y = [x * 2.0, x.sum()]
    with pytest.raises(GradientError, match=r"cotangents are 1 item, not a list or tuple of 2"):
        sg.vjp(y, x, [1.0])
    with pytest.raises(GradientError, match=r"the cotangent is f64\[\], .* is f64\[3\]"):
        sg.vjp(y, x, [1.0, 1.0])
    with pytest.raises(GradientError, match="a dict of 'b', not a dict of 'a'"):
        sg.vjp({"a": x}, x, {"b": np.ones(3)})
    with pytest.raises(GradientError, match="nothing to differentiate"):
        sg.vjp([], x, [])
    with pytest.raises(GradientError, match="only floating values"):
        sg.vjp(x > 0.0, x, np.ones(3))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_loss_of_one_element_needs_no_seed(shape):
    """d/dx of 3x + 1 at shape (1,), and of a product, as a tape gives them."""
    x = sg.input("x", shape, "float64")
    line, square = sg.grad(3.0 * x + 1.0, x), sg.grad(x * x, x)
    assert (line.shape, square.shape) == (shape, shape)
    at = np.full(shape, 5.0)
    assert np.asarray(sg.evaluate(square, {"x": at})).item() == 10.0
    assert np.asarray(sg.evaluate(line + 0.0 * x, {"x": at})).item() == 3.0
    named = sg.input("y", ("n",), "float64")
    with pytest.raises(sg.errors.GradientError, match="not one element"):
        sg.grad(named * 2.0, named)


@pytest.fixture
def x():
    return sg.input("x", (3,), "float64")


def error_of(y, wrt):
    with pytest.raises(DisconnectedError) as caught:
        sg.grad(y, wrt)
    return caught.value


def test_floor_on_the_only_path_names_its_line(x):
    steps = np.floor(x)  # dies here
    error = error_of((steps * 2.0).sum(), x)
    assert error.code == "SG302"
    assert "floor" in error.headline
    assert "'x'" in error.headline
    assert "dies here" in error.at.resolve().text
    integers = x.astype("int64")  # dies here
    error = error_of(integers.astype("float64").sum(), x)
    assert "int64" in error.headline
    assert "dies here" in error.at.resolve().text


def test_a_comparison(x):
    above = x > 0.0  # dies here
    error = error_of(sg.where(above, 1.0, 2.0).sum(), x)
    assert "dies here" in error.at.resolve().text
    unused = sg.input("other", (), "float64")
    error = error_of((x * x).sum(), [x, unused])
    assert "does not depend on 'other'" in error.headline
    y = (x * x).sum()
    later = x * 3.0
    assert "does not depend" in error_of(y, later).headline


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        (sg.stop_gradient, "stop_gradient passes no gradient on"),
        (lambda x: sg.one_hot(sg.argmax(x), 3), "passes no gradient on"),
        (np.sign, "sign passes no gradient on"),
        (lambda x: np.rint(x) * 2.0, "rint"),
        (lambda x: sg.take(sg.constant(np.ones(3)), x.astype("int32")), "gives int32"),
    ],
)
def test_other_ops_that_pass_nothing(x, blocks, says):
    assert says in error_of(blocks(x).astype("float64").sum(), x).headline


def test_every_dead_path_is_listed(x):
    down = np.floor(x)
    up = np.ceil(x)
    error = error_of((down + up).sum(), x)
    assert "floor" in error.headline
    assert any("ceil" in detail for detail in error.details)


def test_one_live_path_is_enough(x):
    fraction = x - np.floor(x)
    assert sg.evaluate(sg.grad(fraction.sum(), x)).tolist() == [1.0, 1.0, 1.0]


def test_zeros_when_allowed(x):
    n = sg.input("n", (), "int64")
    batch = sg.input("batch", ("b", 2), "float32")
    y = (x * n).sum()
    dx, dn, db = sg.grad(y, [x, n, batch], allow_disconnected=True)
    assert (dn.type, db.type) == (n.type, batch.type)
    feeds = {"n": 4, "batch": np.ones((5, 2), "float32")}
    actual = sg.evaluate({"x": dx, "n": dn, "b": db, "read": batch}, feeds)
    assert actual["x"].tolist() == [4.0] * 3
    assert actual["n"] == 0
    assert actual["b"].shape == (5, 2)
    assert not actual["b"].any()


def test_gradients_of_several_depend_on_a_reshape_among_them():
    """A reshape of it is read through by no formula: the slope by another depends on it."""
    x, a = sg.input("x", (2, 2), "float64"), sg.input("a", (4,), "float64")
    r = sg.tanh(x).reshape((4, 1))
    loss = (r.reshape((4,)) * a * a * sg.sin(r)[:, 0]).sum()
    feeds = {"x": np.ones((2, 2)), "a": np.arange(4.0)}
    t = np.tanh(1.0)
    expected = 2 * feeds["a"] * (np.sin(t) + t * np.cos(t))
    for by_a in (sg.grad(loss, a), sg.grad(loss, [a, r])[0]):
        for derivative in (sg.grad(by_a.sum(), r), sg.jvp(by_a, r, np.ones((4, 1)))):
            value, *_ = sg.evaluate([derivative, x, a], feeds)
            np.testing.assert_allclose(value.ravel(), expected, rtol=1e-12)


def _written_twice(a, b):
    """A loss that writes one product twice, and its values of those."""
    copies = a @ b, a @ b
    return (copies[0] * 3.0).mean() + (copies[1] ** 2.0).mean(), copies


def test_what_was_written_twice_is_differentiated_once(rng):
    a, b = sg.input("a", (3, 4), "float64"), sg.input("b", (4, 5), "float64")
    loss, _ = _written_twice(a, b)
    slopes = sg.grad(loss, [a, b])
    forward_nodes = {node for node in ancestors(slopes) if node.order == 1}
    assert (
        sum("matmul" in node.op.name or "contract" in node.op.name for node in forward_nodes) == 2
    )
    feeds = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=(4, 5))}
    of_product = (3.0 + 2.0 * (feeds["a"] @ feeds["b"])) / 15
    expected = [of_product @ feeds["b"].T, feeds["a"].T @ of_product]
    for slope, by_hand in zip(sg.evaluate(slopes, feeds), expected, strict=True):
        np.testing.assert_allclose(slope, by_hand, rtol=1e-13)


@pytest.mark.parametrize("number", [0, 1])
def test_each_copy_has_a_slope_of_its_own(number, rng):
    """And what else is asked for changes no bit of the others."""
    a, b = sg.input("a", (3, 4), "float64"), sg.input("b", (4, 5), "float64")
    loss, copies = _written_twice(a, b)
    of_copy, of_a = sg.grad(loss, [copies[number], a])
    feeds = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=(4, 5))}
    product = feeds["a"] @ feeds["b"]
    expected = (np.full((3, 5), 3.0 / 15), 2.0 * product / 15)[number]
    values = sg.evaluate([of_copy, of_a, sg.grad(loss, a)], feeds)
    np.testing.assert_allclose(values[0], expected, rtol=1e-13)
    assert values[1].tobytes() == values[2].tobytes()


def test_copies_of_copies_and_their_second_derivatives():
    x = scalar("x")

    def once():
        return sg.tanh(x * 2.0) * sg.exp(x)

    slope = sg.grad(once() + 2.0 * once() * once(), x)
    second = sg.grad(slope, x)

    def of(f, at, h=1e-5):
        return (f(at + h) - f(at - h)) / (2 * h)

    def by_hand(at):
        value = np.tanh(2 * at) * np.exp(at)
        return value + 2 * value * value

    actual = sg.evaluate([slope, second], {"x": 0.3})
    np.testing.assert_allclose(actual[0], of(by_hand, 0.3), rtol=1e-8)
    np.testing.assert_allclose(
        actual[1], of(lambda at: of(by_hand, at, 1e-4), 0.3, 1e-4), rtol=1e-5
    )


def test_a_copy_that_runs_again_is_not_merged_with_one_that_is_stored(rng):
    x = sg.input("x", (4,), "float64")
    again = sg.checkpoint(lambda v: sg.tanh(v) * v)
    loss = (again(x) + sg.tanh(x) * x).sum()
    slope = sg.grad(loss, x)
    at = rng.normal(size=4)
    expected = 2 * (np.tanh(at) + at / np.cosh(at) ** 2)
    np.testing.assert_allclose(sg.evaluate(slope, {"x": at}), expected, rtol=1e-13)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("rows", [8, 40])  # eight terms are too few to be worth it
def test_a_gram_product_has_one_product_in_its_gradient(left, rows):
    random = np.random.default_rng(5)
    data, weights = random.normal(size=(3, rows, 20)), random.normal(size=(20, 20))
    x = sg.input("x", data.shape, "float64")
    twice, turned = 2 * x, sg.swapaxes(x, -1, -2)
    loss = ((twice.mT @ twice) if left else (turned @ x) * 4.0) * weights
    slope = sg.grad(loss.sum(), x)
    products = str(sg.Graph({"slope": slope}, name="slope")).count("= matmul")
    assert products == (1 if rows == 40 else 2)
    want = 4.0 * data @ (weights + weights.T)
    assert np.abs(sg.evaluate(slope, {"x": data}) - want).max() < 1e-12 * rows * 20


def test_a_power_of_a_matrix_is_no_gram_product():
    random = np.random.default_rng(7)
    data, weights = random.normal(size=(20, 20)), random.normal(size=(20, 20))
    x = sg.input("x", data.shape, "float64")
    slope = sg.evaluate(sg.grad(((x @ x) * weights).sum(), x), {"x": data})
    assert np.allclose(slope, weights @ data.T + data.T @ weights, rtol=1e-12)


def test_the_transposed_operand_of_a_gram_product_has_its_own_share():
    random = np.random.default_rng(6)
    data, weights = random.normal(size=(40, 20)), random.normal(size=(20, 20))
    x = sg.input("x", data.shape, "float64")
    turned = x.T
    loss = ((turned @ x) * weights).sum() + turned.sum()
    alone, slopes = sg.grad(loss, x), sg.grad(loss, [x, turned])
    actual = sg.evaluate([alone, *slopes], {"x": data})
    assert np.array_equal(actual[0], actual[1])  # whoever else is asked for
    assert np.allclose(actual[0], data @ (weights + weights.T) + 1.0, rtol=1e-12)
    assert np.allclose(actual[2], weights @ data.T + 1.0, rtol=1e-12)


@pytest.mark.parametrize("derivative", [sg.grad, sg.value_and_grad, sg.hessian, sg.jacobian])
def test_a_graph_is_differentiated_by_an_output_or_by_a_function_that_calls_it(derivative):
    x = sg.input("x", (3,), "float64")
    graph = sg.Graph({"loss": (x * x).sum()})
    with pytest.raises(GradientError, match="differentiates a value of a graph") as refusal:
        derivative(graph)
    assert refusal.value.hint.startswith("one of its outputs: graph['loss'];")
    f = eval(refusal.value.hint.split("function: ")[1], {"graph": graph})
    np.testing.assert_allclose(sg.grad(f)(np.ones(3)), 2.0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
@pytest.mark.parametrize("shape", [(), (1,), (3,), ("n", 2), (0, 4)])
def test_a_gradient_has_the_type_of_what_it_belongs_to(dtype, shape):
    """Also where the loss is wider, a broadcast stretched the operand, or nothing is connected."""
    x = sg.input("x", shape, dtype)
    wide = sg.input("wide", (5, *shape), "float64")
    loss = sg.abs(x * wide).sum() + (sg.abs(x) ** 2).mean()
    gradients = [
        sg.grad(loss, x),
        sg.value_and_grad(loss, x)[1],
        sg.grad(wide.sum(), x, allow_disconnected=True),
    ]
    gradients += [sg.vjp(sg.abs(x) * wide, x, wide), sg.grad(sg.abs(gradients[0]).sum() + loss, x)]
    gradients += [sg.grad(loss, [x, wide])[0], *(() if dtype[0] == "c" else [sg.hvp(loss, x, x)])]
    for gradient in gradients:
        assert (gradient.shape, gradient.dtype) == (x.shape, x.dtype)
    tangent = sg.jvp(x * wide, x, x)
    assert (tangent.shape, tangent.dtype) == ((x * wide).shape, (x * wide).dtype)
