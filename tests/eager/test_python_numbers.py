"""Python numbers among the carries of loops and the operands of branches, on the tape.

They are values of the dtypes that a graph gives them, from the first iteration on. Dtypes and
values here are worked out by hand from the rule: a number takes the dtype that the iteration gives
it, and a float that nothing decides is float32 beside float32, else float64.
"""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, grad

X = np.array([0.5, -1.0, 1.25])
S = 0.75  # the sum

#: A program of x; its results as NumPy gives them, and their dtypes where x is float32.
LOOPS = {
    "a method of a float": (
        lambda x: sg.fori_loop(0, 3, lambda i, c: c.sum() + x.sum(), 0.0), [3 * S], ["float32"],
    ),
    "attributes": (
        lambda x: sg.fori_loop(0, 3, lambda i, c: c.reshape(()) + x.sum() + c.ndim, 0.0),
        [3 * S], ["float32"],
    ),
    "a function of a float": (
        lambda x: sg.fori_loop(0, 2, lambda i, c: sg.sin(c) + x.sum(), 0.5),
        [np.sin(np.sin(0.5) + S) + S], ["float32"],
    ),
    "NumPy's function": (
        lambda x: sg.fori_loop(0, 2, lambda i, c: np.sin(c) + x.sum(), 0.5),
        [np.sin(np.sin(0.5) + S) + S], ["float32"],
    ),
    "a float that goes out": (
        lambda x: sg.scan(lambda c, row: (c + row, c), 0.0, x),
        [S, [0, 0.5, -0.5]], ["float32"] * 2,
    ),
    "an int that goes out": (
        lambda x: sg.scan(lambda c, row: (c + 1, row * c), 0, x),
        [3, [0, -1.0, 2.5]], ["int64", "float32"],
    ),
    "an int that becomes a float": (
        lambda x: sg.scan(lambda c, row: (c + row, sg.exp(-c)), 0, x),
        [S, np.exp([0, -0.5, 0.5])], ["float32"] * 2,
    ),
    "a float that nothing decides": (
        lambda x: sg.fori_loop(0, 2, lambda i, c: (sg.exp(c[0]) * 0.5, c[1] + x.sum()), (0.0, 0.0)),
        [np.exp(0.5) * 0.5, 2 * S], ["float32"] * 2,
    ),
    "numbers in every iteration": (
        lambda x: sg.fori_loop(0, 3, lambda i, c: (0.5, c[1] + x.sum() * c[0]), (1.0, 0.0)),
        [0.5, 2 * S], ["float32"] * 2,
    ),
    "a division by zero": (
        lambda x: sg.fori_loop(
            0, 2,
            lambda i, c: (c[0] + 1.0, c[1] + sg.where(c[0] > 0, 1.0 / c[0], 0.0) * x.sum()),
            (0.0, 0.0),
        ),
        [2, S], ["float32"] * 2,
    ),
    "an int beyond 64 bits": (
        lambda x: sg.fori_loop(0, 2, lambda i, c: (c[0] * 2**40, c[1] + x.sum()), (2**40, 0.0)),
        [0, 2 * S], ["int64", "float32"],
    ),
    "a bool": (
        lambda x: sg.fori_loop(
            0, 3, lambda i, c: (~c[0], c[1] + sg.where(c[0], x.sum(), 0.0)), (True, 0.0)
        ),
        [False, 2 * S], ["bool", "float32"],
    ),
    "like it": (
        lambda x: sg.fori_loop(0, 2, lambda i, c: sg.full_like(c, 2.0) * c + x[0], 7.0),
        [29.5], ["float32"],
    ),
    "floats that are exchanged": (
        lambda x: sg.fori_loop(0, 3, lambda i, c: (c[1], c[0] + x.sum()), (0, 1)),
        [1 + S, 2 * S], ["float32"] * 2,
    ),
    "no iterations": (
        lambda x: sg.fori_loop(0, 0, lambda i, c: c * x.sum(), 1), [1], ["float32"],
    ),
    "a scan over nothing": (
        lambda x: sg.scan(lambda c, row: (c * row, c), 1, x[:0]), [1, []], ["float32"] * 2,
    ),
    "while": (
        lambda x: sg.while_loop(
            lambda c: (c[0] < 3).all(), lambda c: (c[0] + 1, c[1] * x.sum()), (0, 1.0), max_steps=5
        ),
        [3, S**3], ["int64", "float32"],
    ),
    "while that ends at once": (
        lambda x: sg.while_loop(
            lambda c: c[0] < 0, lambda c: (c[0] + 1, c[1] * x.sum()), (0, 1.0), max_steps=5
        ),
        [0, 1], ["int64", "float32"],
    ),
    "a loop in a loop": (
        lambda x: sg.fori_loop(
            0, 2,
            lambda i, c: c + sg.fori_loop(0, 2, lambda j, d: sg.sqrt(d) * 0.5, 1.0) * x.sum(), 0.0,
        ),
        [2 * S * np.sqrt(0.5) * 0.5], ["float64"],  # nothing of the inner loop is float32
    ),
    "a branch in a loop": (
        lambda x: sg.fori_loop(
            0, 3, lambda i, c: sg.cond(i > 1, lambda: 0.0, lambda: c.sum() + x.sum()), 0.0
        ),
        [0], ["float32"],
    ),
    "the result of a branch": (
        lambda x: sg.cond(x.sum() > 0, lambda: 1.0, lambda: x.sum()), [1], ["float32"],
    ),
    "results of a switch": (
        lambda x: sg.switch(sg.astype(x.sum(), "int64"), [lambda: 2, lambda: x.sum(), lambda: 3]),
        [2], ["float32"],
    ),
    "an operand of a branch": (
        lambda x: sg.cond(
            x.sum() > 0, lambda a, b: (a.sum() + 1, b), lambda a, b: (a, b * 2), 1, x
        ),
        [2, X], ["int64", "float32"],
    ),
}  # fmt: skip


