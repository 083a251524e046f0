"""Derivatives of loops and branches to third order, beside the same program without them."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import DisconnectedError, GradientError
from tests.loops.programs import TWINS
from tests.ops.graphs import run_all, variable

every_program = pytest.mark.parametrize("name", TWINS)


def inputs(twins):
    values = [variable(f"x{i}", sg.float64, a.shape) for i, a in enumerate(twins.arrays)]
    return values, {f"x{i}": a for i, a in enumerate(twins.arrays)}


def bent(gradients):
    """One number made of gradients."""
    return sum((sg.sin(g) * (i + 1.0)).sum() for i, g in enumerate(gradients))


def agree(left, right, feeds):
    for actual, expected in zip(run_all(left, feeds), run_all(right, feeds), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


def derivatives(y, values, arrays):
    """Gradients, and products of second derivatives, by reverse and by forward mode."""
    along = [np.cos(a) for a in arrays]
    first = sg.grad(y, values, allow_disconnected=True)
    slope = bent(first)
    return [
        *first,
        *sg.grad(slope, values, allow_disconnected=True),
        sg.jvp(slope, values, along, True),
        sg.jvp(sg.jvp(y, values, along, True), values, along, True),
    ]


@every_program
def test_first_and_second_derivatives_as_evaluated(name):
    twins = TWINS[name]
    values, feeds = inputs(twins)
    left, right = (
        sg.evaluate(derivatives(f(*values), values, twins.arrays), feeds)
        for f in (twins.run_loop, twins.unroll)
    )
    for actual, expected in zip(left, right, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reverse", [False, True])
def test_sums_over_blocks_of_iterations_are_those_of_the_sum_written_out(reverse):
    """Gradients of weight and bias; 11 iterations of 256 rows: two blocks of four, and three."""
    rng = np.random.default_rng(7)
    arrays = rng.normal(size=(11, 256, 128)), rng.normal(size=(128, 128)) / 20, rng.normal(size=128)
    x, w, b = values = [variable(f"x{k}", sg.float64, a.shape) for k, a in enumerate(arrays)]

    def cell(h, row):
        return sg.tanh(h @ w + row + b)

    looped, _ = sg.scan(lambda h, row: (cell(h, row), None), x[0], x, reverse=reverse)
    written = x[0]
    for t in range(11)[:: -1 if reverse else 1]:
        written = cell(written, x[t])
    left, right = (sg.grad((end * end).sum(), values) for end in (looped, written))
    graph = sg.Graph({f"y{k}": slope for k, slope in enumerate(left)})
    loops = [node for node in graph.nodes if node.op.name == "loop"]
    assert len(loops) == 4  # forward, with stacked carries, backward, and over blocks
    gradients = sg.evaluate([*left, *right], {f"x{k}": a for k, a in enumerate(arrays)})
    for actual, expected in zip(gradients[:3], gradients[3:], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@every_program
def test_reverse_to_third_order(name):
    twins = TWINS[name]
    values, feeds = inputs(twins)
    left, right = twins.run_loop(*values), twins.unroll(*values)
    agree([left], [right], feeds)
    for _ in range(3):
        of_loop = sg.grad(left, values, allow_disconnected=True)
        of_unrolled = sg.grad(right, values, allow_disconnected=True)
        agree(of_loop, of_unrolled, feeds)
        left, right = bent(of_loop), bent(of_unrolled)


@pytest.mark.thinned(9)
@every_program
def test_forward_to_third_order(name):
    twins = TWINS[name]
    values, feeds = inputs(twins)
    rng = np.random.default_rng(5)
    left, right = twins.run_loop(*values), twins.unroll(*values)
    for _ in range(3):
        tangents = [rng.normal(size=a.shape) for a in twins.arrays]
        left, right = (sg.jvp(y, values, tangents, True) for y in (left, right))
        agree([left], [right], feeds)


@pytest.mark.thinned(5)
@every_program
def test_forward_over_reverse(name):
    twins = TWINS[name]
    values, feeds = inputs(twins)
    tangents = [np.cos(a) for a in twins.arrays]
    products = [
        sg.jvp(bent(sg.grad(y, values, allow_disconnected=True)), values, tangents, True)
        for y in (twins.run_loop(*values), twins.unroll(*values))
    ]
    agree(products[:1], products[1:], feeds)


def test_of_no_iterations_the_carry_and_its_cotangent_go_through():
    x, w = sg.input("x", ("t", 2), "float64"), variable("w", sg.float64, (2,))
    last, outs = sg.scan(lambda c, row: (c * row, sg.sin(c)), w, x)
    slopes = sg.grad((last * [1.0, 2.0]).sum() + outs.sum(), [w, x])
    bends = sg.grad((slopes[0] ** 2).sum(), w, allow_disconnected=True)
    feeds = {"x": np.zeros((0, 2)), "w": [3.0, 4.0]}
    by_w, by_x, bend = sg.evaluate([*slopes, bends], feeds)
    np.testing.assert_array_equal(by_w, [1.0, 2.0])
    assert by_x.shape == (0, 2)
    np.testing.assert_array_equal(bend, [0.0, 0.0])


def test_a_while_without_a_bound_has_tangents_alone():
    x = variable("x")
    y = sg.while_loop(lambda c: c < 100.0, lambda c: c * c, x)
    assert sg.evaluate(sg.jvp(y, x, 1.0), {"x": 3.0}) == 8 * 3.0**7
    with pytest.raises(GradientError, match="max_steps= does not say"):
        sg.grad(y, x)


def test_a_path_that_dies_inside_is_no_silent_zero():
    x = variable("x", sg.float64, (3,))
    last, outs = sg.scan(lambda c, element: (c + sg.floor(element), element * 2.0), 0.0, x)
    assert sg.evaluate(sg.grad(outs.sum(), x)).tolist() == [2.0] * 3
    with pytest.raises(DisconnectedError):
        sg.grad(last, x)
    branch = sg.cond(x.sum() > 0.0, lambda: sg.floor(x), lambda: sg.stop_gradient(x))
    with pytest.raises(DisconnectedError):
        sg.grad(branch.sum(), x)
    half = sg.cond(x.sum() > 0.0, lambda: sg.floor(x), lambda: x * 3.0)
    slope = sg.grad(half.sum(), x)
    assert sg.evaluate(slope, {"x": [1.0, 2.0, 3.0]}).tolist() == [0.0] * 3
    assert sg.evaluate(slope, {"x": [-1.0, -2.0, -3.0]}).tolist() == [3.0] * 3


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_of_no_iterations_the_tape_has_the_gradients_that_graphs_have(iterations):
    from staticgrad.eager import Tensor, grad

    def by_scan(x, w, rows):
        def iteration(carry, row):
            return (carry[0] * w + row, carry[1] + 1), carry[0] / w

        (last, count), outs = sg.scan(iteration, (x, 0), rows)
        return (last * last).sum() + count + outs.sum()

    def by_numbers(x, w, rows):
        return sg.fori_loop(0, iterations, lambda i, c: c * w + rows.sum(0), x).sum()

    arrays = [
        np.array([1.0, -np.inf, np.nan]),
        np.array([0.0, 2.0, np.inf]),
        np.ones((iterations, 3)),
    ]
    for function in (by_scan, by_numbers):
        symbols = [variable(f"v{i}", sg.float64, a.shape) for i, a in enumerate(arrays)]
        feeds = {f"v{i}": a for i, a in enumerate(arrays)}
        value = function(*symbols)
        expected = sg.evaluate([value, *sg.grad(value, symbols)], feeds)
        tensors = [Tensor(a, True, "float64") for a in arrays]
        result = function(*tensors)
        for actual, reference in zip([result, *grad(result, tensors)], expected, strict=True):
            np.testing.assert_array_equal(actual.data, reference)
        function(*tensors).backward()
        for tensor, reference in zip(tensors, expected[1:], strict=True):
            np.testing.assert_array_equal(tensor.grad.data, reference)


@pytest.mark.parametrize("most", [0, 4])
@pytest.mark.parametrize("start", [0, 7])
def test_of_no_iterations_a_bounded_while_has_the_gradients_that_graphs_have(most, start):
    """Also where another loop stands in it that would not end where the test fails."""
    from staticgrad.eager import Tensor, grad

    def function(x, w):
        def halve_until_small(y):
            return sg.while_loop(lambda y: (abs(y) > 1.0).any(), lambda y: y / 2.0, y, max_steps=9)

        def iteration(carry):
            return carry[0] + 3, halve_until_small(carry[1] * w), 2.0

        count, last, _ = sg.while_loop(
            lambda c: c[0] < 5, iteration, (start, x, 2.0), max_steps=most
        )
        return (last * last).sum() + count

    arrays = [np.array([1.0, -4.0, np.inf]), np.array([0.0, 2.0, np.nan])]
    symbols = [variable(f"v{i}", sg.float64, a.shape) for i, a in enumerate(arrays)]
    value = function(*symbols)
    expected = sg.evaluate(
        [value, *sg.grad(value, symbols)], {f"v{i}": a for i, a in enumerate(arrays)}
    )
    tensors = [Tensor(a, True, "float64") for a in arrays]
    result = function(*tensors)
    for actual, reference in zip([result, *grad(result, tensors)], expected, strict=True):
        np.testing.assert_array_equal(actual.data, reference)


def test_an_iteration_that_fails_where_no_iteration_is_made_is_not_missed():
    """Its gradient is that of the carry; a loop without an end inside of it makes one iteration."""
    from staticgrad.eager import Tensor, grad

    x, table, ran = Tensor(np.ones(3), True, "float64"), Tensor(np.ones(4), False, "float64"), []

    def iteration(carry):
        def endless(y):
            ran.append(y)
            return y

        sg.while_loop(lambda y: y[0] > 0.0, endless, carry[1])
        return carry[0] + 1, carry[1] * table[carry[0]]

    _, last = sg.while_loop(lambda c: c[0] < 4, iteration, (9, x), max_steps=5)
    (slope,) = grad((last * 3.0).sum(), [x])
    assert slope.data.tolist() == [3.0] * 3
    # whose draws are counted, as a graph's are; a trace beside it finds the dtypes of numbers
    assert sum(isinstance(y, Tensor) for y in ran) == 1


@pytest.mark.slow
def test_the_tape_runs_the_same_functions():
    from staticgrad.eager import Tensor, grad

    for name, twins in TWINS.items():
        if name == "stable":
            continue  # a tape differentiates what was written
        tensors = [Tensor(a, True, "float64") for a in twins.arrays]
        gradients = grad(twins.run_loop(*tensors), tensors, allow_disconnected=True)
        values, feeds = inputs(twins)
        expected = sg.grad(twins.run_loop(*values), values, allow_disconnected=True)
        for actual, reference in zip(gradients, sg.evaluate(expected, feeds), strict=True):
            np.testing.assert_allclose(actual.data, reference, rtol=1e-9, atol=1e-9)
