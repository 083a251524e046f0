"""Random draws in loops: a key for each iteration, whichever way the loop runs."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.language.ops.philox import RandomBits, fold_key
from staticgrad.language.types.dtype import U32, U64
from tests.ops.graphs import variable

SEED = 11


def words(stream, *iterations, shape=(3,), step=0):
    """The bits of a draw in iterations of loops, the outermost first, as the definition has
    them."""
    key = np.uint64(SEED)
    for number in iterations:
        key = sg.evaluate(fold_key(sg.constant(key), sg.constant(np.uint64(number))))
    return RandomBits(shape, U32, stream).reference(np.uint64(key), np.uint64(step))


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
def test_each_iteration_has_a_key_of_its_own(reverse):
    rng = sg.random.Generator(SEED)
    bits_before = rng.bits((3,))
    _, drawn = sg.scan(
        lambda c, _: (c, (rng.bits((3,)), rng.bits((3,)))), None, length=4, reverse=reverse
    )
    values = {"before": bits_before, "one": drawn[0], "other": drawn[1]}
    graph = sg.Graph(values, updates=rng.updates)
    f = sg.compile(graph)
    for step in (0, 1):
        actual = f.run({})
        np.testing.assert_array_equal(actual["before"], words(0, step=step))
        for name, stream in (("one", 1), ("other", 2)):
            expected = [words(stream, i, step=step) for i in range(4)]
            np.testing.assert_array_equal(actual[name], expected)
            assert len({row.tobytes() for row in actual[name]}) == 4


@pytest.mark.slow
def test_nested_loops_branches_and_tests_fold_every_number():
    rng = sg.random.Generator(SEED)
    x = variable("x", sg.float32, (2,))

    def inner(_):
        return sg.cond(x[0] > 0, lambda: rng.bits((3,)), lambda: rng.bits((3,)))

    nested = sg.map(lambda _: sg.map(inner, np.arange(2)), np.arange(3))
    odd = sg.while_loop(lambda n: (rng.bits(()) & 1) == 0, lambda n: n + 1, 0, max_steps=50)
    actual = sg.compile({"nested": nested, "odd": odd}).run({"x": np.ones(2, "f4")})
    expected = [
        [words(1, i, j) for j in range(2)] for i in range(3)
    ]  # the case of 0 is built first
    np.testing.assert_array_equal(actual["nested"], expected)
    first = next(n for n in range(50) if words(2, n, shape=()) & 1)
    assert actual["odd"] == first


def test_tensors_draw_behind_a_loop_what_graphs_draw():
    def program(rng, x):
        def add_draw(c):
            return c + rng.uniform(shape=(2,), dtype="float64")

        return sg.while_loop(lambda c: c.sum() < 5.0, add_draw, x) * rng.uniform(dtype="float64")

    x = variable("x", sg.float64, (2,))
    expected = sg.evaluate(program(sg.random.Generator(SEED), x), {"x": np.zeros(2)})
    rng = sg.random.Generator(SEED)
    actual = sg.function(lambda x: program(rng, x)).eagerly(np.zeros(2))
    np.testing.assert_array_equal(actual, expected)

    def program(rng, x):
        def body(c):
            inner = sg.while_loop(lambda d: d.sum() > 0.0, lambda d: d - rng.uniform(shape=(2,)), c)
            return inner + rng.normal(shape=(2,))

        last = sg.while_loop(lambda c: c.sum() + rng.uniform() < 0.0, body, x)
        return last + rng.poisson(x * 9.0) + rng.uniform(shape=(2,))

    start = np.array([0.5, 1.0], np.float32)
    expected = sg.evaluate(program(sg.random.Generator(SEED), sg.constant(start)))
    rng = sg.random.Generator(SEED)
    actual = sg.function(lambda x: program(rng, x)).eagerly(start)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def dropout_rnn(rng, x, w, scan=sg.scan):
    """The states of an RNN with dropout between iterations."""

    def iteration(h, row):
        h = sg.tanh(row + rng.dropout(h, 0.4) @ w)
        return h, h

    return scan(iteration, sg.zeros_like(x[0]), x)[1]


def arrays(iterations):
    draw = np.random.default_rng(0).normal
    return draw(size=(iterations, 3, 4)).astype("f4"), draw(size=(4, 4)).astype("f4")


@pytest.mark.slow
def test_dropout_of_a_recurrent_state_is_the_same_however_it_runs():
    given_x, given_w = arrays(4)
    rng = sg.random.Generator(SEED)
    x, w = variable("x", sg.float32, (4, 3, 4)), variable("w", sg.float32, (4, 4))
    hs = dropout_rnn(rng, x, w)
    graph = sg.Graph({"hs": hs, "dw": sg.grad((hs * hs).sum(), w)}, inputs=[x, w])
    feeds = {"x": given_x, "w": given_w}
    program = sg.compile(graph)
    ways = [
        {"threads": 2, "checkpoint": "recompute"},
        {"pipeline": "O0", "fuse": False},
    ]
    expected = {name: a.tobytes() for name, a in program.run(feeds).items()}
    for way in ways:
        actual = sg.compile(graph, **way).run(feeds)
        assert {name: a.tobytes() for name, a in actual.items()} == expected, way
    # The same masks, iteration by iteration, in NumPy.
    h, states = np.zeros((3, 4)), sg.evaluate(hs, feeds)
    for i in range(4):
        mask = (words(0, i, shape=(3, 4)) >> np.uint32(8)) * 2.0**-24 >= np.float32(0.4)
        h = np.tanh(given_x[i] + np.where(mask, h / 0.6, 0.0) @ given_w)
        np.testing.assert_allclose(states[i], h, rtol=2e-4, atol=1e-5)


def test_a_batch_of_tensors_draws_what_a_loop_over_it_does():
    """In an iteration of a loop as well, and in a batch of batches."""

    def program(rng, x, map_rows):
        def noisy(row):
            products = map_rows(lambda e: e * rng.uniform(dtype="float64"), row)
            return rng.exponential(row, dtype="float64") + products

        return sg.fori_loop(0, 2, lambda i, c: map_rows(noisy, c) + 0.5, x)

    array, actual = np.array([[0.5, 2.0], [0.5, 2.0], [1.0, 0.1]]), []
    for map_rows in (sg.map, lambda f, x: sg.vmap(f)(x)):
        rng = sg.random.Generator(SEED)
        with sg.eager_mode():
            x = Tensor(array, dtype="float64", requires_grad=True)
            runs = [program(rng, x, map_rows) for _ in range(2)]
        runs[0].sum().backward()
        actual.append([*[run.data for run in runs], x.grad])
    for by_map, by_batch in zip(*actual, strict=True):
        np.testing.assert_allclose(by_map, by_batch, rtol=1e-10)
    assert np.unique(actual[1][0]).size == array.size
    rng = sg.random.Generator(SEED)
    graph = sg.evaluate(program(rng, sg.constant(array), sg.map))
    np.testing.assert_allclose(actual[1][0], graph, rtol=1e-10)


def test_keys_of_iterations_are_no_draws_of_the_program():
    key, number = (np.uint64(number) for number in (7, 3))
    (actual,) = sg.evaluate([fold_key(sg.constant(key), sg.constant(number))])
    draws = [RandomBits((), U64, stream)(key, number) for stream in range(16)]
    assert int(actual) not in {int(bits) for bits in sg.evaluate(draws)}
