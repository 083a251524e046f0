"""Functions of NumPy that are compositions of ops: values, two derivatives, refusals."""

import os
import re
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import functions as ops
from staticgrad.autodiff.reverse import grad
from staticgrad.eager import Tensor
from staticgrad.errors import (
    ArgumentError,
    AxisError,
    DTypeError,
    RankError,
    ShapeError,
    SizeGuardError,
)
from staticgrad.language.calls.functional import FUNCTIONS, functions, load_functions
from tests.helpers.processes import python
from tests.ops.graphs import op_names, run, run_all
from tests.ops.messages import assert_each_refused, assert_refused

M = np.array([[1.5, -2.0, 0.5, 3.0, 7.0], [0.25, 1.0, -1.0, 2.0, 9.0], [2.0, 0.0, 1.0, -0.5, 4.0]])
S = np.array([[1.5, -2.0, 0.5], [0.25, 1.0, -1.0]])
PLACES = np.array([0.0, 0.5, 2.0, 2.25, 5.0])
P = np.array([[[1.5, -2.0, 0.5, 3.0], [0.25, 1.0, -1.0, 2.0], [2.0, 0.0, 1.0, -0.5]]] * 2)
P[1] += 0.25


def test_literal_rolls_and_parts_of_a_named_size():
    assert set(op_names(sg.roll(sg.input("x", (5,)), 2))) == {"slice", "concat"}
    x = sg.input("x", (5,))
    assert sg.roll(x, 5, 0) is x
    x = sg.input("x", ("n",), "float64")
    halves = sg.split(x, 2)
    assert [str(part.shape[0]) for part in halves] == ["n//2", "n//2"]
    for n in (0, 4):
        actual = run_all(halves, {"x": np.arange(float(n))})
        np.testing.assert_array_equal(np.concatenate(actual), np.arange(n))
    with assert_refused(SizeGuardError, "n = 5", line="sg.split"):
        again = sg.split(x, 2)[0]
        run(again, {"x": np.zeros(5)})


def test_refusals():
    x = sg.input("x", (2, 5))
    assert_each_refused(
        (ShapeError, "axis of size 5 is not 2 equal parts", lambda: sg.split(x, 2, 1)),
        (ArgumentError, "0 parts", lambda: sg.split(x, 0)),
        (ShapeError, "2 numbers for an axis of size 5", lambda: sg.repeat(x, [1, 2], 1)),
        (ArgumentError, "2 shifts for 1 axes", lambda: sg.roll(x, (1, 2), (0,))),
        (RankError, "not a vector or matrix", lambda: sg.diag(np.zeros((2, 2, 2)))),
        (RankError, "no two axes", lambda: sg.diagonal(np.zeros(2))),
        (ArgumentError, "'xy' or 'ij'", lambda: sg.meshgrid([1.0], indexing="yx")),
    )
    with assert_refused(ArgumentError, "vectors of 3", line="sg.cross"):
        sg.cross(np.zeros(2), np.zeros(2))
    with assert_refused(ArgumentError, "num must be >= 0, got -1", line="sg.linspace"):
        sg.linspace(0.0, 1.0, -1)
    for blocks in ([], [S, [S]]):
        with assert_refused(ArgumentError, "empty, or nested", line="sg.block"):
            sg.block(blocks)
    with assert_refused(ShapeError, "do not broadcast", line="sg.linspace"):
        sg.linspace(np.zeros(2), np.zeros(3))
    x = sg.input("x", (2, 3))
    with assert_refused(AxisError, "no axis 2", line="sg.cumsum"):
        sg.cumsum(x, 2)
    from staticgrad.language.ops.scans import CumSum, LinearScan

    assert_each_refused(
        (DTypeError, "numbers of one dtype", lambda: CumSum(0)(np.array([True]))),
        (RankError, "shapes", lambda: LinearScan(0)(np.ones(3), np.ones((3, 1)))),
        (ShapeError, "shapes", lambda: LinearScan(0)(np.ones(3), np.ones(4))),
    )


@pytest.mark.parametrize("size", [5, "n"])
def test_slopes_of_equidistant_samples_do_not_read_the_one_between(size):
    """NaN, infinities and numbers of other orders change the slopes beside them, not their own."""
    x = sg.input("x", (size,), "float64")
    for middle in (np.nan, np.inf, 1e17):
        samples = np.array([1.0, 2.0, middle, 5.0, 7.0])
        np.testing.assert_array_equal(
            run(sg.gradient(x, 0.5), {"x": samples}), np.gradient(samples, 0.5)
        )


