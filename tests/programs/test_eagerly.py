"""One program in both modes: parameters meet tensors, and traced functions run line by line."""

import asyncio
import pickle

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, no_grad
from tests.helpers.processes import in_threads

RNG = np.random.default_rng(11)
X = RNG.normal(size=(6, 3))
Y = np.array([0, 1, 2, 1, 0, 2])


def weight(name, *shape, seed=0, dtype=np.float64):
    return sg.parameter(name, np.random.default_rng(seed).normal(size=shape).astype(dtype))


# -- leaves of the tape ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_are_those_of_the_graph(dtype):
    w, b, x = weight("w", 3, 4, dtype=dtype), weight("b", 4, dtype=dtype), X.astype(dtype)

    def loss(x):
        hidden = sg.nn.layer_norm(sg.tanh(x @ w + b), b, 0.5 * b)
        return (sg.nn.softmax(hidden) * hidden).sum() + (w**2).sum()

    compiled = sg.grad(loss, [w, b])(x)
    with sg.eager_mode():
        loss(Tensor(x, dtype=dtype)).backward()
        loss(x).backward()  # arrays alone compute at once, too; gradients add up
    for p, slope in zip((w, b), compiled, strict=True):
        assert p.grad.dtype == dtype
        np.testing.assert_allclose(p.grad, 2 * slope, rtol=1e-5 if dtype == np.float32 else 1e-12)
        p.zero_grad()
        assert w.grad is None or p is b
    by_tape = sg.grad(loss, [w, b])(Tensor(x, dtype=dtype))
    for actual, slope in zip(by_tape, compiled, strict=True):
        np.testing.assert_allclose(actual.data, slope, rtol=1e-5)


def test_a_write_between_forward_and_backward_changes_no_gradient():
    w = weight("w", 3)
    expected = 3 * w.value**2
    total = (Tensor(np.ones(3), dtype="float64") * w * w * w).sum()
    w.value = np.zeros(3)
    total.backward()
    np.testing.assert_allclose(w.grad, expected, rtol=1e-6)
    again = Tensor(np.ones(3), dtype="float64") * w
    np.testing.assert_array_equal(again.data, 0.0)
    step = sg.compile(sg.Graph(updates={w: w + 1.0}))
    step.run()  # a compiled step writes in place
    np.testing.assert_array_equal(again.data, 0.0)
    np.testing.assert_array_equal((Tensor(np.ones(3), dtype="float64") * w).data, 1.0)


def test_gradients_can_be_set_and_are_asked_for_where_there_are_some():
    w = weight("w", 3)
    with pytest.raises(sg.errors.UnknownAttributeError, match=r"sg\.grad"):
        w.grad  # noqa: B018
    w.zero_grad()
    with pytest.raises(sg.errors.GradientError, match="not used in eager mode"):
        w.grad = np.ones(3)
    with sg.eager_mode():
        assert w.grad is None
        assert not (w > 1e9).any()
        assert float(w.sum()) == pytest.approx(w.value.sum(), rel=1e-6)
        with pytest.raises(sg.errors.GradientError, match=r"it is w\.value"):
            np.asarray(w)
        with no_grad():
            assert np.asarray(w).tolist() == w.value.tolist() == [float(element) for element in w]
    w.grad = np.ones(3)
    copy = pickle.loads(pickle.dumps(w))
    np.testing.assert_array_equal(copy.value, w.value)
    with no_grad():
        assert not (Tensor(np.ones(3), dtype="float64") * w).requires_grad


def test_the_mode_belongs_to_its_thread_and_task_and_not_to_graphs():
    w, seen = weight("w", 3), []
    with sg.eager_mode():
        in_threads(lambda: seen.append(w * 2.0))
        x = sg.input("x", (3,))
        graph = sg.Graph({"y": (x * w * w).sum()}, {w: w - sg.grad((w * x).sum(), w)})
        assert sg.compile(graph, memory_budget="1MiB").run({"x": np.ones(3)})["y"].shape == ()
        traced = sg.function(lambda x: sg.grad(lambda v: (v * w * sg.ones(3)).sum())(x))
        assert isinstance(traced(np.ones(3)), np.ndarray)
        assert traced.stats.traces == 1
        assert isinstance(w * 2.0, Tensor)
    assert not isinstance(seen[0], Tensor)

    async def inside():
        with sg.eager_mode():
            await asyncio.sleep(0.01)

    async def both():
        task = asyncio.create_task(inside())
        await asyncio.sleep(0)
        doubled = w * 2.0
        await task
        return doubled

    assert not isinstance(asyncio.run(both()), Tensor)

    @sg.eager_mode()
    def double():
        return w * 2.0

    assert isinstance(double(), Tensor)


