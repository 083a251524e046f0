"""Building a graph costs few Python calls: each of a function counts, also those of helpers."""

import sys
from collections import Counter
from pathlib import Path

import pytest

import staticgrad as sg

PACKAGE = str(Path(sg.__file__).parent)
x = sg.input("x", (3,))
image = sg.input("image", ("n", 3, 32, 32))
layer = sg.nn.Conv2d(3, 8, 3)

#: What is called, and how many calls of the package's functions it may take.
CALLS = {
    "an elementwise function": (lambda: sg.tanh(x), 10),
    "an operator": (lambda: x + x, 9),
    "a reduction": (lambda: sg.sum(x), 26),
    "a slice": (lambda: x[1:], 19),
    "a parameter": (lambda: sg.parameter("w", [1.0]), 44),
    "a layer": (lambda: sg.nn.Conv2d(3, 8, 3), 130),
    "a layer that is applied": (lambda: layer(image), 175),
}


@pytest.mark.parametrize(("call", "most"), CALLS.values(), ids=CALLS)
def test_an_operation_takes_few_calls(call, most):
    call()  # what is found out once does not count
    calls = Counter()

    def count(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith((PACKAGE, "<staticgrad")):
            calls[frame.f_code.co_qualname] += 1

    profiler = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(profiler)
    assert sum(calls.values()) <= most, calls.most_common(20)
