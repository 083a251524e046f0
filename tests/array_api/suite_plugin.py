"""A plug-in of pytest for the array API's public test suite.

The suite looks for the widest complex dtype even where it is told that there are none, and its
special cases of complex numbers have no mark: they are left out by their names.
"""

import builtins

import pytest
from array_api_tests import xp

_largest = builtins.max


def _largest_or_float(*args, **options):
    """``max``; of nothing a pair as the suite would find it."""
    if len(args) == 1 and "default" not in options:
        options["default"] = (xp.float64, 64)
    return _largest(*args, **options)


builtins.max = _largest_or_float
try:
    import array_api_tests.dtype_helpers  # noqa: F401
finally:
    builtins.max = _largest


def pytest_collection_modifyitems(items):
    """Leave special cases of complex numbers out."""
    for item in items:
        if "real(x_i)" in item.nodeid or "imag(x_i)" in item.nodeid:
            item.add_marker(pytest.mark.skip(reason="there are no complex numbers"))
