"""Running totals along every axis, in every form of their kernels: the bytes of the definition."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ir.kernels.stages import Loop, Map, Scalar
from staticgrad.lowering.fuse import fuse
from tests.diagonals import diagonals

#: Shape (names are sizes), axis, and the stages of the kernel: one inside of a loop in brackets.
FORMS = [
    (("n", 10), 1, [Map]),
    ((40, 13, 3), 1, [Map]),
    (("n", 32), 1, [Loop, Scalar]),
    ((7, 10), 1, [Loop, Scalar]),
    ((50,), 0, [Loop, Scalar]),
    (("n",), 0, [Loop, Scalar]),
    ((9, 50, 5), 1, [Loop, Scalar]),
    (("n", 40), 0, [Loop, Map]),
    ((3, "n", 5, 9), 1, [Loop, Map]),
    ((3, 1, 20), 1, [Loop, Map]),
    ((20, 1), 1, [Map]),
]
#: For sizes that have names.
COUNTS = (0, 1, 2, 9, 33)


def numbers(shape, dtype, seed):
    random = np.random.default_rng(seed)
    found = random.integers(-9, 9, shape).astype(dtype)
    if dtype.startswith("float"):
        strange = random.choice([-0.0, np.inf, np.nan, 0.1], shape).astype(dtype)
        found = np.where(random.integers(0, 40, shape) == 0, strange, found * found.dtype.type(0.3))
    return found


def totals(x, y, axis):
    found = {"sum": sg.cumsum(x, axis, dtype=x.dtype), "prod": sg.cumprod(x, axis, dtype=x.dtype)}
    return found | {"linear": sg.linear_scan(x, y, axis)}


@pytest.mark.thinned
@diagonals(2, ("shape,axis,stages", FORMS), ("dtype", ["float32", "float64", "int64", "uint8"]))
def test_every_form(shape, axis, stages, dtype):
    x, y = sg.input("x", shape, dtype), sg.input("y", shape, dtype)
    graph = sg.Graph(totals(x, y, axis))
    compiled = sg.compile(graph)
    named = any(isinstance(size, str) for size in shape)
    for count in COUNTS if named else (0,):
        sizes = tuple(count if isinstance(size, str) else size for size in shape)
        feeds = {"x": numbers(sizes, dtype, 1), "y": numbers(sizes, dtype, 2)}
        found, wanted = compiled.run(feeds), sg.evaluate(graph, feeds)
        for name in wanted:
            assert same_bytes(np.asarray(found[name]), np.asarray(wanted[name])), name
    if dtype == "float32":
        for step in compiled.schedule.steps:
            (stage,) = step.kernel.stages
            inner = list(stage.stages) if isinstance(stage, Loop) else []
            assert [type(each) for each in (stage, *inner)] == stages


LAYOUTS = {
    "backwards": lambda x: x[:, ::-1],
    "every second": lambda x: x[:, ::2],
    "across memory": lambda x: x.T,
    "one row again": lambda x: sg.broadcast_to(x[:1], x.shape),
    "one element again": lambda x: sg.broadcast_to(x[:, :1], x.shape),
    "computed": lambda x: x * 2.0 + 1.0,
}


@pytest.mark.thinned
@diagonals(2, ("shape", [(12, 12), (40, 40), (12, 70)]), ("layout", LAYOUTS))
def test_operands_in_every_layout(shape, layout):
    x, y = sg.input("x", shape, "float32"), sg.input("y", shape, "float32")
    feeds = {"x": numbers(shape, "float32", 1), "y": numbers(shape, "float32", 2)}
    for axis in (0, 1):
        graph = sg.Graph(totals(LAYOUTS[layout](x), LAYOUTS[layout](y), axis))
        found, wanted = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
        for name in wanted:
            assert same_bytes(np.asarray(found[name]), np.asarray(wanted[name])), (name, axis)


def test_a_running_total_is_one_step_and_clears_nothing():
    x = sg.input("x", ("n", 100), "float32")
    assert len(fuse(pipeline("O1")(sg.Graph(sg.cumsum(x, 1)))).steps) == 1
