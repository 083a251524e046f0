"""Loops of PyTensor in the mode "STATICGRAD": taps, gradients, nested, until; beside PyTensor."""

import pytest

from staticgrad.errors import StaticgradWarning

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


def test_until():
    from pytensor.scan.utils import until

    rows = scan(
        lambda v, s: (s + v, until(s + v > 2.0)), sequences=[x],
        outputs_info=[pt.zeros((), "float64")],
    )  # fmt: skip
    with pytest.warns(StaticgradWarning, match="Scan: a scan with until"):
        compare([x], [rows[-1], rows], abs(X))


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