# -- the same lines -------------------------------------------------------------------------------


def regression():
    w, b, opt = weight("w", 3, 3), weight("b", 3), sg.optim.AdamW(0.05)
    rng, seen = sg.random.Generator(3), sg.parameter("seen", 0)

    def step(x, y):
        seen.update(seen + x.shape[0])
        hidden = rng.dropout(sg.nn.gelu(x @ w + b), 0.25) + rng.normal(
            0.0, 0.1, shape=(3,), dtype="float64"
        )
        loss = sg.nn.cross_entropy(hidden, y)
        opt.minimize(loss)
        return {"loss": loss, "seen": seen, "none": None, "text": "kept"}

    return step, [w, b, rng.step, seen]


def adversaries():
    g, d = weight("g", 2, 3), weight("d", 3, 1, seed=1)
    first, second = sg.optim.SGD(0.1, momentum=0.9), sg.optim.Adam(0.02, name="other")
    rng = sg.random.Generator(5)

    def step(x, y):
        generated = rng.normal(shape=(6, 2), dtype="float64") @ g
        real, fake = x @ d, generated @ d
        of_d = (sg.nn.softplus(-real) + sg.nn.softplus(fake)).mean()
        of_g = sg.nn.softplus(-fake).mean()
        first.minimize(of_d, [d])
        second.minimize(of_g, [g])
        return of_d, of_g

    return step, [g, d, rng.step]


def recurrent():
    w, u, opt = weight("w", 3, 3), weight("u", 3, 3, seed=2), sg.optim.SGD(0.1, accumulate=2)

    def step(x, y):
        def iteration(h, row):
            h = sg.tanh(row @ w + h @ u)
            return h, h

        last, states = sg.scan(iteration, sg.zeros(3, "float64"), x)
        loss = sg.cond(last.sum() > 0.0, lambda: (states * states).mean(), lambda: last.sum() ** 2)
        opt.minimize(loss)
        return loss, states

    return step, [w, u]


def adaptation():
    w, opt = weight("w", 3, seed=4), sg.optim.SGD(0.1)

    def mean_square(w, x, y):
        return ((x @ w - y) ** 2).mean()

    def step(x, y):
        nearer = w - 0.1 * sg.grad(mean_square)(w, x[:3], y[:3])
        loss = sg.checkpoint(mean_square)(nearer, x[3:], y[3:])
        opt.minimize(loss)
        return loss

    return step, [w]


def batches_of_one():
    w, mean, opt = weight("w", 3, seed=4), sg.parameter("mean", np.zeros(3)), sg.optim.SGD(0.1)

    def step(x, y):
        mean.update(0.9 * mean + 0.1 * x.mean(0))
        row_values = sg.vmap(lambda row: sg.tanh(row * w).sum() * (row - mean).sum())(x)
        opt.minimize((row_values - y).mean())
        return row_values

    return step, [w, mean]


PROGRAMS = (regression, adversaries, recurrent, adaptation, batches_of_one)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_three_calls_are_those_of_the_compiled_program(program):
    (compiled_step, of_one), (eager_step, of_other) = program(), program()
    compiled, plain = sg.function(compiled_step), sg.function(eager_step)
    for _ in range(3):
        expected, eager_results = compiled(X, Y), plain.eagerly(X, Y)
        for theirs, ours in zip(_leaves(expected), _leaves(eager_results), strict=True):
            assert type(theirs) is type(ours)
            if isinstance(theirs, np.ndarray | np.generic):
                assert (theirs.dtype, theirs.shape) == (ours.dtype, ours.shape)
                np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
            else:
                assert ours == theirs
        for p, q in zip(of_one, of_other, strict=True):
            np.testing.assert_allclose(q.value, p.value, rtol=1e-9, atol=1e-12)
    assert plain.stats.traces == 0
    mixed = plain(X, Y)  # what the optimizer keeps serves both
    for theirs, ours in zip(_leaves(compiled(X, Y)), _leaves(mixed), strict=True):
        if isinstance(theirs, np.ndarray):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def _leaves(results):
    if isinstance(results, dict):
        results = [*results.values()]
    return results if isinstance(results, tuple | list) else [results]