@pytest.mark.parametrize("size", [0, 1, 2])
def test_angles_of_any_number_are_unwrapped(size):
    x = sg.input("x", ("n", 2), "float64")
    angles = np.arange(2.0 * size).reshape(size, 2) * 4.0
    actual = sg.unwrap(x, axis=0)
    assert actual.shape == x.shape
    np.testing.assert_allclose(run(actual, {"x": angles}), np.unwrap(angles, axis=0))


def test_functions_of_linalg_are_not_taken_for_their_namesakes():
    x = sg.input("x", (2, 3, 3), "float64")
    array = np.arange(18.0).reshape(2, 3, 3)
    for function in (np.linalg.matrix_transpose, np.linalg.norm):
        np.testing.assert_allclose(run(function(x), {"x": array}), function(array))
    np.testing.assert_allclose(run(np.linalg.matmul(x, x), {"x": array}), array @ array)
    for function in (np.linalg.trace, np.linalg.diagonal):
        np.testing.assert_allclose(run(function(x), {"x": array}), function(array))
    with pytest.raises(TypeError, match="takes arrays: there is no such function"):
        np.fft.hfft(x)


#: Method, arguments: the same on an ndarray.
METHODS = [
    ("sum", ()), ("sum", (1,)), ("mean", (-1,)), ("max", (0,)), ("max", ((0, 1),)), ("min", ()),
    ("prod", (1,)), ("var", (0,)), ("std", ()), ("any", (1,)), ("all", ()), ("argmax", (1,)),
    ("argmin", ()), ("cumsum", (0,)), ("cumprod", ()), ("clip", (-1.0, 1.0)), ("round", (1,)),
    ("ravel", ()), ("flatten", ()), ("squeeze", ()), ("swapaxes", (0, 1)), ("repeat", (2, 1)),
    ("take", ([0, 2], 1)), ("diagonal", (1,)), ("trace", ()), ("dot", (S.T,)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments"), METHODS)
def test_methods_as_of_an_array(name, arguments):
    x = sg.input("x", S.shape, "float64")
    expected = getattr(S, name)(*arguments)
    tensor = getattr(Tensor(S, dtype="float64"), name)(*arguments)
    for actual in (run(getattr(x, name)(*arguments), {"x": S}), tensor.data):
        assert actual.shape == np.shape(expected)
        np.testing.assert_allclose(actual, expected, rtol=1e-13)


@pytest.mark.parametrize("name", ["nanvar", "nanstd"])
def test_infinities_are_not_missing(name):
    """Their distance from a mean that is infinite is NaN, which counts; of x = NaN it does not."""
    x = sg.input("x", (4, 2), "float64")
    rows = np.array([[1.0, np.inf], [np.inf, np.nan], [np.nan, 2.0], [np.nan, np.nan]])
    actual = run(getattr(sg, name)(x, 1), {"x": rows})
    np.testing.assert_array_equal(actual, [np.nan, np.nan, 0.0, np.nan])
    about_zero = run(getattr(sg, name)(x, 1, mean=np.zeros((4, 1))), {"x": rows})
    np.testing.assert_array_equal(
        about_zero, [np.inf, np.inf, {"nanvar": 4.0}.get(name, 2.0), np.nan]
    )


def test_the_gradient_of_products_is_right_at_zeros():
    for zeros in ([1], [1, 3], []):
        array = np.array([2.0, 3.0, -1.0, 0.5])
        array[zeros] = 0.0
        others = np.array([np.prod(np.delete(array, k)) for k in range(4)])
        for size in (4, "n"):
            x = sg.input("x", (size,), "float64")
            np.testing.assert_allclose(run(grad(sg.prod(x), x), {"x": array}), others)
            last = grad(sg.cumprod(x)[-1], x)
            np.testing.assert_allclose(run(last, {"x": array}), others)
            hessian_row = run(grad(last[0], x), {"x": array})
            pairs = [0.0 if k == 0 else np.prod(np.delete(array, [0, k])) for k in range(4)]
            np.testing.assert_allclose(hessian_row, pairs)


def test_products_of_nothing_and_sums_in_order():
    for shape in ((0,), ("n",)):
        assert run(sg.prod(sg.input("x", shape)), {"x": np.zeros(0)}) == 1
    long = np.full(70_001, 1.0 + 1e-6)
    assert run(sg.prod(long)) == pytest.approx(np.prod(long), rel=1e-9)
    assert op_names(sg.prod(sg.input("x", (8,)))).count("mul") == 3
    array = np.array([1e8, 1.0, -1e8, 1.0], np.float32)
    np.testing.assert_array_equal(run(sg.cumsum(array)), np.cumsum(array))
    assert run(sg.array_equal(np.arange(3), np.arange(3)))


ORDERS = [None, 1, 2, 3, 0.5, 0, np.inf, -np.inf]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("axis", [0, -1])
def test_norms_of_vectors(order, axis):
    array = P[0]
    x = sg.input("x", array.shape, "float64")
    for actual in (sg.norm(x, order, axis), np.linalg.norm(x, order, axis)):
        np.testing.assert_allclose(run(actual, {"x": array}), np.linalg.norm(array, order, axis))
    same_rank = sg.norm(x, order, axis, keepdims=True)
    assert same_rank.shape == np.linalg.norm(array, order, axis, keepdims=True).shape


def test_norms_of_matrices_and_of_everything():
    assert run(sg.norm(P[0])) == pytest.approx(np.linalg.norm(P[0]))
    np.testing.assert_allclose(run(sg.norm(P, "fro", (0, 2))), np.linalg.norm(P, "fro", (0, 2)))
    assert run(sg.norm(np.array([3, 4]))) == 5.0
    with assert_refused(ArgumentError, "no norm 3 of matrices", line="sg.norm"):
        sg.norm(P[0], 3)
    with assert_refused(ArgumentError, "no norm 'nuc' over 3 axes", line="sg.norm"):
        sg.norm(P[None], "nuc", (0, 1, 2))


def test_the_gradient_of_the_norm_of_nothing_is_zero():
    x = sg.input("x", (2, 3), "float64")
    feeds = {"x": np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]])}
    first = grad(sg.norm(x, axis=1).sum(), x)
    np.testing.assert_allclose(run(first, feeds), [[0, 0, 0], [0.6, 0, 0.8]])
    second = run(grad(first.sum(), x), feeds)
    assert np.isnan(second[0]).all()  # it is not 0: there is none
    np.testing.assert_allclose(second[1], [0.032, 0.2, -0.024], atol=1e-15)


