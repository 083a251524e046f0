"""Values and tensors in other libraries: dtypes, pandas, scipy.special."""

import numpy as np
import pytest
from scipy import special

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import SymbolicValueError
from tests.ops.messages import assert_refused

ARRAY = np.array([0.25, 0.5, 0.75])


def test_the_dtype_of_values_and_tensors_is_comparable():
    x, t = sg.input("x", (3,), "float32"), Tensor(ARRAY.astype("float32"))
    for value in (x, t, x * 2.0, t * 2.0):
        assert value.dtype == np.float32
        assert value.dtype == "float32"
        assert value.dtype != np.float64
        assert np.zeros(2, value.dtype).dtype == np.float32
    assert (x > 0.0).dtype == bool
    assert {"float32": 1}[str(x.dtype)] == 1


@pytest.mark.parametrize("kind", ["Series", "Index", "DataFrame"])
def test_pandas_meets_values(kind):
    pandas = pytest.importorskip("pandas")
    x = sg.input("x", (3,), "float64")
    data = getattr(pandas, kind)(ARRAY[None] if kind == "DataFrame" else ARRAY)
    for actual, expected in (
        (data * x, ARRAY**2), (x * data, ARRAY**2), (data - x, 0 * ARRAY),
        (data / x, ARRAY / ARRAY), (x**data, ARRAY**ARRAY), (x < data, ARRAY < ARRAY),
        (data <= x, ARRAY <= ARRAY),
    ):  # fmt: skip
        assert isinstance(actual, sg.Value), actual
        result = sg.compile(actual).run({"x": ARRAY})
        np.testing.assert_array_equal(np.squeeze(result), expected)
    assert isinstance(data * Tensor(ARRAY), Tensor)


@pytest.mark.parametrize(
    "name", ["cbrt", "erf", "erfc", "exp2", "expit", "expm1", "log1p", "sinc", "xlogy"]
)
def test_scipys_functions_build_nodes(name):
    function = getattr(special, name)
    operands = [sg.input("x", (3,), "float64")] * getattr(function, "nin", 1)
    actual = function(*operands)
    expected = function(*([ARRAY] * len(operands)))
    np.testing.assert_allclose(
        sg.compile(actual).run({"x": ARRAY}), expected, rtol=1e-13, atol=1e-16
    )
    np.testing.assert_allclose(
        function(*[Tensor(ARRAY, dtype="float64")] * len(operands)), expected
    )


@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax"])
def test_scipys_functions_of_arrays_refuse_with_a_code(name):
    with assert_refused(SymbolicValueError, "no value before a run", line="getattr(special"):
        getattr(special, name)(sg.input("x", (3,), "float64"))


@pytest.mark.parametrize("name", ["chndtridf", "ncfdtridfd", "nctdtridf"])
def test_scipys_other_functions_refuse_with_a_code(name):
    function, x = getattr(special, name), sg.input("x", (3,), "float64")
    with assert_refused(SymbolicValueError, name, "SG107", line="function(*[x] * function.nin)"):
        function(*[x] * function.nin)


def test_einops_of_the_array_api_takes_values_and_tensors():
    """The guide ``from-numpy`` says this line, and what to write in the place of einx."""
    api = pytest.importorskip("einops.array_api")
    array = np.arange(24.0).reshape(4, 6)

    def blocks(x):
        return api.rearrange(x, "(a b) c -> b (a c)", a=2)

    expected = array.reshape(2, 2, 6).transpose(1, 0, 2).reshape(2, 12)
    for actual in (sg.function(blocks)(array), blocks(Tensor(array)).array):
        np.testing.assert_array_equal(actual, expected)
    sums = sg.function(sg.vmap(lambda row: api.reduce(row, "(a b) -> a", "sum", a=2)))(array)
    np.testing.assert_array_equal(sums, array.reshape(4, 2, 3).sum(-1))


def test_einx_refuses_values_and_einsum_computes_its_products():
    einx = pytest.importorskip("einx")
    x, y = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    with pytest.raises(Exception, match="Failed to determine which backend"):
        sg.function(lambda x: einx.sum("a [b]", x))(x)
    actual = sg.function(lambda x, y: sg.einsum("ab,bc->ac", x, y))(x, y)
    np.testing.assert_array_equal(actual, einx.dot("a [b], [b] c -> a c", x, y))
