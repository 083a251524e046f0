"""The map of compile times: stages add up to what they take, and the programs are programs."""

from time import process_time

import numpy as np
import pytest

import staticgrad as sg
from benchmarks.compile_programs import programs
from benchmarks.compile_times import Stages, least, line
from benchmarks.implementations.with_staticgrad import Staticgrad, feeds_of, graph_of

#: Those that take milliseconds to build and to evaluate.
SMALL = ("unrolled_100", "hessian_rosenbrock", "hessian_network", "per_sample", "linalg")


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_those_of_the_loss(name):
    """Along the gradient itself the loss grows by its square, as central differences say."""
    workload = programs()[name].in_float64()
    data = workload.make()
    graph = graph_of(workload, data, Staticgrad())
    feeds = feeds_of(workload, data)
    found = sg.evaluate(graph, feeds)
    slopes = {each: found[f"gradient:{each}"] for each in data.variables}
    square = sum(float((slope * slope).sum()) for slope in slopes.values())
    step = 1e-6 / np.sqrt(square)
    ahead, behind = (
        sg.evaluate(
            graph, {**feeds, **{n: data.variables[n] + sign * step * s for n, s in slopes.items()}}
        )["loss"]
        for sign in (1, -1)
    )
    np.testing.assert_allclose((ahead - behind) / (2 * step), square, rtol=1e-4)


def test_a_stage_is_counted_without_those_inside_of_it():
    def busy(seconds):
        end = process_time() + seconds
        while process_time() < end:
            pass

    stages = Stages()
    inner = stages.timed("inner", lambda: busy(0.02))

    def work():
        inner()
        busy(0.01)
        inner()

    start = process_time()
    stages.timed("outer", work)()
    whole = process_time() - start
    assert 0.04 <= stages.spent["inner"] < 0.06
    assert 0.01 <= stages.spent["outer"] < 0.03
    assert sum(stages.spent.values()) <= whole


def test_a_row_that_took_too_long_says_so():
    row = {"build": 0.1, "compile": 0.2, "call": 0.1, "whole": 0.6, "nodes": 7, "kernels": 2}
    text = line("x", {"staticgrad": row, "jax": None, "by stage": {"stage LLVM": 0.25}})
    whole, rest = ["600", "late", "-", "-", "-", "-"], ["400", "late", "-", "-"]
    assert text.split() == ["x", "7", "2", *whole, *rest, "LLVM", "250"]


def test_libraries_are_compared_by_whole_processes():
    """Imports count; each of both times is the least of all turns."""
    turns = [
        {"build": 0.1, "compile": 0.2, "call": 0.1, "whole": 0.9, "nodes": 7, "kernels": 2},
        {"build": 0.1, "compile": 0.3, "call": 0.1, "whole": 0.8, "nodes": 7, "kernels": 2},
    ]
    ours, theirs = least(turns), {"build": 0.1, "compile": 0.0, "call": 0.0, "whole": 1.6}
    cells = line("x", {"staticgrad": ours, "jax": theirs, "jax, warm": theirs}).split()
    assert cells[3:6] == ["800", "1600", "0.50"]
    assert cells[6:] == ["-", "1600", "-", "400", "100", "-", "100"]
