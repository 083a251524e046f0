"""A plug-in of pytest for the array API's public test suite.

Functions of complex numbers are computed of real ones, as their formulas are: infinities, NaN and
signs of zeros are not those of the standard. These special cases are left out by their names.
"""

import re

import pytest

_FUNCTIONS = "acos|acosh|asinh|atanh|cosh|exp|expm1|sign|sinh|tanh"


def pytest_collection_modifyitems(items):
    """Leave special cases of functions of complex numbers out."""
    for item in items:
        if re.search(rf"\[({_FUNCTIONS})\(.*(real|imag)\(x_i\)", item.nodeid):
            item.add_marker(pytest.mark.skip(reason="infinities and NaN of complex numbers"))
