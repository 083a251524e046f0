"""``sg.function``: what it traces when, what it takes and gives, and what it says of mistakes."""

import copy
import pickle
from decimal import Decimal

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import StaticgradWarning
from staticgrad.language.ir.schedule import Schedule
from staticgrad.language.types.arrays import hint_value

RNG = np.random.default_rng(3)
X = RNG.normal(size=(4, 3))


def test_containers_static_arguments_and_parameters():
    w = sg.parameter("w", np.eye(3))

    @sg.function(static="how")
    def f(batch, scale, how=("sum",), *, sign: int = 1):
        out = batch["image"] @ w * scale * sign
        return {"y": out.sum(axis=1), "pair": (out, how[0], None), "n": 7}

    actual = f({"image": X, "rest": [X[:, 0]]}, np.float64(2.0))
    np.testing.assert_allclose(actual["y"], 2 * X.sum(1))
    assert actual["pair"][1:] == ("sum", None)
    assert actual["n"] == 7
    assert [
        i.node.label for i in f.graph({"image": X, "rest": [X[:, 0]]}, np.float64(2)).inputs
    ] == [
        "batch.image",
        "scale",
    ]
    w.value = 2 * np.eye(3)  # it is read at each run
    again = f({"rest": [X[:, 0]], "image": X}, np.float64(3.0), sign=-1)
    np.testing.assert_allclose(again["pair"][0], -6 * X)
    assert f.stats.traces == 2


def test_sizes_are_literal_then_named_then_nothing_compiles():
    @sg.function
    def f(x, y):
        return (x + y).sum(axis=0), x.mean()

    for rows in (4, 6, 1, 9, 0):
        x = RNG.normal(size=(rows, 3))
        if rows:
            np.testing.assert_allclose(f(x, 2 * x)[0], 3 * x.sum(0))
        else:
            np.testing.assert_array_equal(f(x, x)[0], np.zeros(3))
    assert f.stats.traces == 2
    assert f.stats.reasons[0] == "x: float64[4, 3], y: float64[4, 3]: the first call"
    assert f.stats.reasons[1].endswith("other sizes, now named x.0")
    assert f.graph(X[:2], X[:2]).inputs[1].type.shape == f.graph(X[:2], X[:2]).inputs[0].type.shape
    f(X.astype("float32"), X.astype("float32"))
    assert f.stats.traces == 3


def test_the_first_sizes_keep_their_program_where_others_are_named():
    f = sg.function(lambda x: (x * 2.0).sum(axis=0))
    f(X)
    first = f.graph(X)
    f(X[:2])
    assert f.graph(X) is first
    assert f.graph(X[:2]) is f.graph(X[:3]) is not first
    assert f.stats.traces == 2


def test_far_larger_sizes_have_a_program_of_their_own_if_the_work_is_long():
    def outer(x, y):
        return (x[:, None] * y).sum(axis=1)

    f, light = sg.function(outer), sg.function(outer)
    small = [np.linspace(0, 1, n) for n in (30, 40, 50)]
    for x in small:
        f(x, x)
        light(x, x)
    named = f.graph(small[1], small[1])
    large, larger = np.linspace(0, 1, 3000), np.linspace(0, 1, 9000)
    np.testing.assert_allclose(f(large, large), large * large.sum())
    assert f.stats.traces == 3
    assert "sizes far beyond" in f.stats.reasons[-1]
    scaled = f.graph(large, large)
    assert scaled is not named
    np.testing.assert_allclose(f(larger, larger), larger * larger.sum())  # three times as large
    assert f.graph(larger, larger) is scaled
    assert f.graph(small[2], small[2]) is named
    light(np.ones(500), np.ones(500))  # far larger, but a matter of microseconds
    assert (f.stats.traces, light.stats.traces) == (3, 2)


def test_named_sizes_are_planned_for_the_largest_that_were_seen():
    f = sg.function(lambda x: x @ x.T)
    f(np.ones((30, 4)))
    f(np.ones((20, 4)))
    (size,) = {name for value in f.graph(np.ones((5, 4))).inputs for name in value.type.shape} - {4}
    assert hint_value(size) == 30


def test_sizes_that_the_function_needs_stay_literal():
    @sg.function
    def f(x):
        total = 0.0
        for row in range(x.shape[0]):
            total = total * 0.5 + x[row]
        return total

    def check(rows):
        total = 0.0
        for row in X[:rows]:
            total = total * 0.5 + row
        np.testing.assert_allclose(f(X[:rows]), total)

    check(4)
    check(2)
    with pytest.warns(StaticgradWarning, match="compiles for each size of its arrays"):
        check(3)
    check(2)
    assert f.stats.traces == 3
    assert "which it refuses" in f.stats.reasons[1]


