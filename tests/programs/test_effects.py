"""Values that a traced function reads beside its arguments, and its side effects."""

import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import (
    ArgumentError,
    DTypeError,
    GraphError,
    ParameterValueError,
    StaticgradWarning,
    SymbolicValueError,
    TracingWarning,
)

RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 3))

factor = 2.0
table = np.arange(3.0)
settings = {"shift": 1.0}
calls = 0
log = []


def scale(x):
    return x * factor


@dataclass
class State:
    w: Any
    steps: Any
    name: str = "state"


def test_dataclasses_go_in_and_come_out():
    @sg.function
    def f(state: State, x):
        return State(state.w * x, state.steps + 1, state.name.upper())

    actual = f(State(np.ones(3), np.int64(4)), 2 * np.ones(3))
    assert isinstance(actual, State)
    np.testing.assert_array_equal(actual.w, 2 * np.ones(3))
    assert (actual.steps, actual.name) == (5, "STATE")
    again = f(actual, np.ones(3))
    assert (again.steps, f.stats.traces) == (6, 2)  # the name is static
    assert [value.node.label for value in f.graph(actual, X[0]).inputs] == [
        "state.w",
        "state.steps",
        "x",
    ]


class Model:
    offset = 0.5

    def __init__(self):
        self.gain, self.training = 3.0, True
        self.layers = [np.sign]

    def __call__(self, x):
        x = x + self.offset
        for layer in self.layers:
            x = layer(x)
        return x * self.gain if self.training else x


def test_names_around_a_function_are_read_as_they_are(monkeypatch):
    """Names of globals, called functions, closures and attributes; also elements of an array."""
    module = globals()
    place, closed = np.zeros(3), 1.0

    model = Model()

    @sg.function
    def f(x):
        return model(scale(x)) + place * closed + table + settings["shift"]

    def expected_result():
        gain = model.gain if model.training else 1.0
        x = X * module["factor"] + Model.offset
        for layer in model.layers:
            x = layer(x)
        return x * gain + place * closed + module["table"] + settings["shift"]

    np.testing.assert_allclose(f(X), expected_result())
    np.testing.assert_allclose(f(X), expected_result())
    assert f.stats.traces == 1
    for count, change in enumerate(
        [
            lambda: monkeypatch.setitem(module, "factor", 5.0),
            lambda: monkeypatch.setitem(module, "table", np.ones(3)),
            lambda: monkeypatch.setitem(settings, "shift", -1.0),
            lambda: setattr(model, "gain", 4.0),
            lambda: model.layers.append(np.sin),
            lambda: monkeypatch.setattr(Model, "offset", 0.0),
            lambda: module["table"].__setitem__(1, 7.0),
        ],
        start=2,
    ):
        change()
        with pytest.warns(StaticgradWarning) if count == 8 else nullcontext():
            np.testing.assert_allclose(f(X), expected_result())
        np.testing.assert_allclose(f(X), expected_result())
        assert f.stats.traces == count
    closed = 2.0
    np.testing.assert_allclose(f(X), expected_result())
    model.training = False
    np.testing.assert_allclose(f(X), expected_result())
    model.training = True  # that graph is known
    np.testing.assert_allclose(f(X), expected_result())
    assert f.stats.traces == 10
    monkeypatch.setitem(module, "factor", float("5"))  # equal: nothing has changed
    np.testing.assert_allclose(f(X), expected_result())
    assert [reason.rpartition(": ")[2] for reason in f.stats.reasons[1:4]] == [
        "factor is another",
        "table is another",
        "settings is another",
    ]


