"""Arrays that become constants: large ones are reported at the line that brings them in."""

import warnings

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import LargeConstantWarning

LIMIT = 10**6


def test_a_large_array_warns_at_the_users_line():
    x = sg.input("x", (LIMIT // 8 + 1,), "float64")
    with pytest.warns(LargeConstantWarning, match=r"SG901.*f64\[125001\], 1.0 MB") as caught:
        x * np.ones(LIMIT // 8 + 1)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("build", [sg.constant, lambda a: sg.concatenate([a, a])])
def test_up_to_a_megabyte_is_quiet(build):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(np.zeros(LIMIT, "int8"))
        sg.parameter("w", np.zeros(2 * LIMIT))
    with pytest.warns(LargeConstantWarning):
        build(np.zeros(LIMIT + 1, "int8"))
