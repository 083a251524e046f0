"""One test over many small cases, which names all that fail; what several tests do to arrays."""

import warnings

import pytest


def check_all(check, cases):
    """Call ``check`` with each case; the message lists every one that fails, with its error."""
    wrong = []
    for case in cases:
        try:
            check(*case)
        except (Exception, pytest.fail.Exception) as error:
            wrong.append(f"{case}: {type(error).__name__}: {error}")
    assert not wrong, f"{len(wrong)} cases fail\n" + "\n".join(wrong)


def set_in_place(array, name, value):
    """Set ``shape`` or ``dtype`` of an array, which NumPy 2.5 deprecates and users' code does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        setattr(array, name, value)
