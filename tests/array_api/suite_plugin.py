"""A plug-in of pytest for the array API's public test suite: what some runs leave out.

``skips.txt`` has what all runs leave out, by name. Functions of complex numbers are computed of
real ones, as their formulas are: infinities, NaN and signs of zeros are not those of the standard.
"""

import os
import re

import pytest

_COMPLEX = "acos|acosh|asinh|atanh|cosh|exp|expm1|sign|sinh|tanh"
#: Patterns of tests with the runs that leave them out (the namespace and the version).
_LEFT_OUT = {
    rf"\[({_COMPLEX})\(.*(real|imag)\(x_i\)": (
        "",
        pytest.mark.skip(reason="Functions of complex numbers are computed of real ones"),
    ),
    "__dlpack|test_dlpack_device": (
        r"graph_values .*",
        pytest.mark.skip(reason="A value of a graph has no memory before a run"),
    ),
    "::(test_meshgrid|test_broadcast_arrays|TestInspection::test_devices)$": (
        r".* 2024\.12",
        pytest.mark.skip(reason="2024.12 has lists where 2025.12 has tuples"),
    ),
}


def pytest_collection_modifyitems(items):
    """Leave out what the table says of this run."""
    module = os.environ["ARRAY_API_TESTS_MODULE"].rpartition(".")[-1]
    run = f"{module} {os.environ['ARRAY_API_TESTS_VERSION']}"
    for pattern, (runs, mark) in _LEFT_OUT.items():
        if re.fullmatch(runs or ".*", run):
            for item in items:
                if re.search(pattern, item.nodeid):
                    item.add_marker(mark)