@pytest.mark.parametrize(
    ("error", "words", "wrong"),
    [
        (ArgumentError, "3 spacings for 2 axes", lambda x: sg.gradient(x, 1.0, 2.0, 3.0)),
        (ArgumentError, "1 or 2, not 3", lambda x: sg.gradient(x, edge_order=3)),
        (RankError, "places of f64[3, 5]", lambda x: sg.gradient(x, M, axis=0)),
        (ShapeError, "1 samples, 2 are needed", lambda x: sg.gradient(x[:1], axis=0)),
        (ShapeError, "3 are needed", lambda x: sg.gradient(x[:2], axis=0, edge_order=2)),
        (AxisError, "no axis 2", lambda x: sg.trapezoid(x, axis=2)),
        (RankError, "for samples of", lambda x: sg.trapezoid(x, M[None])),
        (ShapeError, "4", lambda x: sg.trapezoid(x, PLACES[1:])),
        (ArgumentError, "which axis", lambda x: sg.cumulative_sum(x)),
        (AxisError, "no axis 4", lambda x: sg.unwrap(x, axis=4)),
        (ArgumentError, "-1 times", lambda x: sg.diff(x, -1)),
        (RankError, "at most two axes", lambda x: sg.cov(x[None])),
        (ShapeError, "", lambda x: sg.cov(x, x[:, 1:])),
        (ArgumentError, "1 conditions, 2 choices", lambda x: sg.select([x > 0], [x, x])),
    ],
)
def test_refused(error, words, wrong):
    x = sg.input("x", M.shape, "float64")
    with assert_refused(error, words, line="lambda x: sg."):
        wrong(x)


ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for name in ("staticgrad", "passes")
    for path in (ROOT / name).rglob("*.py")
    if not {"native", "codegen"} & {*path.parts}  # whose functions are those of kernels
)


