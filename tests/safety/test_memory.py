"""What the system counts: resident memory of a large step, and both heaps over many warm steps."""

import os
import sys

import pytest

from tests.safety.child import run_child

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not os.access("/proc/self/clear_refs", os.W_OK),
    reason="the high-water mark is Linux's",
)
glibc = pytest.mark.skipif(
    not hasattr(os, "confstr") or "CS_GNU_LIBC_VERSION" not in os.confstr_names,
    reason="mallinfo2 is glibc's",
)
#: One is enough beside ``test_peak``, which meets the peak of each to the byte.
POLICIES = {
    "store_all": pytest.mark.exhaustive,
    "sqrt": pytest.mark.exhaustive,
    "recompute": pytest.mark.exhaustive,
}


def check_resident(policy, megabytes, layout, part):
    """The step's rise is the arena's peak and the output arrays, within a part of their sum."""
    peak, outputs, rise, _ = map(int, run_child("resident", policy, str(megabytes), layout).split())
    assert peak >= megabytes << 20
    assert rise <= (1 + part) * (peak + outputs), "the step uses more than it says"
    assert rise >= (1 - part) * (peak + outputs), "the step uses less than it says"


@pytest.mark.slow
@linux
@pytest.mark.parametrize(
    ("policy", "layout"),
    [
        ("store_all", "staged"),
        *(pytest.param(policy, "plain", marks=mark) for policy, mark in POLICIES.items()),
    ],
)
def test_a_large_step_uses_what_it_says(policy, layout):
    check_resident(policy, 256, layout, 0.02)


@pytest.mark.slow
@glibc
def test_warm_steps_leave_both_heaps_as_they_were():
    """Outputs kept, dropped and given; sizes among known ones; staged, failing and refused runs."""
    lines = run_child("steady").splitlines()
    assert len(lines) == 10
    for line in lines:
        traced, heap = map(int, line.rpartition(": ")[2].split())
        assert traced < 1000, f"Python holds more after 100 steps: {line}"
        assert heap < 1000, f"the C heap holds more after 100 steps: {line}"
