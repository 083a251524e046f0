"""Loops of PyTensor in the mode "STATICGRAD": taps, gradients, nested, until; beside PyTensor."""

import numpy as np
import pytest

pytensor = pytest.importorskip("pytensor", reason="PyTensor is not installed")

import pytensor.tensor as pt  # noqa: E402

import staticgrad.pytensor  # noqa: E402, F401
from tests.bridges.test_pytensor import compare, normal, program_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")

x, w, m = pt.vector("x"), pt.vector("w"), pt.matrix("m")
X, W, M = normal(9), 0.3 * normal(3, seed=1), normal(4, 5, seed=2)


def scan(*args, **kwargs):
    return pytensor.scan(*args, **kwargs, return_updates=False)


def differ(value, *variables):
    """Return a scalar's gradients."""
    return [*pytensor.grad(value, variables)]


@pytest.mark.parametrize("taps", [[-1], [-1, -2], [-1, -3], [-3]])
def test_taps_with_their_gradients(taps):
    initial = w[0] if taps == [-1] else {"initial": w[: -min(taps)], "taps": taps}
    rows = scan(
        lambda v, *states: 0.3 * sum(states) + pt.tanh(v * states[0]),
        sequences=[x],
        outputs_info=[initial],
    )
    outputs = [rows, rows[-1], *differ((rows**2).sum(), x, w), *differ(rows[-1], x, w)]
    f = compare([x, w], outputs, X, W, tolerance=1e-11)
    assert not program_of(f).fallbacks
    assert f(X[:5], W)[0].shape == (5,)


def test_taps_of_sequences():
    rows = scan(
        lambda a, b, s: s * 0.5 + a * b, sequences=[{"input": x, "taps": [-1, 1]}],
        outputs_info=[w[0]],
    )  # fmt: skip
    assert not program_of(compare([x, w], [rows, *differ(rows.sum(), x, w)], X, W)).fallbacks


def test_states_and_stacked_results_backwards():
    states, products = scan(
        lambda v, s: (s * 0.9 + v, v * s), sequences=[x], outputs_info=[w, None],
        go_backwards=True,
    )  # fmt: skip
    loss = states.sum() + (products**2).sum()
    f = compare([x, w], [states, products, *differ(loss, x, w)], X, W)
    assert not program_of(f).fallbacks


def test_a_number_of_steps_and_few_elements_of_the_result():
    rows = scan(lambda s: s * 1.1, outputs_info=[w], n_steps=7)
    f = compare([w], [rows, rows[-1], rows[::2], *differ(rows[-1].sum(), w)], W)
    assert not program_of(f).fallbacks


def test_nested_loops():
    def step(row, s, w):
        inner = scan(lambda v, q: pt.tanh(q + v * w[0]), sequences=[row], outputs_info=[w[1]])
        return s * 0.5 + inner[-1]

    rows = scan(step, sequences=[m], outputs_info=[w[2]], non_sequences=[w])
    f = compare([m, w], [rows, *differ(rows.sum(), m, w)], M, W)
    assert not program_of(f).fallbacks


def sum_until(limit):
    """Return the sums of x up to the first one above a limit."""
    from pytensor.scan.utils import until

    return scan(
        lambda v, s: (s + v, until(s + v > limit)), sequences=[x],
        outputs_info=[pt.zeros((), "float64")],
    )  # fmt: skip


def test_a_scan_with_until_of_which_the_last_element_is_read_is_one_loop():
    f = compare([x], [sum_until(2.0)[-1]], abs(X))
    assert [len(program_of(f).programs), program_of(f).fallbacks] == [1, {}]


@pytest.mark.parametrize("scale", [10.0, 1.0, 0.01])
def test_all_elements_of_a_scan_with_until_have_the_size_that_the_run_finds(scale):
    """After one step, after some, and where the condition is never true; with gradients."""
    rows = sum_until(2.0)
    outputs = [rows, rows[-1], rows[::-1].sum(), *differ((rows**2).sum(), x)]
    f = compare([x], outputs, scale * abs(X))
    assert [len(program_of(f).programs), program_of(f).fallbacks] == [2, {}]
    expected = np.cumsum(scale * abs(X))
    np.testing.assert_allclose(f(scale * abs(X))[0], expected[: 1 + sum(expected[:-1] <= 2.0)])


