"""Carries of loops that each iteration writes over their old values."""

import numpy as np
import pytest

import staticgrad as sg

STEPS, ROWS, COLUMNS = 5, 64, 4096
LEFT = np.random.default_rng(0).standard_normal((STEPS, 8, ROWS)).astype(np.float32)
RIGHT = np.random.default_rng(1).standard_normal((STEPS, 8, COLUMNS)).astype(np.float32)


def arena(program):
    (line,) = [line for line in program.explain().splitlines() if line.startswith("arena: ")]
    return int(line.split()[1])


def total_of_products(body, **settings):
    left, right = sg.input("left", LEFT.shape, "float32"), sg.input("right", RIGHT.shape, "float32")
    total, _ = sg.scan(body, sg.zeros((ROWS, COLUMNS), "float32"), (left, right))
    return sg.compile(sg.Graph({"least": total.min(), "most": total.max()}), **settings)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_total_has_one_place(threads):
    program = total_of_products(
        lambda total, factors: (total + factors[0].T @ factors[1], None), threads=threads
    )
    expected = sum(a.T.astype(np.float64) @ b for a, b in zip(LEFT, RIGHT, strict=True))
    results = program.run({"left": LEFT, "right": RIGHT})
    np.testing.assert_allclose(results["least"], expected.min(), rtol=1e-5)
    np.testing.assert_allclose(results["most"], expected.max(), rtol=1e-5)
    assert arena(program) < 1.5 * expected.size * 4


@pytest.mark.parametrize("threads", [1, 2])
def test_a_carry_that_a_later_step_reads_keeps_its_old_value(threads):
    def body(total, factors):
        a, b = factors
        new = total * 0.5 + a.T @ b
        norms = (total @ total.T).max()  # the old value, in a product of its own
        return new / (1.0 + norms), None

    program = total_of_products(body, threads=threads)
    expected = np.zeros((ROWS, COLUMNS))
    for a, b in zip(LEFT.astype(np.float64), RIGHT.astype(np.float64), strict=True):
        expected = (expected * 0.5 + a.T @ b) / (1.0 + (expected @ expected.T).max())
    results = program.run({"left": LEFT, "right": RIGHT})
    np.testing.assert_allclose(results["least"], expected.min(), rtol=1e-4)
    np.testing.assert_allclose(results["most"], expected.max(), rtol=1e-4)


def test_carries_that_change_places_keep_both_values():
    def body(pair, factors):
        first, second = pair
        return (second + factors[0].T @ factors[1], first), None

    left, right = sg.input("left", LEFT.shape, "float32"), sg.input("right", RIGHT.shape, "float32")
    zeros = sg.zeros((ROWS, COLUMNS), "float32")
    (first, second), _ = sg.scan(body, (zeros, zeros + 1.0), (left, right))
    program = sg.compile(sg.Graph({"first": first, "second": second}))
    a, b = np.zeros((ROWS, COLUMNS)), np.ones((ROWS, COLUMNS))
    for x, y in zip(LEFT.astype(np.float64), RIGHT.astype(np.float64), strict=True):
        a, b = b + x.T @ y, a
    results = program.run({"left": LEFT, "right": RIGHT})
    np.testing.assert_allclose(results["first"], a, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(results["second"], b, rtol=1e-4, atol=1e-4)
