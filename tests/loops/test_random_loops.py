"""Derivatives of random programs of loops in loops, beside the same programs in NumPy."""

import numpy as np
import pytest

import staticgrad as sg
from tests.loops.random_loops import Program

#: Sums of squared slopes are rounded more than slopes, and differences are less exact.
TOLERANCES = {"value": 1e-9, "reverse": 1e-9, "forward": 1e-9}


def check(program):
    value, slope, bend = program.numeric_derivatives()
    expected = {"value": value, "reverse": slope, "forward": slope}
    for name, actual in sg.evaluate(program.graph(), program.feeds).items():
        tolerance = TOLERANCES.get(name, 2e-6)
        np.testing.assert_allclose(
            actual, expected.get(name, bend), tolerance, tolerance, err_msg=f"{name} {program.text}"
        )


@pytest.mark.thinned(2)
@pytest.mark.parametrize("seed", range(6))
def test_derivatives_of_two_loops(seed):
    check(Program(seed, depth=2, width=1))


@pytest.mark.parametrize("seed", [1, 2, 7])
def test_derivatives_of_three_loops(seed):
    check(Program(seed, depth=3, width=1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_derivatives_of_more_loops(seed):
    check(Program(seed, depth=3, width=2))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_budget_keeps_every_byte_and_a_policy_every_value(seed):
    """Second derivatives round sums in another order: clones have gradients of their own."""
    program = Program(seed, depth=2, width=1)
    expected = sg.compile(program.graph(False)).run(program.feeds)
    marked = sg.compile(program.graph())
    actual = marked.run(program.feeds)
    for name, value in expected.items():
        if name in ("value", "reverse"):
            assert actual[name].tobytes() == value.tobytes(), program.text
        np.testing.assert_allclose(
            actual[name], value, 1e-9, 1e-9, err_msg=f"{name} {program.text}"
        )
    smaller = sg.compile(program.graph(), memory_budget=marked.peak_bytes - 1)
    assert {k: a.tobytes() for k, a in smaller.run(program.feeds).items()} == {
        k: a.tobytes() for k, a in actual.items()
    }