def test_an_optimizer_keeps_its_state_whatever_is_traced():
    w, b = sg.parameter("w", np.zeros(3)), sg.parameter("b", np.zeros(()))
    frozen = sg.parameter("frozen", np.ones(()))
    optimizer = sg.optim.Adam(0.1)

    @sg.function
    def step(x, y, slow: bool = False):
        loss = ((x @ w + b - y) ** 2).mean() * sg.stop_gradient(frozen)
        optimizer.minimize(loss * 0.5 if slow else loss)
        return loss

    x = RNG.normal(size=(32, 3))
    y = x @ [1.0, -2.0, 3.0] + 0.5
    for turn in range(200):
        rows = 16 + turn % 16 if turn > 3 else 16
        last = step(x[:rows], y[:rows], slow=turn % 50 == 49)
    assert step.stats.traces == 3  # literal sizes, named sizes, and one of the slow ones
    assert last < 1e-3
    np.testing.assert_allclose([*w.value, b.value], [1, -2, 3, 0.5], atol=0.05)
    np.testing.assert_array_equal(frozen.value, 1.0)
    counts = [p for p, _ in step.graph(x, y).updates if p.name == "adam.step"]
    assert [int(count.value) for count in counts] == [200]

    # The same steps as a graph, in turns of the same data.
    v = sg.parameter("v", np.zeros(3))
    plain = sg.parameter("v", np.zeros(3))
    again = sg.function(lambda x: sg.optim.SGD(0.1, 0.9).minimize(((x - v) ** 2).sum()))
    loss = ((sg.input("x", (3,), "float64") - plain) ** 2).sum()
    graph = sg.compile(sg.Graph(None, sg.optim.SGD(0.1, 0.9).updates(loss, [plain])))
    for row in X:
        assert again(row) is None
        graph.run({"x": row})
        np.testing.assert_array_equal(v.value, plain.value)


def test_updates_are_of_each_call():
    total, seen = sg.parameter("total", np.zeros(3)), sg.parameter("seen", np.int64(0))

    @sg.function
    def f(x):
        mean_before = total / sg.maximum(seen, 1).astype("float64")
        total.update(total + x.sum(0))
        seen.update(seen + x.shape[0])
        return mean_before

    np.testing.assert_array_equal(f(X), np.zeros(3))
    np.testing.assert_allclose(f(X[:2]), X.mean(0))
    np.testing.assert_allclose(total.value, X.sum(0) + X[:2].sum(0))
    assert seen.value == 6
    seen.update(0)  # outside it is written at once
    assert seen.value == 0
    reset = sg.function(lambda: total.update(np.ones(3)))
    reset()
    np.testing.assert_array_equal(total.value, np.ones(3))


def test_generators_go_on_with_each_call_whatever_is_traced():
    rng, by_hand = sg.random.Generator(3), sg.random.Generator(3)
    f = sg.function(lambda x: x + rng.normal(shape=x.shape, dtype="float64"))
    draw = by_hand.normal(shape=(4, 3), dtype="float64")
    graph = sg.compile(sg.Graph({"draw": draw}, by_hand.updates))
    for rows in (4, 4, 2, 3, 4):
        expected = graph.run({})["draw"]
        if rows == 4:
            np.testing.assert_allclose(f(X) - X, expected, atol=1e-15)
        else:
            f(X[:rows])
    second = sg.function(lambda x: x + rng.normal(shape=x.shape, dtype="float64"))
    assert not np.any(second(X) == f(X))


def draws_of_numpy(x):
    return x + np.random.normal(size=3)


def draws_of_an_own(x):
    return x + RNG.normal(size=3)


def reads_a_clock(x):
    return x + time.perf_counter()


@pytest.mark.parametrize("wrong", [draws_of_numpy, draws_of_an_own, reads_a_clock])
def test_frozen_numbers_are_reported_with_their_line(wrong):
    f = sg.function(wrong)
    with pytest.warns(TracingWarning, match="freezes a number") as caught:
        f(X)
    assert "return x + " in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(X)
        sg.function(lambda x: x + np.ones(3))(X)


