"""One test over many small cases, which names all that fail."""

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
