"""The page about NumPy's functions says what the code does; each covered one takes a value."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors.hints import MISSING, REASONS
from staticgrad.ir.functional import FACTS
from tests import numpy_names as table
from tests.cases import check_all


def test_every_missing_function_has_a_reason():
    known = {*table.covered(), *FACTS}
    missing = [n for n in table.functions_of_numpy() if n not in known]
    if np.__version__.startswith("2.4."):
        assert [n for n in missing if n not in REASONS] == []
    assert [n for n in REASONS if n in known] == []
    listed = [n for names in MISSING.values() for n in names.split()]
    assert len(listed) == len(set(listed))


@pytest.mark.slow
@pytest.mark.skipif(not np.__version__.startswith("2.4."), reason="the page is about NumPy 2.4")
def test_the_page_is_up_to_date():
    assert table.PAGE.read_text("utf-8") == table.page()


ELEMENTWISE = [n for n in table.covered() if isinstance(getattr(np, n), np.ufunc)]


def test_numpys_own_functions_build_nodes():
    """Every ufunc, on floats or else on integers: of values what it is of arrays."""

    def check(name):
        ufunc = getattr(np, name)
        last = None
        for dtype in ("float64", "int32"):
            arrays = [np.array([1, 2, 3]).astype(dtype), np.array([2, 1, 3]).astype(dtype)][
                : ufunc.nin
            ]
            if ufunc.signature:
                arrays = [np.ones((3, 3)) for _ in arrays]
            try:
                with np.errstate(all="ignore"):
                    expected = ufunc(*arrays)
            except TypeError as error:
                last = error
                continue
            x = sg.input("x", arrays[0].shape, arrays[0].dtype)
            values = ufunc(x, *arrays[1:])
            values = values if isinstance(values, tuple) else (values,)
            expected = expected if isinstance(expected, tuple) else (expected,)
            for value, array in zip(values, expected, strict=True):
                found = sg.evaluate(value, {"x": arrays[0]})
                np.testing.assert_allclose(found, array, rtol=1e-12, equal_nan=True)
            return
        raise AssertionError(last)

    check_all(check, zip(ELEMENTWISE))