def test_draws_have_the_same_bits_and_go_on_with_the_steps():
    rng = sg.random.Generator(9)
    f = sg.function(
        lambda x: (
            rng.dropout(x + 1.0, 0.5),
            rng.uniform(shape=(4,)),
            rng.integers(0, 1000, shape=(3,)),
        )
    )
    x = np.zeros(4, np.float32)
    first, second = f.eagerly(x), f.eagerly(x)
    rng.step.value = np.uint64(0)
    for actual, expected in ((first, f(x)), (second, f(x))):
        for ours, theirs in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    rng.step.value = np.uint64(1)
    np.testing.assert_array_equal(f.eagerly(x)[1], second[1])
    assert not np.array_equal(first[1], second[1])


def test_no_node_is_built_and_nothing_is_written_where_it_fails(monkeypatch):
    w, count, opt = weight("w", 3), sg.parameter("count", 0), sg.optim.Adam(0.1)
    value_before = w.value

    @sg.function
    def step(x, fails: bool):
        count.update(count + 1)
        loss = ((x @ w) ** 2).mean()
        opt.minimize(loss)
        assert float(loss) > 0.0  # it has a number
        if fails:
            raise KeyError("mine")
        return loss

    step.eagerly(X, False)  # makes the optimizer's parameters
    w.value, count.value = value_before, 0

    def refuse(*_args, **_kwargs):
        raise AssertionError("a symbolic node was built")

    monkeypatch.setattr(type(w.node), "__init__", refuse)
    with pytest.raises(KeyError, match="mine"):
        step.eagerly(X, True)
    np.testing.assert_array_equal(w.value, value_before)
    assert int(count.value) == 0
    step.eagerly(X, False)
    assert int(count.value) == 1
    assert not np.array_equal(w.value, value_before)


@pytest.mark.parametrize("how", ["dtype", "shape", "body"])
def test_updates_that_a_graph_refuses_are_refused(how):
    w = weight("w", 3)

    @sg.function
    def step(x):
        if how == "body":
            sg.vmap(lambda row: w.update(w + row))(x)
        else:
            w.update(w.astype("float32") if how == "dtype" else w[:2])
        return x

    value_before = w.value
    messages = []
    for call in (step, step.eagerly):
        with pytest.raises(sg.errors.GraphError) as caught:
            call(X)
        messages.append(caught.value.headline)
        np.testing.assert_array_equal(w.value, value_before)
    assert messages[0] == messages[1]


def test_optimizers_step_at_once():
    w, second = weight("w", 3), weight("v", 3)
    start, opt = w.value, sg.optim.SGD(0.5)
    with sg.eager_mode():
        loss = (w * w).sum() + (second * 2.0).sum()
        opt.minimize(loss, [w])
        np.testing.assert_allclose(w.value, 0.0, atol=1e-15)
        opt.minimize(loss, [second])  # the tape is still there
        np.testing.assert_allclose(second.value, weight("v", 3).value - 1.0)
        with pytest.raises(sg.errors.ArgumentError, match="no parameter"):
            opt.minimize((Tensor([1.0], requires_grad=True) * 2.0).sum())
        w.update(sg.astype(start, "float64"))
        np.testing.assert_array_equal(w.value, start)
    with pytest.raises(sg.errors.DisconnectedError):
        sg.grad(Tensor([1.0]).sum(), w)


def test_what_is_no_array_is_told():
    f = sg.function(lambda x: x * 2.0)
    with pytest.raises(sg.errors.ArgumentError, match="plain function"):
        f.eagerly(Tensor(X))
    with pytest.raises(sg.errors.ArgumentError):
        f.eagerly(X, X)