def test_a_wrong_size_is_the_users_error_and_spoils_nothing():
    w = sg.parameter("w", np.ones((3, 2)))

    @sg.function
    def f(x):
        return x @ w

    f(X)
    with pytest.raises(sg.errors.ShapeError, match="inner sizes differ, 2 != 3") as caught:
        f(X[:, :2])
    assert "return x @ w" in str(caught.value)
    f(X[:2])
    f(X[:3])
    assert f.stats.traces == 2


def test_updates_happen_at_each_call():
    w = sg.parameter("w", np.zeros(3))
    optimizer = sg.optim.Adam(0.1)

    @sg.function(sizes={"x": ("batch", None), "y": ("batch",)})
    def step(x, y):
        loss = ((x @ w - y) ** 2).mean()
        return sg.Graph({"loss": loss}, optimizer.updates(loss, [w]))

    x = RNG.normal(size=(32, 3))
    for turn in range(200):
        part = x[: 16 + turn % 16]
        last = step(part, part @ [1.0, -2.0, 3.0])["loss"]
    assert last < 1e-4
    np.testing.assert_allclose(w.value, [1, -2, 3], atol=0.05)
    assert step.stats.traces == 1


def test_state_that_another_trace_would_lose_is_refused():
    w = sg.parameter("w", np.zeros(3))

    @sg.function
    def step(x):
        loss = ((x @ w - 1.0) ** 2).mean()
        return sg.Graph(loss, sg.optim.Adam(0.1).updates(loss, [w]))

    step(X)
    value_before = w.value.copy()
    with pytest.raises(sg.errors.GraphError, match="would begin again"):
        step(X[:2])
    np.testing.assert_array_equal(w.value, value_before)
    step(X)


def test_functions_of_numpy_are_functions():
    x = np.array([0.5, 2.0, 1.0])
    np.testing.assert_allclose(sg.function(np.sin)(x), np.sin(x), rtol=1e-15)
    np.testing.assert_array_equal(sg.function(np.mean)(np.stack([x, x]), axis=0), x)
    assert sg.function(np.sum)(x) == 3.5
    np.testing.assert_allclose(sg.grad(np.tanh)(0.5), 1 - np.tanh(0.5) ** 2, rtol=1e-15)
    slopes = sg.value_and_grad(np.hypot, argnums=(0, 1))(3.0, 4.0)[1]
    np.testing.assert_allclose(slopes, [0.6, 0.8], rtol=1e-15)
    np.testing.assert_array_equal(sg.grad(np.max)(x), [0, 1, 0])
    with pytest.raises(sg.errors.ArgumentError, match="'x2'"):
        sg.function(np.add)(x)


def test_it_composes():
    """Called with values or tensors it is the plain function; methods have their object."""

    @sg.function
    def f(x):
        return sg.tanh(x).sum(axis=-1)

    @sg.function
    def slopes(x):
        return sg.vmap(lambda row: sg.grad(f(row), row))(x)

    np.testing.assert_allclose(slopes(X), 1 - np.tanh(X) ** 2)
    tensor = Tensor(X.copy(), requires_grad=True)
    f(tensor).sum().backward()
    np.testing.assert_allclose(tensor.grad, 1 - np.tanh(X) ** 2, rtol=1e-3)  # of float32
    assert f.stats.traces == 0

    class Scaled:
        def __init__(self, by):
            self.by = by

        @sg.function
        def __call__(self, x):
            return x * self.by

    np.testing.assert_allclose(Scaled(2.0)(X) + Scaled(3.0)(X), 5 * X)
    assert isinstance(f.lower(X), Schedule)
    assert f.compile(X) is f.compile(X)
    np.testing.assert_allclose(f.compile(X).run({"x": X})["result"], np.tanh(X).sum(1))
    assert sg.function(lambda: (3, "a"))() == (3, "a")


def truth(x):
    return x if x.sum() > 0 else -x


def number(x):
    return x * int(x.sum())


@pytest.mark.parametrize("wrong", [truth, number])
def test_numbers_of_arrays_are_refused_with_the_cure(wrong):
    with pytest.raises(sg.errors.SymbolicValueError, match="static=") as caught:
        sg.function(wrong)(X)
    assert "test_function.py" in str(caught.value)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sg.function(truth)(), "missing a required argument"),
        (lambda: sg.function(truth)(X, z=1), "unexpected keyword argument 'z'"),
        (lambda: sg.function(lambda x, s: x)(X, {1}), "a set: neither an array nor static"),
        (lambda: sg.function(lambda x: x, sizes={"y": ("n",)})(X), "sizes names 'y'"),
        (lambda: sg.function(lambda x: x, sizes={"x": ("n",)})(X), "sizes has 1 entries"),
        (lambda: sg.function(3), "an int, not a function"),
        (lambda: sg.function(truth, static="y"),
         "static names 'y', which is not an argument of truth"),
        (lambda: sg.function(lambda d: d)({"a": {"b": X}, "a.b": X}),
         "two arrays are called 'd.a.b'"),
        (lambda: sg.function(lambda x: (y for y in x))(X), "gives a generator"),
        (lambda: sg.function(lambda x: {"a": {x}})(X), "gives a set"),
    ],
)  # fmt: skip
def test_mistakes(call, says):
    with pytest.raises(sg.errors.ArgumentError) as caught:
        call()
    assert says in str(caught.value)


