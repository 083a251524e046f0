"""Functions of ``sg.xp`` on values of a graph, beside the same line with NumPy's functions."""

import numpy as np
import pytest

from staticgrad import xp
from tests.array_api import graph_values

#: A line, and the functions that it calls as ``F``.
LINES = {
    "F(x)": "abs all any argmax argmin argsort acos asin asinh atan atanh ceil conj cos cosh"
    " count_nonzero diff exp expm1 floor imag isfinite isinf isnan log log10 log1p log2"
    " matrix_transpose max mean min negative ones_like positive prod real reciprocal round sign"
    " signbit sin sinh sort sqrt square std sum tan tanh tril triu trunc var zeros_like",
    "F(x, axis=1)": "cumulative_prod cumulative_sum unstack",
    "F(x + 1)": "acosh",
    "F(x, y)": "add atan2 copysign divide equal floor_divide greater greater_equal hypot less"
    " less_equal logaddexp maximum minimum multiply nextafter not_equal pow remainder subtract"
    " tensordot vecdot",
    "F(i, j)": "bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor isin",
    "F(i)": "bitwise_invert",
    "F(x > y, y > x[0])": "logical_and logical_or logical_xor",
    "F(x > y)": "logical_not",
    "F(x, xp.float32)": "astype",
    "F(x, y[0])": "broadcast_arrays",
    "F(x[0], y[1])": "meshgrid",
    "F(x[0], (3, 3))": "broadcast_to",
    "F(x, y[0, 0], 0.7)": "clip",
    "F([x, y])": "concat stack",
    "F(x, axis=-1)": "expand_dims flip",
    "F(x[None], axis=0)": "squeeze",
    "F(x, (1, 0))": "permute_dims",
    "F(x, 0, 1)": "moveaxis",
    "F(x, (-1,))": "reshape",
    "F(x, 2)": "repeat",
    "F(x, 2, axis=1)": "roll",
    "F(x, (2, 1))": "tile",
    "F(x, y.mT)": "matmul",
    "F(x[0], y[0])": "searchsorted",
    "F(x, i[0], axis=1)": "take",
    "F(x, i, axis=1)": "take_along_axis",
    "F(x > y, x, y)": "where",
    "x + F(3)": "arange ones zeros",
    "x + F(0, 1, 3)": "linspace",
    "x + F(2, 3)": "eye",
    "x + F((2, 3), 0.5)": "full",
    "F(x, 0.5)": "full_like",
    "x + F([1.0, 2.0, 3.0])": "asarray",
    "x + 0 * xp.astype(xp.isnan(F((2, 3))), xp.float64)": "empty",
    "x + 0 * xp.astype(xp.isnan(F(x)), xp.float64)": "empty_like",
}
#: The same of extensions: ``s`` is a symmetric and positive definite matrix, ``z`` a complex one.
EXTENSIONS = {
    "F(s)": "linalg.cholesky linalg.det linalg.diagonal linalg.eigvalsh linalg.inv"
    " linalg.matrix_norm linalg.matrix_rank linalg.matrix_transpose linalg.pinv linalg.slogdet"
    " linalg.svdvals linalg.trace linalg.vector_norm",
    "xp.sort(xp.real(F(s)))": "linalg.eigvals",
    "xp.abs(F(s)[1])": "linalg.eigh linalg.qr linalg.svd",
    "xp.sort(xp.real(F(s)[0]))": "linalg.eig",
    "F(s, s)": "linalg.matmul linalg.solve linalg.tensordot linalg.vecdot",
    "F(s, 3)": "linalg.matrix_power",
    "F(x[0], y[0])": "linalg.cross linalg.outer",
    "F(z)": "fft.fft fft.fftn fft.fftshift fft.ifft fft.ifftn fft.ifftshift fft.irfft fft.irfftn"
    " fft.hfft",
    "F(x)": "fft.rfft fft.rfftn fft.ihfft",
    "x[0] + F(3)": "fft.fftfreq",
    "x[:, :2] + F(3)": "fft.rfftfreq",
}
#: Names of no function of arrays, and those whose result has a size that depends on values.
OTHERS = (
    "bool broadcast_shapes can_cast e fft finfo from_dlpack iinfo inf isdtype linalg nan newaxis"
    " nonzero pi result_type unique_all unique_counts unique_inverse unique_values"
)
CASES = [
    (line, name) for lines in (LINES, EXTENSIONS) for line, text in lines.items()
    for name in text.split()
]  # fmt: skip


def numbers():
    """Return the arrays that lines read, by their letters."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.1, 0.9, (2, 2, 3))
    factor = rng.normal(size=(3, 3))
    i, j = np.array([[2, 0, 1], [1, 2, 0]]), np.array([[1, 2, 1], [3, 0, 0]])
    z = rng.normal(size=(3, 4)) + 1j * rng.normal(size=(3, 4))
    return {"x": np.sort(x), "y": y, "i": i, "j": j, "s": factor @ factor.T + np.eye(3), "z": z}


def run(line, name, namespace, arrays):
    """Return what a line gives with the functions of a namespace."""
    function = namespace
    for part in name.split("."):
        function = getattr(function, part)
    return eval(line, {"F": function, "xp": namespace, **arrays})


@pytest.mark.parametrize(("line", "name"), CASES, ids=[name for _, name in CASES])
def test_a_function_of_values_gives_what_numpy_gives(line, name):
    arrays = numbers()
    values = {letter: graph_values.asarray(array) for letter, array in arrays.items()}
    expected, actual = run(line, name, np, arrays), run(line, name, graph_values, values)
    if not isinstance(expected, list | tuple):
        expected, actual = [expected], [actual]
    for right, left in zip(expected, actual, strict=True):
        assert isinstance(left, graph_values.Array)
        assert left.dtype == np.asarray(right).dtype
        assert left.shape == np.shape(right)
        np.testing.assert_allclose(left.compute(), right, rtol=1e-9, atol=1e-9)


def test_each_function_of_the_namespace_has_a_line():
    tried = {name for _, name in CASES}
    extensions = {f"{of}.{name}" for of in ("fft", "linalg") for name in dir(getattr(xp, of))}
    dtypes = {dtype.name for dtype in xp.__array_namespace_info__().dtypes().values()}
    assert {*xp.__all__} | extensions == tried | dtypes | {*OTHERS.split()}


def test_arrays_of_the_namespace_are_values_whose_numbers_are_computed():
    x = graph_values.asarray([1.0, 2.0])
    total = graph_values.sum(x * 2.0 + graph_values.ones(2))
    assert (float(total), int(total), bool(total > 7.5)) == (8.0, 8, True)
    assert next(iter(total.feeds.values())).tolist() == [1.0, 2.0]
    assert x.value.node.op.label in total.feeds
    info = graph_values.__array_namespace_info__()
    assert not info.capabilities()["data-dependent shapes"]
    assert xp.__array_namespace_info__().capabilities()["data-dependent shapes"]
