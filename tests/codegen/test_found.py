"""Positions at which something holds: compared where there are some, and none behind the first."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes

#: What stands for no position: among them, behind or before all of them, or the row's length.
OTHERS = (-7, 3, 10**6, None)


def _program(dtype):
    """Least and largest positions of rows, of columns and across memory, for each stand-in."""
    x, places = sg.input("x", ("n", "m"), dtype), {}
    for name, value in (("rows", x), ("transposed", sg.transpose(x))):
        for axis in (0, 1):
            at = sg.iota(value.shape, axis, like=value)
            for other in OTHERS:
                none = sg.size_value(value.shape[axis], "int64") if other is None else other
                found = sg.where(value > 1, at, none)
                places[f"least {name} {axis} {other}"] = sg.min(found, axis=axis)
                places[f"last {name} {axis} {other}"] = sg.max(found, axis=axis)
            places[f"argmax {name} {axis}"] = sg.argmax(value, axis=axis)
            places[f"argmin {name} {axis}"] = sg.argmin(value, axis=axis)
    return sg.compile(sg.Graph(places))


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_positions_are_those_of_the_definition(dtype):
    """Whether rows have many, one, or none; ties, NaN and zeros of both signs; odd lengths."""
    random = np.random.default_rng(3)
    program = _program(dtype)
    for shape in ((1, 1), (5, 18), (33, 16), (40, 131)):
        for share in (0.0, 0.02, 0.6, 1.0):
            x = np.where(random.random(shape) < share, 2, random.integers(-1, 1, shape))
            x = x.astype(dtype)
            if dtype == "float32":
                x[random.random(shape) < 0.02] = np.nan
                x[random.random(shape) < 0.2] = -0.0
            wanted = sg.evaluate(program.graph, {"x": x})
            for name, found in program.run({"x": x}).items():
                assert same_bytes(np.asarray(found), np.asarray(wanted[name])), (name, shape)


def test_a_row_is_left_where_the_first_is_found():
    """By the position alone, that is: where what stands for none counts, too, it is not."""
    x = sg.input("x", ("n", "m"), "float32")
    (kernel,) = sg.compile(sg.Graph(sg.argmax(x, axis=1))).kernels
    assert "        break\n" in kernel.source
    at = sg.iota(x.shape, 1, like=x)
    (kernel,) = sg.compile(sg.Graph(sg.max(sg.where(x > 0, at, -1), axis=1))).kernels
    assert "break" not in kernel.source
