"""No kernel reads or writes outside its operands: every buffer lies against a forbidden page.

Once each buffer ends where the page begins, once it starts where one ends. The runs are children:
an access outside is the child's death, and its last line names the case.
"""

import pytest

from tests.safety.child import run_child


@pytest.mark.slow
@pytest.mark.parametrize("border", ["end", "start"])
def test_a_fence_is_a_fence(border):
    """One byte further, or a write to a feed, is the child's end, and the message says where."""
    assert run_child("fences", border, "inside").endswith("0xa5\n")
    for deed in ("outside", "write") if border == "end" else ("outside",):
        with pytest.raises(AssertionError, match=f"(?s)exit -11 after.*now {deed}"):
            run_child("fences", border, deed)


@pytest.mark.slow
def test_fused_programs_stay_inside():
    assert run_child("fenced_runs", "programs").endswith("done\n")


@pytest.mark.slow
def test_samples_of_every_op_stay_inside():
    assert run_child("fenced_runs", "samples", "1").endswith("done\n")


@pytest.mark.slow
def test_empty_axes_are_not_touched():
    """A lookup in an axis of size 0 is refused, also under -O: there is no element to read."""
    assert run_child("fenced_runs", "empty", flags=("-O",)).endswith("done\n")


@pytest.mark.exhaustive
def test_programs_of_the_other_backend_stay_inside():
    names = ["elementwise at any size", "lookups at both ends", "movement"]
    out = run_child("fenced_runs", "programs", *names, STATICGRAD_BACKEND="numba")
    assert out.endswith("done\n")
