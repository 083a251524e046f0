"""Tests of a checkout from which a part is removed: what needs the part is skipped.

A plugin of pytest, ``-p tests.helpers.removed``, for the folder in ``REMOVED_PART``.
"""

import os

import pytest

PART = os.environ["REMOVED_PART"]


def _needs_the_part(error):
    """Return whether the error, or what it came from, is that the part cannot be imported."""
    while error is not None:
        if isinstance(error, ImportError) and PART in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    try:
        return (yield)
    except Exception as error:
        if _needs_the_part(error):
            pytest.skip(f"{item.name} needs {PART}")
        raise