def leaves(result):
    return [*result] if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LOOPS)
def test_numbers_have_the_dtypes_of_a_graph(name, dtype):
    program, values, dtypes = LOOPS[name]
    on_tape = leaves(program(Tensor(X, dtype=dtype)))
    in_graph = leaves(program(sg.input("x", (3,), dtype)))
    for tensor, node, value, kind in zip(on_tape, in_graph, values, dtypes, strict=True):
        expected = dtype if kind == "float32" else kind
        assert (tensor.dtype.name, node.dtype.name) == (expected, expected)
        np.testing.assert_allclose(tensor.numpy(), value, rtol=2e-6)
        np.testing.assert_allclose(sg.evaluate(node, {"x": X.astype(dtype)}), value, rtol=2e-6)


def test_gradients_pass_through_carries_that_began_as_numbers():
    x = Tensor(X, True, "float64")
    last = sg.fori_loop(0, 3, lambda i, c: sg.sin(c).sum() + (x * x).sum(), 0.5)
    (slope,) = grad(last, [x])
    s = (X * X).sum()
    first = np.sin(0.5) + s
    second = np.sin(first) + s
    by_s = np.cos(second) * (np.cos(first) + 1) + 1
    np.testing.assert_allclose(slope.numpy(), by_s * 2 * X, rtol=1e-12)


def test_a_body_that_reads_elements_gets_numbers():
    """No graph takes it, so no dtype is found: the first iteration has the Python number."""
    seen = []

    def body(_, carry):
        seen.append(carry[0])
        return carry[0] + (carry[1].sum() if float(carry[0]) < 1.0 else 0.0), carry[1]

    last, _ = sg.fori_loop(0, 3, body, (0.0, Tensor(X, dtype="float32")))
    assert (last.dtype.name, last.item()) == ("float32", 1.5)
    assert [number for number in seen if type(number) is float] == [0.0]


def test_draws_in_a_body_are_those_of_the_iterations():
    """The trace beside the loop draws nothing that a later draw would miss."""
    draws = []
    for init in (0.0, Tensor(np.float64(0.0))):
        rng = sg.random.Generator(seed=3)
        with sg.eager_mode():
            last = sg.fori_loop(0, 3, lambda i, c: c + rng.normal(), init)  # noqa: B023
            draws.append([last.item(), rng.normal().item()])
    assert draws[0] == draws[1]


@pytest.mark.parametrize("number", [3.5e38, -5e38, 1e300, 10**39])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_number_beyond_the_dtype_is_infinite_without_a_warning(dtype, number):
    """Graphs do the same: they have no warnings of NumPy."""
    x = Tensor(np.ones(2, "float32")).astype(dtype)
    infinite = np.full(2, np.copysign(np.inf, number))
    for result in (x * number, number + x, number * x):
        assert result.dtype == x.dtype
        np.testing.assert_array_equal(np.asarray(result.astype("float64").data), infinite)
    assert np.asarray((x < number).data).tolist() == [number > 0] * 2
