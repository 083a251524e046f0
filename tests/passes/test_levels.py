"""Levels of optimization on random programs: equal results, evaluated and by kernels."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from passes.rewrite import Rewrite, hole, rule
from tests.helpers.program_checks import MismatchError, compare, run
from tests.helpers.random_programs import Program, random_description

CHUNK = 100


def programs(first, count):
    """The same programs for the same numbers."""
    for number in range(first, first + count):
        rng = np.random.default_rng([17, number])
        steps = int(rng.integers(10, 31))
        yield Program(random_description(rng, steps, smooth=bool(number % 2)))


def evaluate_program(program, passes):
    """Outputs and updates by NumPy."""
    program.reset()
    graph = pipeline(passes)(program.graph)
    outputs, updates = sg.evaluate(graph, program.feeds, updates=True)
    return outputs | {f"parameter {name}": array for name, array in updates.items()}


def run_compiled(program, passes):
    """Outputs, and parameters after a run of kernels."""
    return run(program, sg.compile(program.graph, pipeline=passes), program.feeds)


def check_evaluated(program, reference="O0", level="O1"):
    compare(
        program,
        f"evaluated, {level}",
        evaluate_program(program, level),
        evaluate_program(program, reference),
    )


def check_compiled(program):
    compare(program, "compiled, O1", run_compiled(program, "O1"), run_compiled(program, "O0"))


@pytest.mark.slow
def test_levels_agree_where_numpy_evaluates():
    for program in programs(0, 30):
        check_evaluated(program)


@pytest.mark.slow
def test_levels_agree_where_kernels_compute():
    for program in programs(30, 6):
        check_compiled(program)


@pytest.mark.exhaustive
@pytest.mark.parametrize("chunk", range(1000 // CHUNK))
def test_levels_agree_on_a_thousand_programs(chunk):
    for program in programs(50 + chunk * CHUNK, CHUNK):
        check_evaluated(program)
        check_compiled(program)


class Wrong(Rewrite, name="wrong_rewrite"):
    """x - y is not x + y."""

    rules = (rule("plus", hole("x") - hole("y"), hole("x") + hole("y"), dtypes="f"),)


def test_a_byte_that_differs_is_seen():
    program = next(p for p in programs(0, 9) if Wrong()(p.graph) is not p.graph)
    with pytest.raises(MismatchError, match="evaluated, wrong"):
        check_evaluated(program, level=Wrong())