def test_what_type_checkers_are_told_is_what_is_there():
    """They see the package of ops; a run has the same functions, before they read NumPy's words."""
    public = {n: getattr(ops, n) for n in ops.__all__}
    called = {n: f for n, f in public.items() if isinstance(f, FunctionType)}
    assert len(called) > 200
    assert vars(functions) == {n: f.__wrapped__ for n, f in called.items()}


def test_functions_are_called_by_attributes_that_are_there():
    asked = {
        name
        for text in (path.read_text("utf-8") for path in SOURCES)
        if "import functional" in text or re.search(r"import .*\bfunctions\b", text)
        for name in re.findall(r"(?<![.\w\"])functions\.(\w+)", text)
    }
    load_functions()
    assert {"absolute", "astype", "sum"} <= asked <= FUNCTIONS.keys()
    actual = [p.name for p in SOURCES if re.search(r"\bFUNCTIONS\[\s*f?\"", p.read_text("utf-8"))]
    assert actual == []


def test_operators_are_named_in_errors_by_their_function():
    x = ops.input("x", (2,))
    with pytest.raises(TypeError, match="add"):
        _ = x + {"a": 1}


def test_polyfit_takes_a_vector_of_a_named_size():
    x, y = (sg.input(name, ("n",), "float64") for name in "xy")
    places = np.linspace(0.0, 1.0, 9)
    values = np.sin(places)
    coefficients, covariance = sg.polyfit(x, y, 2, cov=True)
    actual = sg.evaluate({"c": coefficients, "v": covariance}, {"x": places, "y": values})
    expected, spread = np.polyfit(places, values, 2, cov=True)
    np.testing.assert_allclose(actual["c"], expected, rtol=1e-10)
    np.testing.assert_allclose(actual["v"], spread, rtol=1e-6)


FIRST_OF_ITS_PROCESS = """
import json
import os
import sys
from staticgrad.language.calls import functional

def place(name):
    found = functional.numpy_function(name)
    return found and [found.__module__, found.__qualname__]

import staticgrad.language.ops.arithmetic
alone = {}
for name in sys.argv[1:]:
    reads, writes = os.pipe()
    if not os.fork():
        os.write(writes, json.dumps(place(name)).encode())
        os._exit(0)
    os.close(writes)
    with open(reads) as answer:
        alone[name] = json.load(answer)
    os.wait()
functional.load_functions()
print(json.dumps([name for name in sys.argv[1:] if alone[name] != place(name)]))
"""
#: One of each way that a name takes, and two that we do not have.
NAMES = (
    *("tanh", "abs", "true_divide", "around", "row_stack", "shape", "result_type", "linalg.cross"),
    *("linalg.outer", "linalg.solve", "fft.rfft", "gammaln", "exp2", "cross", "frexp", "fft.no"),
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process for each name")
def test_a_numpy_name_is_the_same_function_whatever_was_imported():
    assert python("-c", FIRST_OF_ITS_PROCESS, *NAMES).stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
@pytest.mark.parametrize("axis", [0, -1, None])
def test_running_sums_of_a_number_have_one_element_as_numpys(name, axis):
    actual = getattr(sg, name)(np.float64(3.0), axis=axis)
    np.testing.assert_array_equal(actual, getattr(np, name)(np.float64(3.0), axis=axis))
    with pytest.raises(sg.errors.AxisError, match="no axis 1"):
        getattr(sg, name)(np.float64(3.0), axis=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_linspace_ends_at_stop_and_sinc_is_zero_at_whole_numbers(dtype, rng):
    """Exactly: of steps that are rounded, and of whole numbers up to the largest."""
    a, b = sg.input("a", (), dtype), sg.input("b", (), dtype)
    for count in (2, 3, 7, 10, 49):
        f = sg.compile(sg.linspace(a, b, count))
        for first, last in (rng.normal(size=(20, 2)) * 10.0 ** rng.integers(-6, 6, (20, 2))).astype(
            dtype
        ):
            row = f.run({"a": first, "b": last})
            assert (row[0], row[-1]) == (first, last)
    largest = 2.0 ** np.finfo(dtype).nmant
    integers = np.array([1, 2, 3, 7, 100, 12345, largest - 1, largest, 2 * largest, 1e30], dtype)
    x = sg.input("x", (len(integers) * 2,), dtype)
    assert not sg.compile(sg.sinc(x)).run({"x": np.r_[integers, -integers]}).any()
    assert sg.compile(sg.sinc(a)).run({"a": 0.0}) == 1.0