def test_side_effects_are_reported_with_the_cure():
    leaked = []

    class Counter:
        hits = 0

    counter = Counter()

    @sg.function
    def f(batch):
        global calls
        calls += 1
        log.append(batch["x"].shape)
        leaked.append(batch["x"])
        counter.hits = counter.hits + 1
        batch["y"] = batch["x"] * 2
        return batch["y"]

    batch_of_x = {"x": X}
    with pytest.warns(TracingWarning) as caught:
        np.testing.assert_array_equal(f(batch_of_x), 2 * X)
    messages = "\n".join(str(warning.message) for warning in caught)
    for words in (
        "f assigns 'calls'",
        "f changes 'log'",
        "f changes 'leaked'",
        "f assigns 'counter.hits'",
        "f changes its argument batch",
        "p.update(value)",
    ):
        assert words in messages
    assert [*batch_of_x] == ["x"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(batch_of_x)
    assert (calls, counter.hits, f.stats.traces) == (1, 1, 1)
    with pytest.raises(GraphError, match=r"kept from another trace") as actual:
        sg.function(lambda z: z + leaked[0])(X)
    assert "test_effects.py" in str(actual.value)


def mismatch():
    w = sg.parameter("w", np.ones(3))
    return sg.function(lambda x: w.update(x))(X)


def twice():
    w = sg.parameter("w", np.ones(3))
    update_twice = lambda x: sg.Graph({"y": x}, updates=[(w, x + w), (w, x)])  # noqa: E731
    return sg.function(update_twice)(X[0])


def in_a_body(run):
    """Nothing there depends on the body, so that only its place says how often it would happen."""
    w = sg.parameter("w", np.ones(3))

    def body(*_operands):
        w.update(w + 1.0)
        return w * 0.5

    return lambda: sg.function(lambda x: run(body, x))(X[0])


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (lambda: sg.function(lambda x: (y for y in [x]))(X), ArgumentError, "a generator"),
        (lambda: sg.function(dict), ArgumentError, "does not say what it takes"),
        (lambda: sg.function(lambda x: x)(X.astype("M8[s]")), DTypeError, "datetime64"),
        (mismatch, GraphError, r"update of parameter 'w'.*becomes"),
        (twice, GraphError, "updated twice"),
        (in_a_body(lambda f, x: sg.fori_loop(0, 3, f, x)), GraphError, "inside of fori_loop"),
        (in_a_body(lambda f, x: sg.cond(x.sum() > 0, f, lambda: x)), GraphError, "inside of cond"),
        (in_a_body(lambda f, x: sg.vmap(f)(x)), GraphError, "inside of vmap"),
        (lambda: sg.parameter("w", np.ones(3)).update(sg.input("x", (3,), "float64")), GraphError,
         "no numbers here"),
        (lambda: sg.parameter("w", np.ones(3)).update(X), ParameterValueError, "shape"),
        (lambda: sg.optim.SGD(0.1).minimize(sg.input("x", (), "float64")), ArgumentError,
         "no parameter"),
        (lambda: sg.function(lambda x: sg.optim.SGD(0.1).minimize(x.sum()))(X), ArgumentError,
         "no parameter"),
        (lambda: sg.function(lambda x: list(range(x.sum())))(X), SymbolicValueError, "sta"),
        (lambda: sg.function(lambda x: x)(sg.input("x", (3,), "float64")).graph(X), AttributeError,
         "graph"),
        (lambda: sg.function(lambda x: x).graph(sg.input("x", (3,), "float64")), ArgumentError,
         "plain function"),
    ],
)  # fmt: skip
def test_mistakes(wrong, error, says):
    with pytest.raises(error, match=says):
        wrong()


def test_a_function_that_gives_and_updates_nothing_is_warned_of():
    w = sg.parameter("w", np.ones(3))

    def forgets(x):
        x * w

    with pytest.warns(TracingWarning, match="forgets returns nothing and updates nothing"):
        assert sg.function(forgets)(np.ones(3)) is None
    sg.function(lambda x: w.update(x))(np.ones(3))  # an update is enough
    sg.function(lambda x: {})(np.ones(3))