def test_errors_of_the_function_are_its_own():
    @sg.function
    def f(x):
        raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        f(X)
    assert not isinstance(caught.value, sg.errors.StaticgradError)
    assert "while sg.function traced" in caught.value.__notes__[0]
    with pytest.raises(AttributeError) as missing:
        sg.function(lambda x: x.sum())([1.0, 2.0])
    assert "np.array(list)" in missing.value.__notes__[1]


@pytest.mark.parametrize(
    ("argument", "cure"),
    [
        (range(3), "np.array(x)"),
        ((float(k) for k in range(3)), "np.array(list(x))"),
        ([Decimal(2)], "float(number)"),
    ],
)
def test_numbers_that_are_static_are_named_with_the_cure(argument, cure):
    with pytest.raises((AttributeError, TypeError)) as caught:
        sg.function(lambda x: x**2)(argument)
    assert any(cure in note for note in caught.value.__notes__)


def test_numbers_that_change_are_warned_of():
    f = sg.function(lambda x, power: x**power)
    for turn in range(7):
        f(X, turn)
    with pytest.warns(sg.errors.StaticgradWarning, match=r"np\.float64"):
        f(X, 7)
    f(X, 8)


@sg.function
def triple_root(x):
    return sg.sqrt(x) * 3.0


def test_it_is_pickled_and_copied_as_a_function_is():
    assert pickle.loads(pickle.dumps(triple_root)) is triple_root
    assert copy.deepcopy({"f": triple_root})["f"] is triple_root
    wrong = np.array([-1.0])
    assert np.isnan(triple_root(wrong)).all()
    with sg.options(debug="nan"), pytest.raises(sg.errors.NonFiniteError):
        triple_root(wrong)
    assert np.isnan(triple_root(wrong)).all()


@pytest.mark.parametrize("sizes", [None, {"x": ("n",), "y": ("m", "n")}])
def test_sizes_alone_may_be_read_of_an_argument(sizes):
    def loss(x, y, s):
        return s * s + s * x.sum() + y.sum()

    @sg.function(sizes=sizes)
    def f(x, y, s):
        again = sg.fori_loop(0, x.shape[0], lambda i, c: c * 2.0, s)
        slopes = sg.grad(loss, 1)(x, y, s), sg.hessian(loss, allow_disconnected=True)(x, y, s)
        return sg.zeros(x.shape) + s, s * y.shape[0], again, *slopes

    for m, n in ((2, 3), (5, 1), (0, 2)):
        actual = f(np.ones(n), np.ones((m, n)), np.array(3.0))
        expected = np.full(n, 3.0), 3.0 * m, 3.0 * 2**n, np.ones((m, n)), np.zeros((n, n))
        for result, reference in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(result, reference)


def test_results_without_axes_are_scalars_as_numpys_functions_give_them():
    """They print as numbers; a state of them that goes in again is traced once."""

    @sg.function
    def step(total, x):
        return total + x.sum(), {"x": 2.0 * x}

    total, x = np.float32(1.5), np.ones(3, "float32")
    for _ in range(3):
        total, outputs = step(total, x)
        assert type(outputs["x"]) is np.ndarray
    assert repr(total) == "np.float32(10.5)"
    assert step.stats.traces == 1
    assert type(step.eagerly(total, x)[0]) is np.float32
    assert type(sg.grad(lambda x: x**3)(2.0)) is np.float64
    feeds = {"total": total, "x": x}
    assert {*map(type, step.compile(**feeds).run(feeds).values())} == {np.ndarray}


def test_frozen_programs_of_a_function_have_the_same_values():
    """Calls of other sizes and ranks are traced after a parameter was set."""
    layer = sg.nn.Linear(3, 2)
    weight, bias = np.array(layer.weight.value), np.array(layer.bias.value)
    rows = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    frozen, live = sg.function(layer, freeze=True), sg.function(layer)
    expected = rows @ weight + bias
    for n in (2, 1, 3):
        np.testing.assert_allclose(frozen(rows[:n]), expected[:n], rtol=1e-5)
        np.testing.assert_allclose(live(rows[:n]), expected[:n] + (n != 2), rtol=1e-5)
        layer.bias.value = bias + 1.0
    np.testing.assert_allclose(frozen(rows[None]), expected[None], rtol=1e-5)
    later = sg.function(layer, freeze=True)
    np.testing.assert_allclose(later(rows), expected + 1.0, rtol=1e-5)