def test_states_with_taps_and_stacked_results_of_a_scan_with_until():
    from pytensor.scan.utils import until

    states, products = scan(
        lambda v, s, last: ((0.5 * s + last * v, v * last), until(abs(last) > 1.5)),
        sequences=[x], outputs_info=[{"initial": w[:2], "taps": [-2, -1]}, None],
    )  # fmt: skip
    outputs = [states, products, states[-3:], *differ(states.sum() + (products**2).sum(), x, w)]
    f = compare([x, w], outputs, 2.5 * abs(X), 4.0 * abs(W))
    assert not program_of(f).fallbacks
    assert len(f(np.full(9, 0.1), W)[0]) == 9 > len(f(2.5 * abs(X), 4.0 * abs(W))[0])


def test_a_number_of_steps_that_each_call_gives_is_a_named_size():
    n = pt.lscalar("n")
    rows = scan(lambda s: s * 1.1, outputs_info=[w], n_steps=n + 1)
    f = compare([w, n], [rows, rows[-1], *differ(rows[-1].sum(), w)], W, 3)
    assert [len(program_of(f).programs), program_of(f).fallbacks] == [1, {}]
    assert [len(f(W, n)[0]) for n in (0, 5, 7)] == [1, 6, 8]
    assert len(program_of(f).programs) == 1


@pytest.mark.parametrize("n", [1, 3, 9])
def test_a_gradient_may_be_of_the_last_steps_alone(n):
    rows = scan(
        lambda v, s: 0.5 * s + pt.tanh(v * s), sequences=[x], outputs_info=[w[0]],
        truncate_gradient=3,
    )  # fmt: skip
    slopes = differ((rows**2).sum(), x, w)
    assert not program_of(compare([x, w], slopes, X[:n], W)).fallbacks
    assert np.count_nonzero(pytensor.function([x, w], slopes, mode="STATICGRAD")(X, W)[0]) == 3


@pytest.mark.parametrize("total", [1.0, -1.0])
def test_branches(total):
    from pytensor.conditional import ifelse

    z = ifelse(x.sum() > 0, x**2, pt.exp(x))
    f = compare([x], [z, *differ(z.sum(), x)], total * abs(X))
    assert not program_of(f).fallbacks


def test_a_graph_that_is_called():
    op = pytensor.compile.builders.OpFromGraph([x, w], [pt.outer(x, w).sum(), x * 2], name="pair")
    total, double = op(x, w)
    compare([x, w], [total, double, *differ(total + double.sum(), x, w)], X, W)


def test_states_of_other_names_of_sizes_have_the_size_of_the_first():
    rows = scan(
        lambda row, state, weights: pt.tanh(pt.dot(weights, state) + row),
        sequences=[m], outputs_info=[w], non_sequences=[pt.outer(x, x)],
    )  # fmt: skip
    f = compare([m, w, x], [rows, *differ(rows.sum(), m, w, x)], normal(4, 3), W, 0.3 * X[:3])
    assert not program_of(f).fallbacks


@pytest.mark.filterwarnings("ignore:The `mode` argument of `scan`")
def test_a_loop_of_pytensor_reads_the_results_of_its_iterations():
    """PyTensor's loop, whose iterations run in the mode: it reads the cells of results."""
    mode = pytensor.compile.mode.get_mode("STATICGRAD")
    rows = scan(lambda v, s: pt.tanh(s + v), sequences=[x], outputs_info=[w[0]], mode=mode)
    double, squares = scan(lambda v: (2 * v, v**2), sequences=[x], mode=mode)
    outputs, plain = [rows, double, squares], pytensor.compile.mode.Mode(linker="py")
    f = pytensor.function([x, w], outputs, mode=plain)
    g = pytensor.function([x, w], outputs, mode="FAST_COMPILE")
    for actual, expected in zip(f(X, W), g(X, W), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-14)
